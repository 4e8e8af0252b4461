//! The way back: from changed files to the edits that a model should have written.
//!
//! Each change becomes a SEARCH of the lines it replaces and as few neighbours as make it unique
//! (at least one, where the file has any). The edits are applied once more before they are given
//! out, so they either give back the very bytes or are refused with the reason.

#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;

use crate::diff::change::{FileChange, FileState};
use crate::diff::lines::{LineChange, diff_lines};
use crate::repo::path::RepoPath;
use crate::repo::snapshot::FileKind;
use crate::repo::text::{Ending, Text};
use crate::search_replace::apply::{ApplyEditsError, Scope, apply_edits, windows_of};
use crate::search_replace::base::{BaseText, BaseTexts};
use crate::search_replace::block::{Edit, Side, marker_length, parse_edits, render_edits};

/// Why a change cannot be written as edits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Inexpressible {
    #[error("`{0}` is not a text, a regular file, or both")]
    NotText(RepoPath),
    #[error("line {line} of `{path}` changes, but was not shown")]
    OutOfView { path: RepoPath, line: usize },
    #[error("the shown lines around line {line} of `{path}` are shown more than once")]
    NotUnique { path: RepoPath, line: usize },
    /// Line ends that text edits do not choose, above all.
    #[error("the edits would make other bytes of `{0}`")]
    OtherBytes(RepoPath),
    #[error("the edits would not apply: {0}")]
    NotApplied(#[from] ApplyEditsError),
}

/// The edits that make these changes, file by file in their order. SEARCH parts lie within the
/// scope's windows.
pub fn minimal_edits(changes: &[FileChange], scope: &Scope) -> Result<Vec<Edit>, Inexpressible> {
    let mut edits = Vec::new();
    for change in changes.iter().filter(|change| change.is_real()) {
        let own = file_edits(change, scope)?;
        check_round_trip(change, &own, scope)?;
        edits.extend(own);
    }
    Ok(edits)
}

fn check_round_trip(
    change: &FileChange,
    edits: &[Edit],
    scope: &Scope,
) -> Result<(), Inexpressible> {
    let mut base = BaseTexts::new();
    if let Some(before) = change.before() {
        let text = Arc::new(decoded(before)?);
        base.insert(before.path.clone(), BaseText { text, kind: before.kind });
    }
    // Text that the block format takes for its own (a carriage return at the end of a line, the
    // remark about the last newline) would be read back as something else.
    let read_back = parse_edits(&render_edits(edits, marker_length(edits)), 1);
    if read_back.as_deref() == Ok(edits) {
        match apply_edits(edits, &base, scope) {
            Ok(applied) if applied == std::slice::from_ref(change) => return Ok(()),
            Ok(_) | Err(ApplyEditsError::NoChange) => {}
            Err(why) => return Err(why.into()),
        }
    }
    Err(Inexpressible::OtherBytes(change.path().clone()))
}

fn file_edits(change: &FileChange, scope: &Scope) -> Result<Vec<Edit>, Inexpressible> {
    let mut edits = Vec::new();
    let (before, after) = match change {
        FileChange::Deleted(before) => {
            let path = before.path.clone();
            return Ok(vec![Edit::Delete { path }]);
        }
        FileChange::Created(after) => {
            let text = decoded(after)?;
            if after.kind == FileKind::Executable {
                edits.push(Edit::SetMode { path: after.path.clone(), is_executable: true });
            }
            let replace = side(&text, 0..text.n_lines(), ends_bare(&text));
            edits.push(Edit::Replace {
                path: after.path.clone(),
                search: Side::default(),
                replace,
            });
            return Ok(edits);
        }
        FileChange::Changed { before, after } => (before, after),
    };
    if before.path != after.path {
        edits.push(Edit::Rename { from: before.path.clone(), to: after.path.clone() });
    }
    if before.kind != after.kind {
        let is_executable = after.kind == FileKind::Executable;
        edits.push(Edit::SetMode { path: before.path.clone(), is_executable });
    }
    if before.bytes != after.bytes {
        edits.extend(replacements(before, after, scope)?);
    }
    Ok(edits)
}

fn decoded(state: &FileState) -> Result<Text, Inexpressible> {
    let is_plain = matches!(state.kind, FileKind::Regular | FileKind::Executable);
    let text = Text::decode(&state.bytes).ok().filter(|_| is_plain);
    text.ok_or_else(|| Inexpressible::NotText(state.path.clone()))
}

