//! Where edits find the texts they refer to.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use crate::repo::path::RepoPath;
use crate::repo::snapshot::{FileKind, Snapshot, Unreadable};
use crate::repo::text::Text;

/// The files that edits start from: a snapshot, or a few texts in memory.
pub trait Base {
    fn file(&self, path: &RepoPath) -> BaseFile;

    /// Whether files lie below the path.
    fn is_folder(&self, path: &RepoPath) -> bool;
}

/// What a base has at a path.
#[derive(Debug, Clone)]
pub enum BaseFile {
    Absent,
    Text(BaseText),
    /// There, but not to be edited as text.
    Unreadable {
        kind: FileKind,
        why: String,
    },
}

/// A text file of the base.
#[derive(Debug, Clone)]
pub struct BaseText {
    pub text: Arc<Text>,
    pub kind: FileKind,
}

impl Base for Snapshot {
    fn file(&self, path: &RepoPath) -> BaseFile {
        let Some(entry) = self.files().get(path) else { return BaseFile::Absent };
        match self.read_text(path) {
            Ok(text) => BaseFile::Text(BaseText { text, kind: entry.kind }),
            Err(Unreadable::NoSuchFile(_)) => BaseFile::Absent,
            Err(why) => BaseFile::Unreadable { kind: entry.kind, why: why.to_string() },
        }
    }

    fn is_folder(&self, path: &RepoPath) -> bool {
        has_below(self.files(), path)
    }
}

/// Texts in memory, by path.
pub type BaseTexts = BTreeMap<RepoPath, BaseText>;

impl Base for BaseTexts {
    fn file(&self, path: &RepoPath) -> BaseFile {
        self.get(path).cloned().map_or(BaseFile::Absent, BaseFile::Text)
    }

    fn is_folder(&self, path: &RepoPath) -> bool {
        has_below(self, path)
    }
}

fn has_below<T>(files: &BTreeMap<RepoPath, T>, folder: &RepoPath) -> bool {
    let behind = files.range::<RepoPath, _>((Bound::Excluded(folder), Bound::Unbounded));
    // Names such as `folder-2` sort between a folder's name and what lies in it.
    behind
        .map_while(|(path, _)| path.as_str().strip_prefix(folder.as_str()))
        .any(|rest| rest.starts_with('/'))
}
