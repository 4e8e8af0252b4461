//! What a file defines: symbols with exact line spans.

use serde::{Deserialize, Serialize};

/// A run of lines, 1-based, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LineSpan {
    pub first: u32,
    pub last: u32,
}

/// What kind of thing a symbol is, as answers name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SymbolKind {
    Class,
    /// A function or a method.
    Function,
    /// A module-level name.
    Variable,
    /// All lines of a file outside its listed symbols.
    Module,
}

/// A definition that a file lists. Symbols of one kind and qualified name are one symbol with
/// several places (property setters, overloads, branches of `if`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Symbol {
    pub kind: SymbolKind,
    /// Qualified within the file: `Outer.Inner.method`.
    pub name: String,
    /// In file order; never empty.
    pub places: Vec<Place>,
}

/// Where a symbol is defined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// From the first decorator, attribute or doc comment's definition line to the body's last line.
    pub span: LineSpan,
    /// The lines of the signature: from behind the decorators to the line that opens the body.
    pub header: LineSpan,
    /// The first line of the documentation text, if there is one: its line number and text.
    pub doc: Option<(u32, String)>,
}

/// The symbols of one file, in file order of their first place.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Outline {
    /// Lines of the file.
    pub n_lines: u32,
    pub symbols: Vec<Symbol>,
    /// The lines of import statements at module level, merged where they touch.
    pub imports: Vec<LineSpan>,
    /// Syntax errors that the parser met and stepped over.
    pub n_errors: u32,
}
