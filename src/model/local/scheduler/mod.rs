//! Which tokens go through the network next: prompts in chunks, the samples of all requests in
//! one batch that they join and leave as they start and end.

mod running;
mod sequence;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;

use anyhow::ensure;
use tokio::sync::mpsc::UnboundedSender;

use crate::model::constraint::Constraint;
use crate::model::local::adapter::AdapterWeights;
use crate::model::local::decoder::{Batch, Decoder, Ops};
use crate::model::local::prefix::PrefixStore;
use crate::model::local::sample::Sample;
use crate::model::local::scheduler::running::{Running, State};
use crate::model::local::scheduler::sequence::Sequence;
use crate::model::local::tokenizer::Tokenizer;
use crate::model::local::weights::Weights;
use crate::model::{Completion, Event, Sampling};

/// One call of the engine, its prompt tokenized.
pub struct Job {
    pub prompt: Vec<u32>,
    /// Whether the adapter has a part in it, where there is one.
    pub adapted: bool,
    pub task: Task,
    /// Closed by the caller when it no longer wants the answer.
    pub reply: UnboundedSender<Reply>,
}

/// What is wanted of a prompt.
pub enum Task {
    /// The sampling's `max_tokens` fit into the context.
    Generate {
        sampling: Sampling,
        seed: u64,
        constraint: Option<Constraint>,
    },
    Score {
        continuations: Vec<Vec<u32>>,
    },
    /// What whatever comes next is computed with; the prompt is empty.
    Change(Change),
}

/// What takes the place of what was there.
pub enum Change {
    /// The adapter.
    Adapter(AdapterWeights),
    /// All weights, with which the adapter goes.
    Weights(Weights),
}

/// What a caller hears.
pub enum Reply {
    Event(Event),
    Completed(anyhow::Result<Vec<Completion>>),
    Scored(anyhow::Result<Vec<f64>>),
    Changed(anyhow::Result<()>),
}

/// How much goes through the network at once, and how much is remembered.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Prompt tokens in one step.
    pub prefill_rows: usize,
    /// Samples that grow at the same time.
    pub max_samples: usize,
    /// Rows of a step up to which next tokens are guessed; beyond, rows are no longer nearly free.
    pub max_guessing_rows: usize,
    /// Bytes of keys and values kept from prompts.
    pub max_prefix_bytes: usize,
}

/// Owns the network and everything in flight.
pub struct Scheduler<O: Ops> {
    fixed: Fixed<O>,
    prefixes: PrefixStore<O::Segment>,
    waiting: VecDeque<Job>,
    running: Vec<Running<O>>,
}

/// What never changes while a model is loaded.
struct Fixed<O: Ops> {
    decoder: Decoder<O>,
    tokenizer: Arc<Tokenizer>,
    limits: Limits,
}

impl<O: Ops> Scheduler<O> {
    pub fn new(decoder: Decoder<O>, tokenizer: Arc<Tokenizer>, limits: Limits) -> Self {
        let prefixes = PrefixStore::new(limits.max_prefix_bytes);
        let fixed = Fixed { decoder, tokenizer, limits };
        Self { fixed, prefixes, waiting: VecDeque::new(), running: Vec::new() }
    }

    pub fn submit(&mut self, job: Job) {
        match job.task {
            Task::Change(change) => {
                // A caller that has gone needs no answer.
                drop(job.reply.send(Reply::Changed(self.change(change))));
            }
            _ => self.waiting.push_back(job),
        }
    }

    /// What was remembered of prompts was computed with what was there before.
    fn change(&mut self, change: Change) -> anyhow::Result<()> {
        ensure!(self.is_idle(), "the model cannot change while requests are in flight");
        self.prefixes = PrefixStore::new(self.fixed.limits.max_prefix_bytes);
        match change {
            Change::Adapter(adapter) => self.fixed.decoder.adapt(adapter),
            Change::Weights(weights) => self.fixed.decoder.replace(&weights),
        }
    }

    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    /// Runs one step of the network for whatever is in flight.
    pub fn step(&mut self) {
        self.waiting.retain(|job| !job.reply.is_closed());
        self.running.retain(|running| !running.job.reply.is_closed());
        if let Err(error) = self.admit().and_then(|()| self.advance()) {
            // What failed is the network, not one request: all of them hear of it.
            for running in self.running.drain(..) {
                running.job.fail(&error);
            }
        }
    }

    /// Starts the next prompt once the one before it is computed, so that it can share it.
    fn admit(&mut self) -> anyhow::Result<()> {
        let is_busy = |running: &Running<O>| matches!(running.state, State::Prompt { .. });
        let n_growing: usize = self.running.iter().map(Running::n_growing).sum();
        if self.running.iter().any(is_busy) || n_growing >= self.fixed.limits.max_samples {
            return Ok(());
        }
        let Some(job) = self.waiting.pop_front() else { return Ok(()) };
        let ops = self.fixed.decoder.ops();
        let opening = match &job.task {
            Task::Generate { constraint: Some(constraint), .. } => {
                Sample::opening(constraint, &self.fixed.tokenizer)
            }
            _ => Vec::new(),
        };
        let tokens = [job.prompt.as_slice(), &opening].concat();
        let (sequence, n_cached) = match self.prefixes.find(job.adapted, &tokens) {
            Some(prefix) => (Sequence::branch(ops, &prefix.path, prefix.len)?, prefix.len),
            None => (Sequence { shared: Vec::new(), own: ops.new_segment()? }, 0),
        };
        let state = State::Prompt { sequence, n_done: n_cached };
        self.running.push(Running { job, opening, tokens, state, n_cached });
        Ok(())
    }

    fn advance(&mut self) -> anyhow::Result<()> {
        for adapted in [false, true] {
            self.compute(adapted)?;
        }
        for running in &mut self.running {
            running.fork(&self.fixed)?;
        }
        self.running.retain_mut(|running| !running.finish());
        Ok(())
    }

    /// One step of the network for the jobs with the adapter, or for those without it.
    fn compute(&mut self, adapted: bool) -> anyhow::Result<()> {
        let is_of_step = |running: &&mut Running<O>| running.job.adapted == adapted;
        let mut ids = Vec::new();
        let mut sequences = Vec::new();
        let mut wanted = Vec::new();
        for running in self.running.iter_mut().filter(is_of_step) {
            running.collect(&self.fixed.limits, &mut ids, &mut sequences, &mut wanted);
        }
        if ids.is_empty() {
            return Ok(());
        }
        let Fixed { decoder, tokenizer, .. } = &self.fixed;
        let batch = Batch { ids: &ids, sequences, wanted: &wanted };
        let mut logits = match adapted {
            true => decoder.forward(batch)?,
            false => decoder.forward_bare(batch)?,
        };
        for row in logits.chunks_exact_mut(decoder.config.n_vocab) {
            tokenizer.mask_silent(row);
        }
        let mut rows = logits.chunks_exact(decoder.config.n_vocab);
        for running in self.running.iter_mut().filter(is_of_step) {
            running.take(&mut rows, &self.fixed, &mut self.prefixes)?;
        }
        Ok(())
    }
}

impl Job {
    fn fail(self, error: &anyhow::Error) {
        let error = anyhow::anyhow!("the local engine failed: {error:#}");
        // A caller that has gone needs no answer.
        drop(self.reply.send(match self.task {
            Task::Generate { .. } => Reply::Completed(Err(error)),
            Task::Score { .. } => Reply::Scored(Err(error)),
            Task::Change(_) => Reply::Changed(Err(error)),
        }));
    }

    fn send(&self, event: Event) {
        drop(self.reply.send(Reply::Event(event)));
    }
}
