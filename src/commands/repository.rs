//! REPO and its revision, the same on every command that reads a repository.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use clap::Args;

use crate::commands::index::open_index;
use crate::commands::settings::Surroundings;
use crate::index::Index;

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
    /// Reads and outlines the files; a repository without any is an error.
    pub fn index(&self, surroundings: &Surroundings) -> anyhow::Result<Arc<Index>> {
        let config = surroundings.config();
        let cache = config.cache_dir.as_ref().unwrap_or(&surroundings.folders.cache);
        let index = open_index(&self.repo, self.at.as_deref(), config, Some(cache))
            .with_context(|| format!("indexing `{}`", self.repo.display()))?;
        ensure!(
            !index.snapshot().files().is_empty(),
            "`{}` holds no files: a repository with an issue to fix was wanted",
            self.repo.display()
        );
        Ok(Arc::new(index))
    }
}
