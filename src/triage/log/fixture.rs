//! Small repositories for the tests of triage.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::index::{Index, IndexOptions};
use crate::repo::path::RepoPath;
use crate::repo::snapshot::Snapshot;

pub(crate) fn index_of(files: &[(&str, &str)]) -> Index {
    let file =
        |(path, text): &(&str, &str)| (RepoPath::parse(path).unwrap(), text.as_bytes().to_vec());
    let files: BTreeMap<RepoPath, Vec<u8>> = files.iter().map(file).collect();
    Index::build(Arc::new(Snapshot::from_files(files)), &IndexOptions::default()).unwrap()
}
