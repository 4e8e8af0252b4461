//! Listing the files of a commit from git's objects.

use std::collections::BTreeMap;

use anyhow::Context;
use git2::{ErrorCode, Oid};

use crate::repo::blob::BlobId;
use crate::repo::git::GitFolder;
use crate::repo::path::RepoPath;
use crate::repo::snapshot::{FileEntry, FileKind, Problem};

/// A hostile repository of a few kilobytes can name any number of files: trees may share subtrees.
pub(super) const MAX_FILES: usize = 1_000_000;

/// The files found, and what was stepped over.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) files: BTreeMap<RepoPath, FileEntry>,
    pub(super) problems: Vec<Problem>,
}

pub(super) fn list(git: &GitFolder, commit: Oid) -> anyhow::Result<Listing> {
    let repository = &git.repository;
    let tree = repository
        .find_commit(commit)
        .and_then(|commit| commit.tree())
        .with_context(|| format!("reading the tree of commit {commit}"))?;
    let mut folders = vec![(String::new(), tree.id())];
    if let Some(folder) = git.prefix.strip_suffix('/') {
        let entry = tree.get_path(folder.as_ref());
        let entry = entry.ok().filter(|entry| entry.kind() == Some(git2::ObjectType::Tree));
        let Some(entry) = entry else {
            anyhow::bail!("commit {commit} has no folder `{folder}`");
        };
        folders = vec![(String::new(), entry.id())];
    }
    let odb = repository.odb().context("opening the object database")?;
    let mut listing = Listing::default();
    while let Some((prefix, id)) = folders.pop() {
        let tree = match repository.find_tree(id) {
            Ok(tree) => tree,
            Err(err) if err.code() == ErrorCode::NotFound => {
                let path = prefix.escape_debug().to_string();
                listing.problems.push(Problem::Unreadable {
                    path,
                    why: format!("its tree {id} is not in the repository"),
                });
                continue;
            }
            Err(err) => return Err(err).with_context(|| format!("reading tree {id}")),
        };
        for entry in &tree {
            let unusable = |why: String| {
                let name = String::from_utf8_lossy(entry.name_bytes());
                let path = format!("{prefix}{name}").escape_debug().to_string();
                Problem::UnusablePath { path, why }
            };
            let Ok(name) = entry.name() else {
                listing.problems.push(unusable("its name is not UTF-8".into()));
                continue;
            };
            let path = match RepoPath::parse(&format!("{prefix}{name}")) {
                Ok(path) => path,
                Err(why) => {
                    listing.problems.push(unusable(why.to_string()));
                    continue;
                }
            };
            let kind = match entry.filemode() {
                0o040_000 => {
                    folders.push((format!("{path}/"), entry.id()));
                    continue;
                }
                0o160_000 => FileKind::Submodule,
                0o120_000 => FileKind::Symlink,
                0o100_755 => FileKind::Executable,
                _ => FileKind::Regular,
            };
            let blob = BlobId::from(entry.id());
            let mut bytes = 0;
            if kind != FileKind::Submodule {
                if let Ok((size, _)) = odb.read_header(entry.id()) {
                    bytes = size as u64;
                } else {
                    let path = path.clone();
                    listing.problems.push(Problem::MissingBlob { path, blob });
                }
            }
            if listing.files.len() == MAX_FILES {
                listing.problems.push(Problem::TooManyFiles { limit: MAX_FILES });
                return Ok(listing);
            }
            listing.files.insert(path, FileEntry { kind, bytes, blob });
        }
    }
    listing.problems.sort();
    Ok(listing)
}
