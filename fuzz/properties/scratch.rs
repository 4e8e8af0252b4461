//! One folder for each thread, for what is read from disk.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

thread_local! {
    static FOLDER: TempDir = tempfile::tempdir().expect("a folder for temporary files");
}

/// Writes a file, and hands its path over.
pub(crate) fn with_file(name: &str, data: &[u8], read: impl FnOnce(&Path)) {
    FOLDER.with(|folder| {
        let path = folder.path().join(name);
        fs::write(&path, data).expect("a temporary file can be written");
        read(&path);
    });
}
