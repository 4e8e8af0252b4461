//! Keys and values that stay on the device.

use std::ops::Range;

use candle_core::{DType, Result, Tensor};

/// The keys and values of all layers from a position on.
pub struct Segment {
    start: usize,
    layers: Vec<Option<Layer>>,
}

/// Tensors of the shape (key heads, capacity, head width).
struct Layer {
    keys: Tensor,
    values: Tensor,
    len: usize,
}

/// Positions that a capacity is a multiple of.
const GRAIN: usize = 64;

impl Segment {
    /// An empty one; it takes memory with its first positions.
    pub(super) fn new(start: usize, n_layers: usize) -> Self {
        Self { start, layers: (0..n_layers).map(|_| None).collect() }
    }

    pub(super) fn start(&self) -> usize {
        self.start
    }

    /// Bytes on the device, with the room to grow.
    pub(super) fn n_bytes(&self) -> usize {
        let bytes = |tensor: &Tensor| tensor.elem_count() * tensor.dtype().size_in_bytes();
        self.layers.iter().flatten().map(|layer| bytes(&layer.keys) + bytes(&layer.values)).sum()
    }

    /// Remembers `keys` and `values`, of the shape (key heads, new, head width), from a position
    /// on that is at most the next; what stood there is replaced.
    pub(super) fn append(
        &mut self,
        layer: usize,
        position: usize,
        [keys, values]: [Tensor; 2],
    ) -> Result<()> {
        let offset = position - self.start;
        let end = offset + keys.dim(1)?;
        let layer = &mut self.layers[layer];
        let remembered = match layer.take() {
            Some(layer) => layer.with_room(end)?,
            None => Layer::new(&keys, end.next_multiple_of(GRAIN))?,
        };
        remembered.keys.slice_set(&keys, 1, offset)?;
        remembered.values.slice_set(&values, 1, offset)?;
        *layer = Some(Layer { len: end, ..remembered });
        Ok(())
    }

    /// Keys and values of a layer at `positions`.
    pub(super) fn read(&self, layer: usize, positions: Range<usize>) -> Result<[Tensor; 2]> {
        let Some(layer) = &self.layers[layer] else {
            candle_core::bail!("an empty segment is read at {positions:?}");
        };
        let offset = positions.start - self.start;
        if offset + positions.len() > layer.len {
            let known = self.start..self.start + layer.len;
            candle_core::bail!("a segment of the positions {known:?} is read at {positions:?}");
        }
        let slice = |tensor: &Tensor| tensor.narrow(1, offset, positions.len());
        Ok([slice(&layer.keys)?, slice(&layer.values)?])
    }
}

impl Layer {
    /// Room for `capacity` positions of what is shaped as `keys`.
    fn new(keys: &Tensor, capacity: usize) -> Result<Self> {
        let (n_heads, _, width) = keys.dims3()?;
        let room = || Tensor::zeros((n_heads, capacity, width), DType::F32, keys.device());
        Ok(Self { keys: room()?, values: room()?, len: 0 })
    }

    /// The same with room for `needed` positions; it grows by half, so that what is copied stays
    /// in proportion to what is remembered and at most a third is unused.
    fn with_room(self, needed: usize) -> Result<Self> {
        let capacity = self.keys.dim(1)?;
        if needed <= capacity {
            return Ok(self);
        }
        let wider =
            Self::new(&self.keys, needed.max(capacity + capacity / 2).next_multiple_of(GRAIN))?;
        wider.keys.slice_set(&self.keys, 1, 0)?;
        wider.values.slice_set(&self.values, 1, 0)?;
        Ok(Self { len: self.len, ..wider })
    }
}
