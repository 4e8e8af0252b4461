//! What the next commit would change: git's index against `HEAD`.

use std::path::Path;

use anyhow::{Context, bail};
use git2::{Delta, DiffOptions, FileMode, Oid, Repository};

use crate::repo::git;
use crate::repo::path::RepoPath;
use crate::repo::snapshot::FileKind;

/// One staged file, before and after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StagedFile {
    pub path: RepoPath,
    /// `None`: the commit creates it.
    pub before: Option<(FileKind, Vec<u8>)>,
    /// `None`: the commit deletes it.
    pub after: Option<(FileKind, Vec<u8>)>,
}

/// The staged files below `root`, by path; none before the first commit, which has nothing to be
/// compared with. A rename is a deletion and a creation.
///
/// # Errors
///
/// `root` is in no repository or in a bare one, or an object cannot be read.
pub fn read_staged(root: &Path) -> anyhow::Result<Vec<StagedFile>> {
    let Some(folder) = git::open(root)? else {
        bail!("`{}` is in no git repository, so nothing is staged", root.display());
    };
    if folder.is_bare {
        bail!("the repository of `{}` has no work tree, so nothing is staged", root.display());
    }
    let repository = &folder.repository;
    let Ok(head) = repository.head() else { return Ok(Vec::new()) };
    let tree = head.peel_to_tree().context("reading the files of `HEAD`")?;
    let mut options = DiffOptions::new();
    options.ignore_submodules(true);
    let index = repository.index().context("reading git's index")?;
    let diff = repository
        .diff_tree_to_index(Some(&tree), Some(&index), Some(&mut options))
        .context("comparing git's index with `HEAD`")?;
    let mut staged = Vec::new();
    for delta in diff.deltas() {
        let (old, new) = (delta.old_file(), delta.new_file());
        let path = new.path_bytes().or_else(|| old.path_bytes()).unwrap_or_default();
        let below = std::str::from_utf8(path)
            .ok()
            .and_then(|path| RepoPath::parse(path.strip_prefix(folder.prefix.as_str())?).ok());
        // What no path of ours can name is no source file either.
        let Some(path) = below else { continue };
        let is = |status: Delta| delta.status() == status;
        let before = if is(Delta::Added) { None } else { read(repository, old.mode(), old.id())? };
        let after = if is(Delta::Deleted) { None } else { read(repository, new.mode(), new.id())? };
        if before.is_some() || after.is_some() {
            staged.push(StagedFile { path, before, after });
        }
    }
    Ok(staged)
}

fn read(
    repository: &Repository,
    mode: FileMode,
    id: Oid,
) -> anyhow::Result<Option<(FileKind, Vec<u8>)>> {
    let kind = match mode {
        FileMode::Blob | FileMode::BlobGroupWritable => FileKind::Regular,
        FileMode::BlobExecutable => FileKind::Executable,
        FileMode::Link => FileKind::Symlink,
        _ => return Ok(None),
    };
    let blob = repository.find_blob(id).with_context(|| format!("reading the object {id}"))?;
    Ok(Some((kind, blob.content().to_vec())))
}
