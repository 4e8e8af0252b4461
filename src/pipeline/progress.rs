//! What the pipeline tells while it works; a command draws it.

use crate::model::Event;
use crate::stage::StageKind;

/// Hears of progress, from any thread.
pub type Listener<'a> = dyn Fn(Progress) + Send + Sync + 'a;

/// What a model is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    Stage(StageKind),
    /// A test that shows the issue.
    Reproduction,
}

impl Topic {
    /// The name in a run's files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stage(kind) => kind.name(),
            Self::Reproduction => "reproduce",
        }
    }
}

/// One thing that happened.
#[derive(Debug, Clone)]
pub enum Progress {
    /// The model judges retrieval's first files.
    Reranking { n: usize },
    /// A prompt is about to be asked.
    Asking { topic: Topic, prompt_tokens: usize, n: usize },
    /// The engine's own progress.
    Model { topic: Topic, event: Event },
    /// A stage has its answer: what it is, in one line.
    Answered { topic: Topic, summary: String },
    /// A stage had no usable answer, and what stands in for it.
    FellBack { topic: Topic, why: String },
    /// A test command starts, for the unchanged code or for a candidate.
    Testing { what: String },
    /// The tests that look at a candidate's changes, and why those.
    Chosen { words: String },
    /// A completion that is no use, and why.
    Unusable { topic: Topic, words: String },
    /// How a candidate stands.
    Candidate { sample: u64, votes: u32, n_samples: u32, verdict: String },
}
