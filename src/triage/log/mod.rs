//! Failing test and build logs: which failures they tell, and where those point.

pub mod findings;
#[cfg(test)]
pub(crate) mod fixture;
mod lines;
mod place;
mod suspects;

use std::collections::VecDeque;
use std::io::BufRead;

use crate::index::retrieval::frames::Frame;
use crate::triage::log::lines::for_each_line;
use crate::triage::log::place::{parse_function_above, parse_place};

/// Failures that are kept: so many first ones, and so many last ones.
const MOST_FIRST: usize = 40;
const MOST_LAST: usize = 40;
/// Frames of a failure that are kept at either end: endless recursion prints thousands.
const MOST_FRAMES: usize = 40;
/// Messages and lines of code of a failure.
const MOST_WORDS: usize = 24;
/// Lines from the end of a log that tells no failure.
const TAIL_LINES: usize = 200;

/// A log, read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Log {
    /// In the order of the log; of very many those in the middle are left out.
    pub failures: Vec<Failure>,
    /// Failures that were left out.
    pub n_left_out: usize,
    /// The last lines, which are all there is where no failure is told.
    pub tail: Vec<String>,
    pub n_bytes: u64,
}

/// One thing that failed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Failure {
    /// The heading that it stands under; empty where there is none.
    pub title: String,
    /// In the order of the log.
    pub frames: Vec<Frame>,
    /// What is said of it.
    pub messages: Vec<String>,
    /// Lines of code that the log quotes.
    pub code: Vec<String>,
}

impl Log {
    /// Reads a log of any size in bounded memory.
    pub fn read(source: impl BufRead) -> std::io::Result<Self> {
        let mut reader = Reader::default();
        let n_bytes = for_each_line(source, |line| reader.read(line))?;
        reader.close();
        let mut failures = reader.first;
        failures.extend(reader.last);
        Ok(Self { failures, n_left_out: reader.n_left_out, tail: reader.tail.into(), n_bytes })
    }
}

#[derive(Default)]
struct Reader {
    open: Failure,
    first: Vec<Failure>,
    last: VecDeque<Failure>,
    n_left_out: usize,
    tail: VecDeque<String>,
    /// The function that the line before named.
    above: Option<String>,
    /// Whether the line before was a frame, so that this one may quote its code.
    was_frame: bool,
    /// Whether this is a part of the log that tells warnings, which name places too.
    in_warnings: bool,
}

impl Reader {
    fn read(&mut self, line: &str) {
        if line.is_empty() {
            return;
        }
        if self.tail.len() == TAIL_LINES {
            self.tail.pop_front();
        }
        self.tail.push_back(line.to_owned());
        if line.starts_with("===") {
            self.in_warnings = line.contains("warnings summary");
            self.close();
        }
        if self.in_warnings {
            return;
        }
        let above = self.above.take();
        let was_frame = std::mem::take(&mut self.was_frame);
        if let Some(title) = parse_heading(line) {
            self.close();
            title.clone_into(&mut self.open.title);
        }
        if let Some(mut frame) = parse_place(line) {
            if frame.function.is_none() {
                frame.function = above;
            }
            self.add_frame(frame);
            self.was_frame = true;
            // A diagnostic tells on one line where and what.
            if is_message(line) {
                keep(&mut self.open.messages, line);
            }
            return;
        }
        self.above = parse_function_above(line);
        if let Some(code) = quoted_code(line, was_frame) {
            keep(&mut self.open.code, code);
        } else if is_message(line) {
            keep(&mut self.open.messages, line);
        }
    }

    fn add_frame(&mut self, frame: Frame) {
        let frames = &mut self.open.frames;
        if frames.last() == Some(&frame) {
            return;
        }
        if frames.len() == 2 * MOST_FRAMES {
            frames.remove(MOST_FRAMES);
        }
        frames.push(frame);
    }

    /// Ends the failure that is open, if it says anything.
    fn close(&mut self) {
        let failure = std::mem::take(&mut self.open);
        if failure.frames.is_empty() && failure.messages.is_empty() {
            return;
        }
        if self.first.len() < MOST_FIRST {
            self.first.push(failure);
            return;
        }
        if self.last.len() == MOST_LAST {
            self.last.pop_front();
            self.n_left_out += 1;
        }
        self.last.push_back(failure);
    }
}

fn keep(lines: &mut Vec<String>, line: &str) {
    if lines.len() < MOST_WORDS {
        lines.push(line.trim().to_owned());
    }
}

