//! What a patch replaces, kept until it is applied whole.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::repo::change::{FileContent, PathChange, PathChanges};
use crate::repo::path::RepoPath;
use crate::write::apply::{read_content, waiting_name, write_new};

/// One application of a patch: a folder below the state folder, locked while its process lives.
///
/// `journal.json` names the files; a file that is numbered holds the old content of the entry of
/// that number. A journal without `journal.json` has changed nothing yet.
#[derive(Debug)]
pub(super) struct Journal {
    folder: PathBuf,
    record: Record,
    _lock: File,
}

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    version: u32,
    root: PathBuf,
    entries: Vec<Entry>,
    /// Folders that do not exist yet, parents first.
    new_folders: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    path: RepoPath,
    /// Whether the file existed, and was executable.
    before: Option<bool>,
    /// The hash of the new content; `None` where the file is deleted.
    after: Option<String>,
}

const VERSION: u32 = 1;
const RECORD_FILE: &str = "journal.json";
const LOCK_FILE: &str = "lock";

impl Journal {
    /// Keeps the old contents of all files.
    pub(super) fn begin(state: &Path, root: &Path, changes: &PathChanges) -> anyhow::Result<Self> {
        let parent = state.join("journal");
        let context = || format!("keeping the old contents in `{}`", parent.display());
        fs::create_dir_all(&parent).with_context(context)?;
        // Goes by itself if this fails half-way.
        let folder = TempDir::new_in(&parent).with_context(context)?;
        let lock = File::create(folder.path().join(LOCK_FILE)).with_context(context)?;
        lock.try_lock().with_context(context)?;
        let mut entries = Vec::with_capacity(changes.len());
        for (number, (path, change)) in changes.iter().enumerate() {
            if let Some(before) = &change.before {
                write_synced(&folder.path().join(number.to_string()), &before.bytes)
                    .with_context(context)?;
            }
            entries.push(Entry::of(path, change));
        }
        let root = root.canonicalize().with_context(|| format!("finding `{}`", root.display()))?;
        let mut new_folders: Vec<String> = changes
            .iter()
            .filter(|(_, change)| change.after.is_some())
            .flat_map(|(path, _)| Path::new(path.as_str()).ancestors().skip(1))
            .filter(|folder| !folder.as_os_str().is_empty() && !root.join(folder).exists())
            .filter_map(|folder| folder.to_str().map(str::to_owned))
            .collect();
        new_folders.sort();
        new_folders.dedup();
        let record = Record { version: VERSION, root, entries, new_folders };
        Ok(Self { folder: folder.keep(), record, _lock: lock })
    }

    /// From here on files change: the next start must put them back, should this process die.
    pub(super) fn mark_ready(&self) -> anyhow::Result<()> {
        let path = self.folder.join(RECORD_FILE);
        let json = serde_json::to_vec(&self.record).context("rendering a journal")?;
        let new = self.folder.join("new");
        write_synced(&new, &json)
            .and_then(|()| fs::rename(&new, &path))
            .with_context(|| format!("writing `{}`", path.display()))
    }

    /// The patch is applied; nothing needs to be put back.
    pub(super) fn end(self) -> anyhow::Result<()> {
        // The record first: without it the rest means nothing.
        let record = self.folder.join(RECORD_FILE);
        fs::remove_file(&record)
            .or_else(|error| match error.kind() {
                std::io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            })
            .and_then(|()| fs::remove_dir_all(&self.folder))
            .with_context(|| format!("removing the journal `{}`", self.folder.display()))
    }

    /// Puts back all files that are as the patch would have them.
    pub(super) fn roll_back(self) -> anyhow::Result<()> {
        put_back(&self.folder, &self.record)?;
        self.end()
    }

    /// Rolls back the journals of processes that are gone.
    pub(super) fn recover_all(state: &Path) -> anyhow::Result<Vec<PathBuf>> {
        let parent = state.join("journal");
        let Ok(entries) = fs::read_dir(&parent) else { return Ok(Vec::new()) };
        let mut recovered = Vec::new();
        for entry in entries.filter_map(Result::ok) {
            let folder = entry.path();
            let Ok(lock) = File::open(folder.join(LOCK_FILE)) else { continue };
            if lock.try_lock().is_err() {
                continue;
            }
            let context = || format!("rolling back by the journal `{}`", folder.display());
            if let Ok(json) = fs::read(folder.join(RECORD_FILE)) {
                let record: Record = serde_json::from_slice(&json).with_context(context)?;
                put_back(&folder, &record).with_context(context)?;
                recovered.push(record.root);
            }
            fs::remove_dir_all(&folder).with_context(context)?;
        }
        recovered.sort();
        Ok(recovered)
    }

    /// Leaves the journal as a kill would.
    #[cfg(test)]
    pub(super) fn abandon(self) {
        drop(self);
    }
}

impl Entry {
    fn of(path: &RepoPath, change: &PathChange) -> Self {
        Self {
            path: path.clone(),
            before: change.before.as_ref().map(|before| before.executable),
            after: change.after.as_ref().map(|after| hash(&after.bytes)),
        }
    }
}

fn put_back(journal: &Path, record: &Record) -> anyhow::Result<()> {
    let folder = Dir::open_ambient_dir(&record.root, ambient_authority())
        .with_context(|| format!("opening the folder `{}`", record.root.display()))?;
    for (number, entry) in record.entries.iter().enumerate() {
        // Gone already where it was renamed.
        drop(folder.remove_file(waiting_name(&entry.path)));
        let Ok(now) = read_content(&folder, &entry.path) else { continue };
        let now = now.map(|content| hash(&content.bytes));
        if now != entry.after {
            // Not yet changed, or changed by somebody else since.
            continue;
        }
        let context = || format!("putting back `{}`", entry.path);
        match entry.before {
            Some(executable) => {
                let bytes = fs::read(journal.join(number.to_string())).with_context(context)?;
                let content = FileContent { bytes, executable };
                if let Some(parent) = entry.path.parent() {
                    folder.create_dir_all(parent).with_context(context)?;
                }
                let waiting = waiting_name(&entry.path);
                write_new(&folder, &waiting, &content, None, &entry.path)?;
                folder.rename(&waiting, &folder, entry.path.as_str()).with_context(context)?;
            }
            None => folder.remove_file(entry.path.as_str()).with_context(context)?,
        }
    }
    for new_folder in record.new_folders.iter().rev() {
        // Not there yet, or not empty: somebody uses it.
        drop(folder.remove_dir(new_folder));
    }
    Ok(())
}

fn write_synced(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn hash(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}
