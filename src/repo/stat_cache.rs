//! Remembers the blob ids of work-tree files that have not changed since they were last hashed.
//!
//! A file is taken for unchanged when its size, inode and both of its times are the same, and
//! when those times lay well behind the moment of hashing: a file written twice within the grain
//! of the clock would otherwise keep the first id.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sha1::{Digest, Sha1};

use crate::repo::blob::BlobId;
use crate::repo::sealed_file;

const KIND: &[u8; 8] = b"sorfts01";
/// How long before hashing a file must have been left alone, in nanoseconds.
const GRAIN: i64 = 2_000_000_000;
/// Folders remembered; the ones used longest ago are forgotten.
const MAX_FOLDERS: usize = 64;

/// What tells one state of a file from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    bytes: u64,
    inode: u64,
    /// Last write and last change of content or name, nanoseconds since 1970.
    written: i64,
    changed: i64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct StatCache {
    entries: BTreeMap<String, (Stamp, BlobId)>,
}

impl Stamp {
    pub(super) fn of(metadata: &Metadata) -> Self {
        let written = metadata.modified().map_or(i64::MAX, nanoseconds);
        #[cfg(unix)]
        let (inode, changed) = {
            use std::os::unix::fs::MetadataExt;
            let changed = metadata.ctime().saturating_mul(1_000_000_000);
            (metadata.ino(), changed.saturating_add(metadata.ctime_nsec()))
        };
        #[cfg(not(unix))]
        let (inode, changed) = (0, written);
        Self { bytes: metadata.len(), inode, written, changed }
    }

    /// Whether a file that has this stamp at `now` must have another one after any later write.
    fn is_settled(self, now: i64) -> bool {
        self.written.max(self.changed) < now.saturating_sub(GRAIN)
    }
}

impl StatCache {
    /// What is remembered of the folder `root`; nothing where that is lost.
    pub(super) fn read(cache: &Path, root: &Path) -> Self {
        sealed_file::read(&file_of(cache, root), KIND)
            .and_then(|bytes| postcard::from_bytes(&bytes).ok())
            .unwrap_or_default()
    }

    pub(super) fn get(&self, path: &str, stamp: Stamp) -> Option<BlobId> {
        self.entries.get(path).filter(|(known, _)| *known == stamp).map(|(_, blob)| *blob)
    }

    /// Replaces what is remembered by files hashed after `now` began.
    pub(super) fn write(
        cache: &Path,
        root: &Path,
        now: SystemTime,
        files: impl Iterator<Item = (String, Stamp, BlobId)>,
    ) -> anyhow::Result<()> {
        let now = nanoseconds(now);
        let entries = files
            .filter(|(_, stamp, _)| stamp.is_settled(now))
            .map(|(path, stamp, blob)| (path, (stamp, blob)))
            .collect();
        let file = file_of(cache, root);
        sealed_file::write(&file, KIND, &postcard::to_stdvec(&Self { entries })?)?;
        forget_oldest(&cache.join("stat"))
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

fn file_of(cache: &Path, root: &Path) -> PathBuf {
    let digest = BlobId(Sha1::digest(root.as_os_str().as_encoded_bytes()).into());
    cache.join("stat").join(format!("{digest}.bin"))
}

fn forget_oldest(folder: &Path) -> anyhow::Result<()> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        files.push((entry.metadata()?.modified()?, entry.path()));
    }
    files.sort_unstable();
    let n_over = files.len().saturating_sub(MAX_FOLDERS);
    for (_, path) in &files[..n_over] {
        std::fs::remove_file(path)?;
    }
    Ok(())
}

fn nanoseconds(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_file_written_a_moment_before_it_was_hashed_is_hashed_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a");
        std::fs::write(&file, "1").unwrap();
        let stamp = Stamp::of(&std::fs::metadata(&file).unwrap());
        let root = Path::new("/some/root");
        let remembered_at = |delay: u64| {
            let now = SystemTime::now() + Duration::from_secs(delay);
            let files = [("a".to_owned(), stamp, BlobId::of(b"1"))];
            StatCache::write(folder.path(), root, now, files.into_iter()).unwrap();
            StatCache::read(folder.path(), root).get("a", stamp)
        };
        assert_eq!(remembered_at(0), None);
        assert_eq!(remembered_at(60), Some(BlobId::of(b"1")));
        let other_root = StatCache::read(folder.path(), Path::new("/other"));
        assert_eq!(other_root.get("a", stamp), None);
        let known = StatCache::read(folder.path(), root);
        assert_eq!(known.get("a", Stamp { written: stamp.written + 1, ..stamp }), None);
        assert_eq!(known.get("a", Stamp { inode: stamp.inode + 1, ..stamp }), None);
    }
}
