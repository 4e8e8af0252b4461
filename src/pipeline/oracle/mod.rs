//! The oracle: each stage is answered from the gold patch, through its real prompt, grammar,
//! parser and application, so that whatever is lost on the way is a loss of ours.

pub mod limits;

use std::collections::{BTreeMap, BTreeSet};

use crate::diff::change::FileChange;
use crate::diff::render::render;
use crate::grammar::automaton::Automaton;
use crate::pipeline::case::{AppliedGold, Case, apply_patch};
use crate::pipeline::oracle::limits::Limits;
use crate::prompt::CountTokens;
use crate::repo::path::RepoPath;
use crate::run::instance_row::Counts;
use crate::run::oracle_row::{CeilingRow, LossRow, StageCeiling};
use crate::search_replace::fence::Ended;
use crate::search_replace::minimal::minimal_edits;
use crate::stage::edit::items::EditItem;
use crate::stage::function::symbol::SymbolId;
use crate::stage::oracle::{Oracle, edit_answer};
use crate::stage::score::Score;
use crate::stage::{Context, Stage, StageKind};

/// Takes an instance through the chain of stages under some limits. Each stage is given what the
/// stage before it could answer; what the gold patch says nothing about, retrieval answers.
pub fn ceiling(
    case: &Case,
    context: &Context,
    gold: &AppliedGold,
    limits: &Limits,
    counter: &dyn CountTokens,
) -> Ceiling {
    let row = CeilingRow::new(&limits.name);
    let mut chain = Chain { case, context, gold, limits, counter, row, patch: Vec::new() };
    chain.run();
    Ceiling { row: chain.row, patch: chain.patch }
}

/// How far an instance came.
#[derive(Debug)]
pub struct Ceiling {
    pub row: CeilingRow,
    /// The patch that came out; empty where none did.
    pub patch: Vec<u8>,
}

/// An instance on its way through the stages.
struct Chain<'a> {
    case: &'a Case,
    context: &'a Context,
    gold: &'a AppliedGold,
    limits: &'a Limits,
    counter: &'a dyn CountTokens,
    row: CeilingRow,
    patch: Vec<u8>,
}

