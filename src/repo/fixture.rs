//! Several files in one string, for tests.

use std::collections::BTreeMap;

use crate::repo::path::RepoPath;
use crate::repo::snapshot::Snapshot;

/// Reads files from a text in which a line `//- /path/of/file` starts each of them.
///
/// # Panics
/// Where the text does not start with such a line, or a path does not parse.
#[track_caller]
pub fn files(text: &str) -> BTreeMap<RepoPath, Vec<u8>> {
    let mut files: Vec<(RepoPath, Vec<u8>)> = Vec::new();
    for line in text.trim_start_matches('\n').split_inclusive('\n') {
        if let Some(path) = line.trim().strip_prefix("//- /") {
            files.push((RepoPath::parse(path).expect("a path behind `//- /`"), Vec::new()));
        } else {
            let (_, bytes) = files.last_mut().expect("a fixture starts with `//- /path`");
            bytes.extend_from_slice(line.as_bytes());
        }
    }
    files.into_iter().collect()
}

/// The snapshot of [`files`].
#[track_caller]
pub fn snapshot(text: &str) -> Snapshot {
    Snapshot::from_files(files(text))
}
