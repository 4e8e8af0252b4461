//! Which repositories' files the user has vouched for.
//!
//! Trust is one small file for each vouched-for file: its name is the hash of path and content,
//! so that a change of either ends it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use sha2::{Digest, Sha256};

use crate::config::folder::Folders;
use crate::config::layer::{Layer, read_layer};

/// Whether the user has vouched for this file with these bytes.
pub fn is_trusted(folders: &Folders, path: &Path, bytes: &[u8]) -> anyhow::Result<bool> {
    Ok(token(folders, path, bytes)?.exists())
}

/// Vouches for a file as it is, and gives back what it sets.
pub fn trust(folders: &Folders, path: &Path) -> anyhow::Result<Layer> {
    let Some(layer) = read_layer(path)? else {
        bail!("`{}` does not exist: there is nothing to trust", path.display())
    };
    let token = token(folders, path, &layer.bytes)?;
    let folder = token.parent().unwrap_or(&folders.state);
    fs::create_dir_all(folder).with_context(|| format!("creating `{}`", folder.display()))?;
    let note = format!("{}\n", path.display());
    fs::write(&token, note).with_context(|| format!("writing `{}`", token.display()))?;
    Ok(layer)
}

/// Takes back the trust in a file as it is; tells whether there was any.
pub fn distrust(folders: &Folders, path: &Path) -> anyhow::Result<bool> {
    let Some(layer) = read_layer(path)? else { return Ok(false) };
    let token = token(folders, path, &layer.bytes)?;
    if !token.exists() {
        return Ok(false);
    }
    fs::remove_file(&token).with_context(|| format!("removing `{}`", token.display()))?;
    Ok(true)
}

fn token(folders: &Folders, path: &Path, bytes: &[u8]) -> anyhow::Result<PathBuf> {
    let path = fs::canonicalize(path).with_context(|| format!("finding `{}`", path.display()))?;
    let path = path.as_os_str().as_encoded_bytes();
    let mut hasher = Sha256::new();
    hasher.update((path.len() as u64).to_le_bytes());
    hasher.update(path);
    hasher.update(bytes);
    Ok(folders.state.join("trust").join(format!("{:x}", hasher.finalize())))
}
