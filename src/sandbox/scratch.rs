//! A copy of a snapshot, with a candidate's changes, for one run of a command.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions};
use tempfile::TempDir;

use crate::repo::change::PathChanges;
use crate::repo::snapshot::{FileKind, Snapshot};
use crate::sandbox::ignored::{Ignored, find_ignored};
use crate::sandbox::interpreter::{MODULE, MODULE_NAME};
use crate::sandbox::plan::Mount;

/// The folder of one scratch copy; it goes when the value is dropped.
///
/// `tree` is the copy, `tmp` what the command sees as its temporary folder, `root` where the new
/// root is built, `python` the module that every Python loads, and `lock` tells other processes that the copy is in use.
#[derive(Debug)]
pub struct ScratchCopy {
    folder: TempDir,
    _lock: File,
    root: PathBuf,
    ignored: Vec<Mount>,
    bytes: u64,
}

const PREFIX: &str = "sorft-scratch-";

/// Younger copies are left alone, locked or not.
const NEW: Duration = Duration::from_mins(1);

impl ScratchCopy {
    /// Makes a copy in the first of these folders that can be written and has room.
    pub fn create_in_first(
        snapshot: &Snapshot,
        root: &Path,
        changes: &PathChanges,
        parents: &[PathBuf],
    ) -> anyhow::Result<Self> {
        let mut failures = Vec::new();
        for parent in parents {
            match Self::create(snapshot, root, changes, parent) {
                Ok(copy) => return Ok(copy),
                Err(error) => failures.push(format!("{error:#}")),
            }
        }
        bail!(
            "a copy of the repository was to be made for the tests, but no folder takes one: {}\n\
             hint: free some space, or name a folder with room by `SORFT_CACHE_DIR` or `TMPDIR`",
            failures.join("; ")
        )
    }

    /// Copies the snapshot of the repository at `root` into a new folder below `parent`, and
    /// applies the changes to the copy. Copies that a killed process left there are removed.
    pub fn create(
        snapshot: &Snapshot,
        root: &Path,
        changes: &PathChanges,
        parent: &Path,
    ) -> anyhow::Result<Self> {
        fs::create_dir_all(parent).with_context(|| format!("creating `{}`", parent.display()))?;
        remove_abandoned(parent);
        let context = || format!("making a scratch copy in `{}`", parent.display());
        let folder =
            tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent).with_context(context)?;
        let lock = File::create(folder.path().join("lock")).with_context(context)?;
        lock.try_lock().with_context(context)?;
        let root =
            fs::canonicalize(root).with_context(|| format!("finding `{}`", root.display()))?;
        for name in ["tree", "tmp/home", "root", "python"] {
            fs::create_dir_all(folder.path().join(name)).with_context(context)?;
        }
        let module = folder.path().join("python").join(MODULE_NAME);
        fs::write(module, MODULE).with_context(context)?;
        let mut copy = Self { folder, _lock: lock, root, ignored: Vec::new(), bytes: 0 };
        let tree = Dir::open_ambient_dir(copy.tree(), ambient_authority()).with_context(context)?;
        copy.write_snapshot(&tree, snapshot, changes).with_context(context)?;
        copy.write_ignored(&tree, snapshot).with_context(context)?;
        Ok(copy)
    }

    /// Where the repository is, and where the copy appears to be where that can be arranged.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn tree(&self) -> PathBuf {
        self.folder.path().join("tree")
    }

    pub(super) fn temporary(&self) -> PathBuf {
        self.folder.path().join("tmp")
    }

    pub(super) fn new_root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    /// What every Python loads when it starts.
    pub(super) fn python(&self) -> PathBuf {
        self.folder.path().join("python")
    }

    /// Folders of the work tree that are shown beside the copy.
    pub(super) fn ignored(&self) -> &[Mount] {
        &self.ignored
    }

    /// Bytes that the copy takes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    fn write_snapshot(
        &mut self,
        tree: &Dir,
        snapshot: &Snapshot,
        changes: &PathChanges,
    ) -> anyhow::Result<()> {
        for (path, entry) in snapshot.files() {
            if changes.contains_key(path) {
                continue;
            }
            let name = path.as_str();
            match entry.kind {
                FileKind::Submodule => {
                    tree.create_dir_all(name).with_context(|| format!("creating `{path}`"))?;
                }
                FileKind::Symlink => {
                    let Ok(target) = snapshot.read_whole(path) else { continue };
                    make_parent(tree, name)?;
                    write_link(tree, name, &target)?;
                }
                FileKind::Regular | FileKind::Executable => {
                    // A blob that a partial clone lacks is reported with the snapshot's problems.
                    let Ok(bytes) = snapshot.read_whole(path) else { continue };
                    self.write_file(tree, name, &bytes, entry.kind == FileKind::Executable)?;
                }
            }
        }
        for (path, change) in changes {
            if let Some(content) = &change.after {
                self.write_file(tree, path.as_str(), &content.bytes, content.executable)?;
            }
        }
        Ok(())
    }

    fn write_ignored(&mut self, tree: &Dir, snapshot: &Snapshot) -> anyhow::Result<()> {
        let home_is_inside = etcetera::home_dir().is_ok_and(|home| home.starts_with(&self.root));
        if home_is_inside {
            // What a repository that is a home ignores is the home.
            return Ok(());
        }
        for ignored in find_ignored(snapshot, &self.root) {
            match ignored {
                Ignored::Folder(path) => {
                    // The mount point; a link of the snapshot on the way to it would lead the
                    // mount out of the copy.
                    if is_plain(tree, &path) && tree.create_dir_all(&path).is_ok() {
                        let target = self.root.join(path);
                        self.ignored.push(Mount::read_only(target));
                    }
                }
                Ignored::File(path) => {
                    let source = self.root.join(&path);
                    if let (Ok(bytes), Some(name)) = (fs::read(&source), path.to_str()) {
                        self.write_file(tree, name, &bytes, is_executable(&source))?;
                    }
                }
                Ignored::Link(path, target) => {
                    let Some(name) = path.to_str() else { continue };
                    make_parent(tree, name)?;
                    write_link(tree, name, target.as_os_str().as_encoded_bytes())?;
                }
            }
        }
        Ok(())
    }

    fn write_file(
        &mut self,
        tree: &Dir,
        name: &str,
        bytes: &[u8],
        executable: bool,
    ) -> anyhow::Result<()> {
        make_parent(tree, name)?;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        {
            use cap_std::fs::OpenOptionsExt;
            options.mode(if executable { 0o755 } else { 0o644 });
        }
        let mut file =
            tree.open_with(name, &options).with_context(|| format!("creating `{name}`"))?;
        file.write_all(bytes).with_context(|| format!("writing `{name}`"))?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }
}

