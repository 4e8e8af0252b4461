//! The oracle's tables: what is the most that any model could reach, and where something is lost.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::report::failure::Failure;
use crate::report::table::{Style, Table, percent};
use crate::run::RUN_VERSION;
use crate::run::oracle_row::{CeilingRow, LossRow, OracleRow, StageCeiling};

/// `metrics.json` of an oracle run.
#[derive(Debug, Clone, Serialize)]
pub struct OracleReport {
    pub version: u32,
    pub kind: &'static str,
    pub n_instances: usize,
    /// The share of instances whose gold tree came out byte for byte, without limits.
    pub tree_identical: f64,
    /// By limits, in the order they were asked for.
    pub ceilings: Vec<CeilingFigures>,
    /// Every loss without limits.
    pub losses: Vec<InstanceLoss>,
    /// Instances that could not be looked at, and so count nowhere.
    pub failed: Vec<Failure>,
}

/// All instances under one set of limits.
#[derive(Debug, Clone, Serialize)]
pub struct CeilingFigures {
    pub limits: String,
    /// The share of instances whose gold tree came out byte for byte.
    pub tree_identical: f64,
    pub stages: BTreeMap<String, StageFigures>,
    /// Instances by where and why they first lost something: `stage: reason`.
    pub first_losses: BTreeMap<String, usize>,
}

/// A stage over all instances that the gold patch says something for.
#[derive(Debug, Clone, Serialize)]
pub struct StageFigures {
    /// Instances that the gold patch says something for.
    pub n: usize,
    /// The share of instances with an item of the truth in the prompt.
    pub any_in_view: f64,
    /// The share with all of them.
    pub all_in_view: f64,
    /// The share whose answer came back whole.
    pub exact: f64,
    /// The share whose answer the grammar allows; absent where it was not looked at.
    pub in_grammar: Option<f64>,
}

/// A loss of one instance.
#[derive(Debug, Clone, Serialize)]
pub struct InstanceLoss {
    pub instance: String,
    #[serde(flatten)]
    pub loss: LossRow,
}

impl OracleReport {
    pub fn new(rows: &[OracleRow], failed: Vec<Failure>) -> Self {
        let n_limits = rows.iter().map(|row| row.ceilings.len()).max().unwrap_or(0);
        let under = |idx: usize| rows.iter().filter_map(move |row| row.ceilings.get(idx)).collect();
        let ceilings: Vec<CeilingFigures> = (0..n_limits).map(|idx| figures(under(idx))).collect();
        let losses = rows.iter().flat_map(|row| {
            let losses = row.ceilings.first().into_iter().flat_map(|ceiling| &ceiling.losses);
            losses.map(|loss| InstanceLoss { instance: row.instance.clone(), loss: loss.clone() })
        });
        Self {
            version: RUN_VERSION,
            kind: "oracle",
            n_instances: rows.len(),
            tree_identical: ceilings.first().map_or(0.0, |ceiling| ceiling.tree_identical),
            losses: losses.collect(),
            ceilings,
            failed,
        }
    }

    pub fn render(&self, style: Style) -> String {
        let mut text = format!(
            "{} instances, answered from their gold patches by each stage's prompt, grammar, parser and application; percent\n\n",
            self.n_instances
        );
        text += &self.ceiling_table().render(style);
        text += &format!("\n{DEFINITIONS}");
        for InstanceLoss { instance, loss } in &self.losses {
            text += &format!(
                "\nlost without limits: {instance}, {}, {}: {}",
                loss.stage, loss.reason, loss.why
            );
        }
        if self.losses.is_empty() && 0 < self.n_instances {
            text += "\nnothing is lost without limits";
        }
        for ceiling in self.ceilings.iter().skip(1).filter(|one| !one.first_losses.is_empty()) {
            let losses = ceiling.first_losses.iter().map(|(what, n)| format!("{n} {what}"));
            let losses = losses.collect::<Vec<_>>().join(", ");
            text += &format!("\nfirst lost under `{}`: {losses}", ceiling.limits);
        }
        text.push('\n');
        text
    }

    fn ceiling_table(&self) -> Table {
        let mut head = vec!["limits"];
        head.extend(["file any", "all", "function any", "all", "line any", "all", "edit all"]);
        head.extend(["in grammar", "tree identical"]);
        let mut table = Table::new(&head);
        for ceiling in &self.ceilings {
            let mut row = vec![ceiling.limits.clone()];
            let stage = |name: &str| ceiling.stages.get(name);
            let share = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), percent);
            for name in ["file", "function", "line"] {
                row.push(share(stage(name).map(|stage| stage.any_in_view)));
                row.push(share(stage(name).map(|stage| stage.exact)));
            }
            row.push(share(stage("edit").map(|stage| stage.exact)));
            let grammars = ceiling.stages.values().filter_map(|stage| stage.in_grammar);
            row.push(share(grammars.reduce(f64::min)));
            row.push(percent(ceiling.tree_identical));
            table.push(row);
        }
        table
    }
}

const DEFINITIONS: &str = "\
any: an item of the gold patch is in the stage's prompt. all: every item is, and came back from the
parsed answer. edit all: every changed line came back. in grammar: the lowest share of a stage.
tree identical: base tree and what came out give the gold tree, byte for byte, also through the patch
that is handed over. Each stage is given what the stage before it could answer, without the help of
retrieval's ranking that real runs have, and counts the instances that the gold patch says something
for. Of a context three quarters are the prompt and a quarter the answer; tokens are estimates.
";

fn figures(ceilings: Vec<&CeilingRow>) -> CeilingFigures {
    let share = |n: usize, of: usize| if of == 0 { 0.0 } else { n as f64 / of as f64 };
    let mut stages = BTreeMap::new();
    for name in ["file", "function", "line", "edit"] {
        let rows: Vec<_> = ceilings.iter().filter_map(|one| one.stages.get(name)).collect();
        let n = rows.len();
        let count = |holds: &dyn Fn(&StageCeiling) -> bool| {
            share(rows.iter().filter(|row| holds(row)).count(), n)
        };
        let looked = rows.iter().filter(|row| row.in_grammar.is_some()).count();
        stages.insert(
            name.to_owned(),
            StageFigures {
                n,
                any_in_view: count(&|row| 0 < row.in_view),
                all_in_view: count(&|row| row.in_view == row.counts.expected),
                exact: count(&|row| {
                    row.counts.hits == row.counts.expected && row.counts.hits == row.counts.answered
                }),
                in_grammar: (0 < looked).then(|| {
                    share(rows.iter().filter(|row| row.in_grammar == Some(true)).count(), looked)
                }),
            },
        );
    }
    let mut first_losses = BTreeMap::new();
    for loss in ceilings.iter().filter_map(|ceiling| ceiling.losses.first()) {
        *first_losses.entry(format!("{}: {}", loss.stage, loss.reason)).or_default() += 1;
    }
    let n_identical = ceilings.iter().filter(|ceiling| ceiling.tree_identical).count();
    CeilingFigures {
        limits: ceilings.first().map(|ceiling| ceiling.limits.clone()).unwrap_or_default(),
        tree_identical: share(n_identical, ceilings.len()),
        stages,
        first_losses,
    }
}
