//! The rule by which a sampled test is kept: it fails on the unchanged code for the reason that
//! the issue names.
//!
//! The test is read first: it must be Python that can be parsed, define a test, and name something
//! that the repository defines; where the issue names such things, one of those. Then it runs on
//! the unchanged code. The runner's summary must say that tests failed, and each failure must be
//!
//! - an assertion of the test itself (`AssertionError`, or pytest's `Failed`), raised by a line of
//!   the test file and not by product code below it, or
//! - an exception that product code raises, whose class the issue's text says as a word of its
//!   own, or
//! - an exception that the test file itself raises, of which the issue says class and message; but
//!   for the classes that tell a slip of the writer (`NameError`, `ImportError`, `SyntaxError` and
//!   their like).
//!
//! Whatever happens while a test is imported, collected or set up (missing fixtures too), a
//! time-out, a crash and a pass are no reproduction.

use std::collections::BTreeSet;

use crate::index::definitions::Definitions;
use crate::index::outline::SymbolKind;
use crate::index::retrieval::words::identifiers;
use crate::index::{Index, outline_of, syntax_errors};
use crate::pipeline::reproduce::traceback::{Failure, read_failures};
use crate::repo::path::RepoPath;
use crate::repo::text::Text;
use crate::sandbox::verdict::{Outcome, Reading};

/// What a test is judged by before any candidate is there.
pub(super) struct Rule<'a> {
    pub(super) index: &'a Index,
    pub(super) issue: &'a str,
    /// What the repository defines.
    pub(super) definitions: &'a Definitions<'a>,
}

/// Classes of exceptions that tell a slip of whoever wrote the test.
const SLIPS: &[&str] = &[
    "NameError",
    "UnboundLocalError",
    "ImportError",
    "ModuleNotFoundError",
    "SyntaxError",
    "IndentationError",
    "TabError",
];

impl Rule<'_> {
    /// Why a test cannot be a reproduction, as far as can be seen without running it.
    pub(super) fn read(&self, path: &RepoPath, text: &str) -> Result<(), String> {
        let source = Text::from_content(text);
        if let Some(line) = syntax_errors(path, &source).first() {
            return Err(format!("it is no Python from line {line} on"));
        }
        let outline = outline_of(path, &source);
        let functions = outline.symbols.iter().filter(|s| s.kind == SymbolKind::Function);
        let mut names = functions.filter_map(|symbol| symbol.name.rsplit('.').next());
        if !names.any(|name| name.starts_with("test")) {
            return Err("it defines no test".to_owned());
        }
        // What is only imported is not used.
        let is_import = |number: usize| {
            outline
                .imports
                .iter()
                .any(|span| span.first as usize <= number && number <= span.last as usize)
        };
        let used = text.lines().enumerate().filter(|(idx, _)| !is_import(idx + 1));
        let used: String = used.flat_map(|(_, line)| [line, "\n"]).collect();
        let (said, named) =
            (self.definitions.names_in(self.issue), self.definitions.names_in(&used));
        if named.is_empty() {
            return Err("it names nothing that the repository defines".to_owned());
        }
        if !said.is_empty() && said.is_disjoint(&named) {
            let some: Vec<&str> = said.into_iter().take(3).collect();
            return Err(format!("it names nothing of what the issue names ({})", some.join(", ")));
        }
        Ok(())
    }

    /// How the test fails on the unchanged code, in one line; an error where that is not for the
    /// reason that the issue names.
    pub(super) fn judge(
        &self,
        path: &RepoPath,
        outcome: &Outcome,
        output: &str,
    ) -> Result<String, String> {
        let summary = match &outcome.reading {
            Reading::Tests(summary) => summary,
            Reading::CannotStart(why) => return Err(format!("it does not start: {why}")),
            Reading::NoResult(why) => return Err(format!("no result: {why}")),
            Reading::StatusOnly { .. } => return Err("its runner gives no summary".to_owned()),
        };
        if summary.failed == 0 {
            return Err("it does not fail on the unchanged code".to_owned());
        }
        let failures = read_failures(output);
        if failures.len() != summary.failed {
            return Err(format!(
                "{} failures were counted, {} are told",
                summary.failed,
                failures.len()
            ));
        }
        let mut told = Vec::new();
        for failure in &failures {
            self.judge_failure(path, failure)?;
            told.push(match failure.message.as_str() {
                "" => failure.exception.clone(),
                message => format!("{}: {message}", failure.exception),
            });
        }
        told.dedup();
        Ok(told.join("; "))
    }

    fn judge_failure(&self, path: &RepoPath, failure: &Failure) -> Result<(), String> {
        let Failure { test, exception, message, .. } = failure;
        if failure.is_before {
            let why = if message.is_empty() { "" } else { ": " };
            return Err(format!("it fails before it begins ({test}){why}{message}"));
        }
        if exception.is_empty() {
            return Err(format!("{test} fails without a traceback"));
        }
        let is_own = self.is_raised_by_test(path, failure);
        if is_own && matches!(exception.as_str(), "AssertionError" | "Failed") {
            return Ok(());
        }
        let is_said = self.said().contains(exception.as_str());
        let is_slip = SLIPS.contains(&exception.as_str()) || !self.tells(message);
        match (is_said, is_own) {
            (true, false) => Ok(()),
            (true, true) if !is_slip => Ok(()),
            (_, true) => Err(format!("it fails by a mistake of its own, {exception}: {message}")),
            (false, false) => Err(format!(
                "it fails with an exception that the issue does not name, {exception}: {message}"
            )),
        }
    }

    /// Whether no frame of the repository's other code stands below the test's last one.
    fn is_raised_by_test(&self, path: &RepoPath, failure: &Failure) -> bool {
        let is_at = |frame: &str, file: &str| {
            frame.strip_suffix(file).is_some_and(|rest| rest.is_empty() || rest.ends_with('/'))
        };
        let is_test = |frame: &str| is_at(frame, path.as_str());
        let Some(last) = failure.frames.iter().rposition(|frame| is_test(&frame.path)) else {
            return false;
        };
        let files = self.index.snapshot().files();
        let is_product = |frame: &str| {
            let is_library = frame.contains("/site-packages/") || frame.contains("/lib/python");
            !is_library && files.keys().any(|file| is_at(frame, file.as_str()))
        };
        !failure.frames[last + 1..].iter().any(|frame| is_product(&frame.path))
    }

    fn said(&self) -> BTreeSet<&str> {
        identifiers(self.issue).map(|(_, name)| name).collect()
    }

    /// Whether the issue says the message of an exception.
    fn tells(&self, message: &str) -> bool {
        !message.is_empty() && self.issue.contains(message)
    }

    /// What decides between tests with equal votes: how many numbers and quoted texts of the issue
    /// a test says as well, and one more where the issue says what it fails with (`words`).
    pub(super) fn evidence(&self, text: &str, words: &str) -> usize {
        let message = words.split_once(": ").map_or("", |(_, message)| message);
        let said = literals(self.issue).intersection(&literals(text)).count();
        said + usize::from(self.tells(message))
    }
}

