//! The summaries that test runners print.

mod cargo;
mod go;
mod javascript;
mod obstacle;
mod pytest;
mod unittest;

use std::collections::BTreeSet;

use serde::Serialize;

/// What a runner says about its tests.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Summary {
    pub runner: &'static str,
    pub passed: usize,
    /// Failures and errors.
    pub failed: usize,
    pub skipped: usize,
    /// The names of all that failed; `None` where not all are listed.
    pub failing: Option<BTreeSet<String>>,
    /// The names of all that passed; `None` where not all are listed.
    pub passing: Option<BTreeSet<String>>,
    /// The names that are listed among those that passed, all or not.
    pub listed: BTreeSet<String>,
}

impl Summary {
    /// A summary from counts, with the listed names where the lists are complete.
    fn new(
        runner: &'static str,
        (passed, failed, skipped): (usize, usize, usize),
        failing: BTreeSet<String>,
        passing: BTreeSet<String>,
    ) -> Self {
        let complete = |names: BTreeSet<String>, n: usize| (names.len() == n).then_some(names);
        Self {
            runner,
            passed,
            failed,
            skipped,
            failing: complete(failing, failed),
            listed: passing.clone(),
            passing: complete(passing, passed),
        }
    }
}

/// What a known runner printed: a summary, or the reason why it ran no test.
pub fn read_summary(output: &str) -> Option<Result<Summary, String>> {
    let readers = [pytest::read, unittest::read, cargo::read, go::read, javascript::read];
    readers.iter().find_map(|read| read(output))
}

/// Why a command that failed ran no test: its runner, or what it was to run, is not there.
pub fn find_obstacle(output: &str) -> Option<&str> {
    obstacle::find(output)
}

