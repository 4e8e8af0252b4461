//! Failing logs and issues, and what is printed of them: for people, code hosts and editors.

use std::collections::BTreeSet;
use std::io::BufReader;

use sorft::triage::Findings;
use sorft::triage::annotations::{MOST_OF_A_KIND, render_annotations};
use sorft::triage::issue::find_in_issue;
use sorft::triage::log::Log;
use sorft::triage::log::findings::find_in_log;
use sorft::triage::sarif::render_sarif;

use super::demo;

/// A log is the same however it arrives, small whatever its size, and names what exists.
pub(crate) fn check(data: &[u8]) {
    let log = Log::read(data).expect("bytes in memory can be read");
    let in_pieces = Log::read(BufReader::with_capacity(7, data)).expect("so can pieces of them");
    assert_eq!(log, in_pieces);
    assert_eq!(log.n_bytes, data.len() as u64);
    assert!(log.failures.len() <= 80 && log.tail.len() <= 200);
    for failure in &log.failures {
        assert!(failure.frames.len() <= 80);
        assert!(failure.messages.len() <= 24 && failure.code.len() <= 24);
    }
    check_findings(find_in_log(demo::index(), &log));
    check_findings(find_in_issue(demo::index(), &String::from_utf8_lossy(data)));
}

fn check_findings(mut findings: Findings) {
    findings.truncate(20);
    let files = demo::index().snapshot().files();
    let paths = findings.files.iter().map(|file| &file.path);
    for path in paths.chain(findings.symbols.iter().map(|symbol| &symbol.path)) {
        assert!(files.contains_key(path), "{path} does not exist");
    }
    assert!(findings.lines.iter().all(|line| files.contains_key(&line.path)));
    for scores in [
        findings.files.iter().map(|file| file.score).collect::<Vec<_>>(),
        findings.symbols.iter().map(|symbol| symbol.score).collect(),
    ] {
        assert!(scores.iter().all(|score| (0.0..=1.0).contains(score)), "{scores:?}");
        assert!(scores.is_sorted_by(|left, right| left >= right), "{scores:?}");
    }
    let named: BTreeSet<&str> =
        findings.symbols.iter().map(|symbol| symbol.path.as_str()).collect();
    let n_files = findings.files.iter().filter(|file| !named.contains(file.path.as_str())).count();
    let n_results = findings.symbols.len() + n_files;
    let sarif = render_sarif(&findings, None);
    let results = sarif["runs"][0]["results"].as_array().map(Vec::len);
    assert_eq!(results, Some(n_results));
    // A line of its own for each command, and nothing in it that ends it or begins another.
    let annotations = render_annotations(&findings);
    assert_eq!(annotations.lines().count(), n_results.min(MOST_OF_A_KIND));
    for line in annotations.split_terminator('\n') {
        assert!(line.starts_with("::notice file="), "{line:?}");
        assert!(!line.contains(char::is_control), "{line:?}");
    }
}
