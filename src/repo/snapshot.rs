//! The files of a repository at one commit, or in one folder as it stands.
//!
//! The root is the folder that was asked for: a repository, a folder inside one, or a plain one.
//! A commit is read from git's objects without a checkout; a work tree is walked as git would,
//! with untracked files and without ignored ones. Nothing of the repository is ever run: hooks,
//! filters and file system monitors are programs of whoever wrote it.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use cap_std::ambient_authority;
use cap_std::fs::Dir;

use crate::repo::blob::BlobId;
use crate::repo::git::{self, GitFolder, GitHandles};
use crate::repo::path::RepoPath;
use crate::repo::text::{NotText, Text};
use crate::repo::{commit_tree, history, revision, work_tree};

/// What to read, and how much of it.
#[derive(Debug, Clone)]
pub struct SnapshotOptions {
    /// A commit as git names it (`v1.2`, `HEAD~3`, a hash). `None`: the work tree, or `HEAD` where
    /// the repository has none.
    pub revision: Option<String>,
    /// Larger files are listed, not read.
    pub max_file_bytes: u64,
    /// A folder to remember in which files of a work tree have not changed.
    pub cache: Option<PathBuf>,
}

/// The largest file that is read where nobody says otherwise.
pub const MAX_FILE_BYTES: u64 = 4 << 20;

/// A repository at one moment.
#[derive(Debug)]
pub struct Snapshot {
    files: BTreeMap<RepoPath, FileEntry>,
    problems: Vec<Problem>,
    source: Source,
    max_file_bytes: u64,
}

#[derive(Debug)]
enum Source {
    Memory(BTreeMap<RepoPath, Arc<[u8]>>),
    WorkTree { root: Dir, git: Option<GitHandles> },
    Commit { git: GitHandles },
}

/// What a path holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileEntry {
    pub kind: FileKind,
    /// Its size; 0 where it is not known.
    pub bytes: u64,
    /// The id of its content; [`BlobId::UNKNOWN`] for files that are never read.
    pub blob: BlobId,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileKind {
    Regular,
    Executable,
    Symlink,
    Submodule,
}

/// Something that was met while listing the files, and stepped over.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Problem {
    /// The path is escaped.
    #[error("`{path}` left out: {why}")]
    UnusablePath { path: String, why: String },
    #[error("`{path}`: its blob {blob} is not in the repository")]
    MissingBlob { path: RepoPath, blob: BlobId },
    #[error("`{path}` left out: {why}")]
    Unreadable { path: String, why: String },
    #[error("more than {limit} files; the rest is left out")]
    TooManyFiles { limit: usize },
}

/// Why a path of a snapshot cannot be read as text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("the snapshot has no file `{0}`")]
    NoSuchFile(RepoPath),
    #[error("`{0}` is a symbolic link")]
    Symlink(RepoPath),
    #[error("`{0}` is a submodule")]
    Submodule(RepoPath),
    #[error("`{path}` has {bytes} bytes, over the limit of {limit}")]
    TooLarge { path: RepoPath, bytes: u64, limit: u64 },
    #[error("`{path}` is not a text: {why}")]
    NotText { path: RepoPath, why: NotText },
    #[error("`{path}` could not be read: {why}")]
    Io { path: RepoPath, why: String },
}

/// The paths that one commit changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastChange {
    pub commit: BlobId,
    /// Committer's time, seconds since 1970.
    pub time: i64,
    /// Relative to the snapshot's root, in order; paths outside it are left out.
    pub paths: Vec<RepoPath>,
}

impl Snapshot {
    pub fn open(root: &Path, options: &SnapshotOptions) -> anyhow::Result<Self> {
        let git = git::open(root)?;
        match (git, &options.revision) {
            (None, Some(revision)) => anyhow::bail!(
                "`{}` is not in a git repository, so it has no revision `{revision}`",
                root.display()
            ),
            (Some(git), Some(revision)) => Self::open_commit(git, Some(revision), options),
            (Some(git), None) if git.is_bare => Self::open_commit(git, None, options),
            (git, None) => Self::open_work_tree(root, git, options),
        }
    }

    fn open_commit(
        git: GitFolder,
        revision: Option<&str>,
        options: &SnapshotOptions,
    ) -> anyhow::Result<Self> {
        let commit = revision::resolve(&git.repository, revision.unwrap_or("HEAD"))
            .with_context(|| format!("in `{}`", git.root.display()))?;
        let listing = commit_tree::list(&git, commit)?;
        Ok(Self {
            files: listing.files,
            problems: listing.problems,
            source: Source::Commit { git: GitHandles::new(git, Some(commit)) },
            max_file_bytes: options.max_file_bytes,
        })
    }

    fn open_work_tree(
        root: &Path,
        git: Option<GitFolder>,
        options: &SnapshotOptions,
    ) -> anyhow::Result<Self> {
        let folder = Dir::open_ambient_dir(root, ambient_authority())
            .with_context(|| format!("opening the folder `{}`", root.display()))?;
        let listing = work_tree::list(root, git.as_ref(), options)?;
        let git = git.map(|git| {
            let base = git.repository.head().and_then(|head| head.peel_to_commit());
            let base = base.ok().map(|commit| commit.id());
            GitHandles::new(git, base)
        });
        Ok(Self {
            files: listing.files,
            problems: listing.problems,
            source: Source::WorkTree { root: folder, git },
            max_file_bytes: options.max_file_bytes,
        })
    }