impl Chain<'_> {
    fn run(&mut self) {
        let stages = &self.limits.stages;
        let files = self.ask(&stages.file, &()).map(|answer| answer.paths);
        let files = files.unwrap_or_else(|| self.ranked_files());
        let symbols = self.ask(&stages.function, &files).map(|answer| answer.symbols);
        let symbols = symbols.unwrap_or_else(|| self.ranked_symbols(&files));
        let lines = self.ask(&stages.line, &symbols).map(|answer| answer.lines);
        let mut lines = lines.unwrap_or_default();
        lines.extend(self.without_lines(&files).map(|path| (path, 1)));
        self.edit(&lines);
    }

    /// Of the chosen files those of which no line changes, but the name or the mode: their first
    /// line shows that they are there.
    fn without_lines<'a>(&self, files: &'a [RepoPath]) -> impl Iterator<Item = RepoPath> + 'a {
        let items = self.limits.stages.line.truth(&self.context.index, &self.gold.gold);
        let with_lines: BTreeSet<RepoPath> = items.into_iter().map(|item| item.path).collect();
        files.iter().filter(move |path| !with_lines.contains(path)).cloned()
    }

    /// A localization stage, answered from the gold patch; `None` where that says nothing.
    fn ask<S: Oracle>(&mut self, stage: &S, input: &S::Input) -> Option<S::Answer> {
        let truth = stage.truth(&self.context.index, &self.gold.gold);
        if truth.is_empty() {
            return None;
        }
        let (_, shown) = match stage.prompt(self.context, input, self.counter) {
            Ok(prompted) => prompted,
            Err(error) => {
                self.lose(S::KIND, "no prompt", error.to_string());
                self.row.stages.set(S::KIND.name(), StageCeiling::nothing(truth.len()));
                return Some(S::nothing());
            }
        };
        let n_in_view = truth.iter().filter(|item| stage.is_in_view(&shown, item)).count();
        let mut ceiling = StageCeiling { in_view: n_in_view, ..StageCeiling::nothing(truth.len()) };
        if n_in_view < truth.len() {
            let what = truth.iter().find(|item| !stage.is_in_view(&shown, item));
            let what = what.map(S::describe).unwrap_or_default();
            self.lose(S::KIND, "not shown", what);
        }
        let mut answer = S::nothing();
        if let Some(completion) = stage.completion(&shown, &truth) {
            ceiling.in_grammar = self.obeys(stage, &shown, &completion);
            match stage.parse(&shown, &completion, Ended::ByItself) {
                Ok(parsed) => {
                    ceiling.counts = counts(stage.grade_answer(&parsed, &truth).score);
                    answer = parsed;
                }
                Err(rejection) => {
                    self.lose(S::KIND, rejection.reason.name(), rejection.to_string());
                }
            }
        }
        if ceiling.counts.hits < n_in_view {
            let why = format!("{} of {n_in_view} items that are shown", ceiling.counts.hits);
            self.lose(S::KIND, "not answered", why);
        }
        self.row.stages.set(S::KIND.name(), ceiling);
        Some(answer)
    }

    fn edit(&mut self, lines: &Vec<(RepoPath, u32)>) {
        let stage = &self.limits.stages.edit;
        let truth = stage.truth(&self.context.index, &self.gold.gold);
        let truth: Vec<_> = truth.into_iter().filter(|item| stage.compares(item)).collect();
        let mut ceiling = StageCeiling::nothing(truth.len());
        match self.edited(lines, &truth, &mut ceiling) {
            Ok(()) => self.row.tree_identical = true,
            Err((reason, why)) => self.lose(StageKind::Edit, &reason, why),
        }
        self.row.stages.set(StageKind::Edit.name(), ceiling);
    }

    /// Writes the gold edits, reads them back, applies them, and compares the trees.
    fn edited(
        &mut self,
        lines: &Vec<(RepoPath, u32)>,
        truth: &[EditItem],
        ceiling: &mut StageCeiling,
    ) -> Result<(), (String, String)> {
        let stage = &self.limits.stages.edit;
        let lost = |reason: &str, why: String| (reason.to_owned(), why);
        let (_, shown) = stage
            .prompt(self.context, lines, self.counter)
            .map_err(|error| lost("no prompt", error.to_string()))?;
        ceiling.in_view = truth.iter().filter(|item| stage.is_in_view(&shown, item)).count();
        let edits = minimal_edits(&self.gold.changes, &shown.scope())
            .map_err(|why| lost("inexpressible", why.to_string()))?;
        let completion = edit_answer(&edits);
        let n_tokens = self.counter.count(&completion);
        if self.limits.completion_tokens < n_tokens {
            let room = self.limits.completion_tokens;
            return Err(lost("no room", format!("the answer takes {n_tokens} tokens of {room}")));
        }
        ceiling.in_grammar = self.obeys(stage, &shown, &completion);
        let answer = stage
            .parse(&shown, &completion, Ended::ByItself)
            .map_err(|rejection| lost(rejection.reason.name(), rejection.to_string()))?;
        ceiling.counts = counts(stage.grade_answer(&answer, truth).score);
        let snapshot = self.case.index.snapshot().as_ref();
        let changes = answer
            .apply(&shown, snapshot)
            .map_err(|rejection| lost(rejection.reason.name(), rejection.to_string()))?;
        same_tree(&changes, &self.gold.changes)
            .map_err(|path| lost("other tree", format!("`{path}` differs")))?;
        // What is handed over is a patch, so that must make the same tree too.
        self.patch = render(&changes);
        let again = apply_patch(&self.patch, snapshot)
            .map_err(|error| lost("other tree", format!("{error:#}")))?;
        same_tree(&again, &self.gold.changes)
            .map_err(|path| lost("other tree", format!("the patch makes another `{path}`")))
    }

    /// Whether the grammar allows a completion, where that is looked at.
    fn obeys<S: Stage>(&mut self, stage: &S, shown: &S::Shown, completion: &str) -> Option<bool> {
        if !self.limits.checks_grammar {
            return None;
        }
        let left_at = match Automaton::new(&stage.grammar(shown)) {
            Ok(mut automaton) => {
                // A grammar ends with its last fence, a person's text with its last line.
                leaves_at(&mut automaton, completion.trim_end())
            }
            Err(error) => {
                self.lose(S::KIND, "no grammar", error.to_string());
                return Some(false);
            }
        };
        if let Some(line) = &left_at {
            self.lose(S::KIND, "not in the grammar", format!("at `{line}`"));
        }
        Some(left_at.is_none())
    }

    fn lose(&mut self, stage: StageKind, reason: &str, why: String) {
        self.row.losses.push(LossRow {
            stage: stage.name().to_owned(),
            reason: reason.to_owned(),
            why,
        });
    }

    fn ranked_files(&self) -> Vec<RepoPath> {
        let ranked = self.context.ranking.files.iter().map(|file| file.path.clone());
        ranked.take(self.limits.stages.file.max_paths.min(3)).collect()
    }

    fn ranked_symbols(&self, files: &[RepoPath]) -> Vec<SymbolId> {
        let ranked = self.context.ranking.files.iter().filter(|file| files.contains(&file.path));
        let symbols = ranked.flat_map(|file| file.symbols.iter().take(2));
        let symbols = symbols.map(|symbol| SymbolId {
            path: symbol.path.clone(),
            kind: symbol.kind,
            name: symbol.name.clone(),
        });
        symbols.collect()
    }
}

fn counts(score: Score) -> Counts {
    Counts { hits: score.hits, answered: score.answered, expected: score.expected }
}

/// Equal sets of changes; else a path that differs.
fn same_tree(ours: &[FileChange], gold: &[FileChange]) -> Result<(), RepoPath> {
    let by_path = |changes: &[FileChange]| -> BTreeMap<RepoPath, FileChange> {
        changes.iter().map(|change| (change.path().clone(), change.clone())).collect()
    };
    let (ours, gold) = (by_path(ours), by_path(gold));
    let mut paths = ours.keys().chain(gold.keys());
    match paths.find(|path| ours.get(*path) != gold.get(*path)) {
        None => Ok(()),
        Some(path) => Err(path.clone()),
    }
}

/// The line with which a text leaves its grammar; `None` where it does not.
fn leaves_at(automaton: &mut Automaton, completion: &str) -> Option<String> {
    let mut state = Automaton::START;
    for line in completion.split_inclusive('\n') {
        match automaton.walk(state, line.as_bytes()) {
            Some(next) => state = next,
            None => return Some(line.trim_end().to_owned()),
        }
    }
    (!automaton.is_end(state)).then(|| "the end".to_owned())
}
