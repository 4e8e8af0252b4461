//! The symbols of a prompt, and which of them an answer means.

use serde::{Deserialize, Serialize};

use crate::index::outline::SymbolKind;
use crate::repo::path::RepoPath;
use crate::stage::function::symbol::{SymbolId, answer_line};
use crate::stage::known::Known;

/// The symbols of a prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FunctionShown {
    pub files: Vec<ShownSymbols>,
    /// Symbols of the chosen files without room.
    pub left_out: usize,
    /// All paths of the snapshot.
    pub known: Known,
}

/// The symbols of a file in a prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShownSymbols {
    pub path: RepoPath,
    /// In file order; `module:` is always there, last.
    pub symbols: Vec<(SymbolKind, String)>,
    /// All symbols of the file, as answer lines.
    pub known: Known,
}

impl ShownSymbols {
    pub(super) fn shows(&self, kind: SymbolKind, name: &str) -> bool {
        self.symbols.iter().any(|(other, shown)| *other == kind && shown == name)
    }

    /// The symbol that an answer names: exactly, else the one shown symbol of that name with
    /// another kind, else the one shown symbol whose last parts are that name.
    pub(super) fn find(&self, kind: SymbolKind, name: &str) -> Option<SymbolId> {
        let id = |kind, name: &str| SymbolId { path: self.path.clone(), kind, name: name.into() };
        if self.shows(kind, name) || self.known.contains(&answer_line(kind, name)) {
            return Some(id(kind, name));
        }
        let only = |is_meant: &dyn Fn(&str) -> bool| {
            let mut meant = self.symbols.iter().filter(|(_, shown)| is_meant(shown));
            let first = meant.next()?;
            meant.next().is_none().then(|| id(first.0, &first.1))
        };
        only(&|shown| shown == name && !name.is_empty()).or_else(|| {
            only(&|shown| shown.strip_suffix(name).is_some_and(|head| head.ends_with('.')))
        })
    }
}
