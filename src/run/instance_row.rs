//! `instances.jsonl` of an evaluation: what each instance counts in the tables.
//!
//! A row holds counts and places only, nothing that depends on when or where it was computed, so
//! that tables can be made, merged and compared without repositories and models.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The first sample number of calls with true inputs, behind all of the pipeline's own.
pub const TRUE_INPUTS: u64 = 1 << 20;

/// An evaluated instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InstanceRow {
    pub version: u32,
    pub instance: String,
    pub repo: String,
    /// The first, greedy completion of each stage, given what the stage before it decided. Stages
    /// that the gold patch says nothing for are absent.
    pub stages: PerStage<StageRow>,
    /// The same with the truth of the stage before it as input, where that was asked for.
    #[serde(default, skip_serializing_if = "PerStage::is_empty")]
    pub true_inputs: PerStage<StageRow>,
    /// The places that the pipeline went on with: the answer joined with retrieval's ranking.
    pub joined: PerStage<ItemsRow>,
    /// Retrieval's first items in place of an answer, k = 1 to 5.
    pub copied: PerStage<Vec<ItemsRow>>,
    /// As many items as the model answered, drawn from those that its prompt showed.
    pub shuffled: PerStage<ItemsRow>,
    /// Whether the first greedy edit is usable and changes more than blanks and comments.
    pub applied_first: bool,
    /// The same of the final prediction.
    pub applied: bool,
    /// Completions of all stages.
    pub n_completions: usize,
    /// Unusable completions by stage and reason.
    pub rejections: PerStage<BTreeMap<String, usize>>,
    /// Distinct patches among the samples.
    pub n_candidates: usize,
    /// How the prediction stands, in words.
    pub verdict: String,
    /// Tokens of each stage.
    pub tokens: PerStage<TokensRow>,
    /// Whether the record's tests pass with the prediction; absent where they were not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved: Option<bool>,
}

/// A stage's first completion.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StageRow {
    #[serde(flatten)]
    pub items: ItemsRow,
    /// Items of the truth that the prompt showed.
    pub in_view: usize,
    /// Of the answered items, those that do not exist.
    pub invented: usize,
    /// Why the completion is unusable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejection: Option<String>,
}

/// A list of items, compared with the truth.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ItemsRow {
    #[serde(flatten)]
    pub counts: Counts,
    /// For each item of the truth its place in the list, from 1; best first, `None` where it is
    /// not there. Absent for edits, which are no ranked list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<Option<usize>>,
}

/// Items both answered and expected, answered, expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    pub hits: usize,
    pub answered: usize,
    pub expected: usize,
}

/// Tokens of a stage's calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TokensRow {
    /// A prompt that several samples share counts once.
    pub prompt: usize,
    pub completion: usize,
}

/// Something of each stage, as far as it is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PerStage<T> {
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub file: Option<T>,
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub function: Option<T>,
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub line: Option<T>,
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub edit: Option<T>,
}

fn none<T>() -> Option<T> {
    None
}

impl<T> Default for PerStage<T> {
    fn default() -> Self {
        Self { file: None, function: None, line: None, edit: None }
    }
}

impl<T> PerStage<T> {
    /// The place of a stage by its name; there are four.
    pub fn slot(&mut self, stage: &str) -> Option<&mut Option<T>> {
        match stage {
            "file" => Some(&mut self.file),
            "function" => Some(&mut self.function),
            "line" => Some(&mut self.line),
            "edit" => Some(&mut self.edit),
            _ => None,
        }
    }

    pub fn get(&self, stage: &str) -> Option<&T> {
        match stage {
            "file" => self.file.as_ref(),
            "function" => self.function.as_ref(),
            "line" => self.line.as_ref(),
            "edit" => self.edit.as_ref(),
            _ => None,
        }
    }

    pub fn set(&mut self, stage: &str, value: T) {
        if let Some(slot) = self.slot(stage) {
            *slot = Some(value);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// What is there, in the order of the pipeline.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &T)> {
        let stages = [
            ("file", &self.file),
            ("function", &self.function),
            ("line", &self.line),
            ("edit", &self.edit),
        ];
        stages.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?)))
    }
}
