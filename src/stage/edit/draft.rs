//! What a prompt is made from: the files of the chosen lines, in ranked pieces.

use std::sync::Arc;

use crate::index::outline::{LineSpan, Outline};
use crate::repo::path::RepoPath;
use crate::stage::Context;
use crate::stage::edit::shown::{ShownCode, Window};
use crate::stage::windows::{CodeFile, Piece, cut_pieces};

/// Lines up to which the symbol around a chosen line is shown whole, if there is room.
const SMALL_SYMBOL: u32 = 40;

/// A file with chosen lines.
pub(in crate::stage) struct ChosenFile {
    pub(in crate::stage) code: CodeFile,
    outline: Arc<Outline>,
    /// Number among all chosen lines, and line.
    chosen: Vec<(usize, u32)>,
}

pub(in crate::stage) fn chosen_files(
    context: &Context,
    input: &[(RepoPath, u32)],
) -> Vec<ChosenFile> {
    let mut files: Vec<ChosenFile> = Vec::new();
    for (order, (path, line)) in input.iter().enumerate() {
        let at = if let Some(at) = files.iter().position(|file| file.code.path == *path) {
            at
        } else {
            let outline = context.index.outline(path);
            let text = context.index.snapshot().read_text(path);
            let (Some(outline), Ok(text)) = (outline, text) else { continue };
            let code = CodeFile { path: path.clone(), text };
            files.push(ChosenFile { code, outline: outline.clone(), chosen: Vec::new() });
            files.len() - 1
        };
        let line = (*line).clamp(1, files[at].code.text.n_lines().max(1) as u32);
        files[at].chosen.push((order, line));
    }
    files.retain(|file| 0 < file.code.text.n_lines());
    files
}

impl ChosenFile {
    /// The pieces of a file with their ranks: the chosen lines, the head of the symbol around
    /// each, the rest of small symbols, the lines around, then imports.
    pub(in crate::stage) fn pieces(&self, file_idx: usize, context_lines: u32) -> Vec<Piece> {
        let n_lines = self.code.text.n_lines() as u32;
        let around = |line: u32, margin: u32| LineSpan {
            first: line.saturating_sub(margin).max(1),
            last: (line + margin).min(n_lines),
        };
        let mut pieces = Vec::new();
        let mut piece = |span: LineSpan, rank: f64| {
            pieces.extend(cut_pieces(file_idx, span, |idx, _| rank + 0.01 * idx as f64));
        };
        for (order, line) in &self.chosen {
            let order = *order as f64 * 0.3;
            piece(around(*line, 2), order);
            piece(around(*line, context_lines / 2), 2.0 + order);
            piece(around(*line, context_lines), 4.0 + order);
            let inner = innermost(&self.outline, *line);
            if let Some((span, header)) = inner {
                piece(header, 1.0 + order);
                if span.last - span.first < SMALL_SYMBOL {
                    piece(span, 3.0 + order);
                }
            }
        }
        for span in &self.outline.imports {
            piece(*span, 3.0 + 0.5 * file_idx as f64);
        }
        pieces.retain(|piece| piece.span.last <= n_lines);
        pieces
    }

    pub(in crate::stage) fn shown(self, windows: &[LineSpan]) -> ShownCode {
        let text = &self.code.text;
        let window = |span: &LineSpan| Window {
            first: span.first,
            lines: (span.first..=span.last)
                .map(|number| text.line(number as usize - 1).to_owned())
                .collect(),
        };
        ShownCode {
            n_lines: text.n_lines() as u32,
            windows: windows.iter().map(window).collect(),
            chosen: self.chosen.iter().map(|(_, line)| *line).collect(),
            path: self.code.path,
        }
    }
}

/// The span and the header of the smallest place that holds a line.
fn innermost(outline: &Outline, line: u32) -> Option<(LineSpan, LineSpan)> {
    let places = outline.symbols.iter().flat_map(|symbol| &symbol.places);
    let holds = |span: LineSpan| span.first <= line && line <= span.last;
    let around = places.filter(|place| holds(place.span));
    let smallest = around.min_by_key(|place| place.span.last - place.span.first)?;
    Some((smallest.span, smallest.header))
}
