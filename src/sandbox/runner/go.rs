//! `go test`: tests where `-v` lists them, else packages.

use std::collections::BTreeSet;

use crate::sandbox::runner::Summary;

pub(super) fn read(output: &str) -> Option<Result<Summary, String>> {
    let (mut packages, mut failing, mut passing) = (0, BTreeSet::new(), BTreeSet::new());
    let (mut ok_packages, mut failed_packages) = (BTreeSet::new(), BTreeSet::new());
    let (mut skipped, mut broken) = (0, None);
    for line in output.lines() {
        let test = |mark: &str| {
            let rest = line.trim_start().strip_prefix(mark)?;
            rest.split(' ').next().map(str::to_owned)
        };
        if let Some(name) = test("--- FAIL: ") {
            failing.insert(name);
        } else if let Some(name) = test("--- PASS: ") {
            passing.insert(name);
        } else if test("--- SKIP: ").is_some() {
            skipped += 1;
        } else if let Some(rest) = line.strip_prefix("ok  \t") {
            packages += 1;
            ok_packages.extend(rest.split('\t').next().map(|name| name.trim().to_owned()));
        } else if let Some(rest) = line.strip_prefix("FAIL\t") {
            packages += 1;
            if rest.contains("[build failed]") || rest.contains("[setup failed]") {
                broken = Some(rest.trim().to_owned());
            }
            failed_packages.extend(rest.split('\t').next().map(|name| name.trim().to_owned()));
        }
    }
    if packages == 0 {
        return None;
    }
    if let Some(broken) =
        broken.filter(|_| ok_packages.is_empty() && failing.is_empty() && passing.is_empty())
    {
        return Some(Err(broken));
    }
    let (failing, passing) = if passing.is_empty() {
        // Without `-v` only failures are named; packages count on both sides.
        (failed_packages, ok_packages)
    } else {
        (failing, passing)
    };
    let counts = (passing.len(), failing.len(), skipped);
    Some(Ok(Summary::new("go test", counts, failing, passing)))
}
