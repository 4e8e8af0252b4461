//! Two texts: their line diff, the patch between them, and the edits that a model should write.

use std::collections::BTreeMap;

use sorft::diff::change::{FileChange, FileState};
use sorft::diff::lines::{diff_lines, split_lines};
use sorft::repo::snapshot::{FileKind, Snapshot};
use sorft::search_replace::apply::{Scope, apply_edits};
use sorft::search_replace::block::{parse_completion, render_answer};
use sorft::search_replace::fence::Ended;
use sorft::search_replace::minimal::minimal_edits;

use super::{demo, written};

/// The texts are divided by a zero byte.
pub(crate) fn check(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == 0);
    let (Some(before), Some(after)) = (parts.next(), parts.next()) else { return };
    check_lines(before, after);
    let state = |bytes: &[u8]| FileState {
        path: demo::path_of("a.py"),
        kind: FileKind::Regular,
        bytes: bytes.to_vec(),
    };
    let changes = if before.is_empty() {
        vec![FileChange::Created(state(after))]
    } else if after.is_empty() {
        vec![FileChange::Deleted(state(before))]
    } else {
        vec![FileChange::Changed { before: state(before), after: state(after) }]
    };
    written::check_patch(&changes);
    let Ok(edits) = minimal_edits(&changes, &Scope::default()) else { return };
    if edits.is_empty() {
        return assert_eq!(before, after);
    }
    let read = parse_completion(&render_answer(&edits), Ended::ByItself);
    assert_eq!(read.as_ref(), Ok(&edits));
    let files = changes.iter().filter_map(FileChange::before);
    let snapshot = Snapshot::from_files(
        files.map(|state| (state.path.clone(), state.bytes.clone())).collect(),
    );
    assert_eq!(apply_edits(&edits, &snapshot, &Scope::default()), Ok(changes));
}

/// The changes turn one into the other, apart from each other and in order.
fn check_lines(before: &[u8], after: &[u8]) {
    let (base, new) = (split_lines(before), split_lines(after));
    let changes = diff_lines(&base, &new);
    let mut made: Vec<&[u8]> = Vec::new();
    let mut done = 0;
    for change in &changes {
        assert!(!change.base.is_empty() || !change.new.is_empty());
        assert!(done < change.base.start || done == 0, "no equal line between two changes");
        made.extend(&base[done..change.base.start]);
        made.extend(&new[change.new.clone()]);
        done = change.base.end;
    }
    made.extend(&base[done..]);
    assert_eq!(made, new);
    // Equal lines that a diff does not use are those that another one uses in their place.
    let mut left: BTreeMap<&[u8], isize> = BTreeMap::new();
    base.iter().for_each(|line| *left.entry(line).or_default() += 1);
    new.iter().for_each(|line| *left.entry(line).or_default() -= 1);
    let n_least: usize = left.values().map(|n| n.unsigned_abs()).sum();
    let n_changed: usize = changes.iter().map(|change| change.base.len() + change.new.len()).sum();
    assert!(n_least <= n_changed);
}
