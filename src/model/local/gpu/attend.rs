//! Attention over segments, in parts that are joined by their sums of exponentials.
//!
//! What sequences share is read once for all of their rows: sequences that lie beside each other
//! and share the same segments attend to these together, and to their own alone.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{D, Device, Result, Tensor};

use crate::model::local::config::DecoderConfig;
use crate::model::local::decoder::SequenceRows;
use crate::model::local::gpu::segment::Segment;

/// How the heads of a network lie, and who may see whom.
pub(super) struct Heads {
    n_kv: usize,
    /// Query heads that read the same keys.
    group: usize,
    width: usize,
    scale: f64,
    /// Of the shape (rows, rows): minus infinity where a row is earlier than a column.
    causal: Tensor,
}

/// New rows of one sequence that a mask is kept for: those of a prompt's step.
const MASKED_ROWS: usize = 256;

/// Scores in memory at once, as long as that is more than [`MIN_KEYS`] for each row.
const MAX_SCORES: usize = 1 << 24;

const MIN_KEYS: usize = 256;

impl Heads {
    pub(super) fn new(config: &DecoderConfig, device: &Device) -> Result<Self> {
        Ok(Self {
            n_kv: config.n_kv_heads,
            group: config.n_heads / config.n_kv_heads,
            width: config.head_dim,
            scale: 1.0 / (config.head_dim as f64).sqrt(),
            causal: causal(MASKED_ROWS, device)?,
        })
    }

    /// (rows, heads × width) to (key heads, rows, width).
    fn split_keys(&self, x: &Tensor) -> Result<Tensor> {
        x.reshape((x.dim(0)?, self.n_kv, self.width))?.transpose(0, 1)?.contiguous()
    }

    /// (rows, heads × width) to (key heads, heads of each, rows, width).
    fn split_queries(&self, x: &Tensor) -> Result<Tensor> {
        let heads = x.reshape((x.dim(0)?, self.n_kv, self.group, self.width))?;
        heads.permute((1, 2, 0, 3))?.contiguous()
    }

    /// Back to (rows, heads × width).
    fn join_heads(&self, x: &Tensor) -> Result<Tensor> {
        x.permute((2, 0, 1, 3))?.reshape((x.dim(2)?, self.n_kv * self.group * self.width))
    }

    /// How many keys `n_rows` rows look at together.
    fn block_len(&self, n_rows: usize) -> usize {
        (MAX_SCORES / (self.n_kv * self.group * n_rows)).max(MIN_KEYS)
    }

    /// Who sees whom among the new rows of a sequence.
    fn mask(&self, n_rows: usize) -> Result<Tensor> {
        match n_rows <= MASKED_ROWS {
            true => self.causal.narrow(0, 0, n_rows)?.narrow(1, 0, n_rows),
            false => causal(n_rows, self.causal.device()),
        }
    }
}

fn causal(n_rows: usize, device: &Device) -> Result<Tensor> {
    let seen = |idx: usize| match idx % n_rows <= idx / n_rows {
        true => 0.0,
        false => f32::NEG_INFINITY,
    };
    let mask: Vec<f32> = (0..n_rows * n_rows).map(seen).collect();
    Tensor::from_vec(mask, (n_rows, n_rows), device)
}

