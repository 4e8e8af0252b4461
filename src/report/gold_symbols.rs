//! Which files and symbols of the base tree a gold patch changes.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;

use crate::diff::change::{FileChange, FileState};
use crate::diff::lines::{diff_lines, split_lines};
use crate::diff::patch::Patch;
use crate::index::Index;
use crate::index::outline::{Outline, Symbol, SymbolKind};
use crate::index::owner::{owner_of_insertion, owner_of_line};
use crate::repo::path::RepoPath;
use crate::repo::text::Text;

/// What a gold patch changes of the base tree.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Gold {
    /// Files that it changes, deletes or renames; those that it creates have no place in the base.
    pub files: BTreeSet<RepoPath>,
    /// The innermost listed symbols that own the changed places; `module:` is left out.
    pub symbols: BTreeSet<(RepoPath, SymbolKind, String)>,
}

/// Reads a gold patch against its base tree.
pub fn read_gold(index: &Index, patch: &str) -> anyhow::Result<Gold> {
    let patch = Patch::parse(patch.as_bytes()).context("reading the gold patch")?;
    let snapshot = index.snapshot();
    let mut base = BTreeMap::new();
    for path in patch.base_paths() {
        if let Some(entry) = snapshot.files().get(path) {
            let bytes = snapshot.read_bytes(path)?;
            base.insert(path.clone(), FileState { path: path.clone(), kind: entry.kind, bytes });
        }
    }
    let changes = patch.apply(&base).context("applying the gold patch to its base commit")?;
    let mut gold = Gold::default();
    for change in &changes {
        let Some(before) = change.before() else { continue };
        gold.files.insert(before.path.clone());
        if let Some(outline) = index.outline(&before.path) {
            for (kind, name) in changed_symbols(outline, change, before) {
                gold.symbols.insert((before.path.clone(), kind, name));
            }
        }
    }
    Ok(gold)
}

fn changed_symbols(
    outline: &Outline,
    change: &FileChange,
    before: &FileState,
) -> BTreeSet<(SymbolKind, String)> {
    let mut symbols = BTreeSet::new();
    let Ok(text) = Text::decode(&before.bytes) else { return symbols };
    let after = change.after().map(|after| after.bytes.as_slice()).unwrap_or_default();
    let (base_lines, new_lines) = (split_lines(&before.bytes), split_lines(after));
    for run in diff_lines(&base_lines, &new_lines) {
        let mut add = |owner: Option<&Symbol>| {
            if let Some(symbol) = owner {
                symbols.insert((symbol.kind, symbol.name.clone()));
            }
        };
        if run.base.is_empty() {
            let inserted = new_lines[run.new]
                .iter()
                .map(|line| String::from_utf8_lossy(line))
                .collect::<Vec<_>>();
            let inserted = inserted.iter().map(AsRef::as_ref).collect::<Vec<_>>();
            add(owner_of_insertion(outline, &text, run.base.start as u32, &inserted));
        } else {
            for line in run.base {
                add(owner_of_line(outline, line as u32 + 1));
            }
        }
    }
    symbols
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::index::IndexOptions;
    use crate::repo::fixture;

    #[test]
    fn changed_lines_belong_to_the_innermost_symbol() {
        let snapshot = fixture::snapshot(
            "//- /a.py\nimport os\n\n\nclass C:\n    def f(self):\n        return 1\n\n\ndef g():\n    pass\n",
        );
        let index = Index::build(Arc::new(snapshot), &IndexOptions::default()).unwrap();
        let patch = "--- a/a.py\n+++ b/a.py\n@@ -1,2 +1,3 @@\n import os\n+import sys\n \n\
                     @@ -5,2 +6,2 @@\n     def f(self):\n-        return 1\n+        return 2\n\
                     @@ -9,2 +10,3 @@\n def g():\n     pass\n+    return 0\n\
                     --- /dev/null\n+++ b/b.py\n@@ -0,0 +1 @@\n+x = 1\n";
        let gold = read_gold(&index, patch).unwrap();
        let files = gold.files.iter().map(RepoPath::as_str).collect::<Vec<_>>();
        let symbols = gold.symbols.iter().map(|(_, _, name)| name.as_str()).collect::<Vec<_>>();
        assert_eq!((files, symbols), (vec!["a.py"], vec!["C.f", "g"]));
    }
}
