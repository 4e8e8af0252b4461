//! Products of activations with packed weights.

use std::array;

use rayon::prelude::*;

use crate::model::kernels::activation::{ActivationPart, Activations, CHUNK};
use crate::model::kernels::lanes::{Kernel, LANES, Lanes, dispatch};
use crate::model::kernels::layout::{Arithmetic, Format, PART, Tile, Unpacked};
use crate::model::kernels::layout::{Q4_0, Q4_1, Q4K, Q5_0, Q5K, Q6K, Q8_0};
use crate::model::kernels::packed::{PackedMatrix, Weights};

/// Activation rows that are multiplied with a loaded weight at once.
const TILE_ROWS: usize = 4;

/// Bytes of packed weights that are worth a task of their own.
const TASK_BYTES: usize = 1 << 16;

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
    let n_threads = rayon::current_num_threads();
    let n_bytes = products.iter().map(|product| product.matrix.n_bytes()).sum::<usize>();
    // Several tasks per thread even out what else the machine does; each task's share of the work
    // changes no result, since an output is computed by one task alone.
    let work = n_bytes * activations.rows().div_ceil(TILE_ROWS);
    let n_tasks = (work / TASK_BYTES).clamp(1, 4 * n_threads);
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
    if tasks.len() == 1 || n_threads == 1 {
        for task in tasks {
            task.run(activations);
        }
    } else {
        tasks.into_par_iter().with_max_len(1).for_each(|task| task.run(activations));
    }
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
    fn run(mut self, activations: &Activations) {
        match self.matrix.weights() {
            Weights::F32(columns) => self.run_plain(activations, columns, F32),
            Weights::F16(columns) => self.run_plain(activations, columns, F16),
            Weights::Bf16(columns) => self.run_plain(activations, columns, Bf16),
            Weights::Q4_0(blocks) => self.run_blocks::<Q4_0>(activations, blocks),
            Weights::Q4_1(blocks) => self.run_blocks::<Q4_1>(activations, blocks),
            Weights::Q5_0(blocks) => self.run_blocks::<Q5_0>(activations, blocks),
            Weights::Q8_0(blocks) => self.run_blocks::<Q8_0>(activations, blocks),
            Weights::Q4K(blocks) => self.run_blocks::<Q4K>(activations, blocks),
            Weights::Q5K(blocks) => self.run_blocks::<Q5K>(activations, blocks),
            Weights::Q6K(blocks) => self.run_blocks::<Q6K>(activations, blocks),
        }
    }

    fn run_blocks<F: Format>(&mut self, activations: &Activations, blocks: &[F::Block]) {
        let n_across = activations.cols() / (PART * F::PARTS);
        let blocks = &blocks[self.first_panel * n_across..];
        let mut sums = vec![[0.0; LANES]; activations.rows()];
        let n_columns = self.out.first().map_or(0, |out| out.len());
        for (panel, blocks) in
            blocks.chunks_exact(n_across).take(n_columns.div_ceil(LANES)).enumerate()
        {
            sums.fill([0.0; LANES]);
            let sums = sums.as_mut_slice();
            dispatch(activations.isa(), Panel::<F> { blocks, activations, sums });
            self.finish(panel, sums);
        }
    }

    fn run_plain<P: Plain>(&mut self, activations: &Activations, columns: &[P::Column], _: P) {
        let columns = &columns[self.first_panel * activations.cols()..];
        let mut sums = vec![[0.0; LANES]; activations.rows()];
        let n_columns = self.out.first().map_or(0, |out| out.len());
        for (panel, columns) in
            columns.chunks_exact(activations.cols()).take(n_columns.div_ceil(LANES)).enumerate()
        {
            sums.fill([0.0; LANES]);
            let sums = sums.as_mut_slice();
            dispatch(activations.isa(), PlainPanel::<P> { columns, activations, sums });
            self.finish(panel, sums);
        }
    }

    /// Writes the sums of 16 outputs, or of the last few.
    fn finish(&mut self, panel: usize, sums: &[[f32; LANES]]) {
        let first = panel * LANES;
        for (out, sums) in self.out.iter_mut().zip(sums) {
            let end = out.len().min(first + LANES);
            let out = &mut out[first..end];
            let mut sums = *sums;
            if let Some(bias) = self.bias {
                for (sum, bias) in sums.iter_mut().zip(&bias[first..end]) {
                    *sum += bias;
                }
            }
            match self.store {
                Store::Set => out.copy_from_slice(&sums[..out.len()]),
                Store::Add => out.iter_mut().zip(sums).for_each(|(out, sum)| *out += sum),
            }
        }
    }
}

/// The product of all activation rows with 16 rows of weights.
struct Panel<'a, F: Format> {
    blocks: &'a [F::Block],
    activations: &'a Activations,
    sums: &'a mut [[f32; LANES]],
}

impl<F: Format> Kernel for Panel<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Self { blocks, activations, sums } = self;
        let blocks_per_chunk = CHUNK / F::PARTS;
        if activations.rows() <= TILE_ROWS {
            for (chunk, blocks) in blocks.chunks(blocks_per_chunk).enumerate() {
                multiply_chunk::<L, F>(lanes, blocks, activations, chunk, sums);
            }
            return;
        }
        let mut tiles = [Tile::EMPTY; CHUNK];
        for (chunk, blocks) in blocks.chunks(blocks_per_chunk).enumerate() {
            let tiles = &mut tiles[..blocks.len() * F::PARTS];
            for (i, tile) in tiles.iter_mut().enumerate() {
                tile.unpack::<L, F>(lanes, &blocks[i / F::PARTS], i % F::PARTS);
            }
            multiply_chunk::<L, Unpacked<F>>(lanes, tiles, activations, chunk, sums);
        }
    }
}

