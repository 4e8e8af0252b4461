//! The gated activation of the feed-forward layers: `silu(gate) · up`.

use rayon::prelude::*;

use crate::train::decoder::exp::exp;

/// Numbers that one thread takes at once.
const PART: usize = 1 << 14;

pub(super) fn gated(gate: &[f32], up: &[f32], out: &mut [f32]) {
    let parts = out.par_chunks_mut(PART).zip(gate.par_chunks(PART)).zip(up.par_chunks(PART));
    parts.for_each(|((out, gate), up)| {
        for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
            *out = gate / (1.0 + exp(-gate)) * up;
        }
    });
}

/// Turns the gradient of the output into that of `up`, in its place, and writes that of `gate`.
pub(super) fn gated_backward(gate: &[f32], up: &[f32], d_out: &mut [f32], d_gate: &mut [f32]) {
    let inputs = gate.par_chunks(PART).zip(up.par_chunks(PART));
    let parts = d_out.par_chunks_mut(PART).zip(d_gate.par_chunks_mut(PART)).zip(inputs);
    parts.for_each(|((d_out, d_gate), (gate, up))| {
        let rows = d_out.iter_mut().zip(d_gate).zip(gate).zip(up);
        for (((d_out, d_gate), gate), up) in rows {
            let sigmoid = 1.0 / (1.0 + exp(-gate));
            let silu = gate * sigmoid;
            *d_gate = *d_out * up * (sigmoid + silu * (1.0 - sigmoid));
            *d_out *= silu;
        }
    });
}
