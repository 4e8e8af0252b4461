//! Causal attention with grouped heads over a store of half-precision keys and values that
//! sequences share.
//!
//! A sequence is a list of segments: the first begins at position 0, each begins where the one
//! before it was left, and only the last may be still growing. Sequences that begin alike list the
//! same segments, and `attend` then reads those once for all of them.

use crate::model::kernels::Isa;

/// Positions lie in groups of so many; a segment begins at a multiple of it.
pub const GROUP: usize = 16;

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
    pub(crate) start: usize,
    pub(crate) len: usize,
}

impl KvSegment {
    /// An empty segment that begins at position 0.
    pub fn new(n_layers: usize, shape: &AttentionShape) -> Self {
        let _ = (n_layers, shape);
        unimplemented!()
    }

    /// The position of its first entry, a multiple of [`GROUP`].
    pub const fn start(&self) -> usize {
        self.start
    }

    /// The position after its last entry.
    pub const fn end(&self) -> usize {
        self.start + self.len
    }

    /// Bytes of memory that its keys and values take.
    pub fn n_bytes(&self) -> usize {
        unimplemented!()
    }

    /// A segment that continues after position `end` of this one and is its own: it begins at the
    /// last multiple of [`GROUP`] not after `end`, and holds copies of the up to 15 positions from
    /// there to `end`. A sequence that branches off lists this segment, then the new one; what
    /// this one holds from the new one's start on is hidden by it.
    pub fn branch(&self, end: usize) -> Self {
        let _ = end;
        unimplemented!()
    }

    /// Forgets positions from `end` on.
    pub fn truncate(&mut self, end: usize) {
        let _ = end;
        unimplemented!()
    }

    /// Appends the keys and values of one layer: rows of `n_kv_heads * head_dim`. Each layer is
    /// appended to once per forward pass with the same number of rows.
    pub fn append(&mut self, layer: usize, keys: &[f32], values: &[f32]) {
        let _ = (layer, keys, values);
        unimplemented!()
    }
}

/// The new positions of one sequence.
#[derive(Debug, Clone)]
pub struct Span<'a> {
    /// Segments from position 0 on; the last holds the new positions' own keys and values.
    pub segments: Vec<&'a KvSegment>,
    /// How many rows of the queries are its own: the last positions of the sequence.
    pub n_queries: usize,
}

/// Computes `softmax(scale · q · kᵀ, causal) · v` of one layer for all `spans`, in parallel on the
/// current rayon pool. `queries` and `out` have rows of `n_heads * head_dim`, the rows of the
/// first span first.
pub fn attend(
    isa: Isa,
    shape: &AttentionShape,
    layer: usize,
    spans: &[Span<'_>],
    queries: &[f32],
    out: &mut [f32],
) {
    let _ = (isa, shape, layer, spans, queries, out);
    unimplemented!()
}