fn replacements(
    before: &FileState,
    after: &FileState,
    scope: &Scope,
) -> Result<Vec<Edit>, Inexpressible> {
    let path = &before.path;
    let (base, new) = (decoded(before)?, decoded(after)?);
    let replace_edit = |base_lines: Range<usize>, new_lines: Range<usize>, ends: (bool, bool)| {
        let search = side(&base, base_lines, ends.0);
        let replace = side(&new, new_lines, ends.1);
        Edit::Replace { path: path.clone(), search, replace }
    };
    if base.n_lines() == 0 {
        return Ok(vec![replace_edit(0..0, 0..new.n_lines(), (false, ends_bare(&new)))]);
    }
    // Compared with their ends, so that a changed end is a changed line.
    let base_lines: Vec<&[u8]> = (0..base.n_lines()).map(|idx| base.raw_line(idx)).collect();
    let new_lines: Vec<&[u8]> = (0..new.n_lines()).map(|idx| new.raw_line(idx)).collect();
    let changes = diff_lines(&base_lines, &new_lines);
    let windows = windows_of(path, &base, scope);

    // Regions of the base that one SEARCH covers, with the changes inside.
    let mut regions: Vec<Region> = Vec::new();
    for change in changes {
        let mut region = Region { base: change.base.clone(), changes: vec![change] };
        loop {
            region.grow(path, &base, &windows)?;
            match regions.pop_if(|previous| region.base.start < previous.base.end) {
                // Edits that overlap become one.
                Some(previous) => region = previous.joined(region),
                None => break,
            }
        }
        regions.push(region);
    }
    let edits = regions.into_iter().map(|region| {
        let new_lines = region.new_lines();
        let is_at_end = region.base.end == base.n_lines();
        let ends_change =
            region.changes.last().is_some_and(|change| change.base.end == base.n_lines());
        let (base_bare, new_bare) = (ends_bare(&base), ends_bare(&new));
        let marked = is_at_end && ends_change;
        let ends = (marked && base_bare && !new_bare, marked && new_bare);
        replace_edit(region.base, new_lines, ends)
    });
    Ok(edits.collect())
}

/// A run of base lines that one SEARCH quotes.
struct Region {
    base: Range<usize>,
    /// The changes within it, in order; never empty.
    changes: Vec<LineChange>,
}

impl Region {
    fn joined(mut self, behind: Self) -> Self {
        self.base = self.base.start.min(behind.base.start)..behind.base.end.max(self.base.end);
        self.changes.extend(behind.changes);
        self
    }

    /// The new lines that stand in place of the region's base lines.
    fn new_lines(&self) -> Range<usize> {
        let (first, last) = (&self.changes[0], &self.changes[self.changes.len() - 1]);
        let n_before = first.base.start - self.base.start;
        let n_after = self.base.end - last.base.end;
        first.new.start - n_before..last.new.end + n_after
    }

    /// Takes in neighbours within the window, above and below in turn, until the lines stand
    /// nowhere else in the windows, and at least one is a neighbour.
    fn grow(
        &mut self,
        path: &RepoPath,
        text: &Text,
        windows: &[Range<usize>],
    ) -> Result<(), Inexpressible> {
        let line = self.base.start + 1;
        let holds =
            |window: &&Range<usize>| window.start <= self.base.start && self.base.end <= window.end;
        let Some(window) = windows.iter().find(holds) else {
            return Err(Inexpressible::OutOfView { path: path.clone(), line });
        };
        let n_changed: usize = self.changes.iter().map(|change| change.base.len()).sum();
        // Where the lines of the run stand, as offsets of its first line; itself among them.
        let mut places: Option<Vec<usize>> = None;
        let mut is_upward = true;
        loop {
            if n_changed < self.base.len() {
                let run = self.base.clone();
                let current = match places.take() {
                    None => places_of(text, windows, &run),
                    Some(mut known) => {
                        known.retain(|&first| is_same_run(text, windows, first, &run));
                        known
                    }
                };
                if current.len() == 1 {
                    self.start_with_text(text, window);
                    return Ok(());
                }
                places = Some(current);
            }
            let (can_up, can_down) = (window.start < self.base.start, self.base.end < window.end);
            match (can_up && (is_upward || !can_down), can_down) {
                (true, _) => {
                    self.base.start -= 1;
                    // The same places, seen from one line further up.
                    let moved = |first: usize| first.checked_sub(1);
                    places = places.map(|known| known.into_iter().filter_map(moved).collect());
                }
                (false, true) => self.base.end += 1,
                // The whole window: unique, or alone in a file without other lines.
                (false, false) => {
                    return match places_of(text, windows, &self.base).len() {
                        1 => Ok(()),
                        _ => Err(Inexpressible::NotUnique { path: path.clone(), line }),
                    };
                }
            }
            is_upward = !is_upward;
        }
    }

    /// Takes in lines above a blank first line: the grammar of edits lets a SEARCH begin with text
    /// alone.
    fn start_with_text(&mut self, text: &Text, window: &Range<usize>) {
        while window.start < self.base.start && text.line(self.base.start).trim().is_empty() {
            self.base.start -= 1;
        }
    }
}

/// The first lines of all runs in the windows that are equal to the given one.
fn places_of(text: &Text, windows: &[Range<usize>], run: &Range<usize>) -> Vec<usize> {
    let firsts = windows.iter().flat_map(Clone::clone);
    firsts.filter(|&first| is_same_run(text, windows, first, run)).collect()
}

fn is_same_run(text: &Text, windows: &[Range<usize>], first: usize, run: &Range<usize>) -> bool {
    let end = first + run.len();
    windows.iter().any(|window| window.start <= first && end <= window.end.min(text.n_lines()))
        && run.clone().zip(first..end).all(|(left, right)| text.line(left) == text.line(right))
}

fn side(text: &Text, lines: Range<usize>, no_newline: bool) -> Side {
    Side { lines: lines.map(|idx| text.line(idx).to_owned()).collect(), no_newline }
}

fn ends_bare(text: &Text) -> bool {
    text.n_lines().checked_sub(1).is_some_and(|last| text.ending(last) == Ending::None)
}
