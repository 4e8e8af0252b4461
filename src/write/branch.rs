//! `--branch NAME`: a commit on a new branch, made from objects alone.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, bail};
use git2::{ErrorCode, Repository, Signature};

use crate::repo::blob::BlobId;
use crate::repo::change::PathChanges;
use crate::repo::git::{self, GitFolder};

/// Commits the changes on top of `base` under a new branch; the work tree, the index and the
/// branch that is checked out stay as they are. Gives the commit's id.
pub fn write_branch(
    root: &Path,
    name: &str,
    base: Option<BlobId>,
    changes: &PathChanges,
    message: &str,
) -> anyhow::Result<String> {
    let (git, base) = check_branch(root, name, base)?;
    let repository = &git.repository;
    let base = git2::Oid::from_bytes(&base.0).context("reading the base commit's id")?;
    let base = repository.find_commit(base).context("reading the base commit")?;
    let base_tree = base.tree().context("reading the base commit's tree")?;
    let mut root_change = FolderChange::default();
    for (path, change) in changes {
        let full = format!("{}{path}", git.prefix);
        let committed = base_tree.get_path(Path::new(&full)).ok();
        let committed = committed.and_then(|entry| repository.find_blob(entry.id()).ok());
        if let Some(before) = &change.before
            && committed.is_none_or(|blob| blob.content() != before.bytes)
        {
            bail!(
                "`{path}` has changes that are not committed, and the branch would take them along\nhint: commit or stash them, or use `--output FILE`"
            );
        }
        let content = change.after.as_ref().map(|after| (after.bytes.as_slice(), after.executable));
        root_change.add(&full, content);
    }
    let tree = root_change
        .write(repository, Some(&base_tree))
        .context("writing the changed files to the repository")?;
    let tree = match tree {
        Some(tree) => tree,
        None => repository.treebuilder(None)?.write().context("writing an empty tree")?,
    };
    let tree = repository.find_tree(tree).context("reading the new tree")?;
    let author = author(repository)?;
    // No reference yet: it is made last, and not at all if it has come to exist meanwhile.
    let commit = repository
        .commit(None, &author, &author, message, &tree, &[&base])
        .context("writing the commit")?;
    let commit = repository.find_commit(commit).context("reading the commit")?;
    match repository.branch(name, &commit, false) {
        Ok(_) => Ok(commit.id().to_string()),
        Err(error) if error.code() == ErrorCode::Exists => {
            bail!("the branch `{name}` exists already\nhint: choose another name")
        }
        Err(error) => Err(error).with_context(|| format!("creating the branch `{name}`")),
    }
}

/// Refuses a branch that [`write_branch`] could not make, before anything is worked out; gives the
/// repository and the commit that the branch would stand on.
pub fn check_branch(
    root: &Path,
    name: &str,
    base: Option<BlobId>,
) -> anyhow::Result<(GitFolder, BlobId)> {
    let Some(git) = git::open(root)? else {
        bail!(
            "`{}` is not in a git repository, so it has no branches\nhint: use `--apply` or `--output FILE`",
            root.display()
        );
    };
    if !git2::Branch::name_is_valid(name).unwrap_or(false) || name == "HEAD" {
        bail!("`{name}` is no name for a branch");
    }
    if git.repository.find_branch(name, git2::BranchType::Local).is_ok() {
        bail!("the branch `{name}` exists already\nhint: choose another name");
    }
    if let Some(other) = branch_in_the_way(&git.repository, name)? {
        bail!(
            "the branch `{name}` cannot be made beside the branch `{other}`: one name is a folder of the other\nhint: choose another name"
        );
    }
    let Some(base) = base else {
        bail!("the repository has no commit yet, so a branch has nothing to stand on");
    };
    Ok((git, base))
}

/// A branch whose name is a folder of this one's, or the other way round.
fn branch_in_the_way(repository: &Repository, name: &str) -> anyhow::Result<Option<String>> {
    let branches =
        repository.branches(Some(git2::BranchType::Local)).context("listing branches")?;
    for branch in branches {
        let (branch, _) = branch.context("listing branches")?;
        let Ok(Some(other)) = branch.name() else { continue };
        let is_below = |above: &str, below: &str| {
            below.strip_prefix(above).is_some_and(|rest| rest.starts_with('/'))
        };
        if is_below(name, other) || is_below(other, name) {
            return Ok(Some(other.to_owned()));
        }
    }
    Ok(None)
}

/// The user of git's configuration, or a stand-in where it names none.
fn author(repository: &Repository) -> anyhow::Result<Signature<'static>> {
    repository
        .signature()
        .or_else(|_| Signature::now("sorft", "sorft@localhost"))
        .context("making the commit's author")
}

/// What changes below one folder.
#[derive(Default)]
struct FolderChange<'a> {
    folders: BTreeMap<String, Self>,
    /// The new bytes and whether they are executable; `None` deletes.
    files: BTreeMap<String, Option<(&'a [u8], bool)>>,
}

