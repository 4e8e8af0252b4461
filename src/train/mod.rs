//! From a git history to training data, and from data to weights.
//!
//! Mining, episodes and sampling see no tensor; the decoder sees neither stages nor repositories.

pub mod data;
pub mod decoder;
pub mod mine;
pub mod sample;
pub mod work_log;
