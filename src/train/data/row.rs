//! A line of `episodes.jsonl`.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::instance::mined::{Split, TextKind};
use crate::stage::StageKind;
use crate::stage::episode::Episode;

/// The version of the rows that this program writes.
pub const EPISODE_ROW_VERSION: u32 = 1;

/// An episode, where it is from, and the answer that its gold patch implies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpisodeRow {
    pub version: u32,
    pub instance_id: String,
    pub stage: StageKind,
    /// `owner/name`.
    pub repo: String,
    #[serde(default)]
    pub text_kind: Option<TextKind>,
    #[serde(default)]
    pub split: Option<Split>,
    /// The truth as a completion; absent where it cannot be written within the stage's limits.
    #[serde(default)]
    pub answer: Option<String>,
    pub episode: Episode,
}

/// Reads a file of episodes.
///
/// # Errors
///
/// It cannot be read, holds a line that is no episode, or none at all.
pub fn read_episodes(path: &Path) -> anyhow::Result<Vec<EpisodeRow>> {
    let file = File::open(path).with_context(|| format!("opening `{}`", path.display()))?;
    let mut rows = Vec::new();
    for (idx, line) in BufReader::new(file).lines().enumerate() {
        let place = || format!("`{}`, line {}", path.display(), idx + 1);
        let line = line.with_context(place)?;
        if line.trim().is_empty() {
            continue;
        }
        let row: EpisodeRow = serde_json::from_str(&line).with_context(|| {
            format!("{}: no episode\nhint: `sorft train data` makes them", place())
        })?;
        if EPISODE_ROW_VERSION < row.version {
            bail!(
                "{}: version {} is newer than {EPISODE_ROW_VERSION}, the newest that this program reads",
                place(),
                row.version
            );
        }
        rows.push(row);
    }
    ensure!(
        !rows.is_empty(),
        "`{}` holds no episode\nhint: `sorft train data` makes them",
        path.display()
    );
    Ok(rows)
}
