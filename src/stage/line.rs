//! Line localization: which lines of the chosen symbols must change.
//!
//! # Prompt
//! The issue, and the code of the chosen symbols with some lines around it and the imports of
//! their files, numbered; over budget, the parts that the issue's words point at stay.
//! # Answer
//! In a fenced block: a path line, then `line: N` or `lines: N-M` lines; as a shorthand, where it
//! is allowed, `function: …` or `class: …` for all shown lines of a symbol.
//! # Truth
//! The base-side numbers of deleted or replaced lines. An insertion is one item, hit by the line
//! before it, the line after it, or the nearest line of either side that is not blank.
//! # Items
//! (path, line).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use minijinja::value::Value;
use serde::{Deserialize, Serialize};

use crate::grammar::{Grammar, Node};
use crate::index::Index;
use crate::index::outline::{LineSpan, Outline, SymbolKind};
use crate::prompt::{CountTokens, Prompt};
use crate::repo::path::RepoPath;
use crate::repo::text::Text;
use crate::search_replace::fence::Ended;
use crate::stage::answer::{Entry, NamedPath, list_entries, parse_entry, parse_path};
use crate::stage::budget::{Budget, Draft, PromptError};
use crate::stage::function::symbol::SymbolId;
use crate::stage::gold::{Gold, GoldFile};
use crate::stage::known::Known;
use crate::stage::rejection::{Reason, Rejection, quoted};
use crate::stage::score::Score;
use crate::stage::windows::{
    CodeFile, Piece, cut_pieces, issue_names, n_lines, n_names, order_pieces, render_windows,
    windows,
};
use crate::stage::{Context, Misses, Stage, StageKind, block_grammar, repeat, rule};

/// Limits of line localization.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineStage {
    pub budget: Budget,
    /// 0 asks for the answer alone.
    pub reasoning_tokens: u32,
    /// Lines shown before and behind a symbol.
    pub context_lines: u32,
    /// Lines and runs of an answer; further ones are not read.
    pub max_entries: usize,
    pub shorthand: LineShorthand,
}

/// What a symbol in place of lines means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LineShorthand {
    /// All its shown lines.
    Span,
    /// A rejection: whole symbols hit nearly always, and teach nothing.
    Reject,
}

/// A line, or a place between lines.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LineItem {
    pub path: RepoPath,
    /// 1-based. Of an insertion, the nearest line above that is not blank, or line 1.
    pub line: u32,
    /// Of an insertion, the other lines that hit it.
    pub also: Vec<u32>,
}

/// The lines of a prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LineShown {
    pub files: Vec<ShownLines>,
    /// Lines of the chosen symbols and around them without room.
    pub left_out: usize,
    /// All paths of the snapshot.
    pub known: Known,
}

/// The lines of a file in a prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShownLines {
    pub path: RepoPath,
    /// Lines of the whole file.
    pub n_lines: u32,
    /// In order, apart from each other.
    pub windows: Vec<LineSpan>,
    /// The chosen symbols, for the shorthand.
    pub symbols: Vec<(SymbolKind, String, Vec<LineSpan>)>,
}

/// A parsed answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineAnswer {
    /// Shown lines, the most important first.
    pub lines: Vec<(RepoPath, u32)>,
    pub invented: usize,
    /// Existing lines that were not shown.
    pub unseen: usize,
}

impl Stage for LineStage {
    /// The chosen symbols, the most important first.
    type Input = Vec<SymbolId>;
    type Shown = LineShown;
    type Answer = LineAnswer;
    type Item = LineItem;
    const KIND: StageKind = StageKind::Line;

