//! What a network says of given tokens, for checks against other engines.

use std::path::Path;

use crate::model::local::cpu::Cpu;
use crate::model::local::decoder::{Batch, Ops, SequenceRows};
use crate::model::local::load::{Loaded, LocalOptions, PREFILL_ROWS};
use crate::model::sampler::logprob_of;

/// A loaded model that is asked for more than completions.
pub struct Judge<O: Ops = Cpu> {
    loaded: Loaded<O>,
}

/// A token that the network puts first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Best {
    pub token: u32,
    /// How far the next best logit lies below its own.
    pub lead: f32,
}

impl Judge {
    /// Loads a GGUF file, or a Hugging Face directory, for the CPU.
    pub fn load(path: &Path, options: &LocalOptions) -> anyhow::Result<Self> {
        Ok(Self { loaded: Loaded::read(path, options)? })
    }
}

impl<O: Ops> Judge<O> {
    /// The same for another device.
    pub fn over(loaded: Loaded<O>) -> Self {
        Self { loaded }
    }

    pub fn encode(&self, text: &str) -> anyhow::Result<Vec<u32>> {
        self.loaded.tokenizer.encode(text)
    }

    /// The likeliest continuation of `ids`, whether or not a turn ends in it.
    pub fn greedy(&self, ids: &[u32], n_tokens: usize) -> anyhow::Result<Vec<Best>> {
        let mut own = self.loaded.decoder.ops().new_segment()?;
        let mut logits = self.logits(&mut own, 0, ids, false)?;
        let mut all: Vec<Best> = Vec::with_capacity(n_tokens);
        for step in 0..n_tokens {
            if let Some(last) = all.last() {
                logits = self.logits(&mut own, ids.len() + step - 1, &[last.token], false)?;
            }
            all.push(best_of(&logits));
        }
        Ok(all)
    }

    /// The log-probability of each token but the first, given those before it.
    pub fn logprobs(&self, ids: &[u32]) -> anyhow::Result<Vec<f64>> {
        let mut own = self.loaded.decoder.ops().new_segment()?;
        let logits = self.logits(&mut own, 0, ids, true)?;
        let isa = self.loaded.decoder.ops().isa();
        let rows = logits.chunks_exact(self.loaded.decoder.config.n_vocab);
        let scored = rows.zip(ids.iter().skip(1));
        Ok(scored.map(|(row, &id)| logprob_of(isa, row, id).unwrap_or(f64::NAN)).collect())
    }

    /// The logits after the last of `ids`, or after each of them.
    fn logits(
        &self,
        own: &mut O::Segment,
        start: usize,
        ids: &[u32],
        all: bool,
    ) -> anyhow::Result<Vec<f32>> {
        let mut logits = Vec::new();
        for (idx, chunk) in ids.chunks(PREFILL_ROWS).enumerate() {
            let (n_rows, before) = (chunk.len(), idx * PREFILL_ROWS);
            let is_last = before + n_rows == ids.len();
            let first = if all { 0 } else { n_rows - usize::from(is_last) };
            let wanted: Vec<usize> = (first..n_rows).collect();
            let sequences =
                vec![SequenceRows { n_rows, start: start + before, shared: &[], own: &mut *own }];
            let batch = Batch { ids: chunk, sequences, wanted: &wanted };
            logits.extend_from_slice(&self.loaded.decoder.forward(batch)?);
        }
        Ok(logits)
    }
}

fn best_of(logits: &[f32]) -> Best {
    let (mut first, mut second) = (0, f32::NEG_INFINITY);
    for (idx, &logit) in logits.iter().enumerate().skip(1) {
        if logit > logits[first] {
            (first, second) = (idx, logits[first]);
        } else if logit > second {
            second = logit;
        }
    }
    Best { token: first as u32, lead: logits[first] - second }
}
