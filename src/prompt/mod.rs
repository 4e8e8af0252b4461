//! Chat messages, and how their tokens are counted before an engine sees them.

pub mod counts;
pub mod template;

use serde::{Deserialize, Serialize};

/// Who speaks in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    System,
    User,
    Assistant,
}

/// One message of a chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    pub role: Role,
    /// Plain text. Template syntax and special tokens in it mean nothing: an engine tokenizes
    /// content apart from its chat template.
    pub content: String,
}

/// The messages of one model call: system text (the same for all stages), then one user message
/// ordered issue, material, instruction, so that what calls share stands first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prompt {
    pub messages: Vec<Message>,
}

/// Counts the tokens that a text costs in a prompt.
///
/// Must be monotone enough to trim by: a counter may overestimate, never underestimate.
pub trait CountTokens: Send + Sync {
    fn count(&self, text: &str) -> usize;
}

/// A counter for engines that do not tell their tokenizer: one token for every three bytes,
/// and at least one for every line, which code in common vocabularies stays under.
#[derive(Debug, Clone, Copy)]
pub struct EstimateTokens;

impl CountTokens for EstimateTokens {
    fn count(&self, text: &str) -> usize {
        text.len().div_ceil(3).max(text.lines().count())
    }
}