/// Adds what one chunk of columns brings to the sums of all activation rows.
#[inline(always)]
fn multiply_chunk<L: Lanes, F: Format>(
    lanes: L,
    blocks: &[F::Block],
    activations: &Activations,
    chunk: usize,
    sums: &mut [[f32; LANES]],
) {
    let (tiles, rest) = sums.as_chunks_mut::<TILE_ROWS>();
    let n_tiled = tiles.len() * TILE_ROWS;
    for (i, sums) in tiles.iter_mut().enumerate() {
        let parts = array::from_fn(|row| activations.parts(chunk, i * TILE_ROWS + row));
        multiply_tile::<L, F, TILE_ROWS>(lanes, blocks, parts, sums);
    }
    let parts = |row: usize| activations.parts(chunk, n_tiled + row);
    match rest {
        [first, second, third] => {
            let mut sums = [*first, *second, *third];
            multiply_tile::<L, F, 3>(lanes, blocks, [parts(0), parts(1), parts(2)], &mut sums);
            [*first, *second, *third] = sums;
        }
        [first, second] => {
            let mut sums = [*first, *second];
            multiply_tile::<L, F, 2>(lanes, blocks, [parts(0), parts(1)], &mut sums);
            [*first, *second] = sums;
        }
        [first] => {
            let mut sums = [*first];
            multiply_tile::<L, F, 1>(lanes, blocks, [parts(0)], &mut sums);
            [*first] = sums;
        }
        _ => {}
    }
}

/// Adds the products of some parts of 16 weight rows with those of a few activation rows.
///
/// For each output the order is: parts from the first column on; of each, the whole-number dot
/// product times both scales, then the minimum.
#[inline(always)]
fn multiply_tile<L: Lanes, F: Format, const ROWS: usize>(
    lanes: L,
    blocks: &[F::Block],
    parts: [&[ActivationPart]; ROWS],
    sums: &mut [[f32; LANES]; ROWS],
) {
    let n_parts = blocks.len() * F::PARTS;
    let parts = parts.map(|parts| &parts[..n_parts]);
    let mut totals = [lanes.splat(0.0); ROWS];
    for row in 0..ROWS {
        totals[row] = lanes.floats(&sums[row]);
    }
    for i in 0..n_parts {
        let (block, part) = (&blocks[i / F::PARTS], i % F::PARTS);
        let inputs: [&ActivationPart; ROWS] = array::from_fn(|row| &parts[row][i]);
        let ints = dot_part::<L, F, ROWS>(lanes, block, part, inputs);
        let scale = F::scale(lanes, block, part);
        for row in 0..ROWS {
            let factor = lanes.mul(scale, lanes.splat(inputs[row].scale));
            totals[row] = lanes.mul_add(lanes.to_floats(ints[row]), factor, totals[row]);
        }
        if F::HAS_MINIMUM {
            let minimum = F::minimum(lanes, block, part);
            for row in 0..ROWS {
                let sum = lanes.splat(inputs[row].scaled_sum);
                totals[row] = lanes.mul_add(minimum, sum, totals[row]);
            }
        }
    }
    for row in 0..ROWS {
        lanes.store(totals[row], &mut sums[row]);
    }
}

/// Whole-number dot products of 32 columns.
#[inline(always)]
fn dot_part<L: Lanes, F: Format, const ROWS: usize>(
    lanes: L,
    block: &F::Block,
    part: usize,
    inputs: [&ActivationPart; ROWS],
) -> [L::Ints; ROWS] {
    macro_rules! groups {
        ($dot:ident, $dots:ident: $($group:literal)+) => {
            $(
                let quants = F::quants::<L, $group>(lanes, block, part);
                for row in 0..ROWS {
                    $dots[row] = lanes.$dot($dots[row], quants, inputs[row].quants[$group]);
                }
            )+
        };
    }
    // Loops over arrays rather than `map`: a closure that is not inlined would be compiled without
    // the vector instructions.
    let mut dots = [lanes.start_unsigned(); ROWS];
    let mut ints = [lanes.start_signed([0; 2]); ROWS];
    match F::ARITHMETIC {
        Arithmetic::Centred | Arithmetic::Unsigned => {
            for row in 0..ROWS {
                dots[row] = start::<L, F>(lanes, inputs[row].negative_sums);
            }
            groups!(dot, dots: 0 1 2 3 4 5 6 7);
            for row in 0..ROWS {
                ints[row] = lanes.finish(dots[row]);
            }
        }
        Arithmetic::Grouped => {
            let [first, second] = F::group_scales(block, part);
            for row in 0..ROWS {
                dots[row] = start::<L, F>(lanes, inputs[row].negative_half_sums[0]);
            }
            groups!(dot, dots: 0 1 2 3);
            for row in 0..ROWS {
                ints[row] = lanes.finish_scaled(dots[row], first);
                dots[row] = start::<L, F>(lanes, inputs[row].negative_half_sums[1]);
            }
            groups!(dot, dots: 4 5 6 7);
            for row in 0..ROWS {
                ints[row] = lanes.add_ints(ints[row], lanes.finish_scaled(dots[row], second));
            }
        }
        Arithmetic::Signed => {
            for row in 0..ROWS {
                ints[row] = lanes.start_signed(inputs[row].negative_sums);
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
