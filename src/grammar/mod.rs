//! The description of a stage's valid completions, which engines can obey.
//!
//! A stage builds a [`Grammar`] from what its prompt showed; an engine compiles it: the local one
//! to llguidance's Lark (`lark`), a server's to what that server takes (`lark` or `gbnf`).
//! Pure data: nothing here knows a tokenizer.

pub(crate) mod automaton;
pub(crate) mod free_lines;
pub mod gbnf;
#[cfg(test)]
pub(crate) mod judge;
pub mod lark;
pub mod program;
pub(crate) mod rendering;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A context-free grammar over text, as named rules; `start` is where a completion begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grammar {
    pub start: Node,
    /// Rules by name (lower-case letters, digits and `_`); right recursion is allowed.
    pub rules: BTreeMap<String, Node>,
}

/// One piece of a grammar.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Node {
    /// Exactly this text.
    Text(String),
    /// One after the other.
    Sequence(Vec<Self>),
    /// Any one of these.
    Choice(Vec<Self>),
    /// The node `min` to `max` times.
    Repeat { node: Box<Self>, min: u32, max: u32 },
    /// The rule of that name.
    Rule(String),
    /// Free text: whole lines, none of which starts with one of `never_starts`, at most `max_tokens` tokens in all. Markers are ASCII; NUL and carriage return never occur.
    FreeLines { never_starts: Vec<String>, max_tokens: u32 },
    /// The name of a new file: a letter, a digit or `_`, then at most `max_chars` - 1 of letters,
    /// digits, `_`, `-` and `.` (all ASCII).
    FileName { max_chars: u32 },
}
