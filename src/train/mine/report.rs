//! What was kept and what was not, by repository, text kind and reason.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::instance::mined::{MinedRecord, Split, TextKind};
pub use crate::train::mine::commit::DropReason;

/// Counts of a mining run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MineReport {
    pub version: u32,
    /// Files of evaluations that no kept instance's base tree holds.
    pub evaluation_files: usize,
    pub repositories: BTreeMap<String, RepositoryCounts>,
}

/// Counts of one repository.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct RepositoryCounts {
    pub commits: usize,
    pub kept: BTreeMap<TextKind, usize>,
    pub splits: BTreeMap<Split, usize>,
    pub dropped: BTreeMap<DropReason, usize>,
}

impl RepositoryCounts {
    pub fn n_kept(&self) -> usize {
        self.kept.values().sum()
    }

    pub fn n_of(&self, split: Split) -> usize {
        self.splits.get(&split).copied().unwrap_or_default()
    }
}

impl MineReport {
    pub(super) fn new(evaluation_files: usize) -> Self {
        Self { version: 1, evaluation_files, repositories: BTreeMap::new() }
    }

    pub(super) fn begin(&mut self, repo: &str, n_commits: usize) {
        self.counts(repo).commits = n_commits;
    }

    pub(super) fn drop_one(&mut self, repo: &str, reason: DropReason) {
        *self.counts(repo).dropped.entry(reason).or_default() += 1;
    }

    pub(super) fn keep(&mut self, record: &MinedRecord) {
        let counts = self.counts(&record.repo);
        *counts.kept.entry(record.text_kind).or_default() += 1;
        *counts.splits.entry(record.split).or_default() += 1;
    }

    fn counts(&mut self, repo: &str) -> &mut RepositoryCounts {
        self.repositories.entry(repo.to_owned()).or_default()
    }

    /// All repositories together.
    pub fn total(&self) -> RepositoryCounts {
        let mut total = RepositoryCounts::default();
        for counts in self.repositories.values() {
            total.commits += counts.commits;
            for (kind, n) in &counts.kept {
                *total.kept.entry(*kind).or_default() += n;
            }
            for (split, n) in &counts.splits {
                *total.splits.entry(*split).or_default() += n;
            }
            for (reason, n) in &counts.dropped {
                *total.dropped.entry(*reason).or_default() += n;
            }
        }
        total
    }
}
