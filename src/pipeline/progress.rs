//! What the pipeline tells while it works; a command draws it.

use crate::model::Event;
use crate::stage::StageKind;

/// Hears of progress, from any thread.
pub type Listener<'a> = dyn Fn(Progress) + Send + Sync + 'a;

/// One thing that happened.
#[derive(Debug, Clone)]
pub enum Progress {
    /// The model judges retrieval's first files.
    Reranking { n: usize },
    /// A prompt is about to be asked.
    Asking { stage: StageKind, prompt_tokens: usize, n: usize },
    /// The engine's own progress.
    Model { stage: StageKind, event: Event },
    /// A stage has its answer: what it is, in one line.
    Answered { stage: StageKind, summary: String },
    /// A stage had no usable answer, and what stands in for it.
    FellBack { stage: StageKind, why: String },
    /// A test command starts, for the unchanged code or for a candidate.
    Testing { what: String },
    /// A completion that is no use, and why.
    Unusable { stage: StageKind, words: String },
    /// How a candidate stands.
    Candidate { sample: u64, votes: u32, n_samples: u32, verdict: String },
}
