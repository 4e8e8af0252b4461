//! A product out of tiles.
//!
//! Both factors are cut into panels that the innermost loop reads from end to end, as in Goto and
//! van de Geijn, *Anatomy of High-Performance Matrix Multiplication* (2008).

use half::bf16;
use rayon::prelude::*;

use crate::train::decoder::bf16::Way;
use crate::train::decoder::bf16::avx512::tile;
use crate::train::decoder::bf16::panels::{COLS, Panels, ROWS};
use crate::train::decoder::buffers::Buffers;
use crate::train::decoder::matrix::Into;

/// As [`crate::train::decoder::bf16::multiply`], on processors with the instructions.
pub(super) fn multiply(
    (out, into): (&mut [f32], Into),
    rows: &[f32],
    (weight, n_in, way): (&[bf16], usize, Way),
    buffers: &mut Buffers,
) {
    let [a, b] = &mut buffers.panels;
    let n_out = weight.len() / n_in;
    let (depth, width, b) = match way {
        Way::Forward => (n_in, n_out, Panels::of_weight_rows(weight, n_in, b)),
        Way::Back => (n_out, n_in, Panels::of_weight_columns(weight, n_in, b)),
    };
    let a = Panels::of_rows(rows, depth, a);
    if into == Into::Overwrite {
        out.fill(0.0);
    }
    // Several panels a task, so that each block of columns is fetched for all of them once.
    let n_panels = (rows.len() / depth).div_ceil(ROWS);
    let n_threads = rayon::current_num_threads();
    let n_tasks = n_threads * n_panels.div_ceil(n_threads * 16);
    let of_task = n_panels.div_ceil(n_tasks).max(1);
    out.par_chunks_mut(of_task * ROWS * width).enumerate().for_each(|(task, out)| {
        for block in 0..a.n_blocks() {
            for (col_panel, first_col) in (0..width).step_by(COLS).enumerate() {
                let b = b.panel(block, col_panel);
                let n_cols = COLS.min(width - first_col);
                for (idx, out) in out.chunks_mut(ROWS * width).enumerate() {
                    let sums = tile(a.panel(block, task * of_task + idx), b);
                    for (row, sums) in out.chunks_mut(width).zip(&sums) {
                        let row = &mut row[first_col..][..n_cols];
                        row.iter_mut().zip(sums).for_each(|(out, sum)| *out += sum);
                    }
                }
            }
        }
    });
}
