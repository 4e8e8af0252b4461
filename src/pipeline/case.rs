//! A benchmark instance, opened: its base commit indexed and ranked, its gold patch applied.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;

use crate::diff::change::{FileChange, FileState};
use crate::diff::patch::Patch;
use crate::index::retrieval::{RankOptions, Ranking, rank};
use crate::index::{Index, IndexOptions};
use crate::instance::{Instance, Solution};
use crate::repo::path::RepoPath;
use crate::repo::snapshot::{FileKind, MAX_FILE_BYTES, Snapshot, SnapshotOptions};
use crate::stage::gold::{Gold, GoldFiles};

/// An instance with what its prompts and its truth are made from.
#[derive(Debug)]
pub struct Case {
    pub instance: Instance,
    pub index: Arc<Index>,
    pub ranking: Ranking,
}

/// A gold patch, applied to its base tree.
#[derive(Debug)]
pub struct AppliedGold {
    /// By new path.
    pub changes: Vec<FileChange>,
    pub gold: Gold,
}

impl Case {
    /// Reads the base commit of an instance from the repository at `root`, without a checkout.
    pub fn open(
        instance: &Instance,
        root: &Path,
        index: &IndexOptions,
        ranking: &RankOptions,
    ) -> anyhow::Result<Self> {
        let snapshot = base_snapshot(instance, root)?;
        let index = Arc::new(Index::build(Arc::new(snapshot), index)?);
        let ranking = rank(&index, &instance.task().issue, ranking);
        Ok(Self { instance: instance.clone(), index, ranking })
    }

    /// Applies the gold patch, which there must be.
    pub fn gold(&self) -> anyhow::Result<AppliedGold> {
        self.gold_if_any()?.context("the record has no gold patch")
    }

    /// Applies the gold patch; `None` where the record has none.
    ///
    /// # Errors
    ///
    /// It does not fit the base commit.
    pub fn gold_if_any(&self) -> anyhow::Result<Option<AppliedGold>> {
        let Solution { patch, test_patch, .. } = self.instance.solution();
        if patch.trim().is_empty() {
            return Ok(None);
        }
        let changes = apply_patch(patch.as_bytes(), self.index.snapshot())
            .context("the gold patch and its base commit")?;
        // Tests that belong to the record are a patch of their own, so all of this one counts.
        let files =
            if test_patch.trim().is_empty() { GoldFiles::WithoutTests } else { GoldFiles::All };
        let gold = Gold::new(&self.index, &changes, files);
        Ok(Some(AppliedGold { changes, gold }))
    }
}

/// The base commit of an instance, from the repository at `root`, without a checkout.
pub fn base_snapshot(instance: &Instance, root: &Path) -> anyhow::Result<Snapshot> {
    let options = SnapshotOptions {
        revision: Some(instance.task().base_commit.clone()),
        max_file_bytes: MAX_FILE_BYTES,
        cache: None,
    };
    Snapshot::open(root, &options).with_context(|| format!("opening `{}`", root.display()))
}

/// What a patch in git's format makes of a snapshot.
pub fn apply_patch(patch: &[u8], snapshot: &Snapshot) -> anyhow::Result<Vec<FileChange>> {
    let patch = Patch::parse(patch).context("reading the patch")?;
    let mut base: BTreeMap<RepoPath, FileState> = BTreeMap::new();
    for path in patch.base_paths() {
        let Some(entry) = snapshot.files().get(path) else { continue };
        let bytes = match entry.kind {
            FileKind::Submodule => Vec::new(),
            _ => snapshot.read_whole(path)?,
        };
        base.insert(path.clone(), FileState { path: path.clone(), kind: entry.kind, bytes });
    }
    patch.apply(&base).context("applying the patch")
}
