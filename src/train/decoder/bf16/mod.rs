//! Products of activations with weights that are kept in 16 bits (bfloat16), summed in 32.
//!
//! Every sum is taken in an order that depends on the inner dimension alone: results are the same
//! bits for any number of threads.

#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod panels;
#[cfg(target_arch = "x86_64")]
mod tiles;

use half::bf16;
use rayon::prelude::*;

use crate::train::decoder::buffers::Buffers;
use crate::train::decoder::matrix::{Into, Threads, View, product};

/// Which way a matrix of weights, (out, in), is gone through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// `x · weightᵀ`
    Forward,
    /// `dy · weight`
    Back,
}

/// Multiplies rows of numbers, rounded to 16 bits, with a matrix of `n_in` columns.
///
/// # Panics
///
/// The shapes do not fit, which is an error of this program.
pub(super) fn multiply(
    (out, into): (&mut [f32], Into),
    rows: &[f32],
    (weight, n_in, way): (&[bf16], usize, Way),
    buffers: &mut Buffers,
) {
    let n_out = weight.len() / n_in;
    let (depth, width) = match way {
        Way::Forward => (n_in, n_out),
        Way::Back => (n_out, n_in),
    };
    let n_rows = rows.len() / depth;
    assert!(out.len() == n_rows * width, "{} numbers for {n_rows}×{width}", out.len());
    #[cfg(target_arch = "x86_64")]
    if avx512::is_available() {
        tiles::multiply((out, into), rows, (weight, n_in, way), buffers);
        return;
    }
    in_floats((out, into), rows, (weight, n_in, way), buffers);
}

/// For processors without the instructions: everything unpacked to 32 bits.
fn in_floats(
    (out, into): (&mut [f32], Into),
    rows: &[f32],
    (weight, n_in, way): (&[bf16], usize, Way),
    buffers: &mut Buffers,
) {
    let mut rounded = buffers.take(rows.len());
    let round = |(to, from): (&mut f32, &f32)| *to = bf16::from_f32(*from).to_f32();
    rounded.par_iter_mut().zip(rows).with_min_len(1 << 14).for_each(round);
    let mut unpacked = std::mem::take(&mut buffers.unpacked);
    unpacked.resize(weight.len(), 0.0);
    let unpack = |(to, from): (&mut f32, &bf16)| *to = from.to_f32();
    unpacked.par_iter_mut().zip(weight).with_min_len(1 << 14).for_each(unpack);
    let matrix = View::new(&unpacked, n_in);
    let (depth, matrix) = match way {
        Way::Forward => (n_in, matrix.t()),
        Way::Back => (weight.len() / n_in, matrix),
    };
    product(out, into, View::new(&rounded, depth), matrix, 1.0, Threads::All);
    buffers.unpacked = unpacked;
    buffers.give(rounded);
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// Sums in 64 bits of products of rounded numbers, and of their sizes.
    fn reference(rows: &[f32], weight: &[bf16], (n_in, way): (usize, Way)) -> Vec<(f64, f64)> {
        let n_out = weight.len() / n_in;
        let (depth, width) = match way {
            Way::Forward => (n_in, n_out),
            Way::Back => (n_out, n_in),
        };
        let at = |k: usize, col: usize| match way {
            Way::Forward => weight[col * n_in + k],
            Way::Back => weight[k * n_in + col],
        };
        let mut sums = Vec::new();
        for row in rows.chunks_exact(depth) {
            for col in 0..width {
                let terms = row
                    .iter()
                    .enumerate()
                    .map(|(k, x)| bf16::from_f32(*x).to_f64() * at(k, col).to_f64());
                let terms: Vec<f64> = terms.collect();
                sums.push((terms.iter().sum(), terms.iter().map(|term| term.abs()).sum()));
            }
        }
        sums
    }

    type Kernel = fn((&mut [f32], Into), &[f32], (&[bf16], usize, Way), &mut Buffers);

    fn check(kernel: Kernel) {
        let mut random = ChaCha8Rng::seed_from_u64(3);
        let mut buffers = Buffers::default();
        buffers.begin(1);
        // Odd sizes, a part of a tile, several tiles, and several blocks along the inner dimension.
        for (n_rows, n_in, n_out) in
            [(1, 1, 1), (3, 7, 5), (12, 32, 32), (25, 33, 65), (40, 1030, 70), (13, 70, 1030)]
        {
            for way in [Way::Forward, Way::Back] {
                let (depth, width) = match way {
                    Way::Forward => (n_in, n_out),
                    Way::Back => (n_out, n_in),
                };
                let mut draw = || random.random_range(-1.0_f32..1.0);
                let rows: Vec<f32> = (0..n_rows * depth).map(|_| draw()).collect();
                let weight: Vec<bf16> = (0..n_in * n_out).map(|_| bf16::from_f32(draw())).collect();
                let wanted = reference(&rows, &weight, (n_in, way));
                let mut out = vec![f32::NAN; n_rows * width];
                kernel((&mut out, Into::Overwrite), &rows, (&weight, n_in, way), &mut buffers);
                let mut twice = out.clone();
                kernel((&mut twice, Into::Add), &rows, (&weight, n_in, way), &mut buffers);
                for ((out, twice), (sum, size)) in out.iter().zip(&twice).zip(wanted) {
                    let (once, twice) = (f64::from(*out), f64::from(*twice));
                    let case = format!("{n_rows} rows, {n_in}, {n_out}, {way:?}");
                    assert!((once - sum).abs() <= 2e-6 * size, "{case}: {once}, {sum}");
                    assert!((twice - 2.0 * sum).abs() <= 4e-6 * size, "{case}: {twice}, {sum}");
                }
            }
        }
    }

    #[test]
    fn products_are_those_of_the_rounded_numbers() {
        check(multiply);
    }

    #[test]
    fn products_without_the_instructions_are_the_same() {
        check(in_floats);
    }

    #[test]
    fn what_is_no_number_stays_so() {
        let weight = [bf16::ONE; 4];
        let mut out = [0.0; 2];
        let mut buffers = Buffers::default();
        let rows = [f32::NAN, 1.0];
        multiply((&mut out, Into::Overwrite), &rows, (&weight, 2, Way::Forward), &mut buffers);
        assert!(out.iter().all(|number| number.is_nan()), "{out:?}");
    }

    #[test]
    fn rows_are_the_same_bits_on_any_number_of_threads() {
        let numbers = |n: usize| (0..n).map(|idx| ((idx * 37 % 101) as f32 - 50.0) / 13.0);
        let rows: Vec<f32> = numbers(61 * 40).collect();
        let weight: Vec<bf16> = numbers(50 * 40).map(bf16::from_f32).collect();
        let on = |n_threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
            let mut out = vec![0.0; 61 * 50];
            let mut buffers = Buffers::default();
            buffers.begin(61);
            let weight = (&weight[..], 40, Way::Forward);
            pool.install(|| multiply((&mut out, Into::Overwrite), &rows, weight, &mut buffers));
            out
        };
        assert_eq!(on(1), on(3));
    }
}
