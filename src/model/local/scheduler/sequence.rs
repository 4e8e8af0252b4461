//! The token sequences of a job and what the network remembers of each.

use std::sync::Arc;

use anyhow::Context as _;

use crate::model::kernels::Isa;
use crate::model::local::decoder::{Ops, SequenceRows};
use crate::model::local::draft::Drafting;
use crate::model::local::sample::Sample;
use crate::model::local::scheduler::Job;
use crate::model::local::tokenizer::Tokenizer;
use crate::model::sampler::logprob_of;

/// What a sequence remembers.
pub(super) struct Sequence<O: Ops> {
    pub(super) shared: Vec<Arc<O::Segment>>,
    pub(super) own: O::Segment,
}

/// A sample that grows, or has ended.
pub(super) struct Slot<O: Ops> {
    pub(super) sample: Sample,
    /// Gone once the sample has ended.
    pub(super) sequence: Option<Sequence<O>>,
    /// What the sequence became when it ended, where other samples may leave it.
    pub(super) path: Vec<Arc<O::Segment>>,
    /// Tokens of prompt and completion that the network has seen.
    pub(super) n_seen: usize,
    /// Tokens it has yet to see.
    pub(super) pending: Vec<u32>,
    /// Tokens that may follow these, to be seen in the same step.
    pub(super) guesses: Vec<u32>,
    drafting: Drafting,
}

/// A continuation that is judged.
pub(super) struct Scoring<O: Ops> {
    pub(super) sequence: Sequence<O>,
    pub(super) tokens: Vec<u32>,
    pub(super) n_seen: usize,
    pub(super) logprob: f64,
}

impl<O: Ops> Sequence<O> {
    /// A sequence that goes on after the first `end` positions of `path`.
    pub(super) fn branch(ops: &O, path: &[Arc<O::Segment>], end: usize) -> anyhow::Result<Self> {
        let covering = path.partition_point(|segment| ops.segment_start(segment) < end);
        let Some(last) = covering.checked_sub(1) else {
            return Ok(Self { shared: Vec::new(), own: ops.new_segment()? });
        };
        let own = ops.branch(&path[last], end)?;
        let start = ops.segment_start(&own);
        let visible = path[..covering].partition_point(|seg| ops.segment_start(seg) < start);
        Ok(Self { shared: path[..visible].to_vec(), own })
    }

    /// The whole sequence as segments that others may share.
    pub(super) fn into_path(self) -> Vec<Arc<O::Segment>> {
        let mut path = self.shared;
        path.push(Arc::new(self.own));
        path
    }

    pub(super) fn rows(&mut self, start: usize, n_rows: usize) -> SequenceRows<'_, O::Segment> {
        SequenceRows { n_rows, start, shared: &self.shared, own: &mut self.own }
    }
}

impl<O: Ops> Slot<O> {
    /// A sample of which the network has seen `n_seen` tokens, with its prompt's.
    pub(super) fn new(
        sample: Sample,
        sequence: Option<Sequence<O>>,
        n_seen: usize,
        pending: Vec<u32>,
    ) -> Self {
        let (path, guesses, drafting) = (Vec::new(), Vec::new(), Drafting::default());
        Self { sample, sequence, path, n_seen, pending, guesses, drafting }
    }

    /// Guesses at most `room` tokens after the pending ones.
    pub(super) fn guess(&mut self, prompt: &[u32], room: usize) {
        let room = room.min(self.sample.n_left());
        self.guesses = self.drafting.guess(prompt, self.sample.tokens(), room);
    }

    /// Draws the next token from the first of `rows`, the logits after the pending tokens, and
    /// goes on as long as what is drawn was guessed: the further rows are the logits after each
    /// guess. Lets go of what is remembered where the last token was drawn.
    pub(super) fn draw(
        &mut self,
        rows: &[&[f32]],
        tokenizer: &Tokenizer,
        job: &Job,
    ) -> anyhow::Result<()> {
        self.n_seen += self.pending.len();
        let guesses = std::mem::take(&mut self.guesses);
        let mut n_right = 0;
        loop {
            let logits = rows.get(n_right).context("the network returned too few rows")?;
            let next = self.sample.grow(logits, tokenizer, |event| job.send(event))?;
            let pairs = next.iter().zip(&guesses[n_right..]);
            let n_same = pairs.take_while(|(token, guess)| token == guess).count();
            n_right += n_same;
            if next.is_empty() || n_same < next.len() {
                self.pending = next[n_same..].to_vec();
                break;
            }
        }
        self.n_seen += n_right;
        self.drafting.learn(guesses.len(), n_right);
        if self.pending.is_empty()
            && let Some(sequence) = self.sequence.take()
            && self.sample.has_forks()
        {
            self.path = sequence.into_path();
        }
        Ok(())
    }
}

impl<O: Ops> Scoring<O> {
    /// Rows yet to compute: the last token's successor does not matter.
    pub(super) fn n_rows(&self) -> usize {
        self.tokens.len().saturating_sub(1) - self.n_seen
    }

    pub(super) fn judge(&mut self, isa: Isa, logits: &[f32]) -> anyhow::Result<()> {
        self.n_seen += 1;
        self.logprob += logprob_of(isa, logits, self.tokens[self.n_seen]).context("no logits")?;
        Ok(())
    }
}