    fn prompt(
        &self,
        context: &Context,
        input: &Vec<SymbolId>,
        counter: &dyn CountTokens,
    ) -> Result<(Prompt, LineShown), PromptError> {
        let chosen = chosen_files(context, input);
        let names = issue_names(&context.issue);
        let mut pieces = Vec::new();
        for (file_idx, file) in chosen.iter().enumerate() {
            pieces.extend(self.pieces(file_idx, file, &names));
        }
        let pieces = order_pieces(pieces);
        if pieces.is_empty() {
            let wanted = "at least one line of a chosen symbol";
            return Err(PromptError::NothingToShow { stage: Self::KIND, wanted });
        }
        let files: Vec<CodeFile> = chosen.iter().map(|file| file.code.clone()).collect();
        let draft = Draft::new(Self::KIND, context, counter, self.budget)?;
        let (prompt, n_shown) = draft.fit(pieces.len(), |n_pieces| {
            let windows = windows(&pieces[..n_pieces], files.len());
            let numbered = |number: u32, line: &str| format!("{number}| {line}");
            vec![
                ("code", Value::from(render_windows(&files, &windows, numbered))),
                ("left_out", Value::from(n_lines(&pieces[n_pieces..]))),
                ("max_entries", Value::from(self.max_entries)),
                ("reasoning", Value::from(0 < self.reasoning_tokens)),
            ]
        })?;
        let windows = windows(&pieces[..n_shown], files.len());
        let shown_files = chosen.into_iter().zip(windows).filter(|(_, w)| !w.is_empty());
        let shown = LineShown {
            files: shown_files.map(|(file, windows)| file.shown(windows)).collect(),
            left_out: n_lines(&pieces[n_shown..]),
            known: Known::new(context.index.snapshot().files().keys().map(RepoPath::as_str)),
        };
        Ok((prompt, shown))
    }

    fn grammar(&self, shown: &LineShown) -> Grammar {
        let max = self.max_entries as u32;
        let text = |text: &str| Node::Text(text.to_owned());
        let mut rules = BTreeMap::new();
        let mut blocks = Vec::new();
        for (file_idx, file) in shown.files.iter().enumerate() {
            let mut entries = Vec::new();
            for (idx, window) in file.windows.iter().enumerate() {
                let name = format!("number{file_idx}_{idx}");
                let numbers = (window.first..=window.last).map(|line| Node::Text(line.to_string()));
                rules.insert(name.clone(), Node::Choice(numbers.collect()));
                let number = || rule(&name);
                entries.push(Node::Sequence(vec![text("line: "), number(), text("\n")]));
                let run = [text("lines: "), number(), text("-"), number(), text("\n")];
                entries.push(Node::Sequence(run.into()));
            }
            rules.insert(format!("entry{file_idx}"), Node::Choice(entries));
            let path = Node::Text(format!("{}\n", file.path));
            let list = repeat(rule(&format!("entry{file_idx}")), 1, max);
            blocks.push(Node::Sequence(vec![path, list]));
        }
        rules.insert("block".to_owned(), Node::Choice(blocks));
        let more = Node::Sequence(vec![text("\n"), rule("block")]);
        let most = (shown.files.len() as u32).saturating_sub(1).min(max);
        let body = Node::Sequence(vec![rule("block"), repeat(more, 0, most)]);
        block_grammar(self.reasoning_tokens, body, rules)
    }

    fn completion_tokens(&self) -> usize {
        self.reasoning_tokens as usize + 60 + 20 * self.max_entries
    }

    fn parse(
        &self,
        shown: &LineShown,
        completion: &str,
        ended: Ended,
    ) -> Result<LineAnswer, Rejection> {
        let wanted = "a path, and below it lines such as `line: 12` or `lines: 12-15`";
        let mut reading = Reading::new(shown);
        let mut rejected: Option<(Reason, &str)> = None;
        let mut n_entries = 0;
        for line in list_entries(completion, ended, wanted)? {
            for entry in parse_entry(line) {
                if n_entries == self.max_entries {
                    break;
                }
                let problem = match entry {
                    Entry::Other => reading.path(line),
                    Entry::Symbol(..) if self.shorthand == LineShorthand::Reject => {
                        return Err(Rejection::new(Reason::Shorthand, wanted, quoted(line)));
                    }
                    Entry::Symbol(kind, name) => {
                        n_entries += 1;
                        reading.symbol(kind, &name)
                    }
                    Entry::Lines(first, last) => {
                        n_entries += 1;
                        reading.lines(first, last)
                    }
                };
                rejected = rejected.or(problem.map(|reason| (reason, line)));
            }
        }
        match (reading.answer.lines.is_empty(), rejected) {
            (false, _) => Ok(reading.answer),
            (true, Some((reason, line))) => Err(Rejection::new(reason, wanted, quoted(line))),
            (true, None) => {
                Err(Rejection::new(Reason::EmptyAnswer, wanted, "a path without lines"))
            }
        }
    }

