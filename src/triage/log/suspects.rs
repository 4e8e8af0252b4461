//! Names that failing tests have in common and passing tests of the same files lack.
//!
//! Spectrum-based fault localization without running anything: what a test mentions stands for
//! what it covers. The measure is Ochiai's (Abreu et al., 2007): failing tests that mention a name,
//! over the root of (failing tests · tests that mention it).

use std::collections::{BTreeMap, BTreeSet};

use crate::index::Index;
use crate::index::definitions::Definitions;
use crate::index::outline::{LineSpan, Outline, SymbolKind};
use crate::repo::path::RepoPath;
use crate::repo::text::Text;

/// Lines that failed in each test file.
pub(super) type FailedLines = BTreeMap<RepoPath, BTreeSet<u32>>;

/// Names with their suspicion, between 0 and 1.
pub(super) fn suspects<'a>(
    index: &Index,
    definitions: &Definitions<'a>,
    failed: &FailedLines,
) -> Vec<(&'a str, f64)> {
    let mut spectrum: BTreeMap<&'a str, (usize, usize)> = BTreeMap::new();
    let mut n_failing = 0;
    for (path, lines) in failed {
        let (Some(outline), Ok(text)) = (index.outline(path), index.snapshot().read_text(path))
        else {
            continue;
        };
        for block in blocks(outline, &text) {
            let fails = lines.iter().any(|line| block.contains(*line));
            n_failing += usize::from(fails);
            let last = block.last.min(text.n_lines() as u32);
            let code = (block.first..=last).map(|line| text.line(line as usize - 1));
            for name in definitions.names_in(&code.collect::<Vec<_>>().join("\n")) {
                let (n_failing, n_all) = spectrum.entry(name).or_default();
                *n_failing += usize::from(fails);
                *n_all += 1;
            }
        }
    }
    let suspicion = |(name, (n, n_all)): (&'a str, (usize, usize))| {
        (name, n as f64 / ((n_failing * n_all) as f64).sqrt())
    };
    spectrum.into_iter().filter(|(_, (n, _))| 0 < *n).map(suspicion).collect()
}

/// The tests of a file: its functions, or, where tests are closures, what begins with `it(` and the
/// like.
fn blocks(outline: &Outline, text: &Text) -> Vec<LineSpan> {
    let begins_a_test = |line: &str| {
        let line = line.trim_start();
        ["it(", "test(", "it.", "test.", "specify(", "it '", "it \"", "test '", "test \""]
            .iter()
            .any(|start| line.starts_with(start))
    };
    let n_lines = text.n_lines() as u32;
    let starts: Vec<u32> =
        (1..=n_lines).filter(|line| begins_a_test(text.line(*line as usize - 1))).collect();
    if !starts.is_empty() {
        let ends = starts[1..].iter().map(|start| start - 1).chain([n_lines]);
        return starts
            .iter()
            .zip(ends)
            .map(|(first, last)| LineSpan { first: *first, last })
            .collect();
    }
    let functions = outline.symbols.iter().filter(|symbol| symbol.kind == SymbolKind::Function);
    functions.flat_map(|symbol| symbol.places.iter().map(|place| place.span)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::triage::log::fixture::index_of;

    #[test]
    fn what_only_failing_tests_mention_is_most_suspect() {
        let code = "def make():\n    pass\n\n\ndef total():\n    pass\n\n\ndef tax():\n    pass\n";
        let tests = "def test_a():\n    make()\n    total()\n\n\ndef test_b():\n    make()\n    tax()\n\n\n\
                     def test_c():\n    make()\n    total()\n";
        let index = index_of(&[("cart.py", code), ("tests/test_cart.py", tests)]);
        let definitions = Definitions::new(&index);
        let path = RepoPath::parse("tests/test_cart.py").unwrap();
        let failed = FailedLines::from([(path, BTreeSet::from([3, 13]))]);
        let found: BTreeMap<&str, f64> =
            suspects(&index, &definitions, &failed).into_iter().collect();
        assert_eq!(found["total"], 1.0);
        assert!((found["make"] - 2.0 / 6.0_f64.sqrt()).abs() < 1e-12);
        assert_eq!(found.get("tax"), None);
    }
}
