//! Records that were mined from a history: a benchmark's fields, and where the text is from.

use serde::{Deserialize, Serialize};

/// The version that mined records carry.
pub const MINED_VERSION: u32 = 1;

/// A line of `instances.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MinedRecord {
    /// Of this format; `version` is the benchmark's word for a release of the repository.
    pub mined_version: u32,
    /// `owner__name-` and the first digits of the commit.
    pub instance_id: String,
    /// `owner/name`.
    pub repo: String,
    /// The first parent of `commit`.
    pub base_commit: String,
    /// The commit that was mined.
    pub commit: String,
    /// When it was committed: RFC 3339, UTC.
    pub created_at: String,
    pub problem_statement: String,
    pub text_kind: TextKind,
    pub split: Split,
    /// The change of source files, in git's format.
    pub patch: String,
    /// The change of test files, in git's format; empty where there is none.
    pub test_patch: String,
}

/// What the text of an instance is. Results are told for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextKind {
    /// An issue as its reporter wrote it.
    Issue,
    /// The message of the commit, cleaned.
    Message,
    /// That, and a test which the commit added.
    MessageAndTest,
}

/// What an instance is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    Train,
    /// Newer than all of its repository's training instances; never trained on.
    Holdout,
}

impl TextKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Issue => "issue",
            Self::Message => "message",
            Self::MessageAndTest => "message and test",
        }
    }
}

impl Split {
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Holdout => "holdout",
        }
    }
}