    fn truth(&self, _: &Index, gold: &Gold) -> Vec<LineItem> {
        let items: BTreeSet<LineItem> = gold.base_files().flat_map(gold_lines).collect();
        items.into_iter().collect()
    }

    fn items(&self, answer: &LineAnswer) -> Vec<LineItem> {
        let item = |(path, line): &(RepoPath, u32)| LineItem {
            path: path.clone(),
            line: *line,
            also: vec![],
        };
        answer.lines.iter().map(item).collect()
    }

    fn misses(&self, answer: &LineAnswer) -> Misses {
        Misses { invented: answer.invented, unseen: answer.unseen }
    }

    fn is_in_view(&self, shown: &LineShown, item: &LineItem) -> bool {
        let file = shown.files.iter().find(|file| file.path == item.path);
        file.is_some_and(|file| item.accepted().any(|line| file.shows(line)))
    }

    fn score(&self, answered: &[LineItem], expected: &[LineItem]) -> Score {
        score_lines(answered, expected)
    }
}

impl LineItem {
    /// The lines that hit it.
    pub fn accepted(&self) -> impl Iterator<Item = u32> {
        std::iter::once(self.line).chain(self.also.iter().copied())
    }
}

/// The items of a changed file; see the head of this file.
pub(crate) fn gold_lines(file: &GoldFile) -> Vec<LineItem> {
    let Some(base) = &file.base else { return Vec::new() };
    let mut items = Vec::new();
    for change in &file.changes {
        let replaced = change.base.clone().map(|idx| idx as u32 + 1);
        let item = |line, also| LineItem { path: file.path.clone(), line, also };
        items.extend(replaced.map(|line| item(line, Vec::new())));
        if change.base.is_empty() && 0 < base.n_lines() {
            items.push(insertion(base, change.base.start, item));
        }
    }
    items
}

/// The item of lines put before the base line of that index.
fn insertion(base: &Text, behind_idx: usize, item: impl Fn(u32, Vec<u32>) -> LineItem) -> LineItem {
    let is_full = |idx: &usize| !base.line(*idx).trim().is_empty();
    let above = (0..behind_idx).rev().find(is_full);
    let below = (behind_idx..base.n_lines()).find(is_full);
    let before = behind_idx.checked_sub(1);
    let behind = (behind_idx < base.n_lines()).then_some(behind_idx);
    let line = above.map_or(1, |idx| idx as u32 + 1);
    let accepted: BTreeSet<u32> =
        [above, below, before, behind].into_iter().flatten().map(|idx| idx as u32 + 1).collect();
    item(line, accepted.into_iter().filter(|other| *other != line).collect())
}

/// Each expected item is hit by at most one answered line, and each answered line hits at most
/// one item; as many as can be.
pub(crate) fn score_lines(answered: &[LineItem], expected: &[LineItem]) -> Score {
    let free: BTreeMap<(&str, u32), usize> = answered
        .iter()
        .enumerate()
        .map(|(idx, item)| ((item.path.as_str(), item.line), idx))
        .collect();
    let mut used_by: Vec<Option<usize>> = vec![None; answered.len()];
    let mut hits = 0;
    // An item with a single line can be hit in one way only, so it goes first.
    let (single, several): (Vec<&LineItem>, Vec<&LineItem>) =
        expected.iter().partition(|item| item.also.is_empty());
    let mut is_taken = vec![false; answered.len()];
    for item in single {
        if let Some(&idx) = free.get(&(item.path.as_str(), item.line))
            && !std::mem::replace(&mut is_taken[idx], true)
        {
            hits += 1;
        }
    }
    let ways: Vec<Vec<usize>> = several
        .iter()
        .map(|item| {
            let found = item.accepted().filter_map(|line| free.get(&(item.path.as_str(), line)));
            found.copied().filter(|idx| !is_taken[*idx]).collect()
        })
        .collect();
    for item_idx in 0..several.len() {
        let mut tried = vec![false; answered.len()];
        hits += usize::from(assign(item_idx, &ways, &mut used_by, &mut tried));
    }
    Score { hits, answered: answered.len(), expected: expected.len() }
}

