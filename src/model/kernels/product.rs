//! Products of activations with packed weights.

use std::array;

use crate::model::kernels::Isa;
use crate::model::kernels::activation::{ActivationPart, Activations, CHUNK};
use crate::model::kernels::lanes::{Kernel, LANES, Lanes, dispatch};
use crate::model::kernels::layout::{Arithmetic, Format, PART, Tile, Unpacked};
use crate::model::kernels::layout::{Q4_0, Q4_1, Q4K, Q5_0, Q5K, Q6K, Q8_0};
use crate::model::kernels::packed::{PackedMatrix, Weights};
use crate::model::kernels::team::Team;

/// Activation rows that are multiplied with a loaded weight at once.
const TILE_ROWS: usize = 4;

/// Activation rows up to which weights are unpacked as they are multiplied; with more, unpacking
/// them first into a small buffer takes less.
const UNPACKED_ROWS: usize = 16;

/// Bytes of packed weights that are worth a task of their own.
const TASK_BYTES: usize = 1 << 14;

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

/// Computes `out = activations · matrixᵀ + bias` for each of `products`, shared by the team.
///
/// # Panics
/// Where the lengths do not fit, or the activations lack the form that a matrix wants.
pub fn multiply(team: &Team, activations: &Activations, products: &mut [Product<'_>]) {
    let n_threads = team.n_threads();
    let n_bytes = products.iter().map(|product| product.matrix.n_bytes()).sum::<usize>();
    // Several tasks per thread even out what else the machine does; each task's share of the work
    // changes no result, since an output is computed by one task alone.
    let work = n_bytes * activations.rows().div_ceil(TILE_ROWS);
    // One row waits for memory, which is read fastest in long runs.
    let per_thread = match activations.rows() {
        1 => 2,
        2..64 => 4,
        _ => 8,
    };
    let n_tasks = (work / TASK_BYTES).clamp(1, per_thread * n_threads);
    let mut tasks = Vec::with_capacity(n_tasks + products.len());
    for product in products {
        let Product { matrix, bias, store, out } = product;
        let (matrix, bias, store) = (*matrix, *bias, *store);
        assert_eq!(matrix.cols(), activations.cols(), "activations are as long as weight rows");
        assert_eq!(out.len(), activations.rows() * matrix.rows(), "`out` holds the product");
        assert!(bias.is_none_or(|bias| bias.len() == matrix.rows()), "a bias for every output");
        let form = activations.form();
        assert!(form == matrix.form() || form.and(matrix.form()) == form, "the wanted form");
        let n_panels = matrix.rows().div_ceil(LANES);
        let n_own = (n_tasks * matrix.n_bytes()).div_ceil(n_bytes.max(1)).clamp(1, n_panels.max(1));
        let width = n_panels.div_ceil(n_own).max(1) * LANES;
        let n_before = tasks.len();
        for first in (0..matrix.rows()).step_by(width) {
            let bias = bias.map(|bias| &bias[first..]);
            let out = Vec::with_capacity(activations.rows());
            tasks.push(Task { matrix, first_panel: first / LANES, bias, store, out });
        }
        for row in out.chunks_mut(matrix.rows().max(1)) {
            for (task, columns) in tasks[n_before..].iter_mut().zip(row.chunks_mut(width)) {
                task.out.push(columns);
            }
        }
    }
    team.for_each(tasks, |task| task.run(team.isa(), activations));
}

/// Some neighbouring outputs of one product.
struct Task<'a> {
    matrix: &'a PackedMatrix,
    first_panel: usize,
    /// From these outputs on.
    bias: Option<&'a [f32]>,
    store: Store,
    /// The columns of these outputs, one slice per activation row.
    out: Vec<&'a mut [f32]>,
}

