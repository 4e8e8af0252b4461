//! The four subtasks, each defined once for inference, training data, rewards and evaluation.
//!
//! A stage never sees a tensor, and its prompt never sees a gold patch: the patch is an argument
//! of [`Stage::truth`] alone.

use serde::{Deserialize, Serialize};

/// Which subtask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StageKind {
    File,
    Function,
    Line,
    Edit,
}
