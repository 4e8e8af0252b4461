//! A line of `sft.jsonl`: a chat whose last message is the one to learn.

use serde::{Deserialize, Serialize};

use crate::instance::mined::{Split, TextKind};
use crate::prompt::Message;
use crate::stage::StageKind;
use crate::stage::score::Score;
use crate::train::rows::Row;

/// The version of the rows that this program writes.
pub const SFT_VERSION: u32 = 1;

/// A completion worth imitating, with its prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SftRow {
    pub version: u32,
    pub instance_id: String,
    pub stage: StageKind,
    /// Its number among the samples of its episode.
    pub sample: usize,
    /// `owner/name`.
    pub repo: String,
    #[serde(default)]
    pub text_kind: Option<TextKind>,
    #[serde(default)]
    pub split: Option<Split>,
    /// `template`, or the engine's name.
    pub teacher: String,
    pub score: Score,
    /// `F_3`.
    pub reward: f64,
    /// System, user, assistant: the layout that other trainers read.
    pub messages: Vec<Message>,
}

impl Row for SftRow {
    const NAME: &'static str = "chat to imitate";
    const MADE_BY: &'static str = "sorft train sample";
    const VERSION: u32 = SFT_VERSION;

    fn version(&self) -> u32 {
        self.version
    }
}
