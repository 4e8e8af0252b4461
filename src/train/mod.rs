//! From a git history to training data: mining, episodes, completions worth imitating.
//!
//! Nothing here sees a tensor.

pub mod data;
pub mod mine;
pub mod sample;
pub mod work_log;
