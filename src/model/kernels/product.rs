//! Products of activations with packed weights.

use crate::model::kernels::activation::Activations;
use crate::model::kernels::packed::PackedMatrix;

/// What becomes of a product's result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// It replaces what `out` held.
    Set,
    /// It is added to what `out` held: a residual connection.
    Add,
}

/// One product of several that read the same activations.
#[derive(Debug)]
pub struct Product<'a> {
    pub matrix: &'a PackedMatrix,
    /// Added to every row of the result.
    pub bias: Option<&'a [f32]>,
    pub store: Store,
    /// (activation rows, matrix rows), row-major.
    pub out: &'a mut [f32],
}

/// Computes `out = activations · matrixᵀ + bias` for each of `products`, in parallel on the
/// current rayon pool.
///
/// # Panics
/// Where the lengths do not fit, or the activations lack the form that a matrix wants.
pub fn multiply(activations: &Activations, products: &mut [Product<'_>]) {
    let _ = (activations, products);
    unimplemented!()
}
