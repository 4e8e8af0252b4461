//! The chain of stages: from an issue to candidates, and from candidates to one patch.

pub mod calls;
pub mod candidate;
pub mod case;
pub mod evaluate;
pub mod judge;
pub mod locate;
pub mod oracle;
pub mod places;
pub mod progress;
pub mod repair;
pub mod reproduce;
pub mod rerank;
pub mod settings;
pub mod verify;
