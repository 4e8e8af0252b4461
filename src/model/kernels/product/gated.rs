//! The two products of a gated feed-forward network, whose results are activations at once.
//!
//! An output of the gate meets the same output of the other product while both are still near; as
//! floats of all rows, written and read again, they took up to 8 % of the time of a prompt.

use crate::model::kernels::Isa;
use crate::model::kernels::activation::{
    ActivationPart, Activations, CHUNK, Form, gated, quantize_part,
};
use crate::model::kernels::lanes::{Kernel, LANES, Lanes, dispatch};
use crate::model::kernels::layout::PART;
use crate::model::kernels::packed::PackedMatrix;
use crate::model::kernels::product::n_tasks;
use crate::model::kernels::product::panels::multiply_pair;
use crate::model::kernels::team::Team;

/// A gate and what goes through it: quantized matrices of one shape, of whole parts of outputs.
#[derive(Debug, Clone, Copy)]
pub struct GatedPair<'a> {
    gate: &'a PackedMatrix,
    up: &'a PackedMatrix,
}

impl<'a> GatedPair<'a> {
    /// `None` where the matrices are no such pair.
    pub fn new(gate: &'a PackedMatrix, up: &'a PackedMatrix) -> Option<Self> {
        let is_whole = gate.rows().is_multiple_of(PART) && gate.rows() == up.rows();
        let is_quantized = [gate, up].iter().all(|matrix| matrix.form() == Form::Int8);
        (is_whole && is_quantized && gate.cols() == up.cols()).then_some(Self { gate, up })
    }

    /// Fills `out` with `silu(activations · gateᵀ) * (activations · upᵀ)` for quantized weights:
    /// the same numbers that [`Activations::quantize_gated`] makes of both products.
    ///
    /// # Panics
    /// Where the activations are of another width, or have no bytes.
    pub fn multiply(self, team: &Team, activations: &Activations, out: &mut Activations) {
        assert_eq!(self.gate.cols(), activations.cols(), "activations are as long as weight rows");
        assert!(activations.form().has_ints(), "the wanted form");
        let (n_rows, n_outputs) = (activations.rows(), self.gate.rows());
        let n_tasks = n_tasks(team, self.gate.n_bytes() + self.up.n_bytes(), n_rows);
        let n_parts = n_outputs / PART;
        let width = n_parts.div_ceil(n_tasks).max(1);
        out.set_parts(n_rows, n_outputs, |parts| {
            let mut tasks: Vec<Vec<Piece<'_>>> = Vec::new();
            tasks.resize_with(n_parts.div_ceil(width), Vec::new);
            for (idx, chunk) in parts.chunks_mut(CHUNK * n_rows.max(1)).enumerate() {
                let first = idx * CHUNK;
                let end = n_parts.min(first + CHUNK);
                let tasks = &mut tasks[first / width..=(end - 1) / width];
                for (i, task) in tasks.iter_mut().enumerate() {
                    let first = first.max((first / width + i) * width);
                    task.push(Piece { first, out: Vec::with_capacity(n_rows) });
                }
                for mut row in chunk.chunks_mut(end - first) {
                    for task in &mut *tasks {
                        let Some(piece) = task.last_mut() else { unreachable!("it was put there") };
                        let next_task = (piece.first / width + 1) * width;
                        let (own, rest) = row.split_at_mut(next_task.min(end) - piece.first);
                        piece.out.push(own);
                        row = rest;
                    }
                }
            }
            team.for_each(tasks, |pieces| self.run(team.isa(), activations, pieces));
        });
    }

    fn run(self, isa: Isa, activations: &Activations, pieces: Vec<Piece<'_>>) {
        let mut gates = vec![[[0.0; LANES]; 2]; activations.rows()];
        let mut ups = gates.clone();
        for Piece { first, mut out } in pieces {
            for idx in 0..out.first().map_or(0, |parts| parts.len()) {
                let panel = (first + idx) * PART / LANES;
                multiply_pair(isa, activations, (self.gate, panel), &mut gates);
                multiply_pair(isa, activations, (self.up, panel), &mut ups);
                dispatch(isa, Gate { gates: &gates, ups: &ups, idx, out: &mut out });
            }
        }
    }
}

/// Some neighbouring parts of the result, of one chunk.
struct Piece<'a> {
    /// The first part.
    first: usize,
    /// One slice per activation row.
    out: Vec<&'a mut [ActivationPart]>,
}

/// Makes the `idx`-th part of each row of what its 32 outputs are.
struct Gate<'a, 'b> {
    gates: &'a [[[f32; LANES]; 2]],
    ups: &'a [[[f32; LANES]; 2]],
    idx: usize,
    out: &'a mut [&'b mut [ActivationPart]],
}

impl Kernel for Gate<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        for ((gate, up), out) in self.gates.iter().zip(self.ups).zip(self.out) {
            let left = gated(lanes, lanes.floats(&gate[0]), lanes.floats(&up[0]));
            let right = gated(lanes, lanes.floats(&gate[1]), lanes.floats(&up[1]));
            out[self.idx] = quantize_part(lanes, [left, right]);
        }
    }
}