    /// A snapshot that exists in memory only; all files are regular.
    pub fn from_files(files: BTreeMap<RepoPath, Vec<u8>>) -> Self {
        let entry = |bytes: &[u8]| FileEntry {
            kind: FileKind::Regular,
            bytes: bytes.len() as u64,
            blob: BlobId::of(bytes),
        };
        let entries = files.iter().map(|(path, bytes)| (path.clone(), entry(bytes))).collect();
        let contents = files.into_iter().map(|(path, bytes)| (path, bytes.into())).collect();
        Self {
            files: entries,
            problems: Vec::new(),
            source: Source::Memory(contents),
            max_file_bytes: MAX_FILE_BYTES,
        }
    }

    pub fn files(&self) -> &BTreeMap<RepoPath, FileEntry> {
        &self.files
    }

    /// What was stepped over while listing the files.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Files above this size are listed, not read.
    pub fn max_file_bytes(&self) -> u64 {
        self.max_file_bytes
    }

    /// The commit that was read, or that the work tree stands on.
    pub fn base_commit(&self) -> Option<BlobId> {
        self.git().and_then(GitHandles::base).map(BlobId::from)
    }

    /// The bytes of a regular file, whatever they are.
    pub fn read_bytes(&self, path: &RepoPath) -> anyhow::Result<Vec<u8>> {
        Ok(self.read_regular(path)?)
    }

    /// The decoded text of a regular file.
    pub fn read_text(&self, path: &RepoPath) -> Result<Arc<Text>, Unreadable> {
        let bytes = self.read_regular(path)?;
        match Text::decode(&bytes) {
            Ok(text) => Ok(Arc::new(text)),
            Err(why) => Err(Unreadable::NotText { path: path.clone(), why }),
        }
    }

    /// The paths that the base commit and its ancestors changed against their first parents,
    /// newest first, merges left out; empty without git. Looks at no more than `n_commits`, and at
    /// nothing that is not an ancestor.
    pub fn read_past_changes(&self, n_commits: usize) -> anyhow::Result<Vec<PastChange>> {
        let Some(git) = self.git() else { return Ok(Vec::new()) };
        let Some(base) = git.base() else { return Ok(Vec::new()) };
        git.with(|repository| history::past_changes(repository, base, git.prefix(), n_commits))
    }

    fn git(&self) -> Option<&GitHandles> {
        match &self.source {
            Source::Memory(_) => None,
            Source::WorkTree { git, .. } => git.as_ref(),
            Source::Commit { git } => Some(git),
        }
    }

    /// The bytes of a file of any size, or what a symbolic link says.
    pub fn read_whole(&self, path: &RepoPath) -> anyhow::Result<Vec<u8>> {
        let Some(entry) = self.files.get(path) else {
            return Err(Unreadable::NoSuchFile(path.clone()).into());
        };
        match (&self.source, entry.kind) {
            (_, FileKind::Submodule) => Err(Unreadable::Submodule(path.clone()).into()),
            (Source::Memory(_), _) => Ok(self.read_regular(path)?),
            (Source::WorkTree { root, .. }, FileKind::Symlink) => {
                let target = root
                    .read_link_contents(path.as_str())
                    .with_context(|| format!("reading the link `{path}`"))?;
                Ok(target.into_os_string().into_encoded_bytes())
            }
            (Source::WorkTree { root, .. }, _) => {
                root.read(path.as_str()).with_context(|| format!("reading `{path}`"))
            }
            (Source::Commit { git }, _) => git
                .with(|repository| {
                    let oid = git2::Oid::from_bytes(&entry.blob.0)?;
                    Ok(repository.find_blob(oid)?.content().to_vec())
                })
                .with_context(|| format!("reading `{path}`")),
        }
    }

    fn read_regular(&self, path: &RepoPath) -> Result<Vec<u8>, Unreadable> {
        let too_large = |bytes| {
            let limit = self.max_file_bytes;
            Unreadable::TooLarge { path: path.clone(), bytes, limit }
        };
        let entry = self.files.get(path).ok_or_else(|| Unreadable::NoSuchFile(path.clone()))?;
        match entry.kind {
            FileKind::Symlink => return Err(Unreadable::Symlink(path.clone())),
            FileKind::Submodule => return Err(Unreadable::Submodule(path.clone())),
            FileKind::Regular | FileKind::Executable => {}
        }
        if self.max_file_bytes < entry.bytes {
            return Err(too_large(entry.bytes));
        }
        let failed = |why: String| Unreadable::Io { path: path.clone(), why };
        let bytes = match &self.source {
            Source::Memory(contents) => {
                contents.get(path).ok_or_else(|| Unreadable::NoSuchFile(path.clone()))?.to_vec()
            }
            Source::WorkTree { root, .. } => {
                // One byte more than allowed shows that the file grew since it was listed.
                let mut bytes = Vec::with_capacity(entry.bytes as usize + 1);
                let file = root.open(path.as_str()).map_err(|err| failed(err.to_string()))?;
                file.take(self.max_file_bytes + 1)
                    .read_to_end(&mut bytes)
                    .map_err(|err| failed(err.to_string()))?;
                bytes
            }
            Source::Commit { git } => git
                .with(|repository| {
                    let oid = git2::Oid::from_bytes(&entry.blob.0)?;
                    Ok(repository.find_blob(oid)?.content().to_vec())
                })
                .map_err(|err: anyhow::Error| failed(format!("{err:#}")))?,
        };
        if self.max_file_bytes < bytes.len() as u64 {
            return Err(too_large(bytes.len() as u64));
        }
        Ok(bytes)
    }
}
