//! Where in a base text the lines of a SEARCH part stand.

use std::ops::Range;

use crate::repo::text::Text;

/// How strictly lines were compared, the strictest that found something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    Exact,
    /// White space at the ends of lines was ignored.
    Trimmed,
    /// And all lines that are not blank stand deeper in the base, by this white space.
    Deeper(String),
    /// And all lines that are not blank stand less deep in the base, by this white space.
    Shallower(String),
}

/// A run of base lines (its first, 0-based) that a SEARCH part matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub first: usize,
    pub by: Match,
}

/// All places of `search` inside the windows, by the strictest comparison that finds any.
/// Windows are sorted and do not overlap; a place lies within one of them.
pub fn find_places(text: &Text, windows: &[Range<usize>], search: &[String]) -> Vec<Place> {
    let starts = || {
        let of_window = |window: &Range<usize>| {
            let end = window.end.min(text.n_lines());
            window.start..(end + 1).saturating_sub(search.len()).max(window.start)
        };
        windows.iter().flat_map(of_window)
    };
    let base_at = |first: usize| (first..first + search.len()).map(|idx| text.line(idx));
    let all_at = |by: &Match, is_match: &dyn Fn(usize) -> bool| -> Vec<Place> {
        let places = starts().filter(|&first| is_match(first));
        places.map(|first| Place { first, by: by.clone() }).collect()
    };
    if search.is_empty() {
        return Vec::new();
    }
    let exact = all_at(&Match::Exact, &|first| base_at(first).eq(search));
    if !exact.is_empty() {
        return exact;
    }
    let trimmed_search: Vec<&str> = search.iter().map(|line| line.trim_end()).collect();
    let trimmed = all_at(&Match::Trimmed, &|first| {
        base_at(first).map(str::trim_end).eq(trimmed_search.iter().copied())
    });
    if !trimmed.is_empty() {
        return trimmed;
    }
    let moved = starts()
        .filter_map(|first| Some(Place { first, by: shift(base_at(first), &trimmed_search)? }));
    moved.collect()
}

/// The white space that all base lines have more, or all have less, than the wanted ones.
fn shift<'a>(base: impl Iterator<Item = &'a str>, wanted: &[&str]) -> Option<Match> {
    let mut found: Option<Match> = None;
    for (base, wanted) in base.map(str::trim_end).zip(wanted) {
        match (base.is_empty(), wanted.is_empty()) {
            (true, true) => continue,
            (false, false) => {}
            _ => return None,
        }
        let holds = match &found {
            None => {
                let blank = |prefix: &&str| !prefix.is_empty() && prefix.trim().is_empty();
                let deeper = base.strip_suffix(wanted).filter(blank);
                let shallower = wanted.strip_suffix(base).filter(blank);
                found = match (deeper, shallower) {
                    (Some(prefix), _) => Some(Match::Deeper(prefix.to_owned())),
                    (None, Some(prefix)) => Some(Match::Shallower(prefix.to_owned())),
                    (None, None) => return None,
                };
                true
            }
            Some(Match::Deeper(prefix)) => base.strip_prefix(prefix.as_str()) == Some(wanted),
            Some(Match::Shallower(prefix)) => wanted.strip_prefix(prefix.as_str()) == Some(base),
            Some(Match::Exact | Match::Trimmed) => false,
        };
        if !holds {
            return None;
        }
    }
    found
}

impl Match {
    /// A line of the REPLACE part as the base wants it; `None` where a line is not indented by
    /// the white space that would be taken off.
    pub fn adjusted(&self, line: &str) -> Option<String> {
        match self {
            Self::Exact | Self::Trimmed => Some(line.to_owned()),
            _ if line.trim().is_empty() => Some(line.to_owned()),
            Self::Deeper(prefix) => Some(format!("{prefix}{line}")),
            Self::Shallower(prefix) => line.strip_prefix(prefix.as_str()).map(str::to_owned),
        }
    }
}

/// Base lines that look like a SEARCH part that was not found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Similar {
    /// Its first line, 1-based.
    pub line: usize,
    pub text: String,
    /// Lines that are equal but for white space, of the lines that were wanted.
    pub n_equal: usize,
}

/// The run of lines inside the windows that has most in common with `search`; `None` where no
/// line of it is alike.
pub fn find_similar(text: &Text, windows: &[Range<usize>], search: &[String]) -> Option<Similar> {
    let wanted: Vec<&str> = search.iter().map(|line| line.trim()).collect();
    let mut best: Option<(usize, usize, Range<usize>)> = None;
    for window in windows {
        let end = window.end.min(text.n_lines());
        for first in window.start..end {
            let run = first..(first + wanted.len()).min(end);
            let (mut n_equal, mut n_alike) = (0, 0);
            for (idx, wanted) in run.clone().zip(&wanted) {
                let base = text.line(idx).trim();
                if !base.is_empty() && base == *wanted {
                    n_equal += 1;
                } else {
                    n_alike += usize::from(is_alike(base, wanted));
                }
            }
            if 0 < n_equal + n_alike
                && best
                    .as_ref()
                    .is_none_or(|(equal, alike, _)| (*equal, *alike) < (n_equal, n_alike))
            {
                best = Some((n_equal, n_alike, run));
            }
        }
    }
    best.map(|(n_equal, _, run)| Similar {
        line: run.start + 1,
        text: run.map(|idx| text.line(idx)).collect::<Vec<_>>().join("\n"),
        n_equal,
    })
}

/// Whether two lines share at least half of the longer one at their start.
fn is_alike(left: &str, right: &str) -> bool {
    let n_shared = left.bytes().zip(right.bytes()).take_while(|(l, r)| l == r).count();
    4 <= n_shared && left.len().max(right.len()) <= 2 * n_shared
}
