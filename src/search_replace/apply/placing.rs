//! Where the lines of a SEARCH stand in the base, and what comes in their place.

use std::ops::Range;

use crate::diff::lines::diff_lines;
use crate::repo::path::RepoPath;
use crate::repo::text::{Ending, Piece, Text};
use crate::search_replace::apply::{ApplyEditsError, Misuse, Scope, misuse};
use crate::search_replace::block::Side;
use crate::search_replace::find::{Match, Place, find_places, find_similar};

/// Base lines that the edited file keeps, or one that it gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Lines {
    Kept(Range<usize>),
    New(String),
}

/// What the parts say of the last line of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Newline,
    NoNewline,
}

/// A replacement with the base lines that it replaces.
pub(super) struct Placed {
    pub(super) base: Range<usize>,
    pub(super) lines: Vec<Lines>,
    pub(super) end: Option<End>,
}

impl Placed {
    pub(super) fn find(
        path: &RepoPath,
        text: &Text,
        windows: &[Range<usize>],
        scope: &Scope,
        (search, replace): (&Side, &Side),
    ) -> Result<Self, ApplyEditsError> {
        let is_blank = search.lines.iter().all(|line| line.trim().is_empty());
        let place = if text.n_lines() == 0 && is_blank {
            Place { first: 0, by: Match::Exact }
        } else if search.lines.is_empty() {
            return Err(misuse(path, Misuse::EmptySearch));
        } else {
            find_place(path, text, windows, scope, &search.lines)?
        };
        let n_base = if text.n_lines() == 0 { 0 } else { search.lines.len() };
        let base = place.first..place.first + n_base;

        let is_at_end = base.end == text.n_lines();
        let ends_bare = !base.is_empty() && text.ending(base.end - 1) == Ending::None;
        let end = match (search.no_newline, replace.no_newline) {
            (_, true) if !is_at_end => return Err(misuse(path, Misuse::NotAtEnd)),
            (true, _) if !is_at_end || !ends_bare => return Err(misuse(path, Misuse::NotAtEnd)),
            (_, true) => Some(End::NoNewline),
            (true, false) => Some(End::Newline),
            (false, false) => None,
        };

        let new_line = |line: &String| {
            let adjusted = place.by.adjusted(line).map(Lines::New);
            adjusted.ok_or_else(|| not_found(path, text, windows, &search.lines))
        };
        let mut lines = Vec::with_capacity(replace.lines.len());
        let mut at = 0;
        for change in diff_lines(&search.lines[..n_base], &replace.lines) {
            lines.push(Lines::Kept(base.start + at..base.start + change.base.start));
            for line in &replace.lines[change.new] {
                lines.push(new_line(line)?);
            }
            at = change.base.end;
        }
        lines.push(Lines::Kept(base.start + at..base.end));
        Ok(Self { base, lines, end })
    }
}

/// The one place that is meant.
fn find_place(
    path: &RepoPath,
    text: &Text,
    windows: &[Range<usize>],
    scope: &Scope,
    search: &[String],
) -> Result<Place, ApplyEditsError> {
    let places = find_places(text, windows, search);
    let lines: Vec<usize> = places.iter().map(|place| place.first + 1).collect();
    let mut preferred = places.clone();
    if 1 < places.len() {
        let wanted = scope.preferred.get(path).map_or(&[][..], Vec::as_slice);
        preferred.retain(|place| {
            let end = place.first + search.len();
            wanted.iter().any(|lines| lines.start < end && place.first < lines.end)
        });
    }
    match (places.is_empty(), <[Place; 1]>::try_from(preferred)) {
        (true, _) => Err(not_found(path, text, windows, search)),
        (false, Ok([place])) => Ok(place),
        (false, Err(_)) => Err(ApplyEditsError::AmbiguousSearch { path: path.clone(), lines }),
    }
}

fn not_found(
    path: &RepoPath,
    text: &Text,
    windows: &[Range<usize>],
    search: &[String],
) -> ApplyEditsError {
    let everywhere = 0..text.n_lines();
    let mut elsewhere = find_places(text, std::slice::from_ref(&everywhere), search);
    elsewhere.retain(|place| {
        let end = place.first + search.len();
        !windows.iter().any(|window| window.start <= place.first && end <= window.end)
    });
    let first = search.iter().find(|line| !line.trim().is_empty()).or(search.first());
    ApplyEditsError::SearchNotFound {
        path: path.clone(),
        search: first.map(|line| line.trim().to_owned()).unwrap_or_default(),
        unshown_line: elsewhere.first().map(|place| place.first + 1),
        similar: find_similar(text, windows, search),
    }
}

/// The lines with the endings that they get. Runs of kept lines are not empty.
pub(super) fn with_endings<'a>(
    text: &'a Text,
    lines: &'a [Lines],
    end: Option<End>,
) -> Vec<Piece<'a>> {
    let mut above = match text.n_lines() {
        0 => Ending::Lf,
        _ if text.ending(0) == Ending::None => Ending::Lf,
        _ => text.ending(0),
    };
    let mut pieces = Vec::with_capacity(lines.len() + 1);
    for (idx, part) in lines.iter().enumerate() {
        // Of kept lines, only the last one may have to end in another way than it did.
        if let Lines::Kept(run) = part
            && 1 < run.len()
        {
            above = text.ending(run.end - 2);
        }
        let natural = match part {
            Lines::Kept(run) => text.ending(run.end - 1),
            Lines::New(_) => above,
        };
        let terminated = if natural == Ending::None { above } else { natural };
        let ending = match end {
            _ if idx + 1 < lines.len() => terminated,
            Some(End::NoNewline) => Ending::None,
            Some(End::Newline) => terminated,
            None => natural,
        };
        match part {
            Lines::Kept(run) if ending == natural => pieces.push(Piece::Kept(run.clone())),
            Lines::Kept(run) => {
                pieces.push(Piece::Kept(run.start..run.end - 1));
                pieces.push(Piece::New(text.line(run.end - 1), ending));
            }
            Lines::New(line) => pieces.push(Piece::New(line, ending)),
        }
        if ending != Ending::None {
            above = ending;
        }
    }
    pieces
}
