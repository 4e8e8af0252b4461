//! Cross-entropy over the tokens that are learnt, a few at a time: the logits of all would be the
//! largest thing in memory.

use rayon::prelude::*;

use crate::train::decoder::exp::exp;
use crate::train::decoder::matrix::{Into, Threads, View, product};

/// Rows of logits at a time.
const ROWS: usize = 64;

/// The sum of `weight · −ln p(token)` over rows of `hidden` numbers.
///
/// Writes the gradient of the rows into `d_hidden`, and adds that of the output matrix where it is
/// asked for; with `None` for `d_hidden` nothing but the loss is computed.
pub(super) fn cross_entropy(
    hidden: &[f32],
    output: &[f32],
    width: usize,
    targets: &[(u32, f32)],
    mut d_hidden: Option<&mut [f32]>,
    mut d_output: Option<&mut [f32]>,
) -> f64 {
    let n_vocab = output.len() / width;
    let output = View::new(output, width);
    let mut loss = 0.0;
    let mut logits = Vec::new();
    for (chunk_idx, targets) in targets.chunks(ROWS).enumerate() {
        let first = chunk_idx * ROWS * width;
        let in_chunk = first..first + targets.len() * width;
        let rows = View::new(&hidden[in_chunk.clone()], width);
        logits.resize(targets.len() * n_vocab, 0.0);
        product(&mut logits, Into::Overwrite, rows, output.t(), 1.0, Threads::All);
        let losses: Vec<f64> = logits
            .par_chunks_exact_mut(n_vocab)
            .zip(targets)
            .map(|(logits, (token, weight))| row_loss(logits, *token as usize, *weight))
            .collect();
        loss += losses.iter().sum::<f64>();
        let d_logits = View::new(&logits, n_vocab);
        if let Some(d_hidden) = &mut d_hidden {
            product(&mut d_hidden[in_chunk], Into::Overwrite, d_logits, output, 1.0, Threads::All);
        }
        if let Some(d_output) = &mut d_output {
            product(d_output, Into::Add, d_logits.t(), rows, 1.0, Threads::All);
        }
    }
    loss
}

/// The loss of one row, whose logits become their gradients.
fn row_loss(logits: &mut [f32], token: usize, weight: f32) -> f64 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let target = f64::from(logits[token] - max);
    let mut sum = 0.0_f64;
    for part in logits.chunks_mut(1 << 10) {
        part.iter_mut().for_each(|logit| *logit = exp(*logit - max));
        sum += f64::from(part.iter().sum::<f32>());
    }
    let scale = weight / sum as f32;
    logits.iter_mut().for_each(|logit| *logit *= scale);
    logits[token] -= weight;
    f64::from(weight) * (sum.ln() - target)
}
