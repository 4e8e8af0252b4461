//! Benchmark records: an issue, the commit it was written for, and what solved it.
//!
//! The format is SWE-bench's; the only code that knows its field names. [`Task`] is all that
//! prompts and retrieval may see; what would give the solution away is behind
//! [`Instance::solution`].

pub mod dataset;
pub mod mined;
mod record;
pub mod repository;
pub mod selection;

use crate::instance::mined::{Split, TextKind};

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    task: Task,
    solution: Solution,
}

/// What is known when the issue is filed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    pub instance_id: String,
    /// `owner/name`.
    pub repo: String,
    pub base_commit: String,
    pub issue: String,
    /// What the issue's text is, where the record was mined.
    pub text_kind: Option<TextKind>,
    /// What the instance is for, where the record was mined.
    pub split: Option<Split>,
}

/// What became known later: for truth and for judging, never for a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Solution {
    /// The gold patch, in git's format; empty where the record has none.
    pub patch: String,
    /// The change of test files that came with it.
    pub test_patch: String,
    /// What was said in the issue's discussion.
    pub hints: String,
    /// Tests that the gold patch makes pass.
    pub fail_to_pass: Vec<String>,
    /// Tests that pass before and after.
    pub pass_to_pass: Vec<String>,
    pub version: String,
    pub environment_setup_commit: String,
    /// Which tests the records' makers look at: empty or `pass_and_fail` for both lists.
    pub eval_type: String,
    /// A shell script that runs the tests, where the record has one.
    pub eval_script: String,
}

impl Instance {
    pub fn task(&self) -> &Task {
        &self.task
    }

    pub fn solution(&self) -> &Solution {
        &self.solution
    }
}
