//! Two evaluations of the same instances: what changed, and whether that is more than chance.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::report::bootstrap::{Estimate, estimate_mean};
use crate::report::evaluation::{as_number, f3, is_hit};
use crate::report::table::{Style, Table, percent};
use crate::run::RUN_VERSION;
use crate::run::instance_row::InstanceRow;

/// The second evaluation minus the first.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    pub version: u32,
    pub first: String,
    pub second: String,
    /// Instances that both evaluated.
    pub n_common: usize,
    /// Instances that only one of them evaluated.
    pub only_first: Vec<String>,
    pub only_second: Vec<String>,
    pub measures: Vec<Difference>,
}

/// One measure, paired by instance.
#[derive(Debug, Clone, Serialize)]
pub struct Difference {
    pub measure: String,
    /// Instances that count in both.
    pub n: usize,
    pub first: f64,
    pub second: f64,
    /// Mean of the differences, with the interval over instances.
    pub difference: Estimate,
    /// The exact test of `McNemar`, for measures that are yes or no.
    pub mcnemar: Option<McNemar>,
    /// Instances that got better and worse.
    pub better: Vec<String>,
    pub worse: Vec<String>,
}

/// Whether as many instances would change one way if only chance were at work.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct McNemar {
    pub n_better: usize,
    pub n_worse: usize,
    /// Two-sided.
    pub p: f64,
}

impl McNemar {
    /// The exact test: of the instances that changed, how likely is a split at least as uneven under a
    /// fair coin?
    pub fn new(n_better: usize, n_worse: usize) -> Self {
        let n = n_better + n_worse;
        let few = n_better.min(n_worse);
        // Binomial terms by their logarithms, since n may be in the thousands.
        let mut log_term = -(n as f64) * std::f64::consts::LN_2;
        let mut tail = 0.0;
        for k in 0..=few {
            tail += log_term.exp();
            log_term += ((n - k) as f64).ln() - ((k + 1) as f64).ln();
        }
        Self { n_better, n_worse, p: (2.0 * tail).min(1.0) }
    }
}

