//! What was computed from a blob, kept for the next run.
//!
//! Values are found by the id of their blob and a version that changes whenever the value would
//! come out differently (format, language, query): an old value is then not found and is computed
//! anew. Any serializable value can be kept; each kind of value has a [`BlobCache`] of its own.
//!
//! On disk a cache is a folder of segments: whole files with a checksum (`repo::sealed_file`),
//! each holding many values, so that a warm start opens a handful of files. A run adds one segment
//! with what it had to compute, under a name of its own: two processes never overwrite each
//! other's work, and one that loses a segment to the other's tidying up computes again.
//!
//! ```ignore
//! let mut cache = index.open_cache("terms");                       // one per kind of value
//! let terms = match cache.get(blob, VERSION) { Some(terms) => terms, None => … };
//! cache.add(blob, VERSION, &terms);
//! cache.write(|blob| …)?;                                          // once, at the end
//! ```

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context;
use serde::{Serialize, de::DeserializeOwned};
use sha1::{Digest, Sha1};

use crate::repo::blob::BlobId;
use crate::repo::sealed_file;

const KIND: &[u8; 8] = b"sorftb01";
/// More segments than this are put together into one.
const MAX_SEGMENTS: usize = 8;
/// When putting together, values that this run did not ask for are kept up to this size.
const MAX_KEPT_BYTES: usize = 64 << 20;
/// Where values are kept.
#[derive(Debug, Clone)]
pub struct CacheOptions {
    pub folder: PathBuf,
    /// A name of the repository that stays the same between runs.
    pub repository: String,
    /// The bytes that all repositories together may take; the one written longest ago goes first.
    pub max_bytes: u64,
}

/// The values of one kind, for one repository.
#[derive(Debug, Default)]
pub struct BlobCache {
    /// The folder of the segments; `None`: nothing is kept.
    folder: Option<PathBuf>,
    max_bytes: u64,
    segments: Vec<Segment>,
    known: BTreeMap<Key, Held>,
    /// Values computed in this run.
    added: BTreeMap<Key, Vec<u8>>,
}

type Key = (BlobId, u64);

#[derive(Debug)]
struct Segment {
    path: PathBuf,
    bytes: Vec<u8>,
}

/// Where a value lies in the segments.
#[derive(Debug)]
struct Held {
    segment: usize,
    start: usize,
    end: usize,
}

impl BlobCache {
    /// Reads what is known; what cannot be read is not known. Without options nothing is.
    pub fn open(options: Option<&CacheOptions>, value: &str) -> Self {
        let Some(options) = options else { return Self::default() };
        let name = BlobId(Sha1::digest(&options.repository).into());
        let folder = options.folder.join("index").join(name.to_string()).join(value);
        let max_bytes = options.max_bytes;
        let mut opened = Self { folder: Some(folder.clone()), max_bytes, ..Self::default() };
        let mut paths: Vec<PathBuf> = std::fs::read_dir(&folder)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "seg"))
            .collect();
        paths.sort_unstable();
        for path in paths {
            let Some(bytes) = sealed_file::read(&path, KIND) else {
                tracing::debug!("`{}` is damaged, and left out", path.display());
                opened.segments.push(Segment { path, bytes: Vec::new() });
                continue;
            };
            let segment = opened.segments.len();
            if let Some(entries) = parse_directory(&bytes) {
                for (key, start, end) in entries {
                    opened.known.insert(key, Held { segment, start, end });
                }
            }
            opened.segments.push(Segment { path, bytes });
        }
        opened
    }

    /// The value of that blob in that version.
    pub fn get<V: DeserializeOwned>(&self, blob: BlobId, version: u64) -> Option<V> {
        postcard::from_bytes(self.bytes_of(&(blob, version))?).ok()
    }

    /// Keeps a value for the next run.
    pub fn add<V: Serialize>(&mut self, blob: BlobId, version: u64, value: &V) {
        if self.folder.is_some()
            && let Ok(bytes) = postcard::to_stdvec(value)
        {
            self.added.insert((blob, version), bytes);
        }
    }

    /// Writes what was added. `is_wanted` says of what blobs the values must be kept; others are
    /// kept as long as there is room.
    pub fn write(&mut self, is_wanted: impl Fn(BlobId) -> bool) -> anyhow::Result<()> {
        let Some(folder) = self.folder.clone() else { return Ok(()) };
        let is_damaged = self.segments.iter().any(|segment| segment.bytes.is_empty());
        if self.added.is_empty() && !is_damaged {
            return Ok(());
        }
        let merges = MAX_SEGMENTS <= self.segments.len() || is_damaged;
        let mut values: BTreeMap<Key, &[u8]> = BTreeMap::new();
        if merges {
            let (wanted, others): (Vec<_>, Vec<_>) =
                self.known.keys().copied().partition(|(blob, _)| is_wanted(*blob));
            let mut n_bytes = 0;
            for key in wanted.iter().chain(&others) {
                let Some(value) = self.bytes_of(key) else { continue };
                n_bytes += value.len();
                if n_bytes <= MAX_KEPT_BYTES || is_wanted(key.0) {
                    values.insert(*key, value);
                }
            }
        }
        values.extend(self.added.iter().map(|(key, value)| (*key, value.as_slice())));
        let content = render_segment(&values);
        // The name only has to be new: the checksum of the content, and who wrote it when.
        let since = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |elapsed| elapsed.as_nanos());
        let name = format!("{since:020x}-{:x}.seg", std::process::id());
        sealed_file::write(&folder.join(name), KIND, &content)?;
        if merges {
            for segment in &self.segments {
                // Another process may have been first.
                drop(std::fs::remove_file(&segment.path));
            }
        }
        let all = folder.ancestors().nth(2).context("a cache has a folder")?;
        drop_oldest(all, folder.parent().context("a cache has a folder")?, self.max_bytes)
    }

    fn bytes_of(&self, key: &Key) -> Option<&[u8]> {
        let held = self.known.get(key)?;
        self.segments.get(held.segment)?.bytes.get(held.start..held.end)
    }
}

