//! What a prompt is made from: the outlines of the chosen files, their symbols by rank.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::index::outline::{Outline, Place, Symbol, SymbolKind};
use crate::repo::path::RepoPath;
use crate::repo::text::Text;
use crate::stage::Context;
use crate::stage::function::shown::ShownSymbols;
use crate::stage::function::symbol::answer_line;
use crate::stage::known::Known;

/// A chosen file that can be shown.
pub(super) struct OutlinedFile {
    path: RepoPath,
    text: Arc<Text>,
    outline: Arc<Outline>,
}

impl OutlinedFile {
    pub(super) fn shown(&self, file_idx: usize, kept: &BTreeSet<(usize, usize)>) -> ShownSymbols {
        let symbols = self.outline.symbols.iter();
        let is_listed = |symbol: &&Symbol| symbol.kind != SymbolKind::Module;
        let all: Vec<String> = symbols
            .clone()
            .map(|symbol| answer_line(symbol.kind, &symbol.name))
            .chain([answer_line(SymbolKind::Module, "")])
            .collect();
        let shown = symbols.enumerate().filter(|(idx, _)| kept.contains(&(file_idx, *idx)));
        let shown = shown.map(|(_, symbol)| symbol).filter(is_listed);
        let module = [(SymbolKind::Module, String::new())];
        ShownSymbols {
            path: self.path.clone(),
            symbols: shown.map(|s| (s.kind, s.name.clone())).chain(module).collect(),
            known: Known::new(all.iter().map(String::as_str)),
        }
    }
}

pub(super) fn outlined_files(context: &Context, input: &[RepoPath]) -> Vec<OutlinedFile> {
    let mut files: Vec<OutlinedFile> = Vec::new();
    for path in input {
        let outline = context.index.outline(path);
        let text = context.index.snapshot().read_text(path);
        if let (Some(outline), Ok(text)) = (outline, text)
            && files.iter().all(|file| file.path != *path)
        {
            files.push(OutlinedFile { path: path.clone(), text, outline: outline.clone() });
        }
    }
    files
}

/// All listed symbols of the files as (file, symbol) indices: those that retrieval ranks in its
/// order, then the rest in turns, one of each file.
pub(super) fn ranked_symbols(context: &Context, files: &[OutlinedFile]) -> Vec<(usize, usize)> {
    let mut rank_of: BTreeMap<(&RepoPath, SymbolKind, &str), usize> = BTreeMap::new();
    let in_files = context.ranking.files.iter().flat_map(|file| &file.symbols);
    for (rank, symbol) in context.ranking.symbols.iter().chain(in_files).enumerate() {
        rank_of.entry((&symbol.path, symbol.kind, &symbol.name)).or_insert(rank);
    }
    let mut ranked = Vec::new();
    for (file_idx, file) in files.iter().enumerate() {
        for (symbol_idx, symbol) in file.outline.symbols.iter().enumerate() {
            if symbol.kind != SymbolKind::Module {
                let rank = rank_of.get(&(&file.path, symbol.kind, symbol.name.as_str()));
                ranked.push((rank.copied().unwrap_or(usize::MAX), symbol_idx, file_idx));
            }
        }
    }
    ranked.sort_unstable();
    ranked.into_iter().map(|(_, symbol_idx, file_idx)| (file_idx, symbol_idx)).collect()
}

pub(super) fn render_outlines(files: &[OutlinedFile], kept: &BTreeSet<(usize, usize)>) -> String {
    let mut text = String::new();
    for (file_idx, file) in files.iter().enumerate() {
        text.extend(["### ", file.path.as_str(), "\n"]);
        let symbols = file.outline.symbols.iter().enumerate();
        let shown = symbols.filter(|(idx, _)| kept.contains(&(file_idx, *idx)));
        let mut places: Vec<(&Symbol, &Place)> = shown
            .flat_map(|(_, symbol)| symbol.places.iter().map(move |place| (symbol, place)))
            .collect();
        places.sort_by_key(|(_, place)| (place.span.first, std::cmp::Reverse(place.span.last)));
        for (symbol, place) in places {
            render_place(&file.text, symbol, place, &mut text);
        }
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text
}

/// Lines of a signature, and characters of a line, that a prompt shows.
const MAX_HEADER_LINES: u32 = 6;

const MAX_LINE: usize = 120;

fn render_place(file: &Text, symbol: &Symbol, place: &Place, text: &mut String) {
    let mut push = |number: u32| {
        let line = file.line(number as usize - 1).trim_end();
        let end = line.char_indices().nth(MAX_LINE).map_or(line.len(), |(end, _)| end);
        *text += &line[..end];
        text.push('\n');
    };
    if symbol.kind == SymbolKind::Variable {
        push(place.span.first);
        return;
    }
    let header = place.header.first..=place.header.last.min(place.header.first + MAX_HEADER_LINES);
    let decorators = place.span.first..place.header.first;
    decorators.take(2).chain(header).for_each(&mut push);
    if let Some((number, _)) = &place.doc {
        push(*number);
    }
}
