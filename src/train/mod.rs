//! From a git history to training data, and from data to weights.
//!
//! Mining, episodes and sampling see no tensor; the decoder sees neither stages nor repositories;
//! what trains it joins both.

pub mod checkpoint;
pub mod data;
pub mod decoder;
pub mod draw;
pub mod export;
pub mod folder;
pub mod merge;
pub mod mine;
pub mod new_folder;
pub mod optimizer;
pub mod resume;
pub mod reward;
pub mod rl;
pub mod rows;
pub mod sample;
pub mod scored;
pub mod sft;
pub mod tuned;
pub mod work_log;
