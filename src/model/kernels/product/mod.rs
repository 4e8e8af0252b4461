//! Products of activations with packed weights.

pub mod gated;
pub(super) mod panels;
mod plain;

use crate::model::kernels::Isa;
use crate::model::kernels::activation::Activations;
use crate::model::kernels::lanes::{Kernel, LANES, Lanes, dispatch};
use crate::model::kernels::packed::{PackedMatrix, Weights};
use crate::model::kernels::product::panels::multiply_pair;
use crate::model::kernels::product::plain::{Bf16, F16, F32, Plain, PlainPanel};
use crate::model::kernels::team::Team;

/// Activation rows that are multiplied with a loaded weight at once.
const TILE_ROWS: usize = 4;

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
    let n_bytes = products.iter().map(|product| product.matrix.n_bytes()).sum::<usize>();
    let n_tasks = n_tasks(team, n_bytes, activations.rows());
    let mut tasks = Vec::with_capacity(n_tasks + products.len());
    for product in products {
        let Product { matrix, bias, store, out } = product;
        let (matrix, bias, store) = (*matrix, *bias, *store);
        assert_eq!(matrix.cols(), activations.cols(), "activations are as long as weight rows");
        assert_eq!(out.len(), activations.rows() * matrix.rows(), "`out` holds the product");
        assert!(bias.is_none_or(|bias| bias.len() == matrix.rows()), "a bias for every output");
        let form = activations.form();
        assert!(form == matrix.form() || form.and(matrix.form()) == form, "the wanted form");
        // Panels are multiplied in pairs: an odd one would be multiplied twice.
        let n_pairs = matrix.rows().div_ceil(2 * LANES).max(1);
        let n_own = (n_tasks * matrix.n_bytes()).div_ceil(n_bytes.max(1)).clamp(1, n_pairs);
        let width = n_pairs.div_ceil(n_own) * 2 * LANES;
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

/// Tasks worth their while for `n_bytes` of weights and so many rows of activations.
///
/// Several per thread even out what else the machine does; each task's share of the work changes no
/// result, since an output is computed by one task alone.
fn n_tasks(team: &Team, n_bytes: usize, n_rows: usize) -> usize {
    let work = n_bytes * n_rows.div_ceil(TILE_ROWS);
    // One row waits for memory, which is read fastest in long runs.
    let per_thread = match n_rows {
        1 => 2,
        2..64 => 4,
        _ => 16,
    };
    (work / TASK_BYTES).clamp(1, per_thread * team.n_threads())
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
            _ => self.run_blocks(isa, activations),
        }
    }

    fn run_blocks(&mut self, isa: Isa, activations: &Activations) {
        let n_panels = self.out.first().map_or(0, |out| out.len()).div_ceil(LANES);
        let mut sums = vec![[[0.0; LANES]; 2]; activations.rows()];
        for pair in 0..n_panels.div_ceil(2) {
            let panel = (self.matrix, self.first_panel + 2 * pair);
            multiply_pair(isa, activations, panel, &mut sums);
            self.finish(isa, pair, &sums);
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
        let mut sums = vec![[[0.0; LANES]]; activations.rows()];
        let n_columns = self.out.first().map_or(0, |out| out.len());
        for (panel, columns) in
            columns.chunks_exact(activations.cols()).take(n_columns.div_ceil(LANES)).enumerate()
        {
            sums.fill([[0.0; LANES]]);
            let panel_sums = sums.as_flattened_mut();
            dispatch(isa, PlainPanel::<P> { columns, activations, sums: panel_sums });
            self.finish(isa, panel, &sums);
        }
    }

    /// Writes the sums of the `idx`-th `N` sixteens of outputs, or of the last few, of all rows.
    fn finish<const N: usize>(&mut self, isa: Isa, idx: usize, sums: &[[[f32; LANES]; N]]) {
        let first = idx * N * LANES;
        let bias = self.bias.map(|bias| &bias[first..]);
        dispatch(isa, Finish { out: &mut self.out, first, bias, store: self.store, sums });
    }
}

/// Rows whose place in the result is brought near before it is written: each is a page further.
const ROWS_AHEAD: usize = 16;

/// Writes sums into the columns of a result from `first` on.
struct Finish<'a, 'b, const N: usize> {
    out: &'a mut [&'b mut [f32]],
    first: usize,
    bias: Option<&'a [f32]>,
    store: Store,
    sums: &'a [[[f32; LANES]; N]],
}

impl<const N: usize> Kernel for Finish<'_, '_, N> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Self { out, first, bias, store, sums } = self;
        for (row, sums) in sums.iter().enumerate() {
            if let Some(next) = out.get(row + ROWS_AHEAD)
                && let Some(next) = next.get(first)
            {
                for line in 0..N {
                    lanes.prefetch_line(next, 64 * line);
                }
            }
            let (whole, rest) = out[row][first..].as_chunks_mut::<LANES>();
            for (i, sums) in sums.iter().enumerate() {
                let mut sums = *sums;
                if let Some(bias) = bias.and_then(|bias| bias.get(i * LANES..)) {
                    sums.iter_mut().zip(bias).for_each(|(sum, bias)| *sum += bias);
                }
                // The last few of a matrix are fewer than sixteen, or none.
                let n_whole = whole.len();
                let to = match whole.get_mut(i) {
                    Some(whole) => whole.as_mut_slice(),
                    None if i == n_whole => &mut *rest,
                    None => break,
                };
                match (store, to.first_chunk_mut::<LANES>()) {
                    (Store::Set, Some(to)) => *to = sums,
                    (Store::Add, Some(to)) => {
                        let sum = lanes.add(lanes.floats(to), lanes.floats(&sums));
                        lanes.store(sum, to);
                    }
                    (Store::Set, None) => to.copy_from_slice(&sums[..to.len()]),
                    (Store::Add, None) => to.iter_mut().zip(sums).for_each(|(to, sum)| *to += sum),
                }
            }
        }
    }
}
