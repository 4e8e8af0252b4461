//! Code as prompts show it: runs of lines of a few files, chosen piece by piece until the budget
//! is full, shown in file order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::index::outline::LineSpan;
use crate::repo::path::RepoPath;
use crate::repo::text::Text;

/// A file of which a prompt may show lines.
#[derive(Clone)]
pub(crate) struct CodeFile {
    pub(crate) path: RepoPath,
    pub(crate) text: Arc<Text>,
}

/// A run of lines that is shown whole or not at all.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Piece {
    pub(crate) file_idx: usize,
    pub(crate) span: LineSpan,
    /// Pieces are taken by this, lowest first; equal ones in order.
    pub(crate) rank: f64,
}

/// Lines that a piece has at most.
pub(crate) const PIECE_LINES: u32 = 8;

/// Cuts a span into pieces; `rank` gives each one's place from its number and span.
pub(crate) fn cut_pieces(
    file_idx: usize,
    span: LineSpan,
    mut rank: impl FnMut(usize, LineSpan) -> f64,
) -> Vec<Piece> {
    let starts = (span.first..=span.last).step_by(PIECE_LINES as usize);
    let span_at = |first: u32| LineSpan { first, last: span.last.min(first + PIECE_LINES - 1) };
    let pieces = starts.map(span_at).enumerate();
    pieces.map(|(idx, span)| Piece { file_idx, span, rank: rank(idx, span) }).collect()
}

/// Orders pieces by rank, and takes from later ones the lines that earlier ones show.
pub(crate) fn order_pieces(mut pieces: Vec<Piece>) -> Vec<Piece> {
    pieces.sort_by(|a, b| a.rank.total_cmp(&b.rank));
    let mut seen: BTreeMap<usize, Vec<bool>> = BTreeMap::new();
    let mut distinct = Vec::new();
    for piece in pieces {
        let seen = seen.entry(piece.file_idx).or_default();
        if seen.len() <= piece.span.last as usize {
            seen.resize(piece.span.last as usize + 1, false);
        }
        let mut run: Option<LineSpan> = None;
        for line in piece.span.first..=piece.span.last {
            if std::mem::replace(&mut seen[line as usize], true) {
                distinct.extend(run.take().map(|span| Piece { span, ..piece }));
            } else {
                run = Some(LineSpan { first: run.map_or(line, |run| run.first), last: line });
            }
        }
        distinct.extend(run.map(|span| Piece { span, ..piece }));
    }
    distinct
}

/// The windows of each file: the lines of the pieces, merged where they touch, in file order.
pub(crate) fn windows(pieces: &[Piece], n_files: usize) -> Vec<Vec<LineSpan>> {
    let mut files = vec![Vec::new(); n_files];
    let mut spans: Vec<(usize, LineSpan)> =
        pieces.iter().map(|piece| (piece.file_idx, piece.span)).collect();
    spans.sort_unstable();
    for (file_idx, span) in spans {
        let windows: &mut Vec<LineSpan> = &mut files[file_idx];
        match windows.last_mut() {
            Some(last) if span.first <= last.last + 1 => last.last = last.last.max(span.last),
            _ => windows.push(span),
        }
    }
    files
}

/// How many lines a slice of pieces has; pieces of [`order_pieces`] do not overlap.
pub(crate) fn n_lines(pieces: &[Piece]) -> usize {
    pieces.iter().map(|piece| (piece.span.last - piece.span.first + 1) as usize).sum()
}

/// The files with their windows, each line written by `line` (number, text); windows of a file
/// are divided by a line of three dots.
pub(crate) fn render_windows(
    files: &[CodeFile],
    windows: &[Vec<LineSpan>],
    line: impl Fn(u32, &str) -> String,
) -> String {
    let mut text = String::new();
    for (file, windows) in files.iter().zip(windows).filter(|(_, windows)| !windows.is_empty()) {
        let code = || windows.iter().flat_map(|span| span.first..=span.last);
        let fence = fence_for(code().map(|number| file.text.line(number as usize - 1)));
        text.extend(["### ", file.path.as_str(), "\n", &fence, "\n"]);
        for (idx, span) in windows.iter().enumerate() {
            if 0 < idx {
                text += "...\n";
            }
            for number in span.first..=span.last {
                text += &line(number, file.text.line(number as usize - 1));
                text.push('\n');
            }
        }
        text += &fence;
        text += "\n\n";
    }
    text.truncate(text.trim_end().len());
    text
}

/// A fence longer than any that the lines open.
fn fence_for<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    let backticks = |line: &str| {
        let line = line.trim_start();
        line.len() - line.trim_start_matches('`').len()
    };
    "`".repeat(lines.map(backticks).max().unwrap_or(0).max(2) + 1)
}

/// Words of an issue that may be names in code: letters, digits and `_`, four characters or more,
/// or any that stand in backticks or hold `_`.
pub(crate) fn issue_names(issue: &str) -> BTreeSet<&str> {
    let is_word = |c: char| c == '_' || c.is_alphanumeric();
    issue.split(|c: char| !is_word(c)).filter(|word| 4 <= word.len() && word.len() <= 60).collect()
}

/// How many of the names occur in the lines.
pub(crate) fn n_names(text: &Text, span: LineSpan, names: &BTreeSet<&str>) -> usize {
    let is_word = |c: char| c == '_' || c.is_alphanumeric();
    let lines = (span.first..=span.last).map(|number| text.line(number as usize - 1));
    let words = lines.flat_map(|line| line.split(|c: char| !is_word(c)));
    let found: BTreeSet<&str> = words.filter(|word| names.contains(word)).collect();
    found.len()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn piece(first: u32, last: u32, rank: f64) -> Piece {
        Piece { file_idx: 0, span: LineSpan { first, last }, rank }
    }

    #[test]
    fn pieces_do_not_repeat_lines_and_merge_where_they_touch() {
        let pieces = order_pieces(vec![piece(1, 6, 2.0), piece(3, 4, 1.0), piece(9, 9, 3.0)]);
        let spans: Vec<(u32, u32)> = pieces.iter().map(|p| (p.span.first, p.span.last)).collect();
        assert_eq!(spans, [(3, 4), (1, 2), (5, 6), (9, 9)]);
        assert_eq!(n_lines(&pieces), 7);
        let merged: Vec<(u32, u32)> =
            windows(&pieces, 1)[0].iter().map(|span| (span.first, span.last)).collect();
        assert_eq!(merged, [(1, 6), (9, 9)]);
    }

    #[test]
    fn a_span_is_cut_into_pieces() {
        let pieces = cut_pieces(0, LineSpan { first: 5, last: 21 }, |idx, _| idx as f64);
        let spans: Vec<(u32, u32)> = pieces.iter().map(|p| (p.span.first, p.span.last)).collect();
        assert_eq!(spans, [(5, 12), (13, 20), (21, 21)]);
    }

    #[test]
    fn windows_are_fenced_and_divided() {
        let text = Text::decode(b"a\n```py\nb\n````\nc\n").unwrap();
        let file = CodeFile { path: RepoPath::parse("x.md").unwrap(), text: Arc::new(text) };
        let windows = vec![vec![LineSpan { first: 1, last: 2 }, LineSpan { first: 4, last: 4 }]];
        expect![[r"
            ### x.md
            `````
            1| a
            2| ```py
            ...
            4| ````
            `````"]]
        .assert_eq(&render_windows(&[file], &windows, |number, line| format!("{number}| {line}")));
    }
}
