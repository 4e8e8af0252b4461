//! What stands on the last hidden states: predictions of tokens, and losses over them.

use rayon::prelude::*;

use crate::train::decoder::batch::Target;
use crate::train::decoder::buffers::Buffers;
use crate::train::decoder::exp::exp;
use crate::train::decoder::matrix::{Into, Threads, View, product};

/// Rows of logits at a time: those of all targets would be the largest thing in memory.
const ROWS: usize = 64;

/// The normed hidden states of a batch's targets, before the output matrix.
pub struct Top<'a> {
    pub targets: &'a [Target],
    /// (target, hidden)
    pub hidden: &'a [f32],
    pub width: usize,
    /// Where the gradients of `hidden` are written; `None` where nobody wants any.
    pub d_hidden: Option<&'a mut [f32]>,
    /// (token, hidden)
    pub(super) output: &'a [f32],
    /// Where the gradients of `output` are added.
    pub(super) d_output: Option<&'a mut [f32]>,
    pub(super) buffers: &'a mut Buffers,
}

/// What the network says of a target.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Predicted {
    /// Of the target's token, in nats.
    pub logprob: f64,
    /// Of all tokens, in nats.
    pub entropy: f64,
}

/// A loss of a number, and its slope there.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Loss {
    pub value: f64,
    pub slope: f64,
}

/// Cross-entropy: the weighted sum of `−ln p(token)`.
pub fn imitate(top: Top<'_>) -> f64 {
    let loss = |_: usize, predicted: Predicted| Loss { value: -predicted.logprob, slope: -1.0 };
    top.predict(&loss, &|_, _| ()).0
}

impl Top<'_> {
    /// The weighted sum of losses of the targets' log-probabilities, and what was predicted.
    ///
    /// `loss` is asked once for each target, by its index, on any thread; so is `mask`, which may
    /// lower logits of tokens that are impossible there.
    pub fn predict(
        mut self,
        loss: &(dyn Fn(usize, Predicted) -> Loss + Sync),
        mask: &(dyn Fn(usize, &mut [f32]) + Sync),
    ) -> (f64, Vec<Predicted>) {
        let width = self.width;
        let n_vocab = self.output.len() / width;
        let output = View::new(self.output, width);
        let mut sum = 0.0;
        let mut all = Vec::with_capacity(self.targets.len());
        for (chunk_idx, targets) in self.targets.chunks(ROWS).enumerate() {
            let first = chunk_idx * ROWS;
            let in_chunk = first * width..(first + targets.len()) * width;
            let rows = View::new(&self.hidden[in_chunk.clone()], width);
            let mut logits = std::mem::take(&mut self.buffers.logits);
            logits.resize(targets.len() * n_vocab, 0.0);
            product(&mut logits, Into::Overwrite, rows, output.t(), 1.0, Threads::All);
            let each = logits.par_chunks_exact_mut(n_vocab).zip(targets).enumerate();
            let judged: Vec<(f64, Predicted)> = each
                .map(|(idx, (logits, target))| {
                    mask(first + idx, logits);
                    differentiate(logits, target, &|predicted| loss(first + idx, predicted))
                })
                .collect();
            sum += judged.iter().map(|(loss, _)| loss).sum::<f64>();
            all.extend(judged.into_iter().map(|(_, predicted)| predicted));
            let d_logits = View::new(&logits, n_vocab);
            if let Some(d_hidden) = &mut self.d_hidden {
                let d_rows = &mut d_hidden[in_chunk];
                product(d_rows, Into::Overwrite, d_logits, output, 1.0, Threads::All);
            }
            if let Some(d_output) = &mut self.d_output {
                product(d_output, Into::Add, d_logits.t(), rows, 1.0, Threads::All);
            }
            self.buffers.logits = logits;
        }
        (sum, all)
    }
}

/// Makes some tokens so unlikely that no sum notices them.
pub fn silence(logits: &mut [f32], silent: &[u32]) {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    silent.iter().for_each(|id| logits[*id as usize] = max - 100.0);
}

/// Leaves the tokens that are allowed; the others become so unlikely that no sum notices them.
pub fn allow(logits: &mut [f32], is_allowed: impl Fn(u32) -> bool) {
    let of = |(id, logit): (usize, &f32)| is_allowed(id as u32).then_some(*logit);
    let max = logits.iter().enumerate().filter_map(of).fold(f32::NEG_INFINITY, f32::max);
    for (id, logit) in logits.iter_mut().enumerate() {
        if !is_allowed(id as u32) {
            *logit = max - 100.0;
        }
    }
}

/// The weighted loss of one row, whose logits become their gradients.
fn differentiate(
    logits: &mut [f32],
    target: &Target,
    loss: &dyn Fn(Predicted) -> Loss,
) -> (f64, Predicted) {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let below = f64::from(logits[target.token as usize] - max);
    let (mut sum, mut weighed) = (0.0_f64, 0.0_f64);
    for part in logits.chunks_mut(1 << 10) {
        let (mut part_sum, mut part_weighed) = (0.0_f32, 0.0_f32);
        for logit in part {
            let below = *logit - max;
            *logit = exp(below);
            part_sum += *logit;
            part_weighed += *logit * below;
        }
        sum += f64::from(part_sum);
        weighed += f64::from(part_weighed);
    }
    let predicted =
        Predicted { logprob: below - sum.ln(), entropy: (sum.ln() - weighed / sum).max(0.0) };
    let Loss { value, slope } = loss(predicted);
    let weight = f64::from(target.weight);
    // The logarithm of p(token) has the slope [token] − p.
    let scale = (-weight * slope / sum) as f32;
    logits.iter_mut().for_each(|logit| *logit *= scale);
    logits[target.token as usize] += (weight * slope) as f32;
    (weight * value, predicted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_that_are_not_allowed_have_neither_probability_nor_gradient() {
        let mut logits = [0.0, 5.0, 0.0];
        allow(&mut logits, |id| id != 1);
        let target = Target { row: 0, token: 2, weight: 1.0 };
        let loss = |p: Predicted| Loss { value: -p.logprob, slope: -1.0 };
        let (loss, predicted) = differentiate(&mut logits, &target, &loss);
        assert!((loss - 2.0_f64.ln()).abs() < 1e-6, "{loss}");
        assert!((predicted.entropy - 2.0_f64.ln()).abs() < 1e-6, "{predicted:?}");
        assert!(logits[1].abs() < 1e-12 && (logits[0] - 0.5).abs() < 1e-6, "{logits:?}");
    }

    #[test]
    fn a_row_is_judged_by_hand() {
        // Probabilities 1/2, 1/4, 1/4.
        let mut logits = [2.0_f32.ln(), 0.0, 0.0];
        let target = Target { row: 0, token: 1, weight: 2.0 };
        let (loss, predicted) =
            differentiate(&mut logits, &target, &|p| Loss { value: p.logprob * 3.0, slope: 3.0 });
        let quarter = 0.25_f64.ln();
        assert!((predicted.logprob - quarter).abs() < 1e-6, "{predicted:?}");
        assert!((predicted.entropy - 1.5 * 2.0_f64.ln()).abs() < 1e-6, "{predicted:?}");
        assert!((loss - 6.0 * quarter).abs() < 1e-5, "{loss}");
        let wanted = [-3.0, 4.5, -1.5];
        let is_near = logits.iter().zip(wanted).all(|(a, b): (&f32, f32)| (a - b).abs() < 1e-5);
        assert!(is_near, "{logits:?}");
    }
}
