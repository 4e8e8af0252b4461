//! `records.jsonl` of an evaluation: what was to be solved, so that a run is read without its
//! dataset.

use serde::{Deserialize, Serialize};

use crate::run::RUN_VERSION;
use crate::run::seed::request_hash;

/// A record of the dataset, as far as reports show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordRow {
    pub version: u32,
    pub instance: String,
    pub repo: String,
    pub base_commit: String,
    pub issue: String,
    pub gold_patch: String,
}

impl RecordRow {
    /// Of instance, repository, base commit, issue and gold patch.
    pub fn new([instance, repo, base_commit, issue, gold_patch]: [&str; 5]) -> Self {
        Self {
            version: RUN_VERSION,
            instance: instance.to_owned(),
            repo: repo.to_owned(),
            base_commit: base_commit.to_owned(),
            issue: issue.to_owned(),
            gold_patch: gold_patch.to_owned(),
        }
    }
}

/// A short name for a set of records, whatever their order: a run is only resumed on the same.
pub fn fingerprint(records: &[RecordRow]) -> anyhow::Result<String> {
    let mut records: Vec<&RecordRow> = records.iter().collect();
    records.sort_by(|a, b| a.instance.cmp(&b.instance));
    request_hash(&records)
}
