//! REPO and its revision, the same on every command that reads a repository.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use clap::Args;

use crate::commands::settings::Surroundings;
use crate::index::{Index, IndexOptions};
use crate::repo::snapshot::{Snapshot, SnapshotOptions};

/// Files larger than this are listed, not read.
const MAX_FILE_BYTES: u64 = 2 << 20;

/// Which files to look at.
#[derive(Debug, Clone, Args)]
pub struct RepositoryArgs {
    /// A repository, a folder inside one, or a plain folder; it is its own root
    #[arg(default_value = ".", value_name = "REPO")]
    pub repo: PathBuf,
    /// A commit, branch or tag to read in place of the files on disk
    #[arg(long, value_name = "REVISION")]
    pub at: Option<String>,
}

impl RepositoryArgs {
    /// Reads and outlines the files.
    pub fn index(&self, surroundings: &Surroundings) -> anyhow::Result<Arc<Index>> {
        let cache = surroundings.folders.cache.join("index");
        let options = SnapshotOptions {
            revision: self.at.clone(),
            max_file_bytes: MAX_FILE_BYTES,
            cache: Some(cache.clone()),
        };
        let snapshot = Snapshot::open(&self.repo, &options)?;
        ensure!(
            !snapshot.files().is_empty(),
            "`{}` holds no files: a repository with an issue to fix was wanted",
            self.repo.display()
        );
        let config = surroundings.config();
        let options = IndexOptions {
            test_globs: config.test_globs.clone(),
            product_globs: config.product_globs.clone(),
            ignored_globs: config.ignored_paths.clone(),
            cache: Some(cache),
            repository: self.cache_name(),
        };
        let index = Index::build(Arc::new(snapshot), &options)
            .with_context(|| format!("indexing `{}`", self.repo.display()))?;
        Ok(Arc::new(index))
    }

    /// What the repository's cached outlines are kept under: where it lies.
    fn cache_name(&self) -> String {
        let path = std::fs::canonicalize(&self.repo).unwrap_or_else(|_| self.repo.clone());
        path.display().to_string()
    }
}
