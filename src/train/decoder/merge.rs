//! Adapters made part of a network, and of each other.

use crate::model::local::adapter::LowRank;
use crate::train::decoder::linear::Linear;
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
        let zeros =
            |like: &LowRank, place: &LowRank| LowRank::zeros(place.shape(), like.rank, like.scale);
        let sites = |(ours, theirs): (&[Option<LowRank>; 7], &[Option<LowRank>; 7])| {
            std::array::from_fn(|site| match (&ours[site], &theirs[site]) {
                (None, None) => None,
                (Some(ours), Some(theirs)) => Some(ours.join(theirs)),
                (Some(ours), None) => Some(ours.join(&zeros(&first_of_theirs, ours))),
                (None, Some(theirs)) => Some(zeros(&first_of_ours, theirs).join(theirs)),
            })
        };
        Self { layers: self.layers.iter().zip(&other.layers).map(sites).collect() }
    }
}
