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

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use minijinja::value::Value;
use serde::{Deserialize, Serialize};

use crate::diff::change::FileChange;
use crate::grammar::{Grammar, Node};
use crate::index::Index;
use crate::index::outline::{LineSpan, Outline};
use crate::prompt::{CountTokens, Prompt};
use crate::repo::path::RepoPath;
use crate::repo::snapshot::FileKind;
use crate::repo::text::Text;
use crate::search_replace::apply::{ApplyEditsError, Scope, apply_edits};
use crate::search_replace::base::{Base, BaseFile, BaseText};
use crate::search_replace::block::{Edit, ParseEditsError, parse_completion};
use crate::search_replace::fence::Ended;
use crate::search_replace::marker::{Marker, free_marker_length};
use crate::stage::budget::{Budget, Draft, PromptError};
use crate::stage::gold::{Gold, GoldFile};
use crate::stage::known::Known;
use crate::stage::line::items::{LineItem, gold_lines, score_lines};
use crate::stage::rejection::{Reason, Rejection};
use crate::stage::score::Score;
use crate::stage::search_grammar::search_rules;
use crate::stage::windows::{
    CodeFile, Piece, cut_pieces, n_lines, order_pieces, render_windows, windows,
};
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

/// The code of a prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EditShown {
    pub files: Vec<ShownCode>,
    /// Lines around the chosen ones without room.
    pub left_out: usize,
    /// Folders above the shown files, without `/` at the end; the root is empty.
    pub folders: Vec<String>,
    /// Characters of a marker: seven, or more where the code holds such lines.
    pub marker_length: usize,
    /// All paths of the snapshot.
    pub known: Known,
}

/// The code of a file in a prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShownCode {
    pub path: RepoPath,
    /// Lines of the whole file.
    pub n_lines: u32,
    /// In file order, apart from each other.
    pub windows: Vec<Window>,
    /// The lines that the stage before chose.
    pub chosen: Vec<u32>,
}

/// A run of shown lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// 1-based.
    pub first: u32,
    pub lines: Vec<String>,
}

/// A parsed answer.
#[derive(Debug, Clone)]
pub struct EditAnswer {
    /// Edits that apply to what was shown.
    pub edits: Vec<Edit>,
    /// What it changes, in both units.
    pub items: Vec<EditItem>,
}

/// What an answer's edits change, or the gold patch does.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EditItem {
    Content(ChangedLine),
    Line(LineItem),
}

/// A line that goes or comes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ChangedLine {
    pub path: RepoPath,
    pub sign: Sign,
    /// Without trailing white space.
    pub text: String,
    /// The base line where it happens; says whether it was in view, and is not compared.
    pub near: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Sign {
    #[serde(rename = "-")]
    Removed,
    #[serde(rename = "+")]
    Added,
}

impl Ord for ChangedLine {
    fn cmp(&self, other: &Self) -> Ordering {
        (&self.path, self.sign, &self.text).cmp(&(&other.path, other.sign, &other.text))
    }
}

