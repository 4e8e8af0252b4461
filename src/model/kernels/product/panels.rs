//! Activations times quantized weights, 32 rows of them at once.

use std::array;

use crate::model::kernels::Isa;
use crate::model::kernels::activation::{ActivationPart, Activations, CHUNK};
use crate::model::kernels::blocks::{Q4_0, Q4_1, Q5_0, Q8_0};
use crate::model::kernels::k_blocks::{Q4K, Q5K, Q6K};
use crate::model::kernels::lanes::{Kernel, LANES, Lanes, dispatch};
use crate::model::kernels::layout::{Arithmetic, Format, PART};
use crate::model::kernels::packed::{PackedMatrix, Weights};
use crate::model::kernels::product::TILE_ROWS;
use crate::model::kernels::tile::{Tile, Unpacked};

/// Activation rows up to which weights are unpacked as they are multiplied; with more, unpacking
/// them first into a small buffer takes less.
const UNPACKED_ROWS: usize = 16;

/// Computes the products of all activation rows with the 32 rows of a quantized matrix that begin
/// with panel `first`; a last panel without a partner is its own.
///
/// # Panics
/// Where the matrix is not quantized.
pub(super) fn multiply_pair(
    isa: Isa,
    activations: &Activations,
    (matrix, first): (&PackedMatrix, usize),
    sums: &mut [[[f32; LANES]; 2]],
) {
    macro_rules! run {
        ($format:ty, $blocks:expr) => {{
            let n_across = matrix.cols() / (PART * <$format>::PARTS);
            let mut panels = $blocks[first * n_across..].chunks(n_across);
            let left = panels.next().expect("the panel is one of the matrix");
            let blocks = [left, panels.next().unwrap_or(left)];
            dispatch(isa, Panels::<$format> { blocks, activations, sums });
        }};
    }
    match matrix.weights() {
        Weights::F32(_) | Weights::F16(_) | Weights::Bf16(_) => {
            unreachable!("plain numbers are not multiplied as blocks")
        }
        Weights::Q4_0(blocks) => run!(Q4_0, blocks),
        Weights::Q4_1(blocks) => run!(Q4_1, blocks),
        Weights::Q5_0(blocks) => run!(Q5_0, blocks),
        Weights::Q8_0(blocks) => run!(Q8_0, blocks),
        Weights::Q4K(blocks) => run!(Q4K, blocks),
        Weights::Q5K(blocks) => run!(Q5K, blocks),
        Weights::Q6K(blocks) => run!(Q6K, blocks),
    }
}

/// The product of all activation rows with 32 rows of weights.
struct Panels<'a, F: Format> {
    blocks: [&'a [F::Block]; 2],
    activations: &'a Activations,
    sums: &'a mut [[[f32; LANES]; 2]],
}

impl<F: Format> Kernel for Panels<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Self { blocks: [left, right], activations, sums } = self;
        let n_across = left.len();
        let chunks = left.chunks(CHUNK / F::PARTS).zip(right.chunks(CHUNK / F::PARTS)).enumerate();
        // Few rows take weights as fast as they come, and a panel is too short for the processor
        // to foresee what follows it.
        let ahead = 2 * n_across * size_of::<F::Block>();
        if activations.rows() <= UNPACKED_ROWS {
            for (chunk, (left, right)) in chunks {
                multiply_chunk::<L, F>(lanes, [left, right], activations, (chunk, ahead), sums);
            }
            return;
        }
        let mut tiles = [[Tile::EMPTY; CHUNK], [Tile::EMPTY; CHUNK]];
        for (chunk, (left, right)) in chunks {
            for block in left.iter().chain(right) {
                lanes.prefetch(block, ahead);
            }
            let n_parts = left.len() * F::PARTS;
            for (tiles, blocks) in tiles.iter_mut().zip([left, right]) {
                for (i, tile) in tiles[..n_parts].iter_mut().enumerate() {
                    tile.unpack::<L, F>(lanes, &blocks[i / F::PARTS], i % F::PARTS);
                }
            }
            let tiles = [&tiles[0][..n_parts], &tiles[1][..n_parts]];
            multiply_chunk::<L, Unpacked<F>>(lanes, tiles, activations, (chunk, 0), sums);
        }
    }
}

/// What a tile has to know beside its numbers.
#[derive(Debug, Clone, Copy)]
pub(in crate::model::kernels) struct Turn {
    /// Whether the sums are written for the first time, whatever they hold.
    is_first: bool,
    /// How many bytes after the weights that it reads the tile has its share brought near, while it
    /// computes: all at once would be more than the processor can wait for. 0: nothing.
    ahead: usize,
    /// Which of the tiles that read these weights it is.
    tile: usize,
    n_tiles: usize,
}

