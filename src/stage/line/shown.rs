//! The lines of a prompt, which are all that an answer may name.

use serde::{Deserialize, Serialize};

use crate::index::outline::{LineSpan, SymbolKind};
use crate::repo::path::RepoPath;
use crate::stage::known::Known;

/// The lines of a prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LineShown {
    pub files: Vec<ShownLines>,
    /// Lines of the chosen symbols and around them without room.
    pub left_out: usize,
    /// All paths of the snapshot.
    pub known: Known,
}

/// The lines of a file in a prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShownLines {
    pub path: RepoPath,
    /// Lines of the whole file.
    pub n_lines: u32,
    /// In order, apart from each other.
    pub windows: Vec<LineSpan>,
    /// The chosen symbols, for the shorthand.
    pub symbols: Vec<(SymbolKind, String, Vec<LineSpan>)>,
}

impl ShownLines {
    pub(super) fn shows(&self, line: u32) -> bool {
        self.windows.iter().any(|window| window.first <= line && line <= window.last)
    }
}
