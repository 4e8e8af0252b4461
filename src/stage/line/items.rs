//! Lines and places between lines: those of the gold patch, and how answered ones hit them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::repo::path::RepoPath;
use crate::repo::text::Text;
use crate::stage::gold::GoldFile;
use crate::stage::score::Score;

/// A line, or a place between lines.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LineItem {
    pub path: RepoPath,
    /// 1-based. Of an insertion, the nearest line above that is not blank, or line 1.
    pub line: u32,
    /// Of an insertion, the other lines that hit it.
    pub also: Vec<u32>,
}

impl LineItem {
    /// The lines that hit it.
    pub fn accepted(&self) -> impl Iterator<Item = u32> {
        std::iter::once(self.line).chain(self.also.iter().copied())
    }
}

/// The items of a changed file, as the head of [`crate::stage::line`] has them.
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
