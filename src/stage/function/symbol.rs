//! A symbol of a repository, and the line of an answer that names it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::index::outline::SymbolKind;
use crate::repo::path::RepoPath;

/// A symbol of a repository.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SymbolId {
    pub path: RepoPath,
    pub kind: SymbolKind,
    /// Qualified within the file; empty for [`SymbolKind::Module`].
    pub name: String,
}

impl fmt::Display for SymbolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}::{}::{}", self.path, self.kind.word(), self.name)
    }
}

/// The line of an answer that names a symbol.
pub(crate) fn answer_line(kind: SymbolKind, name: &str) -> String {
    match kind {
        SymbolKind::Module => "module:".to_owned(),
        kind => format!("{}: {name}", kind.word()),
    }
}
