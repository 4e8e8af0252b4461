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
    head_dim: usize,
    start: usize,
    layers: Vec<LayerKv>,
}

#[derive(Debug, Clone, Default)]
struct LayerKv {
    len: usize,
    heads: Vec<HeadKv>,
}

/// For each group of positions `head_dim` × 16 halves: of keys the positions of a dimension
/// together, of values the dimensions of a position. Unused places hold 0.
#[derive(Debug, Clone, Default)]
struct HeadKv {
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
        let layer = LayerKv { len: 0, heads: vec![HeadKv::default(); shape.n_kv_heads] };
        Self { head_dim: shape.head_dim, start: 0, layers: vec![layer; n_layers] }
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
        let heads = self.layers.iter().flat_map(|layer| &layer.heads);
        let blocks = heads.map(|head| head.keys.capacity() + head.values.capacity());
        blocks.sum::<usize>() * size_of::<[u16; LANES]>()
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
        let head_dim = self.head_dim;
        let skipped = (start - self.start) / GROUP * head_dim;
        let layers = self.layers.iter().map(|layer| {
            assert!(end <= self.start + layer.len, "a branch begins within its segment");
            let kept = skipped..skipped + (end - start).div_ceil(GROUP) * head_dim;
            let heads = layer.heads.iter().map(|head| HeadKv {
                keys: head.keys[kept.clone()].to_vec(),
                values: head.values[kept.clone()].to_vec(),
            });
            let len = layer.len - (start - self.start);
            let mut branch = LayerKv { len, heads: heads.collect() };
            branch.truncate(end - start, head_dim);
            branch
        });
        Self { head_dim, start, layers: layers.collect() }
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
        let (head_dim, past) = (self.head_dim, self.end(layer));
        let (layer, len) = (&mut self.layers[layer], start.wrapping_sub(self.start));
        let width = layer.heads.len() * head_dim;
        assert!(keys.len().is_multiple_of(width), "keys are whole rows");
        assert_eq!(keys.len(), values.len(), "keys and values are of one size");
        assert!(self.start <= start && start <= past, "positions follow each other");
        layer.truncate(len, head_dim);
        let blocks = (len + keys.len() / width).div_ceil(GROUP) * head_dim;
        for head in &mut layer.heads {
            head.keys.resize(blocks, [0; LANES]);
            head.values.resize(blocks, [0; LANES]);
        }
        dispatch(isa, Append { layer, keys, values, head_dim });
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
        let first = (position - self.start) / GROUP * self.head_dim;
        let head = &self.layers[layer].heads[kv_head];
        (&head.keys[first..first + self.head_dim], &head.values[first..first + self.head_dim])
    }
}

impl LayerKv {
    /// Keeps the first `len` positions and sets the places after them to 0.
    fn truncate(&mut self, len: usize, head_dim: usize) {
        if self.len <= len {
            return;
        }
        self.len = len;
        let used = len % GROUP;
        for head in &mut self.heads {
            head.keys.truncate(len.div_ceil(GROUP) * head_dim);
            head.values.truncate(len.div_ceil(GROUP) * head_dim);
            if used != 0 {
                let last = head.keys.len() - head_dim;
                for dimension in &mut head.keys[last..] {
                    dimension[used..].fill(0);
                }
                head.values[last + used * head_dim / LANES..].fill([0; LANES]);
            }
        }
    }
}

/// Rounds rows to half precision and puts them in their places.
struct Append<'a> {
    layer: &'a mut LayerKv,
    keys: &'a [f32],
    values: &'a [f32],
    head_dim: usize,
}

impl Kernel for Append<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Self { layer, keys, values, head_dim } = self;
        let width = layer.heads.len() * head_dim;
        for (keys, values) in keys.chunks(width).zip(values.chunks(width)) {
            let (group, place) = (layer.len / GROUP, layer.len % GROUP);
            let rows = keys.chunks(head_dim).zip(values.chunks(head_dim));
            for (head, (keys, values)) in layer.heads.iter_mut().zip(rows) {
                let first = group * head_dim;
                for at in (0..head_dim).step_by(LANES) {
                    let mut halves = [0; LANES];
                    lanes.to_halves(lanes.floats(sixteen(keys, at)), &mut halves);
                    let blocks = &mut head.keys[first + at..first + at + LANES];
                    for (block, half) in blocks.iter_mut().zip(halves) {
                        block[place] = half;
                    }
                    let block = first + (place * head_dim + at) / LANES;
                    lanes.to_halves(lanes.floats(sixteen(values, at)), &mut head.values[block]);
                }
            }
            layer.len += 1;
        }
    }
}
