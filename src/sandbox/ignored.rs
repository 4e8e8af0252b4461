//! What lies in a work tree beside its snapshot: installed packages and build outputs.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::repo::snapshot::Snapshot;

/// Something in the work tree that is not of the snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ignored {
    /// A folder, relative to the root: shown for reading only.
    Folder(PathBuf),
    /// A file, relative to the root: copied.
    File(PathBuf),
    /// A symbolic link, relative to the root, and what it says: copied.
    Link(PathBuf, PathBuf),
}

/// Folders that commands fill anew, or that are git's own.
const LEFT_OUT: &[&str] = &[
    ".git",
    ".hg",
    ".svn",
    "__pycache__",
    ".pytest_cache",
    ".mypy_cache",
    ".ruff_cache",
    ".hypothesis",
    ".idea",
    ".vscode",
    ".DS_Store",
];

/// Starts and ends of names that may hold keys.
const SECRET_STARTS: &[&str] = &[
    ".env",
    ".ssh",
    ".aws",
    ".gnupg",
    ".netrc",
    ".npmrc",
    ".pypirc",
    "id_rsa",
    "id_ed25519",
    "credentials",
    "secret",
];
const SECRET_ENDS: &[&str] = &[".pem", ".key", ".p12", ".pfx", ".kdbx", ".jks"];

/// More than this many entries is no work tree with a few folders beside it.
const MAX_ENTRIES: usize = 5_000;
/// Larger files are not copied.
const MAX_FILE_BYTES: u64 = 256 << 20;

/// Lists what is not of the snapshot; nothing where `root` is no folder of the machine.
pub(super) fn find_ignored(snapshot: &Snapshot, root: &Path) -> Vec<Ignored> {
    let mut folders = BTreeSet::from([PathBuf::new()]);
    for path in snapshot.files().keys() {
        let mut path = Path::new(path.as_str());
        while let Some(parent) = path.parent() {
            if !folders.insert(parent.to_owned()) {
                break;
            }
            path = parent;
        }
    }
    let mut found = Vec::new();
    for folder in &folders {
        let Ok(entries) = fs::read_dir(root.join(folder)) else { continue };
        for entry in entries.filter_map(Result::ok) {
            let (Some(name), Ok(kind)) =
                (entry.file_name().to_str().map(str::to_owned), entry.file_type())
            else {
                continue;
            };
            let path = folder.join(&name);
            let is_known = folders.contains(&path)
                || path.to_str().is_none_or(|path| {
                    crate::repo::path::RepoPath::parse(path)
                        .is_ok_and(|path| snapshot.files().contains_key(&path))
                });
            if is_known || is_left_out(&name, kind.is_dir()) {
                continue;
            }
            if kind.is_dir() {
                found.push(Ignored::Folder(path));
            } else if kind.is_symlink() {
                found.extend(fs::read_link(entry.path()).ok().map(|to| Ignored::Link(path, to)));
            } else if kind.is_file()
                && entry.metadata().is_ok_and(|metadata| metadata.len() <= MAX_FILE_BYTES)
            {
                found.push(Ignored::File(path));
            }
            if MAX_ENTRIES < found.len() {
                return found;
            }
        }
    }
    found
}

fn is_left_out(name: &str, is_folder: bool) -> bool {
    // `.env` may be a virtual environment or a file of keys; only the folder is harmless.
    let is_environment = is_folder && name == ".env";
    LEFT_OUT.contains(&name)
        || (!is_environment && SECRET_STARTS.iter().any(|start| name.starts_with(start)))
        || SECRET_ENDS.iter().any(|end| name.ends_with(end))
}
