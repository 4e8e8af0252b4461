//! Which paths the ancestors of a commit changed.

use anyhow::Context;
use git2::{DiffOptions, Oid, Repository, Sort};

use crate::repo::path::RepoPath;
use crate::repo::snapshot::PastChange;

/// Compares trees only: no blob is read, so that their absence does no harm. History that is cut
/// off (a shallow clone) ends there.
pub(super) fn past_changes(
    repository: &Repository,
    base: Oid,
    prefix: &str,
    n_commits: usize,
) -> anyhow::Result<Vec<PastChange>> {
    let mut walk = repository.revwalk().context("walking the history")?;
    walk.set_sorting(Sort::TOPOLOGICAL | Sort::TIME).context("walking the history")?;
    walk.push(base).with_context(|| format!("walking the history of {base}"))?;
    let mut options = DiffOptions::new();
    options.skip_binary_check(true).ignore_submodules(true);
    if !prefix.is_empty() {
        options.pathspec(prefix).disable_pathspec_match(true);
    }
    let mut changes = Vec::new();
    for id in walk.take(n_commits) {
        let Ok(commit) = id.and_then(|id| repository.find_commit(id)) else { break };
        if 1 < commit.parent_count() {
            continue;
        }
        let tree = commit.tree().ok();
        let parent = match commit.parent_count() {
            0 => None,
            _ => match commit.parent(0).and_then(|parent| parent.tree()) {
                Ok(tree) => Some(tree),
                Err(_) => continue,
            },
        };
        let diff = repository.diff_tree_to_tree(parent.as_ref(), tree.as_ref(), Some(&mut options));
        let Ok(diff) = diff else { continue };
        let path_of = |delta: git2::DiffDelta<'_>| {
            let path = delta.new_file().path()?.to_str()?.strip_prefix(prefix)?;
            RepoPath::parse(path).ok()
        };
        let mut paths: Vec<RepoPath> = diff.deltas().filter_map(path_of).collect();
        paths.sort_unstable();
        paths.dedup();
        if !paths.is_empty() {
            changes.push(PastChange {
                commit: commit.id().into(),
                time: commit.time().seconds(),
                paths,
            });
        }
    }
    Ok(changes)
}
