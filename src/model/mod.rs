//! Engines: they turn prompts into completions, and know nothing of stages.

pub mod catalog;
pub mod constraint;
pub mod download;
pub mod http;
pub mod kernels;
pub mod local;
pub mod remote;
pub mod sampler;
pub mod scripted;
pub mod shipped;
pub mod token_trie;
pub mod vocabulary;

use std::borrow::Cow;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::grammar::Grammar;
use crate::prompt::{CountTokens, Prompt};

/// Something that completes prompts: a local model, a server, a recorded run.
///
/// Dropping the future of a request cancels it.
pub trait Generate: Send + Sync {
    fn info(&self) -> &EngineInfo;

    /// Counts prompt tokens the way this engine will.
    fn counter(&self) -> &dyn CountTokens;

    /// Completes one prompt `sampling.n` times; `events` hears of progress while it works.
    fn generate<'a>(
        &'a self,
        request: &'a Request,
        events: &'a (dyn Fn(Event) + Send + Sync),
    ) -> BoxFuture<'a, anyhow::Result<Vec<Completion>>>;

    /// Log-probabilities of `continuations` of one prompt, for engines that can judge as well as
    /// choose; `None` for those that cannot.
    fn score<'a>(
        &'a self,
        prompt: &'a Prompt,
        continuations: &'a [String],
    ) -> Option<BoxFuture<'a, anyhow::Result<Vec<f64>>>>;
}

/// What an engine says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineInfo {
    /// The name that `run.json` and `predictions.jsonl` carry.
    pub name: String,
    /// Tokens of prompt and completion together.
    pub context_length: usize,
    /// Whether completions obey [`Request::grammar`].
    pub obeys_grammar: bool,
    /// Whether it runs on a CPU of this machine, where samples are dear.
    pub is_local_cpu: bool,
    /// Whether it can give completions that all differ ([`Variety::Distinct`]); another engine
    /// draws them independently.
    #[serde(default)]
    pub gives_distinct: bool,
}

/// One model call.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    pub prompt: Prompt,
    pub sampling: Sampling,
    /// The only completions allowed, where the engine can obey.
    pub grammar: Option<Grammar>,
    /// Seeds the samples: sample `i` draws from ChaCha8 keyed by (seed, i) at its token position.
    pub seed: u64,
    /// The stage that asks, or what else does: an adapter may be for some of them alone. Empty
    /// where it has part in any case.
    pub stage: &'static str,
}

/// How completions are drawn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// How many completions of the prompt.
    pub n: usize,
    /// 0 is greedy.
    pub temperature: f64,
    pub top_p: f64,
    /// 0 is off.
    pub top_k: usize,
    pub min_p: f64,
    /// Tokens of one completion, forced ones included.
    pub max_tokens: usize,
    /// Texts that end a completion; they are not part of it.
    pub stop: Vec<String>,
    #[serde(default, skip_serializing_if = "Variety::is_independent")]
    pub variety: Variety,
}

/// How the completions of one request differ from each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Variety {
    /// Each is drawn by itself, so that equal ones tell what the model is sure of.
    #[default]
    Independent,
    /// All differ: the greedy one, then those that leave an earlier one at the likeliest points
    /// and go on greedily; temperature and cuts play no part. Where there are fewer than were
    /// asked for, the greedy one repeats.
    Distinct,
}

impl Variety {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    fn is_independent(&self) -> bool {
        *self == Self::Independent
    }
}

/// Raw model output: bytes, because a token may hold part of a character.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    pub bytes: Vec<u8>,
    pub finish: Finish,
    /// Sum of the log-probabilities of the sampled (not the forced) tokens, under the
    /// distribution they were drawn from before temperature; `None` where the engine keeps none.
    pub logprob: Option<f64>,
    pub usage: Usage,
    /// Ids of all its tokens, the one that ended the turn included; empty where the engine does
    /// not tell.
    pub tokens: Vec<u32>,
}

impl Completion {
    /// The completion as text; bytes that are no UTF-8 become U+FFFD.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.bytes)
    }

    /// The log-probability per sampled token, where the engine keeps it.
    pub fn mean_logprob(&self) -> Option<f64> {
        let n_sampled = self.usage.completion_tokens.saturating_sub(self.usage.forced_tokens);
        self.logprob.map(|logprob| logprob / n_sampled.max(1) as f64)
    }
}

/// Why a completion ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// The model ended its turn, or a stop text or the grammar's end was reached.
    Stop,
    /// The token limit cut it.
    Length,
}

/// Tokens of one completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    pub prompt_tokens: usize,
    /// Of the prompt's tokens, those that were not computed again.
    pub cached_tokens: usize,
    pub completion_tokens: usize,
    /// Of the completion's tokens, those that the grammar forced.
    pub forced_tokens: usize,
    /// Whether the engine did not tell, and the counts are estimates.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_estimated: bool,
}

impl Usage {
    /// Adds what an answer took that was thrown away.
    pub fn add(&mut self, other: &Self) {
        self.prompt_tokens += other.prompt_tokens;
        self.cached_tokens += other.cached_tokens;
        self.completion_tokens += other.completion_tokens;
        self.forced_tokens += other.forced_tokens;
        self.is_estimated |= other.is_estimated;
    }
}

/// Progress of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// So many of the prompt's tokens are computed.
    Prefill { done: usize, total: usize },
    /// A sample grew by this much.
    Text { sample: usize, bytes: Vec<u8> },
    /// A sample begins again: what was heard of its text is void.
    Again { sample: usize },
    /// A sample ended.
    Finished { sample: usize },
    /// Something went wrong and is tried again: what, in words.
    Trouble { words: String },
}
