//! Where a completion could have gone on otherwise: the likeliest of these points begin the
//! completions that all differ.
//!
//! The tree of completions is walked best first, as the k best paths of a graph are found: what
//! leaves a known completion at some token is ranked by the probability of everything up to and
//! with the other token, and goes on greedily from there.

/// A token that was likely and not taken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fork {
    /// Tokens of the completion before it.
    pub at: usize,
    pub token: u32,
    /// Log-probability of the sampled tokens up to and with it.
    pub logprob: f64,
    /// Of the tokens before it, those that the grammar forced.
    pub n_forced: usize,
}

/// Tokens considered beside the one taken.
pub const WIDTH: usize = 4;

/// The forks of all completions that no completion began with.
#[derive(Debug, Default)]
pub struct Forks {
    /// (the completion left, the fork)
    open: Vec<(usize, Fork)>,
}

impl Forks {
    pub fn add(&mut self, completion: usize, forks: impl IntoIterator<Item = Fork>) {
        self.open.extend(forks.into_iter().map(|fork| (completion, fork)));
    }

    /// Takes the `n` likeliest forks; equal ones from the earlier completion and token on.
    pub fn take(&mut self, n: usize) -> Vec<(usize, Fork)> {
        self.open.sort_by(|(one, a), (other, b)| {
            let place = |completion: &usize, fork: &Fork| (*completion, fork.at, fork.token);
            b.logprob.total_cmp(&a.logprob).then(place(one, a).cmp(&place(other, b)))
        });
        self.open.drain(..n.min(self.open.len())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likeliest_forks_come_first_whatever_completion_they_leave() {
        let fork = |at, logprob| Fork { at, token: 1, logprob, n_forced: 0 };
        let mut forks = Forks::default();
        forks.add(0, [fork(3, -2.0), fork(5, -1.0)]);
        forks.add(1, [fork(4, -1.5), fork(6, -2.0)]);
        let places = |forks: Vec<(usize, Fork)>| -> Vec<(usize, usize)> {
            forks.into_iter().map(|(completion, fork)| (completion, fork.at)).collect()
        };
        assert_eq!(places(forks.take(3)), [(0, 5), (1, 4), (0, 3)]);
        assert_eq!(places(forks.take(3)), [(1, 6)]);
    }
}
