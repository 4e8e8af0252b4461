//! What a run of training leaves, told to people and to programs.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::commands::output::escape_controls;
use crate::train::folder::{ADAPTER, MODEL};

/// What was made, and where it is.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Made {
    Adapter(PathBuf),
    Model(PathBuf),
}

impl Made {
    /// In the folder of a run, which trained all weights (`full`) or an adapter.
    pub(super) fn of(folder: &Path, full: bool) -> Self {
        match full {
            true => Self::Model(folder.join(MODEL)),
            false => Self::Adapter(folder.join(ADAPTER)),
        }
    }

    /// The last line of what is told.
    pub(super) fn line(&self) -> String {
        let (what, path) = match self {
            Self::Adapter(path) => ("adapter", path),
            Self::Model(path) => ("model", path),
        };
        format!("{what}: {}\n", escape_controls(&path.display().to_string()))
    }
}
