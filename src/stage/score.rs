//! Three counts, and the one formula that turns them into a reward.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::stage::rejection::Rejection;

/// How an answer compares with the truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Score {
    /// Items both answered and expected.
    pub hits: usize,
    /// Items answered, invented ones included.
    pub answered: usize,
    pub expected: usize,
}

impl Score {
    /// Compares as multisets: an item that is answered twice and expected once hits once.
    /// Sets come out of this where the caller has removed repetitions.
    pub fn of<T: Ord>(answered: &[T], expected: &[T]) -> Self {
        let hits = if answered.len() * expected.len() <= 64 {
            few_hits(answered, expected)
        } else {
            let mut left: BTreeMap<&T, usize> = BTreeMap::new();
            for item in expected {
                *left.entry(item).or_default() += 1;
            }
            let mut pays = |item: &T| match left.get_mut(item) {
                Some(n) if 0 < *n => {
                    *n -= 1;
                    true
                }
                _ => false,
            };
            answered.iter().filter(|item| pays(item)).count()
        };
        Self { hits, answered: answered.len(), expected: expected.len() }
    }

    pub fn precision(&self) -> f64 {
        if self.answered == 0 { 0.0 } else { self.hits as f64 / self.answered as f64 }
    }

    pub fn recall(&self) -> f64 {
        if self.expected == 0 { 0.0 } else { self.hits as f64 / self.expected as f64 }
    }

    /// Precision and recall in one number; recall weighs `beta` times as much. 0 without a hit.
    pub fn f_beta(&self, beta: f64) -> f64 {
        if self.hits == 0 {
            return 0.0;
        }
        let square = beta * beta;
        (1.0 + square) * self.hits as f64
            / square.mul_add(self.expected as f64, self.answered as f64)
    }

    pub fn is_exact(&self) -> bool {
        self.hits == self.answered && self.hits == self.expected && 0 < self.hits
    }
}

/// Multiset overlap of a few items, without a map.
fn few_hits<T: Ord>(answered: &[T], expected: &[T]) -> usize {
    let mut paid = 0_u64;
    let mut pays = |item: &T| {
        let free =
            |(idx, other): (usize, &T)| (paid >> idx & 1 == 0 && other == item).then_some(idx);
        let found = expected.iter().enumerate().find_map(free);
        if let Some(idx) = found {
            paid |= 1 << idx;
        }
        found.is_some()
    };
    answered.iter().filter(|item| pays(item)).count()
}

/// A parsed answer, compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grade {
    pub score: Score,
    /// Of the answered items, those that the snapshot does not have.
    pub invented: usize,
}

/// Which number a score becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RewardRule {
    #[default]
    FBeta,
    /// 1 for any hit: teaches to list more and think less; for ablations.
    Hit,
    /// 1 where answer and truth are equal.
    Exact,
    F1,
}

/// What an invented item costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InventedRule {
    /// The whole reward.
    #[default]
    Zero,
    /// As much as any other miss.
    Miss,
}

/// How a grade becomes a reward.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RewardOptions {
    pub rule: RewardRule,
    /// Weight of recall against precision in `f_beta`.
    pub beta: f64,
    pub invented: InventedRule,
}

impl RewardOptions {
    /// The reward of the paper: `F_3`, and nothing for what is invented.
    pub const PAPER: Self =
        Self { rule: RewardRule::FBeta, beta: 3.0, invented: InventedRule::Zero };

    /// Between 0 and 1. A rejection, an empty answer and (by default) an invented item give 0.
    pub fn reward(&self, outcome: &Result<Grade, Rejection>) -> f64 {
        outcome.as_ref().map_or(0.0, |grade| self.reward_of(grade))
    }

