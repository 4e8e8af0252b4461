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
    // Two files may be made of one by copies, and one place taken twice by renames in a circle:
    // what the base then is, no list of changes tells.
    let n_from = changes.iter().filter_map(FileChange::before).count();
    if n_from == base.len() {
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
