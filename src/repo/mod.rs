//! A repository at one moment: the paths, bytes and texts that everything else reads.

pub mod blob;
pub mod change;
pub mod commits;
pub mod git;
pub mod path;
pub mod sealed_file;
pub mod snapshot;
pub mod text;

mod commit_tree;
mod history;
mod revision;
pub mod staged;
mod stat_cache;
mod work_tree;

#[cfg(test)]
pub mod fixture;
