//! Puts a patch where the user wants it: into the files, or into a commit on a new branch.

pub mod apply;
pub mod branch;

mod journal;
