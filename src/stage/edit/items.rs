//! What edits change, in the two units in which they are compared.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use crate::repo::path::RepoPath;
use crate::stage::gold::GoldFile;
use crate::stage::line::items::{LineItem, gold_lines};

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

/// The changed lines of a file of the gold patch.
pub(super) fn gold_content(file: &GoldFile) -> Vec<ChangedLine> {
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
