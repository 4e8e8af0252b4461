//! The weights of a Hugging Face folder.

use std::fs;

use serde_json::Value;
use sorft::model::local::safetensors::SafetensorsFiles;

use super::scratch;

/// What is read of a damaged file lies within it.
pub(crate) fn check(data: &[u8]) {
    scratch::with_file("model.safetensors", data, |path| {
        let folder = path.parent().expect("a file lies in a folder");
        let Ok(files) = SafetensorsFiles::open(folder) else { return };
        let len = fs::metadata(path).expect("the file is there").len();
        for name in names(data) {
            let Some(tensor) = files.tensor(&name) else { continue };
            assert!(tensor.bytes.len() as u64 <= len, "{name}");
            assert_eq!(tensor.encoding.n_bytes(&tensor.shape), Some(tensor.bytes.len()), "{name}");
        }
    });
}

/// The names in the header, read by other means: eight bytes of length, then JSON.
fn names(data: &[u8]) -> Vec<String> {
    let Some((_, rest)) = data.split_at_checked(8) else { return Vec::new() };
    let mut values = serde_json::Deserializer::from_slice(rest).into_iter::<Value>();
    match values.next() {
        Some(Ok(Value::Object(header))) => header.keys().cloned().collect(),
        _ => Vec::new(),
    }
}
