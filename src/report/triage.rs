//! How well triage tells a change of the right place from a change of another.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::report::failure::Failure;
use crate::report::table::{Style, Table, percent};

/// Agreements that are tried as a threshold.
const THRESHOLDS: [f64; 11] = [0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.8];

/// The agreement of one gold patch with its own issue, and with issues of other instances.
#[derive(Debug, Clone, Serialize)]
pub struct InstanceAgreement {
    pub instance_id: String,
    pub repo: String,
    /// `None` where the patch changes no source file that was there before.
    pub own: Option<f64>,
    /// By the instance whose issue it is; empty where `own` is `None`.
    pub others: BTreeMap<String, f64>,
}

/// What a threshold does.
#[derive(Debug, Clone, Serialize)]
pub struct AtThreshold {
    pub threshold: f64,
    /// The share of gold patches that is refused though they go where their own issue points.
    pub refused: f64,
    /// The share of pairs of a patch and another instance's issue that is detected.
    pub detected: f64,
}

#[derive(Debug, Clone, Serialize)]
pub struct TriageReport {
    pub version: u32,
    pub n_instances: usize,
    pub n_pairs: usize,
    /// Instances whose patch changes no source file that was there before: they pass.
    pub n_nothing_to_compare: usize,
    /// The curve of `detected` over `refused` (ROC), threshold by threshold.
    pub thresholds: Vec<AtThreshold>,
    /// The chance that a patch agrees more with its own issue than with another's (the area under
    /// that curve); equal agreements count half.
    pub area: f64,
    pub failed: Vec<Failure>,
    pub instances: Vec<InstanceAgreement>,
}

impl TriageReport {
    pub fn new(instances: Vec<InstanceAgreement>, failed: Vec<Failure>) -> Self {
        let own: Vec<f64> = instances.iter().filter_map(|one| one.own).collect();
        let others: Vec<f64> =
            instances.iter().flat_map(|one| one.others.values().copied()).collect();
        let share = |values: &[f64], threshold: f64| {
            let n_below = values.iter().filter(|value| **value < threshold).count();
            n_below as f64 / values.len().max(1) as f64
        };
        let at = |threshold: f64| AtThreshold {
            threshold,
            refused: share(&own, threshold),
            detected: share(&others, threshold),
        };
        Self {
            version: 1,
            n_instances: instances.len(),
            n_pairs: others.len(),
            n_nothing_to_compare: instances.iter().filter(|one| one.own.is_none()).count(),
            thresholds: THRESHOLDS.map(at).to_vec(),
            area: area(&own, &others),
            failed,
            instances,
        }
    }
}

fn area(own: &[f64], others: &[f64]) -> f64 {
    let wins = own.iter().flat_map(|own| {
        others.iter().map(move |other| match own.total_cmp(other) {
            std::cmp::Ordering::Greater => 1.0,
            std::cmp::Ordering::Equal => 0.5,
            std::cmp::Ordering::Less => 0.0,
        })
    });
    wins.sum::<f64>() / (own.len() * others.len()).max(1) as f64
}

pub fn render_triage(report: &TriageReport, style: Style) -> String {
    let mut table = Table::new(&["threshold", "own refused", "others detected"]);
    for at in &report.thresholds {
        let share = |share: f64| percent(share);
        table.push(vec![format!("{:.2}", at.threshold), share(at.refused), share(at.detected)]);
    }
    format!(
        "{} gold patches with their own issues, {} pairs with others' of the same repository; percent\n\n\
         {}\narea under the curve {:.3}; {} patches change no source file that was there before, and pass\n",
        report.n_instances - report.n_nothing_to_compare,
        report.n_pairs,
        table.render(style),
        report.area,
        report.n_nothing_to_compare
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_the_area_count_pairs() {
        let one = |own: Option<f64>, others: &[f64]| InstanceAgreement {
            instance_id: "a".to_owned(),
            repo: "r".to_owned(),
            own,
            others: others.iter().enumerate().map(|(n, share)| (n.to_string(), *share)).collect(),
        };
        let instances = vec![one(Some(1.0), &[0.0, 0.02]), one(Some(0.02), &[0.6]), one(None, &[])];
        let report = TriageReport::new(instances, Vec::new());
        let first = &report.thresholds[0];
        assert_eq!((first.refused, report.n_pairs, report.n_nothing_to_compare), (0.5, 3, 1));
        assert!((first.detected - 2.0 / 3.0).abs() < 1e-12);
        // Pairs (own, other): 3 wins of 1.0; 0.02 wins once, ties once, loses once.
        assert!((report.area - 4.5 / 6.0).abs() < 1e-12, "{}", report.area);
    }
}
