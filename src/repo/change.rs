//! What becomes of files: the outcome of edits, before any of it reaches a disk.

use std::collections::BTreeMap;

use crate::repo::path::RepoPath;

/// The bytes of a regular file and whether it is executable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileContent {
    pub bytes: Vec<u8>,
    pub executable: bool,
}

/// One file before and after; a rename is a deletion and a creation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileChange {
    /// `None`: the file does not exist yet.
    pub before: Option<FileContent>,
    /// `None`: the file is deleted.
    pub after: Option<FileContent>,
}

/// The changed files of one candidate, by path.
pub type FileChanges = BTreeMap<RepoPath, FileChange>;
