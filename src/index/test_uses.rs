//! What test files import and name: which tests look at a piece of code, without running any.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;
use serde::Serialize;

use crate::index::Index;
use crate::index::definitions::Definitions;
use crate::index::outline::{Outline, SymbolKind};
use crate::index::retrieval::imports::{Modules, read_imports};
use crate::index::retrieval::words::identifiers;
use crate::repo::path::RepoPath;

/// The test files of a snapshot, each with what it imports and names.
#[derive(Debug)]
pub struct TestUses {
    files: Vec<FileUses>,
    /// Names that are defined in few enough places to tell something.
    telling: BTreeSet<String>,
}

#[derive(Debug)]
struct FileUses {
    path: RepoPath,
    imports: BTreeSet<RepoPath>,
    names: BTreeSet<String>,
}

/// A test file that looks at some code, and what shows that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TestOfCode {
    pub path: RepoPath,
    /// Files of the code that it imports.
    pub imports: Vec<RepoPath>,
    /// Symbols of the code that it names: the last parts of their names.
    pub names: Vec<String>,
}

impl std::fmt::Display for TestOfCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let imports = self.imports.iter().take(2).map(|path| format!("imports {path}"));
        let names = self.names.iter().take(3).map(|name| format!("names {name}"));
        let reasons: Vec<String> = imports.chain(names).collect();
        write!(f, "{} ({})", self.path, reasons.join(", "))
    }
}

impl TestUses {
    /// Reads the test files of an index; those of Python that define no test (settings, helpers)
    /// are left out.
    pub fn read(index: &Index) -> Self {
        let snapshot = index.snapshot();
        let paths: Vec<&RepoPath> = snapshot.files().keys().collect();
        let modules = Modules::new(paths.iter().copied());
        let tests: Vec<&RepoPath> = paths
            .iter()
            .copied()
            .filter(|path| index.is_test(path))
            .filter(|path| index.outline(path).is_some_and(|outline| holds_tests(path, outline)))
            .collect();
        let read = |path: &&RepoPath| {
            let text = snapshot.read_text(path).ok()?;
            let extension = path.extension().unwrap_or_default();
            let imports = read_imports(text.content(), extension);
            let files = imports.iter().filter_map(|import| modules.resolve_import(path, import));
            Some(FileUses {
                path: (*path).clone(),
                imports: files.map(|number| paths[number as usize].clone()).collect(),
                names: identifiers(text.content()).map(|(_, name)| name.to_owned()).collect(),
            })
        };
        let files: Vec<FileUses> = tests.par_iter().filter_map(read).collect();
        let definitions = Definitions::new(index);
        let named = files.iter().flat_map(|file| &file.names);
        let telling = named.filter(|name| definitions.is_telling(name)).cloned().collect();
        Self { files, telling }
    }

    /// The tests that import one of these files or name one of these symbols (qualified, by file),
    /// those that do both first.
    pub fn of_code(&self, code: &BTreeMap<RepoPath, BTreeSet<String>>) -> Vec<TestOfCode> {
        let names: BTreeSet<&str> = code.values().flatten().filter_map(|n| told_name(n)).collect();
        let mut found: Vec<TestOfCode> = Vec::new();
        for file in &self.files {
            let imports = file.imports.iter().filter(|path| code.contains_key(*path));
            let is_named = |name: &&&str| file.names.contains(**name);
            let named = names.iter().filter(is_named).filter(|name| self.telling.contains(**name));
            let test = TestOfCode {
                path: file.path.clone(),
                imports: imports.cloned().collect(),
                names: named.map(|name| (*name).to_owned()).collect(),
            };
            if !test.imports.is_empty() || !test.names.is_empty() {
                found.push(test);
            }
        }
        let stems: Vec<&str> = code.keys().map(stem_of).collect();
        let is_namesake =
            |test: &TestOfCode| stems.iter().any(|stem| stem_of(&test.path).contains(stem));
        found.sort_by_key(|test| {
            let does_both = !test.imports.is_empty() && !test.names.is_empty();
            let rank = (does_both, !test.names.is_empty(), is_namesake(test), test.names.len());
            (Reverse(rank), test.path.clone())
        });
        found
    }
}

/// The part of a symbol's name by which others call it: that of the class for `__init__` and its
/// like.
fn told_name(name: &str) -> Option<&str> {
    let mut parts = name.rsplit('.').filter(|part| !part.is_empty());
    parts.find(|part| !(part.starts_with("__") && part.ends_with("__")))
}

fn holds_tests(path: &RepoPath, outline: &Outline) -> bool {
    if path.extension() != Some("py") {
        return true;
    }
    let mut functions = outline.symbols.iter().filter(|s| s.kind == SymbolKind::Function);
    functions.any(|symbol| symbol.name.rsplit('.').next().is_some_and(|n| n.starts_with("test")))
}

fn stem_of(path: &RepoPath) -> &str {
    let name = path.file_name();
    name.rsplit_once('.').map_or(name, |(stem, _)| stem).trim_matches('_')
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use expect_test::{Expect, expect};

    use super::*;
    use crate::index::IndexOptions;
    use crate::repo::fixture::snapshot;

    const FILES: &str = "\
//- /shop/__init__.py
from shop.cart import total
//- /shop/cart.py
class Cart:
    def __init__(self):
        pass
def total(cart):
    return 0
//- /shop/tax.py
def vat(x):
    return x
//- /tests/__init__.py
//- /tests/helpers.py
from shop.cart import total
//- /tests/test_cart.py
from shop.cart import total
def test_total():
    assert total(1)
//- /tests/test_package.py
import shop
class T:
    def test_it(self):
        shop.total(1)
//- /tests/test_tax.py
from shop import tax
def test_vat():
    assert tax.vat(1)
//- /tests/test_wiring.py
from shop import cart, tax
def test_wiring():
    assert cart and tax
";

    #[track_caller]
    fn check(code: &[(&str, &str)], expect: Expect) {
        let index = Index::build(Arc::new(snapshot(FILES)), &IndexOptions::default()).unwrap();
        let mut by_file: BTreeMap<RepoPath, BTreeSet<String>> = BTreeMap::new();
        for (path, name) in code {
            let names = by_file.entry(RepoPath::parse(path).unwrap()).or_default();
            names.insert((*name).to_owned());
        }
        let found = TestUses::read(&index).of_code(&by_file);
        let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
        expect.assert_eq(&lines.join("\n"));
    }

    #[test]
    fn tests_that_import_and_name_the_code_come_first() {
        check(
            &[("shop/cart.py", "total")],
            expect![[r#"
                tests/test_cart.py (imports shop/cart.py, names total)
                tests/test_package.py (names total)
                tests/test_wiring.py (imports shop/cart.py)"#]],
        );
        check(
            &[("shop/cart.py", "Cart.__init__")],
            expect![[r#"
            tests/test_cart.py (imports shop/cart.py)
            tests/test_wiring.py (imports shop/cart.py)"#]],
        );
        check(&[("README.md", "")], expect![""]);
    }
}
