//! Inputs of products: rows of activations, as int8 with a scale for every 32, as floats, or both.

use crate::model::kernels::Isa;

/// In which form a product wants its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// For quantized weights.
    Int8,
    /// For F32, F16 and BF16 weights.
    Float,
    Both,
}

impl Form {
    /// The form that serves both products.
    pub fn and(self, other: Self) -> Self {
        if self == other { self } else { Self::Both }
    }
}

/// Rows of activations, quantized once for all products that read them.
///
/// The buffers are reused: keep one value per place in the layer and fill it again.
#[derive(Debug)]
pub struct Activations {
    pub isa: Isa,
}

impl Activations {
    pub fn new(isa: Isa) -> Self {
        Self { isa }
    }

    /// Takes `values`, rows of `cols` (a multiple of 32 for [`Form::Int8`]).
    pub fn quantize(&mut self, values: &[f32], cols: usize, form: Form) {
        let _ = (values, cols, form);
        unimplemented!()
    }

    /// Takes the RMS norm of each row of `values`: `x / sqrt(mean(x²) + epsilon) * weight`.
    /// The rows are as long as `weight`.
    pub fn quantize_normed(&mut self, values: &[f32], weight: &[f32], epsilon: f32, form: Form) {
        let _ = (values, weight, epsilon, form);
        unimplemented!()
    }

    /// Takes `silu(gate) * up`, rows of `cols`.
    pub fn quantize_gated(&mut self, gate: &[f32], up: &[f32], cols: usize, form: Form) {
        let _ = (gate, up, cols, form);
        unimplemented!()
    }

    /// How many rows it holds.
    pub fn rows(&self) -> usize {
        unimplemented!()
    }
}

/// RMS norm of each row in place (as [`Activations::quantize_normed`] computes it), for the norms
/// of queries and keys in Qwen3 and for callers that want the floats.
pub fn rms_norm(isa: Isa, values: &mut [f32], weight: &[f32], epsilon: f32) {
    let _ = (isa, values, weight, epsilon);
    unimplemented!()
}