/// Gives an item one of its lines, moving other items to other lines of theirs where needed.
fn assign(
    item_idx: usize,
    ways: &[Vec<usize>],
    used_by: &mut [Option<usize>],
    tried: &mut [bool],
) -> bool {
    for &line_idx in &ways[item_idx] {
        if std::mem::replace(&mut tried[line_idx], true) {
            continue;
        }
        let is_free = used_by[line_idx].is_none_or(|other| assign(other, ways, used_by, tried));
        if is_free {
            used_by[line_idx] = Some(item_idx);
            return true;
        }
    }
    false
}

impl ShownLines {
    fn shows(&self, line: u32) -> bool {
        self.windows.iter().any(|window| window.first <= line && line <= window.last)
    }
}

/// An answer while it is read.
struct Reading<'a> {
    shown: &'a LineShown,
    about: About<'a>,
    answer: LineAnswer,
}

/// Which file the lines of an answer are about.
enum About<'a> {
    Shown(&'a ShownLines),
    /// A file of the repository that is not in the prompt.
    Unseen,
    Nowhere,
}

impl<'a> Reading<'a> {
    fn new(shown: &'a LineShown) -> Self {
        // An answer about a single file may leave its path away.
        let about = match &shown.files[..] {
            [file] => About::Shown(file),
            _ => About::Nowhere,
        };
        Self { shown, about, answer: LineAnswer { lines: Vec::new(), invented: 0, unseen: 0 } }
    }

    fn path(&mut self, line: &str) -> Option<Reason> {
        let shown = self.shown;
        let file_at = |path: &RepoPath| shown.files.iter().find(|file| file.path == *path);
        let exists =
            |path: &RepoPath| file_at(path).is_some() || shown.known.contains(path.as_str());
        let (about, problem) = match parse_path(line, exists) {
            NamedPath::Existing(path) => (file_at(&path).map_or(About::Unseen, About::Shown), None),
            NamedPath::Invented(_) => (About::Nowhere, Some(Reason::UnknownPath)),
            NamedPath::Unsafe(_) => (About::Nowhere, Some(Reason::UnsafePath)),
        };
        self.about = about;
        self.answer.invented += usize::from(problem.is_some());
        problem
    }

    fn symbol(&mut self, kind: SymbolKind, name: &str) -> Option<Reason> {
        let About::Shown(file) = self.about else { return Some(self.nowhere(1)) };
        let is_meant = |(other, shown, _): &&(SymbolKind, String, Vec<LineSpan>)| {
            *other == kind && shown == name
        };
        let Some((_, _, spans)) = file.symbols.iter().find(is_meant) else {
            self.answer.invented += 1;
            return Some(Reason::UnknownSymbol);
        };
        for span in spans {
            self.push_shown(file, span.first, span.last);
        }
        None
    }

    fn lines(&mut self, first: u32, last: u32) -> Option<Reason> {
        let n_named = (last - first) as usize + 1;
        let About::Shown(file) = self.about else { return Some(self.nowhere(n_named)) };
        let first_real = first.max(1);
        let last_real = last.min(file.n_lines);
        let n_real = (last_real + 1).saturating_sub(first_real) as usize;
        let n_shown = self.push_shown(file, first_real, last_real);
        self.answer.invented += n_named - n_real;
        self.answer.unseen += n_real - n_shown;
        (n_shown == 0).then_some(Reason::LineOutOfView)
    }

    fn nowhere(&mut self, n_named: usize) -> Reason {
        if matches!(self.about, About::Unseen) {
            self.answer.unseen += n_named;
            return Reason::LineOutOfView;
        }
        self.answer.invented += n_named;
        Reason::UnknownPath
    }

    /// Adds the shown lines of a run, each once; gives how many of the run are shown.
    fn push_shown(&mut self, file: &ShownLines, first: u32, last: u32) -> usize {
        let mut n_shown = 0;
        for window in &file.windows {
            for line in first.max(window.first)..=last.min(window.last) {
                n_shown += 1;
                let is_known =
                    |(path, other): &(RepoPath, u32)| *other == line && *path == file.path;
                if !self.answer.lines.iter().any(is_known) {
                    self.answer.lines.push((file.path.clone(), line));
                }
            }
        }
        n_shown
    }
}

