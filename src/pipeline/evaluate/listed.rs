//! Localization stages as ranked lists: what is compared besides the model's answer.

use crate::index::outline::SymbolKind;
use crate::index::retrieval::RankedSymbol;
use crate::repo::path::RepoPath;
use crate::stage::file::{FileShown, FileStage};
use crate::stage::function::FunctionStage;
use crate::stage::function::shown::FunctionShown;
use crate::stage::function::symbol::SymbolId;
use crate::stage::line::LineStage;
use crate::stage::line::items::LineItem;
use crate::stage::line::shown::LineShown;
use crate::stage::{Context, Stage};

/// A stage whose answer is a list, the most important first.
pub trait Listed: Stage {
    /// Whether an answered item is the expected one.
    fn is_hit(answered: &Self::Item, expected: &Self::Item) -> bool;

    /// What listing retrieval's first `k` gives.
    fn copied(context: &Context, k: usize) -> Vec<Self::Item>;

    /// Everything that an answer could have named.
    fn candidates(shown: &Self::Shown) -> Vec<Self::Item>;
}

impl Listed for FileStage {
    fn is_hit(answered: &RepoPath, expected: &RepoPath) -> bool {
        answered == expected
    }

    fn copied(context: &Context, k: usize) -> Vec<RepoPath> {
        context.ranking.files.iter().take(k).map(|file| file.path.clone()).collect()
    }

    fn candidates(shown: &FileShown) -> Vec<RepoPath> {
        shown.paths.clone()
    }
}

impl Listed for FunctionStage {
    fn is_hit(answered: &SymbolId, expected: &SymbolId) -> bool {
        answered == expected
    }

    fn copied(context: &Context, k: usize) -> Vec<SymbolId> {
        context.ranking.symbols.iter().take(k).map(id_of).collect()
    }

    fn candidates(shown: &FunctionShown) -> Vec<SymbolId> {
        let ids = shown.files.iter().flat_map(|file| {
            file.symbols.iter().map(|(kind, name)| SymbolId {
                path: file.path.clone(),
                kind: *kind,
                name: name.clone(),
            })
        });
        ids.collect()
    }
}

impl Listed for LineStage {
    fn is_hit(answered: &LineItem, expected: &LineItem) -> bool {
        answered.path == expected.path && expected.accepted().any(|line| line == answered.line)
    }

    /// All lines of the first symbols; of `module:` none, since that is no place.
    fn copied(context: &Context, k: usize) -> Vec<LineItem> {
        let symbols = context.ranking.symbols.iter().take(k);
        let mut lines: Vec<LineItem> = Vec::new();
        for symbol in symbols.filter(|symbol| symbol.kind != SymbolKind::Module) {
            let outline = context.index.outline(&symbol.path);
            let found = outline.and_then(|outline| outline.symbol(symbol.kind, &symbol.name));
            let places = found.into_iter().flat_map(|symbol| &symbol.places);
            for line in places.flat_map(|place| place.span.first..=place.span.last) {
                let item = line_item(&symbol.path, line);
                if !lines.contains(&item) {
                    lines.push(item);
                }
            }
        }
        lines
    }

    fn candidates(shown: &LineShown) -> Vec<LineItem> {
        let files = shown.files.iter();
        let lines = files.flat_map(|file| {
            let numbers = file.windows.iter().flat_map(|window| window.first..=window.last);
            numbers.map(|line| line_item(&file.path, line))
        });
        lines.collect()
    }
}

pub(super) fn line_item(path: &RepoPath, line: u32) -> LineItem {
    LineItem { path: path.clone(), line, also: Vec::new() }
}

fn id_of(symbol: &RankedSymbol) -> SymbolId {
    SymbolId { path: symbol.path.clone(), kind: symbol.kind, name: symbol.name.clone() }
}
