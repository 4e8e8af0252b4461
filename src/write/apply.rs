//! `--apply`: all files of a patch, or none.
//!
//! Everything that can fail for want of room or rights happens first, beside the files: the new
//! contents are written under other names, and the old ones are kept in a journal. Then the files
//! are renamed into place. A process that dies in between leaves the journal, and the next start
//! puts back what it says.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions};

use crate::repo::change::{FileContent, PathChange, PathChanges};
use crate::repo::git;
use crate::repo::path::RepoPath;
use crate::write::journal::Journal;

/// Writes the changes below `root`. Refuses where a file is not what the patch was made from, or
/// has changes that are not committed. `state` is the folder that keeps the journal.
pub fn write_changes(root: &Path, changes: &PathChanges, state: &Path) -> anyhow::Result<()> {
    let folder = Dir::open_ambient_dir(root, ambient_authority())
        .with_context(|| format!("opening the folder `{}`", root.display()))?;
    refuse_uncommitted(root, changes)?;
    for (path, change) in changes {
        refuse_other_content(&folder, path, change)?;
    }
    let journal = Journal::begin(state, root, changes)?;
    let outcome = stage_and_rename(&folder, changes, &journal);
    match outcome {
        Ok(()) => journal.end(),
        Err(error) => {
            let error = error.context(format!("applying the patch in `{}`", root.display()));
            match journal.roll_back() {
                Ok(()) => Err(error.context("nothing was changed")),
                Err(rollback) => Err(error.context(format!(
                    "some files may be changed, and putting them back failed: {rollback:#}\nhint: the next start tries again"
                ))),
            }
        }
    }
}

/// Refuses a folder that [`write_changes`] could not write to, before anything is worked out.
pub fn check_writable(root: &Path) -> anyhow::Result<()> {
    if git::open(root)?.is_some_and(|git| git.is_bare) {
        return Err(no_work_tree(root));
    }
    // It has no name, so nobody sees it.
    tempfile::tempfile_in(root).map(drop).with_context(|| {
        format!(
            "`{}` cannot be written to\nhint: use `--output FILE` in place of `--apply`",
            root.display()
        )
    })
}

fn no_work_tree(root: &Path) -> anyhow::Error {
    anyhow::anyhow!(
        "`{}` has no work tree to write to\nhint: use `--branch NAME` or `--output FILE`",
        root.display()
    )
}

/// The files below `root` as they are now; those that are not there are left out.
pub fn read_files<'a>(
    root: &Path,
    paths: impl Iterator<Item = &'a RepoPath>,
) -> anyhow::Result<BTreeMap<RepoPath, FileContent>> {
    let folder = Dir::open_ambient_dir(root, ambient_authority())
        .with_context(|| format!("opening the folder `{}`", root.display()))?;
    let mut files = BTreeMap::new();
    for path in paths {
        if let Some(content) = read_content(&folder, path)? {
            files.insert(path.clone(), content);
        }
    }
    Ok(files)
}

/// Puts back the files of runs that were killed while they applied a patch; gives the folders.
///
/// A file that somebody has changed since is left as it is.
pub fn recover(state: &Path) -> anyhow::Result<Vec<PathBuf>> {
    Journal::recover_all(state)
}

/// The name under which the new content of a file waits.
pub(super) fn waiting_name(path: &RepoPath) -> String {
    let name = format!(".{}.sorft-new", path.file_name());
    path.parent().map_or(name.clone(), |parent| format!("{parent}/{name}"))
}

fn refuse_uncommitted(root: &Path, changes: &PathChanges) -> anyhow::Result<()> {
    let Some(git) = git::open(root)? else { return Ok(()) };
    if git.is_bare {
        return Err(no_work_tree(root));
    }
    for path in changes.keys() {
        let in_repository = format!("{}{path}", git.prefix);
        let status = match git.repository.status_file(Path::new(&in_repository)) {
            Ok(status) => status,
            Err(error) if error.code() == git2::ErrorCode::NotFound => continue,
            Err(error) => {
                return Err(error).with_context(|| format!("asking git about `{path}`"));
            }
        };
        let untracked_or_same = git2::Status::WT_NEW | git2::Status::IGNORED;
        if !status.is_empty() && !untracked_or_same.contains(status) {
            bail!(
                "`{path}` has changes that are not committed, and the patch would mix with them\nhint: commit or stash them, or use `--output FILE`"
            );
        }
    }
    Ok(())
}

