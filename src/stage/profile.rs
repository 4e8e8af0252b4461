//! Limits of all four stages that suit a model and the machine it runs on.

use serde::{Deserialize, Serialize};

use crate::stage::budget::Budget;
use crate::stage::edit::{EditItems, EditStage, SearchRuns};
use crate::stage::file::{FileStage, FileView};
use crate::stage::function::FunctionStage;
use crate::stage::line::{LineShorthand, LineStage};

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

/// The four stages with one profile's limits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stages {
    pub file: FileStage,
    pub function: FunctionStage,
    pub line: LineStage,
    pub edit: EditStage,
}

impl Profile {
    /// The profile for an engine: by its context, and small wherever samples are dear.
    pub fn for_engine(context_length: usize, is_local_cpu: bool) -> Self {
        match context_length {
            _ if is_local_cpu => Self::Small,
            0..8_192 => Self::Small,
            8_192..32_768 => Self::Medium,
            _ => Self::Large,
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
