//! Line diffs and git patches: pure functions over bytes.

pub mod lines;
