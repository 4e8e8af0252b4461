//! The numbers of a projection, in 32 or in 16 bits.

use half::bf16;
use rayon::prelude::*;
use serde::Serialize;

use crate::train::decoder::bf16::{Way, multiply};
use crate::train::decoder::buffers::Buffers;
use crate::train::decoder::matrix::{Into, Threads, View, product};

/// What the projections of a base are kept in while an adapter is trained on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum BasePrecision {
    /// 16 bits (bfloat16)
    Bf16,
    /// 32 bits
    F32,
}

/// A matrix, (out, in).
#[derive(Debug, Clone, PartialEq)]
pub enum Weight {
    /// In 32 bits: what can be trained, and what an adapter can be merged into.
    Floats(Vec<f32>),
    /// In 16 bits: half the memory, and what it is multiplied with is rounded to as many.
    Rounded(Vec<bf16>),
}

impl Weight {
    pub fn n_numbers(&self) -> usize {
        match self {
            Self::Floats(numbers) => numbers.len(),
            Self::Rounded(numbers) => numbers.len(),
        }
    }

    /// # Panics
    ///
    /// The numbers have been rounded, which is an error of this program.
    pub fn floats(&self) -> &Vec<f32> {
        match self {
            Self::Floats(numbers) => numbers,
            Self::Rounded(_) => panic!("a projection in 32 bits is wanted, and this one has 16"),
        }
    }

    /// # Panics
    ///
    /// As [`Weight::floats`].
    pub fn floats_mut(&mut self) -> &mut Vec<f32> {
        match self {
            Self::Floats(numbers) => numbers,
            Self::Rounded(_) => panic!("a projection in 32 bits is wanted, and this one has 16"),
        }
    }

    /// Rounds to 16 bits.
    pub(super) fn round(&mut self) {
        if let Self::Floats(numbers) = self {
            let rounded = numbers.par_iter().with_min_len(1 << 14).map(|n| bf16::from_f32(*n));
            *self = Self::Rounded(rounded.collect());
        }
    }

    /// `y = x · weightᵀ`
    pub(super) fn forward(&self, y: &mut [f32], x: &[f32], n_in: usize, buffers: &mut Buffers) {
        match self {
            Self::Floats(numbers) => {
                let (rows, weight) = (View::new(x, n_in), View::new(numbers, n_in));
                product(y, Into::Overwrite, rows, weight.t(), 1.0, Threads::All);
            }
            Self::Rounded(numbers) => {
                multiply((y, Into::Overwrite), x, (numbers, n_in, Way::Forward), buffers);
            }
        }
    }

    /// `dx = dy · weight`, or added to it.
    pub(super) fn backward(
        &self,
        (dx, into): (&mut [f32], Into),
        dy: &[f32],
        n_in: usize,
        buffers: &mut Buffers,
    ) {
        match self {
            Self::Floats(numbers) => {
                let rows = View::new(dy, numbers.len() / n_in);
                product(dx, into, rows, View::new(numbers, n_in), 1.0, Threads::All);
            }
            Self::Rounded(numbers) => {
                multiply((dx, into), dy, (numbers, n_in, Way::Back), buffers);
            }
        }
    }
}
