//! The failures that pytest (`--tb=native`) and unittest print, as exceptions with their frames.

use crate::index::retrieval::frames::{Frame, parse_frame};

/// Why one test failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// The test, as the runner heads it.
    pub(super) test: String,
    /// The exception's class, without its module.
    pub(super) exception: String,
    /// The first line of its message.
    pub(super) message: String,
    /// The outermost first.
    pub(super) frames: Vec<Frame>,
    /// Whether it happened before the test itself: setting up, importing, collecting.
    pub(super) is_before: bool,
}

/// Reads the failures of a run; a section without a traceback has no exception.
pub(super) fn read_failures(output: &str) -> Vec<Failure> {
    let mut failures: Vec<Failure> = Vec::new();
    let mut lines = output.lines().peekable();
    while let Some(line) = lines.next() {
        if line.contains("short test summary info") {
            break;
        }
        if let Some(head) = parse_head(line) {
            failures.push(Failure {
                is_before: head.starts_with("ERROR at ")
                    || head.starts_with("ERROR collecting")
                    || head.contains("_FailedTest")
                    || head.starts_with("setUp")
                    || head.starts_with("tearDown"),
                test: head.to_owned(),
                exception: String::new(),
                message: String::new(),
                frames: Vec::new(),
            });
            continue;
        }
        let Some(failure) = failures.last_mut() else { continue };
        if line.trim_end() != "Traceback (most recent call last):" {
            continue;
        }
        // Of a chain, the last exception is the one that was raised.
        failure.frames.clear();
        for line in lines.by_ref() {
            if let Some(frame) = parse_frame(line).filter(|_| line.starts_with("  File \"")) {
                failure.frames.push(frame);
            } else if !line.starts_with(' ') && !line.trim().is_empty() {
                let (class, message) = line.split_once(": ").unwrap_or((line, ""));
                let class = class.trim_end_matches(':').rsplit('.').next().unwrap_or(class);
                class.clone_into(&mut failure.exception);
                message.trim().clone_into(&mut failure.message);
                break;
            }
        }
    }
    failures
}

/// The test whose failure a line begins: `____ T.test_x ____`, `FAIL: test_x (a.T.test_x)`.
fn parse_head(line: &str) -> Option<&str> {
    if let Some(name) = line.strip_prefix("FAIL: ").or_else(|| line.strip_prefix("ERROR: ")) {
        return Some(name.trim());
    }
    let name = line.strip_prefix('_')?.strip_suffix('_')?.trim_matches('_');
    name.strip_prefix(' ')?.strip_suffix(' ')
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[track_caller]
    fn check(output: &str, expect: Expect) {
        let lines: Vec<String> = read_failures(output)
            .iter()
            .map(|failure| {
                let frames: Vec<&str> = failure.frames.iter().map(|f| f.path.as_str()).collect();
                format!(
                    "{} | {} | {} | {frames:?}{}",
                    failure.test,
                    failure.exception,
                    failure.message,
                    if failure.is_before { " | before" } else { "" }
                )
            })
            .collect();
        expect.assert_eq(&lines.join("\n"));
    }

    #[test]
    fn failures_of_unittest() {
        check(
            "EF\n======\nERROR: test_n (test_s.T.test_n)\n------\nTraceback (most recent call last):\n  File \"/r/test_s.py\", line 12, in test_n\n    undefined_name\n    ^^^^^\nNameError: name 'undefined_name' is not defined\n\n======\nFAIL: test_s (test_s.T.test_s) (i=1)\na doc line\n------\nTraceback (most recent call last):\n  File \"/r/test_s.py\", line 10, in test_s\n    self.assertEqual(i, 3)\nAssertionError: 1 != 3 : more\n\n------\nRan 2 tests in 0.000s\n\nFAILED (failures=1, errors=1)\n",
            expect![[r#"
                test_n (test_s.T.test_n) | NameError | name 'undefined_name' is not defined | ["/r/test_s.py"]
                test_s (test_s.T.test_s) (i=1) | AssertionError | 1 != 3 : more | ["/r/test_s.py"]"#]],
        );
        check(
            "ERROR: test_r (unittest.loader._FailedTest.test_r)\n------\nImportError: Failed to import test module: test_r\nTraceback (most recent call last):\n  File \"/r/test_r.py\", line 1, in <module>\n    import yaml\nModuleNotFoundError: No module named 'yaml'\n",
            expect![[
                r#"test_r (unittest.loader._FailedTest.test_r) | ModuleNotFoundError | No module named 'yaml' | ["/r/test_r.py"] | before"#
            ]],
        );
    }

    #[test]
    fn failures_of_pytest() {
        check(
            "=== ERRORS ===\n_____ ERROR at setup of test_d _____\nfile /r/test_r.py, line 10\nE       fixture 'nofix' not found\n=== FAILURES ===\n____ T.test_e ____\nTraceback (most recent call last):\n  File \"/r/lib.py\", line 2, in f\n    return x.missing\nAttributeError: 'int' object\n\nThe above exception was the direct cause of the following exception:\n\nTraceback (most recent call last):\n  File \"/v/site-packages/_pytest/runner.py\", line 361, in from_call\n    result = func()\n  File \"/r/test_r.py\", line 16, in test_e\n    raise ValueError(\"bad\") from e\nshop.errors.ValueError: bad\n=== short test summary info ===\nFAILED test_r.py::T::test_e - ValueError: bad\nERROR test_r.py::test_d\n",
            expect![[r#"
                ERROR at setup of test_d |  |  | [] | before
                T.test_e | ValueError | bad | ["/v/site-packages/_pytest/runner.py", "/r/test_r.py"]"#]],
        );
    }
}
