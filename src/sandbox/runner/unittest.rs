//! Python's own unittest.

use std::collections::BTreeSet;

use crate::sandbox::runner::Summary;

pub(super) fn read(output: &str) -> Option<Result<Summary, String>> {
    let (mut ran, mut failed, mut skipped, mut is_known) = (0, 0, 0, false);
    let (mut failing, mut passing, mut unloadable) = (BTreeSet::new(), BTreeSet::new(), 0);
    let (mut above, mut running) = ("", None);
    for line in output.lines() {
        if let Some(rest) = line.strip_prefix("Ran ")
            && let Some((number, rest)) = rest.split_once(' ')
            && rest.starts_with("test")
            && let Ok(number) = number.parse::<usize>()
        {
            ran += number;
            is_known = true;
        } else if let Some(rest) =
            line.strip_prefix("FAILED (").or_else(|| line.strip_prefix("OK ("))
        {
            for part in rest.trim_end_matches(')').split(", ") {
                let Some((name, number)) = part.split_once('=') else { continue };
                let number = number.parse::<usize>().unwrap_or(0);
                match name {
                    "failures" | "errors" | "unexpected successes" => failed += number,
                    "skipped" | "expected failures" => skipped += number,
                    _ => {}
                }
            }
        } else if let Some(name) =
            line.strip_prefix("FAIL: ").or_else(|| line.strip_prefix("ERROR: "))
        {
            unloadable += usize::from(name.contains("_FailedTest"));
            failing.insert(name.trim().to_owned());
        } else if let Some((name, outcome)) = line.split_once(" ... ") {
            // A test with a documentation string has its name in the line above.
            running = [name, above].into_iter().find(|name| is_name(name));
            if outcome.ends_with("ok") {
                passing.extend(running.take().map(|name| name.trim().to_owned()));
            }
        } else if line == "ok" {
            // Behind what the test printed.
            passing.extend(running.take().map(|name| name.trim().to_owned()));
        }
        above = line;
    }
    if !is_known {
        return None;
    }
    if ran == 0 {
        return Some(Err("no tests ran".to_owned()));
    }
    if unloadable == ran {
        let is_cause = |line: &&str| line.contains("Error: ") && !line.starts_with("ERROR: ");
        let cause =
            output.lines().rev().find(is_cause).unwrap_or("a test module cannot be imported");
        return Some(Err(cause.trim().to_owned()));
    }
    let passed = ran.saturating_sub(failed + skipped);
    Some(Ok(Summary::new("unittest", (passed, failed, skipped), failing, passing)))
}

/// `test_x (module.Class.test_x)`
fn is_name(text: &str) -> bool {
    text.contains(" (") && text.trim_end().ends_with(')')
}
