//! Causal attention of packed sequences, forward and backward.
//!
//! Scores are made for a few rows at a time and not kept: of all positions at once they would be
//! the largest thing in memory. The backward pass makes them again from the logarithm of their
//! sum.

use std::ops::Range;

use rayon::prelude::*;

use crate::train::decoder::batch::Run;
use crate::train::decoder::exp::exp;
use crate::train::decoder::matrix::{Into, Threads, View, product, product_within};

/// Rows of scores at a time.
const ROWS: usize = 64;

/// The heads of an attention.
#[derive(Clone, Copy)]
pub(super) struct Attention {
    pub(super) n_heads: usize,
    pub(super) n_kv_heads: usize,
    pub(super) head_dim: usize,
    /// Positions of all sequences together.
    pub(super) n_rows: usize,
}

impl Attention {
    fn scale(self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }

    /// The rows of one head of keys or values, by the query head that reads them.
    fn shared<'a>(&self, x: &'a [f32], head: usize) -> View<'a> {
        let size = self.n_rows * self.head_dim;
        let kv_head = head / (self.n_heads / self.n_kv_heads);
        View::new(&x[kv_head * size..][..size], self.head_dim)
    }
}

/// Queries, keys and values, all (head, position, `head_dim`).
#[derive(Clone, Copy)]
pub(super) struct Qkv<'a> {
    pub(super) q: &'a [f32],
    pub(super) k: &'a [f32],
    pub(super) v: &'a [f32],
}

/// Writes (head, position, `head_dim`), and the logarithm of each row's sum: (head, position).
pub(super) fn attend(
    heads: Attention,
    runs: &[Run],
    qkv: Qkv<'_>,
    out: &mut [f32],
    log_sums: &mut [f32],
) {
    let size = heads.n_rows * heads.head_dim;
    let outputs = out.par_chunks_exact_mut(size).zip(log_sums.par_chunks_exact_mut(heads.n_rows));
    outputs.zip(qkv.q.par_chunks_exact(size)).enumerate().for_each(|(head, ((out, sums), q))| {
        let q = View::new(q, heads.head_dim);
        let (k, v) = (heads.shared(qkv.k, head), heads.shared(qkv.v, head));
        let mut scores = Vec::new();
        for block in blocks(runs) {
            let (rows, n_columns) = (block.rows.clone(), block.n_columns());
            scores.resize(rows.len() * n_columns, 0.0);
            block.score(&mut scores, q.rows(rows.clone()), k, heads.scale());
            for (scores, row) in scores.chunks_exact_mut(n_columns).zip(rows.clone()) {
                let (seen, later) = scores.split_at_mut(block.n_seen(row));
                sums[row] = softmax(seen);
                later.fill(0.0);
            }
            let out = &mut out[rows.start * heads.head_dim..rows.end * heads.head_dim];
            let scores = View::new(&scores, n_columns);
            let mut into = Into::Overwrite;
            for (columns, of_scores) in block.parts() {
                let scores = scores.columns(of_scores);
                product(out, into, scores, v.rows(columns), 1.0, Threads::One);
                into = Into::Add;
            }
        }
    });
}

/// Where the gradients of queries, keys and values are written, in their layout.
pub(super) struct QkvGradients<'a> {
    pub(super) q: &'a mut [f32],
    pub(super) k: &'a mut [f32],
    pub(super) v: &'a mut [f32],
}

