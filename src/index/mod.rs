//! Outlines, skeletons and retrieval over a snapshot; no model.

pub mod outline;
pub mod retrieval;
