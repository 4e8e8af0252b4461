//! RMS norm, forward and backward, row by row.

use rayon::prelude::*;

/// Rows of a part of the work that one thread takes.
pub(super) const ROWS: usize = 64;

/// `out = x / rms(x) · weight`, for each row of `weight.len()` numbers.
pub(super) fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let width = weight.len();
    let parts = out.par_chunks_mut(ROWS * width).zip(x.par_chunks(ROWS * width));
    parts.for_each(|(out, x)| {
        for (out, x) in out.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
            let scale = inverse_rms(x, eps);
            for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
                *out = x * scale * weight;
            }
        }
    });
}

/// Adds the gradient of the input to `dx`, and that of the weight to `d_weight` where it is asked
/// for.
pub(super) fn rms_norm_backward(
    x: &[f32],
    weight: &[f32],
    eps: f32,
    d_out: &[f32],
    dx: &mut [f32],
    d_weight: Option<&mut [f32]>,
) {
    let width = weight.len();
    let parts = dx.par_chunks_mut(ROWS * width).zip(x.par_chunks(ROWS * width));
    parts.zip(d_out.par_chunks(ROWS * width)).for_each(|((dx, x), d_out)| {
        let rows = dx.chunks_exact_mut(width).zip(x.chunks_exact(width));
        for ((dx, x), d_out) in rows.zip(d_out.chunks_exact(width)) {
            let scale = inverse_rms(x, eps);
            let along: f32 = lanes_sum(x, d_out, weight);
            let along = along * scale * scale * scale / width as f32;
            for (((dx, x), d_out), weight) in dx.iter_mut().zip(x).zip(d_out).zip(weight) {
                *dx += d_out * weight * scale - x * along;
            }
        }
    });
    let Some(d_weight) = d_weight else { return };
    for (x, d_out) in x.chunks_exact(width).zip(d_out.chunks_exact(width)) {
        let scale = inverse_rms(x, eps);
        for ((d_weight, x), d_out) in d_weight.iter_mut().zip(x).zip(d_out) {
            *d_weight += d_out * x * scale;
        }
    }
}

fn inverse_rms(x: &[f32], eps: f32) -> f32 {
    let mut sums = [0.0_f32; LANES];
    let chunks = x.chunks_exact(LANES);
    let rest: f32 = chunks.remainder().iter().map(|x| x * x).sum();
    for chunk in chunks {
        for (sum, x) in sums.iter_mut().zip(chunk) {
            *sum += x * x;
        }
    }
    let mean = (sums.iter().sum::<f32>() + rest) / x.len() as f32;
    1.0 / (mean + eps).sqrt()
}

/// Sums are kept in so many parts, which vector instructions add at once.
const LANES: usize = 16;

/// `Σ x · d · w`
fn lanes_sum(x: &[f32], d: &[f32], w: &[f32]) -> f32 {
    let mut sums = [0.0_f32; LANES];
    let whole = x.len() / LANES * LANES;
    let chunks = x.chunks_exact(LANES).zip(d.chunks_exact(LANES)).zip(w.chunks_exact(LANES));
    for ((x, d), w) in chunks {
        for idx in 0..LANES {
            sums[idx] += x[idx] * d[idx] * w[idx];
        }
    }
    let rest: f32 = (whole..x.len()).map(|idx| x[idx] * d[idx] * w[idx]).sum();
    sums.iter().sum::<f32>() + rest
}
