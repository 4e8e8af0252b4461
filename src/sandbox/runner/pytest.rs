//! pytest: the last line counts, short summary lines and verbose lines name.

use std::collections::BTreeSet;

use crate::sandbox::runner::{Summary, count_before};

const WORDS: &[&str] = &[
    "passed",
    "failed",
    "error",
    "errors",
    "skipped",
    "xfailed",
    "xpassed",
    "deselected",
    "warning",
    "warnings",
    "rerun",
    "subtests",
];

pub(super) fn read(output: &str) -> Option<Result<Summary, String>> {
    if let Some(reason) = find_obstacle(output) {
        return Some(Err(reason));
    }
    // Several where the command runs pytest several times.
    let summaries: Vec<&str> = output.lines().filter_map(counts).collect();
    if summaries.is_empty() {
        return None;
    }
    let sum = |words: &[&str]| -> usize {
        summaries
            .iter()
            .map(|line| words.iter().map(|word| count_before(line, word)).sum::<usize>())
            .sum()
    };
    let (mut failing, mut passing) = (BTreeSet::new(), BTreeSet::new());
    for line in output.lines() {
        if let Some((name, outcome)) = parse_test_line(line) {
            match outcome {
                "PASSED" | "XPASS" => passing.insert(name),
                "FAILED" | "ERROR" => failing.insert(name),
                _ => false,
            };
        }
    }
    let passed = sum(&["passed", "xpassed"]);
    let failed = sum(&["failed", "error", "errors"]);
    let skipped = sum(&["skipped", "xfailed"]);
    Some(Ok(Summary::new("pytest", (passed, failed, skipped), failing, passing)))
}

/// The counts of a last line: `== 1 failed, 2 passed in 0.05s ==`.
fn counts(line: &str) -> Option<&str> {
    let line = line.trim().trim_matches('=').trim();
    let (counts, duration) = line.rsplit_once(" in ")?;
    let starts_with_number = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
    let is_duration = starts_with_number(duration)
        && duration.split(' ').next().is_some_and(|seconds| seconds.ends_with('s'));
    let is_count = |part: &str| {
        part.split_once(' ')
            .is_some_and(|(number, word)| number.parse::<usize>().is_ok() && WORDS.contains(&word))
    };
    (is_duration && counts.split(", ").all(is_count)).then_some(counts)
}

/// The test and the outcome that a line tells: `FAILED a.py::test - why`,
/// `a.py::test PASSED [ 50%]`, `[gw0] [ 50%] PASSED a.py::test`.
fn parse_test_line(line: &str) -> Option<(String, &str)> {
    const OUTCOMES: &[&str] = &["PASSED", "FAILED", "ERROR", "SKIPPED", "XFAIL", "XPASS"];
    let line = line.trim();
    let line = if line.starts_with("[gw") {
        line.rsplit_once("] ").map_or(line, |(_, rest)| rest)
    } else {
        line
    };
    if let Some((outcome, rest)) = line.split_once(' ')
        && let Some(outcome) = OUTCOMES.iter().find(|known| **known == outcome)
    {
        let name = rest.split(" - ").next().unwrap_or(rest).trim();
        return is_name(name).then(|| (name.to_owned(), *outcome));
    }
    OUTCOMES.iter().find_map(|outcome| {
        let (name, rest) = line.rsplit_once(&format!(" {outcome}"))?;
        let is_end = rest.trim().is_empty() || rest.trim_start().starts_with(['[', '(']);
        (is_end && is_name(name)).then(|| (name.trim().to_owned(), *outcome))
    })
}

fn is_name(text: &str) -> bool {
    text.contains("::") || std::path::Path::new(text).extension().is_some_and(|end| end == "py")
}

/// Why no test could run.
fn find_obstacle(output: &str) -> Option<String> {
    let line_with = |mark: &str| output.lines().find(|line| line.contains(mark)).map(str::trim);
    let cause = || {
        let mut errors = output.lines().rev().filter_map(|line| line.strip_prefix("E "));
        errors.next().map(|line| line.trim().to_owned())
    };
    let is_collection = output.contains("ERROR collecting")
        || output.contains("errors during collection")
        || output.contains("error during collection");
    if is_collection
        && !output
            .lines()
            .filter_map(counts)
            .any(|line| 0 < count_before(line, "passed") + count_before(line, "failed"))
    {
        let files = line_with("ERROR collecting").unwrap_or("an error during collection");
        let files = files.trim_matches(['_', '=', ' ']);
        return Some(cause().map_or(files.to_owned(), |cause| format!("{files}: {cause}")));
    }
    if let Some(line) = line_with("while loading conftest") {
        return Some(cause().map_or(line.to_owned(), |cause| format!("{line} {cause}")));
    }
    line_with("No module named pytest")
        .or_else(|| line_with("ERROR: file or directory not found"))
        .or_else(|| line_with("ERROR: usage:"))
        .or_else(|| output.lines().find(|line| line.starts_with("INTERNALERROR>")))
        .or_else(|| line_with("no tests ran in"))
        .map(str::to_owned)
}
