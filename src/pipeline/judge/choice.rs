//! Which tests look at a change: those that import its files or name its symbols, by the index.

use std::collections::{BTreeMap, BTreeSet};

use crate::diff::change::FileChange;
use crate::index::Index;
use crate::index::test_uses::{TestOfCode, TestUses};
use crate::repo::path::RepoPath;
use crate::stage::gold::{Gold, GoldFiles};

/// The tests that look at what a candidate changes, those that say most first.
pub(super) fn tests_of_change(
    index: &Index,
    uses: &TestUses,
    changes: &[FileChange],
) -> Vec<TestOfCode> {
    // How a gold patch is read for truth is how any patch is read.
    let read = Gold::new(index, changes, GoldFiles::All);
    let mut code: BTreeMap<RepoPath, BTreeSet<String>> = BTreeMap::new();
    for file in &read.files {
        code.entry(file.path.clone()).or_default();
    }
    for symbol in read.owners(index) {
        code.entry(symbol.path).or_default().insert(symbol.name);
    }
    uses.of_code(&code)
}

/// Whether every one of these tests (as runners name them) stands in a known test file that is
/// none of those that look at the change.
pub(super) fn looks_only_elsewhere(
    failing: &BTreeSet<String>,
    looking: &[TestOfCode],
    tests: &BTreeSet<&RepoPath>,
) -> bool {
    let looks = |path: &RepoPath| looking.iter().any(|test| test.path == *path);
    !failing.is_empty()
        && failing.iter().all(|name| {
            let mut files = tests.iter().filter(|path| is_of_file(name, path)).peekable();
            files.peek().is_some() && files.all(|path| !looks(path))
        })
}

/// Whether a test's name is one of this file: `tests/a.py::test_x`, `test_x (tests.a.Class)`.
fn is_of_file(name: &str, path: &RepoPath) -> bool {
    let is_tail = |whole: &str, tail: &str| {
        whole.strip_suffix(tail).is_some_and(|rest| rest.is_empty() || rest.ends_with('/'))
    };
    if let Some((file, _)) = name.split_once("::") {
        return is_tail(path.as_str(), file) || is_tail(file, path.as_str());
    }
    let Some((_, inside)) = name.split_once('(') else { return is_tail(path.as_str(), name) };
    let Some(stem) = path.as_str().strip_suffix(".py") else { return false };
    // `discover -s tests` leaves the start folder out of the names.
    let mut module = Some(stem.replace('/', "."));
    while let Some(dotted) = module {
        let rest = inside.strip_prefix(&dotted);
        if rest.is_some_and(|rest| rest.starts_with(['.', ')'])) {
            return true;
        }
        module = dotted.split_once('.').map(|(_, rest)| rest.to_owned());
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tests_name_tells_its_file() {
        for (name, path, is_of) in [
            ("tests/a.py::test_x[1", "tests/a.py", true),
            ("a.py::T::test_x", "tests/a.py", true),
            ("tests/a.py::test_x", "tests/ba.py", false),
            ("test_x (tests.test_a.T.test_x)", "tests/test_a.py", true),
            ("test_x (test_a.T)", "tests/test_a.py", true),
            ("test_x (tests.test_ab.T)", "tests/test_a.py", false),
            ("module::test", "src/module.rs", false),
        ] {
            assert_eq!(is_of_file(name, &RepoPath::parse(path).unwrap()), is_of, "{name}");
        }
    }

    #[test]
    fn old_failures_count_only_where_they_look_at_the_change() {
        let path = |text: &str| RepoPath::parse(text).unwrap();
        let (a, b) = (path("tests/test_a.py"), path("tests/test_b.py"));
        let tests = BTreeSet::from([&a, &b]);
        let looking = [TestOfCode { path: a.clone(), imports: vec![], names: vec![] }];
        let check = |names: &[&str]| {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            looks_only_elsewhere(&names, &looking, &tests)
        };
        assert!(check(&["tests/test_b.py::test_x"]));
        assert!(!check(&["tests/test_a.py::test_x", "tests/test_b.py::test_x"]));
        // Of what is not known, nothing is said.
        assert!(!check(&["tests::x"]));
        assert!(!check(&[]));
    }
}
