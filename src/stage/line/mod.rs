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

pub mod items;
pub mod shown;

mod draft;
mod reading;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use minijinja::value::Value;
use serde::{Deserialize, Serialize};

use crate::grammar::{Grammar, Node};
use crate::index::Index;
use crate::prompt::{CountTokens, Prompt};
use crate::repo::path::RepoPath;
use crate::search_replace::fence::Ended;
use crate::stage::answer::{Entry, list_entries, parse_entry};
use crate::stage::budget::{Budget, Draft, PromptError};
use crate::stage::function::symbol::SymbolId;
use crate::stage::gold::Gold;
use crate::stage::known::Known;
use crate::stage::line::draft::chosen_files;
use crate::stage::line::items::{LineItem, gold_lines, score_lines};
use crate::stage::line::reading::Reading;
use crate::stage::line::shown::LineShown;
use crate::stage::rejection::{Reason, Rejection, quoted};
use crate::stage::score::Score;
use crate::stage::windows::{
    CodeFile, issue_names, n_lines, order_pieces, render_windows, windows,
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
            pieces.extend(file.pieces(file_idx, self.context_lines, &names));
        }
        let pieces = order_pieces(pieces);
        if pieces.is_empty() {
            let wanted = "at least one line of a chosen symbol";
            return Err(PromptError::NothingToShow { prompt: Self::KIND.name(), wanted });
        }
        let files: Vec<CodeFile> = chosen.iter().map(|file| file.code.clone()).collect();
        let draft = Draft::new(Self::KIND.name(), context, counter, self.budget)?;
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
