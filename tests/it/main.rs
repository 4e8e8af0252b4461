//! The program as its users see it, and the invariants of its source.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bad_disk;
mod bad_issue;
mod bad_model;
mod bad_repository;
mod canary;
mod eval;
#[cfg(target_os = "linux")]
mod faulty;
mod fix;
mod fuzzed;
mod general;
mod git_apply;
mod help;
mod index;
mod interrupt;
mod layers;
mod licences;
#[cfg(target_os = "linux")]
mod load;
mod machine;
mod named_tests;
mod options;
mod reproduce;
mod rl;
mod runs;
#[cfg(target_os = "linux")]
mod sandbox;
mod server;
#[cfg(target_os = "linux")]
mod test_reward;
mod train;
mod trainers;
mod triage;
#[cfg(target_os = "linux")]
mod verify;
