//! Ranks files, then symbols, for an issue, without a model.
//!
//! It sees the issue, the snapshot, and the ancestors of the snapshot's commit; never a gold patch
//! and never later history. Every score carries the reasons that it is made of.

pub mod frames;
pub(super) mod imports;
pub mod issue;
pub mod terms;
pub mod words;

#[cfg(test)]
mod examples;
mod files;
mod scan;
mod segments;
mod symbols;

use serde::Serialize;

use crate::index::Index;
use crate::index::outline::SymbolKind;
use crate::index::retrieval::files::FileScores;
use crate::index::retrieval::issue::Issue;
use crate::index::retrieval::scan::{Document, Query, Scan};
use crate::index::retrieval::symbols::rank_symbols;
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
    /// One of its symbols holds many of the words.
    BestSymbol,
    /// Words of the issue name the file.
    FileName,
    /// The kind of file or symbol: no source code, an example, a script beside the product.
    Kind,
    /// For a symbol: the rank of its file.
    File,
}

impl Signal {
    /// What a reader is told it is.
    pub fn words(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::DottedName => "dotted name",
            Self::Traceback => "traceback",
            Self::Definition => "defines",
            Self::Message => "message",
            Self::Words => "words",
            Self::Imports => "imports",
            Self::BestSymbol => "best symbol",
            Self::FileName => "file name",
            Self::Kind => "kind",
            Self::File => "file",
        }
    }
}

/// Ranks the source files of an index, and their symbols, for an issue whose first line is its
/// title.
///
/// It looks at every term of every file once, so that its time grows with the repository alone;
/// of an issue of any length it reads a bounded part.
pub fn rank(index: &Index, issue: &str, options: &RankOptions) -> Ranking {
    let documents = index
        .source_files()
        .filter_map(|(path, outline)| Some(Document { path, outline, terms: index.terms(path)? }))
        .collect::<Vec<_>>();
    let issue = Issue::parse(issue);
    let query = Query::new(&issue);
    let scan = Scan::new(&documents, &query);
    let scores = FileScores::new(&documents, &issue, &query, &scan);
    let mut symbols = rank_symbols(&documents, &issue, &query, &scan, &scores);
    let ranked = scores.order.iter().take(options.max_files).map(|file| {
        let path = documents[*file].path.clone();
        let of_file = symbols.iter().filter(|symbol| symbol.path == path);
        RankedFile {
            score: scores.scores[*file],
            reasons: scores.reasons(*file, &query, &scan),
            symbols: of_file.take(options.max_symbols_per_file).cloned().collect(),
            path,
        }
    });
    let files = ranked.collect();
    symbols.truncate(options.max_symbols);
    Ranking { files, symbols }
}
