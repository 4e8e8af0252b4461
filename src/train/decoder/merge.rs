//! Adapters made part of a network, and of each other.

use crate::train::decoder::linear::{Linear, LowRank};
use crate::train::decoder::matrix::{Into, Threads, View, product};
use crate::train::decoder::{Adapter, Network};

impl Network {
    /// Adds an adapter's products to the weights: `weight += scale · b · a`.
    ///
    /// # Panics
    ///
    /// The adapter was read for a network of another shape.
    pub fn merge(&mut self, adapter: &Adapter) {
        for (layer, sites) in self.layers.iter_mut().zip(&adapter.layers) {
            for (linear, low_rank) in layer.linears.iter_mut().zip(sites) {
                let Some(LowRank { a, b, rank, scale }) = low_rank else { continue };
                let Linear { weight, n_in, .. } = linear;
                let (a, b) = (View::new(a, *n_in), View::new(b, *rank));
                product(weight.floats_mut(), Into::Add, b, a, *scale, Threads::All);
            }
        }
    }
}

impl Adapter {
    /// One adapter that adds what this one and `other` add; the ranks add up. Where one of them
    /// adds nothing, there are zeros in its place.
    #[must_use]
    pub fn join(&self, other: &Self) -> Self {
        let first = |adapter: &Self| adapter.layers.iter().flatten().flatten().next().cloned();
        let (Some(first_of_ours), Some(first_of_theirs)) = (first(self), first(other)) else {
            return if first(self).is_none() { other.clone() } else { self.clone() };
        };
        let sites = |(ours, theirs): (&[Option<LowRank>; 7], &[Option<LowRank>; 7])| {
            std::array::from_fn(|site| match (&ours[site], &theirs[site]) {
                (None, None) => None,
                (Some(ours), Some(theirs)) => Some(join(ours, theirs)),
                (Some(ours), None) => Some(join(ours, &zeros(&first_of_theirs, ours))),
                (None, Some(theirs)) => Some(join(&zeros(&first_of_ours, theirs), theirs)),
            })
        };
        Self { layers: self.layers.iter().zip(&other.layers).map(sites).collect() }
    }
}

/// An addition of nothing, with the rank and scale of `like` and the shape of `place`.
fn zeros(like: &LowRank, place: &LowRank) -> LowRank {
    let of_rank = |part: &[f32]| vec![0.0; part.len() / place.rank * like.rank];
    LowRank { a: of_rank(&place.a), b: of_rank(&place.b), rank: like.rank, scale: like.scale }
}

/// The scale is that of the first; the second's `b` makes up for it.
fn join(first: &LowRank, second: &LowRank) -> LowRank {
    let rank = first.rank + second.rank;
    let factor = second.scale / first.scale;
    let rows = first.b.chunks_exact(first.rank).zip(second.b.chunks_exact(second.rank));
    let b = rows
        .flat_map(|(first, second)| {
            first.iter().copied().chain(second.iter().map(move |number| number * factor))
        })
        .collect();
    LowRank { a: [&first.a[..], &second.a].concat(), b, rank, scale: first.scale }
}
