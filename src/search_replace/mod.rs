//! Edits as a model writes them: fenced search/replace blocks, applied to the texts they quote.

pub mod apply;
pub mod base;
pub mod block;
pub mod effect;
pub mod fence;
pub mod find;
pub mod marker;
pub mod minimal;
