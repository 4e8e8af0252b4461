//! A model's file as bytes, without reading it as a whole.

use std::fs::File;
use std::ops::Deref;

use memmap2::Mmap;

/// A file that is mapped into memory, and only read.
#[derive(Debug)]
pub struct MappedFile(Mmap);

impl MappedFile {
    #[expect(
        unsafe_code,
        reason = "mapping a file is unsafe, and reading it would double the memory"
    )]
    pub fn new(file: &File) -> std::io::Result<Self> {
        // SAFETY: the map is only read. A file that another process shortens meanwhile ends this
        // process by a signal, one that it overwrites yields wrong numbers: neither breaks memory
        // safety here, since tensor bytes are plain numbers.
        unsafe { Mmap::map(file) }.map(Self)
    }

    /// Gives back the memory that what was read so far takes; read again, it comes from the file.
    #[cfg(unix)]
    #[expect(unsafe_code, reason = "pages of other kinds of maps would be lost")]
    pub fn forget_read(&self) {
        // SAFETY: a shared map of a file has no contents of its own, so nothing is lost.
        // Where the system refuses, memory stays in use.
        drop(unsafe { self.0.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) });
    }

    #[cfg(not(unix))]
    pub fn forget_read(&self) {}
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_forgotten_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights");
        let content: Vec<u8> = (0..100_000_u32).map(|number| number as u8).collect();
        std::fs::write(&path, &content).unwrap();
        let mapped = MappedFile::new(&File::open(&path).unwrap()).unwrap();
        assert!(mapped[..] == content[..]);
        mapped.forget_read();
        assert!(mapped[..] == content[..]);
    }
}
