//! The edits of a completion: read from its answer block, and written as one.
//!
//! Reading forgives form (any info string, backticks around paths, CRLF, missing or additional
//! blank lines) and nothing that would leave open which text is meant. It knows no repository.

#[cfg(test)]
mod tests;

use std::fmt::Write;

use crate::repo::path::{PathError, RepoPath};
use crate::search_replace::fence::{Ended, last_block};
use crate::search_replace::marker::{Marker, free_marker_length, parse_marker};

/// One edit of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// Puts lines in the place of others, creates a file (no SEARCH), or deletes lines (no
    /// REPLACE). `path` is the one that the edit stands under.
    Replace {
        path: RepoPath,
        search: Side,
        replace: Side,
    },
    Delete {
        path: RepoPath,
    },
    Rename {
        from: RepoPath,
        to: RepoPath,
    },
    SetMode {
        path: RepoPath,
        is_executable: bool,
    },
}

/// The SEARCH or the REPLACE part of an edit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Side {
    /// Lines without their ends.
    pub lines: Vec<String>,
    /// Whether the part says that the last line ends the file without a newline.
    pub no_newline: bool,
}

/// The last line of a part whose text ends the file without a newline.
const NO_NEWLINE: &str = "\\ No newline at end of file";

/// Why a completion holds no usable edits. Lines are counted from 1 in the completion.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseEditsError {
    /// `no answer`
    #[error("a fenced block was wanted, and none was found")]
    NoBlock,
    /// `cut off`
    #[error("the token limit cut the answer inside its block")]
    CutOff,
    /// `empty answer`
    #[error("the block holds no edit")]
    NoEdit,
    /// `malformed edit`
    #[error("line {line}: {wanted} was wanted, and `{found}` was found")]
    Malformed { line: usize, wanted: Wanted, found: String },
    /// `unsafe path`
    #[error("line {line}: {why}")]
    UnsafePath { line: usize, why: PathError },
}

/// What should have stood in the place of what was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Wanted {
    #[error("a `### path` header or `<<<<<<< SEARCH`")]
    HeaderOrSearch,
    #[error("a `### path` header before the first edit")]
    Header,
    #[error("a path behind `###`")]
    Path,
    #[error("`### rename OLD -> NEW`")]
    Rename,
    #[error("`### mode 755 PATH` or `### mode 644 PATH`")]
    Mode,
    #[error("the divider `=======`")]
    Divider,
    #[error("one divider only (longer markers where the code holds such a line)")]
    OneDivider,
    #[error("the closing `>>>>>>> REPLACE`")]
    Close,
    #[error("nothing under a deleted file")]
    NothingAfterDelete,
}

/// Reads the edits of a completion's answer block.
pub fn parse_completion(completion: &str, ended: Ended) -> Result<Vec<Edit>, ParseEditsError> {
    let block = last_block(completion).ok_or(ParseEditsError::NoBlock)?;
    if block.is_cut_off(ended) {
        return Err(ParseEditsError::CutOff);
    }
    parse_edits(block.body, block.first_line)
}