/// Bytes of one entry of a segment's directory: blob, version, end of the value.
const ENTRY_BYTES: usize = 20 + 8 + 8;

/// A segment: the number of values, the directory, the values one after the other.
fn render_segment(values: &BTreeMap<Key, &[u8]>) -> Vec<u8> {
    let n_bytes: usize = values.values().map(|value| value.len()).sum();
    let mut content = Vec::with_capacity(8 + values.len() * ENTRY_BYTES + n_bytes);
    content.extend_from_slice(&(values.len() as u64).to_le_bytes());
    let mut end = 8 + values.len() * ENTRY_BYTES;
    for ((blob, version), value) in values {
        end += value.len();
        content.extend_from_slice(&blob.0);
        content.extend_from_slice(&version.to_le_bytes());
        content.extend_from_slice(&(end as u64).to_le_bytes());
    }
    for value in values.values() {
        content.extend_from_slice(value);
    }
    content
}

/// The keys of a segment and where their values lie.
fn parse_directory(content: &[u8]) -> Option<Vec<(Key, usize, usize)>> {
    let number = |at: usize| {
        let bytes = content.get(at..at.checked_add(8)?)?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    };
    let n_values = usize::try_from(number(0)?).ok()?;
    let mut start = n_values.checked_mul(ENTRY_BYTES)?.checked_add(8)?;
    if content.len() < start {
        return None;
    }
    let mut entries = Vec::with_capacity(n_values);
    for value_idx in 0..n_values {
        let at = 8 + value_idx * ENTRY_BYTES;
        let blob = BlobId(content.get(at..at + 20)?.try_into().ok()?);
        let end = usize::try_from(number(at + 28)?).ok()?;
        if end < start || content.len() < end {
            return None;
        }
        entries.push(((blob, number(at + 20)?), start, end));
        start = end;
    }
    Some(entries)
}

