//! Activations times weights that are plain numbers, 16 rows of them at once.

use std::array;

use crate::model::kernels::activation::Activations;
use crate::model::kernels::lanes::{Kernel, LANES, Lanes};
use crate::model::kernels::product::TILE_ROWS;

/// A format of plain numbers, 16 rows of one column together.
pub(super) trait Plain {
    type Column;
    fn load<L: Lanes>(lanes: L, column: &Self::Column) -> L::Floats;
}

pub(super) struct F32;

pub(super) struct F16;

pub(super) struct Bf16;

impl Plain for F32 {
    type Column = [f32; LANES];

    #[inline(always)]
    fn load<L: Lanes>(lanes: L, column: &[f32; LANES]) -> L::Floats {
        lanes.floats(column)
    }
}

impl Plain for F16 {
    type Column = [u16; LANES];

    #[inline(always)]
    fn load<L: Lanes>(lanes: L, column: &[u16; LANES]) -> L::Floats {
        lanes.halves(column)
    }
}

impl Plain for Bf16 {
    type Column = [u16; LANES];

    #[inline(always)]
    fn load<L: Lanes>(lanes: L, column: &[u16; LANES]) -> L::Floats {
        lanes.brains(column)
    }
}

/// The product of all activation rows with 16 rows of plain numbers.
pub(super) struct PlainPanel<'a, P: Plain> {
    pub(super) columns: &'a [P::Column],
    pub(super) activations: &'a Activations,
    pub(super) sums: &'a mut [[f32; LANES]],
}

impl<P: Plain> Kernel for PlainPanel<'_, P> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let (tiles, rest) = self.sums.as_chunks_mut::<TILE_ROWS>();
        let n_tiled = tiles.len() * TILE_ROWS;
        for (i, sums) in tiles.iter_mut().enumerate() {
            let inputs = array::from_fn(|row| self.activations.floats(i * TILE_ROWS + row));
            multiply_plain::<L, P, TILE_ROWS>(lanes, self.columns, inputs, sums);
        }
        for (i, sums) in rest.iter_mut().enumerate() {
            let inputs = [self.activations.floats(n_tiled + i)];
            multiply_plain::<L, P, 1>(lanes, self.columns, inputs, array::from_mut(sums));
        }
    }
}

#[inline(always)]
fn multiply_plain<L: Lanes, P: Plain, const ROWS: usize>(
    lanes: L,
    columns: &[P::Column],
    inputs: [&[f32]; ROWS],
    sums: &mut [[f32; LANES]; ROWS],
) {
    let inputs = inputs.map(|input| &input[..columns.len()]);
    let mut totals = [lanes.splat(0.0); ROWS];
    for (i, column) in columns.iter().enumerate() {
        let weights = P::load(lanes, column);
        for row in 0..ROWS {
            totals[row] = lanes.mul_add(weights, lanes.splat(inputs[row][i]), totals[row]);
        }
    }
    for row in 0..ROWS {
        lanes.store(totals[row], &mut sums[row]);
    }
}
