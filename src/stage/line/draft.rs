//! What a prompt is made from: the files of the chosen symbols, in ranked pieces.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::index::outline::{LineSpan, Outline, SymbolKind};
use crate::stage::Context;
use crate::stage::function::symbol::SymbolId;
use crate::stage::line::shown::ShownLines;
use crate::stage::windows::{CodeFile, Piece, cut_pieces, n_names};

/// A file with chosen symbols.
pub(super) struct ChosenFile {
    pub(super) code: CodeFile,
    outline: Arc<Outline>,
    /// Number among all chosen symbols, kind, name, and spans.
    symbols: Vec<(usize, SymbolKind, String, Vec<LineSpan>)>,
}

pub(super) fn chosen_files(context: &Context, input: &[SymbolId]) -> Vec<ChosenFile> {
    let mut files: Vec<ChosenFile> = Vec::new();
    for (order, symbol) in input.iter().enumerate() {
        let at = files.iter().position(|file| file.code.path == symbol.path);
        let at = if let Some(at) = at {
            at
        } else {
            let outline = context.index.outline(&symbol.path);
            let text = context.index.snapshot().read_text(&symbol.path);
            let (Some(outline), Ok(text)) = (outline, text) else { continue };
            if text.n_lines() == 0 {
                continue;
            }
            let code = CodeFile { path: symbol.path.clone(), text };
            files.push(ChosenFile { code, outline: outline.clone(), symbols: Vec::new() });
            files.len() - 1
        };
        let spans = spans_of(&files[at].outline, symbol.kind, &symbol.name);
        if !spans.is_empty() {
            files[at].symbols.push((order, symbol.kind, symbol.name.clone(), spans));
        }
    }
    files
}

/// The lines of a symbol; of `module:` those that no other symbol holds, and the last.
fn spans_of(outline: &Outline, kind: SymbolKind, name: &str) -> Vec<LineSpan> {
    if kind != SymbolKind::Module {
        let symbol = outline.symbols.iter().find(|s| s.kind == kind && s.name == name);
        return symbol.map_or(Vec::new(), |s| s.places.iter().map(|place| place.span).collect());
    }
    let listed = outline.symbols.iter().filter(|symbol| symbol.kind != SymbolKind::Module);
    let mut owned: Vec<LineSpan> =
        listed.flat_map(|symbol| symbol.places.iter().map(|place| place.span)).collect();
    owned.sort_unstable();
    let mut spans = Vec::new();
    let mut next = 1;
    for span in owned {
        if next < span.first {
            spans.push(LineSpan { first: next, last: span.first - 1 });
        }
        next = next.max(span.last + 1);
    }
    // What is appended to a file is `module:`'s, so its last line is a place of `module:` too.
    let last = outline.n_lines;
    if 0 < last {
        spans.push(LineSpan { first: next.min(last), last });
    }
    spans
}

impl ChosenFile {
    /// The pieces of a file with their ranks: heads of the chosen symbols and what the issue's
    /// words point at first, imports among them, the lines around symbols last.
    pub(super) fn pieces(
        &self,
        file_idx: usize,
        context_lines: u32,
        names: &BTreeSet<&str>,
    ) -> Vec<Piece> {
        let text = &self.code.text;
        let n_lines = text.n_lines() as u32;
        let pointed = |span: LineSpan| n_names(text, span, names).min(4) as f64;
        let mut pieces = Vec::new();
        for span in &self.outline.imports {
            pieces.extend(cut_pieces(file_idx, *span, |idx, span| {
                1.0 + file_idx as f64 + 2.0 * idx as f64 - 0.5 * pointed(span)
            }));
        }
        for (order, kind, _, spans) in &self.symbols {
            let is_module = *kind == SymbolKind::Module;
            for span in spans {
                let first_rank = if is_module { 2.0 } else { 0.0 };
                pieces.extend(cut_pieces(file_idx, *span, |idx, span| {
                    let distance = if idx == 0 { first_rank } else { 1.0 + 0.2 * idx as f64 };
                    *order as f64 + distance - 0.7 * pointed(span)
                }));
                if is_module {
                    continue;
                }
                let around = [
                    (span.first.saturating_sub(context_lines).max(1), span.first - 1),
                    (span.last + 1, (span.last + context_lines).min(n_lines)),
                ];
                for (first, last) in around.into_iter().filter(|(first, last)| first <= last) {
                    let rank = |_, _| 6.0 + *order as f64;
                    pieces.extend(cut_pieces(file_idx, LineSpan { first, last }, rank));
                }
            }
        }
        // A file may have been cut since it was outlined only if its outline were stale; hold
        // to the text all the same.
        pieces.retain(|piece| piece.span.last <= n_lines);
        pieces
    }

    pub(super) fn shown(self, windows: Vec<LineSpan>) -> ShownLines {
        let symbols = self.symbols.into_iter();
        ShownLines {
            n_lines: self.code.text.n_lines() as u32,
            path: self.code.path,
            windows,
            symbols: symbols.map(|(_, kind, name, spans)| (kind, name, spans)).collect(),
        }
    }
}
