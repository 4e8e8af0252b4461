//! What a file defines: symbols with exact line spans.

use std::fmt;

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
    /// From the first decorator or attribute to the last line of the body.
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
    /// The first line of the file's own documentation: its line number and text.
    pub doc: Option<(u32, String)>,
    /// Syntax errors that the parser met and stepped over.
    pub n_errors: u32,
}

impl LineSpan {
    pub fn contains(self, line: u32) -> bool {
        (self.first..=self.last).contains(&line)
    }

    /// Whether all lines of `other` are lines of this one.
    pub fn covers(self, other: Self) -> bool {
        self.first <= other.first && other.last <= self.last
    }

    pub fn n_lines(self) -> u32 {
        self.last - self.first + 1
    }
}

impl fmt::Display for LineSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

impl SymbolKind {
    /// The word that answers use.
    pub fn word(self) -> &'static str {
        match self {
            Self::Class => "class",
            Self::Function => "function",
            Self::Variable => "variable",
            Self::Module => "module",
        }
    }
}

impl Outline {
    pub fn symbol(&self, kind: SymbolKind, name: &str) -> Option<&Symbol> {
        self.symbols.iter().find(|symbol| symbol.kind == kind && symbol.name == name)
    }
}

/// An outline as text, one symbol a line: kind, name, lines (`header/span`, several places with
/// commas), documentation.
pub fn render_outline(outline: &Outline) -> String {
    let mut text = String::new();
    let mut line = |row: String| {
        text.push_str(&row);
        text.push('\n');
    };
    if let Some((number, doc)) = &outline.doc {
        line(format!("module: {number} `{doc}`"));
    }
    for span in &outline.imports {
        line(format!("imports {span}"));
    }
    for symbol in &outline.symbols {
        let places: Vec<String> = symbol.places.iter().map(render_place).collect();
        line(format!("{}: {} {}", symbol.kind.word(), symbol.name, places.join(", ")));
    }
    if 0 < outline.n_errors {
        line(format!("syntax errors {}", outline.n_errors));
    }
    text
}

fn render_place(place: &Place) -> String {
    let doc = place.doc.as_ref().map(|(line, doc)| format!(" {line} `{doc}`")).unwrap_or_default();
    if place.header == place.span {
        format!("{}{doc}", place.span)
    } else {
        format!("{}/{}{doc}", place.header, place.span)
    }
}