/// A file with chosen symbols.
struct ChosenFile {
    code: CodeFile,
    outline: Arc<Outline>,
    /// Number among all chosen symbols, kind, name, and spans.
    symbols: Vec<(usize, SymbolKind, String, Vec<LineSpan>)>,
}

impl ChosenFile {
    fn shown(self, windows: Vec<LineSpan>) -> ShownLines {
        let symbols = self.symbols.into_iter();
        ShownLines {
            n_lines: self.code.text.n_lines() as u32,
            path: self.code.path,
            windows,
            symbols: symbols.map(|(_, kind, name, spans)| (kind, name, spans)).collect(),
        }
    }
}

fn chosen_files(context: &Context, input: &[SymbolId]) -> Vec<ChosenFile> {
    let mut files: Vec<ChosenFile> = Vec::new();
    for (order, symbol) in input.iter().enumerate() {
        let at = files.iter().position(|file| file.code.path == symbol.path);
        let at = if let Some(at) = at {
            at
        } else {
            let outline = context.index.outline(&symbol.path);
            let text = context.index.snapshot().read_text(&symbol.path);
            let (Some(outline), Ok(text)) = (outline, text) else { continue };
            if text.n_lines() == 0 {
                continue;
            }
            let code = CodeFile { path: symbol.path.clone(), text };
            files.push(ChosenFile { code, outline: outline.clone(), symbols: Vec::new() });
            files.len() - 1
        };
        let spans = spans_of(&files[at].outline, symbol.kind, &symbol.name);
        if !spans.is_empty() {
            files[at].symbols.push((order, symbol.kind, symbol.name.clone(), spans));
        }
    }
    files
}

/// The lines of a symbol; of `module:` those that no other symbol holds, and the last.
fn spans_of(outline: &Outline, kind: SymbolKind, name: &str) -> Vec<LineSpan> {
    if kind != SymbolKind::Module {
        let symbol = outline.symbols.iter().find(|s| s.kind == kind && s.name == name);
        return symbol.map_or(Vec::new(), |s| s.places.iter().map(|place| place.span).collect());
    }
    let listed = outline.symbols.iter().filter(|symbol| symbol.kind != SymbolKind::Module);
    let mut owned: Vec<LineSpan> =
        listed.flat_map(|symbol| symbol.places.iter().map(|place| place.span)).collect();
    owned.sort_unstable();
    let mut spans = Vec::new();
    let mut next = 1;
    for span in owned {
        if next < span.first {
            spans.push(LineSpan { first: next, last: span.first - 1 });
        }
        next = next.max(span.last + 1);
    }
    // What is appended to a file is `module:`'s, so its last line is a place of `module:` too.
    let last = outline.n_lines;
    if 0 < last {
        spans.push(LineSpan { first: next.min(last), last });
    }
    spans
}

