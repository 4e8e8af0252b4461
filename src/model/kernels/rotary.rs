//! Rotary position embedding.

use crate::model::kernels::Isa;

/// Which dimensions of a head turn together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RotaryStyle {
    /// Dimension `i` with `i + half`: safetensors of every family, GGUF of qwen2 and qwen3.
    Halves,
    /// Dimension `2 i` with `2 i + 1`: GGUF of the llama family.
    Pairs,
}

/// Sines and cosines of every position up to a limit.
#[derive(Debug)]
pub struct RotaryTable {
    pub style: RotaryStyle,
}

impl RotaryTable {
    /// `inverse_frequencies[i]` is the angle that pair `i` turns per position
    /// (`base^(-2 i / rotary_dim)`, times a model's own factor where it has one).
    pub fn new(style: RotaryStyle, inverse_frequencies: &[f64], n_positions: usize) -> Self {
        let _ = (inverse_frequencies, n_positions);
        Self { style }
    }

    /// Turns every head of `values` (rows of heads of `head_dim`) in place; `positions` has one
    /// entry per row. Dimensions past the table's stay as they are.
    pub fn rotate(&self, isa: Isa, values: &mut [f32], head_dim: usize, positions: &[usize]) {
        let _ = (isa, values, head_dim, positions);
        unimplemented!()
    }
}
