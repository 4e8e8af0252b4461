//! GGUF files (versions 2 and 3), read as untrusted input and mapped into memory.
//!
//! Only the container: what its keys mean is `config` and `tokenizer`'s business. Every count,
//! size and offset is checked against the file before it is used.

mod encoding;
mod header;

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

pub use crate::model::local::gguf::encoding::Encoding;
use crate::model::local::gguf::header::{ALIGNMENT, DEFAULT_ALIGNMENT, Header, parse_header};
pub use crate::model::local::gguf::header::{GgufError, TensorInfo, Value};
use crate::model::local::mapped_file::MappedFile;

/// An opened GGUF file: its metadata, and where its tensors lie.
#[derive(Debug)]
pub struct Gguf {
    path: PathBuf,
    map: MappedFile,
    header: Header,
}

impl Gguf {
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot open `{}`", path.display()))?;
        let map =
            MappedFile::new(&file).with_context(|| format!("cannot map `{}`", path.display()))?;
        let header = parse_header(&map)
            .with_context(|| format!("cannot read the model file `{}`", path.display()))?;
        Ok(Self { path: path.to_path_buf(), map, header })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn value(&self, key: &str) -> Option<&Value> {
        self.header.metadata.get(key)
    }

    pub fn text(&self, key: &str) -> Option<&str> {
        match self.value(key)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn texts(&self, key: &str) -> Option<&[String]> {
        match self.value(key)? {
            Value::Texts(texts) => Some(texts),
            _ => None,
        }
    }

    pub fn integers(&self, key: &str) -> Option<&[i64]> {
        match self.value(key)? {
            Value::Integers(integers) => Some(integers),
            _ => None,
        }
    }

    /// A count or an id: `None` where it is absent, negative or no integer.
    pub fn unsigned(&self, key: &str) -> Option<usize> {
        match *self.value(key)? {
            Value::Unsigned(number) => usize::try_from(number).ok(),
            Value::Signed(number) => usize::try_from(number).ok(),
            _ => None,
        }
    }

    pub fn float(&self, key: &str) -> Option<f64> {
        match *self.value(key)? {
            Value::Float(number) => Some(number),
            Value::Unsigned(number) => Some(number as f64),
            Value::Signed(number) => Some(number as f64),
            _ => None,
        }
    }

    pub fn flag(&self, key: &str) -> Option<bool> {
        match *self.value(key)? {
            Value::Bool(flag) => Some(flag),
            _ => None,
        }
    }

    /// The version of the format, 2 or 3.
    pub fn version(&self) -> u32 {
        self.header.version
    }

    /// The keys of the metadata with their entries' bytes, key included, in the file's order.
    pub fn entries(&self) -> Vec<(&str, &[u8])> {
        let mut entries: Vec<_> = self.header.entries.iter().collect();
        entries.sort_by_key(|(_, place)| place.start);
        entries.into_iter().map(|(key, place)| (key.as_str(), &self.map[place.clone()])).collect()
    }

    /// Bytes that the start of a tensor is a multiple of.
    pub fn alignment(&self) -> usize {
        self.unsigned(ALIGNMENT).unwrap_or(DEFAULT_ALIGNMENT)
    }

    pub fn tensors(&self) -> impl Iterator<Item = (&str, &TensorInfo)> {
        self.header.tensors.iter().map(|(name, info)| (name.as_str(), info))
    }

    /// The names of the tensors, in the order of their numbers in the file.
    pub fn placed(&self) -> Vec<&str> {
        let mut tensors: Vec<_> = self.tensors().collect();
        tensors.sort_by_key(|(_, info)| info.start);
        tensors.into_iter().map(|(name, _)| name).collect()
    }

    pub fn tensor(&self, name: &str) -> Option<(&TensorInfo, &[u8])> {
        let info = self.header.tensors.get(name)?;
        Some((info, &self.map[info.start..info.start + info.n_bytes]))
    }

    /// Gives back the memory that tensors read so far take.
    pub fn forget_read(&self) {
        self.map.forget_read();
    }
}
