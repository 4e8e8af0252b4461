//! Limits of all four stages that suit a model and the machine it runs on.

use serde::{Deserialize, Serialize};

use crate::stage::budget::Budget;
use crate::stage::edit::{EditItems, EditStage, SearchRuns};
use crate::stage::file::{FileStage, FileView};
use crate::stage::function::FunctionStage;
use crate::stage::line::{LineShorthand, LineStage};
use crate::stage::reproduction::TestWriter;

/// How much a model is shown and asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// Models of up to about 2 billion parameters, or any model on a CPU: prompts of 700 to 1,400
    /// tokens, no reasoning, one edit.
    Small,
    /// 8,192 tokens of context.
    Medium,
    /// 32,768 tokens of context and more.
    Large,
}

/// Parameters of the largest model for [`Profile::Small`].
const SMALL_MODEL: f64 = 2e9;

/// The four stages with one profile's limits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stages {
    pub file: FileStage,
    pub function: FunctionStage,
    pub line: LineStage,
    pub edit: EditStage,
}

impl Profile {
    /// The profile for an engine: small wherever samples are dear or the model's name tells that
    /// it is small, else by its context.
    pub fn for_engine(model: &str, context_length: usize, is_local_cpu: bool) -> Self {
        match context_length {
            _ if is_local_cpu => Self::Small,
            _ if parameters(model).is_some_and(|n| n <= SMALL_MODEL) => Self::Small,
            0..8_192 => Self::Small,
            8_192..32_768 => Self::Medium,
            _ => Self::Large,
        }
    }

    /// Limits for writing a test of the issue.
    pub fn test_writer(self) -> TestWriter {
        let Stages { edit, .. } = self.stages();
        let is_small = self == Self::Small;
        TestWriter {
            budget: edit.budget,
            reasoning_tokens: edit.reasoning_tokens,
            context_lines: if is_small { 5 } else { 10 },
            example_lines: if is_small { 24 } else { 80 },
            test_tokens: if is_small { 400 } else { 1_024 },
            head_is_given: is_small,
        }
    }

    pub fn stages(self) -> Stages {
        // issue; prompts of the four stages; reasoning
        let (issue_tokens, prompts, reasoning_tokens) = match self {
            Self::Small => (260, [700, 1_200, 1_200, 1_400], 0),
            Self::Medium => (1_200, [3_000, 4_000, 4_000, 5_000], 300),
            Self::Large => (4_000, [8_000, 12_000, 16_000, 20_000], 600),
        };
        let budget = |stage: usize| Budget { prompt_tokens: prompts[stage], issue_tokens };
        let is_small = self == Self::Small;
        Stages {
            file: FileStage {
                budget: budget(0),
                reasoning_tokens,
                view: if self == Self::Large { FileView::Tree } else { FileView::Ranked },
                max_paths: 5,
                symbols_per_file: if is_small { 3 } else { 6 },
            },
            function: FunctionStage {
                budget: budget(1),
                reasoning_tokens,
                max_symbols: if is_small { 5 } else { 10 },
            },
            line: LineStage {
                budget: budget(2),
                reasoning_tokens,
                context_lines: if is_small { 3 } else { 10 },
                max_entries: if is_small { 5 } else { 20 },
                shorthand: LineShorthand::Span,
            },
            edit: EditStage {
                budget: budget(3),
                reasoning_tokens,
                context_lines: 10,
                max_edits: if is_small { 1 } else { 8 },
                search: if is_small { SearchRuns::Chosen } else { SearchRuns::Any },
                max_search_lines: if is_small { 24 } else { 0 },
                replace_tokens: if is_small { 500 } else { 1_500 },
                new_files: !is_small,
                items: EditItems::Content,
            },
        }
    }
}

/// The number of parameters that a model's name tells: the last of its words such as `0.5B` or
/// `135m`.
fn parameters(model: &str) -> Option<f64> {
    let words = model.rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '.');
    let mut numbers = words.filter_map(|word| {
        let unit = match word.chars().last()?.to_ascii_lowercase() {
            'b' => 1e9,
            'm' => 1e6,
            _ => return None,
        };
        Some(word[..word.len() - 1].parse::<f64>().ok()? * unit)
    });
    numbers.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_s_name_tells_its_size() {
        let rows = [
            ("Qwen2.5-Coder-0.5B-Instruct", Profile::Small),
            ("/models/qwen2.5-coder-1.5b-instruct-q4_k_m.gguf", Profile::Small),
            ("SmolLM2-135M-Instruct.Q4_1.gguf", Profile::Small),
            ("qwen2.5-coder:7b", Profile::Large),
            ("Qwen/Qwen3-32B", Profile::Large),
            ("gpt-oss", Profile::Large),
            ("mistral-b", Profile::Large),
        ];
        for (model, profile) in rows {
            assert_eq!(Profile::for_engine(model, 32_768, false), profile, "{model}");
        }
        assert_eq!(Profile::for_engine("qwen2.5-coder:7b", 8_192, false), Profile::Medium);
        assert_eq!(Profile::for_engine("qwen2.5-coder:7b", 32_768, true), Profile::Small);
    }
}