impl Task<'_> {
    fn run(mut self, isa: Isa, activations: &Activations) {
        match self.matrix.weights() {
            Weights::F32(columns) => self.run_plain(isa, activations, columns, F32),
            Weights::F16(columns) => self.run_plain(isa, activations, columns, F16),
            Weights::Bf16(columns) => self.run_plain(isa, activations, columns, Bf16),
            Weights::Q4_0(blocks) => self.run_blocks::<Q4_0>(isa, activations, blocks),
            Weights::Q4_1(blocks) => self.run_blocks::<Q4_1>(isa, activations, blocks),
            Weights::Q5_0(blocks) => self.run_blocks::<Q5_0>(isa, activations, blocks),
            Weights::Q8_0(blocks) => self.run_blocks::<Q8_0>(isa, activations, blocks),
            Weights::Q4K(blocks) => self.run_blocks::<Q4K>(isa, activations, blocks),
            Weights::Q5K(blocks) => self.run_blocks::<Q5K>(isa, activations, blocks),
            Weights::Q6K(blocks) => self.run_blocks::<Q6K>(isa, activations, blocks),
        }
    }

    fn run_blocks<F: Format>(&mut self, isa: Isa, activations: &Activations, blocks: &[F::Block]) {
        let n_across = activations.cols() / (PART * F::PARTS);
        let n_panels = self.out.first().map_or(0, |out| out.len()).div_ceil(LANES);
        let blocks = &blocks[self.first_panel * n_across..][..n_panels * n_across];
        let mut sums = vec![[[0.0; LANES]; 2]; activations.rows()];
        for (pair, blocks) in blocks.chunks(2 * n_across).enumerate() {
            // A last panel without a partner is its own.
            let (left, right) = blocks.split_at(n_across);
            let blocks = [left, if right.is_empty() { left } else { right }];
            sums.fill([[0.0; LANES]; 2]);
            let sums = sums.as_mut_slice();
            dispatch(isa, Panels::<F> { blocks, activations, sums });
            self.finish::<{ 2 * LANES }>(pair, sums.iter().map(|sums| sums.as_flattened()));
        }
    }

    fn run_plain<P: Plain>(
        &mut self,
        isa: Isa,
        activations: &Activations,
        columns: &[P::Column],
        _: P,
    ) {
        let columns = &columns[self.first_panel * activations.cols()..];
        let mut sums = vec![[0.0; LANES]; activations.rows()];
        let n_columns = self.out.first().map_or(0, |out| out.len());
        for (panel, columns) in
            columns.chunks_exact(activations.cols()).take(n_columns.div_ceil(LANES)).enumerate()
        {
            sums.fill([0.0; LANES]);
            dispatch(isa, PlainPanel::<P> { columns, activations, sums: &mut sums });
            self.finish::<LANES>(panel, sums.iter().map(<[f32; LANES]>::as_slice));
        }
    }

    /// Writes the sums of the `idx`-th `N` outputs, or of the last few, of all rows.
    fn finish<'s, const N: usize>(&mut self, idx: usize, sums: impl Iterator<Item = &'s [f32]>) {
        let first = idx * N;
        let bias = self.bias.map(|bias| &bias[first..]);
        for (out, sums) in self.out.iter_mut().zip(sums) {
            let mut sums: [f32; N] = *sums.first_chunk().expect("a sum for each output");
            if let Some(bias) = bias {
                sums.iter_mut().zip(bias).for_each(|(sum, bias)| *sum += bias);
            }
            let out = &mut out[first..];
            match (self.store, out.first_chunk_mut::<N>()) {
                (Store::Set, Some(out)) => *out = sums,
                (Store::Add, Some(out)) => {
                    out.iter_mut().zip(sums).for_each(|(out, sum)| *out += sum);
                }
                (Store::Set, None) => out.copy_from_slice(&sums[..out.len()]),
                (Store::Add, None) => out.iter_mut().zip(sums).for_each(|(out, sum)| *out += sum),
            }
        }
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
        let prefetch = |blocks: [&[F::Block]; 2]| {
            for block in blocks.into_iter().flatten() {
                lanes.prefetch(block, ahead);
            }
        };
        if activations.rows() <= UNPACKED_ROWS {
            for (chunk, (left, right)) in chunks {
                prefetch([left, right]);
                multiply_chunk::<L, F>(lanes, [left, right], activations, chunk, sums);
            }
            return;
        }
        let mut tiles = [[Tile::EMPTY; CHUNK], [Tile::EMPTY; CHUNK]];
        for (chunk, (left, right)) in chunks {
            prefetch([left, right]);
            let n_parts = left.len() * F::PARTS;
            for (tiles, blocks) in tiles.iter_mut().zip([left, right]) {
                for (i, tile) in tiles[..n_parts].iter_mut().enumerate() {
                    tile.unpack::<L, F>(lanes, &blocks[i / F::PARTS], i % F::PARTS);
                }
            }
            let tiles = [&tiles[0][..n_parts], &tiles[1][..n_parts]];
            multiply_chunk::<L, Unpacked<F>>(lanes, tiles, activations, chunk, sums);
        }
    }
}

