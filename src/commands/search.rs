//! `sorft index --search`: the files and symbols that a text is most likely about, and why.

use clap::Args;
use serde::Serialize;

use crate::commands::Outcome;
use crate::commands::issue::read_text;
use crate::commands::output::{Format, escape_controls, note, write_json, write_stdout};
use crate::index::Index;
use crate::index::outline::SymbolKind;
use crate::index::retrieval::{RankOptions, RankedFile, RankedSymbol, Ranking, Reason, rank};

/// How much a search shows.
#[derive(Debug, Args)]
pub struct SearchArgs {
    /// Show what each place of `--search` is ranked by
    #[arg(long, requires = "search")]
    why: bool,
    /// So many files and symbols of `--search`
    #[arg(long, value_name = "N", default_value_t = 10, requires = "search")]
    top: usize,
}

#[derive(Serialize)]
struct Found<'a> {
    version: u32,
    files: &'a [RankedFile],
    symbols: &'a [RankedSymbol],
}

/// Ranks the source files and their symbols for a text (`-`: standard input) whose first line is
/// its title. Without any match, says so and misses.
pub fn show_search(
    index: &Index,
    text: &str,
    args: &SearchArgs,
    format: Format,
) -> anyhow::Result<Outcome> {
    let text = match text {
        "-" => read_text(std::io::stdin().lock(), "standard input")?,
        text => text.to_owned(),
    };
    let options =
        RankOptions { max_files: args.top, max_symbols: args.top, max_symbols_per_file: 3 };
    let mut ranking = rank(index, &text, &options);
    // What nothing speaks for is in the order of paths, which says nothing.
    ranking.files.retain(|file| 0.0 < file.score);
    ranking.symbols.retain(|symbol| 0.0 < symbol.score);
    if ranking.files.is_empty() {
        note("no source file holds a word of the text, and it names no path or symbol of them");
    }
    match format {
        Format::Json => {
            write_json(&Found { version: 1, files: &ranking.files, symbols: &ranking.symbols })?;
        }
        Format::Text => {
            write_stdout(&escape_controls(&render(&ranking, args.why)))?;
        }
    }
    Ok(if ranking.files.is_empty() { Outcome::Missed } else { Outcome::Done })
}

/// Files, then symbols over all files: rank, score and name; below, what the score is made of.
fn render(ranking: &Ranking, with_reasons: bool) -> String {
    let n_of = |reasons: &[Reason]| if with_reasons { reasons.len() } else { 0 };
    let mut text = String::new();
    if !ranking.files.is_empty() {
        text.push_str("files\n");
    }
    for (number, file) in ranking.files.iter().enumerate() {
        let name = file.path.to_string();
        text.push_str(&render_row(number, file.score, &name, &file.reasons[..n_of(&file.reasons)]));
    }
    if !ranking.symbols.is_empty() {
        text.push_str("symbols\n");
    }
    for (number, symbol) in ranking.symbols.iter().enumerate() {
        let name = match symbol.kind {
            SymbolKind::Module => format!("{}  module:", symbol.path),
            kind => format!("{}  {}: {}", symbol.path, kind.word(), symbol.name),
        };
        text.push_str(&render_row(
            number,
            symbol.score,
            &name,
            &symbol.reasons[..n_of(&symbol.reasons)],
        ));
    }
    text
}

fn render_row(number: usize, score: f64, name: &str, reasons: &[Reason]) -> String {
    let mut row = format!("{:>3} {score:>6.2}  {name}\n", number + 1);
    for reason in reasons {
        let signal = reason.signal.words();
        row.push_str(&format!("    {:>+6.2}    {signal}: {}\n", reason.weight, reason.evidence));
    }
    row
}