impl Turn {
    /// The only tile that reads its weights.
    pub(in crate::model::kernels) const ONLY: Self =
        Self { is_first: true, ahead: 0, tile: 0, n_tiles: 1 };
}

/// Adds what one chunk of columns brings to the sums of all activation rows.
#[inline(always)]
fn multiply_chunk<L: Lanes, F: Format>(
    lanes: L,
    blocks: [&[F::Block]; 2],
    activations: &Activations,
    (chunk, ahead): (usize, usize),
    sums: &mut [[[f32; LANES]; 2]],
) {
    let parts = |row: usize| activations.parts(chunk, row);
    let n_tiles = sums.len().div_ceil(TILE_ROWS);
    let (tiles, rest) = sums.as_chunks_mut::<TILE_ROWS>();
    let mut first = 0;
    for sums in tiles {
        let parts = array::from_fn(|row| parts(first + row));
        let turn = Turn { is_first: chunk == 0, ahead, tile: first / TILE_ROWS, n_tiles };
        multiply_panels::<L, F, TILE_ROWS>(lanes, blocks, parts, turn, sums);
        first += TILE_ROWS;
    }
    let turn = Turn { is_first: chunk == 0, ahead, tile: first / TILE_ROWS, n_tiles };
    match rest {
        [a, b, c] => {
            let parts = [parts(first), parts(first + 1), parts(first + 2)];
            let mut sums = [*a, *b, *c];
            multiply_panels::<L, F, 3>(lanes, blocks, parts, turn, &mut sums);
            [*a, *b, *c] = sums;
        }
        [a, b] => {
            let parts = [parts(first), parts(first + 1)];
            let mut sums = [*a, *b];
            multiply_panels::<L, F, 2>(lanes, blocks, parts, turn, &mut sums);
            [*a, *b] = sums;
        }
        [a] => {
            multiply_panels::<L, F, 1>(lanes, blocks, [parts(first)], turn, array::from_mut(a));
        }
        _ => {}
    }
}

/// A tile of both panels where their sums fit into registers, or of one after the other.
#[inline(always)]
pub(in crate::model::kernels) fn multiply_panels<L: Lanes, F: Format, const ROWS: usize>(
    lanes: L,
    blocks: [&[F::Block]; 2],
    parts: [&[ActivationPart]; ROWS],
    turn: Turn,
    sums: &mut [[[f32; LANES]; 2]; ROWS],
) {
    if L::HAS_ROOM_FOR_TWO {
        multiply_tile::<L, F, 2, ROWS>(lanes, 0, blocks, parts, turn, sums);
    } else {
        for panel in 0..2 {
            multiply_tile::<L, F, 1, ROWS>(lanes, panel, [blocks[panel]], parts, turn, sums);
        }
    }
}

/// Adds the products of some parts of 16 weight rows each of `PANELS` panels, from `first` on,
/// with those of a few activation rows.
///
/// For each output the order is: parts from the first column on; of each, the whole-number dot
/// product times both scales, then the minimum.
#[inline(always)]
fn multiply_tile<L: Lanes, F: Format, const PANELS: usize, const ROWS: usize>(
    lanes: L,
    first: usize,
    blocks: [&[F::Block]; PANELS],
    parts: [&[ActivationPart]; ROWS],
    turn: Turn,
    sums: &mut [[[f32; LANES]; 2]; ROWS],
) {
    // Lines of memory per part and tile, in 256ths.
    let lines = (size_of::<F::Block>().div_ceil(64) << 8).div_ceil(F::PARTS * turn.n_tiles);
    let n_blocks = blocks[0].len();
    let blocks = blocks.map(|blocks| &blocks[..n_blocks]);
    let n_parts = n_blocks * F::PARTS;
    let parts = parts.map(|parts| &parts[..n_parts]);
    let mut totals = [[lanes.splat(0.0); PANELS]; ROWS];
    if !turn.is_first {
        for row in 0..ROWS {
            for panel in 0..PANELS {
                totals[row][panel] = lanes.floats(&sums[row][first + panel]);
            }
        }
    }
    for i in 0..n_parts {
        let part = i % F::PARTS;
        let blocks: [&F::Block; PANELS] = array::from_fn(|panel| &blocks[panel][i / F::PARTS]);
        if turn.ahead != 0 {
            let first = part * turn.n_tiles + turn.tile;
            let lines = (first * lines) >> 8..((first + 1) * lines) >> 8;
            for panel in 0..PANELS {
                for line in lines.clone() {
                    lanes.prefetch_line(blocks[panel], turn.ahead + 64 * line);
                }
            }
        }
        let inputs: [&ActivationPart; ROWS] = array::from_fn(|row| &parts[row][i]);
        let ints = dot_part::<L, F, PANELS, ROWS>(lanes, blocks, part, inputs);
        for panel in 0..PANELS {
            let scale = F::scale(lanes, blocks[panel], part);
            for row in 0..ROWS {
                let factor = lanes.mul(scale, lanes.splat(inputs[row].scale));
                let ints = lanes.to_floats(ints[row][panel]);
                totals[row][panel] = lanes.mul_add(ints, factor, totals[row][panel]);
            }
            if F::HAS_MINIMUM {
                let minimum = F::minimum(lanes, blocks[panel], part);
                for row in 0..ROWS {
                    let sum = lanes.splat(inputs[row].scaled_sum);
                    totals[row][panel] = lanes.mul_add(minimum, sum, totals[row][panel]);
                }
            }
        }
    }
    for row in 0..ROWS {
        for panel in 0..PANELS {
            lanes.store(totals[row][panel], &mut sums[row][first + panel]);
        }
    }
}

