//! What saves time, each by its name, so that it can be left out to see what it brings.

use std::str::FromStr;

/// A part of the engine that saves time. Only forced text changes results: without it, the model
/// may spell what the grammar dictates with other tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpeedUp {
    /// What earlier prompts left behind is kept for later ones.
    Prefixes,
    /// Samples of all requests grow in one step.
    Batching,
    /// Text that the grammar dictates is not drawn token by token.
    ForcedText,
    /// Tokens that were said before are guessed.
    Guesses,
}

/// A name that no part has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("wanted `prefixes`, `batching`, `forced-text` or `guesses`, found `{0}`")]
pub struct UnknownSpeedUp(String);

impl FromStr for SpeedUp {
    type Err = UnknownSpeedUp;

    fn from_str(name: &str) -> Result<Self, UnknownSpeedUp> {
        Ok(match name {
            "prefixes" => Self::Prefixes,
            "batching" => Self::Batching,
            "forced-text" => Self::ForcedText,
            "guesses" => Self::Guesses,
            _ => return Err(UnknownSpeedUp(name.to_owned())),
        })
    }
}
