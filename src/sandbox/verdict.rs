//! What a test command's outcome says about a candidate, next to the outcome without it.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use serde::Serialize;

use crate::sandbox::interpreter::Interpreters;
use crate::sandbox::runner::{Summary, find_obstacle, read_summary};
use crate::sandbox::{End, Execution};

/// One run of the test command, understood as far as its output allows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reading {
    /// The runner's own summary.
    Tests(Summary),
    /// The runner says why it could not run any test.
    CannotStart(String),
    /// No runner that is known; only whether the command succeeded.
    StatusOnly { succeeded: bool },
    /// It ended in a way that says nothing about tests.
    NoResult(String),
}

/// What a run of the test command says, and what tells whether it may be believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub reading: Reading,
    pub interpreters: Interpreters,
}

/// Reads what a run of the test command says.
pub fn read_outcome(execution: &Execution) -> Outcome {
    Outcome { reading: read_output(execution), interpreters: execution.interpreters }
}

fn read_output(execution: &Execution) -> Reading {
    let text = plain_text(&execution.output);
    let status = match execution.end {
        End::Exited(status) => status,
        end => return Reading::NoResult(end.to_string()),
    };
    if let 126 | 127 = status {
        let reason = text.lines().rev().find(|line| !line.trim().is_empty());
        return Reading::CannotStart(
            reason.unwrap_or("the command was not found").trim().to_owned(),
        );
    }
    match read_summary(&text) {
        Some(Err(reason)) => Reading::CannotStart(reason),
        Some(Ok(summary)) if summary.failed == 0 && status != 0 => Reading::NoResult(format!(
            "no test failed, but the command ended with exit status {status}"
        )),
        Some(Ok(summary)) if 0 < summary.failed && status == 0 => {
            // A pipe behind the runner, say; its own words count.
            Reading::Tests(summary)
        }
        Some(Ok(summary)) => Reading::Tests(summary),
        None if status == 0 => Reading::StatusOnly { succeeded: true },
        None => match find_obstacle(&text) {
            Some(reason) => Reading::CannotStart(reason.to_owned()),
            None => Reading::StatusOnly { succeeded: false },
        },
    }
}

/// How good a candidate is by its tests, worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// A crash, a time-out, or no result.
    NoResult,
    /// Tests that passed fail, or fewer tests ran.
    Broken,
    /// What failed still fails.
    Unchanged,
    /// All tests passed before and pass now.
    Regression,
    /// The command failed before and succeeds now; which tests ran is not known.
    StatusVerified,
    /// As many tests ran, none newly fails, and one that failed passes.
    Verified,
}

/// The judgement of one candidate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    pub standing: Standing,
    /// For people: `verified: 12 tests pass, 1 that failed now passes`.
    pub words: String,
    /// Tests that failed before and pass now.
    pub n_fixed: usize,
    pub n_passed: usize,
    pub n_failed: usize,
}

impl Verdict {
    /// Whether tests, read one by one or as counts, confirm the candidate.
    pub fn is_verified(&self) -> bool {
        self.standing == Standing::Verified
    }

    /// A verdict on a run that tells nothing, and why.
    pub fn no_result(why: String) -> Self {
        no_result(why)
    }

    /// A verdict where nothing was run that could tell more, and why.
    pub fn not_run(why: &str) -> Self {
        let words = format!("UNVERIFIED: no other test was run: {why}");
        Self { standing: Standing::Unchanged, words, n_fixed: 0, n_passed: 0, n_failed: 0 }
    }

    /// The verdict where the tests that fail as before have nothing to do with the candidate: what
    /// it could break passes.
    #[must_use]
    pub fn without_old_failures(self) -> Self {
        let verb = if self.n_passed == 1 { "passes" } else { "pass" };
        let still = if self.n_failed == 1 { "fails" } else { "fail" };
        let do_not = if self.n_failed == 1 { "does not" } else { "do not" };
        let words = format!(
            "UNVERIFIED: {} {verb}, as before; {} that {do_not} look at the change still {still}",
            tests(self.n_passed),
            self.n_failed
        );
        Self { standing: Standing::Regression, words, ..self }
    }

    /// For sorting: better candidates come first.
    pub fn order(&self) -> impl Ord + use<> {
        (Reverse(self.standing), Reverse(self.n_fixed), self.n_failed)
    }
}