fn refuse_other_content(folder: &Dir, path: &RepoPath, change: &PathChange) -> anyhow::Result<()> {
    let now = read_content(folder, path)?;
    match (&change.before, now) {
        (None, Some(_)) => bail!("`{path}` exists already, and the patch would create it"),
        (Some(_), None) => bail!("`{path}` does not exist, and the patch would change it"),
        (Some(before), Some(now)) if before.bytes != now.bytes => bail!(
            "`{path}` is not what the patch was made from\nhint: it changed since, or the patch is for another revision; use `--output FILE`"
        ),
        _ => Ok(()),
    }
}

/// The content of a regular file; `None` where there is nothing; an error for anything else.
pub(super) fn read_content(folder: &Dir, path: &RepoPath) -> anyhow::Result<Option<FileContent>> {
    let context = || format!("reading `{path}`");
    let metadata = match folder.symlink_metadata(path.as_str()) {
        Ok(metadata) => metadata,
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error).with_context(context),
    };
    if !metadata.is_file() {
        bail!("`{path}` is no regular file");
    }
    refuse_links(folder, path)?;
    let bytes = folder.read(path.as_str()).with_context(context)?;
    Ok(Some(FileContent { bytes, executable: is_executable(&metadata) }))
}

/// A folder on the way that is a link would lead elsewhere, if only inside the root.
fn refuse_links(folder: &Dir, path: &RepoPath) -> anyhow::Result<()> {
    for parent in Path::new(path.as_str()).ancestors().skip(1) {
        let is_link = folder.symlink_metadata(parent).is_ok_and(|metadata| metadata.is_symlink());
        if is_link {
            bail!("`{path}` lies behind the symbolic link `{}`", parent.display());
        }
    }
    Ok(())
}

fn stage_and_rename(folder: &Dir, changes: &PathChanges, journal: &Journal) -> anyhow::Result<()> {
    for (path, change) in changes {
        refuse_links(folder, path)?;
        if let Some(after) = &change.after {
            if let Some(parent) = path.parent() {
                folder
                    .create_dir_all(parent)
                    .with_context(|| format!("creating the folder `{parent}`"))?;
            }
            write_new(folder, &waiting_name(path), after, change.before.as_ref(), path)?;
        }
    }
    journal.mark_ready()?;
    for (path, change) in changes {
        if change.after.is_some() {
            folder
                .rename(waiting_name(path), folder, path.as_str())
                .with_context(|| format!("replacing `{path}`"))?;
        } else {
            folder.remove_file(path.as_str()).with_context(|| format!("deleting `{path}`"))?;
        }
    }
    Ok(())
}

/// Writes a new file with the mode of the one that it will replace.
pub(super) fn write_new(
    folder: &Dir,
    name: &str,
    content: &FileContent,
    before: Option<&FileContent>,
    path: &RepoPath,
) -> anyhow::Result<()> {
    let context = || format!("writing `{path}`");
    // A killed run may have left one.
    drop(folder.remove_file(name));
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    let mut file = folder.open_with(name, &options).with_context(context)?;
    file.write_all(&content.bytes).with_context(context)?;
    #[cfg(unix)]
    {
        use cap_std::fs::{Permissions, PermissionsExt};
        let old = folder
            .symlink_metadata(path.as_str())
            .ok()
            .map(|metadata| metadata.permissions().mode());
        let keeps = before.is_none_or(|before| before.executable == content.executable);
        let mode = match old {
            Some(mode) if keeps => Some(mode & 0o7777),
            // Whoever may read may execute.
            Some(mode) if content.executable => Some(mode & 0o7777 | (mode & 0o444) >> 2),
            Some(mode) => Some(mode & 0o7666),
            None => content.executable.then_some(0o755),
        };
        if let Some(mode) = mode {
            file.set_permissions(Permissions::from_mode(mode)).with_context(context)?;
        }
    }
    file.sync_all().with_context(context)
}

#[cfg(unix)]
fn is_executable(metadata: &cap_std::fs::Metadata) -> bool {
    use cap_std::fs::PermissionsExt;
    metadata.permissions().mode() & 0o111 != 0
}

