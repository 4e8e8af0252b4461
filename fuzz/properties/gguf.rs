//! A model file's header.

use std::fs;
use std::path::Path;

use sorft::model::local::gguf::Gguf;

use super::scratch;

/// What is read of a damaged file lies within it.
pub(crate) fn check(data: &[u8]) {
    scratch::with_file("model.gguf", data, |path: &Path| {
        let Ok(file) = Gguf::open(path) else { return };
        let len = fs::metadata(path).expect("the file is there").len();
        for (name, info) in file.tensors() {
            let (_, bytes) = file.tensor(name).expect("a listed tensor is there");
            assert_eq!(info.encoding.n_bytes(&info.shape), Some(bytes.len()), "{name}");
        }
        let entries: usize = file.entries().iter().map(|(_, bytes)| bytes.len()).sum();
        assert!(entries as u64 <= len, "{entries} bytes of entries in {len}");
        assert!(file.alignment().is_power_of_two());
    });
}
