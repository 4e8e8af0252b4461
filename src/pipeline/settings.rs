//! How much work one issue may cost.

use serde::Serialize;

/// Presets of [`Settings`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Effort {
    /// For a CPU: one answer per localization stage, one greedy edit and up to eight samples.
    Quick,
    /// For a GPU or a server, as Agentless does it: three files, four location samples, ten
    /// edits for each, ±10 lines, temperature 0.8 after one greedy sample.
    Normal,
    /// Twice the location samples and twice the edits of `Normal`.
    Max,
}

/// The numbers of samples, and how they are drawn.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Settings {
    /// Whether the model's likelihoods refine retrieval's ranking.
    pub rerank: bool,
    /// What the model's answer counts beside retrieval's ranking, whose reciprocal ranks count 1. A
    /// small model chooses worse than retrieval: its answer moves a place up, and not to the top.
    pub answer_weight: f64,
    /// Files that the later stages look into: the model's, then retrieval's.
    pub max_files: usize,
    /// Symbols whose lines are shown: the model's, then retrieval's.
    pub max_symbols: usize,
    /// Runs of code that edits are tried on where tests judge, besides the line stage's answers:
    /// so many of symbols that the issue names, and so many of the chosen ones.
    pub reserve_places: usize,
    /// Whether lines outside the chosen symbols are left out of the line stage's answers: a small
    /// model names imports too often.
    pub keeps_to_symbols: bool,
    /// Completions of the line stage; each distinct answer gets edits of its own.
    pub location_samples: usize,
    /// Completions of the edit stage for each location answer; the first is greedy.
    pub edit_samples: usize,
    /// Reproduction tests to sample; 0: none.
    #[serde(skip_serializing_if = "is_zero")]
    pub reproduction_samples: usize,
    /// Temperature of all but the first, greedy completion.
    pub temperature: f64,
    pub top_p: f64,
    /// Samples that must agree on a patch that no test has judged.
    pub min_votes: u32,
    pub seed: u64,
}

impl Settings {
    /// How many reproduction tests an effort samples. Agentless samples 40; its code's own default
    /// is 20.
    pub fn reproduction_preset(effort: Effort) -> usize {
        match effort {
            Effort::Quick => 6,
            Effort::Normal => 20,
            Effort::Max => 40,
        }
    }

    pub fn preset(effort: Effort) -> Self {
        let (location_samples, edit_samples) = match effort {
            Effort::Quick => (1, 9),
            Effort::Normal => (4, 10),
            Effort::Max => (8, 20),
        };
        Self {
            rerank: false,
            answer_weight: if effort == Effort::Quick { 0.5 } else { 1.0 },
            max_files: 3,
            max_symbols: 8,
            reserve_places: 4,
            keeps_to_symbols: effort == Effort::Quick,
            location_samples,
            edit_samples,
            reproduction_samples: 0,
            temperature: 0.8,
            top_p: 0.95,
            min_votes: 2,
            seed: 0,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(n: &usize) -> bool {
    *n == 0
}
