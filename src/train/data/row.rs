//! A line of `episodes.jsonl`.

use serde::{Deserialize, Serialize};

use crate::instance::mined::{Split, TextKind};
use crate::stage::StageKind;
use crate::stage::episode::Episode;
use crate::train::rows::Row;

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

impl Row for EpisodeRow {
    const NAME: &'static str = "episode";
    const MADE_BY: &'static str = "sorft train data";
    const VERSION: u32 = EPISODE_ROW_VERSION;

    fn version(&self) -> u32 {
        self.version
    }
}
