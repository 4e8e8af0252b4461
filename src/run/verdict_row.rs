//! `verdicts.jsonl` of an evaluation: what a record's own tests say of its prediction.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::run::instance_row::InstanceRow;

/// The tests' word on one prediction. Nothing in it depends on when or how fast it came about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerdictRow {
    pub version: u32,
    pub instance: String,
    pub repo: String,
    pub outcome: TestOutcome,
    /// Why it is not resolved, or cannot be verified; empty where it is resolved.
    pub reason: String,
    /// Tests that the gold patch makes pass.
    pub fail_to_pass: TestsRow,
    /// Tests that must not break.
    pub pass_to_pass: TestsRow,
    /// The first of the tests that should pass and do not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failing: Vec<String>,
    /// A short name for all that the verdict depends on besides the prediction: recipe, record.
    pub judge: String,
    /// A short name for the predicted patch.
    pub patch: String,
    /// What kept the tests from doing harm.
    pub protection: String,
}

/// What becomes of a prediction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TestOutcome {
    /// All tests that should pass do.
    Resolved,
    NotResolved,
    /// Not even the gold patch passes here: nothing is known of the prediction.
    Unverifiable,
}

/// Tests that pass, of those that should.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TestsRow {
    pub passed: usize,
    pub expected: usize,
}

impl VerdictRow {
    /// Whether the prediction is resolved; `None` where that cannot be told.
    pub fn resolved(&self) -> Option<bool> {
        match self.outcome {
            TestOutcome::Resolved => Some(true),
            TestOutcome::NotResolved => Some(false),
            TestOutcome::Unverifiable => None,
        }
    }
}

/// Enters verdicts into the rows of their instances.
pub fn enter_verdicts(rows: &mut [InstanceRow], verdicts: &[VerdictRow]) {
    let verdicts: BTreeMap<&str, &VerdictRow> =
        verdicts.iter().map(|row| (row.instance.as_str(), row)).collect();
    for row in rows {
        if let Some(verdict) = verdicts.get(row.instance.as_str()) {
            row.resolved = verdict.resolved();
        }
    }
}
