//! `metrics.json` of an evaluation: every figure of the tables, from the rows of its instances.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::report::bootstrap::{Estimate, estimate_mean};
use crate::report::failure::Failure;
use crate::report::verification::Verification;
use crate::run::RUN_VERSION;
use crate::run::instance_row::{InstanceRow, ItemsRow, PerStage, StageRow, TokensRow};

/// First so many of a ranked list.
pub const DEPTHS: [usize; 5] = [1, 3, 5, 10, 20];
/// Weight of recall against precision.
const BETA: f64 = 3.0;
const STAGES: [&str; 4] = ["file", "function", "line", "edit"];

/// Dollars per million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Price {
    pub prompt: f64,
    pub completion: f64,
}

/// All figures of an evaluation.
#[derive(Debug, Clone, Serialize)]
pub struct EvalReport {
    pub version: u32,
    pub kind: &'static str,
    pub model: String,
    /// Instances that were evaluated.
    pub n_instances: usize,
    pub all: Figures,
    pub repositories: BTreeMap<String, Figures>,
    /// What the records' tests say, where they were run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verification: Option<Verification>,
    /// Instances that count nowhere.
    pub failed: Vec<Failure>,
}

/// The figures of one repository, or of all.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    pub n_instances: usize,
    /// Per stage, the rows of its table by name, in the table's order.
    pub stages: PerStage<Vec<NamedFigures>>,
    pub applied_first: Estimate,
    pub applied: Estimate,
    /// Over the instances whose tests were run.
    pub resolved: Option<Estimate>,
    pub n_tested: usize,
    /// Completions of all stages, and unusable ones by stage and reason.
    pub n_completions: usize,
    pub rejections: PerStage<BTreeMap<String, usize>>,
    pub tokens: PerStage<TokensRow>,
    /// Where a price is known.
    pub dollars: Option<f64>,
}

/// A row of a stage's table.
#[derive(Debug, Clone, Serialize)]
pub struct NamedFigures {
    pub name: String,
    #[serde(flatten)]
    pub figures: ItemFigures,
}

/// Lists of items compared with truths, as means over instances.
#[derive(Debug, Clone, Serialize)]
pub struct ItemFigures {
    /// Instances that the gold patch says something for, and that have such a list.
    pub n: usize,
    pub hit: Estimate,
    pub precision: Estimate,
    pub recall: Estimate,
    pub f3: Estimate,
    /// Mean number of items.
    pub answered: f64,
    /// The mean of 1 / place of the first hit; absent for edits.
    pub mrr: Option<Estimate>,
    /// Any item of the truth among the first k, by k; empty for edits.
    pub any_at: BTreeMap<usize, Estimate>,
    /// All of them.
    pub all_at: BTreeMap<usize, Estimate>,
}

impl EvalReport {
    pub fn new(
        model: &str,
        rows: &[InstanceRow],
        price: Option<Price>,
        mut failed: Vec<Failure>,
    ) -> Self {
        failed.sort();
        let mut by_repo: BTreeMap<&str, Vec<&InstanceRow>> = BTreeMap::new();
        for row in rows {
            by_repo.entry(&row.repo).or_default().push(row);
        }
        let repositories = by_repo.into_iter();
        let repositories =
            repositories.map(|(repo, rows)| (repo.to_owned(), Figures::new(&rows, price)));
        Self {
            version: RUN_VERSION,
            kind: "evaluation",
            model: model.to_owned(),
            n_instances: rows.len(),
            all: Figures::new(&rows.iter().collect::<Vec<_>>(), price),
            repositories: repositories.collect(),
            verification: None,
            failed,
        }
    }
}

