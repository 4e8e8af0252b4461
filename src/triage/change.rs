//! Whether a change goes where an issue or a log points.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::diff::change::{FileChange, FileState};
use crate::index::Index;
use crate::index::language;
use crate::repo::path::RepoPath;
use crate::repo::staged::StagedFile;
use crate::stage::function::symbol::SymbolId;
use crate::stage::gold::{Gold, GoldFiles};
use crate::stage::score::Score;
use crate::triage::{Findings, FoundFile};

/// Files that are expected to change have at least this share of the first one's score, …
const EXPECTED_SHARE: f64 = 0.6;
/// … and are not more than so many.
const MOST_EXPECTED: usize = 5;
/// Recall counts three times as much as precision, as in the rewards (SoRFT, section 3.3).
const BETA: f64 = 3.0;

/// A change, compared with the places that were found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Between 0 (it touches nothing that was found) and 1 (it touches the first place).
    pub agreement: f64,
    /// `F_3` of the changed files against the expected ones; 0 where no source file changes.
    pub f_3: f64,
    /// The changed source files, with their place among the found ones, from 1.
    pub touched: Vec<Touched>,
    /// Expected files that the change leaves alone.
    pub missing: Vec<RepoPath>,
    /// Changed source files that nothing points at.
    pub unexpected: Vec<RepoPath>,
}

/// A changed source file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Touched {
    pub path: RepoPath,
    pub place: Option<usize>,
    /// The symbols whose lines change, with their places among the found ones, from 1.
    pub symbols: Vec<(SymbolId, Option<usize>)>,
}

impl Comparison {
    /// `None` where no source file of the repository changes: tests, documents and settings are
    /// nobody's wrong place, and new files stand nowhere yet.
    pub fn new(index: &Index, findings: &Findings, changes: &[FileChange]) -> Option<Self> {
        let gold = Gold::new(index, changes, GoldFiles::WithoutTests);
        let is_source = |path: &&RepoPath| language::of_path(path).is_some();
        let files: BTreeSet<&RepoPath> =
            gold.base_files().map(|file| &file.path).filter(is_source).collect();
        if files.is_empty() {
            return None;
        }
        let owners = gold.owners(index);
        let touched: Vec<Touched> =
            files.iter().map(|path| touched(findings, path, &owners)).collect();
        let expected: Vec<&FoundFile> = expected(findings).collect();
        let is_expected = |path: &RepoPath| expected.iter().any(|file| file.path == *path);
        let hits = files.iter().filter(|path| is_expected(path)).count();
        let score = Score { hits, answered: files.len(), expected: expected.len() };
        let share = |path: &RepoPath| {
            findings.files.iter().find(|file| file.path == *path).map_or(0.0, |file| file.score)
        };
        let is_missing = |file: &&&FoundFile| !files.contains(&file.path);
        Some(Self {
            agreement: touched.iter().map(|file| agreement(findings, file)).fold(0.0, f64::max),
            f_3: score.f_beta(BETA),
            missing: expected.iter().filter(is_missing).map(|file| file.path.clone()).collect(),
            unexpected: files
                .iter()
                .filter(|path| share(path) == 0.0)
                .map(|p| (*p).clone())
                .collect(),
            touched,
        })
    }
}

/// How much speaks for a changed file: its share of the best score, or that of its best symbol.
fn agreement(findings: &Findings, touched: &Touched) -> f64 {
    let file = findings.files.iter().find(|file| file.path == touched.path);
    let places = touched.symbols.iter().filter_map(|(_, place)| *place);
    let symbol = places.map(|place| findings.symbols[place - 1].score).fold(0.0, f64::max);
    file.map_or(0.0, |file| file.score).max(symbol)
}

fn expected(findings: &Findings) -> impl Iterator<Item = &FoundFile> {
    let is_source = |file: &&FoundFile| language::of_path(&file.path).is_some();
    let files = findings.files.iter().filter(is_source).take(MOST_EXPECTED);
    files.take_while(|file| EXPECTED_SHARE <= file.score)
}

