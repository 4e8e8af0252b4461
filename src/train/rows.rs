//! Reading the files of JSON lines that training's steps hand on.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use serde::de::DeserializeOwned;

/// A kind of line.
pub trait Row: DeserializeOwned {
    /// What one is called.
    const NAME: &'static str;
    /// The command that makes them.
    const MADE_BY: &'static str;
    /// The newest version that this program reads.
    const VERSION: u32;

    fn version(&self) -> u32;
}

/// Reads a file of rows.
///
/// # Errors
///
/// It cannot be read, holds a line that is none, or none at all.
pub fn read_rows<T: Row>(path: &Path) -> anyhow::Result<Vec<T>> {
    let hint = format!("hint: `{}` makes them", T::MADE_BY);
    let file = File::open(path)
        .map_err(|error| anyhow::anyhow!("opening `{}`: {error}\n{hint}", path.display()))?;
    let mut rows = Vec::new();
    for (idx, line) in BufReader::new(file).lines().enumerate() {
        let place = || format!("`{}`, line {}", path.display(), idx + 1);
        let line = line.with_context(place)?;
        if line.trim().is_empty() {
            continue;
        }
        let row: T = serde_json::from_str(&line)
            .with_context(|| format!("{}: no {}\n{hint}", place(), T::NAME))?;
        if T::VERSION < row.version() {
            bail!(
                "{}: version {} is newer than {}, the newest that this program reads",
                place(),
                row.version(),
                T::VERSION
            );
        }
        rows.push(row);
    }
    ensure!(!rows.is_empty(), "`{}` holds no {}\n{hint}", path.display(), T::NAME);
    Ok(rows)
}
