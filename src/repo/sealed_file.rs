//! Cache files that are either whole or not there.
//!
//! A file is written beside its place and renamed, so that another process sees the old one or
//! the new one; its checksum tells when a disk or a crash left something else.

use std::io::Write;
use std::path::Path;

use anyhow::Context;
use sha1::{Digest, Sha1};

const CHECKSUM_BYTES: usize = 20;

/// The content of a sealed file of this kind and version; `None` where it is absent, of another
/// kind, or damaged.
pub fn read(path: &Path, kind: &[u8; 8]) -> Option<Vec<u8>> {
    let mut bytes = std::fs::read(path).ok()?;
    let content_at = kind.len() + CHECKSUM_BYTES;
    if bytes.len() < content_at || !bytes.starts_with(kind) {
        return None;
    }
    let checksum: [u8; CHECKSUM_BYTES] = Sha1::digest(&bytes[content_at..]).into();
    if bytes[kind.len()..content_at] != checksum {
        return None;
    }
    bytes.drain(..content_at);
    Some(bytes)
}

/// Replaces the file in one step.
pub fn write(path: &Path, kind: &[u8; 8], content: &[u8]) -> anyhow::Result<()> {
    let folder = path.parent().context("a cache file has a folder")?;
    let context = || format!("writing the cache file `{}`", path.display());
    std::fs::create_dir_all(folder).with_context(context)?;
    let mut file = tempfile::NamedTempFile::new_in(folder).with_context(context)?;
    file.write_all(kind).with_context(context)?;
    file.write_all(&Sha1::digest(content)).with_context(context)?;
    file.write_all(content).with_context(context)?;
    file.persist(path).with_context(context)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_file_counts_as_absent() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/x.bin");
        assert_eq!(read(&path, b"kind 001"), None);
        write(&path, b"kind 001", b"content").unwrap();
        assert_eq!(read(&path, b"kind 001").as_deref(), Some(&b"content"[..]));
        assert_eq!(read(&path, b"kind 002"), None);
        let whole = std::fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            assert_eq!(read(&path, b"kind 001"), None, "cut at {cut}");
            let mut flipped = whole.clone();
            flipped[cut] ^= 1;
            std::fs::write(&path, flipped).unwrap();
            assert_eq!(read(&path, b"kind 001"), None, "flipped at {cut}");
        }
    }
}
