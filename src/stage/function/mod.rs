//! Function localization: which symbols of the chosen files must change.
//!
//! # Prompt
//! The issue, and the outlines of the chosen files: signatures, decorators, first lines of
//! documentation, module-level names; over budget, symbols stay by rank.
//! # Answer
//! In a fenced block: a path line, then `class: Name`, `function: Class.method`,
//! `variable: NAME` or `module:` lines; blocks divided by blank lines.
//! # Truth
//! For each changed place of the base side, the innermost listed symbol that owns it.
//! # Items
//! `path::kind::qualified name`.

pub mod shown;
pub mod symbol;

mod draft;
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
use crate::stage::answer::{Entry, NamedPath, list_entries, parse_entry, parse_path};
use crate::stage::budget::{Budget, Draft, PromptError};
use crate::stage::function::draft::{outlined_files, ranked_symbols, render_outlines};
use crate::stage::function::shown::{FunctionShown, ShownSymbols};
use crate::stage::function::symbol::{SymbolId, answer_line};
use crate::stage::gold::Gold;
use crate::stage::known::Known;
use crate::stage::rejection::{Reason, Rejection, quoted};
use crate::stage::{Context, Misses, Stage, StageKind, block_grammar, repeat, rule};

/// Limits of function localization.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionStage {
    pub budget: Budget,
    /// 0 asks for the answer alone.
    pub reasoning_tokens: u32,
    /// Symbols of an answer; further ones are not read.
    pub max_symbols: usize,
}

/// A parsed answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionAnswer {
    /// Existing symbols of the chosen files, the most important first.
    pub symbols: Vec<SymbolId>,
    pub invented: Vec<String>,
    /// Symbols of other files of the repository, of which nothing is known here.
    pub unseen: usize,
}

impl Stage for FunctionStage {
    /// The chosen files, the most important first.
    type Input = Vec<RepoPath>;
    type Shown = FunctionShown;
    type Answer = FunctionAnswer;
    type Item = SymbolId;
    const KIND: StageKind = StageKind::Function;

    fn prompt(
        &self,
        context: &Context,
        input: &Vec<RepoPath>,
        counter: &dyn CountTokens,
    ) -> Result<(Prompt, FunctionShown), PromptError> {
        let files = outlined_files(context, input);
        if files.is_empty() {
            let wanted = "at least one readable file";
            return Err(PromptError::NothingToShow { prompt: Self::KIND.name(), wanted });
        }
        let ranked = ranked_symbols(context, &files);
        // The files themselves come first: each has the symbol `module:`, whatever else fits.
        let n_files = files.len();
        let kept = |n_pieces: usize| -> BTreeSet<(usize, usize)> {
            ranked[..n_pieces.saturating_sub(n_files)].iter().copied().collect()
        };
        let draft = Draft::new(Self::KIND.name(), context, counter, self.budget)?;
        let (prompt, n_shown) = draft.fit(n_files + ranked.len(), |n_pieces| {
            let left_out = ranked.len() - n_pieces.saturating_sub(n_files).min(ranked.len());
            let outline = render_outlines(&files[..n_pieces.min(n_files)], &kept(n_pieces));
            vec![
                ("outline", Value::from(outline)),
                ("left_out", Value::from(left_out)),
                ("max_symbols", Value::from(self.max_symbols)),
                ("reasoning", Value::from(0 < self.reasoning_tokens)),
            ]
        })?;
        let kept = kept(n_shown);
        let shown_files = files[..n_shown.min(n_files)].iter().enumerate();
        let shown = FunctionShown {
            files: shown_files.map(|(idx, file)| file.shown(idx, &kept)).collect(),
            left_out: ranked.len() - kept.len(),
            known: Known::new(context.index.snapshot().files().keys().map(RepoPath::as_str)),
        };
        Ok((prompt, shown))
    }

    fn grammar(&self, shown: &FunctionShown) -> Grammar {
        let max = self.max_symbols as u32;
        let mut rules = BTreeMap::new();
        let mut blocks = Vec::new();
        for (idx, file) in shown.files.iter().enumerate() {
            let symbols = file.symbols.iter();
            let lines = symbols.map(|(kind, name)| Node::Text(answer_line(*kind, name) + "\n"));
            rules.insert(format!("symbol{idx}"), Node::Choice(lines.collect()));
            let path = Node::Text(format!("{}\n", file.path));
            let list = repeat(rule(&format!("symbol{idx}")), 1, max);
            blocks.push(Node::Sequence(vec![path, list]));
        }
        rules.insert("block".to_owned(), Node::Choice(blocks));
        let more = Node::Sequence(vec![Node::Text("\n".to_owned()), rule("block")]);
        let most = (shown.files.len() as u32).saturating_sub(1).min(max);
        let body = Node::Sequence(vec![rule("block"), repeat(more, 0, most)]);
        block_grammar(self.reasoning_tokens, body, rules)
    }

