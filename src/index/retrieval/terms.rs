//! The terms of one file, symbol by symbol: what retrieval knows about a text.
//!
//! Small and independent of the rest of the repository, so that it is cached by blob id beside the
//! file's outline.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::index::outline::{Outline, SymbolKind};
use crate::index::retrieval::imports::read_imports;
use crate::index::retrieval::segments::{SegmentKind, segments};
use crate::index::retrieval::words::{PHRASE_WORDS, TermId, TermReader, identifiers};

/// Changes whenever terms come out differently.
pub const TERMS_VERSION: u64 = 1;

/// Of a longer text only the start is read.
const MAX_BYTES: usize = 1 << 20;

/// How often one term occurs in one symbol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Posting {
    pub term: u32,
    /// In the name of the symbol itself.
    pub name: u8,
    /// In code.
    pub code: u8,
    /// In comments and strings.
    pub text: u8,
}

/// The terms of one file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FileTerms {
    /// Where the postings of each symbol of the outline end, then those of `module:`.
    ends: Vec<u32>,
    /// In order of symbol, then term.
    postings: Vec<Posting>,
    /// Words in a row inside strings: phrase and symbol, in order of phrase.
    phrases: Vec<(u32, u16)>,
    /// The modules or files that the text imports, as written, and the names taken from them.
    imports: Vec<String>,
}

impl FileTerms {
    /// Reads the terms of a text with LF line ends, given its outline.
    pub fn read(text: &str, outline: &Outline, extension: &str) -> Self {
        let text = &text[..text.floor_char_boundary(MAX_BYTES)];
        let owners = owners_of_lines(outline);
        let mut collector = Collector::default();
        for (index, symbol) in outline.symbols.iter().enumerate() {
            if symbol.kind != SymbolKind::Module {
                let name = symbol.name.rsplit('.').next().unwrap_or(&symbol.name);
                collector.add(name, index as u32, Field::Name);
            }
        }
        let module = outline.symbols.len() as u32;
        let mut line = 0;
        let mut counted_to = 0;
        for (kind, range) in segments(text, extension) {
            if kind != SegmentKind::String {
                collector
                    .end_message(kind == SegmentKind::Code && joins_strings(&text[range.clone()]));
            }
            let segment = &text[range.clone()];
            let mut previous_end = 0;
            for (at, identifier) in identifiers(segment) {
                let start = range.start + at;
                line += count_newlines(&text[counted_to..start]);
                counted_to = start;
                let owner = owners.get(line).copied().unwrap_or(module);
                let field = if kind == SegmentKind::Code { Field::Code } else { Field::Text };
                collector.add(identifier, owner, field);
                if kind == SegmentKind::String {
                    let gap = &segment[previous_end..at];
                    collector.add_to_message(identifier, gap.contains(['{', '}', '%']), owner);
                    previous_end = at + identifier.len();
                }
            }
        }
        let (ends, postings) = collector.postings(outline.symbols.len() + 1);
        collector.phrases.sort_unstable();
        collector.phrases.dedup();
        Self { ends, postings, phrases: collector.phrases, imports: read_imports(text, extension) }
    }

    /// The postings of every symbol of the outline, then those of `module:`.
    pub fn symbols(&self) -> impl Iterator<Item = &[Posting]> {
        (0..self.ends.len()).map(|symbol| &self.postings[self.range_of(symbol)])
    }

    /// The postings of one symbol, by its place in the outline; `module:` comes last.
    pub fn symbol(&self, symbol: usize) -> &[Posting] {
        if symbol < self.ends.len() { &self.postings[self.range_of(symbol)] } else { &[] }
    }

    pub fn postings(&self) -> &[Posting] {
        &self.postings
    }

    /// Phrases and the symbols that hold them.
    pub fn phrases(&self) -> impl Iterator<Item = (TermId, usize)> {
        self.phrases.iter().map(|(phrase, symbol)| (TermId(*phrase), usize::from(*symbol)))
    }

    pub fn imports(&self) -> &[String] {
        &self.imports
    }

