//! What a test command's output says of each test, read as SWE-bench reads it.

use std::collections::BTreeMap;

use crate::pipeline::verify::recipe::LogFormat;
use crate::run::verdict_row::TestsRow;
use crate::sandbox::End;

/// How a test ended; the worse ones are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    Passed,
    /// It failed, as it was expected to.
    ExpectedFailure,
    Skipped,
    Error,
    Failed,
}

const STATUSES: [(&str, Status); 5] = [
    ("PASSED", Status::Passed),
    ("XFAIL", Status::ExpectedFailure),
    ("SKIPPED", Status::Skipped),
    ("ERROR", Status::Error),
    ("FAILED", Status::Failed),
];

/// The tests of one run of a test command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestLog {
    format: LogFormat,
    tests: BTreeMap<String, Status>,
}

/// Which tests count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demand {
    /// Passed: these are to be mended.
    Passes,
    /// Passed or skipped: these are not to be broken.
    IsKept,
}

impl TestLog {
    /// Reads an output.
    ///
    /// # Errors
    ///
    /// The command did not come to its end, ran no test, or ended with a failure that no test
    /// accounts for: then its lines prove nothing.
    pub fn read(output: &str, end: End, format: LogFormat) -> Result<Self, String> {
        let End::Exited(code) = end else { return Err(end.to_string()) };
        let log = Self::parse(output, format);
        let lines = output.lines().rev().map(str::trim).filter(|line| !line.is_empty());
        let last = || lines.clone().next().unwrap_or("no output").to_owned();
        if log.tests.is_empty() {
            return Err(format!("no test ran ({end}): {}", last()));
        }
        let has_failure = log.tests.values().any(|status| Status::Error <= *status);
        if code != 0 && !has_failure {
            return Err(format!("no test failed, but the command did ({end}): {}", last()));
        }
        Ok(log)
    }

    /// The log of a command that ran no test.
    pub fn empty() -> Self {
        Self { format: LogFormat::default(), tests: BTreeMap::new() }
    }

    fn parse(output: &str, format: LogFormat) -> Self {
        let mut tests = BTreeMap::new();
        for line in output.lines() {
            let Some((word, status)) = STATUSES.iter().find(|(word, _)| line.starts_with(word))
            else {
                continue;
            };
            let mut words = line.split_whitespace();
            let (Some(first), Some(name)) = (words.next(), words.next()) else { continue };
            // `SKIPPED [3] tests/a.py:7: why` names no test.
            let is_count = name.starts_with('[') && *status == Status::Skipped;
            if first != *word || is_count {
                continue;
            }
            let name = format.name_of(name);
            // Names are cut at blanks, so several tests may share one: the worst counts.
            let known = tests.entry(name).or_insert(*status);
            *known = (*known).max(*status);
        }
        Self { format, tests }
    }

    /// Whether a test meets a demand; one that did not run does not.
    fn meets(&self, name: &str, demand: Demand) -> bool {
        let is_met = |status: &Status| match demand {
            Demand::Passes => *status <= Status::ExpectedFailure,
            Demand::IsKept => *status <= Status::Skipped,
        };
        let name = self.format.name_of(name);
        if let Some(status) = self.tests.get(&name) {
            return is_met(status);
        }
        // Records cut some names inside of their brackets: tests that begin so stand for them, if
        // they agree.
        let is_cut = name.matches(']').count() < name.matches('[').count();
        let begins = || self.tests.iter().filter(|(known, _)| known.starts_with(&name));
        is_cut && begins().next().is_some() && begins().all(|(_, status)| is_met(status))
    }

    /// How many of these tests meet a demand, and which do not.
    pub fn count(&self, names: &[String], demand: Demand) -> (TestsRow, Vec<String>) {
        let missed: Vec<String> =
            names.iter().filter(|name| !self.meets(name, demand)).cloned().collect();
        (TestsRow { passed: names.len() - missed.len(), expected: names.len() }, missed)
    }
}

impl LogFormat {
    /// A test's name without what depends on the machine, of a record or of an output.
    fn name_of(self, name: &str) -> String {
        match self {
            Self::Pytest => name.to_owned(),
            Self::PytestOptions => shorten_option(name),
        }
    }
}