/// Reads the edits of a block's body, whose first line has the number given.
pub fn parse_edits(body: &str, first_line: usize) -> Result<Vec<Edit>, ParseEditsError> {
    let mut edits = Vec::new();
    let mut header = Header::None;
    let lines = body.split_inclusive('\n').map(|line| line.trim_end_matches(['\n', '\r']));
    let mut lines = lines.zip(first_line..).peekable();
    while let Some((line, at)) = lines.next() {
        let malformed = |wanted| {
            let found = line.chars().take(80).collect();
            ParseEditsError::Malformed { line: at, wanted, found }
        };
        if line.trim().is_empty() {
            continue;
        }
        if let Some((Marker::Search, length)) = parse_marker(line) {
            let path = match &header {
                Header::Path(path) => path.clone(),
                Header::None => return Err(malformed(Wanted::Header)),
                Header::Deleted => return Err(malformed(Wanted::NothingAfterDelete)),
            };
            let (search, replace) = parse_sides(&mut lines, length, at)?;
            edits.push(Edit::Replace { path, search, replace });
            continue;
        }
        let is_next_search = || {
            let mut rest = lines.clone();
            let next = rest.find(|(line, _)| !line.trim().is_empty());
            next.is_some_and(|(line, _)| matches!(parse_marker(line), Some((Marker::Search, _))))
        };
        let text = match header_text(line) {
            Some(text) => text,
            // A bare path right above an edit.
            None if looks_like_path(line) && is_next_search() => line.trim(),
            None => return Err(malformed(Wanted::HeaderOrSearch)),
        };
        let path = |text: &str| {
            let text = unwrapped(text);
            match RepoPath::parse(text.strip_prefix("./").unwrap_or(text)) {
                Ok(path) => Ok(path),
                Err(PathError::Empty) => Err(malformed(Wanted::Path)),
                Err(why) => Err(ParseEditsError::UnsafePath { line: at, why }),
            }
        };
        header = if let Some(target) = text.strip_prefix("delete ") {
            edits.push(Edit::Delete { path: path(target)? });
            Header::Deleted
        } else if let Some(paths) = text.strip_prefix("rename ") {
            let (from, to) = split_rename(paths).ok_or_else(|| malformed(Wanted::Rename))?;
            let (from, to) = (path(from)?, path(to)?);
            edits.push(Edit::Rename { from: from.clone(), to });
            Header::Path(from)
        } else if let Some(rest) = text.strip_prefix("mode ") {
            let (mode, target) =
                rest.trim_start().split_once(' ').ok_or_else(|| malformed(Wanted::Mode))?;
            let is_executable = match mode {
                "755" | "100755" => true,
                "644" | "100644" => false,
                _ => return Err(malformed(Wanted::Mode)),
            };
            let path = path(target)?;
            edits.push(Edit::SetMode { path: path.clone(), is_executable });
            Header::Path(path)
        } else {
            Header::Path(path(text)?)
        };
    }
    if edits.is_empty() { Err(ParseEditsError::NoEdit) } else { Ok(edits) }
}

/// What the edits below stand under.
enum Header {
    None,
    Path(RepoPath),
    Deleted,
}

/// The text behind the `#` signs of a header line.
fn header_text(line: &str) -> Option<&str> {
    let text = line.trim();
    let rest = text.trim_start_matches('#');
    let n_signs = text.len() - rest.len();
    ((2..=6).contains(&n_signs) && rest.starts_with([' ', '\t'])).then(|| rest.trim())
}

/// Whether a line without `###` may be meant as a path: a single word with a dot or a slash.
fn looks_like_path(line: &str) -> bool {
    let word = unwrapped(line);
    word.contains(['.', '/']) && !word.contains(char::is_whitespace)
}

/// A path without the backticks, quotes or asterisks around it, or a colon behind it.
fn unwrapped(text: &str) -> &str {
    let text = text.trim();
    if let Some((inner, rest)) = code_span(text)
        && matches!(rest, "" | ":")
    {
        return inner;
    }
    let text = text.strip_suffix(':').unwrap_or(text);
    for quote in ["**", "\"", "'"] {
        let inner = text.strip_prefix(quote).and_then(|inner| inner.strip_suffix(quote));
        if let Some(inner) = inner {
            return inner;
        }
    }
    text
}

/// The inside of the backticks that a text starts with, and what follows them. They close at a
/// run of the same length, and one blank on either side of the inside is theirs.
fn code_span(text: &str) -> Option<(&str, &str)> {
    let n_ticks = text.len() - text.trim_start_matches('`').len();
    if n_ticks == 0 {
        return None;
    }
    let mut from = n_ticks;
    loop {
        let start = from + text[from..].find('`')?;
        let run = text[start..].len() - text[start..].trim_start_matches('`').len();
        from = start + run;
        if run == n_ticks {
            let inner = &text[n_ticks..start];
            let bare = inner.strip_prefix(' ').and_then(|inner| inner.strip_suffix(' '));
            return Some((bare.unwrap_or(inner), &text[from..]));
        }
    }
}

/// The two sides of `OLD -> NEW`, as they stand.
fn split_rename(text: &str) -> Option<(&str, &str)> {
    let text = text.trim();
    match code_span(text) {
        Some((_, rest)) => {
            let to = rest.trim_start().strip_prefix("->")?;
            Some((&text[..text.len() - rest.len()], to))
        }
        None => text.split_once(" -> "),
    }
}

