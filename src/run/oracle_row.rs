//! `instances.jsonl` of an oracle run: how far the gold patch of an instance comes.

use serde::{Deserialize, Serialize};

use crate::run::RUN_VERSION;
use crate::run::instance_row::{Counts, PerStage};

/// An instance under all limits that were asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OracleRow {
    pub version: u32,
    pub instance: String,
    pub repo: String,
    pub ceilings: Vec<CeilingRow>,
}

impl OracleRow {
    pub fn new(instance: &str, repo: &str, ceilings: Vec<CeilingRow>) -> Self {
        let (instance, repo) = (instance.to_owned(), repo.to_owned());
        Self { version: RUN_VERSION, instance, repo, ceilings }
    }
}

/// An instance under one set of limits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CeilingRow {
    /// What the limits are called.
    pub limits: String,
    /// Stages that the gold patch says nothing for are absent.
    pub stages: PerStage<StageCeiling>,
    /// Whether patching the base tree with what came out gives the gold tree, byte for byte.
    pub tree_identical: bool,
    /// In the order of the stages.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub losses: Vec<LossRow>,
}

impl CeilingRow {
    pub fn new(limits: &str) -> Self {
        let stages = PerStage::default();
        Self { limits: limits.to_owned(), stages, tree_identical: false, losses: Vec::new() }
    }
}

/// How much of a stage's truth can be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageCeiling {
    /// Items of the truth that the prompt shows.
    pub in_view: usize,
    /// What came back from the parsed answer.
    pub counts: Counts,
    /// Whether the grammar allows the answer; absent where it was not looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_grammar: Option<bool>,
}

impl StageCeiling {
    /// Nothing is shown and nothing answered.
    pub fn nothing(n_expected: usize) -> Self {
        let counts = Counts { hits: 0, answered: 0, expected: n_expected };
        Self { in_view: 0, counts, in_grammar: None }
    }
}

/// Something that did not come through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LossRow {
    pub stage: String,
    /// One of a few words, to be counted.
    pub reason: String,
    pub why: String,
}
