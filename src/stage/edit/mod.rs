//! Edit generation: the change itself.
//!
//! # Prompt
//! The issue, and the code around the chosen lines with the imports of their files, unnumbered;
//! over budget, what is nearest to the chosen lines stays.
//! # Answer
//! One fenced block with search/replace edits below the headers of their files.
//! # Truth
//! The gold patch.
//! # Items
//! Every changed line that is not blank as (path, sign, text without trailing white space); or,
//! by a switch, base-side lines as in line localization. Both are multisets.

pub mod items;
pub mod shown;

pub(super) mod draft;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use minijinja::value::Value;
use serde::{Deserialize, Serialize};

use crate::diff::change::FileChange;
use crate::grammar::{Grammar, Node};
use crate::index::Index;
use crate::prompt::{CountTokens, Prompt};
use crate::repo::path::RepoPath;
use crate::search_replace::apply::{ApplyEditsError, apply_edits};
use crate::search_replace::base::Base;
use crate::search_replace::block::{Edit, ParseEditsError, parse_completion};
use crate::search_replace::fence::Ended;
use crate::search_replace::marker::{Marker, free_marker_length};
use crate::stage::budget::{Budget, Draft, PromptError};
use crate::stage::edit::draft::chosen_files;
use crate::stage::edit::items::{EditItem, gold_content};
use crate::stage::edit::shown::{EditShown, ShownBase, ShownCode, folders_above};
use crate::stage::gold::{Gold, GoldFile};
use crate::stage::known::Known;
use crate::stage::line::items::{LineItem, gold_lines, score_lines};
use crate::stage::rejection::{Reason, Rejection};
use crate::stage::score::Score;
use crate::stage::search_grammar::search_rules;
use crate::stage::windows::{CodeFile, n_lines, order_pieces, render_windows, windows};
use crate::stage::{Context, Misses, Stage, StageKind, block_grammar, repeat, rule};

/// Limits of edit generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EditStage {
    pub budget: Budget,
    /// 0 asks for the answer alone.
    pub reasoning_tokens: u32,
    /// Lines shown before and behind a chosen line.
    pub context_lines: u32,
    /// Edits that the prompt asks for and the grammar allows.
    pub max_edits: usize,
    pub search: SearchRuns,
    /// Lines of a SEARCH that the grammar allows; 0: no limit.
    pub max_search_lines: usize,
    /// Tokens of a REPLACE that the grammar allows.
    pub replace_tokens: u32,
    /// Whether the grammar lets files be created.
    pub new_files: bool,
    pub items: EditItems,
}

/// Which runs of lines the grammar allows as a SEARCH.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SearchRuns {
    /// Any that stand once in the windows of a file.
    Any,
    /// The chosen lines alone: a small model rewrites what it is given better than it chooses.
    Chosen,
}

/// The unit in which edits are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EditItems {
    Content,
    Lines,
}

/// A parsed answer.
#[derive(Debug, Clone)]
pub struct EditAnswer {
    /// Edits that apply to what was shown.
    pub edits: Vec<Edit>,
    /// What it changes, in both units.
    pub items: Vec<EditItem>,
}

impl Stage for EditStage {
    /// The chosen lines, the most important first.
    type Input = Vec<(RepoPath, u32)>;
    type Shown = EditShown;
    type Answer = EditAnswer;
    type Item = EditItem;
    const KIND: StageKind = StageKind::Edit;

