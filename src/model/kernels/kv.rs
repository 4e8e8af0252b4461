//! The store of 8-bit keys and values that sequences share.
//!
//! A sequence is a list of segments: the first begins at position 0, each ends for it where the
//! next one begins, and only the last may still be growing. Sequences that begin alike list the
//! same segments.
//!
//! Keys lie as the weights of a product do, 16 positions in the place of 16 outputs, with a scale
//! for every 32 dimensions: scores are a product of queries with them. Keys of 16 bits are two
//! keys of 8, the second what the first lacks, and so twice as many dimensions of a product. A
//! position's value has one scale, which attention takes into the weights of its sum.

use std::ops::Range;

use crate::model::kernels::activation::{
    factor_and_scale, load_part, quantize_with_rest, share, sixteen,
};
use crate::model::kernels::lanes::{ByteGroup, Kernel, LANES, Lanes, dispatch};
use crate::model::kernels::layout::{Arithmetic, Format, GROUPS, PART};
use crate::model::kernels::team::Team;

/// Positions lie in groups of so many; a segment begins at a multiple of it.
pub const GROUP: usize = LANES;

/// Fours of positions in a group.
const FOURS: usize = GROUP / 4;

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
    pub precision: KeyPrecision,
}

/// How finely keys are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyPrecision {
    Int8,
    /// Where some dimensions of a key are a hundred times larger than the others, as with the
    /// biases of qwen2: 8 bits there cost 1 % of perplexity.
    Int16,
}

impl AttentionShape {
    /// Parts of 32 dimensions in a head.
    pub(super) const fn n_parts(&self) -> usize {
        self.head_dim.div_ceil(PART)
    }

    /// Key parts of a position's group.
    pub(super) const fn n_keys(&self) -> usize {
        match self.precision {
            KeyPrecision::Int8 => self.n_parts(),
            KeyPrecision::Int16 => 2 * self.n_parts(),
        }
    }

    /// Value fours of a position's group.
    const fn n_values(&self) -> usize {
        FOURS * self.n_dims()
    }

    /// Sixteens of dimensions in a head.
    pub(super) const fn n_dims(&self) -> usize {
        self.head_dim / LANES
    }
}

/// Keys and values of consecutive positions, of all layers.
#[derive(Debug, Clone)]
pub struct KvSegment {
    shape: AttentionShape,
    start: usize,
    layers: Vec<LayerKv>,
}

#[derive(Debug, Clone, Default)]
struct LayerKv {
    len: usize,
    heads: Vec<HeadKv>,
}

/// Whole groups of positions; unused places hold 0.
#[derive(Debug, Clone, Default)]
struct HeadKv {
    /// Of each group, one for every 32 dimensions.
    keys: Vec<KeyPart>,
    /// Of each group, for every 4 positions one for each 16 dimensions.
    values: Vec<ValueFour>,
    /// Of each group, the positions' scales.
    value_scales: Vec<[f32; LANES]>,
}

/// 32 dimensions of the keys of 16 positions.
#[derive(Debug, Clone)]
#[repr(C, align(64))]
pub(super) struct KeyPart {
    quants: [ByteGroup; GROUPS],
    scale: [f32; LANES],
}

/// 16 dimensions of the values of 4 positions, a dimension's 4 positions together.
#[derive(Debug, Clone)]
#[repr(C, align(64))]
pub(super) struct ValueFour(pub(super) ByteGroup);

/// What one head holds of a group of positions.
#[derive(Debug, Clone, Copy)]
pub(super) struct HeadGroup<'a> {
    pub(super) keys: &'a [KeyPart],
    pub(super) values: &'a [ValueFour],
    pub(super) value_scales: &'a [f32; LANES],
}

impl KeyPart {
    const EMPTY: Self = Self { quants: [[0; 4 * LANES]; GROUPS], scale: [0.0; LANES] };
}

impl HeadGroup<'_> {
    pub(super) const EMPTY: Self = Self { keys: &[], values: &[], value_scales: &[0.0; LANES] };
}

/// Keys as packed weights: 16 positions are 16 outputs.
#[derive(Debug)]
pub(super) struct Keys;

