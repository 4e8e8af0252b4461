//! The token sequences of a job and what the network remembers of each.

use std::sync::Arc;

use anyhow::Context as _;

use crate::model::kernels::Isa;
use crate::model::local::decoder::{Ops, SequenceRows};
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
    /// Draws the next token, and lets go of what is remembered where it was the last.
    pub(super) fn draw(
        &mut self,
        logits: &[f32],
        tokenizer: &Tokenizer,
        job: &Job,
    ) -> anyhow::Result<()> {
        self.pending = self.sample.grow(logits, tokenizer, |event| job.send(event))?;
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
