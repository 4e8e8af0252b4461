//! `--in`: places that the user knows.

use anyhow::{Context as _, bail, ensure};

use crate::index::Index;
use crate::index::outline::{Outline, Symbol, SymbolKind};
use crate::pipeline::places::{LineSet, Places};
use crate::repo::path::RepoPath;
use crate::stage::function::symbol::SymbolId;

/// Reads `PATH`, `PATH:SYMBOL`, `PATH:LINE` and `PATH:FIRST-LAST`.
///
/// # Errors
///
/// A file, symbol or line that is not there, named with what is.
pub fn parse_places(texts: &[String], index: &Index) -> anyhow::Result<Places> {
    let mut places = Places::default();
    let mut lines = Vec::new();
    for text in texts {
        let (path, rest) = match text.split_once(':') {
            Some((path, rest)) => (path, Some(rest)),
            None => (text.as_str(), None),
        };
        let path = RepoPath::parse(path.strip_prefix("./").unwrap_or(path))
            .with_context(|| format!("in `--in {text}`"))?;
        let outline = index.outline(&path).with_context(|| {
            format!(
                "`--in {text}`: `{path}` is no text file of this repository\n\
                 hint: paths are relative to REPO; `sorft index --tree` lists them"
            )
        })?;
        match rest {
            None => places.files.push(path),
            Some(rest) => match parse_lines(rest) {
                Some((first, last)) => {
                    ensure!(
                        1 <= first && first <= last && last <= outline.n_lines,
                        "`--in {text}`: `{path}` has the lines 1 to {}",
                        outline.n_lines
                    );
                    lines.extend((first..=last).map(|line| (path.clone(), line)));
                }
                None => {
                    let found = outline.symbols.iter().find(|symbol| symbol.name == rest);
                    let kind = match found {
                        Some(symbol) => symbol.kind,
                        None if matches!(rest, "" | "module" | "module:" | ":module:") => {
                            SymbolKind::Module
                        }
                        None => bail!(
                            "`--in {text}`: `{path}` has no symbol `{rest}`{}\n\
                             hint: `sorft index --skeleton {path}` shows those it has",
                            nearest(outline, rest)
                        ),
                    };
                    let name = found.map(|symbol| symbol.name.clone()).unwrap_or_default();
                    places.symbols.push(SymbolId { path, kind, name });
                }
            },
        }
    }
    if !lines.is_empty() {
        places.line_sets.push(LineSet { lines, votes: 0 });
    }
    Ok(places)
}

/// The symbol that a misspelt name may mean.
fn nearest(outline: &Outline, name: &str) -> String {
    let near = |symbol: &&Symbol| {
        let last = symbol.name.rsplit('.').next().unwrap_or_default();
        strsim::jaro_winkler(last, name).max(strsim::jaro_winkler(&symbol.name, name))
    };
    let best = outline.symbols.iter().max_by(|left, right| near(left).total_cmp(&near(right)));
    let best = best.filter(|symbol| 0.7 < near(symbol));
    best.map_or(String::new(), |symbol| format!("; is it `{}`?", symbol.name))
}

fn parse_lines(text: &str) -> Option<(u32, u32)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Some((first.parse().ok()?, last.parse().ok()?))
}
