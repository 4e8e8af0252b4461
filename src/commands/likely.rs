//! The places that retrieval finds before any model is asked.

use std::fmt::Write as _;

use serde_json::json;

use crate::commands::output::{escape_controls, write_json, write_stdout};
use crate::commands::progress::ProgressView;
use crate::index::Index;
use crate::index::outline::SymbolKind;
use crate::index::retrieval::{RankOptions, RankedFile, Ranking, rank};

/// Ranks the files for an issue.
pub fn likely_places(index: &Index, issue: &str) -> Ranking {
    let options = RankOptions { max_files: 200, max_symbols: 200, max_symbols_per_file: 24 };
    rank(index, issue, &options)
}

/// The same, with the first five on stderr.
pub fn show_likely_places(index: &Index, issue: &str, view: &ProgressView) -> Ranking {
    let ranking = likely_places(index, issue);
    view.say("likely places, before any model is asked:");
    render_files(&ranking, 5).lines().for_each(|line| view.say(&format!("  {line}")));
    ranking
}

/// Writes a ranking as a result.
pub fn write_likely_places(ranking: &Ranking, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        return write_json(&json!({ "version": 1, "patch": null, "likely": ranking }));
    }
    write_stdout(&escape_controls(&render_files(ranking, 10)))
}

/// A line for each of the first files: path, best symbols, heaviest reason.
fn render_files(ranking: &Ranking, n_files: usize) -> String {
    let files = &ranking.files[..n_files.min(ranking.files.len())];
    let width = files.iter().map(|file| file.path.as_str().chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for file in files {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{:width$}  {}", file.path.as_str(), describe(file));
    }
    if files.is_empty() {
        text.push_str("none: the issue names nothing that this repository holds\n");
    }
    text
}

fn describe(file: &RankedFile) -> String {
    let named = file.symbols.iter().filter(|symbol| symbol.kind != SymbolKind::Module);
    let symbols: Vec<&str> = named.take(3).map(|symbol| symbol.name.as_str()).collect();
    let reason = file.reasons.first().map(|reason| reason.evidence.as_str()).unwrap_or_default();
    match (symbols.is_empty(), reason.is_empty()) {
        (true, _) => reason.to_owned(),
        (false, true) => symbols.join(", "),
        (false, false) => format!("{}  ({reason})", symbols.join(", ")),
    }
}