    fn completion_tokens(&self) -> usize {
        self.reasoning_tokens as usize + 60 + 40 * self.max_symbols
    }

    fn parse(
        &self,
        shown: &FunctionShown,
        completion: &str,
        ended: Ended,
    ) -> Result<FunctionAnswer, Rejection> {
        let wanted = "a path, and below it lines such as `function: Class.method`";
        let mut answer = FunctionAnswer { symbols: Vec::new(), invented: Vec::new(), unseen: 0 };
        let mut reason = None;
        // An answer about a single file may leave its path away.
        let mut place = match &shown.files[..] {
            [file] => About::Shown(file),
            _ => About::Nowhere,
        };
        for line in list_entries(completion, ended, wanted)? {
            let symbols = parse_entry(line).into_iter().filter_map(|entry| match entry {
                Entry::Symbol(kind, name) => Some((kind, name)),
                Entry::Lines(..) | Entry::Other => None,
            });
            let mut is_symbol = false;
            for (kind, name) in symbols {
                is_symbol = true;
                let n_named = answer.symbols.len() + answer.invented.len() + answer.unseen;
                if n_named == self.max_symbols {
                    break;
                }
                match &place {
                    About::Unseen => answer.unseen += 1,
                    About::Shown(file) => match file.find(kind, &name) {
                        Some(symbol) if answer.symbols.contains(&symbol) => {}
                        Some(symbol) => answer.symbols.push(symbol),
                        None => {
                            reason.get_or_insert(Reason::UnknownSymbol);
                            answer.invented.push(answer_line(kind, &name));
                        }
                    },
                    About::Nowhere => {
                        reason.get_or_insert(Reason::UnknownSymbol);
                        answer.invented.push(line.to_owned());
                    }
                }
            }
            if is_symbol {
                continue;
            }
            let file_at = |path: &RepoPath| shown.files.iter().find(|file| file.path == *path);
            let exists =
                |path: &RepoPath| file_at(path).is_some() || shown.known.contains(path.as_str());
            place = match parse_path(line, exists) {
                NamedPath::Existing(path) => file_at(&path).map_or(About::Unseen, About::Shown),
                NamedPath::Invented(text) => {
                    reason.get_or_insert(Reason::UnknownPath);
                    answer.invented.push(text);
                    About::Nowhere
                }
                NamedPath::Unsafe(text) => {
                    reason.get_or_insert(Reason::UnsafePath);
                    answer.invented.push(text);
                    About::Nowhere
                }
            };
        }
        let (reason, found) = match (reason, answer.invented.first()) {
            _ if !answer.symbols.is_empty() => return Ok(answer),
            (Some(reason), Some(found)) => (reason, quoted(found)),
            _ if 0 < answer.unseen => {
                (Reason::UnknownSymbol, "symbols of files that were not shown".to_owned())
            }
            _ => (Reason::EmptyAnswer, "a path without symbols".to_owned()),
        };
        Err(Rejection::new(reason, wanted, found))
    }

    fn truth(&self, index: &Index, gold: &Gold) -> Vec<SymbolId> {
        gold.owners(index).into_iter().collect()
    }

    fn items(&self, answer: &FunctionAnswer) -> Vec<SymbolId> {
        answer.symbols.clone()
    }

    fn misses(&self, answer: &FunctionAnswer) -> Misses {
        Misses { invented: answer.invented.len(), unseen: answer.unseen }
    }

    fn is_in_view(&self, shown: &FunctionShown, item: &SymbolId) -> bool {
        let mut files = shown.files.iter().filter(|file| file.path == item.path);
        files.any(|file| file.shows(item.kind, &item.name))
    }
}

/// Which file the lines of an answer are about.
enum About<'a> {
    Shown(&'a ShownSymbols),
    /// A file of the repository that is not in the prompt.
    Unseen,
    Nowhere,
}
