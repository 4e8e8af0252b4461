//! Places in a repository: what localization found, and code that a model can rewrite at once.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::index::outline::{LineSpan, Symbol, SymbolKind};
use crate::index::retrieval::RankedSymbol;
use crate::repo::path::RepoPath;
use crate::repo::text::Text;
use crate::stage::Context;
use crate::stage::function::symbol::SymbolId;

/// Where the change belongs, as far as it is known; what the user gave skips its stage.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Places {
    /// The most important first.
    pub files: Vec<RepoPath>,
    pub symbols: Vec<SymbolId>,
    /// Distinct answers of the line stage, the one with most votes first.
    pub line_sets: Vec<LineSet>,
    /// Symbols whose name the issue says, as retrieval ranks them: where tests can judge, edits
    /// are tried on these first.
    pub named: Vec<LineSet>,
    /// The chosen symbols, the most important first: tried one by one where tests can judge and
    /// no edit before them holds, since a small model chooses lines worse than it edits.
    pub reserve: Vec<LineSet>,
}

impl Places {
    /// Where edits are tried, one after the other: without tests the line stage's answers alone,
    /// since edits elsewhere would only blur the vote.
    pub fn to_try(&self, is_judged: bool) -> Vec<&LineSet> {
        if !is_judged {
            return self.line_sets.iter().collect();
        }
        let mut seen = BTreeSet::new();
        let all = self.named.iter().chain(&self.line_sets).chain(&self.reserve);
        all.filter(|set| seen.insert(&set.lines)).collect()
    }
}

/// One answer of the line stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineSet {
    /// 1-based.
    pub lines: Vec<(RepoPath, u32)>,
    pub votes: u32,
}

/// Symbols whose name the issue says, as retrieval ranks them.
pub(crate) fn named_symbols(context: &Context) -> Vec<SymbolId> {
    let said: BTreeSet<&str> =
        context.issue.split(|c: char| c != '_' && !c.is_alphanumeric()).collect();
    // Plain words are too often names of something else.
    let is_said = |name: &str| name.contains(|c: char| !c.is_lowercase()) && said.contains(name);
    let ranked = context.ranking.symbols.iter().map(id_of);
    ranked.filter(|symbol| is_said(symbol.name.rsplit('.').next().unwrap_or_default())).collect()
}

/// The code of functions and variables as sets of lines that a model can rewrite at once; classes
/// and modules are more than that.
pub(crate) fn code_of(context: &Context, symbols: &[SymbolId], most: usize) -> Vec<LineSet> {
    let is_small =
        |symbol: &&SymbolId| matches!(symbol.kind, SymbolKind::Function | SymbolKind::Variable);
    let mut sets = Vec::new();
    for symbol in symbols.iter().filter(is_small) {
        let outline = context.index.outline(&symbol.path);
        let (Some(outline), Ok(text)) = (outline, context.index.snapshot().read_text(&symbol.path))
        else {
            continue;
        };
        let is_it = |other: &&Symbol| other.kind == symbol.kind && other.name == symbol.name;
        let found = outline.symbols.iter().filter(is_it);
        for place in found.flat_map(|symbol| &symbol.places) {
            for span in cut_code(&text, place.span) {
                let lines = span.first..=span.last;
                let lines = lines.map(|line| (symbol.path.clone(), line)).collect();
                sets.push(LineSet { lines, votes: 0 });
            }
        }
        if most <= sets.len() {
            break;
        }
    }
    sets.truncate(most);
    sets
}

/// Lines of code that a small model rewrites at once.
const REWRITTEN_LINES: u32 = 24;

/// Cuts a span into runs of at most [`REWRITTEN_LINES`], each ending before the least indented of
/// its last lines.
fn cut_code(text: &Text, span: LineSpan) -> Vec<LineSpan> {
    let mut runs = Vec::new();
    let mut first = span.first;
    while first <= span.last {
        let full = first + REWRITTEN_LINES;
        let next = if span.last < full {
            span.last + 1
        } else {
            let indent = |number: &u32| {
                let line = text.line(*number as usize - 1);
                let n_blank = line.len() - line.trim_start().len();
                // A blank line is a good place whatever stands in it.
                if line.trim().is_empty() { 0 } else { n_blank }
            };
            (first + REWRITTEN_LINES / 2..=full).rev().min_by_key(indent).unwrap_or(full)
        };
        runs.push(LineSpan { first, last: next - 1 });
        first = next;
    }
    runs
}

pub(crate) fn id_of(symbol: &RankedSymbol) -> SymbolId {
    SymbolId { path: symbol.path.clone(), kind: symbol.kind, name: symbol.name.clone() }
}

/// Lines as `path:3-5,9`, files divided by blanks.
pub fn render_lines(lines: &[(RepoPath, u32)]) -> String {
    let mut by_file: BTreeMap<&RepoPath, BTreeSet<u32>> = BTreeMap::new();
    for (path, line) in lines {
        by_file.entry(path).or_default().insert(*line);
    }
    let render_file = |(path, lines): (&RepoPath, BTreeSet<u32>)| {
        let mut runs: Vec<(u32, u32)> = Vec::new();
        for line in lines {
            match runs.last_mut() {
                Some(run) if run.1 + 1 == line => run.1 = line,
                _ => runs.push((line, line)),
            }
        }
        let run = |(first, last): &(u32, u32)| match first == last {
            true => first.to_string(),
            false => format!("{first}-{last}"),
        };
        format!("{path}:{}", runs.iter().map(run).collect::<Vec<_>>().join(","))
    };
    by_file.into_iter().map(render_file).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RepoPath {
        RepoPath::parse(text).unwrap()
    }

    #[test]
    fn long_code_is_cut_where_it_is_least_indented() {
        let mut code = "def f():\n".to_owned();
        for block in 0..5 {
            code += &format!("    if x == {block}:\n{}", "        y()\n".repeat(9));
        }
        let text = Text::decode(code.as_bytes()).unwrap();
        let runs = cut_code(&text, LineSpan { first: 1, last: 51 });
        let runs: Vec<(u32, u32)> = runs.iter().map(|run| (run.first, run.last)).collect();
        assert_eq!(runs, [(1, 21), (22, 41), (42, 51)]);
    }

    #[test]
    fn without_tests_only_answers_are_tried() {
        let set = |line| LineSet { lines: vec![(path("a.py"), line)], votes: 0 };
        let places = Places {
            line_sets: vec![set(1)],
            named: vec![set(2)],
            reserve: vec![set(2), set(3)],
            ..Places::default()
        };
        assert_eq!(places.to_try(false), [&set(1)]);
        assert_eq!(places.to_try(true), [&set(2), &set(1), &set(3)]);
    }

    #[test]
    fn lines_are_shown_as_runs() {
        let lines = [(path("b.py"), 7), (path("a.py"), 4), (path("a.py"), 3), (path("a.py"), 9)];
        assert_eq!(render_lines(&lines), "a.py:3-4,9 b.py:7");
    }
}
