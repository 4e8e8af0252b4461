//! Weight matrices, packed for the kernels.

use crate::model::kernels::Isa;
use crate::model::kernels::activation::Form;
use crate::model::kernels::quant::QuantType;

/// A weight matrix in the kernels' layout: `rows` outputs by `cols` inputs.
///
/// It keeps the bits per weight of the file (see `docs/performance.md`), so a mapped file and its
/// packed weights take about twice the file together.
#[derive(Debug)]
pub struct PackedMatrix {
    pub(crate) rows: usize,
    pub(crate) cols: usize,
}

/// Why bytes are no matrix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PackError {
    #[error("a row of {cols} weights is not made of whole blocks of {block}")]
    Columns { cols: usize, block: usize },
    #[error("wanted {wanted} bytes of weights, found {found}")]
    Length { wanted: usize, found: usize },
    #[error("{rows} × {cols} weights are more than memory can hold")]
    TooLarge { rows: usize, cols: usize },
}

impl PackedMatrix {
    /// Packs the row-major blocks of one GGUF tensor, in parallel on the current rayon pool.
    ///
    /// `cols` is the tensor's innermost dimension.
    pub fn pack(
        kind: QuantType,
        rows: usize,
        cols: usize,
        bytes: &[u8],
        isa: Isa,
    ) -> Result<Self, PackError> {
        let _ = (kind, bytes, isa);
        Ok(Self { rows, cols })
    }

    pub const fn rows(&self) -> usize {
        self.rows
    }

    pub const fn cols(&self) -> usize {
        self.cols
    }

    /// Bytes of memory that the packed weights take.
    pub fn n_bytes(&self) -> usize {
        unimplemented!()
    }

    /// What [`crate::model::kernels::activation::Activations`] must hold for products with it.
    pub fn form(&self) -> Form {
        unimplemented!()
    }

    /// Writes row `row` as floats into `out` (`cols` long): a lookup in an embedding table.
    pub fn read_row(&self, row: usize, out: &mut [f32]) {
        let _ = (row, out);
        unimplemented!()
    }
}
