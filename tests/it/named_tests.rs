//! Tests that documents name are there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::machine::manifest;

/// Documents whose tables name tests, in backticks, in their last column.
const DOCUMENTS: &[&str] = &["docs/bad-input.md", "docs/peer-defects.md"];

/// The names of all functions below a folder that stand behind a `#[test]` or its like.
fn collect_tests(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect_tests(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            // Those of `proptest!` have their attribute before them too.
            let functions = text.split("#[test]").skip(1);
            let functions = functions.chain(text.split("#[tokio::test").skip(1));
            for rest in functions {
                let name = rest.split_once("fn ").map(|(_, rest)| rest);
                let name = name.and_then(|rest| rest.split(['(', '<']).next());
                names.extend(name.map(str::to_owned));
            }
        }
    }
}

/// The backticked names in the last column of a Markdown table's rows.
fn named_in(document: &str) -> Vec<String> {
    let rows = document.lines().filter(|line| line.starts_with('|') && line.contains('`'));
    let cells = rows.filter_map(|row| row.trim_end_matches('|').rsplit('|').next());
    let quoted = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    // `module::name` and plain names of other things stand there as well.
    quoted.filter(|name| !name.contains("::")).map(str::to_owned).collect()
}

#[test]
fn every_test_that_a_document_names_exists() {
    let mut tests = BTreeSet::new();
    for folder in ["src", "tests"] {
        collect_tests(&manifest().join(folder), &mut tests);
    }
    assert!(200 < tests.len(), "the search for tests finds {}", tests.len());
    for document in DOCUMENTS {
        let text = fs::read_to_string(manifest().join(document)).unwrap();
        let named = named_in(&text);
        assert!(15 < named.len(), "{document} names {} tests", named.len());
        let missing: Vec<&String> = named.iter().filter(|name| !tests.contains(*name)).collect();
        assert!(missing.is_empty(), "{document} names tests that are not there: {missing:?}");
    }
}

#[test]
fn a_name_without_a_test_is_found() {
    let named = named_in(
        "| input | what | test |\n|---|---|---|\n| `x` | y | `there`, `gone` of `a::b` |\n",
    );
    assert_eq!(named, ["there", "gone"]);
}
