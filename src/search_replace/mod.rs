//! Edits as a model writes them: fenced search/replace blocks, applied to the texts they quote.

pub mod fence;
pub mod marker;
