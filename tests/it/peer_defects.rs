//! docs/peer-defects.md names tests that exist.

use std::fs;
use std::path::{Path, PathBuf};

fn files_below(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_below(&path, files);
        } else if path.extension().is_some_and(|end| end == "rs") {
            files.push(path);
        }
    }
}

/// The names of all functions that are tests, in `src` and `tests`.
fn tests() -> Vec<String> {
    let mut files = Vec::new();
    for folder in ["src", "tests"] {
        files_below(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut files);
    }
    files.iter().flat_map(|file| names_of_tests(&fs::read_to_string(file).unwrap())).collect()
}

fn names_of_tests(source: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut is_test = false;
    for line in source.lines().map(str::trim) {
        let attribute = line.starts_with("#[");
        is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        if attribute || line.starts_with("//") {
            continue;
        }
        let head = line.strip_prefix("async ").unwrap_or(line);
        if let Some(name) = head.strip_prefix("fn ").filter(|_| is_test) {
            names.push(name.split('(').next().unwrap().to_owned());
        }
        is_test = false;
    }
    names
}

#[test]
fn every_defect_names_tests_that_exist() {
    let table = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/peer-defects.md");
    let table = fs::read_to_string(table).unwrap();
    let tests = tests();
    let mut problems = Vec::new();
    let mut n_rows = 0;
    for row in table.lines().filter(|line| line.starts_with("| ")).skip(1) {
        n_rows += 1;
        let cell = row.trim_end_matches('|').rsplit('|').next().unwrap();
        // A name in backticks with `::` is the module that a name stands in.
        let names: Vec<&str> =
            cell.split('`').skip(1).step_by(2).filter(|name| !name.contains("::")).collect();
        if names.is_empty() {
            problems.push(format!("no test: {row}"));
        }
        let unknown = names.into_iter().filter(|name| !tests.iter().any(|test| test == name));
        problems.extend(unknown.map(|name| format!("no test `{name}`: {row}")));
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(17 <= n_rows, "the table has {n_rows} rows");
}

#[test]
fn tests_are_told_from_other_functions() {
    let source = "#[test]\n#[cfg(unix)]\n// Why.\nfn a() {}\n\nfn b() {}\n#[tokio::test]\nasync fn c() {\n#[cfg(test)]\nfn d() {}\n";
    assert_eq!(names_of_tests(source), ["a", "c"]);
}
