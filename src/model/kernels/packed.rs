//! Weight matrices, packed for the kernels.

use half::{bf16, f16};
use rayon::prelude::*;

use crate::model::kernels::Isa;
use crate::model::kernels::activation::Form;
use crate::model::kernels::blocks::{Q4_0, Q4_1, Q5_0, Q8_0};
use crate::model::kernels::k_blocks::{Q4K, Q5K, Q6K};
use crate::model::kernels::lanes::{Kernel, LANES, Lanes, dispatch};
use crate::model::kernels::layout::{Format, PART, Source};
use crate::model::kernels::quant::QuantType;
use crate::model::kernels::tile::Tile;

/// A weight matrix in the kernels' layout: `rows` outputs by `cols` inputs.
///
/// It keeps the bits per weight of the file (see `docs/performance.md`), so a mapped file and its
/// packed weights take about twice the file together.
#[derive(Debug)]
pub struct PackedMatrix {
    rows: usize,
    cols: usize,
    weights: Weights,
}

/// Blocks of 16 rows, those of the first 16 rows first.
#[derive(Debug)]
pub(super) enum Weights {
    F32(Vec<[f32; LANES]>),
    F16(Vec<[u16; LANES]>),
    Bf16(Vec<[u16; LANES]>),
    Q4_0(Vec<<Q4_0 as Format>::Block>),
    Q4_1(Vec<<Q4_1 as Format>::Block>),
    Q5_0(Vec<<Q5_0 as Format>::Block>),
    Q8_0(Vec<<Q8_0 as Format>::Block>),
    Q4K(Vec<<Q4K as Format>::Block>),
    Q5K(Vec<<Q5K as Format>::Block>),
    Q6K(Vec<<Q6K as Format>::Block>),
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
    ) -> Result<Self, PackError> {
        if cols == 0 || !cols.is_multiple_of(kind.block_len()) {
            return Err(PackError::Columns { cols, block: kind.block_len() });
        }
        let row_bytes = (cols / kind.block_len()).checked_mul(kind.block_bytes());
        let wanted = row_bytes.and_then(|row_bytes| rows.checked_mul(row_bytes));
        let wanted = wanted.ok_or(PackError::TooLarge { rows, cols })?;
        if bytes.len() != wanted {
            return Err(PackError::Length { wanted, found: bytes.len() });
        }
        let weights = match kind {
            QuantType::F32 => Weights::F32(pack_plain(rows, cols, bytes, f32::from_le_bytes)),
            QuantType::F16 => Weights::F16(pack_plain(rows, cols, bytes, u16::from_le_bytes)),
            QuantType::Bf16 => Weights::Bf16(pack_plain(rows, cols, bytes, u16::from_le_bytes)),
            QuantType::Q4_0 => Weights::Q4_0(pack_blocks::<Q4_0>(rows, cols, bytes)),
            QuantType::Q4_1 => Weights::Q4_1(pack_blocks::<Q4_1>(rows, cols, bytes)),
            QuantType::Q5_0 => Weights::Q5_0(pack_blocks::<Q5_0>(rows, cols, bytes)),
            QuantType::Q8_0 => Weights::Q8_0(pack_blocks::<Q8_0>(rows, cols, bytes)),
            QuantType::Q4K => Weights::Q4K(pack_blocks::<Q4K>(rows, cols, bytes)),
            QuantType::Q5K => Weights::Q5K(pack_blocks::<Q5K>(rows, cols, bytes)),
            QuantType::Q6K => Weights::Q6K(pack_blocks::<Q6K>(rows, cols, bytes)),
        };
        Ok(Self { rows, cols, weights })
    }

    pub const fn rows(&self) -> usize {
        self.rows
    }

    pub const fn cols(&self) -> usize {
        self.cols
    }

    pub(super) const fn weights(&self) -> &Weights {
        &self.weights
    }

    /// Bytes of memory that the packed weights take.
    pub fn n_bytes(&self) -> usize {
        match &self.weights {
            Weights::F32(blocks) => size_of_val(blocks.as_slice()),
            Weights::F16(blocks) | Weights::Bf16(blocks) => size_of_val(blocks.as_slice()),
            Weights::Q4_0(blocks) => size_of_val(blocks.as_slice()),
            Weights::Q4_1(blocks) => size_of_val(blocks.as_slice()),
            Weights::Q5_0(blocks) => size_of_val(blocks.as_slice()),
            Weights::Q8_0(blocks) => size_of_val(blocks.as_slice()),
            Weights::Q4K(blocks) => size_of_val(blocks.as_slice()),
            Weights::Q5K(blocks) => size_of_val(blocks.as_slice()),
            Weights::Q6K(blocks) => size_of_val(blocks.as_slice()),
        }
    }

    /// What [`crate::model::kernels::activation::Activations`] must hold for products with it.
    pub const fn form(&self) -> Form {
        match self.weights {
            Weights::F32(_) | Weights::F16(_) | Weights::Bf16(_) => Form::Float,
            _ => Form::Int8,
        }
    }

    /// Writes row `row` as floats into `out` (`cols` long): a lookup in an embedding table.
    ///
    /// # Panics
    /// Where there is no such row, or `out` is of another length.
    pub fn read_row(&self, row: usize, out: &mut [f32]) {
        assert!(row < self.rows, "row {row} is one of {}", self.rows);
        assert_eq!(out.len(), self.cols, "`out` is one row");
        match &self.weights {
            Weights::F32(columns) => read_plain(columns, row, out, |weight| weight),
            Weights::F16(columns) => {
                read_plain(columns, row, out, |bits| f16::from_bits(bits).to_f32());
            }
            Weights::Bf16(columns) => {
                read_plain(columns, row, out, |bits| bf16::from_bits(bits).to_f32());
            }
            Weights::Q4_0(blocks) => read_blocks::<Q4_0>(blocks, row, out),
            Weights::Q4_1(blocks) => read_blocks::<Q4_1>(blocks, row, out),
            Weights::Q5_0(blocks) => read_blocks::<Q5_0>(blocks, row, out),
            Weights::Q8_0(blocks) => read_blocks::<Q8_0>(blocks, row, out),
            Weights::Q4K(blocks) => read_blocks::<Q4K>(blocks, row, out),
            Weights::Q5K(blocks) => read_blocks::<Q5K>(blocks, row, out),
            Weights::Q6K(blocks) => read_blocks::<Q6K>(blocks, row, out),
        }
    }
}