/// Adds what one chunk of columns brings to the sums of all activation rows.
#[inline(always)]
fn multiply_chunk<L: Lanes, F: Format>(
    lanes: L,
    blocks: [&[F::Block]; 2],
    activations: &Activations,
    chunk: usize,
    sums: &mut [[[f32; LANES]; 2]],
) {
    let parts = |row: usize| activations.parts(chunk, row);
    let (tiles, rest) = sums.as_chunks_mut::<TILE_ROWS>();
    let mut first = 0;
    for sums in tiles {
        let parts = array::from_fn(|row| parts(first + row));
        multiply_panels::<L, F, TILE_ROWS>(lanes, blocks, parts, sums);
        first += TILE_ROWS;
    }
    match rest {
        [a, b, c] => {
            let parts = [parts(first), parts(first + 1), parts(first + 2)];
            let mut sums = [*a, *b, *c];
            multiply_panels::<L, F, 3>(lanes, blocks, parts, &mut sums);
            [*a, *b, *c] = sums;
        }
        [a, b] => {
            let mut sums = [*a, *b];
            multiply_panels::<L, F, 2>(lanes, blocks, [parts(first), parts(first + 1)], &mut sums);
            [*a, *b] = sums;
        }
        [a] => multiply_panels::<L, F, 1>(lanes, blocks, [parts(first)], array::from_mut(a)),
        _ => {}
    }
}

/// A tile of both panels where their sums fit into registers, or of one after the other.
#[inline(always)]
fn multiply_panels<L: Lanes, F: Format, const ROWS: usize>(
    lanes: L,
    blocks: [&[F::Block]; 2],
    parts: [&[ActivationPart]; ROWS],
    sums: &mut [[[f32; LANES]; 2]; ROWS],
) {
    if L::HAS_ROOM_FOR_TWO {
        multiply_tile::<L, F, 2, ROWS>(lanes, 0, blocks, parts, sums);
    } else {
        for panel in 0..2 {
            multiply_tile::<L, F, 1, ROWS>(lanes, panel, [blocks[panel]], parts, sums);
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
    sums: &mut [[[f32; LANES]; 2]; ROWS],
) {
    let n_blocks = blocks[0].len();
    let blocks = blocks.map(|blocks| &blocks[..n_blocks]);
    let n_parts = n_blocks * F::PARTS;
    let parts = parts.map(|parts| &parts[..n_parts]);
    let mut totals = [[lanes.splat(0.0); PANELS]; ROWS];
    for row in 0..ROWS {
        for panel in 0..PANELS {
            totals[row][panel] = lanes.floats(&sums[row][first + panel]);
        }
    }
    for i in 0..n_parts {
        let part = i % F::PARTS;
        let blocks: [&F::Block; PANELS] = array::from_fn(|panel| &blocks[panel][i / F::PARTS]);
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

/// A format of plain numbers, 16 rows of one column together.
trait Plain {
    type Column;
    fn load<L: Lanes>(lanes: L, column: &Self::Column) -> L::Floats;
}

struct F32;
struct F16;
struct Bf16;

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
struct PlainPanel<'a, P: Plain> {
    columns: &'a [P::Column],
    activations: &'a Activations,
    sums: &'a mut [[f32; LANES]],
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