    fn prompt(
        &self,
        context: &Context,
        input: &Vec<(RepoPath, u32)>,
        counter: &dyn CountTokens,
    ) -> Result<(Prompt, EditShown), PromptError> {
        let chosen = chosen_files(context, input);
        let mut pieces = Vec::new();
        for (file_idx, file) in chosen.iter().enumerate() {
            pieces.extend(file.pieces(file_idx, self.context_lines));
        }
        let pieces = order_pieces(pieces);
        if chosen.is_empty() {
            let wanted = "at least one line of a readable file";
            return Err(PromptError::NothingToShow { prompt: Self::KIND.name(), wanted });
        }
        let files: Vec<CodeFile> = chosen.iter().map(|file| file.code.clone()).collect();
        // All lines that could be shown, so that the length does not depend on the budget.
        let lines = pieces.iter().flat_map(|piece| {
            let text = &files[piece.file_idx].text;
            (piece.span.first..=piece.span.last).map(|number| text.line(number as usize - 1))
        });
        let marker_length = free_marker_length(lines);
        let marker = |marker: Marker| Value::from(marker.render(marker_length));
        let draft = Draft::new(Self::KIND.name(), context, counter, self.budget)?;
        let (prompt, n_shown) = draft.fit(pieces.len(), |n_pieces| {
            let windows = windows(&pieces[..n_pieces], files.len());
            let plain = |_: u32, line: &str| line.to_owned();
            vec![
                ("code", Value::from(render_windows(&files, &windows, plain))),
                ("left_out", Value::from(n_lines(&pieces[n_pieces..]))),
                ("max_edits", Value::from(self.max_edits)),
                ("reasoning", Value::from(0 < self.reasoning_tokens)),
                ("search_marker", marker(Marker::Search)),
                ("divider_marker", marker(Marker::Divider)),
                ("replace_marker", marker(Marker::Replace)),
            ]
        })?;
        let windows = windows(&pieces[..n_shown], files.len());
        let shown_files = chosen.into_iter().zip(windows).filter(|(_, w)| !w.is_empty());
        let files: Vec<ShownCode> =
            shown_files.map(|(file, windows)| file.shown(&windows)).collect();
        let folders: BTreeSet<&str> =
            files.iter().flat_map(|file| folders_above(file.path.as_str())).collect();
        let shown = EditShown {
            folders: folders.into_iter().map(ToOwned::to_owned).collect(),
            left_out: n_lines(&pieces[n_shown..]),
            marker_length,
            known: Known::new(context.index.snapshot().files().keys().map(RepoPath::as_str)),
            files,
        };
        Ok((prompt, shown))
    }

    fn grammar(&self, shown: &EditShown) -> Grammar {
        let marker = |marker: Marker| format!("{}\n", marker.render(shown.marker_length));
        let text = |text: String| Node::Text(text);
        let (search, divider) = (marker(Marker::Search), marker(Marker::Divider));
        let mut rules = BTreeMap::new();
        let never_starts = ["<", "=", ">"].map(|sign| sign.repeat(shown.marker_length));
        let replace = |max_tokens: u32| Node::FreeLines {
            never_starts: never_starts.clone().into(),
            max_tokens,
        };
        let end = text(marker(Marker::Replace));
        let any_replace = Node::Sequence(vec![replace(self.replace_tokens), end.clone()]);
        rules.insert("replace".to_owned(), any_replace);
        let accept = Node::Sequence(vec![text(divider.clone()), rule("replace")]);

        let mut edits = Vec::new();
        for (idx, file) in shown.files.iter().enumerate() {
            let header = text(format!("### {}\n{search}", file.path));
            if self.search == SearchRuns::Chosen {
                let run = |lines: Vec<&str>| {
                    let lines: String = lines.into_iter().map(|line| format!("{line}\n")).collect();
                    // A model that has lost its way writes until it is stopped.
                    let most = self.replace_tokens.min(60 + lines.len() as u32 / 2);
                    let replace = vec![text(divider.clone()), replace(most), end.clone()];
                    Node::Sequence([vec![header.clone(), text(lines)], replace].concat())
                };
                edits.extend(file.chosen_runs().into_iter().map(run));
                continue;
            }
            let windows: Vec<Vec<String>> =
                file.windows.iter().map(|window| window.lines.clone()).collect();
            let found = search_rules(&windows, self.max_search_lines, &format!("f{idx}"), &accept);
            if let Some((start, states)) = found {
                rules.extend(states);
                edits.push(Node::Sequence(vec![header, rule(&start)]));
            }
        }
        if self.new_files || edits.is_empty() {
            let in_folder = |folder: &String| match folder.as_str() {
                "" => text("### ".to_owned()),
                folder => text(format!("### {folder}/")),
            };
            let folder = Node::Choice(shown.folders.iter().map(in_folder).collect());
            let empty_search = text(format!("\n{search}"));
            let name = Node::FileName { max_chars: 40 };
            edits.push(Node::Sequence(vec![folder, name, empty_search, accept]));
        }
        rules.insert("edit".to_owned(), Node::Choice(edits));
        block_grammar(self.reasoning_tokens, repeat(rule("edit"), 1, self.max_edits as u32), rules)
    }

    fn completion_tokens(&self) -> usize {
        let search = if self.max_search_lines == 0 { 600 } else { 16 * self.max_search_lines };
        let edit = 60 + search + self.replace_tokens as usize;
        // Few answers use all their edits at full length.
        self.reasoning_tokens as usize + 20 + edit * self.max_edits.min(3)
    }

    fn parse(
        &self,
        shown: &EditShown,
        completion: &str,
        ended: Ended,
    ) -> Result<EditAnswer, Rejection> {
        let edits = parse_completion(completion, ended).map_err(of_unreadable)?;
        let changes = apply_edits(&edits, &ShownBase(shown), &shown.scope()).map_err(of_unfit)?;
        let mut items = Vec::new();
        for file in changes.iter().filter_map(GoldFile::of_change) {
            items.extend(gold_content(&file).into_iter().map(EditItem::Content));
            items.extend(gold_lines(&file).into_iter().map(EditItem::Line));
        }
        Ok(EditAnswer { edits, items })
    }

