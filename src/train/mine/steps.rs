//! A test that the commit added, as the steps that show the problem.

use std::collections::BTreeSet;

use crate::diff::change::FileChange;
use crate::index::outline_of;
use crate::repo::path::RepoPath;
use crate::stage::gold::GoldFile;
use crate::train::mine::names::{PatchNames, identifiers};

/// Lines of a test that are shown.
const MAX_LINES: usize = 15;

/// Of a test that is longer, the first ones that are shown.
const MAX_FIRST: usize = 4;

/// The first added test that names no file and no symbol of the solution.
pub(super) fn steps(
    tests: &[FileChange],
    solution: &[FileChange],
    names: &PatchNames,
) -> Option<String> {
    let secret = secret_names(solution, names);
    let modules: Vec<String> = solution
        .iter()
        .filter_map(FileChange::before)
        .flat_map(|file| modules(&file.path))
        .collect();
    let files = tests.iter().filter_map(GoldFile::of_change);
    files.flat_map(|file| added_tests(&file)).find(|test| {
        let tells = |name: &str| secret.contains(name);
        !identifiers(test).any(tells) && !modules.iter().any(|module| test.contains(module))
    })
}

/// A file as imports and paths name it, by its last two parts at the least.
fn modules(path: &RepoPath) -> Vec<String> {
    let whole = path.as_str().rsplit_once('.').map_or(path.as_str(), |(stem, _)| stem);
    let stem = whole.strip_suffix("/__init__").unwrap_or(whole);
    let mut parts = stem.rsplitn(3, '/');
    match (parts.next(), parts.next()) {
        (Some(last), Some(folder)) => {
            ["/", ".", "::", " import "].map(|between| format!("{folder}{between}{last}")).into()
        }
        _ => Vec::new(),
    }
}

/// What would tell where the solution is: names of its files, of the symbols it changes and adds.
fn secret_names(solution: &[FileChange], names: &PatchNames) -> BTreeSet<String> {
    let mut secret: BTreeSet<String> = names.symbols().map(ToOwned::to_owned).collect();
    for file in solution.iter().filter_map(GoldFile::of_change) {
        let stem = file.path.file_name().split('.').next().unwrap_or_default();
        secret.insert(stem.to_owned());
        let Some(base) = &file.base else { continue };
        let outline = outline_of(&file.path, base);
        let lines: Vec<u32> =
            file.changes.iter().flat_map(|c| c.base.start as u32..=c.base.end as u32).collect();
        for symbol in &outline.symbols {
            let holds = |line: &u32| symbol.places.iter().any(|place| place.span.contains(*line));
            if lines.iter().any(holds) {
                secret.extend(symbol.name.split('.').map(ToOwned::to_owned));
            }
        }
    }
    // Such parts of a name say nothing.
    for common in ["", "__init__", "__call__", "main", "run", "test"] {
        secret.remove(common);
    }
    secret
}

/// The tests among a file's added lines: from a line that names one to the next that does, or to
/// the end of what was added together.
fn added_tests(file: &GoldFile) -> Vec<String> {
    let mut tests: Vec<Vec<&str>> = Vec::new();
    for change in &file.changes {
        let mut is_open = false;
        for line in file.inserted(change) {
            if begins_test(line) {
                tests.push(Vec::new());
                is_open = true;
            }
            if let Some(test) = tests.last_mut().filter(|_| is_open) {
                test.push(line);
            }
        }
    }
    tests.into_iter().map(shortened).filter(|test| 1 < test.lines().count()).collect()
}

/// The first lines of a long test, and more of its last: what is expected stands there.
fn shortened(mut test: Vec<&str>) -> String {
    while test.last().is_some_and(|line| line.trim().is_empty()) {
        test.pop();
    }
    if test.len() <= MAX_LINES {
        return test.join("\n");
    }
    let last = &test[test.len() - (MAX_LINES - MAX_FIRST - 1)..];
    [&test[..MAX_FIRST], &["    ..."], last].concat().join("\n")
}

fn begins_test(line: &str) -> bool {
    const STARTS: &[&str] =
        &["def test_", "async def test_", "[case ", "func Test", "it(", "test(", "fn test_"];
    let line = line.trim_start();
    STARTS.iter().any(|start| line.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diff::change::FileState;
    use crate::repo::snapshot::FileKind;

    fn change(path: &str, before: &str, after: &str) -> FileChange {
        let state = |text: &str| FileState {
            path: RepoPath::parse(path).unwrap(),
            kind: FileKind::Regular,
            bytes: text.into(),
        };
        FileChange::Changed { before: state(before), after: state(after) }
    }

    #[test]
    fn a_test_that_names_the_place_is_not_shown() {
        let solution = [change(
            "shop/cart.py",
            "def total(x):\n    return 1\n",
            "def total(x):\n    return 2\n",
        )];
        let names = PatchNames::new(&solution, &[]);
        let tests = |body: &str| [change("tests/test_a.py", "import a\n", body)];
        let telling = tests("import a\ndef test_a():\n    assert total(1) == 2\n");
        assert_eq!(steps(&telling, &solution, &names), None);
        let file = tests("import a\ndef test_a():\n    from shop import cart\n");
        assert_eq!(steps(&file, &solution, &names), None);
        let run = [change("shop/run.py", "x = 1\n", "x = 2\n")];
        let module = tests("import a\ndef test_a():\n    from shop.run import x\n");
        assert_eq!(steps(&module, &run, &PatchNames::new(&run, &[])), None);
        let second = tests(
            "import a\ndef test_a():\n    assert total(1)\n\ndef test_b():\n    assert sum([]) == 0\n\n",
        );
        assert_eq!(
            steps(&second, &solution, &names).as_deref(),
            Some("def test_b():\n    assert sum([]) == 0")
        );
    }

    #[test]
    fn a_long_test_is_cut() {
        let body: String = (0..30).map(|idx| format!("    x{idx} = 1\n")).collect();
        let tests = [change("tests/test_a.py", "", &format!("def test_a():\n{body}"))];
        let found = steps(&tests, &[], &PatchNames::default()).unwrap();
        assert_eq!(found.lines().count(), MAX_LINES);
        assert!(found.starts_with("def test_a():\n    x0 = 1\n"), "{found}");
        assert!(
            found.ends_with("    x28 = 1\n    x29 = 1"),
            "what it expects stands last: {found}"
        );
    }
}
