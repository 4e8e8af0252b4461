//! What stands before the tensor data.

use std::collections::BTreeMap;
use std::ops::Range;

use thiserror::Error;

use crate::model::local::gguf::encoding::Encoding;

/// What stands before the tensor data.
#[derive(Debug, PartialEq)]
pub(super) struct Header {
    pub(super) version: u32,
    pub(super) metadata: BTreeMap<String, Value>,
    /// Where each entry of the metadata lies, key included.
    pub(super) entries: BTreeMap<String, Range<usize>>,
    pub(super) tensors: BTreeMap<String, TensorInfo>,
}

pub(super) const ALIGNMENT: &str = "general.alignment";
pub(super) const DEFAULT_ALIGNMENT: usize = 32;

/// Where one tensor lies in the file, and what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    pub encoding: Encoding,
    /// Outermost dimension first, unlike in the file.
    pub shape: Vec<usize>,
    pub(super) start: usize,
    pub(super) n_bytes: usize,
}

/// One metadata value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
    Text(String),
    Texts(Vec<String>),
    Integers(Vec<i64>),
    /// An array of something that no key sorft reads holds.
    Other,
}

/// Why a file is no GGUF file that can be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GgufError {
    #[error("not a GGUF file: it starts with {found:02x?}")]
    Magic { found: Vec<u8> },
    #[error("GGUF version {0} is not supported (2 and 3 are)")]
    Version(u32),
    #[error("the file ends inside {what} at byte {at}: it is truncated or damaged")]
    Truncated { what: &'static str, at: usize },
    #[error("{what} claims {count} entries, more than the file can hold")]
    Count { what: &'static str, count: u64 },
    #[error("{what} is not valid UTF-8")]
    Utf8 { what: &'static str },
    #[error("metadata `{key}` has the unknown value type {code}")]
    ValueType { key: String, code: u32 },
    #[error("`{name}` appears twice")]
    Twice { name: String },
    #[error("tensor `{name}` has {n_dims} dimensions (1 to 4 are allowed)")]
    Dimensions { name: String, n_dims: u32 },
    #[error("tensor `{name}` is stored as GGML type {code}, which is not supported")]
    TensorType { name: String, code: u32 },
    #[error("tensor `{name}` has an impossible shape {shape:?}")]
    Shape { name: String, shape: Vec<u64> },
    #[error(
        "tensor `{name}` lies at {start}..{end}, outside the file's {file_len} bytes: it is \
         truncated or damaged"
    )]
    Outside { name: String, start: u64, end: u64, file_len: usize },
    #[error("`general.alignment` is {0}, which is no power of two below 64 KiB")]
    Alignment(u64),
}

