//! Tables over many instances.

pub mod bootstrap;
pub mod gold_symbols;
pub mod retrieval;