impl<'a> FolderChange<'a> {
    fn add(&mut self, path: &str, content: Option<(&'a [u8], bool)>) {
        match path.split_once('/') {
            Some((folder, rest)) => {
                self.folders.entry(folder.to_owned()).or_default().add(rest, content);
            }
            None => {
                self.files.insert(path.to_owned(), content);
            }
        }
    }

    /// Writes the folder's new tree; `None` where nothing is left in it.
    fn write(
        &self,
        repository: &Repository,
        base: Option<&git2::Tree<'_>>,
    ) -> Result<Option<git2::Oid>, git2::Error> {
        let mut builder = repository.treebuilder(base)?;
        for (name, folder) in &self.folders {
            let base = base.and_then(|base| base.get_name(name)).map(|entry| entry.id());
            let base = base.and_then(|id| repository.find_tree(id).ok());
            match folder.write(repository, base.as_ref())? {
                Some(tree) => {
                    builder.insert(name, tree, 0o040_000)?;
                }
                None if builder.get(name)?.is_some() => builder.remove(name)?,
                None => {}
            }
        }
        for (name, content) in &self.files {
            match content {
                Some((bytes, executable)) => {
                    let mode = if *executable { 0o100_755 } else { 0o100_644 };
                    builder.insert(name, repository.blob(bytes)?, mode)?;
                }
                None if builder.get(name)?.is_some() => builder.remove(name)?,
                None => {}
            }
        }
        if builder.is_empty() { Ok(None) } else { builder.write().map(Some) }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::repo::change::{FileContent, PathChange};
    use crate::repo::path::RepoPath;

    /// A repository with one commit of `a.py` and `pkg/b.py`.
    fn repository(folder: &Path, bare: bool) -> (Repository, BlobId) {
        let repository = if bare {
            Repository::init_bare(folder).unwrap()
        } else {
            Repository::init(folder).unwrap()
        };
        let mut config = repository.config().unwrap();
        config.set_str("user.name", "Ada").unwrap();
        config.set_str("user.email", "ada@example.com").unwrap();
        let base = {
            let file = repository.blob(b"a\n").unwrap();
            let mut package = repository.treebuilder(None).unwrap();
            package.insert("b.py", file, 0o100_644).unwrap();
            let mut top = repository.treebuilder(None).unwrap();
            top.insert("a.py", file, 0o100_644).unwrap();
            top.insert("pkg", package.write().unwrap(), 0o040_000).unwrap();
            let tree = repository.find_tree(top.write().unwrap()).unwrap();
            let author = repository.signature().unwrap();
            repository.commit(Some("HEAD"), &author, &author, "base", &tree, &[]).unwrap()
        };
        (repository, BlobId::from(base))
    }

    fn changes() -> PathChanges {
        let change = |path: &str, after: Option<&str>, executable: bool| {
            let after = after.map(|text| FileContent { bytes: text.into(), executable });
            (RepoPath::parse(path).unwrap(), PathChange { before: None, after })
        };
        PathChanges::from([
            change("a.py", Some("A\n"), false),
            change("pkg/b.py", None, false),
            change("new/deep/run.sh", Some("x\n"), true),
        ])
    }

    #[track_caller]
    fn check(bare: bool) {
        let folder = tempfile::tempdir().unwrap();
        let (repository, base) = repository(folder.path(), bare);
        let head = repository.head().unwrap().target();
        let before: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        let id =
            write_branch(folder.path(), "sorft/fix-1", Some(base), &changes(), "fix it").unwrap();
        let commit = repository
            .find_branch("sorft/fix-1", git2::BranchType::Local)
            .unwrap()
            .get()
            .peel_to_commit()
            .unwrap();
        assert_eq!(commit.id().to_string(), id);
        assert_eq!(
            (commit.message(), commit.author().name().map(str::to_owned)),
            (Ok("fix it"), Ok("Ada".to_owned()))
        );
        let mut listing = Vec::new();
        commit
            .tree()
            .unwrap()
            .walk(git2::TreeWalkMode::PreOrder, |folder, entry| {
                listing.push(format!("{folder}{} {:o}", entry.name().unwrap(), entry.filemode()));
                git2::TreeWalkResult::Ok
            })
            .unwrap();
        assert_eq!(
            listing,
            ["a.py 100644", "new 40000", "new/deep 40000", "new/deep/run.sh 100755"]
        );
        assert_eq!(repository.head().unwrap().target(), head);
        let after: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(after, before);
        let error =
            write_branch(folder.path(), "sorft/fix-1", Some(base), &changes(), "x").unwrap_err();
        assert!(error.to_string().contains("exists already"), "{error}");
    }

    #[test]
    fn a_branch_leaves_the_work_tree_and_the_head_alone() {
        check(false);
        check(true);
    }

    #[test]
    fn bad_names_and_plain_folders_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (_, base) = repository(folder.path(), false);
        for name in ["", "a b", "-x", "a..b", "HEAD", "x.lock", "a~1"] {
            let error = write_branch(folder.path(), name, Some(base), &changes(), "x").unwrap_err();
            assert!(error.to_string().contains("no name for a branch"), "{name}: {error}");
        }
        let plain = tempfile::tempdir().unwrap();
        let error = write_branch(plain.path(), "x", Some(base), &changes(), "x").unwrap_err();
        assert!(error.to_string().contains("not in a git repository"), "{error}");
    }
}