    fn truth(&self, _: &Index, gold: &Gold) -> Vec<EditItem> {
        let content = gold.files.iter().flat_map(gold_content).map(EditItem::Content);
        let lines = gold.base_files().flat_map(gold_lines).map(EditItem::Line);
        content.chain(lines).collect()
    }

    fn items(&self, answer: &EditAnswer) -> Vec<EditItem> {
        let is_wanted = |item: &&EditItem| self.compares(item);
        answer.items.iter().filter(is_wanted).cloned().collect()
    }

    fn misses(&self, _: &EditAnswer) -> Misses {
        Misses::default()
    }

    fn is_in_view(&self, shown: &EditShown, item: &EditItem) -> bool {
        let (path, lines): (&RepoPath, Vec<u32>) = match item {
            EditItem::Content(line) => (&line.path, vec![line.near]),
            EditItem::Line(item) => (&item.path, item.accepted().collect()),
        };
        let file = shown.files.iter().find(|file| file.path == *path);
        match file {
            Some(file) => lines.iter().any(|line| file.line(*line).is_some()),
            // A created file: its lines are near none.
            None => lines == [0] && self.new_files,
        }
    }

    fn score(&self, answered: &[EditItem], expected: &[EditItem]) -> Score {
        let expected = || expected.iter().filter(|item| self.compares(item));
        match self.items {
            EditItems::Content => {
                let expected: Vec<&EditItem> = expected().collect();
                Score::of(&answered.iter().collect::<Vec<_>>(), &expected)
            }
            EditItems::Lines => {
                let line = |item: &EditItem| match item {
                    EditItem::Line(item) => Some(item.clone()),
                    EditItem::Content(_) => None,
                };
                let answered: Vec<LineItem> = answered.iter().filter_map(line).collect();
                score_lines(&answered, &expected().filter_map(line).collect::<Vec<_>>())
            }
        }
    }
}

impl EditStage {
    /// Whether it is of the unit that edits are compared in.
    pub(crate) fn compares(&self, item: &EditItem) -> bool {
        matches!(
            (self.items, item),
            (EditItems::Content, EditItem::Content(_)) | (EditItems::Lines, EditItem::Line(_))
        )
    }
}

impl EditAnswer {
    /// What the edits make of the files themselves, inside the shown windows. A rejection here is
    /// about what a prompt does not show: a file's encoding, a name that is taken.
    pub fn apply(&self, shown: &EditShown, base: &dyn Base) -> Result<Vec<FileChange>, Rejection> {
        apply_edits(&self.edits, base, &shown.scope()).map_err(of_unfit)
    }
}

/// The rejection of a completion whose edits cannot be read.
fn of_unreadable(error: ParseEditsError) -> Rejection {
    let reason = match &error {
        ParseEditsError::NoBlock => Reason::NoAnswer,
        ParseEditsError::CutOff => Reason::CutOff,
        ParseEditsError::NoEdit => Reason::EmptyAnswer,
        ParseEditsError::Malformed { .. } => Reason::MalformedEdit,
        ParseEditsError::UnsafePath { .. } => Reason::UnsafePath,
    };
    Rejection::new(reason, "search/replace edits in a fenced block", error.to_string())
}

/// The rejection of edits that do not fit their files.
fn of_unfit(error: ApplyEditsError) -> Rejection {
    let (reason, wanted) = match &error {
        ApplyEditsError::SearchNotFound { .. } | ApplyEditsError::NotText { .. } => {
            (Reason::SearchNotFound, "whole lines of the shown code as SEARCH")
        }
        ApplyEditsError::AmbiguousSearch { .. } => {
            (Reason::AmbiguousSearch, "a SEARCH that stands at one place")
        }
        ApplyEditsError::OverlappingEdits { .. } => {
            (Reason::OverlappingEdits, "edits of different lines")
        }
        ApplyEditsError::NoChange => (Reason::NoChange, "a REPLACE that differs from its SEARCH"),
        ApplyEditsError::UnknownPath(_) => (Reason::UnknownPath, "the path of a shown file"),
        ApplyEditsError::Malformed { .. } => (Reason::MalformedEdit, "edits that fit their files"),
        ApplyEditsError::NotEncodable { .. } => {
            (Reason::NotEncodable, "characters that the file's encoding has")
        }
    };
    Rejection::new(reason, wanted, error.to_string())
}