/// Remembers keys and values in the sequences' own segments, and lets every query attend to its
/// sequence up to itself.
pub(super) fn attend(
    heads: &Heads,
    layer: usize,
    [q, k, v]: [Tensor; 3],
    sequences: &mut [SequenceRows<'_, Segment>],
) -> Result<Tensor> {
    let mut row = 0;
    for sequence in &mut *sequences {
        let n_rows = sequence.n_rows;
        let new = |x: &Tensor| heads.split_keys(&x.narrow(0, row, n_rows)?);
        sequence.own.append(layer, sequence.start, [new(&k)?, new(&v)?])?;
        row += n_rows;
    }
    let q = (q * heads.scale)?;
    let mut mixed = Vec::new();
    let mut row = 0;
    for alike in sequences.chunk_by(share_the_same) {
        let n_rows = alike.iter().map(|sequence| sequence.n_rows).sum();
        mixed.push(attend_alike(heads, layer, &q.narrow(0, row, n_rows)?, alike)?);
        row += n_rows;
    }
    concatenate(mixed, 0)
}

fn share_the_same(one: &SequenceRows<'_, Segment>, other: &SequenceRows<'_, Segment>) -> bool {
    one.own.start() == other.own.start()
        && one.shared.len() == other.shared.len()
        && one.shared.iter().zip(other.shared).all(|(one, other)| Arc::ptr_eq(one, other))
}

/// Attention of sequences that share the same segments.
fn attend_alike(
    heads: &Heads,
    layer: usize,
    q: &Tensor,
    sequences: &[SequenceRows<'_, Segment>],
) -> Result<Tensor> {
    let mut own = Vec::with_capacity(sequences.len());
    let mut row = 0;
    for sequence in sequences {
        let queries = heads.split_queries(&q.narrow(0, row, sequence.n_rows)?)?;
        own.push(attend_own(heads, layer, &queries, sequence)?);
        row += sequence.n_rows;
    }
    let own = Partial::stack(own)?;
    let Some(first) = sequences.first().filter(|first| !first.shared.is_empty()) else {
        return own.finish(heads);
    };
    let queries = heads.split_queries(q)?;
    let starts = first.shared.iter().map(|segment| segment.start()).chain([first.own.start()]);
    let starts: Vec<usize> = starts.collect();
    let mut parts = vec![own];
    for (segment, visible) in first.shared.iter().zip(starts.windows(2)) {
        for block in blocks(visible[0]..visible[1], heads.block_len(row)) {
            parts.push(Partial::over(&queries, segment.read(layer, block)?, None)?);
        }
    }
    Partial::join_all(parts)?.finish(heads)
}

/// Attention of one sequence to its own segment: the new rows see what stood before freely, and
/// each other up to themselves.
fn attend_own(
    heads: &Heads,
    layer: usize,
    queries: &Tensor,
    sequence: &SequenceRows<'_, Segment>,
) -> Result<Partial> {
    let (own, start, n_rows) = (&sequence.own, sequence.start, sequence.n_rows);
    // One new row sees itself as freely as what stood before.
    let is_one = n_rows == 1;
    let free = own.start()..start + usize::from(is_one);
    let mut parts = Vec::new();
    for block in blocks(free, heads.block_len(n_rows)) {
        parts.push(Partial::over(queries, own.read(layer, block)?, None)?);
    }
    if !is_one {
        let new = own.read(layer, start..start + n_rows)?;
        parts.push(Partial::over(queries, new, Some(&heads.mask(n_rows)?))?);
    }
    Partial::join_all(parts)
}

fn blocks(range: Range<usize>, len: usize) -> impl Iterator<Item = Range<usize>> {
    let end = range.end;
    range.step_by(len).map(move |start| start..end.min(start + len))
}

/// What some queries take from some keys.
struct Partial {
    /// Values, each times the exponential of its score less the greatest: of the shape
    /// (key heads, heads of each, rows, width).
    values: Tensor,
    /// The greatest score of each row, its last dimension 1.
    greatest: Tensor,
    /// The sum of the exponentials.
    sum: Tensor,
}

impl Partial {
    fn over(queries: &Tensor, [keys, values]: [Tensor; 2], mask: Option<&Tensor>) -> Result<Self> {
        let (n_kv, group, n_rows, width) = queries.dims4()?;
        let scores = queries.reshape((n_kv, group * n_rows, width))?.matmul(&keys.t()?)?;
        let scores = match mask {
            Some(mask) => {
                let rows = scores.reshape((n_kv, group, n_rows, ()))?.broadcast_add(mask)?;
                rows.reshape((n_kv, group * n_rows, ()))?
            }
            None => scores,
        };
        let greatest = scores.max_keepdim(D::Minus1)?;
        let weights = scores.broadcast_sub(&greatest)?.exp()?;
        let rows = |x: Tensor| x.reshape((n_kv, group, n_rows, ()));
        Ok(Self {
            sum: rows(weights.sum_keepdim(D::Minus1)?)?,
            values: rows(weights.matmul(&values)?)?,
            greatest: rows(greatest)?,
        })
    }

    /// The same rows over all of their keys.
    fn join_all(parts: Vec<Self>) -> Result<Self> {
        let mut parts = parts.into_iter();
        let Some(first) = parts.next() else { candle_core::bail!("rows that see no key") };
        parts.try_fold(first, Self::join)
    }

    fn join(self, other: Self) -> Result<Self> {
        let greatest = self.greatest.maximum(&other.greatest)?;
        let one = (self.greatest - &greatest)?.exp()?;
        let two = (other.greatest - &greatest)?.exp()?;
        let values = (self.values.broadcast_mul(&one)? + other.values.broadcast_mul(&two)?)?;
        let sum = ((self.sum * one)? + (other.sum * two)?)?;
        Ok(Self { values, greatest, sum })
    }

    /// The rows of several, one after the other.
    fn stack(parts: Vec<Self>) -> Result<Self> {
        let (mut values, mut greatest, mut sum) = (Vec::new(), Vec::new(), Vec::new());
        for part in parts {
            values.push(part.values);
            greatest.push(part.greatest);
            sum.push(part.sum);
        }
        Ok(Self {
            values: concatenate(values, 2)?,
            greatest: concatenate(greatest, 2)?,
            sum: concatenate(sum, 2)?,
        })
    }

    /// The weighted mean of the values, of the shape (rows, heads × width).
    fn finish(self, heads: &Heads) -> Result<Tensor> {
        heads.join_heads(&self.values.broadcast_div(&self.sum)?)
    }
}

/// Nothing is copied where there is but one.
fn concatenate(mut tensors: Vec<Tensor>, dim: usize) -> Result<Tensor> {
    match tensors.len() {
        1 => Ok(tensors.remove(0)),
        _ => Tensor::cat(&tensors, dim),
    }
}
