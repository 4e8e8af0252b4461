//! The program as its users see it, and the invariants of its source.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fix;
mod git_apply;
mod index;
mod layers;
mod peer_defects;
#[cfg(target_os = "linux")]
mod sandbox;
mod server;