    /// The reward of a completion that was not rejected.
    pub fn reward_of(&self, grade: &Grade) -> f64 {
        if self.invented == InventedRule::Zero && 0 < grade.invented {
            return 0.0;
        }
        match self.rule {
            RewardRule::FBeta => grade.score.f_beta(self.beta),
            RewardRule::F1 => grade.score.f_beta(1.0),
            RewardRule::Hit => f64::from(0 < grade.score.hits),
            RewardRule::Exact => f64::from(grade.score.is_exact()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stage::rejection::Reason;

    #[test]
    fn f_beta_has_the_documented_values() {
        // |A|, h, |O|, F_3, F_1
        let rows = [
            (1, 1, 1, 1.0000, 1.0000),
            (1, 1, 2, 0.9091, 0.6667),
            (1, 1, 5, 0.7143, 0.3333),
            (2, 1, 1, 0.5263, 0.6667),
            (2, 2, 3, 0.9524, 0.8000),
            (3, 1, 5, 0.3125, 0.2500),
            (3, 3, 10, 0.8108, 0.4615),
        ];
        for (expected, hits, answered, f_3, f_1) in rows {
            let score = Score { hits, answered, expected };
            assert!((score.f_beta(3.0) - f_3).abs() < 5e-5, "{score:?}: {}", score.f_beta(3.0));
            assert!((score.f_beta(1.0) - f_1).abs() < 5e-5, "{score:?}: {}", score.f_beta(1.0));
        }
    }

    #[test]
    fn repetition_pays_once() {
        assert_eq!(Score::of(&[1, 1, 2], &[1, 3]), Score { hits: 1, answered: 3, expected: 2 });
        assert_eq!(Score::of(&[1, 1], &[1, 1, 1]), Score { hits: 2, answered: 2, expected: 3 });
    }

    #[test]
    fn no_hit_and_no_item_are_zero() {
        for score in [Score::of::<u8>(&[], &[]), Score::of(&[], &[1]), Score::of(&[2], &[1])] {
            let values = (score.f_beta(3.0), score.precision(), score.recall(), score.is_exact());
            assert_eq!(values, (0.0, 0.0, 0.0, false), "{score:?}");
        }
    }

    #[test]
    fn each_rule_reads_the_same_counts() {
        let score = Score { hits: 1, answered: 2, expected: 1 };
        let exact = Score { hits: 1, answered: 1, expected: 1 };
        // rule, invented rule, reward of (score, no invented), (score, one invented), exact
        let rows = [
            (RewardRule::FBeta, InventedRule::Zero, [10.0 / 11.0, 0.0, 1.0]),
            (RewardRule::FBeta, InventedRule::Miss, [10.0 / 11.0, 10.0 / 11.0, 1.0]),
            (RewardRule::F1, InventedRule::Zero, [2.0 / 3.0, 0.0, 1.0]),
            (RewardRule::Hit, InventedRule::Miss, [1.0, 1.0, 1.0]),
            (RewardRule::Exact, InventedRule::Miss, [0.0, 0.0, 1.0]),
        ];
        for (rule, invented, expected) in rows {
            let options = RewardOptions { rule, beta: 3.0, invented };
            let grades = [(score, 0), (score, 1), (exact, 0)];
            for ((score, invented), expected) in grades.into_iter().zip(expected) {
                let reward = options.reward(&Ok(Grade { score, invented }));
                assert!((reward - expected).abs() < 1e-12, "{rule:?} {score:?}: {reward}");
            }
        }
    }

    #[test]
    fn a_rejection_earns_nothing() {
        for reason in Reason::ALL {
            let rejected = Err(Rejection::new(reason, "x", "y"));
            assert_eq!(RewardOptions::PAPER.reward(&rejected).to_bits(), 0.0_f64.to_bits());
        }
    }

    proptest! {
        #[test]
        fn the_closed_form_is_the_definition(answered in 1_usize..60, expected in 1_usize..60,
                                             share in 0.0_f64..1.0, beta in 0.1_f64..5.0) {
            let hits = (share * answered.min(expected) as f64) as usize + 1;
            let score = Score { hits: hits.min(answered).min(expected), answered, expected };
            let (p, r) = (score.precision(), score.recall());
            let defined = (1.0 + beta * beta) * p * r / (beta * beta * p + r);
            prop_assert!((score.f_beta(beta) - defined).abs() < 1e-9);
        }

        #[test]
        fn few_and_many_items_count_alike(answered in prop::collection::vec(0_u8..6, 0..8),
                                          expected in prop::collection::vec(0_u8..6, 0..8)) {
            let few = Score::of(&answered, &expected).hits;
            // Items that match nothing lengthen both lists past the small case.
            let pad = |items: &[u8], from: u8| {
                let rest = (0..40).map(|i| from + i);
                items.iter().copied().chain(rest).collect::<Vec<u8>>()
            };
            prop_assert_eq!(Score::of(&pad(&answered, 10), &pad(&expected, 60)).hits, few);
        }
    }
}
