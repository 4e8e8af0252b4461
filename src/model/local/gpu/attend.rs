//! Attention over segments: each gives its part, and the parts are joined by their maxima and sums
//! (the online softmax of Milakov and Gimelshein, arXiv 1805.02867), so that keys and values that
//! sequences share are neither copied nor read once for each of them.

use std::sync::{Arc, PoisonError};

use candle_core::{D, Tensor};

use crate::model::local::decoder::SequenceRows;
use crate::model::local::gpu::segment::GpuSegment;
use crate::model::local::gpu::{Gpu, HeadShape};

/// What some of the keys contribute; the first two axes are (key head, query).
struct Part {
    /// The highest score.
    max: Tensor,
    /// Of exp(score − max).
    sum: Tensor,
    /// Of exp(score − max) · value.
    out: Tensor,
}

impl Gpu {
    /// (rows, heads × `head_dim`), of queries of the same shape.
    pub(super) fn attend_all(
        &self,
        layer: usize,
        q: &Tensor,
        sequences: &[SequenceRows<'_, GpuSegment>],
    ) -> anyhow::Result<Tensor> {
        let mut rows = Vec::new();
        let mut first = 0;
        for group in sequences.chunk_by(is_one_group) {
            let n_rows = group.iter().map(|sequence| sequence.n_rows).sum();
            rows.push(self.attend_group(layer, &q.narrow(0, first, n_rows)?, group)?);
            first += n_rows;
        }
        Ok(Tensor::cat(&rows, 0)?)
    }

    /// Sequences that share all that stands before their own segments.
    fn attend_group(
        &self,
        layer: usize,
        q: &Tensor,
        group: &[SequenceRows<'_, GpuSegment>],
    ) -> anyhow::Result<Tensor> {
        let mut shared = None;
        if let Some(first) = group.first() {
            let by_head = self.by_key_head(q)?;
            for (idx, segment) in first.shared.iter().enumerate() {
                let end = first.shared.get(idx + 1).map_or(first.own.start(), |next| next.start());
                if let Some(keys_and_values) = segment.until(layer, end)? {
                    let part = self.part(&by_head, &keys_and_values, None)?;
                    shared = Some(join(shared, part)?);
                }
            }
        }
        let HeadShape { n_heads, n_kv_heads, .. } = self.shape;
        let n_rows = q.dim(0)?;
        let mut outs = Vec::new();
        let mut first = 0;
        for sequence in group {
            let queries = self.by_key_head(&q.narrow(0, first, sequence.n_rows)?)?;
            let end = sequence.start + sequence.n_rows;
            let mut joined = match &shared {
                Some(part) => {
                    Some(part.rows((n_heads / n_kv_heads, n_rows), first, sequence.n_rows)?)
                }
                None => None,
            };
            if let Some(keys_and_values) = sequence.own.until(layer, end)? {
                let n_keys = end - sequence.own.start();
                let mask = match sequence.n_rows {
                    1 => None,
                    n_rows => Some(self.mask(n_rows, n_keys)?),
                };
                joined = Some(join(joined, self.part(&queries, &keys_and_values, mask)?)?);
            }
            if let Some(Part { sum, out, .. }) = joined {
                outs.push(self.by_row(&out.broadcast_div(&sum)?, sequence.n_rows)?);
            }
            first += sequence.n_rows;
        }
        Ok(Tensor::cat(&outs, 0)?)
    }

    /// (rows, heads × `head_dim`) to (key heads, queries, `head_dim`): the queries of a key's heads
    /// stand one behind the other, each with all rows.
    fn by_key_head(&self, q: &Tensor) -> candle_core::Result<Tensor> {
        let HeadShape { n_heads, n_kv_heads, head_dim } = self.shape;
        let n_rows = q.dim(0)?;
        let group = n_heads / n_kv_heads;
        q.reshape((n_rows, n_kv_heads, group, head_dim))?
            .permute((1, 2, 0, 3))?
            .contiguous()?
            .reshape((n_kv_heads, group * n_rows, head_dim))
    }

    /// And back.
    fn by_row(&self, out: &Tensor, n_rows: usize) -> candle_core::Result<Tensor> {
        let HeadShape { n_heads, n_kv_heads, head_dim } = self.shape;
        out.reshape((n_kv_heads, n_heads / n_kv_heads, n_rows, head_dim))?
            .permute((2, 0, 1, 3))?
            .contiguous()?
            .reshape((n_rows, n_heads * head_dim))
    }

    fn part(
        &self,
        queries: &Tensor,
        (keys, values): &(Tensor, Tensor),
        mask: Option<Tensor>,
    ) -> candle_core::Result<Part> {
        let scale = 1.0 / (self.shape.head_dim as f64).sqrt();
        let mut scores = (queries * scale)?.matmul(&keys.t()?)?;
        if let Some(mask) = mask {
            // Every head of a key has the same rows.
            let (n_kv_heads, n_queries, n_keys) = scores.dims3()?;
            let n_rows = mask.dim(0)?;
            scores = scores
                .reshape((n_kv_heads * n_queries / n_rows, n_rows, n_keys))?
                .broadcast_add(&mask)?
                .reshape((n_kv_heads, n_queries, n_keys))?;
        }
        let max = scores.max_keepdim(D::Minus1)?;
        let weights = scores.broadcast_sub(&max)?.exp()?;
        let sum = weights.sum_keepdim(D::Minus1)?;
        Ok(Part { max, sum, out: weights.matmul(values)? })
    }

    /// 0 where a row may look, and far below it behind the row: (rows, keys), the rows last.
    fn mask(&self, n_rows: usize, n_keys: usize) -> candle_core::Result<Tensor> {
        let mut kept = self.mask.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((size, mask)) = &*kept
            && *size == (n_rows, n_keys)
        {
            return Ok(mask.clone());
        }
        let before = n_keys - n_rows;
        let numbers: Vec<f32> = (0..n_rows)
            .flat_map(|row| {
                (0..n_keys)
                    .map(move |key| if key <= before + row { 0.0 } else { f32::NEG_INFINITY })
            })
            .collect();
        let mask = Tensor::from_vec(numbers, (n_rows, n_keys), &self.device)?;
        *kept = Some(((n_rows, n_keys), mask.clone()));
        Ok(mask)
    }
}

/// Whether two sequences look at the same keys before their own.
fn is_one_group(a: &SequenceRows<'_, GpuSegment>, b: &SequenceRows<'_, GpuSegment>) -> bool {
    a.own.start() == b.own.start()
        && a.shared.len() == b.shared.len()
        && a.shared.iter().zip(b.shared).all(|(a, b)| Arc::ptr_eq(a, b))
}

impl Part {
    /// That of some of `n_all` rows, for each of the heads of a key.
    fn rows(
        &self,
        (n_heads, n_all): (usize, usize),
        first: usize,
        n_rows: usize,
    ) -> candle_core::Result<Self> {
        let of = |x: &Tensor| {
            let (n_kv_heads, _, width) = x.dims3()?;
            x.reshape((n_kv_heads, n_heads, n_all, width))?
                .narrow(2, first, n_rows)?
                .contiguous()?
                .reshape((n_kv_heads, n_heads * n_rows, width))
        };
        Ok(Self { max: of(&self.max)?, sum: of(&self.sum)?, out: of(&self.out)? })
    }
}

fn join(before: Option<Part>, part: Part) -> candle_core::Result<Part> {
    let Some(before) = before else { return Ok(part) };
    let max = before.max.maximum(&part.max)?;
    let scale = |part: &Part| (&part.max - &max)?.exp();
    let (a, b) = (scale(&before)?, scale(&part)?);
    Ok(Part {
        sum: ((before.sum * &a)? + (part.sum * &b)?)?,
        out: (before.out.broadcast_mul(&a)? + part.out.broadcast_mul(&b)?)?,
        max,
    })
}