/// Reads both parts of an edit whose opening marker has `length` characters and stood on
/// `opened_at`.
fn parse_sides<'a>(
    lines: &mut impl Iterator<Item = (&'a str, usize)>,
    length: usize,
    opened_at: usize,
) -> Result<(Side, Side), ParseEditsError> {
    let mut search = Side::default();
    let mut replace = Side::default();
    let mut is_divided = false;
    let mut last = opened_at;
    for (line, at) in lines {
        last = at;
        let malformed = |wanted| {
            Err(ParseEditsError::Malformed { line: at, wanted, found: line.trim_end().to_owned() })
        };
        match parse_marker(line).filter(|&(_, found)| found == length) {
            Some((Marker::Divider, _)) if !is_divided => is_divided = true,
            Some((Marker::Divider, _)) => return malformed(Wanted::OneDivider),
            Some((Marker::Replace, _)) if is_divided => {
                search.take_no_newline();
                replace.take_no_newline();
                return Ok((search, replace));
            }
            Some((Marker::Search, _)) if is_divided => return malformed(Wanted::Close),
            Some(_) => return malformed(Wanted::Divider),
            None if is_divided => replace.lines.push(line.to_owned()),
            None => search.lines.push(line.to_owned()),
        }
    }
    let wanted = if is_divided { Wanted::Close } else { Wanted::Divider };
    Err(ParseEditsError::Malformed { line: last, wanted, found: "the end of the block".to_owned() })
}

impl Side {
    fn take_no_newline(&mut self) {
        if self.lines.last().is_some_and(|line| line.trim_end() == NO_NEWLINE) {
            self.lines.pop();
            self.no_newline = true;
        }
    }
}

/// The marker length that none of the edits' own lines collides with.
pub fn marker_length(edits: &[Edit]) -> usize {
    free_marker_length(edits.iter().flat_map(|edit| {
        let sides = match edit {
            Edit::Replace { search, replace, .. } => [Some(search), Some(replace)],
            _ => [None, None],
        };
        sides.into_iter().flatten().flat_map(|side| side.lines.iter().map(String::as_str))
    }))
}

/// The body of an answer block that holds these edits, with markers of `marker_length`.
///
/// [`parse_edits`] reads it back, if no line of a part is a marker of that length or ends in a
/// carriage return, and no part whose file ends in a newline has `\ No newline at end of file`
/// as its last line.
pub fn render_edits(edits: &[Edit], marker_length: usize) -> String {
    let mut body = String::new();
    // Writing to a string cannot fail.
    let mut line = |text: &str| writeln!(body, "{text}").unwrap_or(());
    let mut under: Option<&RepoPath> = None;
    for edit in edits {
        match edit {
            Edit::Delete { path } => {
                line(&format!("### delete {}", wrapped(path)));
                under = None;
            }
            Edit::Rename { from, to } => {
                line(&format!("### rename {} -> {}", wrapped(from), wrapped(to)));
                under = Some(from);
            }
            Edit::SetMode { path, is_executable } => {
                let mode = if *is_executable { "755" } else { "644" };
                line(&format!("### mode {mode} {}", wrapped(path)));
                under = Some(path);
            }
            Edit::Replace { path, search, replace } => {
                if under != Some(path) {
                    line(&format!("### {}", wrapped(path)));
                    under = Some(path);
                }
                line(&Marker::Search.render(marker_length));
                render_side(search, &mut line);
                line(&Marker::Divider.render(marker_length));
                render_side(replace, &mut line);
                line(&Marker::Replace.render(marker_length));
            }
        }
    }
    body
}

/// A whole answer: [`render_edits`] between fences.
pub fn render_answer(edits: &[Edit]) -> String {
    format!("```\n{}```\n", render_edits(edits, marker_length(edits)))
}

fn render_side(side: &Side, line: &mut impl FnMut(&str)) {
    side.lines.iter().for_each(|text| line(text));
    if side.no_newline {
        line(NO_NEWLINE);
    }
}

/// A path as headers hold it: in backticks where it could be read as something else.
fn wrapped(path: &RepoPath) -> String {
    let text = path.as_str();
    let is_verb = ["delete ", "rename ", "mode "].iter().any(|verb| text.starts_with(verb));
    // An arrow at its end, too, would be taken for that of a renaming.
    let has_arrow = format!(" {text} ").contains(" -> ");
    if unwrapped(text) == text && !is_verb && !has_arrow && !text.contains('`') {
        return text.to_owned();
    }
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let ticks = "`".repeat(longest + 1);
    let gap = if text.starts_with(['`', ' ']) || text.ends_with(['`', ' ']) { " " } else { "" };
    format!("{ticks}{gap}{text}{gap}{ticks}")
}
