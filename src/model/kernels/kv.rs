//! The store of half-precision keys and values that sequences share.
//!
//! A sequence is a list of segments: the first begins at position 0, each ends for it where the
//! next one begins, and only the last may still be growing. Sequences that begin alike list the
//! same segments.

use crate::model::kernels::Isa;
use crate::model::kernels::activation::sixteen;
use crate::model::kernels::lanes::{Kernel, LANES, Lanes, dispatch};

/// Positions lie in groups of so many; a segment begins at a multiple of it.
pub const GROUP: usize = LANES;

/// Sizes of the attention of one model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionShape {
    pub n_heads: usize,
    /// Divides `n_heads`.
    pub n_kv_heads: usize,
    /// A multiple of 16.
    pub head_dim: usize,
    /// What scores are multiplied with: `1 / sqrt(head_dim)`.
    pub scale: f32,
}

/// Keys and values of consecutive positions, of all layers.
#[derive(Debug, Clone)]
pub struct KvSegment {
    n_kv_heads: usize,
    head_dim: usize,
    start: usize,
    layers: Vec<LayerKv>,
}

/// For each group of positions and each head, `head_dim` × 16 halves: of keys the positions of a
/// dimension together, of values the dimensions of a position. Unused places hold 0.
#[derive(Debug, Clone, Default)]
struct LayerKv {
    len: usize,
    keys: Vec<[u16; LANES]>,
    values: Vec<[u16; LANES]>,
}

impl KvSegment {
    /// An empty segment that begins at position 0.
    ///
    /// # Panics
    /// Where `head_dim` is no multiple of 16.
    pub fn new(n_layers: usize, shape: &AttentionShape) -> Self {
        assert!(shape.head_dim.is_multiple_of(LANES), "heads are whole sixteens");
        Self {
            n_kv_heads: shape.n_kv_heads,
            head_dim: shape.head_dim,
            start: 0,
            layers: vec![LayerKv::default(); n_layers],
        }
    }

    /// The position of its first entry, a multiple of [`GROUP`].
    pub const fn start(&self) -> usize {
        self.start
    }

    /// The position after its last entry in `layer`.
    pub fn end(&self, layer: usize) -> usize {
        self.start + self.layers[layer].len
    }

    /// Bytes of memory that its keys and values take.
    pub fn n_bytes(&self) -> usize {
        let blocks = |layer: &LayerKv| layer.keys.capacity() + layer.values.capacity();
        self.layers.iter().map(blocks).sum::<usize>() * size_of::<[u16; LANES]>()
    }

    /// A segment of its own that goes on after position `end` of this one: it begins at the last
    /// multiple of [`GROUP`] not after `end`, with copies of the up to 15 positions from there to
    /// `end`. A sequence that branches off lists this segment, then the new one.
    ///
    /// # Panics
    /// Where `end` is not within this segment.
    #[must_use]
    pub fn branch(&self, end: usize) -> Self {
        let start = end / GROUP * GROUP;
        assert!(self.start <= start, "a branch begins within its segment");
        let width = self.n_kv_heads * self.head_dim;
        let skipped = (start - self.start) / GROUP * width;
        let layers = self.layers.iter().map(|layer| {
            assert!(end <= self.start + layer.len, "a branch begins within its segment");
            let kept = skipped..skipped + (end - start).div_ceil(GROUP) * width;
            let mut branch = LayerKv {
                len: layer.len - (start - self.start),
                keys: layer.keys[kept.clone()].to_vec(),
                values: layer.values[kept].to_vec(),
            };
            branch.truncate(end - start, width, self.head_dim);
            branch
        });
        let layers = layers.collect();
        Self { n_kv_heads: self.n_kv_heads, head_dim: self.head_dim, start, layers }
    }

    /// Puts the keys and values of one layer, rows of `n_kv_heads * head_dim`, at positions from
    /// `start` on; what the layer held there before is forgotten.
    ///
    /// # Panics
    /// Where the lengths do not fit, or `start` lies before this segment or after its end.
    pub fn append(
        &mut self,
        isa: Isa,
        layer: usize,
        start: usize,
        (keys, values): (&[f32], &[f32]),
    ) {
        let width = self.n_kv_heads * self.head_dim;
        assert!(keys.len().is_multiple_of(width), "keys are whole rows");
        assert_eq!(keys.len(), values.len(), "keys and values are of one size");
        assert!(self.start <= start && start <= self.end(layer), "positions follow each other");
        let (len, head_dim) = (start - self.start, self.head_dim);
        let layer = &mut self.layers[layer];
        layer.truncate(len, width, head_dim);
        let blocks = (len + keys.len() / width).div_ceil(GROUP) * width;
        layer.keys.resize(blocks, [0; LANES]);
        layer.values.resize(blocks, [0; LANES]);
        dispatch(isa, Append { layer, keys, values, width, head_dim });
    }

    /// One head's keys (a dimension's 16 positions together) and values (a position's dimensions
    /// together) of the group of positions that begins at `position`.
    #[inline(always)]
    pub(super) fn group(
        &self,
        layer: usize,
        kv_head: usize,
        position: usize,
    ) -> (&[[u16; LANES]], &[[u16; LANES]]) {
        let group = (position - self.start) / GROUP;
        let first = (group * self.n_kv_heads + kv_head) * self.head_dim;
        let layer = &self.layers[layer];
        (&layer.keys[first..first + self.head_dim], &layer.values[first..first + self.head_dim])
    }
}

impl LayerKv {
    /// Keeps the first `len` positions and sets the places after them to 0; `width` is that of a
    /// row of all heads.
    fn truncate(&mut self, len: usize, width: usize, head_dim: usize) {
        if self.len <= len {
            return;
        }
        self.len = len;
        self.keys.truncate(len.div_ceil(GROUP) * width);
        self.values.truncate(len.div_ceil(GROUP) * width);
        let used = len % GROUP;
        if used != 0 {
            let last = self.keys.len() - width;
            for dimension in &mut self.keys[last..] {
                dimension[used..].fill(0);
            }
            for head in self.values[last..].chunks_mut(head_dim) {
                head[used * head_dim / LANES..].fill([0; LANES]);
            }
        }
    }
}

/// Rounds rows to half precision and puts them in their places.
struct Append<'a> {
    layer: &'a mut LayerKv,
    keys: &'a [f32],
    values: &'a [f32],
    width: usize,
    head_dim: usize,
}

impl Kernel for Append<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Self { layer, keys, values, width, head_dim } = self;
        let mut halves = [0; LANES];
        for (keys, values) in keys.chunks(width).zip(values.chunks(width)) {
            let (group, place) = (layer.len / GROUP, layer.len % GROUP);
            for at in (0..width).step_by(LANES) {
                let (head, dimension) = (at / head_dim, at % head_dim);
                lanes.to_halves(lanes.floats(sixteen(keys, at)), &mut halves);
                for (block, half) in layer.keys[group * width + at..].iter_mut().zip(halves) {
                    block[place] = half;
                }
                let block =
                    group * width + head * head_dim + (place * head_dim + dimension) / LANES;
                lanes.to_halves(lanes.floats(sixteen(values, at)), &mut layer.values[block]);
            }
            layer.len += 1;
        }
    }
}
