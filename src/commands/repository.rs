//! REPO and its revision, the same on every command that reads a repository.

use std::path::{Path, PathBuf};
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
    ///
    /// `issue` is the file that the issue was read from: where it lies among the files, it is no
    /// place to look into.
    pub fn index(
        &self,
        surroundings: &Surroundings,
        issue: Option<&Path>,
    ) -> anyhow::Result<Arc<Index>> {
        let mut config = surroundings.config().clone();
        config.ignored_paths.extend(issue.and_then(|issue| self.path_inside(issue)));
        let cache = surroundings.cache();
        let index = open_index(&self.repo, self.at.as_deref(), &config, Some(cache))
            .with_context(|| format!("indexing `{}`", self.repo.display()))?;
        ensure!(
            !index.snapshot().files().is_empty(),
            "`{}` holds no files: a repository with an issue to fix was wanted",
            self.repo.display()
        );
        ensure!(
            index.source_files().next().is_some(),
            "`{}` shows no file to look into: all {} are tests, ignored, or no text\n\
             hint: `sorft config show` tells which `sorft.yaml` sets `ignored_paths` and `test_globs`",
            self.repo.display(),
            index.snapshot().files().len()
        );
        Ok(Arc::new(index))
    }

    /// A file's path inside the repository, as a pattern that fits it alone.
    fn path_inside(&self, file: &Path) -> Option<String> {
        let (file, root) = (file.canonicalize().ok()?, self.repo.canonicalize().ok()?);
        Some(globset::escape(file.strip_prefix(root).ok()?.to_str()?))
    }
}
