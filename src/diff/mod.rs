//! Line diffs and git patches: pure functions over bytes.

pub mod change;
pub mod lines;
pub mod patch;
pub mod render;
