//! Keys and values of a part of a sequence, on a device.

use anyhow::ensure;
use candle_core::Tensor;

use crate::model::local::gpu::HeadShape;

/// Keys and values of all layers from a position on, up to where the next segment starts.
pub struct GpuSegment {
    start: usize,
    layers: Vec<Option<Rows>>,
}

/// Of one layer; each (`n_kv_heads`, capacity, `head_dim`).
struct Rows {
    keys: Tensor,
    values: Tensor,
    length: usize,
}

/// Room that is made at least: tokens come one by one.
const MIN_CAPACITY: usize = 64;

impl GpuSegment {
    pub(super) fn new(start: usize, n_layers: usize) -> Self {
        Self { start, layers: (0..n_layers).map(|_| None).collect() }
    }

    pub(super) fn start(&self) -> usize {
        self.start
    }

    pub(super) fn n_bytes(&self) -> usize {
        let bytes = |x: &Tensor| x.elem_count() * x.dtype().size_in_bytes();
        let layers = self.layers.iter().flatten();
        layers.map(|rows| bytes(&rows.keys) + bytes(&rows.values)).sum()
    }

    /// Remembers keys and values, (rows, heads × `head_dim`) each, from position `start` on; what
    /// was remembered from there on is replaced.
    pub(super) fn append(
        &mut self,
        layer: usize,
        start: usize,
        (keys, values): (Tensor, Tensor),
        shape: HeadShape,
    ) -> anyhow::Result<()> {
        let HeadShape { n_kv_heads, head_dim, .. } = shape;
        let n_rows = keys.dim(0)?;
        let by_head =
            |x: Tensor| x.reshape((n_rows, n_kv_heads, head_dim))?.transpose(0, 1)?.contiguous();
        let (keys, values) = (by_head(keys)?, by_head(values)?);
        ensure!(self.start <= start, "a segment is written before its start");
        let offset = start - self.start;
        let wanted = offset + n_rows;
        let rows = match self.layers[layer].take() {
            Some(rows) => rows.with_capacity(wanted)?,
            None => {
                let capacity = wanted.next_multiple_of(MIN_CAPACITY);
                let room =
                    || Tensor::zeros((n_kv_heads, capacity, head_dim), keys.dtype(), keys.device());
                Rows { keys: room()?, values: room()?, length: 0 }
            }
        };
        ensure!(offset <= rows.length, "a segment is written behind its end");
        rows.keys.slice_set(&keys, 1, offset)?;
        rows.values.slice_set(&values, 1, offset)?;
        self.layers[layer] = Some(Rows { length: wanted, ..rows });
        Ok(())
    }

    /// Keys and values up to a position, (heads, positions, `head_dim`) each; `None` where there
    /// are none.
    pub(super) fn until(
        &self,
        layer: usize,
        end: usize,
    ) -> anyhow::Result<Option<(Tensor, Tensor)>> {
        let length = end.saturating_sub(self.start);
        if length == 0 {
            return Ok(None);
        }
        let rows = self.layers[layer].as_ref().filter(|rows| length <= rows.length);
        let Some(rows) = rows else { anyhow::bail!("a segment lacks keys that are attended to") };
        Ok(Some((rows.keys.narrow(1, 0, length)?, rows.values.narrow(1, 0, length)?)))
    }
}

impl Rows {
    /// Twice the room, where there is too little.
    fn with_capacity(self, wanted: usize) -> anyhow::Result<Self> {
        let capacity = self.keys.dim(1)?;
        if wanted <= capacity {
            return Ok(self);
        }
        let more = (wanted.max(2 * capacity)).next_multiple_of(MIN_CAPACITY) - capacity;
        let grown = |x: &Tensor| {
            let (n_heads, _, head_dim) = x.dims3()?;
            let room = Tensor::zeros((n_heads, more, head_dim), x.dtype(), x.device())?;
            Tensor::cat(&[x, &room], 1)?.contiguous()
        };
        Ok(Self { keys: grown(&self.keys)?, values: grown(&self.values)?, length: self.length })
    }
}