impl LineStage {
    /// The pieces of a file with their ranks: heads of the chosen symbols and what the issue's
    /// words point at first, imports among them, the lines around symbols last.
    fn pieces(&self, file_idx: usize, file: &ChosenFile, names: &BTreeSet<&str>) -> Vec<Piece> {
        let text = &file.code.text;
        let n_lines = text.n_lines() as u32;
        let pointed = |span: LineSpan| n_names(text, span, names).min(4) as f64;
        let mut pieces = Vec::new();
        for span in &file.outline.imports {
            pieces.extend(cut_pieces(file_idx, *span, |idx, span| {
                1.0 + file_idx as f64 + 2.0 * idx as f64 - 0.5 * pointed(span)
            }));
        }
        for (order, kind, _, spans) in &file.symbols {
            let is_module = *kind == SymbolKind::Module;
            for span in spans {
                let first_rank = if is_module { 2.0 } else { 0.0 };
                pieces.extend(cut_pieces(file_idx, *span, |idx, span| {
                    let distance = if idx == 0 { first_rank } else { 1.0 + 0.2 * idx as f64 };
                    *order as f64 + distance - 0.7 * pointed(span)
                }));
                if is_module {
                    continue;
                }
                let around = [
                    (span.first.saturating_sub(self.context_lines).max(1), span.first - 1),
                    (span.last + 1, (span.last + self.context_lines).min(n_lines)),
                ];
                for (first, last) in around.into_iter().filter(|(first, last)| first <= last) {
                    let rank = |_, _| 6.0 + *order as f64;
                    pieces.extend(cut_pieces(file_idx, LineSpan { first, last }, rank));
                }
            }
        }
        // A file may have been cut since it was outlined only if its outline were stale; hold
        // to the text all the same.
        pieces.retain(|piece| piece.span.last <= n_lines);
        pieces
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::prompt::EstimateTokens;
    use crate::stage::fixture::{Bytes, SHOP, context, gold, path, sample};
    use crate::stage::profile::Profile;

    fn stage() -> LineStage {
        Profile::Small.stages().line
    }

    fn symbol(file: &str, kind: SymbolKind, name: &str) -> SymbolId {
        SymbolId { path: path(file), kind, name: name.to_owned() }
    }

    fn chosen() -> Vec<SymbolId> {
        vec![
            symbol("src/shop/cart.py", SymbolKind::Function, "Cart.average"),
            symbol("src/shop/tax.py", SymbolKind::Function, "tax"),
            symbol("gone.py", SymbolKind::Function, "f"),
        ]
    }

    fn shown() -> LineShown {
        let context = context(SHOP, "The average fails.");
        stage().prompt(&context, &chosen(), &EstimateTokens).unwrap().1
    }

    #[track_caller]
    fn check(completion: &str, expect: Expect) {
        let outcome = stage().parse(&shown(), completion, Ended::ByItself);
        expect.assert_eq(&match outcome {
            Ok(LineAnswer { lines, invented, unseen }) => {
                format!("{lines:?} invented {invented} unseen {unseen}")
            }
            Err(rejection) => rejection.to_string(),
        });
    }

    #[test]
    fn the_prompt_numbers_lines_and_shows_imports() {
        let context = context(SHOP, "The average fails.");
        let (prompt, shown) = stage().prompt(&context, &chosen(), &EstimateTokens).unwrap();
        expect![[r#"
            # Issue
            The average fails.

            # Code
            ### src/shop/cart.py
            ```
            1| import os
            2| from shop import tax
            ...
            19|         net = sum(self.items)
            20|         return net
            21| 
            22|     def average(self):
            23|         return self.total / len(self.items)
            24| 
            25| 
            26| def load(path):
            ```

            ### src/shop/tax.py
            ```
            1| def tax(net):
            2|     return net * 0.2
            ```

            # Task
            Which lines must be changed to resolve the issue? For new lines, name the line before them.
            Write one code block that lists at most 5 lines or runs of lines below the path of their file, the most important first. Example:
            ```
            src/shop/cart.py
            line: 31
            lines: 40-42
            ```"#]].assert_eq(&prompt.messages[1].content);
        expect![[r#"
            [
                ShownLines {
                    path: "src/shop/cart.py",
                    n_lines: 27,
                    windows: [
                        LineSpan {
                            first: 1,
                            last: 2,
                        },
                        LineSpan {
                            first: 19,
                            last: 26,
                        },
                    ],
                    symbols: [
                        (
                            Function,
                            "Cart.average",
                            [
                                LineSpan {
                                    first: 22,
                                    last: 23,
                                },
                            ],
                        ),
                    ],
                },
                ShownLines {
                    path: "src/shop/tax.py",
                    n_lines: 2,
                    windows: [
                        LineSpan {
                            first: 1,
                            last: 2,
                        },
                    ],
                    symbols: [
                        (
                            Function,
                            "tax",
                            [
                                LineSpan {
                                    first: 1,
                                    last: 2,
                                },
                            ],
                        ),
                    ],
                },
            ]
        "#]]
        .assert_debug_eq(&shown.files);
    }

    #[test]
    fn completions_in_the_wild() {
        check(
            "```\nsrc/shop/cart.py\nline: 23\n```",
            expect![[r#"[("src/shop/cart.py", 23)] invented 0 unseen 0"#]],
        );
        check(
            "```\nsrc/shop/cart.py\nlines: 22-23\n\n./src/shop/tax.py\n- line: 2\n```",
            expect![[
                r#"[("src/shop/cart.py", 22), ("src/shop/cart.py", 23), ("src/shop/tax.py", 2)] invented 0 unseen 0"#
            ]],
        );
        check(
            "```\nsrc/shop/cart.py\nline: 23-22\nline: 23\n```",
            expect![[
                r#"[("src/shop/cart.py", 22), ("src/shop/cart.py", 23)] invented 0 unseen 0"#
            ]],
        );
        check(
            "```\nsrc/shop/cart.py\n23|         return self.total\n```",
            expect![[r#"[("src/shop/cart.py", 23)] invented 0 unseen 0"#]],
        );
        check(
            "```\nsrc/shop/cart.py\nfunction: Cart.average\n```",
            expect![[
                r#"[("src/shop/cart.py", 22), ("src/shop/cart.py", 23)] invented 0 unseen 0"#
            ]],
        );
        check(
            "```\nsrc/shop/cart.py\nfunction: Cart.total\n```",
            expect![
                "unknown symbol: wanted a path, and below it lines such as `line: 12` or `lines: 12-15`, found `function: Cart.total`"
            ],
        );
        check(
            "```\nsrc/shop/cart.py\nline: 10\nline: 23\n```",
            expect![[r#"[("src/shop/cart.py", 23)] invented 0 unseen 1"#]],
        );
        check(
            "```\nsrc/shop/cart.py\nline: 10\n```",
            expect![
                "line out of view: wanted a path, and below it lines such as `line: 12` or `lines: 12-15`, found `line: 10`"
            ],
        );
        check(
            "```\nsrc/shop/cart.py\nline: 500\n```",
            expect![
                "line out of view: wanted a path, and below it lines such as `line: 12` or `lines: 12-15`, found `line: 500`"
            ],
        );
        check(
            "```\nsrc/shop/cart.py\nlines: 23-99999999999999\n```",
            expect![[
                r#"[("src/shop/cart.py", 23), ("src/shop/cart.py", 24), ("src/shop/cart.py", 25), ("src/shop/cart.py", 26)] invented 4294967268 unseen 1"#
            ]],
        );
        check(
            "```\nREADME.md\nline: 1\n```",
            expect![
                "line out of view: wanted a path, and below it lines such as `line: 12` or `lines: 12-15`, found `line: 1`"
            ],
        );
        check(
            "```\nsrc/shop/order.py\nline: 1\n```",
            expect![
                "unknown path: wanted a path, and below it lines such as `line: 12` or `lines: 12-15`, found `src/shop/order.py`"
            ],
        );
        check(
            "```\nline: 1\n```",
            expect![
                "unknown path: wanted a path, and below it lines such as `line: 12` or `lines: 12-15`, found `line: 1`"
            ],
        );
        check(
            "```\nsrc/shop/cart.py\n```",
            expect![
                "empty answer: wanted a path, and below it lines such as `line: 12` or `lines: 12-15`, found a path without lines"
            ],
        );
        check(
            "line 23",
            expect![
                "no answer: wanted a code block with a path, and below it lines such as `line: 12` or `lines: 12-15`, found `line 23` without one"
            ],
        );
    }

    #[test]
    fn the_shorthand_is_rejected_where_it_teaches_nothing() {
        let strict = LineStage { shorthand: LineShorthand::Reject, ..stage() };
        let completion = "```\nsrc/shop/cart.py\nfunction: Cart.average\n```";
        let rejection = strict.parse(&shown(), completion, Ended::ByItself).unwrap_err();
        assert_eq!(rejection.reason, Reason::Shorthand);
    }

    #[track_caller]
    fn check_truth(base: &str, patched: &str, expect: Expect) {
        let context = context(&format!("//- /a.py\n{base}"), "x");
        let truth = stage().truth(&context.index, &gold(&context, &[("a.py", patched)]));
        let items = truth.iter().map(|item| format!("{} also {:?}", item.line, item.also));
        expect.assert_eq(&items.collect::<Vec<_>>().join(", "));
    }

    #[test]
    fn truth_is_replaced_lines_and_anchored_insertions() {
        check_truth("a\nb\nc\n", "a\nx\nc\n", expect!["2 also []"]);
        check_truth("a\nb\nc\n", "a\n", expect!["2 also [], 3 also []"]);
        check_truth("a\nb\n", "a\nx\nb\n", expect!["1 also [2]"]);
        check_truth("a\n\n\nb\n", "a\n\nx\n\nb\n", expect!["1 also [2, 3, 4]"]);
        check_truth("a\n", "x\na\n", expect!["1 also []"]);
        check_truth("\na\n", "x\n\na\n", expect!["1 also [2]"]);
        check_truth("a\n", "a\nx\n", expect!["1 also []"]);
        // A run that could slide stands as far up as it goes.
        check_truth("a\n\nb\n\nc\n", "a\n\nb\n\nb\n\nc\n", expect!["1 also [2, 3]"]);
        check_truth("", "x\n", expect![""]);
    }

    fn item(line: u32, also: &[u32]) -> LineItem {
        LineItem { path: path("a.py"), line, also: also.to_vec() }
    }

    #[test]
    fn an_insertion_is_hit_once_from_either_side() {
        let cases: [(&[u32], &[LineItem], usize); 6] = [
            (&[4], &[item(4, &[5])], 1),
            (&[5], &[item(4, &[5])], 1),
            (&[4, 5], &[item(4, &[5])], 1),
            (&[6], &[item(4, &[5])], 0),
            // One answered line pays once, and goes where it leaves the most for others.
            (&[5], &[item(4, &[5]), item(5, &[6])], 1),
            (&[5, 4], &[item(5, &[4]), item(5, &[6])], 2),
        ];
        for (answered, expected, hits) in cases {
            let answered: Vec<LineItem> = answered.iter().map(|line| item(*line, &[])).collect();
            let score = score_lines(&answered, expected);
            assert_eq!(score, Score { hits, answered: answered.len(), expected: expected.len() });
        }
    }

    #[test]
    fn every_text_of_the_grammar_is_an_answer() {
        let shown = shown();
        let stage = LineStage { reasoning_tokens: 20, ..stage() };
        let grammar = stage.grammar(&shown);
        let mut random = ChaCha8Rng::seed_from_u64(1);
        for _ in 0..200 {
            let text = sample(&grammar, &mut random);
            let answer = stage.parse(&shown, &text, Ended::ByItself);
            assert!(
                answer.as_ref().is_ok_and(|answer| answer.invented + answer.unseen == 0),
                "{text}"
            );
        }
    }

    #[test]
    fn a_log_of_a_megabyte_leaves_room_for_the_code() {
        let log: String = (0..16_000)
            .map(|i| format!("{i} INFO the average of cart {i} is 0\n"))
            .collect::<Vec<_>>()
            .concat();
        let context = context(SHOP, &format!("The average fails.\n{log}"));
        let (prompt, shown) = stage().prompt(&context, &chosen(), &EstimateTokens).unwrap();
        let content = &prompt.messages[1].content;
        assert!(content.contains("lines left out: 15") && content.contains("def average"));
        assert!(shown.files.len() == 2);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn no_prompt_exceeds_its_budget(issue in "(\\PC{0,80}\n){0,30}", tokens in 700_usize..6000,
                                        n_lines in 1_usize..300) {
            let body: String = (0..n_lines).map(|i| format!("    name_{i} = {i}\n")).collect::<Vec<_>>().concat();
            let context = context(&format!("//- /a.py\nimport os\ndef f():\n{body}"), &issue);
            let budget = Budget { prompt_tokens: tokens, issue_tokens: 200 };
            let stage = LineStage { budget, ..stage() };
            let input = vec![symbol("a.py", SymbolKind::Function, "f")];
            match stage.prompt(&context, &input, &Bytes) {
                Ok((prompt, shown)) => {
                    let texts = prompt.messages.iter().map(|message| Bytes.count(&message.content));
                    prop_assert!(texts.sum::<usize>() <= tokens);
                    let n_shown: u32 = shown.files[0].windows.iter().map(|w| w.last - w.first + 1).sum();
                    prop_assert_eq!(n_shown as usize + shown.left_out, n_lines + 2);
                }
                Err(PromptError::NoRoom { needed, .. }) => prop_assert!(tokens < needed),
                Err(other) => prop_assert!(false, "{}", other),
            }
        }
    }
}
