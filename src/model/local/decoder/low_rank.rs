//! What an adapter adds to one projection, as products that run beside it.

use std::borrow::Cow;

use anyhow::ensure;
use half::f16;

use crate::model::local::adapter::LowRankWeights;
use crate::model::local::decoder::{Linear, Ops};
use crate::model::local::gguf::Encoding;
use crate::model::local::weights::StoredTensor;

/// `b` of `a` of the projection's input.
pub(super) struct LowRank<O: Ops + ?Sized> {
    pub(super) a: Linear<O>,
    /// Scaled.
    pub(super) b: Linear<O>,
}

impl<O: Ops> LowRank<O> {
    /// Of a projection of the shape (out, in).
    pub(super) fn load(
        ops: &O,
        weights: &LowRankWeights,
        [n_out, n_in]: [usize; 2],
        scale: f32,
    ) -> anyhow::Result<Self> {
        let rank = weights.a.len() / n_in;
        // Zeros up to a width that activations come in.
        let padded = rank.next_multiple_of(32);
        let mut a = weights.a.clone();
        a.resize(padded * n_in, 0.0);
        let mut b = vec![0.0; n_out * padded];
        for (row, padded_row) in weights.b.chunks(rank).zip(b.chunks_mut(padded)) {
            row.iter().zip(padded_row).for_each(|(number, padded)| *padded = number * scale);
        }
        let load = |numbers: &[f32], shape: [usize; 2]| {
            let halves: Vec<f16> = numbers.iter().map(|n| f16::from_f32(*n)).collect();
            ensure!(
                halves.iter().all(|half| half.is_finite()),
                "the adapter has numbers above {}, the most that 16 bits hold",
                f16::MAX
            );
            let bytes = halves.iter().flat_map(|half| half.to_le_bytes()).collect();
            let (shape, bytes) = (shape.to_vec(), Cow::Owned(bytes));
            let matrix =
                ops.load_matrix(&StoredTensor { encoding: Encoding::F16, shape, bytes })?;
            anyhow::Ok(Linear { matrix, bias: None, low_rank: None })
        };
        Ok(Self { a: load(&a, [padded, n_in])?, b: load(&b, [n_out, padded])? })
    }
}
