//! Where the names that code mentions are defined.

use std::collections::{BTreeMap, BTreeSet};

use crate::index::Index;
use crate::index::outline::{Symbol, SymbolKind};
use crate::index::retrieval::words::identifiers;
use crate::repo::path::RepoPath;

/// A name with more definitions than this says nothing.
const MOST_DEFINITIONS: usize = 6;

/// The definitions of a repository's sources by the last part of their names.
pub struct Definitions<'a> {
    by_name: BTreeMap<&'a str, Vec<(&'a RepoPath, &'a Symbol)>>,
}

impl<'a> Definitions<'a> {
    pub fn new(index: &'a Index) -> Self {
        let mut by_name: BTreeMap<&str, Vec<(&RepoPath, &Symbol)>> = BTreeMap::new();
        for (path, outline) in index.source_files() {
            for symbol in outline.symbols.iter().filter(|s| s.kind != SymbolKind::Module) {
                let name = symbol.name.rsplit('.').next().unwrap_or(&symbol.name);
                by_name.entry(name).or_default().push((path, symbol));
            }
        }
        Self { by_name }
    }

    /// The names of a piece of code that are defined here, and tell something.
    pub fn names_in(&self, code: &str) -> BTreeSet<&'a str> {
        let known = identifiers(code).filter_map(|(_, name)| self.by_name.get_key_value(name));
        known.filter(|(_, found)| found.len() <= MOST_DEFINITIONS).map(|(name, _)| *name).collect()
    }

    /// Whether a name is defined here, and in few enough places to tell something.
    pub fn is_telling(&self, name: &str) -> bool {
        self.by_name.get(name).is_some_and(|found| found.len() <= MOST_DEFINITIONS)
    }

    /// What the names of a piece of code may mean, each with its share: one over the number of
    /// definitions of that name.
    pub fn of_code(&self, code: &str) -> Vec<(&'a RepoPath, &'a Symbol, f64)> {
        let mut names: Vec<&str> = identifiers(code).map(|(_, name)| name).collect();
        names.sort_unstable();
        names.dedup();
        let known = names.into_iter().filter_map(|name| self.by_name.get(name));
        let telling = known.filter(|found| found.len() <= MOST_DEFINITIONS);
        let share = |found: &Vec<(&'a RepoPath, &'a Symbol)>| {
            let share = 1.0 / found.len() as f64;
            found.iter().map(|(path, symbol)| (*path, *symbol, share)).collect::<Vec<_>>()
        };
        telling.flat_map(share).collect()
    }
}