/// Whole-number dot products of 32 columns.
#[inline(always)]
fn dot_part<L: Lanes, F: Format, const PANELS: usize, const ROWS: usize>(
    lanes: L,
    blocks: [&F::Block; PANELS],
    part: usize,
    inputs: [&ActivationPart; ROWS],
) -> [[L::Ints; PANELS]; ROWS] {
    macro_rules! groups {
        ($dot:ident, $dots:ident: $($group:literal)+) => {
            $(
                for panel in 0..PANELS {
                    let quants = F::quants::<L, $group>(lanes, blocks[panel], part);
                    for row in 0..ROWS {
                        let activations = inputs[row].quants[$group];
                        $dots[row][panel] = lanes.$dot($dots[row][panel], quants, activations);
                    }
                }
            )+
        };
    }
    // Loops over arrays rather than `map`: a closure that is not inlined would be compiled without
    // the vector instructions.
    let mut dots = [[lanes.start_unsigned(); PANELS]; ROWS];
    let mut ints = [[lanes.start_signed([0; 2]); PANELS]; ROWS];
    match F::ARITHMETIC {
        Arithmetic::Centred | Arithmetic::Unsigned => {
            for row in 0..ROWS {
                dots[row] = [start::<L, F>(lanes, inputs[row].negative_sums); PANELS];
            }
            groups!(dot, dots: 0 1 2 3 4 5 6 7);
            for row in 0..ROWS {
                for panel in 0..PANELS {
                    ints[row][panel] = lanes.finish(dots[row][panel]);
                }
            }
        }
        Arithmetic::Grouped => {
            for row in 0..ROWS {
                dots[row] = [start::<L, F>(lanes, inputs[row].negative_half_sums[0]); PANELS];
            }
            groups!(dot, dots: 0 1 2 3);
            for row in 0..ROWS {
                for panel in 0..PANELS {
                    let [scales, _] = F::group_scales(blocks[panel], part);
                    ints[row][panel] = lanes.finish_scaled(dots[row][panel], scales);
                }
                dots[row] = [start::<L, F>(lanes, inputs[row].negative_half_sums[1]); PANELS];
            }
            groups!(dot, dots: 4 5 6 7);
            for row in 0..ROWS {
                for panel in 0..PANELS {
                    let [_, scales] = F::group_scales(blocks[panel], part);
                    let second = lanes.finish_scaled(dots[row][panel], scales);
                    ints[row][panel] = lanes.add_ints(ints[row][panel], second);
                }
            }
        }
        Arithmetic::Signed => {
            for row in 0..ROWS {
                ints[row] = [lanes.start_signed(inputs[row].negative_sums); PANELS];
            }
            groups!(dot_signed, ints: 0 1 2 3 4 5 6 7);
        }
    }
    ints
}

#[inline(always)]
fn start<L: Lanes, F: Format>(lanes: L, negative_sums: [i16; 2]) -> L::Dots {
    match F::SHIFT {
        3 => lanes.start::<3>(negative_sums),
        4 => lanes.start::<4>(negative_sums),
        5 => lanes.start::<5>(negative_sums),
        _ => lanes.start_unsigned(),
    }
}
