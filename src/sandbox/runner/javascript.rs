//! jest, vitest and mocha: counts only.

use std::collections::BTreeSet;

use crate::sandbox::runner::{Summary, count_before};

pub(super) fn read(output: &str) -> Option<Result<Summary, String>> {
    let lines = || output.lines().map(str::trim);
    let summary =
        |runner, counts| Some(Ok(Summary::new(runner, counts, BTreeSet::new(), BTreeSet::new())));
    if let Some(line) =
        lines().rev().find(|line| line.starts_with("Tests:") && line.ends_with("total"))
    {
        let counts = line.trim_start_matches("Tests:");
        let skipped = count_before(counts, "skipped") + count_before(counts, "todo");
        return summary(
            "jest",
            (count_before(counts, "passed"), count_before(counts, "failed"), skipped),
        );
    }
    if let Some(line) =
        lines().rev().find(|line| line.starts_with("Tests  ") && line.ends_with(')'))
    {
        let skipped = count_before(line, "skipped") + count_before(line, "todo");
        return summary(
            "vitest",
            (count_before(line, "passed"), count_before(line, "failed"), skipped),
        );
    }
    let count = |word: &str| {
        lines().find_map(|line| {
            let mut words = line.split(' ');
            let number = words.next()?.parse::<usize>().ok()?;
            (words.next() == Some(word)).then_some(number)
        })
    };
    let passing = count("passing")?;
    let (failing, pending) = (count("failing").unwrap_or(0), count("pending").unwrap_or(0));
    summary("mocha", (passing, failing, pending))
}