impl PartialOrd for ChangedLine {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for ChangedLine {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for ChangedLine {}

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
            pieces.extend(self.pieces(file_idx, file));
        }
        let pieces = order_pieces(pieces);
        if chosen.is_empty() {
            let wanted = "at least one line of a readable file";
            return Err(PromptError::NothingToShow { stage: Self::KIND, wanted });
        }
        let files: Vec<CodeFile> = chosen.iter().map(|file| file.code.clone()).collect();
        // All lines that could be shown, so that the length does not depend on the budget.
        let lines = pieces.iter().flat_map(|piece| {
            let text = &files[piece.file_idx].text;
            (piece.span.first..=piece.span.last).map(|number| text.line(number as usize - 1))
        });
        let marker_length = free_marker_length(lines);
        let marker = |marker: Marker| Value::from(marker.render(marker_length));
        let draft = Draft::new(Self::KIND, context, counter, self.budget)?;
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

impl EditAnswer {
    /// What the edits make of the files themselves, inside the shown windows. A rejection here is
    /// about what a prompt does not show: a file's encoding, a name that is taken.
    pub fn apply(&self, shown: &EditShown, base: &dyn Base) -> Result<Vec<FileChange>, Rejection> {
        apply_edits(&self.edits, base, &shown.scope()).map_err(of_unfit)
    }
}

impl ShownCode {
    /// The runs of chosen lines that are shown, without blank lines at their ends, and grown
    /// until they stand once.
    fn chosen_runs(&self) -> Vec<Vec<&str>> {
        let is_chosen = |number: u32| self.chosen.contains(&number);
        let mut runs: Vec<Vec<&str>> = Vec::new();
        for window in &self.windows {
            let lines: Vec<&str> = window.lines.iter().map(String::as_str).collect();
            let is_wanted = |at: &usize| is_chosen(window.first + *at as u32);
            let mut at = 0;
            while let Some(start) = (at..lines.len()).find(is_wanted) {
                let end = (start..lines.len()).find(|at| !is_wanted(at)).unwrap_or(lines.len());
                at = end;
                let has_text = |at: &usize| !lines[*at].trim().is_empty();
                let (first, last) =
                    ((start..end).find(has_text), (start..end).rev().find(has_text));
                let (Some(mut first), Some(mut last)) = (first, last) else { continue };
                while self.n_occurrences(&lines[first..=last]) != 1 && 0 < first {
                    first -= 1;
                }
                while self.n_occurrences(&lines[first..=last]) != 1 && last + 1 < lines.len() {
                    last += 1;
                }
                let run = lines[first..=last].to_vec();
                if self.n_occurrences(&run) == 1 && !runs.contains(&run) {
                    runs.push(run);
                }
            }
        }
        runs
    }

    /// How often a run of lines stands in the windows.
    fn n_occurrences(&self, run: &[&str]) -> usize {
        let stands = |lines: &&[String]| lines.iter().eq(run.iter());
        let windows = self.windows.iter().flat_map(|window| window.lines.windows(run.len()));
        windows.filter(stands).count()
    }
}

impl EditShown {
    /// The lines that edits may refer to.
    pub(crate) fn scope(&self) -> Scope {
        let windows = |file: &ShownCode| -> Vec<Range<usize>> {
            let range = |window: &Window| {
                let first = window.first as usize - 1;
                first..first + window.lines.len()
            };
            file.windows.iter().map(range).collect()
        };
        let chosen = |file: &ShownCode| -> Vec<Range<usize>> {
            file.chosen.iter().map(|line| *line as usize - 1..*line as usize).collect()
        };
        let files = || self.files.iter();
        Scope {
            windows: Some(files().map(|file| (file.path.clone(), windows(file))).collect()),
            preferred: files().map(|file| (file.path.clone(), chosen(file))).collect(),
        }
    }
}

/// All folders above a path, the root last.
fn folders_above(path: &str) -> impl Iterator<Item = &str> {
    let slashes = path.rmatch_indices('/').map(|(at, _)| at);
    slashes.chain([0]).map(|end| &path[..end])
}

/// The shown files, with blank lines for those that were not shown; edits cannot refer to them.
struct ShownBase<'a>(&'a EditShown);