type Measure = (&'static str, bool, fn(&InstanceRow) -> Option<f64>);

/// Name, whether it is yes or no, and the value where the instance has one.
const MEASURES: [Measure; 9] = [
    ("file hit", true, |row| row.stages.file.as_ref().map(|row| as_number(is_hit(&row.items)))),
    ("file F3", false, |row| row.stages.file.as_ref().map(|row| f3(&row.items))),
    ("function hit", true, |row| {
        row.stages.function.as_ref().map(|row| as_number(is_hit(&row.items)))
    }),
    ("function F3", false, |row| row.stages.function.as_ref().map(|row| f3(&row.items))),
    ("line hit", true, |row| row.stages.line.as_ref().map(|row| as_number(is_hit(&row.items)))),
    ("line F3", false, |row| row.stages.line.as_ref().map(|row| f3(&row.items))),
    ("applied@1", true, |row| Some(as_number(row.applied_first))),
    ("applied", true, |row| Some(as_number(row.applied))),
    ("resolved", true, |row| row.resolved.map(as_number)),
];

impl Comparison {
    pub fn new(
        (first_name, first): (&str, &[InstanceRow]),
        (second_name, second): (&str, &[InstanceRow]),
    ) -> Self {
        fn by_id(rows: &[InstanceRow]) -> BTreeMap<&str, &InstanceRow> {
            rows.iter().map(|row| (row.instance.as_str(), row)).collect()
        }
        let (first, second) = (by_id(first), by_id(second));
        let missing = |of: &BTreeMap<&str, &InstanceRow>, other: &BTreeMap<&str, &InstanceRow>| {
            let ids = of.keys().filter(|id| !other.contains_key(*id));
            ids.map(|id| (*id).to_owned()).collect::<Vec<String>>()
        };
        let pairs: Vec<(&InstanceRow, &InstanceRow)> =
            first.iter().filter_map(|(id, row)| Some((*row, *second.get(id)?))).collect();
        Self {
            version: RUN_VERSION,
            first: first_name.to_owned(),
            second: second_name.to_owned(),
            n_common: pairs.len(),
            only_first: missing(&first, &second),
            only_second: missing(&second, &first),
            measures: MEASURES.iter().filter_map(|measure| difference(measure, &pairs)).collect(),
        }
    }

    pub fn render(&self, style: Style) -> String {
        let mut text = format!(
            "{} instances in both; percent, `{}` minus `{}`\n\n",
            self.n_common, self.second, self.first
        );
        let mut table = Table::new(&[
            "",
            "n",
            "first",
            "second",
            "difference",
            "[from, to]",
            "better",
            "worse",
            "McNemar p",
        ]);
        for one in &self.measures {
            let signed = |share: f64| format!("{:+.1}", 100.0 * share);
            let Estimate { mean, low, high } = one.difference;
            table.push(vec![
                one.measure.clone(),
                one.n.to_string(),
                percent(one.first),
                percent(one.second),
                signed(mean),
                format!("[{}, {}]", signed(low), signed(high)),
                one.better.len().to_string(),
                one.worse.len().to_string(),
                one.mcnemar.map_or_else(|| "-".to_owned(), |test| format!("{:.4}", test.p)),
            ]);
        }
        text += &table.render(style);
        text += "\n[from, to]: 95 % interval of the paired difference, percentile bootstrap over instances.\nMcNemar p: exact and two-sided, over the instances that changed.\n";
        for one in self.measures.iter().filter(|one| one.mcnemar.is_some()) {
            for (change, ids) in [("better", &one.better), ("worse", &one.worse)] {
                if !ids.is_empty() {
                    text += &format!("\n{} {change}: {}", one.measure, ids.join(", "));
                }
            }
        }
        for (name, ids) in [(&self.first, &self.only_first), (&self.second, &self.only_second)] {
            if !ids.is_empty() {
                text += &format!("\nonly in `{name}`: {}", ids.join(", "));
            }
        }
        text.push('\n');
        text
    }
}

/// `None` where no instance counts in both.
fn difference(
    (measure, is_binary, value): &Measure,
    pairs: &[(&InstanceRow, &InstanceRow)],
) -> Option<Difference> {
    let values = pairs.iter().filter_map(|(a, b)| Some((&a.instance, value(a)?, value(b)?)));
    let values: Vec<(&String, f64, f64)> = values.collect();
    if values.is_empty() {
        return None;
    }
    let changed = |is_changed: fn(f64, f64) -> bool| {
        let ids = values.iter().filter(|(_, a, b)| is_changed(*a, *b));
        ids.map(|(id, _, _)| (*id).clone()).collect::<Vec<String>>()
    };
    let (better, worse) = (changed(|a, b| a < b), changed(|a, b| b < a));
    let mean = |side: fn(&(&String, f64, f64)) -> f64| {
        values.iter().map(side).sum::<f64>() / values.len() as f64
    };
    let differences: Vec<f64> = values.iter().map(|(_, a, b)| b - a).collect();
    Some(Difference {
        measure: (*measure).to_owned(),
        n: values.len(),
        first: mean(|(_, a, _)| *a),
        second: mean(|(_, _, b)| *b),
        difference: estimate_mean(&differences),
        mcnemar: is_binary.then(|| McNemar::new(better.len(), worse.len())),
        better,
        worse,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::evaluation::tests::{instance, items};

    #[test]
    fn mcnemar_is_exact() {
        let p = |better, worse| McNemar::new(better, worse).p;
        // 2 · (1 + 10 + 45) / 1024; 2 / 2^5; a tie and no change prove nothing.
        assert!((p(8, 2) - 0.109_375).abs() < 1e-12);
        assert!((p(0, 5) - 0.0625).abs() < 1e-12);
        assert!((p(3, 3) - 1.0).abs() < 1e-12);
        assert!((p(0, 0) - 1.0).abs() < 1e-12);
        assert!(p(1200, 1000) < 0.001 && 0.0 < p(1200, 1000));
    }

    #[test]
    fn instances_are_paired_by_id() {
        let hit = || items(1, 1, &[Some(1)]);
        let miss = || items(0, 1, &[None]);
        let first = [
            instance("a", "r/r", miss(), false),
            instance("b", "r/r", hit(), true),
            instance("x", "r/r", hit(), true),
        ];
        let second = [instance("b", "r/r", hit(), false), instance("a", "r/r", hit(), false)];
        let compared = Comparison::new(("one", &first), ("two", &second));
        assert_eq!((compared.n_common, &compared.only_first[..]), (2, &["x".to_owned()][..]));
        let measure =
            |name: &str| compared.measures.iter().find(|one| one.measure == name).unwrap();
        assert_eq!(measure("file hit").better, ["a"]);
        assert_eq!(measure("applied").worse, ["b"]);
        assert!((measure("file hit").difference.mean - 0.5).abs() < 1e-12);
        assert!(compared.measures.iter().all(|one| one.measure != "resolved"));
        let text = compared.render(Style::Terminal);
        assert!(text.contains("file hit better: a") && text.contains("only in `one`: x"), "{text}");
    }
}