/// Writes the gradients from those of the output; `out` and `d_out` are (head, position,
/// `head_dim`).
pub(super) fn attend_backward(
    heads: Attention,
    runs: &[Run],
    qkv: Qkv<'_>,
    (out, log_sums): (&[f32], &[f32]),
    d_out: &[f32],
    gradients: QkvGradients<'_>,
) {
    let size = heads.n_rows * heads.head_dim;
    let d_qs = gradients.q.par_chunks_exact_mut(size);
    let per_head: Vec<(Vec<f32>, Vec<f32>)> = d_qs
        .enumerate()
        .map(|(head, d_q)| {
            let of_head = |x: &'_ [f32]| head * size..head * size + size.min(x.len());
            let q = View::new(&qkv.q[of_head(qkv.q)], heads.head_dim);
            let (k, v) = (heads.shared(qkv.k, head), heads.shared(qkv.v, head));
            let (out, d_out) = (&out[of_head(out)], &d_out[of_head(d_out)]);
            let sums = &log_sums[head * heads.n_rows..][..heads.n_rows];
            let mut d_k = vec![0.0; size];
            let mut d_v = vec![0.0; size];
            let (mut scores, mut d_scores) = (Vec::new(), Vec::new());
            let in_rows = |x: Range<usize>| x.start * heads.head_dim..x.end * heads.head_dim;
            for block in blocks(runs) {
                let (rows, n_columns) = (block.rows.clone(), block.n_columns());
                scores.resize(rows.len() * n_columns, 0.0);
                d_scores.resize(scores.len(), 0.0);
                let q = q.rows(rows.clone());
                block.score(&mut scores, q, k, heads.scale());
                let d_rows = View::new(&d_out[in_rows(rows.clone())], heads.head_dim);
                block.score(&mut d_scores, d_rows, v, 1.0);
                let each = scores.chunks_exact_mut(n_columns).zip(rows.clone());
                for ((scores, row), d_scores) in each.zip(d_scores.chunks_exact_mut(n_columns)) {
                    let (seen, later) = scores.split_at_mut(block.n_seen(row));
                    let (d_seen, d_later) = d_scores.split_at_mut(seen.len());
                    let (out, d_out) = (&out[in_rows(row..row + 1)], &d_out[in_rows(row..row + 1)]);
                    let along: f32 = out.iter().zip(d_out).map(|(a, b)| a * b).sum();
                    for (score, d_score) in seen.iter_mut().zip(d_seen.iter_mut()) {
                        *score = exp(*score - sums[row]);
                        *d_score = *score * (*d_score - along);
                    }
                    later.fill(0.0);
                    d_later.fill(0.0);
                }
                let scores = View::new(&scores, n_columns);
                let d_scores = View::new(&d_scores, n_columns);
                let d_q = &mut d_q[in_rows(rows)];
                let (one, scale) = (Threads::One, heads.scale());
                let mut into = Into::Overwrite;
                for (columns, of_scores) in block.parts() {
                    let scores = scores.columns(of_scores.clone());
                    let d_scores = d_scores.columns(of_scores);
                    let d_v = &mut d_v[in_rows(columns.clone())];
                    product(d_v, Into::Add, scores.t(), d_rows, 1.0, one);
                    let d_k = &mut d_k[in_rows(columns.clone())];
                    product(d_k, Into::Add, d_scores.t(), q, scale, one);
                    product(d_q, into, d_scores, k.rows(columns), scale, one);
                    into = Into::Add;
                }
            }
            (d_k, d_v)
        })
        .collect();
    // Query heads that share keys and values are added in their order.
    let n_shared = heads.n_heads / heads.n_kv_heads;
    let targets =
        gradients.k.par_chunks_exact_mut(size).zip(gradients.v.par_chunks_exact_mut(size));
    targets.zip(per_head.par_chunks_exact(n_shared)).for_each(|((d_k, d_v), parts)| {
        d_k.copy_from_slice(&parts[0].0);
        d_v.copy_from_slice(&parts[0].1);
        for (more_k, more_v) in &parts[1..] {
            d_k.iter_mut().zip(more_k).for_each(|(sum, more)| *sum += more);
            d_v.iter_mut().zip(more_v).for_each(|(sum, more)| *sum += more);
        }
    });
}

/// Rows of a run whose scores are made together, and the columns that any of them sees: those of
/// the prefix, then those of the run.
struct Block {
    rows: Range<usize>,
    prefix: Range<usize>,
    own: Range<usize>,
}

impl Block {
    fn n_columns(&self) -> usize {
        self.prefix.len() + self.own.len()
    }

    /// The columns that a row sees; they come first.
    fn n_seen(&self, row: usize) -> usize {
        self.prefix.len() + row + 1 - self.own.start
    }

    /// Columns as rows of keys and values, and as columns of scores.
    fn parts(&self) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
        let n_prefix = self.prefix.len();
        let parts = [
            (self.prefix.clone(), 0..n_prefix),
            (self.own.clone(), n_prefix..n_prefix + self.own.len()),
        ];
        parts.into_iter().filter(|(columns, _)| !columns.is_empty())
    }

    /// The products of each row of `x` with the rows of `y` that are columns here.
    fn score(&self, scores: &mut [f32], x: View<'_>, y: View<'_>, scale: f32) {
        for (columns, of_scores) in self.parts() {
            let scores = &mut scores[of_scores.start..];
            let y = y.rows(columns).t();
            let step = self.n_columns();
            product_within((scores, step), Into::Overwrite, x, y, scale, Threads::One);
        }
    }
}

fn blocks(runs: &[Run]) -> impl Iterator<Item = Block> + '_ {
    runs.iter().flat_map(|Run { rows, prefix }| {
        rows.clone().step_by(ROWS).map(|start| {
            let end = (start + ROWS).min(rows.end);
            Block { rows: start..end, prefix: prefix.clone(), own: rows.start..end }
        })
    })
}

/// In place; gives the logarithm of the sum.
fn softmax(scores: &mut [f32]) -> f32 {
    let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    for score in scores.iter_mut() {
        *score = exp(*score - max);
    }
    let sum: f32 = scores.iter().sum();
    let inverse = 1.0 / sum;
    for score in scores.iter_mut() {
        *score *= inverse;
    }
    max + sum.ln()
}
