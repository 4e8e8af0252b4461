//! What all tests together say of a candidate, and which of two candidates is better.

use std::cmp::Reverse;

use serde::Serialize;

use crate::index::test_uses::TestOfCode;
use crate::sandbox::verdict::{Outcome, Standing, Verdict};

/// The judgement of one candidate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Judgement {
    /// Of the user's tests, as many as ran.
    #[serde(flatten)]
    pub verdict: Verdict,
    pub scope: Scope,
    /// The tests that look at the change, where they ran by themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chosen: Option<ChosenRun>,
    /// What became of the reproduction test, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reproduction: Option<Reproduced>,
    pub level: Level,
}

/// Which tests the verdict is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// The user's whole command.
    Whole,
    /// Of the user's tests, those that look at the change.
    Chosen,
    /// Nothing but the reproduction test was run.
    Reproduction,
}

/// A run of the tests that look at a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChosenRun {
    pub tests: Vec<TestOfCode>,
    pub command: String,
    pub verdict: Verdict,
    /// Whether these are all tests that the whole command runs.
    pub is_all: bool,
    #[serde(skip)]
    pub base: Outcome,
}

/// The reproduction test with a candidate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Reproduced {
    Passes,
    Fails,
    /// A crash, a time-out, or no result.
    NoResult {
        why: String,
    },
}

/// How good a candidate is, worst first. A test of the user's that failed and passes is a
/// reproduction as well, and a better one: the user wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// A crash, a time-out, or no result.
    NoResult,
    /// It applies, and that is all.
    Applies,
    /// No test newly fails.
    Regression,
    /// The same, and the model's reproduction passes.
    Reproduced,
    /// The same, and a test of the user's that failed passes.
    Fixed,
    /// The same, and so does the model's reproduction.
    FixedAndReproduced,
}

impl Judgement {
    pub(super) fn new(verdict: Verdict, scope: Scope, reproduction: Option<Reproduced>) -> Self {
        let level = level_of(verdict.standing, reproduction.as_ref());
        Self { verdict, scope, chosen: None, reproduction, level }
    }

    /// For sorting: better candidates come first.
    pub fn order(&self) -> impl Ord + use<> {
        let passes = self.reproduction == Some(Reproduced::Passes);
        (Reverse(self.level), self.verdict.order(), Reverse(passes))
    }

    /// Whether no other candidate could be judged better, as far as these tests tell.
    pub fn is_best(&self) -> bool {
        match self.level {
            Level::FixedAndReproduced => true,
            Level::Fixed => self.reproduction.is_none(),
            Level::Reproduced => self.verdict.standing == Standing::Regression,
            Level::NoResult | Level::Applies | Level::Regression => false,
        }
    }

    /// For people.
    pub fn words(&self) -> String {
        let tests = &self.verdict.words;
        let mut words = match (&self.reproduction, self.level) {
            (Some(Reproduced::Passes), Level::Reproduced) => {
                let tests = tests.strip_prefix("UNVERIFIED: ").unwrap_or(tests);
                format!("reproduced: the reproduction test failed and passes now; {tests}")
            }
            (Some(Reproduced::Passes), _) => format!("{tests}; the reproduction test passes"),
            (Some(Reproduced::Fails), _) => format!("{tests}; the reproduction test still fails"),
            (Some(Reproduced::NoResult { .. }) | None, _) => tests.clone(),
        };
        if let (Scope::Chosen, Some(chosen)) = (self.scope, &self.chosen) {
            let files = match chosen.tests.len() {
                1 => "1 test file that looks".to_owned(),
                n => format!("{n} test files that look"),
            };
            words += &format!(" (of the {files} at the change; no other was run)");
        }
        words
    }
}

impl Reproduced {
    /// From the verdict on the reproduction test, compared with its run on the unchanged code.
    pub(super) fn of(verdict: &Verdict) -> Self {
        match verdict.standing {
            Standing::NoResult => {
                let why = verdict.words.trim_start_matches("no result: ").to_owned();
                Self::NoResult { why }
            }
            Standing::Verified if verdict.n_failed == 0 => Self::Passes,
            _ => Self::Fails,
        }
    }
}

fn level_of(standing: Standing, reproduction: Option<&Reproduced>) -> Level {
    let passes = reproduction == Some(&Reproduced::Passes);
    match standing {
        Standing::NoResult => Level::NoResult,
        _ if matches!(reproduction, Some(Reproduced::NoResult { .. })) => Level::NoResult,
        Standing::Verified | Standing::StatusVerified if passes => Level::FixedAndReproduced,
        Standing::Verified | Standing::StatusVerified => Level::Fixed,
        // What failed before and still does is not held against what the reproduction confirms.
        Standing::Regression | Standing::Unchanged if passes => Level::Reproduced,
        Standing::Regression => Level::Regression,
        Standing::Unchanged | Standing::Broken => Level::Applies,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_are_ordered_by_reproduction_and_regression() {
        let judgement = |standing, reproduction: Option<Reproduced>| {
            let words = format!("{standing:?}");
            let verdict = Verdict { standing, words, n_fixed: 0, n_passed: 0, n_failed: 0 };
            Judgement::new(verdict, Scope::Whole, reproduction)
        };
        let (passes, fails) = (Some(Reproduced::Passes), Some(Reproduced::Fails));
        let hangs = Some(Reproduced::NoResult { why: "stopped at the time limit".to_owned() });
        let mut judgements = vec![
            judgement(Standing::Verified, hangs),
            judgement(Standing::NoResult, passes.clone()),
            judgement(Standing::Broken, passes.clone()),
            judgement(Standing::Unchanged, fails.clone()),
            judgement(Standing::Regression, fails.clone()),
            judgement(Standing::Unchanged, passes.clone()),
            judgement(Standing::Regression, passes.clone()),
            judgement(Standing::Verified, fails),
            judgement(Standing::Verified, passes),
        ];
        let sorted: Vec<Judgement> = judgements.iter().rev().cloned().collect();
        judgements.sort_by_key(Judgement::order);
        let words = |list: &[Judgement]| -> Vec<(Level, String)> {
            list.iter().map(|one| (one.level, one.words())).collect()
        };
        // The two without a result are equally bad, whatever their tests would say.
        assert_eq!(words(&judgements)[..7], words(&sorted)[..7]);
        assert!(judgements[7..].iter().all(|one| one.level == Level::NoResult));
    }
}
