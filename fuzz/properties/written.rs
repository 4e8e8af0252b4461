//! Changes that were accepted: inside the repository, and the same once written and read.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Component, Path};

use sorft::diff::change::{FileChange, FileState};
use sorft::diff::lines::split_lines;
use sorft::diff::patch::Patch;
use sorft::diff::render::render;
use sorft::repo::path::RepoPath;
use sorft::repo::snapshot::FileKind;

/// Asks the path of every change, by other means than ours.
pub(crate) fn check_inside(changes: &[FileChange]) {
    let states = changes.iter().flat_map(|change| [change.before(), change.after()]).flatten();
    for path in states.map(|state| &state.path) {
        for part in Path::new(path.as_str()).components() {
            let Component::Normal(part) = part else { panic!("{path} leaves the repository") };
            assert!(!part.eq_ignore_ascii_case(".git"), "{path} is git's own");
        }
        assert!(!path.as_str().contains(char::is_control), "{path:?} hides something");
    }
}

/// A patch that is written, read and applied to the same files makes the same changes.
pub(crate) fn check_patch(changes: &[FileChange]) {
    let patch = render(changes);
    let read = Patch::parse(&patch)
        .unwrap_or_else(|why| panic!("{why}\n{}", String::from_utf8_lossy(&patch)));
    let base: BTreeMap<RepoPath, FileState> = changes
        .iter()
        .filter_map(FileChange::before)
        .map(|state| (state.path.clone(), state.clone()))
        .collect();
    let mut again = read
        .apply(&base)
        .unwrap_or_else(|why| panic!("{why}\n{}", String::from_utf8_lossy(&patch)));
    let mut wanted: Vec<FileChange> = changes.iter().flat_map(as_git_says_it).collect();
    again.sort_by_key(|change| change.path().clone());
    wanted.sort_by_key(|change| change.path().clone());
    assert_eq!(again, wanted, "{}", String::from_utf8_lossy(&patch));
}

/// Git has no word for a file that goes elsewhere and becomes a link, or the reverse.
fn as_git_says_it(change: &FileChange) -> Vec<FileChange> {
    match change {
        change if !change.is_real() => Vec::new(),
        FileChange::Changed { before, after }
            if before.path != after.path && is_link(before) != is_link(after) =>
        {
            vec![FileChange::Deleted(before.clone()), FileChange::Created(after.clone())]
        }
        change => vec![change.clone()],
    }
}

fn is_link(state: &FileState) -> bool {
    matches!(state.kind, FileKind::Symlink | FileKind::Submodule)
}

/// What stands above the first window and below the last is as it was.
pub(crate) fn check_windows(before: &[u8], after: &[u8], windows: &[Range<usize>]) {
    let (base, new) = (split_lines(before), split_lines(after));
    let Some(first) = windows.iter().map(|window| window.start).min() else {
        return assert_eq!(base, new, "a file without a window is changed");
    };
    let last = windows.iter().map(|window| window.end).max().unwrap_or(first);
    let above = &base[..first.min(base.len())];
    let below = &base[last.min(base.len())..];
    assert!(new.starts_with(above), "lines above the windows are changed");
    assert!(new.ends_with(below), "lines below the windows are changed");
}