#[cfg(not(unix))]
fn is_executable(_metadata: &cap_std::fs::Metadata) -> bool {
    false
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use expect_test::{Expect, expect};

    use super::*;

    struct Tree {
        folder: tempfile::TempDir,
    }

    impl Tree {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let tree = Self { folder };
            fs::create_dir_all(tree.root().join("pkg")).unwrap();
            tree.write("pkg/a.py", "a\n");
            tree.write("pkg/b.py", "b\n");
            tree.write("run.sh", "run\n");
            fs::set_permissions(tree.root().join("run.sh"), fs::Permissions::from_mode(0o750))
                .unwrap();
            tree
        }

        fn root(&self) -> PathBuf {
            self.folder.path().join("repo")
        }

        fn state(&self) -> PathBuf {
            self.folder.path().join("state")
        }

        fn write(&self, path: &str, text: &str) {
            fs::write(self.root().join(path), text).unwrap();
        }

        /// All files with modes and contents.
        fn listing(&self) -> String {
            let mut lines = Vec::new();
            let mut next = vec![self.root()];
            while let Some(folder) = next.pop() {
                for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
                    let path = entry.path();
                    if path.is_dir() && path.file_name().unwrap() != ".git" {
                        next.push(path);
                    } else if path.is_file() {
                        let mode = path.metadata().unwrap().permissions().mode() & 0o777;
                        let name = path.strip_prefix(self.root()).unwrap().display().to_string();
                        lines.push(format!(
                            "{name} {mode:o} {:?}",
                            fs::read_to_string(&path).unwrap()
                        ));
                    }
                }
            }
            lines.sort();
            lines.join("\n")
        }

        #[track_caller]
        fn check(&self, changes: &PathChanges, expect: Expect) {
            let outcome = write_changes(&self.root(), changes, &self.state());
            let outcome =
                outcome.map_or_else(|error| format!("error: {error:#}"), |()| "done".to_owned());
            let left = fs::read_dir(self.state().join("journal")).map_or(0, Iterator::count);
            assert_eq!(left, 0, "journals left");
            let root = self.root().display().to_string();
            expect.assert_eq(&format!("{}\n{}", outcome.replace(&root, "ROOT"), self.listing()));
        }
    }

    fn change(path: &str, before: Option<&str>, after: Option<&str>) -> (RepoPath, PathChange) {
        let content = |text: Option<&str>| {
            text.map(|text| FileContent { bytes: text.into(), executable: path.ends_with(".sh") })
        };
        let change = PathChange { before: content(before), after: content(after) };
        (RepoPath::parse(path).unwrap(), change)
    }

    #[test]
    fn files_are_changed_created_and_deleted_and_keep_their_modes() {
        Tree::new().check(
            &PathChanges::from([
                change("pkg/a.py", Some("a\n"), Some("A\n")),
                change("pkg/b.py", Some("b\n"), None),
                change("new/deep/c.py", None, Some("c\n")),
                change("run.sh", Some("run\n"), Some("RUN\n")),
            ]),
            expect![[r#"
                done
                new/deep/c.py 644 "c\n"
                pkg/a.py 644 "A\n"
                run.sh 750 "RUN\n""#]],
        );
    }

    #[test]
    fn one_file_that_is_not_as_expected_stops_all() {
        let changed = change("pkg/a.py", Some("a\n"), Some("A\n"));
        Tree::new().check(
            &PathChanges::from([changed.clone(), change("pkg/b.py", Some("x\n"), Some("B\n"))]),
            expect![[r#"
                error: `pkg/b.py` is not what the patch was made from
                hint: it changed since, or the patch is for another revision; use `--output FILE`
                pkg/a.py 644 "a\n"
                pkg/b.py 644 "b\n"
                run.sh 750 "run\n""#]],
        );
        Tree::new().check(
            &PathChanges::from([changed.clone(), change("run.sh", None, Some("B\n"))]),
            expect![[r#"
                error: `run.sh` exists already, and the patch would create it
                pkg/a.py 644 "a\n"
                pkg/b.py 644 "b\n"
                run.sh 750 "run\n""#]],
        );
        Tree::new().check(
            &PathChanges::from([changed, change("gone.py", Some("x\n"), None)]),
            expect![[r#"
                error: `gone.py` does not exist, and the patch would change it
                pkg/a.py 644 "a\n"
                pkg/b.py 644 "b\n"
                run.sh 750 "run\n""#]],
        );
    }

    #[test]
    fn uncommitted_changes_to_the_same_files_are_refused() {
        let tree = Tree::new();
        let repository = git2::Repository::init(tree.root()).unwrap();
        let mut index = repository.index().unwrap();
        index.add_all(["*"], git2::IndexAddOption::DEFAULT, None).unwrap();
        index.write().unwrap();
        let commit_tree = repository.find_tree(index.write_tree().unwrap()).unwrap();
        let author = git2::Signature::now("a", "a@example.com").unwrap();
        repository.commit(Some("HEAD"), &author, &author, "base", &commit_tree, &[]).unwrap();
        tree.write("pkg/a.py", "mine\n");
        tree.check(
            &PathChanges::from([change("pkg/a.py", Some("mine\n"), Some("A\n"))]),
            expect![[r#"
                error: `pkg/a.py` has changes that are not committed, and the patch would mix with them
                hint: commit or stash them, or use `--output FILE`
                pkg/a.py 644 "mine\n"
                pkg/b.py 644 "b\n"
                run.sh 750 "run\n""#]],
        );
        tree.check(
            &PathChanges::from([change("pkg/b.py", Some("b\n"), Some("B\n"))]),
            expect![[r#"
                done
                pkg/a.py 644 "mine\n"
                pkg/b.py 644 "B\n"
                run.sh 750 "run\n""#]],
        );
    }

    #[test]
    fn links_are_not_followed() {
        let tree = Tree::new();
        let outside = tree.folder.path().join("outside");
        fs::create_dir_all(&outside).unwrap();
        fs::write(outside.join("x.py"), "x\n").unwrap();
        symlink(&outside, tree.root().join("link")).unwrap();
        symlink("a.py", tree.root().join("pkg/alias.py")).unwrap();
        for behind_a_link in [
            change("link/new.py", None, Some("x\n")),
            change("pkg/alias.py", Some("a\n"), Some("x\n")),
        ] {
            let changes = PathChanges::from([behind_a_link]);
            assert!(write_changes(&tree.root(), &changes, &tree.state()).is_err());
        }
        assert_eq!(fs::read_to_string(tree.root().join("pkg/a.py")).unwrap(), "a\n");
        assert_eq!(fs::read_dir(outside).unwrap().count(), 1);
    }

    #[test]
    fn a_killed_run_is_rolled_back_by_the_next_start() {
        let tree = Tree::new();
        let before = tree.listing();
        let changes = PathChanges::from([
            change("pkg/a.py", Some("a\n"), Some("A\n")),
            change("pkg/b.py", Some("b\n"), None),
            change("new/c.py", None, Some("c\n")),
            change("run.sh", Some("run\n"), Some("RUN\n")),
        ]);
        // The state in which a kill between two renames leaves the files.
        let journal = Journal::begin(&tree.state(), &tree.root(), &changes).unwrap();
        let folder = Dir::open_ambient_dir(tree.root(), ambient_authority()).unwrap();
        stage_and_rename(&folder, &changes, &journal).unwrap();
        journal.abandon();
        tree.write(".run.sh.sorft-new", "RUN\n");
        assert_eq!(recover(&tree.state()).unwrap(), [tree.root().canonicalize().unwrap()]);
        assert_eq!(tree.listing(), before);
        assert!(recover(&tree.state()).unwrap().is_empty());
    }

    #[test]
    fn what_the_user_did_after_the_kill_is_kept() {
        let tree = Tree::new();
        let changes = PathChanges::from([
            change("pkg/a.py", Some("a\n"), Some("A\n")),
            change("run.sh", Some("run\n"), Some("RUN\n")),
        ]);
        let journal = Journal::begin(&tree.state(), &tree.root(), &changes).unwrap();
        let folder = Dir::open_ambient_dir(tree.root(), ambient_authority()).unwrap();
        stage_and_rename(&folder, &changes, &journal).unwrap();
        journal.abandon();
        tree.write("pkg/a.py", "mine\n");
        recover(&tree.state()).unwrap();
        expect![[r#"
            pkg/a.py 644 "mine\n"
            pkg/b.py 644 "b\n"
            run.sh 750 "run\n""#]]
        .assert_eq(&tree.listing());
    }

    #[test]
    fn a_run_that_is_still_applying_is_left_alone() {
        let tree = Tree::new();
        let changes = PathChanges::from([change("pkg/a.py", Some("a\n"), Some("A\n"))]);
        let journal = Journal::begin(&tree.state(), &tree.root(), &changes).unwrap();
        assert!(recover(&tree.state()).unwrap().is_empty());
        journal.end().unwrap();
    }
}