impl Figures {
    pub fn new(rows: &[&InstanceRow], price: Option<Price>) -> Self {
        let share = |holds: fn(&InstanceRow) -> bool| {
            estimate_mean(&rows.iter().map(|row| as_number(holds(row))).collect::<Vec<_>>())
        };
        let tested: Vec<f64> = rows.iter().filter_map(|row| row.resolved).map(as_number).collect();
        let mut stages = PerStage::default();
        for stage in STAGES {
            stages.set(stage, stage_table(rows, stage));
        }
        let mut rejections: PerStage<BTreeMap<String, usize>> = PerStage::default();
        let mut tokens: PerStage<TokensRow> = PerStage::default();
        for row in rows {
            for (stage, reasons) in row.rejections.iter() {
                let Some(slot) = rejections.slot(stage) else { continue };
                let total = slot.get_or_insert_default();
                for (reason, n) in reasons {
                    *total.entry(reason.clone()).or_default() += n;
                }
            }
            for (stage, used) in row.tokens.iter() {
                let Some(slot) = tokens.slot(stage) else { continue };
                let total = slot.get_or_insert_default();
                total.prompt += used.prompt;
                total.completion += used.completion;
            }
        }
        let dollars = price.map(|price| {
            let cost = |used: &TokensRow| {
                price.prompt * used.prompt as f64 + price.completion * used.completion as f64
            };
            tokens.iter().map(|(_, used)| cost(used)).sum::<f64>() / 1e6
        });
        Self {
            n_instances: rows.len(),
            stages,
            applied_first: share(|row| row.applied_first),
            applied: share(|row| row.applied),
            resolved: (!tested.is_empty()).then(|| estimate_mean(&tested)),
            n_tested: tested.len(),
            n_completions: rows.iter().map(|row| row.n_completions).sum(),
            rejections,
            tokens,
            dollars,
        }
    }
}

/// The model's answers, the same joined with retrieval, with true inputs where they were asked
/// for, and the baselines.
fn stage_table(rows: &[&InstanceRow], stage: &str) -> Vec<NamedFigures> {
    let mut table = Vec::new();
    let mut add = |name: &str, items: Vec<&ItemsRow>| {
        if !items.is_empty() {
            table.push(NamedFigures { name: name.to_owned(), figures: ItemFigures::new(&items) });
        }
    };
    fn list(row: &StageRow) -> &ItemsRow {
        &row.items
    }
    add("model", rows.iter().filter_map(|row| row.stages.get(stage).map(list)).collect());
    add(
        "model, true inputs",
        rows.iter().filter_map(|row| row.true_inputs.get(stage).map(list)).collect(),
    );
    add("model + retrieval", rows.iter().filter_map(|row| row.joined.get(stage)).collect());
    for k in 1..=5 {
        let copied =
            |row: &'_ &InstanceRow| row.copied.get(stage).is_some_and(|rows| k <= rows.len());
        let copies = rows.iter().filter(|row| copied(row));
        let copies = copies.filter_map(|row| row.copied.get(stage)?.get(k - 1));
        add(&format!("copy retrieval, k = {k}"), copies.collect());
    }
    add("shuffled candidates", rows.iter().filter_map(|row| row.shuffled.get(stage)).collect());
    table
}

impl ItemFigures {
    pub fn new(items: &[&ItemsRow]) -> Self {
        let mean = |value: &dyn Fn(&ItemsRow) -> f64| {
            estimate_mean(&items.iter().map(|row| value(row)).collect::<Vec<_>>())
        };
        let is_ranked = items.iter().any(|row| !row.places.is_empty());
        let within = |place: &Option<usize>, k: usize| place.is_some_and(|place| place <= k);
        let depths = if is_ranked { &DEPTHS[..] } else { &[] };
        let at = |all: bool| -> BTreeMap<usize, Estimate> {
            let value = |row: &ItemsRow, k: usize| {
                let mut places = row.places.iter();
                let holds = if all {
                    !row.places.is_empty() && places.all(|place| within(place, k))
                } else {
                    places.any(|place| within(place, k))
                };
                as_number(holds)
            };
            depths.iter().map(|&k| (k, mean(&|row| value(row, k)))).collect()
        };
        let reciprocal = |row: &ItemsRow| {
            row.places.first().copied().flatten().map_or(0.0, |place| 1.0 / place as f64)
        };
        Self {
            n: items.len(),
            hit: mean(&|row| as_number(is_hit(row))),
            precision: mean(&precision),
            recall: mean(&recall),
            f3: mean(&f3),
            answered: mean(&|row| row.counts.answered as f64).mean,
            mrr: is_ranked.then(|| mean(&reciprocal)),
            any_at: at(false),
            all_at: at(true),
        }
    }
}

