//! The user's folders: configuration, cache and state.

use std::path::PathBuf;

use anyhow::Context;
use etcetera::base_strategy::{BaseStrategy, choose_base_strategy};

/// Where sorft keeps its files on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folders {
    /// Holds the user's `sorft.yaml`.
    pub config: PathBuf,
    /// Models and outlines: may be deleted at any time.
    pub cache: PathBuf,
    /// Runs, trust and journals.
    pub state: PathBuf,
}

impl Folders {
    /// The folders of the user who runs this process, as the platform's conventions name them.
    pub fn find() -> anyhow::Result<Self> {
        let base = choose_base_strategy()
            .context("finding the home folder\nhint: set the environment variable `HOME`")?;
        let state = base.state_dir().unwrap_or_else(|| base.data_dir());
        Ok(Self {
            config: base.config_dir().join("sorft"),
            cache: base.cache_dir().join("sorft"),
            state: state.join("sorft"),
        })
    }

    /// Where runs are kept that name no folder.
    pub fn runs(&self) -> PathBuf {
        self.state.join("runs")
    }
}
