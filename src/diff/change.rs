//! What a patch or an edit makes of a file: the one form in which changes are passed on.

use crate::repo::path::RepoPath;
use crate::repo::snapshot::FileKind;

/// A file at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileState {
    pub path: RepoPath,
    pub kind: FileKind,
    /// The content; of a symbolic link, its target.
    pub bytes: Vec<u8>,
}

/// A file before and after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileChange {
    Created(FileState),
    Deleted(FileState),
    /// Other bytes, another kind, another path (a rename), or several of these.
    Changed {
        before: FileState,
        after: FileState,
    },
}

impl FileChange {
    /// The file in the base tree, where it was there.
    pub fn before(&self) -> Option<&FileState> {
        match self {
            Self::Created(_) => None,
            Self::Deleted(before) | Self::Changed { before, .. } => Some(before),
        }
    }

    /// The file in the new tree, where it is still there.
    pub fn after(&self) -> Option<&FileState> {
        match self {
            Self::Created(after) | Self::Changed { after, .. } => Some(after),
            Self::Deleted(_) => None,
        }
    }

    /// The path that a reader knows the file by: the new one, else the one it had.
    pub fn path(&self) -> &RepoPath {
        match self {
            Self::Created(state) | Self::Deleted(state) | Self::Changed { after: state, .. } => {
                &state.path
            }
        }
    }

    /// Whether anything differs.
    pub fn is_real(&self) -> bool {
        match self {
            Self::Created(_) | Self::Deleted(_) => true,
            Self::Changed { before, after } => before != after,
        }
    }
}