/// For every 16 rows, the numbers of each column together.
fn pack_plain<const N: usize, T: Default + Copy + Send>(
    rows: usize,
    cols: usize,
    bytes: &[u8],
    read: fn([u8; N]) -> T,
) -> Vec<[T; LANES]> {
    let numbers = bytes.as_chunks::<N>().0;
    let column = |i: usize| {
        let (first, col) = (i / cols * LANES, i % cols);
        let mut column = [T::default(); LANES];
        for (row, number) in (first..rows).zip(&mut column) {
            *number = read(numbers[row * cols + col]);
        }
        column
    };
    (0..rows.div_ceil(LANES) * cols).into_par_iter().map(column).collect()
}

fn read_plain<T: Copy>(
    columns: &[[T; LANES]],
    row: usize,
    out: &mut [f32],
    to_float: impl Fn(T) -> f32,
) {
    let columns = &columns[row / LANES * out.len()..];
    for (weight, column) in out.iter_mut().zip(columns) {
        *weight = to_float(column[row % LANES]);
    }
}

/// Rows past the last are zero.
fn pack_blocks<F: Source>(rows: usize, cols: usize, bytes: &[u8]) -> Vec<F::Block> {
    let n_across = cols / (PART * F::PARTS);
    let block = |i: usize| {
        let (first, across) = (i / n_across * LANES, i % n_across);
        let mut block = F::EMPTY;
        for row in first..rows.min(first + LANES) {
            let raw = &bytes[(row * n_across + across) * F::RAW..][..F::RAW];
            F::put(&mut block, row - first, raw);
        }
        block
    };
    (0..rows.div_ceil(LANES) * n_across).into_par_iter().map(block).collect()
}

fn read_blocks<F: Format>(blocks: &[F::Block], row: usize, out: &mut [f32]) {
    let n_across = out.len() / (PART * F::PARTS);
    let blocks = &blocks[row / LANES * n_across..][..n_across];
    dispatch(Isa::Portable, ReadRow::<F> { blocks, row: row % LANES, out });
}

struct ReadRow<'a, F: Format> {
    blocks: &'a [F::Block],
    row: usize,
    out: &'a mut [f32],
}

impl<F: Format> Kernel for ReadRow<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let mut tile = Tile::EMPTY;
        for (i, out) in self.out.as_chunks_mut::<PART>().0.iter_mut().enumerate() {
            tile.unpack::<L, F>(lanes, &self.blocks[i / F::PARTS], i % F::PARTS);
            tile.read_row::<F>(self.row, out);
        }
    }
}
