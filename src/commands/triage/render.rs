//! Findings and comparisons in words.

use std::fmt::Write as _;

use crate::index::outline::SymbolKind;
use crate::triage::change::Comparison;
use crate::triage::{Findings, FoundSymbol};

/// Reasons shown of a place.
const MOST_REASONS: usize = 3;

pub(super) fn render_findings(findings: &Findings) -> String {
    let mut text = String::new();
    if findings.is_empty() {
        text.push_str("nothing in this repository is named, and no word of it occurs\n");
        return text;
    }
    // Writing to a string cannot fail.
    let _ = writeln!(text, "files");
    for (at, file) in findings.files.iter().enumerate() {
        let _ = writeln!(text, "{:>3} {:>4.2}  {}", at + 1, file.score, file.path);
        let _ = writeln!(text, "          {}", why(&file.reasons));
    }
    let _ = writeln!(text, "symbols");
    for (at, symbol) in findings.symbols.iter().enumerate() {
        let _ = writeln!(text, "{:>3} {:>4.2}  {}", at + 1, symbol.score, name_of(symbol));
        let _ = writeln!(text, "          {}", why(&symbol.reasons));
    }
    if !findings.lines.is_empty() {
        let _ = writeln!(text, "lines");
    }
    for line in &findings.lines {
        let _ = writeln!(text, "          {}:{}  {}", line.path, line.line, line.reason);
    }
    text
}

fn name_of(symbol: &FoundSymbol) -> String {
    match symbol.kind {
        SymbolKind::Module => format!("{}  module:", symbol.path),
        kind => format!("{}:{}  {}: {}", symbol.path, symbol.line, kind.word(), symbol.name),
    }
}

fn why(reasons: &[String]) -> String {
    reasons[..reasons.len().min(MOST_REASONS)].join("; ")
}

/// The verdict first, then what it rests on.
pub(super) fn render_comparison(comparison: &Comparison, threshold: f64) -> String {
    let Comparison { agreement, f_3, touched, missing, unexpected } = comparison;
    let verdict = if *agreement < threshold {
        "the staged change goes elsewhere than the issue points"
    } else {
        "the staged change goes where the issue points"
    };
    let mut text =
        format!("{verdict}: agreement {agreement:.2}, wanted {threshold:.2}; F_3 {f_3:.2}\n");
    for file in touched {
        let place = file.place.map_or("nothing points at it".to_owned(), |place| {
            format!("place {place} of the files")
        });
        let _ = writeln!(text, "  changed     {}  {place}", file.path);
        for (symbol, place) in file.symbols.iter().filter(|(symbol, _)| !symbol.name.is_empty()) {
            if let Some(place) = place {
                let name = &symbol.name;
                let _ = writeln!(text, "              {name}  place {place} of the symbols");
            }
        }
    }
    for path in missing {
        let _ = writeln!(text, "  not changed {path}  likely, by the issue");
    }
    for path in unexpected {
        let _ = writeln!(text, "  unexpected  {path}");
    }
    text
}
