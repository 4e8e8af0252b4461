//! Listing the files of a folder as it stands.
//!
//! Ignored files are left out as git leaves them out (`.gitignore` and its relatives; also in a
//! folder without git), unless git tracks them. Without being asked, folders of installed packages
//! are left out too: `node_modules`, Python's virtual environments, `__pycache__`. Repositories
//! inside the repository are listed as submodules. Symbolic links are listed and not followed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, Metadata};
use std::io::Read;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use anyhow::Context;
use ignore::{DirEntry, WalkBuilder, WalkState};
use rayon::prelude::*;

use crate::repo::blob::BlobId;
use crate::repo::commit_tree::{Listing, MAX_FILES};
use crate::repo::git::GitFolder;
use crate::repo::path::RepoPath;
use crate::repo::snapshot::{FileEntry, FileKind, Problem, SnapshotOptions};
use crate::repo::stat_cache::{Stamp, StatCache};

/// What the walk met, before anything is read.
#[derive(Default)]
struct Walked {
    files: Vec<(RepoPath, Metadata)>,
    repositories: Vec<RepoPath>,
    problems: Vec<Problem>,
}

pub(super) fn list(
    root: &Path,
    git: Option<&GitFolder>,
    options: &SnapshotOptions,
) -> anyhow::Result<Listing> {
    let mut walked = walk(root, git);
    let gitlinks = match git {
        Some(git) => add_tracked(root, git, &mut walked)?,
        None => BTreeMap::new(),
    };
    let mut listing = Listing { problems: walked.problems, ..Listing::default() };
    if MAX_FILES < walked.files.len() {
        walked.files.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        walked.files.truncate(MAX_FILES);
        listing.problems.push(Problem::TooManyFiles { limit: MAX_FILES });
    }
    for path in walked.repositories.into_iter().chain(gitlinks.keys().cloned()) {
        let blob = gitlinks.get(&path).copied().unwrap_or(BlobId::UNKNOWN);
        listing.files.insert(path, FileEntry { kind: FileKind::Submodule, bytes: 0, blob });
    }
    let cache = options.cache.as_deref();
    let full_root = root.canonicalize().with_context(|| format!("opening `{}`", root.display()))?;
    let known = cache.map(|cache| StatCache::read(cache, &full_root)).unwrap_or_default();
    let now = SystemTime::now();
    let hashed: Vec<_> = walked
        .files
        .into_par_iter()
        .map(|(path, metadata)| {
            let stamp = Stamp::of(&metadata);
            let known = known.get(path.as_str(), stamp);
            let entry = read_entry(root, &path, &metadata, known, options.max_file_bytes);
            (path, stamp, known.is_some(), entry)
        })
        .collect();
    let n_known = hashed.iter().filter(|(_, _, known, _)| *known).count();
    let mut stamps = Vec::with_capacity(hashed.len());
    for (path, stamp, _, entry) in hashed {
        match entry {
            Ok(entry) => {
                if entry.blob != BlobId::UNKNOWN {
                    stamps.push((path.as_str().to_owned(), stamp, entry.blob));
                }
                listing.files.insert(path, entry);
            }
            // A file that went away since the walk was never there.
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => {}
            Err(err) => {
                let path = path.as_str().to_owned();
                listing.problems.push(Problem::Unreadable { path, why: err.to_string() });
            }
        }
    }
    if let Some(cache) = cache
        && (n_known < stamps.len() || n_known < known.len())
        && let Err(err) = StatCache::write(cache, &full_root, now, stamps.into_iter())
    {
        tracing::debug!("the ids of unchanged files are not remembered: {err:#}");
    }
    listing.problems.sort();
    Ok(listing)
}

fn walk(root: &Path, git: Option<&GitFolder>) -> Walked {
    // In a folder that the repository around it ignores (a scratch copy in `target/`, say), the
    // rules of that repository would leave out everything.
    let obeys_parents = git.is_some_and(|git| {
        let folder = git.prefix.trim_end_matches('/');
        !folder.is_empty() && !git.repository.is_path_ignored(folder).unwrap_or(false)
    });
    let mut builder = WalkBuilder::new(root);
    builder.hidden(false).ignore(false).require_git(false).parents(obeys_parents);
    builder.follow_links(false).threads(rayon::current_num_threads());
    builder.filter_entry(|entry| entry.depth() == 0 || entry.file_name() != ".git");
    let in_git = git.is_some();
    let walked = Mutex::new(Walked::default());
    builder.build_parallel().run(|| {
        Box::new(|entry| {
            let (met, next) = match entry {
                Ok(entry) => meet(root, &entry, in_git),
                Err(err) => {
                    let (path, why) = (root.display().to_string(), err.to_string());
                    (Met::Problem(Problem::Unreadable { path, why }), WalkState::Continue)
                }
            };
            let mut walked = walked.lock().unwrap_or_else(PoisonError::into_inner);
            match met {
                Met::Nothing => {}
                Met::File(path, metadata) => walked.files.push((path, metadata)),
                Met::Repository(path) => walked.repositories.push(path),
                Met::Problem(problem) => walked.problems.push(problem),
            }
            next
        })
    });
    walked.into_inner().unwrap_or_else(PoisonError::into_inner)
}

