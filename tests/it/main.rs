//! The program as its users see it, and the invariants of its source.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod eval;
mod fix;
mod git_apply;
mod layers;
#[cfg(target_os = "linux")]
mod sandbox;
mod server;
