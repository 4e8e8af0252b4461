//! Paths and names as logs print them, found again in a repository.

use std::collections::BTreeMap;

use crate::index::Index;
use crate::index::outline::{Symbol, SymbolKind};
use crate::index::owner::owner_of_line;
use crate::repo::path::RepoPath;

/// Folders that hold other people's code.
const LIBRARY_FOLDERS: &[&str] = &[
    "site-packages",
    "dist-packages",
    "node_modules",
    "registry",
    "rustlib",
    "rustc",
    "vendor",
    "gems",
    "mod",
];

/// An index, ready to find what is printed.
pub struct Trace<'a> {
    index: &'a Index,
    by_name: BTreeMap<&'a str, Vec<&'a RepoPath>>,
}

impl<'a> Trace<'a> {
    pub fn new(index: &'a Index) -> Self {
        let mut by_name: BTreeMap<&str, Vec<&RepoPath>> = BTreeMap::new();
        for path in index.snapshot().files().keys() {
            by_name.entry(path.file_name()).or_default().push(path);
        }
        Self { index, by_name }
    }

    /// The file that a printed path means: the one that shares its longest tail. A path with
    /// folders of which none fits means none, nor does one that fits several files equally well.
    pub fn file_of(&self, printed: &str) -> Option<&'a RepoPath> {
        let is_plain = |part: &&str| !matches!(*part, "" | "." | "..");
        let wanted: Vec<&str> = printed.rsplit('/').filter(is_plain).collect();
        let in_library = wanted.iter().position(|part| LIBRARY_FOLDERS.contains(part));
        let candidates = self.by_name.get(wanted.first()?)?;
        let tails = candidates.iter().map(|path| {
            let common = path.components().rev().zip(&wanted).take_while(|(a, b)| a == *b).count();
            (common, common == path.components().count(), *path)
        });
        // Installed code is the repository's own where its whole path is.
        let fits = |(common, is_whole, _): &(usize, bool, &RepoPath)| match in_library {
            Some(at) => *is_whole && at <= *common,
            None => 1 < *common || *is_whole || wanted.len() == 1,
        };
        let fitting: Vec<(usize, bool, &RepoPath)> = tails.filter(fits).collect();
        let longest = fitting.iter().map(|(common, ..)| *common).max()?;
        let mut best = fitting.into_iter().filter(|(common, ..)| *common == longest);
        let mut found = best.next()?;
        for other in best {
            // A file at the very place is meant before one of the same name further down.
            match (found.1, other.1) {
                (false, true) => found = other,
                (true, false) => {}
                _ => return None,
            }
        }
        Some(found.2)
    }

    /// The symbol that a frame is in: the one of its name, around its line if there are several;
    /// without a name the innermost around the line.
    pub fn symbol_of(
        &self,
        path: &RepoPath,
        line: Option<u32>,
        function: Option<&str>,
    ) -> Option<&'a Symbol> {
        let outline = self.index.outline(path)?;
        let at_line = line.and_then(|line| owner_of_line(outline, line));
        let Some(function) = function else { return at_line };
        let is_named = |symbol: &&Symbol| ends_in(&symbol.name, function);
        // The log may be older than the file: the name counts before the line.
        at_line.filter(&is_named).or_else(|| outline.symbols.iter().find(is_named)).or(at_line)
    }

    /// Where a symbol begins; 1 for what is no listed symbol.
    pub fn line_of(&self, path: &RepoPath, kind: SymbolKind, name: &str) -> u32 {
        let symbol = self.index.outline(path).and_then(|outline| outline.symbol(kind, name));
        symbol.and_then(|symbol| symbol.places.first()).map_or(1, |place| place.header.first)
    }
}

/// Whether a qualified name is what was printed, which may be qualified further or less.
fn ends_in(name: &str, printed: &str) -> bool {
    let mut parts = name.rsplit('.').zip(printed.rsplit('.'));
    parts.next().is_some_and(|(a, b)| a == b) && parts.next().is_none_or(|(a, b)| a == b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::triage::log::fixture::index_of;

    #[test]
    fn printed_paths_mean_files_of_the_repository() {
        let index = index_of(&[
            ("src/shop/cart.py", "x = 1\n"),
            ("src/shop/__init__.py", ""),
            ("src/tax/__init__.py", ""),
            ("requests/api.py", ""),
            ("main.go", ""),
            ("cmd/main.go", ""),
        ]);
        let trace = Trace::new(&index);
        let rows = [
            ("/home/a/b/src/shop/cart.py", Some("src/shop/cart.py")),
            ("cart.py", Some("src/shop/cart.py")),
            ("./src/shop/cart.py", Some("src/shop/cart.py")),
            ("other/cart.py", None),
            ("__init__.py", None),
            ("/v/site-packages/requests/api.py", Some("requests/api.py")),
            ("/v/site-packages/flask/shop/cart.py", None),
            ("/app/main.go", Some("main.go")),
            ("main.go", Some("main.go")),
            ("gone.py", None),
        ];
        for (printed, path) in rows {
            assert_eq!(trace.file_of(printed).map(RepoPath::as_str), path, "{printed}");
        }
    }

    #[test]
    fn a_name_counts_before_a_line() {
        let code = "class A:\n    def f(self):\n        return 1\n\ndef f():\n    return 2\n";
        let index = index_of(&[("a.py", code)]);
        let path = RepoPath::parse("a.py").unwrap();
        let trace = Trace::new(&index);
        let rows = [
            (Some(3), Some("f"), Some("A.f")),
            (Some(6), Some("f"), Some("f")),
            (Some(1), Some("A.f"), Some("A.f")),
            (Some(2), None, Some("A.f")),
            (Some(90), None, None),
        ];
        for (line, function, name) in rows {
            let found = trace.symbol_of(&path, line, function);
            assert_eq!(found.map(|symbol| symbol.name.as_str()), name, "{line:?} {function:?}");
        }
    }
}