/// The number in front of a word, as in `3 passed`.
fn count_before(text: &str, word: &str) -> usize {
    let words: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || ",;|".contains(c))
        .filter(|word| !word.is_empty())
        .collect();
    let pairs = words.windows(2).filter(|pair| pair[1] == word);
    pairs.filter_map(|pair| pair[0].parse::<usize>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[track_caller]
    fn check(output: &str, expect: Expect) {
        let text = match read_summary(output) {
            None => "unknown".to_owned(),
            Some(Err(reason)) => format!("cannot start: {reason}"),
            Some(Ok(summary)) => format!(
                "{}: {} passed, {} failed, {} skipped; failing {:?}; passing {:?}",
                summary.runner,
                summary.passed,
                summary.failed,
                summary.skipped,
                summary.failing,
                summary.passing
            ),
        };
        expect.assert_eq(&text);
    }

    #[test]
    fn pytest_summaries() {
        check(
            "....\n4 passed in 0.12s\n",
            expect!["pytest: 4 passed, 0 failed, 0 skipped; failing Some({}); passing None"],
        );
        check(
            "=== short test summary info ===\nFAILED a.py::T::test_x[1 - 2] - assert 0\nERROR a.py::test_y - ValueError\n= 1 failed, 2 passed, 1 skipped, 1 xfailed, 3 warnings, 1 error in 61.20s (0:01:01) =\n",
            expect![[
                r#"pytest: 2 passed, 2 failed, 2 skipped; failing Some({"a.py::T::test_x[1", "a.py::test_y"}); passing None"#
            ]],
        );
        check(
            "a.py::test_x PASSED   [ 50%]\na.py::test_y FAILED  [100%]\nFAILED a.py::test_y - x\n==== 1 failed, 1 passed in 0.01s ====\n",
            expect![[
                r#"pytest: 1 passed, 1 failed, 0 skipped; failing Some({"a.py::test_y"}); passing Some({"a.py::test_x"})"#
            ]],
        );
        check(
            "PASSED a.py::test_x\nPASSED a.py::test_y\n2 passed in 0.01s\n",
            expect![[
                r#"pytest: 2 passed, 0 failed, 0 skipped; failing Some({}); passing Some({"a.py::test_x", "a.py::test_y"})"#
            ]],
        );
        check("I said 3 passed in class\n", expect!["unknown"]);
    }

    #[test]
    fn pytest_that_cannot_start() {
        check(
            "ERROR collecting tests/a.py\nE   ModuleNotFoundError: No module named 'numpy'\n!!!! Interrupted: 1 error during collection !!!!\n= 1 error in 0.10s =\n",
            expect![
                "cannot start: ERROR collecting tests/a.py: ModuleNotFoundError: No module named 'numpy'"
            ],
        );
        check(
            "ImportError while loading conftest '/r/conftest.py'.\nconftest.py:1: in <module>\nE   ImportError: cannot import name 'x'\n",
            expect![
                "cannot start: ImportError while loading conftest '/r/conftest.py'. ImportError: cannot import name 'x'"
            ],
        );
        check(
            "ERROR: file or directory not found: tests/b.py\n\nno tests ran in 0.00s\n",
            expect!["cannot start: ERROR: file or directory not found: tests/b.py"],
        );
        check(
            "/usr/bin/python3: No module named pytest\n",
            expect!["cannot start: /usr/bin/python3: No module named pytest"],
        );
    }

    #[test]
    fn unittest_summaries() {
        check(
            "...\n----\nRan 3 tests in 0.001s\n\nOK (skipped=1)\n",
            expect!["unittest: 2 passed, 0 failed, 1 skipped; failing Some({}); passing None"],
        );
        check(
            "F.E\n====\nFAIL: test_x (tests.a.T.test_x)\n----\nERROR: test_y (tests.a.T.test_y)\n----\nRan 3 tests in 0.001s\n\nFAILED (failures=1, errors=1)\n",
            expect![[
                r#"unittest: 1 passed, 2 failed, 0 skipped; failing Some({"test_x (tests.a.T.test_x)", "test_y (tests.a.T.test_y)"}); passing None"#
            ]],
        );
        check(
            "test_x (a.T.test_x) ... ok\ntest_y (a.T.test_y) ... FAIL\n\nFAIL: test_y (a.T.test_y)\nRan 2 tests in 0.0s\n\nFAILED (failures=1)\n",
            expect![[
                r#"unittest: 1 passed, 1 failed, 0 skipped; failing Some({"test_y (a.T.test_y)"}); passing Some({"test_x (a.T.test_x)"})"#
            ]],
        );
        check(
            "ERROR: tests.test_a (unittest.loader._FailedTest.tests.test_a)\nImportError: Failed to import test module: tests.test_a\nModuleNotFoundError: No module named 'yaml'\nRan 1 test in 0.000s\n\nFAILED (errors=1)\n",
            expect!["cannot start: ModuleNotFoundError: No module named 'yaml'"],
        );
        check("Ran 0 tests in 0.000s\n\nNO TESTS RAN\n", expect!["cannot start: no tests ran"]);
    }

    #[test]
    fn cargo_summaries() {
        check(
            "running 2 tests\ntest a::x ... ok\ntest a::y ... FAILED\n\ntest result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\nrunning 1 test\ntest it ... ok\ntest result: ok. 1 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out\n",
            expect![[
                r#"cargo test: 2 passed, 1 failed, 2 skipped; failing Some({"a::y"}); passing Some({"a::x", "it"})"#
            ]],
        );
        check(
            "error[E0425]: cannot find value `x` in this scope\nerror: could not compile `a` (lib test) due to 1 previous error\n",
            expect!["cannot start: error[E0425]: cannot find value `x` in this scope"],
        );
    }

    #[test]
    fn go_summaries() {
        check(
            "=== RUN   TestA\n--- PASS: TestA (0.00s)\n=== RUN   TestB\n--- FAIL: TestB (0.00s)\n--- SKIP: TestC (0.00s)\nFAIL\nFAIL\texample.com/p\t0.01s\n",
            expect![[
                r#"go test: 1 passed, 1 failed, 1 skipped; failing Some({"TestB"}); passing Some({"TestA"})"#
            ]],
        );
        check(
            "ok  \texample.com/a\t0.01s\n--- FAIL: TestB (0.00s)\nFAIL\nFAIL\texample.com/b\t0.01s\n?   \texample.com/c\t[no test files]\nFAIL\n",
            expect![[
                r#"go test: 1 passed, 1 failed, 0 skipped; failing Some({"example.com/b"}); passing Some({"example.com/a"})"#
            ]],
        );
        check(
            "# example.com/a\n./a.go:3:2: undefined: x\nFAIL\texample.com/a [build failed]\nFAIL\n",
            expect!["cannot start: example.com/a [build failed]"],
        );
    }

    #[test]
    fn what_keeps_a_command_from_starting_is_told_from_what_a_test_says() {
        for (output, is_obstacle) in [
            ("error: could not find `Cargo.toml` in `/r` or any parent directory\n", true),
            ("make: *** No rule to make target 'test'.  Stop.\n", true),
            ("make: *** No targets specified and no makefile found.  Stop.\n", true),
            ("make: t.sh: No such file\nmake: *** [Makefile:2: test] Error 127\n", true),
            ("make: *** [Makefile:2: test] Error 1\n", false),
            ("/usr/bin/python3: can't open file '/r/t.py': [Errno 2] No such file\n", true),
            ("/usr/bin/python3: No module named nosuchmod\n", true),
            (
                "python3.11: Error while finding module specification for 'a.b' (ModuleNotFoundError: No module named 'a')\n",
                true,
            ),
            ("Traceback (most recent call last):\nImportError: No module named x\n", false),
            ("npm error code ENOENT\nnpm error enoent Could not read package.json: Error\n", true),
            ("npm ERR! Missing script: \"test\"\n", true),
            ("npm error code ELIFECYCLE\n", false),
            ("node:internal\n  throw err;\nError: Cannot find module '/r/run.js'\n", true),
            ("go: go.mod file not found in current directory or any parent directory\n", true),
            ("pattern ./...: directory prefix . does not contain main module\n", true),
            ("sh: 0: cannot open t.sh: No such file\n", true),
            ("[ERROR] The goal requires a project but there is no POM in this directory\n", true),
            ("boom\n", false),
            (("test\n".repeat(30) + "go: go.mod file not found\n").as_str(), false),
        ] {
            assert_eq!(find_obstacle(output).is_some(), is_obstacle, "{output}");
        }
    }

    #[test]
    fn javascript_summaries() {
        check(
            "Tests:       1 failed, 2 skipped, 11 passed, 14 total\n",
            expect!["jest: 11 passed, 1 failed, 2 skipped; failing None; passing None"],
        );
        check(
            " Test Files  1 failed (1)\n      Tests  1 failed | 11 passed (12)\n",
            expect!["vitest: 11 passed, 1 failed, 0 skipped; failing None; passing None"],
        );
        check(
            "  12 passing (10ms)\n  1 pending\n  1 failing\n\n  1) suite adds:\n",
            expect!["mocha: 12 passed, 1 failed, 1 skipped; failing None; passing None"],
        );
    }
}
