//! `sorft` resolves issues on a code repository with a language model, stage by stage.
//!
//! Rows of modules from the bottom up; a module uses rows below its own and nothing else
//! (`tests/it/layers.rs` checks it). ARCHITECTURE.md is the map.

pub mod grammar;
pub mod prompt;
pub mod repo;

pub mod diff;
pub mod search_replace;

pub mod config;
pub mod index;
pub mod instance;
pub mod run;
pub mod sandbox;
pub mod write;

pub mod model;
pub mod stage;

pub mod general;
pub mod pipeline;
pub mod report;
pub mod train;
pub mod triage;

pub mod commands;