impl Base for ShownBase<'_> {
    fn file(&self, path: &RepoPath) -> BaseFile {
        let Some(file) = self.0.files.iter().find(|file| file.path == *path) else {
            let why = "it was not shown".to_owned();
            return if self.0.known.contains(path.as_str()) {
                BaseFile::Unreadable { kind: FileKind::Regular, why }
            } else {
                BaseFile::Absent
            };
        };
        let mut content = String::new();
        let mut number = 1;
        for window in &file.windows {
            while number < window.first {
                content.push('\n');
                number += 1;
            }
            for line in &window.lines {
                content += line;
                content.push('\n');
                number += 1;
            }
        }
        while number <= file.n_lines {
            content.push('\n');
            number += 1;
        }
        BaseFile::Text(BaseText {
            text: Arc::new(Text::from_content(&content)),
            kind: FileKind::Regular,
        })
    }

    fn is_folder(&self, path: &RepoPath) -> bool {
        let is_below = |folder: &str| {
            folder
                .strip_prefix(path.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.0.folders.iter().any(|folder| is_below(folder))
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

impl ShownCode {
    /// The text of a line of the file, where it is shown.
    fn line(&self, number: u32) -> Option<&str> {
        self.windows.iter().find_map(|window| {
            let idx = number.checked_sub(window.first)?;
            window.lines.get(idx as usize).map(String::as_str)
        })
    }
}

/// The changed lines of a file of the gold patch.
fn gold_content(file: &GoldFile) -> Vec<ChangedLine> {
    let changed = |sign, text: &str, near: u32| {
        let text = text.trim_end().to_owned();
        ChangedLine { path: file.path.clone(), sign, text, near }
    };
    let mut items = Vec::new();
    let anchors = gold_lines(file);
    for change in &file.changes {
        let removed = change.base.clone().filter_map(|idx| Some((idx, file.base.as_ref()?)));
        items.extend(
            removed.map(|(idx, base)| changed(Sign::Removed, base.line(idx), idx as u32 + 1)),
        );
        let near = if change.base.is_empty() {
            nearest_anchor(&anchors, change.base.start as u32)
        } else {
            change.base.start as u32 + 1
        };
        let added = file.inserted(change).into_iter();
        items.extend(added.map(|text| changed(Sign::Added, text, near)));
    }
    items.retain(|item| !item.text.is_empty());
    items
}

/// The anchor of the insertion behind that line; 0 where the file has no line.
fn nearest_anchor(anchors: &[LineItem], behind: u32) -> u32 {
    let at_or_before = anchors.iter().filter(|item| item.line <= behind.max(1));
    at_or_before.map(|item| item.line).max().unwrap_or(0)
}

impl EditStage {
    /// Whether it is of the unit that edits are compared in.
    pub(crate) fn compares(&self, item: &EditItem) -> bool {
        matches!(
            (self.items, item),
            (EditItems::Content, EditItem::Content(_)) | (EditItems::Lines, EditItem::Line(_))
        )
    }

    /// The pieces of a file with their ranks: the chosen lines, the head of the symbol around
    /// each, the rest of small symbols, the lines around, then imports.
    fn pieces(&self, file_idx: usize, file: &ChosenFile) -> Vec<Piece> {
        let n_lines = file.code.text.n_lines() as u32;
        let around = |line: u32, margin: u32| LineSpan {
            first: line.saturating_sub(margin).max(1),
            last: (line + margin).min(n_lines),
        };
        let mut pieces = Vec::new();
        let mut piece = |span: LineSpan, rank: f64| {
            pieces.extend(cut_pieces(file_idx, span, |idx, _| rank + 0.01 * idx as f64));
        };
        for (order, line) in &file.chosen {
            let order = *order as f64 * 0.3;
            piece(around(*line, 2), order);
            piece(around(*line, self.context_lines / 2), 2.0 + order);
            piece(around(*line, self.context_lines), 4.0 + order);
            let inner = innermost(&file.outline, *line);
            if let Some((span, header)) = inner {
                piece(header, 1.0 + order);
                if span.last - span.first < SMALL_SYMBOL {
                    piece(span, 3.0 + order);
                }
            }
        }
        for span in &file.outline.imports {
            piece(*span, 3.0 + 0.5 * file_idx as f64);
        }
        pieces.retain(|piece| piece.span.last <= n_lines);
        pieces
    }
}

/// Lines up to which the symbol around a chosen line is shown whole, if there is room.
const SMALL_SYMBOL: u32 = 40;

/// The span and the header of the smallest place that holds a line.
fn innermost(outline: &Outline, line: u32) -> Option<(LineSpan, LineSpan)> {
    let places = outline.symbols.iter().flat_map(|symbol| &symbol.places);
    let holds = |span: LineSpan| span.first <= line && line <= span.last;
    let around = places.filter(|place| holds(place.span));
    let smallest = around.min_by_key(|place| place.span.last - place.span.first)?;
    Some((smallest.span, smallest.header))
}

/// A file with chosen lines.
struct ChosenFile {
    code: CodeFile,
    outline: Arc<Outline>,
    /// Number among all chosen lines, and line.
    chosen: Vec<(usize, u32)>,
}

impl ChosenFile {
    fn shown(self, windows: &[LineSpan]) -> ShownCode {
        let text = &self.code.text;
        let window = |span: &LineSpan| Window {
            first: span.first,
            lines: (span.first..=span.last)
                .map(|number| text.line(number as usize - 1).to_owned())
                .collect(),
        };
        ShownCode {
            n_lines: text.n_lines() as u32,
            windows: windows.iter().map(window).collect(),
            chosen: self.chosen.iter().map(|(_, line)| *line).collect(),
            path: self.code.path,
        }
    }
}

fn chosen_files(context: &Context, input: &[(RepoPath, u32)]) -> Vec<ChosenFile> {
    let mut files: Vec<ChosenFile> = Vec::new();
    for (order, (path, line)) in input.iter().enumerate() {
        let at = if let Some(at) = files.iter().position(|file| file.code.path == *path) {
            at
        } else {
            let outline = context.index.outline(path);
            let text = context.index.snapshot().read_text(path);
            let (Some(outline), Ok(text)) = (outline, text) else { continue };
            let code = CodeFile { path: path.clone(), text };
            files.push(ChosenFile { code, outline: outline.clone(), chosen: Vec::new() });
            files.len() - 1
        };
        let line = (*line).clamp(1, files[at].code.text.n_lines().max(1) as u32);
        files[at].chosen.push((order, line));
    }
    files.retain(|file| 0 < file.code.text.n_lines());
    files
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

    fn stage() -> EditStage {
        Profile::Small.stages().edit
    }

    fn chosen() -> Vec<(RepoPath, u32)> {
        vec![(path("src/shop/cart.py"), 23), (path("src/shop/tax.py"), 2), (path("gone.py"), 1)]
    }

    fn shown() -> EditShown {
        let context = context(SHOP, "The average fails.");
        stage().prompt(&context, &chosen(), &EstimateTokens).unwrap().1
    }

    #[track_caller]
    fn check(completion: &str, expect: Expect) {
        let stage = stage();
        let outcome = stage.parse(&shown(), completion, Ended::ByItself);
        expect.assert_eq(&match outcome {
            Ok(answer) => {
                let items = stage.items(&answer).into_iter().map(|item| match item {
                    EditItem::Content(ChangedLine { path, sign, text, .. }) => {
                        let sign = if sign == Sign::Added { '+' } else { '-' };
                        format!("{path} {sign}{text}\n")
                    }
                    EditItem::Line(item) => format!("{item:?}"),
                });
                items.collect()
            }
            Err(rejection) => rejection.to_string(),
        });
    }

    fn edit(path: &str, search: &str, replace: &str) -> String {
        format!("```\n### {path}\n<<<<<<< SEARCH\n{search}=======\n{replace}>>>>>>> REPLACE\n```\n")
    }

    const AVERAGE: &str = "        return self.total / len(self.items)\n";

    #[test]
    fn the_prompt_shows_code_without_numbers() {
        let context = context(SHOP, "The average fails.");
        let (prompt, _) = stage().prompt(&context, &chosen(), &EstimateTokens).unwrap();
        expect![[r#"
            # Issue
            The average fails.

            # Code
            ### src/shop/cart.py
            ```
            import os
            from shop import tax
            ...

                def __init__(self, items):
                    self.items = items

                @property
                def total(self):
                    net = sum(self.items)
                    return net

                def average(self):
                    return self.total / len(self.items)


            def load(path):
                return Cart(path)
            ```

            ### src/shop/tax.py
            ```
            def tax(net):
                return net * 0.2
            ```

            # Task
            Change this code to resolve the issue.
            Write one code block with one edit. SEARCH repeats whole lines of the code above, with their indentation; REPLACE holds the lines to put in their place. Format:
            ```
            ### PATH
            <<<<<<< SEARCH
            lines of the code above
            =======
            lines in their place
            >>>>>>> REPLACE
            ```"#]].assert_eq(&prompt.messages[1].content);
    }

    #[test]
    fn completions_in_the_wild() {
        let fixed = "        return self.total / max(1, len(self.items))\n";
        check(
            &edit("src/shop/cart.py", AVERAGE, fixed),
            expect![[r#"
            src/shop/cart.py -        return self.total / len(self.items)
            src/shop/cart.py +        return self.total / max(1, len(self.items))
        "#]],
        );
        // A path in backticks, another language behind the fence, reasoning before.
        let dressed =
            edit("`src/shop/cart.py`", AVERAGE, fixed).replacen("```", "Like so:\n```py", 1);
        check(
            &dressed,
            expect![[r#"
            src/shop/cart.py -        return self.total / len(self.items)
            src/shop/cart.py +        return self.total / max(1, len(self.items))
        "#]],
        );
        // White space at the ends of lines, and one indentation for all.
        check(
            &edit("src/shop/cart.py", "return self.total / len(self.items)  \n", "return 0\n"),
            expect![[r#"
            src/shop/cart.py -        return self.total / len(self.items)
            src/shop/cart.py +        return 0
        "#]],
        );
        // Deletions, new files, deleted files.
        check(
            &edit("src/shop/cart.py", AVERAGE, ""),
            expect![[r#"
            src/shop/cart.py -        return self.total / len(self.items)
        "#]],
        );
        check(
            &edit("src/shop/new.py", "", "x = 1\n"),
            expect![[r#"
            src/shop/new.py +x = 1
        "#]],
        );
        check(
            "```\n### delete src/shop/tax.py\n```",
            expect![[r#"
            src/shop/tax.py -def tax(net):
            src/shop/tax.py -    return net * 0.2
        "#]],
        );
        // Half a line, unknown lines, twice the same lines, unseen files, no change.
        check(
            &edit("src/shop/cart.py", "self.total / len\n", "x\n"),
            expect![
                "search not found: wanted whole lines of the shown code as SEARCH, found `src/shop/cart.py` has no such lines where they were shown: `self.total / len`"
            ],
        );
        check(
            &edit("src/shop/cart.py", "print(1)\n", "x\n"),
            expect![
                "search not found: wanted whole lines of the shown code as SEARCH, found `src/shop/cart.py` has no such lines where they were shown: `print(1)`"
            ],
        );
        check(
            &edit("src/shop/cart.py", "\n", "x\n"),
            expect![
                "ambiguous search: wanted a SEARCH that stands at one place, found `src/shop/cart.py` has the wanted lines at lines 13, 16, 21, 24, 25"
            ],
        );
        check(
            &edit("README.md", "# Shop\n", "x\n"),
            expect![
                "search not found: wanted whole lines of the shown code as SEARCH, found `README.md` cannot be edited as text: it was not shown"
            ],
        );
        check(
            &edit("src/shop/order.py", "a\n", "x\n"),
            expect![
                "unknown path: wanted the path of a shown file, found the base has no file `src/shop/order.py`"
            ],
        );
        check(
            &edit("src/shop/cart.py", AVERAGE, AVERAGE),
            expect![
                "no change: wanted a REPLACE that differs from its SEARCH, found the edits leave every file as it is"
            ],
        );
        check(
            &edit("../x.py", "", "x\n"),
            expect![
                "unsafe path: wanted search/replace edits in a fenced block, found line 2: `../x.py` has an empty, `.` or `..` component"
            ],
        );
        check(
            "```\n### src/shop/cart.py\n<<<<<<< SEARCH\nx\n>>>>>>> REPLACE\n```",
            expect![
                "malformed edit: wanted search/replace edits in a fenced block, found line 5: the divider `=======` was wanted, and `>>>>>>> REPLACE` was found"
            ],
        );
        check(
            "```\n```",
            expect![
                "empty answer: wanted search/replace edits in a fenced block, found the block holds no edit"
            ],
        );
        check(
            "",
            expect![
                "no answer: wanted search/replace edits in a fenced block, found a fenced block was wanted, and none was found"
            ],
        );
    }

    #[test]
    fn an_edit_that_was_cut_is_rejected() {
        let whole = edit("src/shop/cart.py", AVERAGE, "        return 0\n");
        let cut = whole.trim_end().strip_suffix("```").unwrap();
        let rejection = stage().parse(&shown(), cut, Ended::CutOff).unwrap_err();
        assert_eq!(rejection.reason, Reason::CutOff);
        assert!(stage().parse(&shown(), cut, Ended::ByItself).is_ok());
    }

    #[test]
    fn truth_has_both_units_and_the_switch_chooses() {
        let context = context(SHOP, "x");
        let tax = "def tax(net):\n    if not net:\n        return 0\n\n    return net * 0.2\n";
        let gold = gold(&context, &[("src/shop/tax.py", tax)]);
        let by_content = stage();
        let by_lines = EditStage { items: EditItems::Lines, ..stage() };
        let truth = by_content.truth(&context.index, &gold);
        expect![[r#"
            [
                Content(
                    ChangedLine {
                        path: "src/shop/tax.py",
                        sign: Added,
                        text: "    if not net:",
                        near: 1,
                    },
                ),
                Content(
                    ChangedLine {
                        path: "src/shop/tax.py",
                        sign: Added,
                        text: "        return 0",
                        near: 1,
                    },
                ),
                Line(
                    LineItem {
                        path: "src/shop/tax.py",
                        line: 1,
                        also: [
                            2,
                        ],
                    },
                ),
            ]
        "#]]
        .assert_debug_eq(&truth);
        let completion = edit(
            "src/shop/tax.py",
            "    return net * 0.2\n",
            "    if not net:\n        return 1\n    return net * 0.2\n",
        );
        let score = |stage: &EditStage| {
            let answer = stage.parse(&shown(), &completion, Ended::ByItself).unwrap();
            stage.grade_answer(&answer, &truth).score
        };
        assert_eq!(score(&by_content), Score { hits: 1, answered: 2, expected: 2 });
        assert_eq!(score(&by_lines), Score { hits: 1, answered: 1, expected: 1 });
    }

    #[test]
    fn markers_grow_where_the_code_holds_one() {
        let files = "//- /a.rst\nTitle\n=======\n\nText\n";
        let context = context(files, "x");
        let input = vec![(path("a.rst"), 4)];
        let (prompt, shown) = stage().prompt(&context, &input, &EstimateTokens).unwrap();
        assert_eq!(shown.marker_length, 9);
        assert!(prompt.messages[1].content.contains("<<<<<<<<< SEARCH"));
        let completion = "```\n### a.rst\n<<<<<<<<< SEARCH\nTitle\n=======\n=========\nName\n=======\n>>>>>>>>> REPLACE\n```";
        let answer = stage().parse(&shown, completion, Ended::ByItself).unwrap();
        assert_eq!(stage().items(&answer).len(), 2);
    }

    #[test]
    fn every_text_of_the_grammar_applies_or_changes_nothing() {
        let context = context(SHOP, "x");
        for stage in [
            stage(),
            EditStage {
                reasoning_tokens: 20,
                new_files: true,
                max_edits: 1,
                max_search_lines: 0,
                ..stage()
            },
        ] {
            let (_, shown) = stage.prompt(&context, &chosen(), &EstimateTokens).unwrap();
            let grammar = stage.grammar(&shown);
            let mut random = ChaCha8Rng::seed_from_u64(1);
            let mut n_applied = 0;
            for _ in 0..300 {
                let text = sample(&grammar, &mut random);
                match stage.parse(&shown, &text, Ended::ByItself) {
                    Ok(_) => n_applied += 1,
                    Err(rejection) => {
                        assert_eq!(rejection.reason, Reason::NoChange, "{text}\n{rejection}");
                    }
                }
            }
            assert!(200 < n_applied, "{n_applied} of 300 apply");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn no_prompt_exceeds_its_budget(issue in "(\\PC{0,80}\n){0,30}", tokens in 700_usize..6000,
                                        n_lines in 1_usize..300, line in 1_u32..400) {
            let body: String = (0..n_lines).map(|i| format!("    name_{i} = {i}\n")).collect::<Vec<_>>().concat();
            let context = context(&format!("//- /a.py\nimport os\ndef f():\n{body}"), &issue);
            let budget = Budget { prompt_tokens: tokens, issue_tokens: 200 };
            let stage = EditStage { budget, ..stage() };
            match stage.prompt(&context, &vec![(path("a.py"), line)], &Bytes) {
                Ok((prompt, _)) => {
                    let texts = prompt.messages.iter().map(|message| Bytes.count(&message.content));
                    prop_assert!(texts.sum::<usize>() <= tokens);
                }
                Err(PromptError::NoRoom { needed, .. }) => prop_assert!(tokens < needed),
                Err(other) => prop_assert!(false, "{}", other),
            }
        }
    }
}
