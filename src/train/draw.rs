//! What is drawn with a seed: the order of an epoch, and a number of each stage.

use std::collections::{BTreeMap, BTreeSet};

use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;

use crate::stage::StageKind;

/// The order of an epoch over `n` things, the same for the same seed.
pub fn order(n: usize, seed: u64, epoch: usize) -> Vec<usize> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(epoch as u64);
    let mut order: Vec<usize> = (0..n).collect();
    order.shuffle(&mut random);
    order
}

/// At most `n` of each stage, in the order in which they were.
pub fn of_each_stage<T>(
    all: Vec<T>,
    n: usize,
    seed: u64,
    stage: impl Fn(&T) -> StageKind,
) -> Vec<T> {
    let mut chosen = BTreeSet::new();
    let mut of_stage: BTreeMap<StageKind, usize> = BTreeMap::new();
    // A stream of its own: no epoch comes that far.
    for idx in order(all.len(), seed, usize::MAX) {
        let so_far = of_stage.entry(stage(&all[idx])).or_default();
        if *so_far < n {
            *so_far += 1;
            chosen.insert(idx);
        }
    }
    let numbered = all.into_iter().enumerate();
    numbered.filter(|(idx, _)| chosen.contains(idx)).map(|(_, one)| one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_has_everything_once_in_an_order_of_its_own() {
        let first = order(50, 7, 0);
        assert_eq!(first, order(50, 7, 0));
        assert_ne!(first, order(50, 7, 1));
        assert_ne!(first, order(50, 8, 0));
        let mut sorted = first;
        sorted.sort_unstable();
        assert_eq!(sorted, (0..50).collect::<Vec<_>>());
    }

    #[test]
    fn of_each_stage_some_are_drawn_and_keep_their_order() {
        let of = |idx: usize| if idx < 40 { StageKind::File } else { StageKind::Edit };
        let drawn = |seed| of_each_stage((0..43).collect(), 5, seed, |idx| of(*idx));
        let first = drawn(1);
        assert_eq!(first.len(), 5 + 3);
        assert!(first.is_sorted());
        assert_eq!(first, drawn(1));
        assert_ne!(first, drawn(2));
    }
}