fn touched(findings: &Findings, path: &RepoPath, owners: &BTreeSet<SymbolId>) -> Touched {
    let place_of = |owner: &SymbolId| {
        let is_it = |at: usize| {
            let symbol = &findings.symbols[at];
            (&symbol.path, symbol.kind, &symbol.name) == (&owner.path, owner.kind, &owner.name)
        };
        (0..findings.symbols.len()).find(|at| is_it(*at)).map(|at| at + 1)
    };
    let own = owners.iter().filter(|owner| owner.path == *path);
    Touched {
        path: path.clone(),
        place: findings.files.iter().position(|file| file.path == *path).map(|at| at + 1),
        symbols: own.map(|owner| (owner.clone(), place_of(owner))).collect(),
    }
}

/// Staged files as changes; a file that only moved counts once, under its old path.
pub fn changes_of(staged: &[StagedFile]) -> Vec<FileChange> {
    let state = |path: &RepoPath, content: &Option<_>| {
        content.as_ref().map(|(kind, bytes): &(_, Vec<u8>)| FileState {
            path: path.clone(),
            kind: *kind,
            bytes: bytes.clone(),
        })
    };
    let mut created: BTreeMap<&[u8], FileState> = BTreeMap::new();
    for file in staged.iter().filter(|file| file.before.is_none()) {
        if let (Some((_, bytes)), Some(after)) = (&file.after, state(&file.path, &file.after)) {
            created.insert(bytes, after);
        }
    }
    let mut changes = Vec::new();
    for file in staged {
        let change = match (state(&file.path, &file.before), state(&file.path, &file.after)) {
            (Some(before), Some(after)) => FileChange::Changed { before, after },
            (Some(before), None) => match created.remove(before.bytes.as_slice()) {
                Some(after) => FileChange::Changed { before, after },
                None => FileChange::Deleted(before),
            },
            _ => continue,
        };
        changes.push(change);
    }
    changes.extend(created.into_values().map(FileChange::Created));
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::snapshot::FileKind;
    use crate::triage::issue::find_in_issue;
    use crate::triage::log::fixture::index_of;

    const CART: &str = "def total(items):\n    return sum(items)\n";
    const TAX: &str = "def rate(country):\n    return 0.2\n";

    fn change(path: &str, before: &str, after: &str) -> FileChange {
        let state = |text: &str| FileState {
            path: RepoPath::parse(path).unwrap(),
            kind: FileKind::Regular,
            bytes: text.as_bytes().to_vec(),
        };
        FileChange::Changed { before: state(before), after: state(after) }
    }

    fn compare(changes: &[FileChange]) -> Option<Comparison> {
        let index = index_of(&[
            ("shop/cart.py", CART),
            ("shop/tax.py", TAX),
            ("README.md", "x\n"),
            ("tests/test_cart.py", "x\n"),
        ]);
        let findings = find_in_issue(&index, "The `total` of items in the cart is wrong\n");
        Comparison::new(&index, &findings, changes)
    }

    #[test]
    fn a_change_of_the_right_place_agrees_and_of_another_does_not() {
        let right = compare(&[change("shop/cart.py", CART, "def total(items):\n    return 1\n")]);
        let right = right.unwrap();
        assert_eq!((right.agreement, right.touched[0].place), (1.0, Some(1)));
        assert_eq!(right.touched[0].symbols[0].1, Some(1));
        assert!(right.missing.is_empty() && right.unexpected.is_empty(), "{right:?}");
        let wrong = compare(&[change("shop/tax.py", TAX, "def rate(country):\n    return 0\n")]);
        let wrong = wrong.unwrap();
        assert!(wrong.agreement < 0.3, "{wrong:?}");
        assert_eq!(wrong.missing[0].as_str(), "shop/cart.py");
    }

    #[test]
    fn tests_and_documents_are_nobodys_wrong_place() {
        assert_eq!(compare(&[change("README.md", "x\n", "y\n")]), None);
        assert_eq!(compare(&[change("tests/test_cart.py", "x\n", "y\n")]), None);
        assert_eq!(compare(&[]), None);
    }

    #[test]
    fn a_file_that_moved_counts_once() {
        let content = Some((FileKind::Regular, CART.as_bytes().to_vec()));
        let path = |path| RepoPath::parse(path).unwrap();
        let staged = [
            StagedFile { path: path("a.py"), before: content.clone(), after: None },
            StagedFile { path: path("b.py"), before: None, after: content },
        ];
        let changes = changes_of(&staged);
        assert_eq!(changes.len(), 1);
        assert_eq!(changes[0].path().as_str(), "b.py");
    }
}
