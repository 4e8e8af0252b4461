//! From rows of all heads to one matrix for each head, turned by position; and back.

use rayon::prelude::*;

/// Sines and cosines of the positions of a batch.
pub(super) struct Rotation {
    /// (position, pair)
    cos: Vec<f32>,
    sin: Vec<f32>,
    head_dim: usize,
}

impl Rotation {
    /// `frequencies` are radians per position, of each pair of a head.
    pub(super) fn new(positions: &[usize], frequencies: &[f32], magnitude: f32) -> Self {
        let angles = || {
            positions.iter().flat_map(|position| {
                frequencies.iter().map(move |frequency| *position as f32 * frequency)
            })
        };
        Self {
            cos: angles().map(|angle| angle.cos() * magnitude).collect(),
            sin: angles().map(|angle| angle.sin() * magnitude).collect(),
            head_dim: 2 * frequencies.len(),
        }
    }

    /// Turns the rows of one head, (position, `head_dim`), in place; `direction` is 1, or −1 for the
    /// gradient.
    pub(super) fn turn(&self, head: &mut [f32], direction: f32) {
        let half = self.head_dim / 2;
        let angles = self.cos.chunks_exact(half).zip(self.sin.chunks_exact(half));
        for (row, (cos, sin)) in head.chunks_exact_mut(self.head_dim).zip(angles) {
            let (first, second) = row.split_at_mut(half);
            for idx in 0..half {
                let (a, b, sin) = (first[idx], second[idx], sin[idx] * direction);
                first[idx] = a * cos[idx] - b * sin;
                second[idx] = b * cos[idx] + a * sin;
            }
        }
    }
}

/// (position, heads × `head_dim`) to (head, position, `head_dim`); `finish` sees each head's rows.
pub(super) fn to_heads(
    x: &[f32],
    n_heads: usize,
    head_dim: usize,
    out: &mut [f32],
    finish: impl Fn(&mut [f32]) + Sync,
) {
    let n_rows = x.len() / (n_heads * head_dim);
    out.par_chunks_exact_mut(n_rows * head_dim).enumerate().for_each(|(head, out)| {
        let rows = x.chunks_exact(n_heads * head_dim).map(|row| &row[head * head_dim..]);
        for (out, row) in out.chunks_exact_mut(head_dim).zip(rows) {
            out.copy_from_slice(&row[..head_dim]);
        }
        finish(out);
    });
}

/// (head, position, `head_dim`) to (position, heads × `head_dim`).
pub(super) fn from_heads(x: &[f32], n_heads: usize, head_dim: usize, out: &mut [f32]) {
    let n_rows = x.len() / (n_heads * head_dim);
    out.par_chunks_exact_mut(n_heads * head_dim).enumerate().for_each(|(row, out)| {
        for (head, out) in out.chunks_exact_mut(head_dim).enumerate() {
            out.copy_from_slice(&x[(head * n_rows + row) * head_dim..][..head_dim]);
        }
    });
}
