//! A projection with an optional low-rank addition (LoRA), forward and backward.

use crate::model::local::adapter::LowRank;
use crate::train::decoder::buffers::Buffers;
use crate::train::decoder::matrix::{Into, Threads, View, product};
use crate::train::decoder::weight::Weight;

/// `y = x · weightᵀ + bias`
#[derive(Debug, Clone, PartialEq)]
pub struct Linear {
    /// (out, in)
    pub weight: Weight,
    /// (out)
    pub bias: Option<Vec<f32>>,
    pub n_in: usize,
}

/// Where gradients of a projection are added, as far as it is trained.
#[derive(Default)]
pub(super) struct LinearGradients<'a> {
    pub(super) full: Option<&'a mut Linear>,
    pub(super) low_rank: Option<&'a mut LowRank>,
}

impl Linear {
    pub(super) fn n_out(&self) -> usize {
        self.weight.n_numbers() / self.n_in
    }

    /// Rows of `n_in` numbers to rows of `n_out`.
    pub(super) fn forward(
        &self,
        low_rank: Option<&LowRank>,
        x: &[f32],
        buffers: &mut Buffers,
    ) -> Vec<f32> {
        let n_out = self.n_out();
        let n_rows = x.len() / self.n_in;
        let rows = View::new(x, self.n_in);
        let mut y = buffers.take(n_rows * n_out);
        self.weight.forward(&mut y, x, self.n_in, buffers);
        if let Some(bias) = &self.bias {
            for y in y.chunks_exact_mut(n_out) {
                y.iter_mut().zip(bias).for_each(|(y, bias)| *y += bias);
            }
        }
        if let Some(LowRank { a, b, rank, scale }) = low_rank {
            let mut narrow = buffers.take(n_rows * rank);
            product(
                &mut narrow,
                Into::Overwrite,
                rows,
                View::new(a, self.n_in).t(),
                1.0,
                Threads::All,
            );
            let b = View::new(b, *rank);
            product(&mut y, Into::Add, View::new(&narrow, *rank), b.t(), *scale, Threads::All);
            buffers.give(narrow);
        }
        y
    }

    /// Writes the gradient of the input into `dx`, or adds it, and adds those of what is trained.
    pub(super) fn backward(
        &self,
        low_rank: Option<&LowRank>,
        (x, dy): (&[f32], &[f32]),
        (dx, into): (&mut [f32], Into),
        gradients: LinearGradients<'_>,
        buffers: &mut Buffers,
    ) {
        let n_out = self.n_out();
        let n_rows = x.len() / self.n_in;
        let (rows, d_rows) = (View::new(x, self.n_in), View::new(dy, n_out));
        self.weight.backward((dx, into), dy, self.n_in, buffers);
        if let Some(full) = gradients.full {
            product(full.weight.floats_mut(), Into::Add, d_rows.t(), rows, 1.0, Threads::All);
            if let Some(d_bias) = &mut full.bias {
                for dy in dy.chunks_exact(n_out) {
                    d_bias.iter_mut().zip(dy).for_each(|(sum, dy)| *sum += dy);
                }
            }
        }
        let Some(LowRank { a, b, rank, scale }) = low_rank else { return };
        let (a, b) = (View::new(a, self.n_in), View::new(b, *rank));
        let mut d_narrow = buffers.take(n_rows * rank);
        product(&mut d_narrow, Into::Overwrite, d_rows, b, *scale, Threads::All);
        let d_narrow_rows = View::new(&d_narrow, *rank);
        product(dx, Into::Add, d_narrow_rows, a, 1.0, Threads::All);
        if let Some(gradient) = gradients.low_rank {
            let mut narrow = buffers.take(n_rows * rank);
            product(&mut narrow, Into::Overwrite, rows, a.t(), 1.0, Threads::All);
            product(&mut gradient.a, Into::Add, d_narrow_rows.t(), rows, 1.0, Threads::All);
            let narrow_rows = View::new(&narrow, *rank);
            product(&mut gradient.b, Into::Add, d_rows.t(), narrow_rows, *scale, Threads::All);
            buffers.give(narrow);
        }
        buffers.give(d_narrow);
    }
}
