//! Outlines, skeletons and retrieval over a snapshot; no model.

pub mod cache;
pub mod language;
pub mod outline;
pub mod owner;
pub mod retrieval;
pub mod skeleton;
pub mod test_files;

mod extract;
#[cfg(test)]
mod outline_examples;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use rayon::prelude::*;
use sha1::{Digest, Sha1};

use crate::index::cache::BlobCache;
use crate::index::language::{Language, RuleBook};
use crate::index::outline::Outline;
use crate::index::test_files::{TestRule, parse_globs};
use crate::repo::blob::BlobId;
use crate::repo::path::RepoPath;
use crate::repo::snapshot::{FileKind, Snapshot};
use crate::repo::text::Text;

/// What an index covers, and where it keeps what it computed.
#[derive(Debug, Clone, Default)]
pub struct IndexOptions {
    /// Files that count as tests although the rule says otherwise.
    pub test_globs: Vec<String>,
    /// Files that never count as tests.
    pub product_globs: Vec<String>,
    /// Files that are no source files, whatever they hold.
    pub ignored_globs: Vec<String>,
    /// The folder of the caches; `None` keeps nothing.
    pub cache: Option<PathBuf>,
    /// A name of the repository that stays the same between runs: values are cached under it.
    pub repository: String,
}

/// The outlines of a snapshot, and which of its files matter.
#[derive(Debug)]
pub struct Index {
    snapshot: Arc<Snapshot>,
    files: BTreeMap<RepoPath, IndexedFile>,
    tests: TestRule,
    /// Outlines that came from the cache.
    n_cached: usize,
}

#[derive(Debug)]
struct IndexedFile {
    outline: Option<Arc<Outline>>,
    is_test: bool,
    is_ignored: bool,
}

/// Changes when outlines come out differently for other reasons than a query file.
const OUTLINE_VERSION: u32 = 1;

impl Index {
    pub fn build(snapshot: Arc<Snapshot>, options: &IndexOptions) -> anyhow::Result<Self> {
        let tests = TestRule::new(&options.test_globs, &options.product_globs)?;
        let ignored = parse_globs(&options.ignored_globs)?;
        let mut cache = match &options.cache {
            Some(folder) => BlobCache::open(folder, &options.repository, "outline"),
            None => BlobCache::none(),
        };
        let rules = RuleBook::default();
        let outlines: Vec<_> = snapshot
            .files()
            .par_iter()
            .map(|(path, entry)| {
                if !matches!(entry.kind, FileKind::Regular | FileKind::Executable)
                    || snapshot.max_file_bytes() < entry.bytes
                {
                    return (path, Outlined::default());
                }
                (path, outline_of_file(&snapshot, path, entry.blob, &rules, &cache))
            })
            .collect();
        let mut files = BTreeMap::new();
        let mut n_cached = 0;
        for (path, outlined) in outlines {
            n_cached += usize::from(outlined.is_cached);
            if let Some((blob, version)) = outlined.key {
                cache.add(blob, version, &outlined.outline);
            }
            let is_test = tests.is_test(path);
            let is_ignored = ignored.is_match(path.as_str());
            let outline = outlined.outline.map(Arc::new);
            files.insert(path.clone(), IndexedFile { outline, is_test, is_ignored });
        }
        let blobs = snapshot.files().values().map(|entry| entry.blob);
        let blobs: std::collections::BTreeSet<BlobId> = blobs.collect();
        if let Err(err) = cache.write(|blob| blobs.contains(&blob)) {
            tracing::debug!("outlines are not kept for the next run: {err:#}");
        }
        Ok(Self { snapshot, files, tests, n_cached })
    }

    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// What a file defines; `None` where it is no readable text.
    pub fn outline(&self, path: &RepoPath) -> Option<&Arc<Outline>> {
        self.files.get(path)?.outline.as_ref()
    }

    /// Whether a path is a test's, whether or not the snapshot has it.
    pub fn is_test(&self, path: &RepoPath) -> bool {
        self.files.get(path).map_or_else(|| self.tests.is_test(path), |file| file.is_test)
    }

    /// The readable files that are neither tests nor ignored, in path order, with their outlines.
    pub fn source_files(&self) -> impl Iterator<Item = (&RepoPath, &Arc<Outline>)> {
        self.files
            .iter()
            .filter(|(_, file)| !file.is_test && !file.is_ignored)
            .filter_map(|(path, file)| Some((path, file.outline.as_ref()?)))
    }

    /// How many outlines came from the cache.
    pub fn n_cached(&self) -> usize {
        self.n_cached
    }
}

/// The outline of one text, whatever snapshot it belongs to: a file as an edit would leave it.
pub fn outline_of(path: &RepoPath, text: &Text) -> Outline {
    outline_by(language::of_path(path), text, &RuleBook::default())
}

fn outline_by(language: Option<&'static Language>, text: &Text, rules: &RuleBook) -> Outline {
    match language {
        Some(language) => extract::outline_of(rules.rules(language), text),
        None => Outline { n_lines: text.n_lines() as u32, ..Outline::default() },
    }
}

#[derive(Default)]
struct Outlined {
    outline: Option<Outline>,
    is_cached: bool,
    /// Under which it is to be kept.
    key: Option<(BlobId, u64)>,
}

fn outline_of_file(
    snapshot: &Snapshot,
    path: &RepoPath,
    blob: BlobId,
    rules: &RuleBook,
    cache: &BlobCache,
) -> Outlined {
    let language = language::of_path(path);
    let version = version_of(language);
    if let Some(outline) = cache.get(blob, version) {
        return Outlined { outline, is_cached: true, key: None };
    }
    let Ok(bytes) = snapshot.read_bytes(path) else { return Outlined::default() };
    let outline = Text::decode(&bytes).ok().map(|text| outline_by(language, &text, rules));
    // A work-tree file may have changed since it was listed; its outline is good for this run only.
    let key = (blob == BlobId::of(&bytes)).then_some((blob, version));
    Outlined { outline, is_cached: false, key }
}

/// Stands for everything besides the blob that decides how an outline comes out.
fn version_of(language: Option<&Language>) -> u64 {
    let mut hash = Sha1::new();
    hash.update(OUTLINE_VERSION.to_le_bytes());
    if let Some(language) = language {
        hash.update(language.name);
        hash.update(language.query_text());
    }
    let digest: [u8; 20] = hash.finalize().into();
    u64::from_le_bytes(digest[..8].try_into().expect("eight of twenty bytes"))
}
