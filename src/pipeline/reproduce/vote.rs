//! Which of the kept tests judges candidates.

use std::cmp::Reverse;

use crate::pipeline::reproduce::{Reproduction, Sampled};

/// The test on whose way of failing most samples agree; of those the one with most votes, then
/// the one that says most of what the issue says, then the earliest. A single sample that says no
/// number and no text of the issue's is no reproduction: it may expect what nobody wants.
pub(super) fn vote(tests: &[Sampled]) -> Option<Reproduction> {
    let kept = || tests.iter().filter(|test| test.kept);
    let agree = |one: &Sampled| -> u32 {
        let same = kept().filter(|other| normal_words(&other.words) == normal_words(&one.words));
        same.map(|test| test.votes).sum()
    };
    let rank = |test: &&Sampled| {
        let Sampled { votes, evidence, sample, .. } = test;
        (Reverse(agree(test)), Reverse(*votes), Reverse(*evidence), *sample)
    };
    let is_backed = |test: &&Sampled| 2 <= agree(test) || 1 <= test.evidence;
    let best = kept().filter(is_backed).min_by_key(rank)?;
    let (command, base) = best.base.clone()?;
    Some(Reproduction {
        path: best.path.clone(),
        text: best.text.clone(),
        command,
        fails_with: best.words.clone(),
        votes: best.votes,
        agree: agree(best),
        base,
    })
}

/// How a test fails, without what differs from run to run: addresses.
fn normal_words(words: &str) -> String {
    let is_address = |word: &&str| word.trim_start_matches('<').starts_with("0x");
    let words = words.split(' ').filter(|word| !is_address(word));
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::path::RepoPath;
    use crate::sandbox::interpreter::Interpreters;
    use crate::sandbox::verdict::{Outcome, Reading};

    /// A kept test with its way of failing, votes and evidence.
    fn kept((sample, words, votes, evidence): (u64, &str, u32, usize)) -> Sampled {
        let reading = Reading::StatusOnly { succeeded: false };
        let outcome = Outcome { reading, interpreters: Interpreters::default() };
        Sampled {
            sample,
            votes,
            kept: true,
            words: words.to_owned(),
            path: RepoPath::parse(&format!("test_{sample}.py")).unwrap(),
            text: String::new(),
            evidence,
            base: Some((String::new(), outcome)),
        }
    }

    #[track_caller]
    fn check(tests: &[(u64, &str, u32, usize)], expected: Option<&str>) {
        let tests: Vec<Sampled> = tests.iter().copied().map(kept).collect();
        assert_eq!(vote(&tests).as_ref().map(|chosen| chosen.path.as_str()), expected);
    }

    #[test]
    fn most_samples_agree_on_the_chosen_test_or_it_says_what_the_issue_says() {
        let (loud, quiet) = ("AssertionError: 1 != 2", "AssertionError");
        check(&[(0, quiet, 1, 3), (1, loud, 1, 0), (2, loud, 1, 0)], Some("test_1.py"));
        check(&[(0, quiet, 1, 0), (1, loud, 1, 1)], Some("test_1.py"));
        check(&[(0, quiet, 2, 0)], Some("test_0.py"));
        check(&[(0, quiet, 1, 0), (1, loud, 1, 0)], None);
        // Addresses tell no ways of failing apart.
        let at = |address| format!("AssertionError: <X at {address}>");
        check(&[(0, &at("0x1"), 1, 0), (1, &at("0x2"), 1, 0)], Some("test_0.py"));
    }
}