/// Removes the caches of whole repositories until the rest fits; never that of `kept`.
fn drop_oldest(all: &Path, kept: &Path, max_bytes: u64) -> anyhow::Result<()> {
    let mut repositories = Vec::new();
    let mut total = 0;
    for entry in std::fs::read_dir(all).with_context(|| format!("reading `{}`", all.display()))? {
        let path = entry?.path();
        // The names of segments begin with the time when they were written, and are finer than a
        // file system's clock, which moves in steps of milliseconds.
        let (mut bytes, mut newest) = (0, OsString::new());
        for value in std::fs::read_dir(&path).into_iter().flatten().flatten() {
            for segment in std::fs::read_dir(value.path()).into_iter().flatten().flatten() {
                let Ok(metadata) = segment.metadata() else { continue };
                bytes += metadata.len();
                newest = newest.max(segment.file_name());
            }
        }
        total += bytes;
        if path != kept {
            repositories.push((newest, path, bytes));
        }
    }
    repositories.sort_unstable();
    for (_, path, bytes) in repositories {
        if total <= max_bytes {
            break;
        }
        std::fs::remove_dir_all(&path).with_context(|| format!("removing `{}`", path.display()))?;
        total -= bytes;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(number: u32) -> BlobId {
        BlobId::of(&number.to_le_bytes())
    }

    fn options(folder: &Path, repository: &str) -> CacheOptions {
        let (folder, repository) = (folder.to_owned(), repository.to_owned());
        CacheOptions { folder, repository, max_bytes: 1000 }
    }

    fn open(folder: &Path) -> BlobCache {
        BlobCache::open(Some(&options(folder, "some/repository")), "numbers")
    }

    fn segments(folder: &Path) -> Vec<PathBuf> {
        open(folder).segments.into_iter().map(|segment| segment.path).collect()
    }

    #[test]
    fn values_are_found_again_by_blob_and_version() {
        let folder = tempfile::tempdir().unwrap();
        let mut cache = open(folder.path());
        cache.add(blob(1), 1, &"one");
        cache.add(blob(2), 1, &"two");
        cache.write(|_| true).unwrap();
        let cache = open(folder.path());
        assert_eq!(cache.get(blob(1), 1), Some("one".to_owned()));
        assert_eq!(cache.get(blob(2), 1), Some("two".to_owned()));
        assert_eq!(cache.get::<String>(blob(1), 2), None, "another version");
        assert_eq!(cache.get::<String>(blob(3), 1), None, "another blob");
        let other = BlobCache::open(Some(&options(folder.path(), "other")), "numbers");
        assert_eq!(other.get::<String>(blob(1), 1), None, "another repository");
    }

    #[test]
    fn two_processes_keep_both_their_values() {
        let folder = tempfile::tempdir().unwrap();
        let (mut first, mut second) = (open(folder.path()), open(folder.path()));
        first.add(blob(1), 1, &1_u32);
        second.add(blob(2), 1, &2_u32);
        first.write(|_| true).unwrap();
        second.write(|_| true).unwrap();
        let cache = open(folder.path());
        assert_eq!((cache.get(blob(1), 1), cache.get(blob(2), 1)), (Some(1_u32), Some(2_u32)));
    }

    #[test]
    fn a_damaged_segment_is_left_out_and_replaced() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..2 {
            let mut cache = open(folder.path());
            cache.add(blob(number), 1, &number);
            cache.write(|_| true).unwrap();
        }
        let damaged = &segments(folder.path())[0];
        let mut bytes = std::fs::read(damaged).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(damaged, bytes).unwrap();
        let mut cache = open(folder.path());
        assert_eq!(cache.get::<u32>(blob(0), 1), None);
        assert_eq!(cache.get::<u32>(blob(1), 1), Some(1));
        cache.add(blob(0), 1, &0_u32);
        cache.write(|_| true).unwrap();
        let cache = open(folder.path());
        assert_eq!((cache.get(blob(0), 1), cache.get(blob(1), 1)), (Some(0_u32), Some(1_u32)));
        assert_eq!(cache.segments.len(), 1);
    }

    #[test]
    fn many_runs_leave_few_files_and_lose_nothing() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..30_u32 {
            let mut cache = open(folder.path());
            cache.add(blob(number), 1, &number);
            cache.write(|_| false).unwrap();
            assert!(segments(folder.path()).len() <= MAX_SEGMENTS + 1);
        }
        let cache = open(folder.path());
        for number in 0..30_u32 {
            assert_eq!(cache.get(blob(number), 1), Some(number));
        }
    }

    #[test]
    fn the_repository_written_longest_ago_makes_room() {
        let folder = tempfile::tempdir().unwrap();
        let open = |name: &str| BlobCache::open(Some(&options(folder.path(), name)), "texts");
        for name in ["first", "second", "third"] {
            let mut cache = open(name);
            cache.add(blob(1), 1, &"x".repeat(400));
            cache.write(|_| true).unwrap();
        }
        let is_kept = |name: &str| open(name).get::<String>(blob(1), 1).is_some();
        assert_eq!(["first", "second", "third"].map(is_kept), [false, true, true]);
    }

    #[test]
    fn a_directory_that_lies_about_sizes_is_refused() {
        let values = BTreeMap::from([((blob(1), 1), &b"value"[..])]);
        let whole = render_segment(&values);
        assert!(parse_directory(&whole).is_some());
        for length in 0..whole.len() {
            assert_eq!(parse_directory(&whole[..length]), None, "cut at {length}");
        }
        let mut lying = whole;
        lying[..8].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(parse_directory(&lying), None);
    }
}