    fn range_of(&self, symbol: usize) -> Range<usize> {
        let start = symbol.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        start..self.ends[symbol] as usize
    }
}

/// For every line (0-based) the innermost symbol that holds it; the outline's length for none.
fn owners_of_lines(outline: &Outline) -> Vec<u32> {
    let mut spans = outline
        .symbols
        .iter()
        .enumerate()
        .filter(|(_, symbol)| symbol.kind != SymbolKind::Module)
        .flat_map(|(index, symbol)| {
            symbol.places.iter().map(move |place| (place.span, index as u32))
        })
        .collect::<Vec<_>>();
    // Inner spans are shorter, and written over outer ones.
    spans.sort_by_key(|(span, index)| (std::cmp::Reverse(span.last - span.first), *index));
    let mut owners = vec![outline.symbols.len() as u32; outline.n_lines as usize];
    for (span, index) in spans {
        let first = (span.first.saturating_sub(1) as usize).min(owners.len());
        let last = (span.last as usize).clamp(first, owners.len());
        owners[first..last].fill(index);
    }
    owners
}

fn count_newlines(text: &str) -> usize {
    text.bytes().filter(|byte| *byte == b'\n').count()
}

/// Whether the code between two strings leaves them one message: `"a " f"b"`, `"a " + "b"`.
fn joins_strings(code: &str) -> bool {
    code.trim().trim_matches(['+', '\\', '.', 'f', 'r', 'b', 'u']).trim().is_empty()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Name,
    Code,
    Text,
}

/// Gathers occurrences; sorting them once is cheaper than a map for every symbol.
#[derive(Debug, Default)]
struct Collector {
    reader: TermReader,
    /// Symbol, term and field of each occurrence in 64 bits, so that they sort fast.
    occurrences: Vec<u64>,
    /// The last words of the message being read.
    message: Vec<TermId>,
    lower: String,
    phrases: Vec<(u32, u16)>,
}

impl Collector {
    fn add(&mut self, identifier: &str, symbol: u32, field: Field) {
        let Self { reader, occurrences, .. } = self;
        reader.read(identifier, |term| {
            let term = u64::from(TermId::of(term).0);
            occurrences.push(u64::from(symbol) << 34 | term << 2 | field as u64);
        });
    }

    fn add_to_message(&mut self, identifier: &str, behind_placeholder: bool, symbol: u32) {
        if behind_placeholder {
            self.message.clear();
        }
        self.lower.clear();
        self.lower.extend(identifier.chars().flat_map(char::to_lowercase));
        self.message.push(TermId::of(&self.lower));
        if let Some(row) = self.message.last_chunk::<PHRASE_WORDS>() {
            let symbol = u16::try_from(symbol).unwrap_or(u16::MAX);
            self.phrases.push((TermId::of_phrase(*row).0, symbol));
        }
    }

    fn end_message(&mut self, goes_on: bool) {
        if !goes_on {
            self.message.clear();
        }
    }

    fn postings(&mut self, n_symbols: usize) -> (Vec<u32>, Vec<Posting>) {
        self.occurrences.sort_unstable();
        let mut ends = Vec::with_capacity(n_symbols);
        let mut postings = Vec::<Posting>::new();
        let mut last = None;
        for occurrence in &self.occurrences {
            let symbol = (occurrence >> 34) as usize;
            let term = (occurrence >> 2) as u32;
            while ends.len() < symbol {
                ends.push(postings.len() as u32);
            }
            if last != Some((symbol, term)) {
                postings.push(Posting { term, name: 0, code: 0, text: 0 });
                last = Some((symbol, term));
            }
            if let Some(posting) = postings.last_mut() {
                let count = match occurrence & 3 {
                    0 => &mut posting.name,
                    1 => &mut posting.code,
                    _ => &mut posting.text,
                };
                *count = count.saturating_add(1);
            }
        }
        while ends.len() < n_symbols {
            ends.push(postings.len() as u32);
        }
        postings.shrink_to_fit();
        (ends, postings)
    }
}