impl Format for Keys {
    type Block = KeyPart;
    const PARTS: usize = 1;
    const ARITHMETIC: Arithmetic = Arithmetic::Signed;

    #[inline(always)]
    fn quants<L: Lanes, const GROUP: usize>(lanes: L, keys: &KeyPart, _: usize) -> L::Bytes {
        lanes.bytes(&keys.quants[GROUP])
    }

    #[inline(always)]
    fn scale<L: Lanes>(lanes: L, keys: &KeyPart, _: usize) -> L::Floats {
        lanes.floats(&keys.scale)
    }
}

impl KvSegment {
    /// An empty segment that begins at position 0.
    ///
    /// # Panics
    /// Where `head_dim` is no multiple of 16.
    pub fn new(n_layers: usize, shape: &AttentionShape) -> Self {
        assert!(shape.head_dim.is_multiple_of(LANES), "heads are whole sixteens");
        let layer = LayerKv { len: 0, heads: vec![HeadKv::default(); shape.n_kv_heads] };
        Self { shape: *shape, start: 0, layers: vec![layer; n_layers] }
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
        heads.map(HeadKv::n_bytes).sum()
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
        let skipped = (start - self.start) / GROUP;
        let layers = self.layers.iter().map(|layer| {
            assert!(end <= self.start + layer.len, "a branch begins within its segment");
            let kept = skipped..skipped + (end - start).div_ceil(GROUP);
            let heads = layer.heads.iter().map(|head| head.copy(kept.clone(), &self.shape));
            let len = layer.len - (start - self.start);
            let mut branch = LayerKv { len, heads: heads.collect() };
            branch.truncate(end - start, &self.shape);
            branch
        });
        Self { shape: self.shape, start, layers: layers.collect() }
    }

    /// Puts the keys and values of one layer, rows of `n_kv_heads * head_dim`, at positions from
    /// `start` on; what the layer held there before is forgotten.
    ///
    /// # Panics
    /// Where the lengths do not fit, or `start` lies before this segment or after its end.
    pub fn append(
        &mut self,
        team: &Team,
        layer: usize,
        start: usize,
        (keys, values): (&[f32], &[f32]),
    ) {
        let (shape, past) = (self.shape, self.end(layer));
        let (layer, len) = (&mut self.layers[layer], start.wrapping_sub(self.start));
        let width = layer.heads.len() * shape.head_dim;
        assert!(keys.len().is_multiple_of(width), "keys are whole rows");
        assert_eq!(keys.len(), values.len(), "keys and values are of one size");
        assert!(self.start <= start && start <= past, "positions follow each other");
        layer.truncate(len, &shape);
        layer.len += keys.len() / width;
        let n_groups = layer.len.div_ceil(GROUP);
        let tasks = layer.heads.iter_mut().enumerate().map(|(idx, head)| {
            head.resize(n_groups, &shape);
            Append { head, first: len, keys, values, width, idx, shape }
        });
        share(team, keys.len(), tasks, |task| dispatch(team.isa(), task));
    }

    /// What one head holds of the group of positions that begins at `position`.
    #[inline(always)]
    pub(super) fn group(&self, layer: usize, kv_head: usize, position: usize) -> HeadGroup<'_> {
        let group = (position - self.start) / GROUP;
        let head = &self.layers[layer].heads[kv_head];
        let (n_keys, n_values) = (self.shape.n_keys(), self.shape.n_values());
        HeadGroup {
            keys: &head.keys[group * n_keys..][..n_keys],
            values: &head.values[group * n_values..][..n_values],
            value_scales: &head.value_scales[group],
        }
    }
}

impl LayerKv {
    /// Keeps the first `len` positions and sets the places after them to 0.
    fn truncate(&mut self, len: usize, shape: &AttentionShape) {
        if self.len <= len {
            return;
        }
        self.len = len;
        for head in &mut self.heads {
            head.resize(len.div_ceil(GROUP), shape);
            head.forget(len..len.next_multiple_of(GROUP), shape);
        }
    }
}

