//! What is added to one projection.

/// `y += scale · x · aᵀ · bᵀ`
#[derive(Debug, Clone, PartialEq)]
pub struct LowRank {
    /// (rank, in)
    pub a: Vec<f32>,
    /// (out, rank)
    pub b: Vec<f32>,
    pub rank: usize,
    /// alpha / rank
    pub scale: f32,
}

impl LowRank {
    /// An addition of nothing to a projection of the shape (out, in).
    pub fn zeros([n_out, n_in]: [usize; 2], rank: usize, scale: f32) -> Self {
        Self { a: vec![0.0; rank * n_in], b: vec![0.0; n_out * rank], rank, scale }
    }

    /// One addition of what this one and `other` add to a projection. The ranks add up; the scale
    /// is that of the first, and the second's `b` makes up for it.
    #[must_use]
    pub fn join(&self, other: &Self) -> Self {
        let factor = other.scale / self.scale;
        let rows = self.b.chunks_exact(self.rank).zip(other.b.chunks_exact(other.rank));
        let b = rows
            .flat_map(|(ours, theirs)| {
                ours.iter().copied().chain(theirs.iter().map(move |number| number * factor))
            })
            .collect();
        let (a, rank) = ([&self.a[..], &other.a].concat(), self.rank + other.rank);
        Self { a, b, rank, scale: self.scale }
    }

    /// The projection's shape (out, in).
    pub fn shape(&self) -> [usize; 2] {
        [self.b.len() / self.rank, self.a.len() / self.rank]
    }
}
