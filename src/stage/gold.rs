//! A gold patch as base text and patched text, compared line by line.
//!
//! Truth comes from these comparisons, not from the hunks as some tool placed them.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::diff::change::{FileChange, FileState};
use crate::diff::lines::{LineChange, diff_lines};
use crate::index::Index;
use crate::index::outline::{Symbol, SymbolKind};
use crate::index::owner::{owner_of_insertion, owner_of_line};
use crate::repo::path::RepoPath;
use crate::repo::text::Text;
use crate::stage::function::symbol::SymbolId;

/// What a gold patch does to the files that it may be judged by.
#[derive(Debug, Clone, Default)]
pub struct Gold {
    pub files: Vec<GoldFile>,
    /// Files of the patch that are left out because they are tests.
    pub n_tests_left_out: usize,
}

/// What a gold patch does to one file.
#[derive(Debug, Clone)]
pub struct GoldFile {
    /// The path in the base tree; for a created file the one it gets.
    pub path: RepoPath,
    pub status: GoldStatus,
    /// `None` where it is created, or is not a text.
    pub base: Option<Arc<Text>>,
    /// `None` where it is deleted, or is not a text.
    pub patched: Option<Arc<Text>>,
    /// In order; 0-based. An insertion stands before the base line that it starts at.
    pub changes: Vec<LineChange>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GoldStatus {
    Created,
    Changed,
    Deleted,
    Renamed { to: RepoPath },
}

/// Which files of a gold patch count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GoldFiles {
    /// All: the record's tests are a patch of their own.
    All,
    /// All but tests.
    WithoutTests,
}

impl Gold {
    /// Compares the files of an applied gold patch.
    pub fn new(index: &Index, changes: &[FileChange], files: GoldFiles) -> Self {
        let mut gold = Self::default();
        for file in changes.iter().filter_map(GoldFile::of_change) {
            if files == GoldFiles::WithoutTests && index.is_test(&file.path) {
                gold.n_tests_left_out += 1;
            } else {
                gold.files.push(file);
            }
        }
        gold
    }

    /// The files that exist in the base tree: those that can be localized.
    pub fn base_files(&self) -> impl Iterator<Item = &GoldFile> {
        self.files.iter().filter(|file| file.status != GoldStatus::Created)
    }

    /// The symbols that own the changed places of the base side.
    pub fn owners(&self, index: &Index) -> BTreeSet<SymbolId> {
        let mut owners = BTreeSet::new();
        for file in self.base_files() {
            let (Some(base), Some(outline)) = (&file.base, index.outline(&file.path)) else {
                continue;
            };
            let id = |symbol: Option<&Symbol>| SymbolId {
                path: file.path.clone(),
                kind: symbol.map_or(SymbolKind::Module, |symbol| symbol.kind),
                name: symbol.map_or(String::new(), |symbol| symbol.name.clone()),
            };
            for change in &file.changes {
                if change.base.is_empty() {
                    let inserted = file.inserted(change);
                    let behind = change.base.start as u32;
                    owners.insert(id(owner_of_insertion(outline, base, behind, &inserted)));
                }
                let replaced = change.base.clone();
                owners.extend(replaced.map(|idx| id(owner_of_line(outline, idx as u32 + 1))));
            }
        }
        owners
    }
}

impl GoldFile {
    /// Compares a file before and after; `None` where nothing differs.
    pub(crate) fn of_change(change: &FileChange) -> Option<Self> {
        let text = |state: Option<&FileState>| {
            state.and_then(|state| Text::decode(&state.bytes).ok()).map(Arc::new)
        };
        let (before, after) = (change.before(), change.after());
        let path = before.or(after).filter(|_| change.is_real())?.path.clone();
        let status = match (before, after) {
            (None, _) => GoldStatus::Created,
            (_, None) => GoldStatus::Deleted,
            (Some(before), Some(after)) if before.path != after.path => {
                GoldStatus::Renamed { to: after.path.clone() }
            }
            _ => GoldStatus::Changed,
        };
        Some(Self::new(path, status, text(before), text(after)))
    }

    pub(crate) fn new(
        path: RepoPath,
        status: GoldStatus,
        base: Option<Arc<Text>>,
        patched: Option<Arc<Text>>,
    ) -> Self {
        let lines = |text: &'_ Option<Arc<Text>>| -> Vec<String> {
            text.iter().flat_map(|text| text.lines().map(ToOwned::to_owned)).collect()
        };
        let changes = diff_lines(&lines(&base), &lines(&patched));
        Self { path, status, base, patched, changes }
    }

    /// The new lines of a change.
    pub(crate) fn inserted(&self, change: &LineChange) -> Vec<&str> {
        let patched = self.patched.iter();
        patched.flat_map(|text| change.new.clone().map(|idx| text.line(idx))).collect()
    }
}
