//! The repository of the demo, in memory.

use std::sync::{Arc, LazyLock};

use sorft::index::{Index, IndexOptions};
use sorft::repo::path::RepoPath;
use sorft::repo::snapshot::Snapshot;

macro_rules! file {
    ($path:literal) => {
        ($path, include_str!(concat!("../../fixtures/demo/repo/", $path)))
    };
}

const FILES: &[(&str, &str)] = &[
    file!("README.md"),
    file!("timesheet/__init__.py"),
    file!("timesheet/__main__.py"),
    file!("timesheet/durations.py"),
    file!("timesheet/entries.py"),
    file!("timesheet/report.py"),
    file!("tests/test_durations.py"),
    file!("tests/test_entries.py"),
    file!("tests/test_report.py"),
];

static INDEX: LazyLock<Arc<Index>> = LazyLock::new(|| {
    let files = FILES.iter().map(|(path, text)| (path_of(path), text.as_bytes().to_vec()));
    let snapshot = Arc::new(Snapshot::from_files(files.collect()));
    Arc::new(Index::build(snapshot, &IndexOptions::default()).expect("the demo can be indexed"))
});

pub(crate) fn index() -> &'static Arc<Index> {
    &INDEX
}

pub(crate) fn path_of(text: &str) -> RepoPath {
    RepoPath::parse(text).expect("a plain path")
}