/// Numbers of at least two digits, that are no part of a name or of `1h30m`, and texts in quotes.
fn literals(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_alphanumeric() && !matches!(c, '.' | '_'));
    let is_number =
        |word: &&str| 2 <= word.len() && word.chars().all(|c| c.is_ascii_digit() || c == '.');
    let numbers = words.map(|word| word.trim_matches('.')).filter(is_number);
    let quoted = ['"', '\'']
        .into_iter()
        .flat_map(|quote| text.lines().flat_map(move |line| line.split(quote).skip(1).step_by(2)));
    numbers.chain(quoted.filter(|text| 1 < text.len())).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::index::IndexOptions;
    use crate::repo::fixture::snapshot;
    use crate::sandbox::interpreter::Interpreters;
    use crate::sandbox::verdict::read_outcome;
    use crate::sandbox::{End, Execution, Protection};

    const ISSUE: &str = "`total` of 15 and 25 is wrong: I got KeyError: 'x' and wanted 40";

    fn with_rule<T>(check: impl FnOnce(&Rule<'_>, &RepoPath) -> T) -> T {
        let files = "//- /shop/cart.py\ndef total(x):\n    return x\ndef other(x):\n    return x\n";
        let index = Index::build(Arc::new(snapshot(files)), &IndexOptions::default()).unwrap();
        let definitions = Definitions::new(&index);
        let rule = Rule { index: &index, issue: ISSUE, definitions: &definitions };
        check(&rule, &RepoPath::parse("tests/test_reproduction_1.py").unwrap())
    }

    #[test]
    fn a_test_is_read_before_it_runs() {
        let rows = [
            ("from shop.cart import total\ndef test_x():\n    assert total(1) == 2\n", "fine"),
            ("def test_x(:\n    pass\n", "it is no Python from line 1 on"),
            ("from shop.cart import total\nassert total(1)\n", "it defines no test"),
            ("def test_x():\n    assert 1 == 2\n", "it names nothing that the repository defines"),
            (
                "from shop.cart import total\ndef test_x():\n    assert 1 == 2\n",
                "it names nothing that the repository defines",
            ),
            (
                "from shop.cart import other\ndef test_x():\n    assert other(1) == 2\n",
                "it names nothing of what the issue names (total)",
            ),
        ];
        for (text, expected) in rows {
            let outcome = with_rule(|rule, path| rule.read(path, text));
            assert_eq!(outcome.map_or_else(|why| why, |()| "fine".to_owned()), expected, "{text}");
        }
    }

    /// A run of unittest in which one test fails like this.
    fn failing(kind: &str, frames: &[&str], exception: &str) -> String {
        let frames: Vec<String> = frames
            .iter()
            .map(|path| format!("  File \"{path}\", line 3, in f\n    f()\n"))
            .collect();
        format!(
            "======\n{kind}: test_x (tests.test_reproduction_1.T.test_x)\n------\nTraceback (most recent call last):\n{}{exception}\n\n------\nRan 1 test in 0.001s\n\nFAILED (failures=1)\n",
            frames.concat()
        )
    }

    #[track_caller]
    fn check(output: &str, end: End, expected: &str) {
        let execution = Execution {
            protection: Protection::Namespaces,
            end,
            output: output.as_bytes().to_vec(),
            interpreters: Interpreters::default(),
            seconds: 0.0,
        };
        let outcome = read_outcome(&execution);
        let judged = with_rule(|rule, path| rule.judge(path, &outcome, output));
        let words = judged.map_or_else(|why| format!("no: {why}"), |how| format!("kept: {how}"));
        assert_eq!(words, expected);
    }

    #[test]
    fn a_test_is_kept_only_where_it_fails_for_the_reason_that_the_issue_names() {
        const TEST: &str = "/r/tests/test_reproduction_1.py";
        const PRODUCT: &str = "/r/shop/cart.py";
        const LIBRARY: &str = "/v/lib/python3.11/unittest/case.py";
        let exited = End::Exited(1);
        let rows: &[(&[&str], &str, &str)] = &[
            (&[TEST], "AssertionError: 15 != 40", "kept: AssertionError: 15 != 40"),
            (
                &[LIBRARY, TEST, LIBRARY],
                "AssertionError: 15 != 40",
                "kept: AssertionError: 15 != 40",
            ),
            (&[TEST, PRODUCT], "KeyError: 'x'", "kept: KeyError: 'x'"),
            (
                &[TEST, PRODUCT],
                "AssertionError: x",
                "no: it fails with an exception that the issue does not name, AssertionError: x",
            ),
            (
                &[TEST, PRODUCT],
                "TypeError: total() missing 1 argument",
                "no: it fails with an exception that the issue does not name, TypeError: total() missing 1 argument",
            ),
            (&[TEST], "KeyError: 'x'", "kept: KeyError: 'x'"),
            (&[TEST], "KeyError: 'y'", "no: it fails by a mistake of its own, KeyError: 'y'"),
            (
                &[TEST],
                "NameError: name 'totl' is not defined",
                "no: it fails by a mistake of its own, NameError: name 'totl' is not defined",
            ),
        ];
        for (frames, exception, expected) in rows {
            check(&failing("FAIL", frames, exception), exited, expected);
        }
        check(
            "Ran 1 test in 0.1s\n\nOK\n",
            End::Exited(0),
            "no: it does not fail on the unchanged code",
        );
        check("", End::TimedOut, "no: no result: stopped at the time limit");
        check("Ran 0 tests in 0.1s\n\nOK\n", End::Exited(5), "no: it does not start: no tests ran");
        check(
            "____ ERROR at setup of test_x ____\nE  fixture 'db' not found\nERROR tests/test_reproduction_1.py::test_x\n1 error in 0.01s\n",
            exited,
            "no: it fails before it begins (ERROR at setup of test_x)",
        );
    }

    #[test]
    fn what_test_and_issue_both_say_is_evidence() {
        let evidence = |text: &str, words: &str| with_rule(|rule, _| rule.evidence(text, words));
        assert_eq!(evidence("assert total([15, 25]) == 40", "AssertionError: 1 != 2"), 3);
        assert_eq!(evidence("assert total([1, 2]) == 3", "KeyError: 'x'"), 1);
        assert_eq!(evidence("assert total([1, 2]) == 3", "AssertionError"), 0);
        assert_eq!(evidence("assert total('15m') == 3", "AssertionError"), 0);
    }
}
