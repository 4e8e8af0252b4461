//! A patch that somebody else wrote.

use std::collections::BTreeMap;

use sorft::diff::change::{FileChange, FileState};
use sorft::diff::patch::{Body, FilePatch, Hunk, HunkLine, Operation, Patch};
use sorft::repo::path::RepoPath;
use sorft::repo::snapshot::FileKind;

use super::written;

/// What can be read can be applied to files made to fit it, and written again.
pub(crate) fn check(data: &[u8]) {
    let Ok(patch) = Patch::parse(data) else { return };
    for path in patch.base_paths() {
        assert_eq!(RepoPath::parse(path.as_str()).as_ref(), Ok(path));
    }
    let mut base: BTreeMap<RepoPath, FileState> = BTreeMap::new();
    for file in &patch.files {
        let path = match &file.operation {
            Operation::Create(_) => continue,
            Operation::Modify(path) | Operation::Delete(path) => path,
            Operation::Rename { from, .. } | Operation::Copy { from, .. } => from,
        };
        let Some(bytes) = fitting(file) else { return };
        let state = FileState { path: path.clone(), kind: FileKind::Regular, bytes };
        if base.insert(path.clone(), state).is_some() {
            return;
        }
    }
    let Ok(changes) = patch.apply(&base) else { return };
    written::check_inside(&changes);
    // Where one file takes the place of another that goes elsewhere, or two are copies of one, the
    // order matters, which changes do not tell; edits of ours never do either.
    let befores: Vec<&RepoPath> =
        changes.iter().filter_map(FileChange::before).map(|before| &before.path).collect();
    let takes_a_place = |change: &FileChange| {
        change.before().is_none_or(|before| before.path != *change.path())
            && befores.contains(&change.path())
    };
    if befores.len() == base.len() && !changes.iter().any(takes_a_place) {
        written::check_patch(&changes);
    }
}

/// A file that the hunks fit; `None` where they start too far down, or one above the other.
fn fitting(file: &FilePatch) -> Option<Vec<u8>> {
    let Body::Hunks(hunks) = &file.body else { return Some(Vec::new()) };
    let (mut bytes, mut n_lines) = (Vec::new(), 0);
    for Hunk { base_start, lines } in hunks {
        if *base_start < n_lines || 5_000 < *base_start {
            return None;
        }
        for line in n_lines..*base_start {
            bytes.extend(format!("filler {line}\n").bytes());
        }
        n_lines = *base_start;
        for line in lines {
            if let HunkLine::Context(text) | HunkLine::Delete(text) = line {
                bytes.extend(text);
                n_lines += 1;
            }
        }
    }
    Some(bytes)
}
