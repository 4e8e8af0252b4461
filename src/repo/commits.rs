//! The commits of a repository, read from git's objects: what each says, and what it changed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, bail};
use git2::{Delta, DiffFindOptions, DiffOptions, Oid, Repository, Sort};

use crate::repo::blob::BlobId;
use crate::repo::git::{self, GitHandles};
use crate::repo::path::RepoPath;
use crate::repo::revision;
use crate::repo::snapshot::FileKind;

/// A repository whose past is read. Several threads may read at once.
#[derive(Debug)]
pub struct History {
    git: GitHandles,
    head: Oid,
    origin: Option<String>,
}

/// A commit, without its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    pub id: BlobId,
    /// The first is the one that changes are told against.
    pub parents: Vec<BlobId>,
    /// Committer's time, seconds since 1970.
    pub time: i64,
    /// Bytes that are no UTF-8 are U+FFFD.
    pub message: String,
}

/// A file of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeFile {
    pub path: RepoPath,
    pub kind: FileKind,
    pub blob: BlobId,
}

/// A file before and after a commit; both are there where it changed or moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeChange {
    pub before: Option<TreeFile>,
    pub after: Option<TreeFile>,
}

/// Which trees hold a blob that is looked for; remembered over the commits of a history, whose
/// trees are mostly the same.
#[derive(Debug, Default)]
pub struct TreeMemory(BTreeMap<Oid, Option<BlobId>>);

impl History {
    /// Opens the history that ends in `revision`; by default in `HEAD`.
    ///
    /// # Errors
    ///
    /// `root` is not the top of a repository, or its history is cut off (a shallow clone), so
    /// that nothing can be said of where it began.
    pub fn open(root: &Path, revision: Option<&str>) -> anyhow::Result<Self> {
        let shown = root.display();
        let Some(folder) = git::open(root)? else {
            bail!("`{shown}` is not in a git repository, so it has no history");
        };
        if !folder.prefix.is_empty() {
            bail!("`{shown}` is a folder inside a repository\nhint: name the repository itself");
        }
        if folder.repository.is_shallow() {
            bail!(
                "the history of `{shown}` is cut off\nhint: `git fetch --unshallow` gets all of it"
            );
        }
        let head = revision::resolve(&folder.repository, revision.unwrap_or("HEAD"))
            .with_context(|| format!("in `{shown}`"))?;
        let origin = folder.repository.find_remote("origin").ok();
        let origin = origin.and_then(|origin| origin.url().ok().map(ToOwned::to_owned));
        Ok(Self { git: GitHandles::new(folder, Some(head)), head, origin })
    }

    /// The commit in which the history ends.
    pub fn head(&self) -> BlobId {
        self.head.into()
    }

    /// The URL that the repository was cloned from, where it remembers one.
    pub fn origin(&self) -> Option<&str> {
        self.origin.as_deref()
    }

    /// All commits, the newest first and children before their parents.
    pub fn commits(&self) -> anyhow::Result<Vec<Commit>> {
        self.git.with(|repository| {
            let mut walk = repository.revwalk()?;
            walk.set_sorting(Sort::TOPOLOGICAL | Sort::TIME)?;
            walk.push(self.head)?;
            walk.map(|id| {
                let commit = repository.find_commit(id?)?;
                Ok(Commit {
                    id: commit.id().into(),
                    parents: commit.parent_ids().map(BlobId::from).collect(),
                    time: commit.time().seconds(),
                    message: String::from_utf8_lossy(commit.message_bytes()).into_owned(),
                })
            })
            .collect::<anyhow::Result<_>>()
            .context("walking the history")
        })
    }

    /// What a commit changed against its first parent, submodules left out, with moves where files
    /// went and came; `None` where it changed more than `max_files` files.
    pub fn changes(
        &self,
        commit: &Commit,
        max_files: usize,
    ) -> anyhow::Result<Option<Vec<TreeChange>>> {
        self.git.with(|repository| {
            let tree = |id: BlobId| repository.find_commit(oid(id))?.tree();
            let parent = commit.parents.first().map(|id| tree(*id)).transpose()?;
            let mut options = DiffOptions::new();
            options.skip_binary_check(true).ignore_submodules(true);
            let mut diff = repository.diff_tree_to_tree(
                parent.as_ref(),
                Some(&tree(commit.id)?),
                Some(&mut options),
            )?;
            if max_files < diff.deltas().len() {
                return Ok(None);
            }
            let has = |status: Delta| diff.deltas().any(|delta| delta.status() == status);
            if has(Delta::Added) && has(Delta::Deleted) {
                diff.find_similar(Some(DiffFindOptions::new().renames(true)))?;
            }
            diff.deltas()
                .map(|delta| {
                    Ok(TreeChange {
                        before: tree_file(&delta.old_file())?,
                        after: tree_file(&delta.new_file())?,
                    })
                })
                .collect::<anyhow::Result<_>>()
                .map(Some)
        })
    }

    /// The bytes of a blob.
    pub fn read(&self, blob: BlobId) -> anyhow::Result<Vec<u8>> {
        self.git.with(|repository| {
            let blob = repository.find_blob(oid(blob));
            Ok(blob.context("a blob of the history")?.content().to_vec())
        })
    }

    /// The blob at a path of a commit, where there is one.
    pub fn blob_at(&self, revision: &str, path: &RepoPath) -> anyhow::Result<Option<BlobId>> {
        self.git.with(|repository| {
            let commit = repository.find_commit(revision::resolve(repository, revision)?)?;
            let entry = commit.tree()?.get_path(path.as_str().as_ref()).ok();
            Ok(entry.map(|entry| entry.id().into()))
        })
    }

    /// One of `wanted` that the tree of a commit holds, at whatever path.
    pub fn find_blob(
        &self,
        commit: BlobId,
        wanted: &BTreeSet<BlobId>,
        memory: &mut TreeMemory,
    ) -> anyhow::Result<Option<BlobId>> {
        self.git.with(|repository| {
            let tree = repository.find_commit(oid(commit))?.tree_id();
            memory.find(repository, tree, wanted)
        })
    }
}

impl TreeMemory {
    fn find(
        &mut self,
        repository: &Repository,
        tree: Oid,
        wanted: &BTreeSet<BlobId>,
    ) -> anyhow::Result<Option<BlobId>> {
        if let Some(found) = self.0.get(&tree) {
            return Ok(*found);
        }
        let mut found = None;
        for entry in &repository.find_tree(tree)? {
            let inside = match entry.kind() {
                Some(git2::ObjectType::Tree) => self.find(repository, entry.id(), wanted)?,
                _ => wanted.get(&entry.id().into()).copied(),
            };
            found = found.or(inside);
        }
        self.0.insert(tree, found);
        Ok(found)
    }
}

fn oid(id: BlobId) -> Oid {
    Oid::from_bytes(&id.0).unwrap_or(Oid::ZERO_SHA1)
}

/// A side of a difference; `None` where the file is not there.
fn tree_file(file: &git2::DiffFile<'_>) -> anyhow::Result<Option<TreeFile>> {
    let kind = match file.mode() {
        git2::FileMode::Unreadable => return Ok(None),
        git2::FileMode::BlobExecutable => FileKind::Executable,
        git2::FileMode::Link => FileKind::Symlink,
        git2::FileMode::Commit => FileKind::Submodule,
        _ => FileKind::Regular,
    };
    let path = file.path().and_then(Path::to_str).context("a path that is not UTF-8")?;
    Ok(Some(TreeFile { path: RepoPath::parse(path)?, kind, blob: file.id().into() }))
}
