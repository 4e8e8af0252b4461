//! Limits under which the ceiling is measured.

use crate::stage::budget::Budget;
use crate::stage::edit::{EditItems, EditStage, SearchRuns};
use crate::stage::file::{FileStage, FileView};
use crate::stage::function::FunctionStage;
use crate::stage::line::{LineShorthand, LineStage};
use crate::stage::profile::Stages;

/// More than any repository, prompt or answer has.
const NO_LIMIT: usize = 1 << 30;

/// What the stages may show and answer.
#[derive(Debug, Clone)]
pub struct Limits {
    /// As tables call it: `none`, `3 files`, `8k, 5 files`, ….
    pub name: String,
    pub stages: Stages,
    /// Tokens of an edit answer.
    pub completion_tokens: usize,
    /// Whether each answer is looked up in the stage's grammar too.
    pub checks_grammar: bool,
}

impl Limits {
    /// No limit on tokens, files, symbols, lines or edits.
    pub fn none() -> Self {
        Self { checks_grammar: true, ..Self::of(None, None) }
    }

    /// Limits on the context's tokens and on the files that the later stages look into. Three
    /// quarters of a context are the prompt's, a quarter of that at most the issue's, the rest is
    /// the answer's.
    pub fn of(context_tokens: Option<usize>, max_files: Option<usize>) -> Self {
        let prompt_tokens = context_tokens.map_or(NO_LIMIT, |tokens| tokens / 4 * 3);
        let budget = Budget { prompt_tokens, issue_tokens: prompt_tokens / 4 };
        let is_small = context_tokens.is_some_and(|tokens| tokens < 32_768);
        let names = [
            context_tokens.map(|tokens| format!("{}k", tokens / 1024)),
            max_files.map(|files| format!("{files} files")),
        ];
        let name = names.into_iter().flatten().collect::<Vec<_>>().join(", ");
        Self {
            name: if name.is_empty() { "none".to_owned() } else { name },
            completion_tokens: context_tokens.map_or(NO_LIMIT, |tokens| tokens / 4),
            checks_grammar: false,
            stages: Stages {
                file: FileStage {
                    budget,
                    reasoning_tokens: 0,
                    view: if is_small { FileView::Ranked } else { FileView::Tree },
                    max_paths: max_files.unwrap_or(NO_LIMIT),
                    symbols_per_file: 6,
                },
                function: FunctionStage { budget, reasoning_tokens: 0, max_symbols: NO_LIMIT },
                line: LineStage {
                    budget,
                    reasoning_tokens: 0,
                    context_lines: 10,
                    max_entries: NO_LIMIT,
                    shorthand: LineShorthand::Reject,
                },
                edit: EditStage {
                    budget,
                    reasoning_tokens: 0,
                    context_lines: 10,
                    max_edits: NO_LIMIT,
                    search: SearchRuns::Any,
                    max_search_lines: 0,
                    replace_tokens: u32::MAX,
                    new_files: true,
                    items: EditItems::Content,
                },
            },
        }
    }

    /// The limits of the ceilings' table: files alone, then each context with either.
    pub fn table() -> Vec<Self> {
        let mut rows = vec![Self::none()];
        for context in [None, Some(8 << 10), Some(32 << 10), Some(128 << 10)] {
            rows.extend([3, 5].map(|files| Self::of(context, Some(files))));
        }
        rows
    }
}
