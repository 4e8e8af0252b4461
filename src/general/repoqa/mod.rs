//! RepoQA, Searching Needle Function: a long context of a repository and the description of one
//! of its functions go in, that function is to come out word for word.
//!
//! Prompts and scores are those of the Python package `repoqa` 0.1.2. One thing differs unless the
//! tokenizer is named: it measures contexts by CodeLlama's tokens, we by the engine's own.

pub mod answer;
pub mod bleu;
pub mod context;
pub mod data;
pub mod row;
pub mod score;

use crate::general::repoqa::context::CodeContext;
use crate::general::repoqa::data::{Needle, Repository};
use crate::prompt::{Message, Prompt, Role};

/// A function to be found.
#[derive(Debug, Clone)]
pub struct Task {
    /// `language::repository::function`, as the reference names it.
    pub id: String,
    pub language: String,
    /// Its place among the repositories of its language.
    pub repository_idx: usize,
    pub repo: String,
    pub needle: Needle,
    /// Where in the context it should stand, from 0 to 1.
    pub position_ratio: f64,
}

/// Tokens of a context where nobody says otherwise.
pub const CONTEXT_TOKENS: usize = 16 * 1024;

/// Tokens of an answer.
pub const ANSWER_TOKENS: usize = 1024;

/// What is asked, before the context and again behind it. The words are the benchmark's.
pub const INSTRUCTION: &str = "Based on the function description and code context, please \
     retrieve and repeat the exact described function from the code context in a code block \
     wrapped by ```:";

/// The order of a prompt's parts, as answers keep it.
pub const TEMPLATE: &str = "instruction\ncode_context\ndescription\ninstruction";

impl Task {
    /// The tasks of a repository, in the order of its needles.
    pub fn of_repository(language: &str, idx: usize, repository: &Repository) -> Vec<Self> {
        let needles = repository.needles.as_deref().unwrap_or_default();
        let task = |(needle_idx, needle): (usize, &Needle)| Self {
            id: task_id(language, &repository.repo, &needle.name),
            language: language.to_owned(),
            repository_idx: idx,
            repo: repository.repo.clone(),
            needle: needle.clone(),
            position_ratio: (needle_idx as f64 + 0.5) / needles.len() as f64,
        };
        needles.iter().enumerate().map(task).collect()
    }

    /// The needle's description as it stands in a prompt.
    pub fn description(&self) -> String {
        format!("\nFunction Description:{}\n", self.needle.description)
    }

    /// One message of the user, without a system message.
    pub fn prompt(&self, context: &CodeContext) -> Prompt {
        let parts = [INSTRUCTION, &context.text, &self.description(), INSTRUCTION];
        Prompt { messages: vec![Message { role: Role::User, content: parts.concat() }] }
    }
}

/// As the reference names a task.
pub fn task_id(language: &str, repo: &str, name: &str) -> String {
    format!("{language}::{repo}::{name}")
}
