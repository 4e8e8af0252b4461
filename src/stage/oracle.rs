//! What a model that knows the gold patch would write.

use std::collections::BTreeSet;

use crate::repo::path::RepoPath;
use crate::search_replace::block::{Edit, marker_length, render_edits};
use crate::stage::Stage;
use crate::stage::file::{FileAnswer, FileShown, FileStage};
use crate::stage::function::shown::FunctionShown;
use crate::stage::function::symbol::{SymbolId, answer_line};
use crate::stage::function::{FunctionAnswer, FunctionStage};
use crate::stage::line::items::LineItem;
use crate::stage::line::shown::LineShown;
use crate::stage::line::{LineAnswer, LineStage};

/// A stage whose answer can be written from its truth.
pub trait Oracle: Stage {
    /// The completion that names what is shown of the truth, as far as the stage's limits let it,
    /// files in the order in which the truth first names them; `None` where nothing is.
    fn completion(&self, shown: &Self::Shown, truth: &[Self::Item]) -> Option<String>;

    /// The answer that names nothing.
    fn nothing() -> Self::Answer;

    fn describe(item: &Self::Item) -> String;
}

impl Oracle for FileStage {
    fn completion(&self, shown: &FileShown, truth: &[RepoPath]) -> Option<String> {
        let known = truth.iter().filter(|path| self.is_in_view(shown, path));
        let lines: Vec<String> =
            known.take(self.max_paths).map(|path| format!("{path}\n")).collect();
        fenced(lines)
    }

    fn nothing() -> FileAnswer {
        FileAnswer { paths: Vec::new(), invented: Vec::new() }
    }

    fn describe(item: &RepoPath) -> String {
        item.to_string()
    }
}

impl Oracle for FunctionStage {
    fn completion(&self, shown: &FunctionShown, truth: &[SymbolId]) -> Option<String> {
        let known = truth.iter().filter(|symbol| self.is_in_view(shown, symbol));
        let line = |symbol: &'_ SymbolId| format!("{}\n", answer_line(symbol.kind, &symbol.name));
        blocks(known.take(self.max_symbols).map(|symbol| (&symbol.path, line(symbol))))
    }

    fn nothing() -> FunctionAnswer {
        FunctionAnswer { symbols: Vec::new(), invented: Vec::new(), unseen: 0 }
    }

    fn describe(item: &SymbolId) -> String {
        item.to_string()
    }
}

impl Oracle for LineStage {
    /// Lines that follow each other are one entry; the longest runs stay where there are too many.
    fn completion(&self, shown: &LineShown, truth: &[LineItem]) -> Option<String> {
        let lines = lines_of(self, shown, truth);
        let mut runs: Vec<(&RepoPath, u32, u32)> = Vec::new();
        for (path, line) in lines {
            match runs.last_mut() {
                // Windows are cut where code is left out, and a run lies within one.
                Some((last_path, _, last))
                    if *last_path == path
                        && *last + 1 == line
                        && !is_window_start(shown, path, line) =>
                {
                    *last = line;
                }
                _ => runs.push((path, line, line)),
            }
        }
        runs.sort_by_key(|(_, first, last)| std::cmp::Reverse(last - first));
        runs.truncate(self.max_entries);
        let place = |path: &RepoPath| truth.iter().position(|item| item.path == *path);
        runs.sort_by_key(|(path, first, _)| (place(path), *first));
        blocks(runs.into_iter().map(|(path, first, last)| {
            let entry = match first == last {
                true => format!("line: {first}\n"),
                false => format!("lines: {first}-{last}\n"),
            };
            (path, entry)
        }))
    }

    fn nothing() -> LineAnswer {
        LineAnswer { lines: Vec::new(), invented: 0, unseen: 0 }
    }

    fn describe(item: &LineItem) -> String {
        format!("{}:{}", item.path, item.line)
    }
}

/// A shown line for each item, no two items the same: an item that several lines hit takes one
/// that no other needs, where there is one.
fn lines_of<'a>(
    stage: &LineStage,
    shown: &LineShown,
    truth: &'a [LineItem],
) -> BTreeSet<(&'a RepoPath, u32)> {
    let is_shown = |path: &RepoPath, line: u32| {
        stage.is_in_view(shown, &LineItem { path: path.clone(), line, also: Vec::new() })
    };
    let mut items: Vec<(&RepoPath, Vec<u32>)> = truth
        .iter()
        .map(|item| {
            let lines = item.accepted().filter(|line| is_shown(&item.path, *line));
            (&item.path, lines.collect())
        })
        .collect();
    // What can be hit in fewest ways chooses first.
    items.sort_by_key(|(_, lines)| lines.len());
    let mut taken = BTreeSet::new();
    for (path, lines) in items {
        let free = lines.iter().find(|line| !taken.contains(&(path, **line)));
        if let Some(line) = free.or(lines.first()) {
            taken.insert((path, *line));
        }
    }
    taken
}

fn is_window_start(shown: &LineShown, path: &RepoPath, line: u32) -> bool {
    let files = shown.files.iter().filter(|file| file.path == *path);
    files.flat_map(|file| &file.windows).any(|window| window.first == line)
}

/// A path line before the lines of each file, a blank line between files.
fn blocks<'a>(entries: impl Iterator<Item = (&'a RepoPath, String)>) -> Option<String> {
    let mut files: Vec<(&RepoPath, String)> = Vec::new();
    for (path, line) in entries {
        match files.iter_mut().find(|(known, _)| *known == path) {
            Some((_, lines)) => *lines += &line,
            None => files.push((path, line)),
        }
    }
    let blocks: Vec<String> =
        files.into_iter().map(|(path, lines)| format!("{path}\n{lines}")).collect();
    if blocks.is_empty() { None } else { Some(format!("```\n{}```\n", blocks.join("\n"))) }
}

fn fenced(lines: Vec<String>) -> Option<String> {
    if lines.is_empty() { None } else { Some(format!("```\n{}```\n", lines.concat())) }
}

/// The edits as the prompt asks for them: each below a header of its own.
pub fn edit_answer(edits: &[Edit]) -> String {
    let length = marker_length(edits);
    let each = edits.iter().map(|edit| render_edits(std::slice::from_ref(edit), length));
    format!("```\n{}```\n", each.collect::<String>())
}