impl HeadKv {
    fn n_bytes(&self) -> usize {
        self.keys.capacity() * size_of::<KeyPart>()
            + self.values.capacity() * size_of::<ValueFour>()
            + self.value_scales.capacity() * size_of::<[f32; LANES]>()
    }

    fn resize(&mut self, n_groups: usize, shape: &AttentionShape) {
        self.keys.resize(n_groups * shape.n_keys(), KeyPart::EMPTY);
        self.values.resize(n_groups * shape.n_values(), ValueFour([0; 4 * LANES]));
        self.value_scales.resize(n_groups, [0.0; LANES]);
    }

    fn copy(&self, groups: Range<usize>, shape: &AttentionShape) -> Self {
        let (n_keys, n_values) = (shape.n_keys(), shape.n_values());
        Self {
            keys: self.keys[groups.start * n_keys..groups.end * n_keys].to_vec(),
            values: self.values[groups.start * n_values..groups.end * n_values].to_vec(),
            value_scales: self.value_scales[groups].to_vec(),
        }
    }

    /// Sets the places of some positions of one group to 0.
    fn forget(&mut self, positions: Range<usize>, shape: &AttentionShape) {
        let (n_keys, n_dims) = (shape.n_keys(), shape.n_dims());
        for position in positions {
            let (group, place) = (position / GROUP, position % GROUP);
            for part in &mut self.keys[group * n_keys..][..n_keys] {
                part.scale[place] = 0.0;
                for quants in &mut part.quants {
                    quants[4 * place..][..4].fill(0);
                }
            }
            for four in &mut self.values[position / 4 * n_dims..][..n_dims] {
                four.0.iter_mut().skip(place % 4).step_by(4).for_each(|quant| *quant = 0);
            }
            self.value_scales[group][place] = 0.0;
        }
    }
}

/// Rounds one head's part of rows to 8 bits and puts them in their places.
struct Append<'a> {
    head: &'a mut HeadKv,
    /// The first row's position in the segment.
    first: usize,
    keys: &'a [f32],
    values: &'a [f32],
    width: usize,
    /// Which of the rows' heads it is.
    idx: usize,
    shape: AttentionShape,
}

impl Kernel for Append<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Self { head, first, keys, values, width, idx, shape } = self;
        let (n_keys, n_parts, n_dims) = (shape.n_keys(), shape.n_parts(), shape.n_dims());
        let own = idx * shape.head_dim..(idx + 1) * shape.head_dim;
        let rows = keys.chunks(width).zip(values.chunks(width));
        for (position, (keys, values)) in (first..).zip(rows) {
            let (keys, values) = (&keys[own.clone()], &values[own.clone()]);
            let (group, place) = (position / GROUP, position % GROUP);
            let parts = &mut head.keys[group * n_keys..][..n_keys];
            for i in 0..n_parts {
                let mut floats = load_part(lanes, keys, i);
                for part in parts[i..].iter_mut().step_by(n_parts) {
                    let (quantized, rest) = quantize_with_rest(lanes, floats);
                    floats = rest;
                    part.scale[place] = quantized.scale;
                    for (to, quants) in part.quants.iter_mut().zip(quantized.quants) {
                        to[4 * place..][..4].copy_from_slice(&quants.map(i8::cast_unsigned));
                    }
                }
            }
            let mut largest = lanes.splat(0.0);
            for dim in 0..n_dims {
                let values = lanes.floats(sixteen(values, dim * LANES));
                largest = lanes.max(largest, lanes.abs(values));
            }
            let (factor, scale) = factor_and_scale(lanes.largest(largest));
            head.value_scales[group][place] = scale;
            for (dim, four) in head.values[position / 4 * n_dims..][..n_dims].iter_mut().enumerate()
            {
                let values = lanes.floats(sixteen(values, dim * LANES));
                let quants = lanes.narrow(lanes.round(lanes.mul(values, lanes.splat(factor))));
                for (lane, quant) in quants.into_iter().enumerate() {
                    four.0[4 * lane + place % 4] = quant.cast_unsigned();
                }
            }
        }
    }
}
