//! `cargo test`: one result line for each test binary.

use std::collections::BTreeSet;

use crate::sandbox::runner::{Summary, count_before};

pub(super) fn read(output: &str) -> Option<Result<Summary, String>> {
    let results: Vec<&str> =
        output.lines().filter_map(|line| line.strip_prefix("test result: ")).collect();
    if let Some(line) = output.lines().find(|line| line.starts_with("error: could not compile")) {
        let first = output.lines().find(|line| line.starts_with("error[")).unwrap_or(line);
        return Some(Err(first.trim().to_owned()));
    }
    if results.is_empty() {
        return None;
    }
    let sum = |word: &str| {
        // `ok. 1 passed; …`: the dot ends a sentence.
        results.iter().map(|line| count_before(line, word)).sum()
    };
    let (mut failing, mut passing) = (BTreeSet::new(), BTreeSet::new());
    for line in output.lines().filter_map(|line| line.strip_prefix("test ")) {
        let Some((name, outcome)) = line.rsplit_once(" ... ") else { continue };
        if outcome.starts_with("ok") {
            passing.insert(name.to_owned());
        } else if outcome.starts_with("FAILED") {
            failing.insert(name.to_owned());
        }
    }
    let counts = (sum("passed"), sum("failed"), sum("ignored"));
    Some(Ok(Summary::new("cargo test", counts, failing, passing)))
}