enum Met {
    Nothing,
    File(RepoPath, Metadata),
    Repository(RepoPath),
    Problem(Problem),
}

fn meet(root: &Path, entry: &DirEntry, in_git: bool) -> (Met, WalkState) {
    if entry.depth() == 0 {
        return (Met::Nothing, WalkState::Continue);
    }
    let is_folder = entry.file_type().is_some_and(|kind| kind.is_dir());
    // Without git around it, a folder of repositories is one big folder.
    let is_repository = is_folder && in_git && entry.path().join(".git").exists();
    if is_folder && !is_repository {
        let leave_out = is_installed(entry.path());
        return (Met::Nothing, if leave_out { WalkState::Skip } else { WalkState::Continue });
    }
    let below = entry.path().strip_prefix(root).unwrap_or(entry.path());
    let path = match parse(below) {
        Ok(path) => path,
        Err(problem) => return (Met::Problem(problem), WalkState::Skip),
    };
    if is_repository {
        return (Met::Repository(path), WalkState::Skip);
    }
    let met = match entry.metadata() {
        Ok(metadata) if metadata.is_file() || metadata.is_symlink() => Met::File(path, metadata),
        Ok(_) => Met::Nothing,
        Err(err) => {
            let (path, why) = (path.as_str().to_owned(), err.to_string());
            Met::Problem(Problem::Unreadable { path, why })
        }
    };
    (met, WalkState::Continue)
}

fn parse(below: &Path) -> Result<RepoPath, Problem> {
    let unusable = |why: String| {
        let path = below.to_string_lossy().escape_debug().to_string();
        Problem::UnusablePath { path, why }
    };
    let text = below.to_str().ok_or_else(|| unusable("its name is not UTF-8".into()))?;
    #[cfg(windows)]
    let text = &text.replace('\\', "/");
    RepoPath::parse(text).map_err(|why| unusable(why.to_string()))
}

/// Whether a folder holds what a package manager put there.
fn is_installed(folder: &Path) -> bool {
    let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    matches!(name, "node_modules" | "__pycache__") || folder.join("pyvenv.cfg").exists()
}

/// Adds what git tracks although it is ignored, and gives back the submodules.
fn add_tracked(
    root: &Path,
    git: &GitFolder,
    walked: &mut Walked,
) -> anyhow::Result<BTreeMap<RepoPath, BlobId>> {
    let index = git
        .repository
        .index()
        .with_context(|| format!("reading the git index of `{}`", root.display()))?;
    let seen: BTreeSet<RepoPath> = walked.files.iter().map(|(path, _)| path.clone()).collect();
    let mut submodules = BTreeMap::new();
    for entry in index.iter() {
        let Some(below) = entry.path.strip_prefix(git.prefix.as_bytes()) else { continue };
        // Paths that do not parse are the walk's to report.
        let Ok(Ok(path)) = std::str::from_utf8(below).map(RepoPath::parse) else { continue };
        if entry.mode == 0o160_000 {
            submodules.insert(path, entry.id.into());
            continue;
        }
        if seen.contains(&path) || has_link_above(root, &path) {
            continue;
        }
        if let Ok(metadata) = root.join(path.as_str()).symlink_metadata()
            && (metadata.is_file() || metadata.is_symlink())
        {
            walked.files.push((path, metadata));
        }
    }
    Ok(submodules)
}

fn has_link_above(root: &Path, path: &RepoPath) -> bool {
    let mut above = Path::new(path.as_str()).ancestors().skip(1);
    above.any(|folder| {
        folder != Path::new("")
            && root.join(folder).symlink_metadata().is_ok_and(|m| m.is_symlink())
    })
}

fn read_entry(
    root: &Path,
    path: &RepoPath,
    metadata: &Metadata,
    known: Option<BlobId>,
    max_file_bytes: u64,
) -> std::io::Result<FileEntry> {
    let on_disk = root.join(path.as_str());
    let bytes = metadata.len();
    if metadata.is_symlink() {
        let target = std::fs::read_link(&on_disk)?;
        let blob = BlobId::of(target.as_os_str().as_encoded_bytes());
        return Ok(FileEntry { kind: FileKind::Symlink, bytes, blob });
    }
    #[cfg(unix)]
    let is_executable =
        std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o111 != 0;
    #[cfg(not(unix))]
    let is_executable = false;
    let kind = if is_executable { FileKind::Executable } else { FileKind::Regular };
    let blob = match known {
        Some(blob) => blob,
        None if max_file_bytes < bytes => BlobId::UNKNOWN,
        None => {
            let mut content = Vec::with_capacity(bytes as usize + 1);
            File::open(&on_disk)?.take(max_file_bytes + 1).read_to_end(&mut content)?;
            BlobId::of(&content)
        }
    };
    Ok(FileEntry { kind, bytes, blob })
}