/// `a.py::t[/long/way/file.txt]` as `a.py::t[/file.txt]`.
fn shorten_option(name: &str) -> String {
    let Some((main, rest)) = name.split_once('[') else { return name.to_owned() };
    let Some((option, _)) = rest.rsplit_once(']') else { return name.to_owned() };
    let is_path = option.starts_with('/') && !option.starts_with("//") && !option.contains('*');
    match option.rsplit_once('/').filter(|_| is_path) {
        Some((_, last)) => format!("{main}[/{last}]"),
        None => format!("{main}[{option}]"),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[track_caller]
    fn check(output: &str, code: i32, format: LogFormat, expect: Expect) {
        expect.assert_eq(&match TestLog::read(output, End::Exited(code), format) {
            Ok(log) => {
                log.tests.iter().map(|(name, status)| format!("{name} {status:?}\n")).collect()
            }
            Err(why) => format!("{why}\n"),
        });
    }

    const SUMMARY: &str = "\
collected 6 items
PASSED a.py::test_x
PASSED a.py::test_y[1 - 2]
XFAIL a.py::test_z - later
SKIPPED [2] a.py:7: no network
ERROR a.py::test_x - at teardown
FAILED a.py::test_w[/a/b/c.txt] - assert 0
FAILED
PASSEDLY said
2 passed in 0.1s
";

    #[test]
    fn the_summary_of_pytest() {
        check(
            SUMMARY,
            1,
            LogFormat::Pytest,
            expect![[r"
            a.py::test_w[/a/b/c.txt] Failed
            a.py::test_x Error
            a.py::test_y[1 Passed
            a.py::test_z ExpectedFailure
        "]],
        );
        check(
            "PASSED a.py::t[/a/b/c.txt]\nPASSED a.py::t[//a/b]\nPASSED a.py::t[/a/*]\nPASSED a.py::t[1\n",
            0,
            LogFormat::PytestOptions,
            expect![[r#"
                a.py::t[//a/b] Passed
                a.py::t[/a/*] Passed
                a.py::t[/c.txt] Passed
                a.py::t[1 Passed
            "#]],
        );
    }

    #[test]
    fn lines_of_a_command_that_went_wrong_prove_nothing() {
        check(
            "PASSED a.py::test_x\n1 passed in 0.1s\nsegmentation fault\n",
            3,
            LogFormat::Pytest,
            expect![[r"
                no test failed, but the command did (exit status 3): segmentation fault
            "]],
        );
        check(
            "ERROR: file or directory not found: b.py\n",
            4,
            LogFormat::Pytest,
            expect![[r"
                no test ran (exit status 4): ERROR: file or directory not found: b.py
            "]],
        );
        for end in [End::TimedOut, End::TooMuchOutput, End::Signalled(9), End::TooMuchMemory] {
            assert!(TestLog::read(SUMMARY, end, LogFormat::Pytest).is_err());
        }
    }

    #[test]
    fn a_skipped_test_is_kept_but_not_mended() {
        let log = TestLog::parse("SKIPPED a.py::t\nPASSED a.py::u[x\n", LogFormat::Pytest);
        let count = |name: &str, demand| log.count(&[name.to_owned()], demand).0.passed;
        assert_eq!(count("a.py::t", Demand::IsKept), 1);
        assert_eq!(count("a.py::t", Demand::Passes), 0);
        assert_eq!(count("a.py::gone", Demand::IsKept), 0);
    }

    #[test]
    fn a_path_of_the_records_makers_is_the_same_file_here() {
        let log = TestLog::parse("PASSED a.py::t[/here/c.dcm-x]\n", LogFormat::PytestOptions);
        let names = ["a.py::t[/there/far/c.dcm-x]".to_owned(), "a.py::t[/d.dcm-x]".to_owned()];
        assert_eq!(log.count(&names, Demand::Passes).1, names[1..]);
    }

    #[test]
    fn a_cut_name_stands_for_all_that_begin_so() {
        let log = TestLog::parse(
            "PASSED a.py::t[x-1]\nPASSED a.py::t[x-2]\nPASSED a.py::t[y-1]\nFAILED a.py::t[y-2]\n",
            LogFormat::Pytest,
        );
        let passes = |name: &str| log.count(&[name.to_owned()], Demand::Passes).0.passed == 1;
        assert!(passes("a.py::t[x"));
        assert!(!passes("a.py::t[y"));
        assert!(!passes("a.py::t[z"));
        assert!(!passes("a.py::t"));
    }
}
