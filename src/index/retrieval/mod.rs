//! Ranks files, then symbols, for an issue, without a model.
//!
//! It sees the issue, the snapshot, and the ancestors of the snapshot's commit; never a gold patch
//! and never later history. Every score carries the reasons that it is made of.

use serde::Serialize;

use crate::index::outline::SymbolKind;
use crate::repo::path::RepoPath;

/// How much of a ranking to make.
#[derive(Debug, Clone, Copy)]
pub struct RankOptions {
    /// At most so many files, best first.
    pub max_files: usize,
    /// At most so many symbols in [`Ranking::symbols`].
    pub max_symbols: usize,
    /// At most so many symbols in each [`RankedFile::symbols`].
    pub max_symbols_per_file: usize,
}

/// What an issue is most likely about, best first; equal scores in path order.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Ranking {
    pub files: Vec<RankedFile>,
    /// Over all files together.
    pub symbols: Vec<RankedSymbol>,
}

/// A source file, and why it ranks where it does.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RankedFile {
    pub path: RepoPath,
    /// The sum of the reasons' weights; comparable within one ranking only.
    pub score: f64,
    /// Heaviest first.
    pub reasons: Vec<Reason>,
    /// The file's best symbols, best first.
    pub symbols: Vec<RankedSymbol>,
}

/// A symbol, named as answers name it, and why it ranks where it does.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RankedSymbol {
    pub path: RepoPath,
    pub kind: SymbolKind,
    /// Qualified within the file; empty for [`SymbolKind::Module`].
    pub name: String,
    /// Comparable within one ranking only.
    pub score: f64,
    /// Heaviest first.
    pub reasons: Vec<Reason>,
}

/// One part of a score.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reason {
    pub signal: Signal,
    /// What in the issue or the repository gave the signal, for a reader: `src/a/b.py:12`.
    pub evidence: String,
    /// What it adds to the score; negative for a penalty.
    pub weight: f64,
}

/// What kind of evidence a [`Reason`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// The issue names the path.
    Path,
    /// The issue names the module, or something in it, in dotted form.
    DottedName,
    /// A traceback in the issue passes through.
    Traceback,
    /// The issue names an identifier that is defined here.
    Definition,
    /// The issue quotes a message whose literal text stands here.
    Message,
    /// Words of the issue occur here.
    Words,
    /// Files that import this one, or that it imports, rank high.
    Imports,
    /// Earlier commits changed it, more than most.
    History,
    /// The kind of file: an example, a document's configuration, a re-exporting `__init__`.
    FileKind,
    /// For a symbol: the rank of its file.
    File,
}
