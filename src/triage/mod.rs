//! Where an issue or a failing log points, and whether a change goes there. Without a model.
//!
//! An issue is retrieval's business; a log is read for the frames that matter; a change is compared
//! with the places that either names.

pub mod annotations;
pub mod change;
pub mod issue;
pub mod log;
pub mod sarif;
pub mod trace;

use serde::Serialize;

use crate::index::outline::SymbolKind;
use crate::repo::path::RepoPath;

/// Places in a repository, most likely first.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Findings {
    pub files: Vec<FoundFile>,
    pub symbols: Vec<FoundSymbol>,
    /// Lines that are named outright, or where the best symbols begin.
    pub lines: Vec<FoundLine>,
}

/// A file, and why it is likely.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FoundFile {
    pub path: RepoPath,
    /// Between 0 and 1: its share of the first file's score.
    pub score: f64,
    pub reasons: Vec<String>,
}

/// A symbol, and why it is likely.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FoundSymbol {
    pub path: RepoPath,
    pub kind: SymbolKind,
    /// Qualified within the file; empty for [`SymbolKind::Module`].
    pub name: String,
    /// Where it begins, 1-based.
    pub line: u32,
    /// Between 0 and 1: its share of the first symbol's score.
    pub score: f64,
    pub reasons: Vec<String>,
}

/// A line, and what points at it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FoundLine {
    pub path: RepoPath,
    /// 1-based.
    pub line: u32,
    pub reason: String,
}

impl Findings {
    /// The first `n` of each kind.
    pub fn truncate(&mut self, n: usize) {
        self.files.truncate(n);
        self.symbols.truncate(n);
        self.lines.truncate(n);
    }

    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }
}