/// Judges a candidate's run by the run without it.
pub fn compare(baseline: &Outcome, candidate: &Outcome) -> Verdict {
    let speaks = matches!(candidate.reading, Reading::Tests(_) | Reading::StatusOnly { .. });
    if speaks && baseline.interpreters.all_ended() && !candidate.interpreters.all_ended() {
        return no_result(
            "the code under test ended Python from within, so what it printed is not believed"
                .to_owned(),
        );
    }
    match (&baseline.reading, &candidate.reading) {
        (Reading::Tests(before), Reading::Tests(now)) => compare_tests(before, now),
        (Reading::StatusOnly { succeeded: before }, Reading::StatusOnly { succeeded: now }) => {
            compare_status(*before, *now)
        }
        (_, Reading::NoResult(why)) => no_result(why.clone()),
        (_, Reading::CannotStart(why)) => no_result(format!("the tests cannot start: {why}")),
        (Reading::Tests(_), Reading::StatusOnly { .. }) => {
            no_result("the test runner's summary is missing".to_owned())
        }
        // Without a baseline there is nothing to compare with, but what passes, passes.
        (_, Reading::Tests(now)) if now.failed == 0 => Verdict {
            standing: Standing::Regression,
            words: format!("UNVERIFIED: {} pass, with no result before", tests(now.passed)),
            n_fixed: 0,
            n_passed: now.passed,
            n_failed: 0,
        },
        (_, Reading::Tests(now)) => Verdict {
            standing: Standing::Unchanged,
            words: format!("UNVERIFIED: {} fail, with no result before", tests(now.failed)),
            n_fixed: 0,
            n_passed: now.passed,
            n_failed: now.failed,
        },
        (_, Reading::StatusOnly { succeeded }) => compare_status(*succeeded, *succeeded),
    }
}

fn compare_tests(before: &Summary, now: &Summary) -> Verdict {
    let newly_failing = match (&before.failing, &now.failing) {
        (Some(before), Some(now)) => now.difference(before).count(),
        _ => now.failed.saturating_sub(before.failed),
    };
    // A runner that named its tests before names those that pass now.
    // Where none passed, none could be named.
    let is_named = before.passing.as_ref().is_some_and(|names| !names.is_empty());
    let n_fixed = match (&before.failing, &now.failing) {
        (Some(failing), _) if is_named || now.passing.is_some() => {
            failing.intersection(&now.listed).count()
        }
        (Some(before), Some(now)) => before.difference(now).count(),
        _ => before.failed.saturating_sub(now.failed),
    };
    let ran = |summary: &Summary| summary.passed + summary.failed;
    let (standing, words) = if ran(now) < ran(before) {
        (Standing::Broken, format!("fails: {} ran, {} before", tests(ran(now)), ran(before)))
    } else if 0 < newly_failing {
        let which = examples(before.failing.as_ref(), now.failing.as_ref());
        let verb = if newly_failing == 1 { "fails" } else { "fail" };
        (
            Standing::Broken,
            format!("fails: {} that did not fail before now {verb}{which}", tests(newly_failing)),
        )
    } else if 0 < n_fixed {
        let verb = if n_fixed == 1 { "passes" } else { "pass" };
        let still = match now.failed {
            0 => String::new(),
            1 => ", 1 still fails".to_owned(),
            n => format!(", {n} still fail"),
        };
        (
            Standing::Verified,
            format!(
                "verified: {} {}, {n_fixed} that failed now {verb}{still}",
                tests(now.passed),
                if now.passed == 1 { "passes" } else { "pass" }
            ),
        )
    } else if is_named && now.failed < before.failed {
        return no_result(
            "fewer tests fail, but those that failed are not named among those that pass"
                .to_owned(),
        );
    } else if now.failed == 0 {
        (Standing::Regression, format!("UNVERIFIED: {} pass, as before", tests(now.passed)))
    } else {
        let verb = if now.failed == 1 { "fails" } else { "fail" };
        (Standing::Unchanged, format!("UNVERIFIED: {} still {verb}", tests(now.failed)))
    };
    Verdict { standing, words, n_fixed, n_passed: now.passed, n_failed: now.failed }
}

