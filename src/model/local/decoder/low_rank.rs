//! What an adapter adds to one projection, as products that run beside it.

use std::borrow::Cow;

use anyhow::ensure;
use half::f16;

use crate::model::local::adapter::LowRank;
use crate::model::local::decoder::{Linear, Ops};
use crate::model::local::gguf::Encoding;
use crate::model::local::weights::StoredTensor;

/// `b` of `a` of the projection's input.
pub(super) struct LoadedLowRank<O: Ops + ?Sized> {
    pub(super) a: Linear<O>,
    /// Scaled.
    pub(super) b: Linear<O>,
}

impl<O: Ops> LoadedLowRank<O> {
    pub(super) fn load(ops: &O, low_rank: &LowRank) -> anyhow::Result<Self> {
        let LowRank { a, b, rank, scale } = low_rank;
        let [n_out, n_in] = low_rank.shape();
        // Zeros up to a width that activations come in.
        let padded = rank.next_multiple_of(32);
        let mut padded_a = a.clone();
        padded_a.resize(padded * n_in, 0.0);
        let mut padded_b = vec![0.0; n_out * padded];
        for (row, padded_row) in b.chunks(*rank).zip(padded_b.chunks_mut(padded)) {
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
        Ok(Self { a: load(&padded_a, [padded, n_in])?, b: load(&padded_b, [n_out, padded])? })
    }
}
