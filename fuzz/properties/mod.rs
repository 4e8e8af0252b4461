//! What must hold for any input whatever: asked by the fuzz targets, and by `cargo test` for the
//! seeds, for every input that once broke one of them, and for mutations of both.

pub(crate) mod completions;
pub(crate) mod configuration;
pub(crate) mod demo;
pub(crate) mod diffs;
pub(crate) mod edits;
pub(crate) mod gguf;
pub(crate) mod logs;
pub(crate) mod patches;
pub(crate) mod records;
pub(crate) mod safetensors;
pub(crate) mod scratch;
pub(crate) mod sources;
pub(crate) mod written;