fn compare_status(before: bool, now: bool) -> Verdict {
    let (standing, words) = match (before, now) {
        (false, true) => (
            Standing::StatusVerified,
            "passes, by exit status alone: the command failed before and succeeds now",
        ),
        (true, true) => (Standing::Regression, "UNVERIFIED: the command succeeds, as before"),
        (false, false) => (Standing::Unchanged, "UNVERIFIED: the command still fails"),
        (true, false) => (Standing::Broken, "fails: the command succeeded before and fails now"),
    };
    Verdict { standing, words: words.to_owned(), n_fixed: 0, n_passed: 0, n_failed: 0 }
}

fn no_result(why: String) -> Verdict {
    let words = format!("no result: {why}");
    Verdict { standing: Standing::NoResult, words, n_fixed: 0, n_passed: 0, n_failed: 0 }
}

fn tests(n: usize) -> String {
    if n == 1 { "1 test".to_owned() } else { format!("{n} tests") }
}

fn examples(before: Option<&BTreeSet<String>>, now: Option<&BTreeSet<String>>) -> String {
    let (Some(before), Some(now)) = (before, now) else { return String::new() };
    now.difference(before).next().map_or(String::new(), |name| format!(" (`{name}`)"))
}

/// Output as text without the sequences that colour it.
fn plain_text(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' => {
                if rest.next() == Some('[') {
                    // A sequence ends with a letter or a sign from `@` on.
                    rest.find(|c| matches!(c, '@'..='~'));
                }
            }
            '\r' => {}
            c => plain.push(c),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::sandbox::Protection;

    const BEFORE: &str =
        "FAILED tests/a.py::test_x - assert 1 == 2\n1 failed, 11 passed in 0.05s\n";

    fn outcome(output: &str, end: End) -> Outcome {
        read_outcome(&Execution {
            protection: Protection::Namespaces,
            end,
            output: output.as_bytes().to_vec(),
            interpreters: Interpreters::default(),
            seconds: 0.0,
        })
    }

    #[track_caller]
    fn check(before: (&str, i32), now: (&str, i32), expect: Expect) {
        let read = |(output, status)| outcome(output, End::Exited(status));
        let verdict = compare(&read(before), &read(now));
        expect.assert_eq(&format!("{:?}: {}", verdict.standing, verdict.words));
    }

    #[test]
    fn a_test_that_failed_and_passes_verifies() {
        check(
            (BEFORE, 1),
            ("12 passed in 0.05s\n", 0),
            expect!["Verified: verified: 12 tests pass, 1 that failed now passes"],
        );
        check(
            ("FAILED a::x - e\n1 failed in 1s\n", 1),
            ("1 passed in 1s\n", 0),
            expect!["Verified: verified: 1 test passes, 1 that failed now passes"],
        );
        check(
            ("FAILED a::x - e\nFAILED a::y - e\n2 failed, 10 passed in 1s\n", 1),
            ("FAILED a::y - e\n1 failed, 11 passed in 1s\n", 1),
            expect!["Verified: verified: 11 tests pass, 1 that failed now passes, 1 still fails"],
        );
    }

    #[test]
    fn what_breaks_or_hides_tests_does_not() {
        check(
            (BEFORE, 1),
            ("FAILED tests/a.py::test_y - e\n1 failed, 11 passed in 0.05s\n", 1),
            expect![
                "Broken: fails: 1 test that did not fail before now fails (`tests/a.py::test_y`)"
            ],
        );
        check(
            (BEFORE, 1),
            ("8 passed in 0.05s\n", 0),
            expect!["Broken: fails: 8 tests ran, 12 before"],
        );
        check(
            (BEFORE, 1),
            ("11 passed, 1 skipped in 0.05s\n", 0),
            expect!["Broken: fails: 11 tests ran, 12 before"],
        );
        check((BEFORE, 1), (BEFORE, 1), expect!["Unchanged: UNVERIFIED: 1 test still fails"]);
        check(
            (BEFORE, 1),
            ("12 passed in 0.05s\n", 3),
            expect![
                "NoResult: no result: no test failed, but the command ended with exit status 3"
            ],
        );
    }

    #[test]
    fn leaving_early_with_status_zero_is_no_result() {
        check(
            (BEFORE, 1),
            ("collected 12 items\n", 0),
            expect!["NoResult: no result: the test runner's summary is missing"],
        );
        check(
            (BEFORE, 1),
            ("", 0),
            expect!["NoResult: no result: the test runner's summary is missing"],
        );
        check(
            (BEFORE, 1),
            ("ERROR collecting a.py\nE   ImportError: no x\n1 error in 0.1s\n", 2),
            expect![
                "NoResult: no result: the tests cannot start: ERROR collecting a.py: ImportError: no x"
            ],
        );
    }

    #[test]
    fn a_runner_that_named_its_tests_must_name_those_that_are_mended() {
        let before = "test_x (a.T.test_x) ... ok\ntest_y (a.T.test_y) ... FAIL\nFAIL: test_y (a.T.test_y)\nRan 2 tests in 0.0s\n\nFAILED (failures=1)\n";
        check(
            (before, 1),
            ("Ran 2 tests in 0.0s\n\nOK\n", 0),
            expect![
                "NoResult: no result: fewer tests fail, but those that failed are not named among those that pass"
            ],
        );
        check(
            (before, 1),
            (
                "test_x (a.T.test_x) ... ok\ntest_y (a.T.test_y) ... noise\nok\nRan 2 tests in 0.0s\n\nOK\n",
                0,
            ),
            expect!["Verified: verified: 2 tests pass, 1 that failed now passes"],
        );
    }

    #[test]
    fn a_summary_counts_only_where_python_came_to_its_own_end() {
        let run = |output, status, started, ended| Outcome {
            interpreters: Interpreters { started, ended },
            ..outcome(output, End::Exited(status))
        };
        let standing = |before: (u32, u32), now: (u32, u32)| {
            let before = run(BEFORE, 1, before.0, before.1);
            compare(&before, &run("12 passed in 0.05s\n", 0, now.0, now.1)).standing
        };
        assert_eq!(standing((1, 1), (1, 1)), Standing::Verified);
        assert_eq!(standing((1, 1), (2, 2)), Standing::Verified);
        for forged in [(1, 0), (2, 1), (0, 0)] {
            assert_eq!(standing((1, 1), forged), Standing::NoResult, "{forged:?}");
        }
        // A runner that always leaves at once, and one that is not Python, cannot be judged so.
        assert_eq!(standing((1, 0), (1, 0)), Standing::Verified);
        assert_eq!(standing((0, 0), (0, 0)), Standing::Verified);
    }

    #[test]
    fn passing_before_and_now_is_a_regression_check_only() {
        check(
            ("12 passed in 0.05s\n", 0),
            ("12 passed in 0.09s\n", 0),
            expect!["Regression: UNVERIFIED: 12 tests pass, as before"],
        );
    }

    #[test]
    fn an_exit_status_alone_is_labelled() {
        check(
            ("boom", 1),
            ("fine", 0),
            expect![
                "StatusVerified: passes, by exit status alone: the command failed before and succeeds now"
            ],
        );
        check(
            ("fine", 0),
            ("boom", 1),
            expect!["Broken: fails: the command succeeded before and fails now"],
        );
        check(("boom", 1), ("boom", 1), expect!["Unchanged: UNVERIFIED: the command still fails"]);
    }

    #[test]
    fn a_run_that_was_stopped_ranks_last() {
        let baseline = outcome(BEFORE, End::Exited(1));
        let mut verdicts: Vec<Verdict> = [
            outcome("", End::TimedOut),
            outcome("12 passed in 1s\n", End::Exited(0)),
            outcome(BEFORE, End::Exited(1)),
            outcome("8 passed in 1s\n", End::Exited(0)),
            outcome("", End::Signalled(11)),
        ]
        .iter()
        .map(|candidate| compare(&baseline, candidate))
        .collect();
        verdicts.sort_by_key(Verdict::order);
        let words: Vec<&str> = verdicts.iter().map(|verdict| verdict.words.as_str()).collect();
        expect![[r#"
            verified: 12 tests pass, 1 that failed now passes
            UNVERIFIED: 1 test still fails
            fails: 8 tests ran, 12 before
            no result: stopped at the time limit
            no result: killed by signal 11"#]]
        .assert_eq(&words.join("\n"));
    }
}