/// The title of a failure, where a line begins one.
fn parse_heading(line: &str) -> Option<&str> {
    // pytest: `____ test_total ____`; `_ _ _` divides the frames of one.
    if let Some(inner) = line.strip_prefix("___") {
        let title = inner.trim_matches(['_', ' ']);
        return (!title.is_empty()).then_some(title);
    }
    // cargo test: `---- tests::total stdout ----`; unittest: `FAIL: test_total (tests.Case)`;
    // go test: `--- FAIL: TestTotal (0.00s)`.
    if let Some(inner) = line.strip_prefix("---- ") {
        return inner.strip_suffix(" ----").map(|title| title.trim_end_matches(" stdout"));
    }
    let bare = line.trim_start();
    for start in ["FAIL: ", "ERROR: ", "--- FAIL: ", "● ", "✕ ", "not ok ", "[  FAILED  ] "] {
        if let Some(title) = bare.strip_prefix(start) {
            return Some(title);
        }
    }
    for start in
        ["Traceback (most recent call last)", "Exception in thread ", "panic: ", "thread '"]
    {
        if bare.starts_with(start) {
            return Some(bare);
        }
    }
    // rustc: `error[E0425]: …`; mocha, RSpec, PHPUnit and minitest: `1) Cart total`.
    if bare.starts_with("error[") || bare.starts_with("error: ") || bare.starts_with("warning: ") {
        return Some(bare);
    }
    let (number, title) = bare.split_once(") ")?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then_some(title)
}

/// The code that a line quotes: behind `>` (pytest), behind `> 12 |` (jest), or, right behind a
/// frame, an indented line (Python).
fn quoted_code(line: &str, was_frame: bool) -> Option<&str> {
    if let Some(code) = line.trim_start().strip_prefix("> ") {
        return Some(code.split_once(" | ").map_or(code, |(_, code)| code));
    }
    (was_frame && line.starts_with("    ")).then_some(line)
}

/// Whether a line says what went wrong.
fn is_message(line: &str) -> bool {
    const SAYS: &[&str] = &[
        "Error",
        "Exception",
        "error:",
        "error[",
        "panicked",
        "panic:",
        "ssertion",
        "Expected",
        "expected",
        "Received",
        "left:",
        "right:",
        "got ",
        "want",
        "undefined",
        "Failure",
    ];
    line.starts_with("E  ") || SAYS.iter().any(|word| line.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Log {
        Log::read(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_failure_of_pytest_has_its_frames_code_and_message() {
        let log = read(
            "collected 2 items\n\
             ____________ test_total ____________\n\n    \
             def test_total():\n>       assert total([1]) == 2\nE       assert 1 == 2\n\n\
             tests/test_cart.py:5: AssertionError\n\
             ____________ test_tax ____________\n\
             tests/test_cart.py:9: in test_tax\n    tax(None)\n\
             src/cart.py:12: in tax\n    return x.y\n\
             E   AttributeError: 'NoneType' object has no attribute 'y'\n",
        );
        let failures: Vec<(&str, usize)> =
            log.failures.iter().map(|f| (f.title.as_str(), f.frames.len())).collect();
        assert_eq!(failures, [("test_total", 1), ("test_tax", 2)]);
        assert_eq!(log.failures[0].code, ["assert total([1]) == 2"]);
        assert_eq!(log.failures[1].code, ["tax(None)", "return x.y"]);
        assert!(log.failures[1].messages[0].contains("AttributeError"));
    }

    #[test]
    fn functions_stand_above_the_places_of_rust_and_go() {
        let log = read(
            "thread 'tests::a' panicked at src/lib.rs:3:5:\nstack backtrace:\n   \
             1: shop::cart::total\n             at ./src/cart.rs:9:5\n",
        );
        let frames = &log.failures[0].frames;
        assert_eq!(frames[1].function.as_deref(), Some("cart.total"));
        let log = read(
            "panic: boom\n\ngoroutine 1 [running]:\nmain.(*Cart).Total(0x1)\n\t/w/cart.go:9 +0x1d\n",
        );
        assert_eq!(log.failures[0].frames[0].function.as_deref(), Some("Cart.Total"));
    }

    #[test]
    fn warnings_are_no_failures() {
        let log = read(
            "====== warnings summary ======\nsrc/a.py:17\n  /w/src/a.py:17: DeprecationWarning: old\n\
             ====== short test summary info ======\nFAILED tests/test_a.py::test_b - Error\n",
        );
        assert!(log.failures.iter().all(|failure| failure.frames.is_empty()), "{log:?}");
    }

    #[test]
    fn endless_logs_take_bounded_room() {
        let failure = |n: usize| format!("FAIL: test_{n}\n  File \"a.py\", line {n}, in f\n");
        let log = read(&(0..1000).map(failure).collect::<String>());
        assert_eq!(log.failures.len() + log.n_left_out, 1000);
        assert_eq!(log.failures.len(), MOST_FIRST + MOST_LAST);
        assert_eq!(log.failures.last().unwrap().title, "test_999");
        let deep = |n: usize| format!("  File \"a.py\", line {n}, in f\n");
        let log = read(&(0..10_000).map(deep).collect::<String>());
        assert_eq!(log.failures[0].frames.len(), 2 * MOST_FRAMES);
        assert_eq!(log.failures[0].frames.last().unwrap().line, Some(9999));
    }
}