/// Whether some answered item is expected.
pub fn is_hit(row: &ItemsRow) -> bool {
    0 < row.counts.hits
}

fn precision(row: &ItemsRow) -> f64 {
    ratio(row.counts.hits, row.counts.answered)
}

fn recall(row: &ItemsRow) -> f64 {
    ratio(row.counts.hits, row.counts.expected)
}

/// Precision and recall in one number, recall weighing three times as much.
pub fn f3(row: &ItemsRow) -> f64 {
    if row.counts.hits == 0 {
        return 0.0;
    }
    let square = BETA * BETA;
    (1.0 + square) * row.counts.hits as f64
        / square.mul_add(row.counts.expected as f64, row.counts.answered as f64)
}

fn ratio(part: usize, of: usize) -> f64 {
    if of == 0 { 0.0 } else { part as f64 / of as f64 }
}

pub(super) fn as_number(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::run::instance_row::Counts;

    pub(in crate::report) fn items(
        hits: usize,
        answered: usize,
        places: &[Option<usize>],
    ) -> ItemsRow {
        let counts = Counts { hits, answered, expected: places.len() };
        ItemsRow { counts, places: places.to_vec() }
    }

    /// An instance whose file answer has these counts, and no other stage.
    pub(in crate::report) fn instance(
        id: &str,
        repo: &str,
        files: ItemsRow,
        applied: bool,
    ) -> InstanceRow {
        let mut row = InstanceRow {
            version: RUN_VERSION,
            instance: id.to_owned(),
            repo: repo.to_owned(),
            stages: PerStage::default(),
            true_inputs: PerStage::default(),
            joined: PerStage::default(),
            copied: PerStage::default(),
            shuffled: PerStage::default(),
            applied_first: applied,
            applied,
            n_completions: 3,
            rejections: PerStage::default(),
            n_candidates: 1,
            verdict: "UNVERIFIED: 1 of 1 samples agree".to_owned(),
            tokens: PerStage::default(),
            resolved: None,
        };
        row.copied.set("file", vec![files.clone(); 5]);
        row.shuffled.set("file", items(0, 2, &[None]));
        row.rejections.set("edit", BTreeMap::from([("no change".to_owned(), 2)]));
        row.tokens.set("file", TokensRow { prompt: 1000, completion: 10 });
        row.stages.set("file", StageRow { items: files, in_view: 1, ..StageRow::default() });
        row
    }

    #[test]
    fn figures_of_a_stage_by_hand() {
        // Hits: yes, no, yes. F_3 of (1 of 2 answered, 2 expected): 10 / (18 + 2) = 0.5.
        let rows = [items(1, 2, &[Some(2), None]), items(0, 5, &[None]), items(1, 1, &[Some(1)])];
        let figures = ItemFigures::new(&rows.iter().collect::<Vec<_>>());
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} {b}");
        near(figures.hit.mean, 2.0 / 3.0);
        near(figures.precision.mean, 0.5);
        near(figures.recall.mean, 0.5);
        near(figures.f3.mean, 0.5);
        near(figures.answered, 8.0 / 3.0);
        near(figures.mrr.unwrap().mean, 0.5);
        near(figures.any_at[&1].mean, 1.0 / 3.0);
        near(figures.any_at[&3].mean, 2.0 / 3.0);
        near(figures.all_at[&20].mean, 1.0 / 3.0);
    }

    #[test]
    fn a_price_makes_a_cost_and_failures_count_nowhere() {
        let rows = [instance("a-1", "a/a", items(1, 1, &[Some(1)]), true)];
        let price = Some(Price { prompt: 2.0, completion: 10.0 });
        let failure = Failure { instance: "a-2".into(), reason: "no commit".into() };
        let report = EvalReport::new("m", &rows, price, vec![failure]);
        assert!((report.all.dollars.unwrap() - 0.0021).abs() < 1e-12);
        assert_eq!((report.n_instances, report.failed.len()), (1, 1));
        assert_eq!(report.all.rejections.edit.as_ref().unwrap()["no change"], 2);
    }
}
