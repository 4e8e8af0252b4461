//! The closed list of reasons why a completion is unusable.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a completion is unusable. Reports count these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// There is no fenced block.
    NoAnswer,
    /// The token limit cut an edit.
    CutOff,
    /// The block names nothing.
    EmptyAnswer,
    /// A whole symbol where lines are wanted.
    Shorthand,
    UnknownPath,
    UnknownSymbol,
    LineOutOfView,
    MalformedEdit,
    SearchNotFound,
    AmbiguousSearch,
    OverlappingEdits,
    /// The edits leave every file as it is.
    NoChange,
    /// The path leaves the repository or reaches into `.git`.
    UnsafePath,
    /// The file's encoding lacks a character of the new text.
    NotEncodable,
}

impl Reason {
    pub const ALL: [Self; 14] = [
        Self::NoAnswer,
        Self::CutOff,
        Self::EmptyAnswer,
        Self::Shorthand,
        Self::UnknownPath,
        Self::UnknownSymbol,
        Self::LineOutOfView,
        Self::MalformedEdit,
        Self::SearchNotFound,
        Self::AmbiguousSearch,
        Self::OverlappingEdits,
        Self::NoChange,
        Self::UnsafePath,
        Self::NotEncodable,
    ];

    /// The name that reports print.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoAnswer => "no answer",
            Self::CutOff => "cut off",
            Self::EmptyAnswer => "empty answer",
            Self::Shorthand => "shorthand",
            Self::UnknownPath => "unknown path",
            Self::UnknownSymbol => "unknown symbol",
            Self::LineOutOfView => "line out of view",
            Self::MalformedEdit => "malformed edit",
            Self::SearchNotFound => "search not found",
            Self::AmbiguousSearch => "ambiguous search",
            Self::OverlappingEdits => "overlapping edits",
            Self::NoChange => "no change",
            Self::UnsafePath => "unsafe path",
            Self::NotEncodable => "not encodable",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An unusable completion: an outcome to be counted, not an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{reason}: wanted {wanted}, found {found}")]
pub struct Rejection {
    pub reason: Reason,
    pub wanted: String,
    pub found: String,
}

impl Rejection {
    pub fn new(reason: Reason, wanted: impl Into<String>, found: impl Into<String>) -> Self {
        Self { reason, wanted: wanted.into(), found: found.into() }
    }
}

/// A piece of a completion for a message: on one line, in backticks, at most 80 characters.
pub(crate) fn quoted(text: &str) -> String {
    let mut line: String = text.chars().take(80).collect::<String>().escape_debug().to_string();
    if line.len() < text.len() && 80 < text.chars().count() {
        line.push('…');
    }
    format!("`{line}`")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_reason_has_a_name_of_its_own_and_is_written_by_it() {
        let names: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), Reason::ALL.len());
        for reason in Reason::ALL {
            let written = serde_json::to_value(reason).unwrap();
            assert_eq!(written, reason.name().replace(' ', "_"));
        }
    }

    #[test]
    fn a_rejection_says_what_was_wanted_and_found() {
        let rejection = Rejection::new(Reason::UnknownPath, "a path of the list", quoted("x\n.py"));
        assert_eq!(
            rejection.to_string(),
            r"unknown path: wanted a path of the list, found `x\n.py`"
        );
    }
}