fn make_parent(tree: &Dir, name: &str) -> anyhow::Result<()> {
    if let Some((parent, _)) = name.rsplit_once('/') {
        tree.create_dir_all(parent).with_context(|| format!("creating `{parent}`"))?;
    }
    Ok(())
}

/// Makes a symbolic link wherever it points: the sandbox, not the copy, keeps a command inside.
#[cfg(unix)]
fn write_link(tree: &Dir, name: &str, target: &[u8]) -> anyhow::Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let target = Path::new(std::ffi::OsStr::from_bytes(target));
    tree.symlink_contents(target, name).with_context(|| format!("linking `{name}`"))
}

#[cfg(not(unix))]
fn write_link(tree: &Dir, name: &str, target: &[u8]) -> anyhow::Result<()> {
    tree.write(name, target).with_context(|| format!("writing `{name}`"))
}

#[cfg(unix)]
fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|metadata| metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_executable(_path: &Path) -> bool {
    false
}

/// Whether no part of a path is a link or a file in the tree.
fn is_plain(tree: &Dir, path: &Path) -> bool {
    path.ancestors()
        .filter(|part| !part.as_os_str().is_empty())
        .all(|part| tree.symlink_metadata(part).map_or(true, |metadata| metadata.is_dir()))
}

/// Removes the copies of processes that are gone: their locks are free.
fn remove_abandoned(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.filter_map(Result::ok) {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let Ok(lock) = File::open(entry.path().join("lock")) else { continue };
        // A process that is just making its copy has not locked it yet.
        let age = lock.metadata().and_then(|metadata| metadata.modified()).ok();
        let is_old = age.and_then(|time| time.elapsed().ok()).is_some_and(|age| NEW < age);
        if is_old && lock.try_lock().is_ok() {
            // What cannot be removed is left for the next time.
            drop(fs::remove_dir_all(entry.path()));
        }
    }
}
