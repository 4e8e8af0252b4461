//! What becomes of paths: the outcome of edits, before any of it reaches a disk.
//!
//! Writing and judging look at one path at a time; what an edit makes of a file, which may get
//! another path by it, is a `FileChange` of `diff`.

use std::collections::BTreeMap;

use crate::repo::path::RepoPath;

/// The bytes of a regular file and whether it is executable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileContent {
    pub bytes: Vec<u8>,
    pub executable: bool,
}

/// What stands at a path before and after; a rename is two of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathChange {
    /// `None`: the file does not exist yet.
    pub before: Option<FileContent>,
    /// `None`: the file is deleted.
    pub after: Option<FileContent>,
}

/// All that one candidate changes.
pub type PathChanges = BTreeMap<RepoPath, PathChange>;