pub(super) fn parse_header(bytes: &[u8]) -> Result<Header, GgufError> {
    let mut reader = Reader { bytes, at: 0 };
    let magic = &bytes[..bytes.len().min(4)];
    if magic != b"GGUF" {
        return Err(GgufError::Magic { found: magic.to_vec() });
    }
    reader.at = 4;
    let version = reader.u32("the version")?;
    if !matches!(version, 2 | 3) {
        return Err(GgufError::Version(version));
    }
    // A tensor entry takes at least 32 bytes, a metadata entry at least 13.
    let n_tensors = reader.u64("the tensor count")?;
    let n_values = reader.u64("the metadata count")?;
    let n_tensors = reader.count("the tensor list", n_tensors, 32)?;
    let n_values = reader.count("the metadata", n_values, 13)?;

    let (mut metadata, mut entries) = (BTreeMap::new(), BTreeMap::new());
    for _ in 0..n_values {
        let start = reader.at;
        let key = reader.text("a metadata key")?;
        let code = reader.u32("a metadata type")?;
        let value = reader.value(&key, code)?;
        entries.insert(key.clone(), start..reader.at);
        if metadata.insert(key.clone(), value).is_some() {
            return Err(GgufError::Twice { name: key });
        }
    }

    let mut placed = Vec::with_capacity(n_tensors);
    for _ in 0..n_tensors {
        placed.push(reader.tensor()?);
    }
    let alignment = match metadata.get(ALIGNMENT) {
        None => DEFAULT_ALIGNMENT,
        Some(Value::Unsigned(n)) if n.is_power_of_two() && *n < 65_536 => *n as usize,
        Some(Value::Unsigned(n)) => return Err(GgufError::Alignment(*n)),
        Some(_) => return Err(GgufError::Alignment(0)),
    };
    let data_start = reader.at.next_multiple_of(alignment);
    let mut tensors = BTreeMap::new();
    for (name, encoding, shape, offset) in placed {
        let shape_error = || GgufError::Shape {
            name: name.clone(),
            shape: shape.iter().map(|&dim| dim as u64).collect(),
        };
        let n_bytes = encoding.n_bytes(&shape).ok_or_else(shape_error)?;
        let start = (data_start as u64).saturating_add(offset);
        let end = start.saturating_add(n_bytes as u64);
        if end > bytes.len() as u64 {
            let file_len = bytes.len();
            return Err(GgufError::Outside { name, start, end, file_len });
        }
        let info = TensorInfo { encoding, shape, start: start as usize, n_bytes };
        if tensors.insert(name.clone(), info).is_some() {
            return Err(GgufError::Twice { name });
        }
    }
    Ok(Header { version, metadata, entries, tensors })
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize, what: &'static str) -> Result<&'a [u8], GgufError> {
        let truncated = GgufError::Truncated { what, at: self.at };
        let end = self.at.checked_add(n).filter(|&end| end <= self.bytes.len()).ok_or(truncated)?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], GgufError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N, what)?);
        Ok(array)
    }

    fn u32(&mut self, what: &'static str) -> Result<u32, GgufError> {
        self.array(what).map(u32::from_le_bytes)
    }

    fn u64(&mut self, what: &'static str) -> Result<u64, GgufError> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// `count` as a length, if that many entries of `min_bytes` each still fit into the file.
    fn count(&self, what: &'static str, count: u64, min_bytes: u64) -> Result<usize, GgufError> {
        let left = (self.bytes.len() - self.at) as u64;
        if count > left / min_bytes {
            return Err(GgufError::Count { what, count });
        }
        Ok(count as usize)
    }

    fn text(&mut self, what: &'static str) -> Result<String, GgufError> {
        let n_bytes = self.u64(what)?;
        let n_bytes = self.count(what, n_bytes, 1)?;
        let bytes = self.take(n_bytes, what)?;
        std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| GgufError::Utf8 { what })
    }

    fn value(&mut self, key: &str, code: u32) -> Result<Value, GgufError> {
        const WHAT: &str = "a metadata value";
        Ok(match code {
            0 => Value::Unsigned(u64::from(u8::from_le_bytes(self.array(WHAT)?))),
            1 => Value::Signed(i64::from(i8::from_le_bytes(self.array(WHAT)?))),
            2 => Value::Unsigned(u64::from(u16::from_le_bytes(self.array(WHAT)?))),
            3 => Value::Signed(i64::from(i16::from_le_bytes(self.array(WHAT)?))),
            4 => Value::Unsigned(u64::from(self.u32(WHAT)?)),
            5 => Value::Signed(i64::from(i32::from_le_bytes(self.array(WHAT)?))),
            6 => Value::Float(f64::from(f32::from_le_bytes(self.array(WHAT)?))),
            7 => Value::Bool(self.array::<1>(WHAT)? != [0]),
            8 => Value::Text(self.text(WHAT)?),
            9 => return self.array_value(key),
            10 => Value::Unsigned(self.u64(WHAT)?),
            11 => Value::Signed(i64::from_le_bytes(self.array(WHAT)?)),
            12 => Value::Float(f64::from_le_bytes(self.array(WHAT)?)),
            _ => return Err(GgufError::ValueType { key: key.to_owned(), code }),
        })
    }

    fn array_value(&mut self, key: &str) -> Result<Value, GgufError> {
        const WHAT: &str = "a metadata array";
        let code = self.u32(WHAT)?;
        let count = self.u64(WHAT)?;
        let n_bytes = match code {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            8 | 10..=12 => 8,
            // Arrays of arrays, which no known key holds, are refused: they could nest without end.
            _ => return Err(GgufError::ValueType { key: key.to_owned(), code }),
        };
        let count = self.count(WHAT, count, n_bytes)?;
        match code {
            8 => (0..count).map(|_| self.text(WHAT)).collect::<Result<_, _>>().map(Value::Texts),
            0..=5 | 10 | 11 => {
                let mut integers = Vec::with_capacity(count);
                for _ in 0..count {
                    integers.push(match self.value(key, code)? {
                        Value::Signed(number) => number,
                        Value::Unsigned(number) => i64::try_from(number).unwrap_or(i64::MAX),
                        _ => unreachable!("these codes are integers"),
                    });
                }
                Ok(Value::Integers(integers))
            }
            _ => {
                self.take(count * n_bytes as usize, WHAT)?;
                Ok(Value::Other)
            }
        }
    }

    fn tensor(&mut self) -> Result<(String, Encoding, Vec<usize>, u64), GgufError> {
        const WHAT: &str = "a tensor entry";
        let name = self.text(WHAT)?;
        let n_dims = self.u32(WHAT)?;
        if !(1..=4).contains(&n_dims) {
            return Err(GgufError::Dimensions { name, n_dims });
        }
        let dims = (0..n_dims).map(|_| self.u64(WHAT)).collect::<Result<Vec<_>, _>>()?;
        let code = self.u32(WHAT)?;
        let Some(encoding) = Encoding::parse_ggml(code) else {
            return Err(GgufError::TensorType { name, code });
        };
        let Ok(shape) = dims.iter().rev().map(|&dim| usize::try_from(dim)).collect() else {
            return Err(GgufError::Shape { name, shape: dims });
        };
        Ok((name, encoding, shape, self.u64(WHAT)?))
    }
}

#[cfg(test)]
mod tests;
