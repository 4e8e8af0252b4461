//! GGUF files (versions 2 and 3), read as untrusted input and mapped into memory.
//!
//! Only the container: what its keys mean is `config` and `tokenizer`'s business. Every count,
//! size and offset is checked against the file before it is used.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use candle_core::quantized::GgmlDType;
use memmap2::Mmap;
use thiserror::Error;

/// An opened GGUF file: its metadata, and where its tensors lie.
#[derive(Debug)]
pub struct Gguf {
    path: PathBuf,
    map: Mmap,
    header: Header,
}

/// What stands before the tensor data.
#[derive(Debug, PartialEq)]
struct Header {
    version: u32,
    metadata: BTreeMap<String, Value>,
    /// Where each entry of the metadata lies, key included.
    entries: BTreeMap<String, Range<usize>>,
    tensors: BTreeMap<String, TensorInfo>,
}

const ALIGNMENT: &str = "general.alignment";
const DEFAULT_ALIGNMENT: usize = 32;

/// Where one tensor lies in the file, and what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    pub encoding: Encoding,
    /// Outermost dimension first, unlike in the file.
    pub shape: Vec<usize>,
    start: usize,
    n_bytes: usize,
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

/// How the numbers of a tensor are stored: GGML's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Encoding {
    F32,
    F16,
    Bf16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
}

impl Encoding {
    /// GGML's number of it.
    pub fn code(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q4_0 => 2,
            Self::Q4_1 => 3,
            Self::Q5_0 => 6,
            Self::Q5_1 => 7,
            Self::Q8_0 => 8,
            Self::Q2K => 10,
            Self::Q3K => 11,
            Self::Q4K => 12,
            Self::Q5K => 13,
            Self::Q6K => 14,
            Self::Bf16 => 30,
        }
    }

    fn parse_ggml(code: u32) -> Option<Self> {
        Some(match code {
            0 => Self::F32,
            1 => Self::F16,
            2 => Self::Q4_0,
            3 => Self::Q4_1,
            6 => Self::Q5_0,
            7 => Self::Q5_1,
            8 => Self::Q8_0,
            10 => Self::Q2K,
            11 => Self::Q3K,
            12 => Self::Q4K,
            13 => Self::Q5K,
            14 => Self::Q6K,
            30 => Self::Bf16,
            _ => return None,
        })
    }

    /// The same, as the tensor library calls it.
    pub fn ggml(self) -> GgmlDType {
        match self {
            Self::F32 => GgmlDType::F32,
            Self::F16 => GgmlDType::F16,
            Self::Bf16 => GgmlDType::BF16,
            Self::Q4_0 => GgmlDType::Q4_0,
            Self::Q4_1 => GgmlDType::Q4_1,
            Self::Q5_0 => GgmlDType::Q5_0,
            Self::Q5_1 => GgmlDType::Q5_1,
            Self::Q8_0 => GgmlDType::Q8_0,
            Self::Q2K => GgmlDType::Q2K,
            Self::Q3K => GgmlDType::Q3K,
            Self::Q4K => GgmlDType::Q4K,
            Self::Q5K => GgmlDType::Q5K,
            Self::Q6K => GgmlDType::Q6K,
        }
    }

    /// Numbers in one block, and its bytes.
    pub fn block(self) -> (usize, usize) {
        match self {
            Self::F32 => (1, 4),
            Self::F16 | Self::Bf16 => (1, 2),
            Self::Q4_0 => (32, 18),
            Self::Q4_1 => (32, 20),
            Self::Q5_0 => (32, 22),
            Self::Q5_1 => (32, 24),
            Self::Q8_0 => (32, 34),
            Self::Q2K => (256, 84),
            Self::Q3K => (256, 110),
            Self::Q4K => (256, 144),
            Self::Q5K => (256, 176),
            Self::Q6K => (256, 210),
        }
    }

    /// Bytes of a tensor of that shape; `None` where rows are no whole blocks or it overflows.
    pub fn n_bytes(self, shape: &[usize]) -> Option<usize> {
        let (block_len, block_bytes) = self.block();
        let row_len = shape.last().copied().unwrap_or(1);
        if !row_len.is_multiple_of(block_len) {
            return None;
        }
        let n_numbers = shape.iter().try_fold(1_usize, |product, &dim| product.checked_mul(dim))?;
        (n_numbers / block_len).checked_mul(block_bytes)
    }
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

impl Gguf {
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot open `{}`", path.display()))?;
        let map = map(&file).with_context(|| format!("cannot map `{}`", path.display()))?;
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
}

#[expect(unsafe_code, reason = "mapping a file is unsafe, and reading it would double the memory")]
fn map(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: the map is only read. A file that another process shortens meanwhile ends this
    // process by a signal, one that it overwrites yields wrong numbers: neither breaks memory
    // safety here, since tensor bytes are plain numbers.
    unsafe { Mmap::map(file) }
}

fn parse_header(bytes: &[u8]) -> Result<Header, GgufError> {
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
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    /// A small GGUF file of `metadata` and one F32 tensor of two numbers.
    fn file(metadata: &[(&str, u32, Vec<u8>)], tensor: &[u8]) -> Vec<u8> {
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        bytes.extend(1_u64.to_le_bytes());
        bytes.extend((metadata.len() as u64).to_le_bytes());
        for (key, code, value) in metadata {
            bytes.extend(text(key));
            bytes.extend(code.to_le_bytes());
            bytes.extend(value);
        }
        bytes.extend(tensor);
        bytes.resize(bytes.len().next_multiple_of(32), 0);
        bytes.extend(1.5_f32.to_le_bytes());
        bytes.extend((-2.0_f32).to_le_bytes());
        bytes
    }

    fn text(text: &str) -> Vec<u8> {
        [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
    }

    fn tensor(dims: &[u64], code: u32, offset: u64) -> Vec<u8> {
        let mut bytes = text("t");
        bytes.extend((dims.len() as u32).to_le_bytes());
        bytes.extend(dims.iter().flat_map(|dim| dim.to_le_bytes()));
        bytes.extend(code.to_le_bytes());
        bytes.extend(offset.to_le_bytes());
        bytes
    }

    #[track_caller]
    fn check(bytes: &[u8], expect: Expect) {
        let outcome = match parse_header(bytes) {
            Ok(header) => format!("{:?} {:?}", header.metadata, header.tensors),
            Err(error) => format!("error: {error}"),
        };
        expect.assert_eq(&outcome);
    }

    #[test]
    fn metadata_and_tensors_are_read() {
        let texts = [&8_u32.to_le_bytes()[..], &1_u64.to_le_bytes(), &text("x")].concat();
        let bytes = file(
            &[("n", 4, 7_u32.to_le_bytes().to_vec()), ("list", 9, texts)],
            &tensor(&[2, 1], 0, 0),
        );
        check(
            &bytes,
            expect![[
                r#"{"list": Texts(["x"]), "n": Unsigned(7)} {"t": TensorInfo { encoding: F32, shape: [1, 2], start: 128, n_bytes: 8 }}"#
            ]],
        );
    }

    #[test]
    fn every_truncation_is_an_error() {
        let bytes = file(&[("name", 8, text("value"))], &tensor(&[2], 0, 0));
        assert!(parse_header(&bytes).is_ok());
        for len in 0..bytes.len() {
            assert!(parse_header(&bytes[..len]).is_err(), "{len} of {} bytes", bytes.len());
        }
    }

    #[test]
    fn every_changed_byte_is_read_or_refused_without_panic() {
        let list = [&8_u32.to_le_bytes()[..], &1_u64.to_le_bytes(), &text("x")].concat();
        let bytes = file(&[("name", 8, text("value")), ("l", 9, list)], &tensor(&[2], 0, 0));
        for at in 0..bytes.len() {
            for byte in [0, 1, 0x7f, 0x80, 0xff] {
                let mut hostile = bytes.clone();
                hostile[at] = byte;
                if let Ok(header) = parse_header(&hostile) {
                    assert!(
                        header
                            .tensors
                            .values()
                            .all(|info| info.start + info.n_bytes <= bytes.len())
                    );
                }
            }
        }
    }

    #[test]
    fn hostile_files_are_refused() {
        check(b"", expect!["error: not a GGUF file: it starts with []"]);
        check(
            b"PK\x03\x04....",
            expect!["error: not a GGUF file: it starts with [50, 4b, 03, 04]"],
        );
        check(b"GGUF\x09\0\0\0", expect!["error: GGUF version 9 is not supported (2 and 3 are)"]);
        let many = [b"GGUF\x03\0\0\0", &[0xff; 8][..], &[0; 8]].concat();
        check(
            &many,
            expect![
                "error: the tensor list claims 18446744073709551615 entries, more than the file can hold"
            ],
        );
        check(
            &file(&[], &tensor(&[2], 0, u64::MAX)),
            expect![
                "error: tensor `t` lies at 18446744073709551615..18446744073709551615, outside the file's 72 bytes: it is truncated or damaged"
            ],
        );
        check(
            &file(&[], &tensor(&[u64::MAX, u64::MAX], 0, 0)),
            expect![
                "error: tensor `t` has an impossible shape [18446744073709551615, 18446744073709551615]"
            ],
        );
        check(
            &file(&[], &tensor(&[33], 2, 0)),
            expect!["error: tensor `t` has an impossible shape [33]"],
        );
        check(
            &file(&[], &tensor(&[2], 99, 0)),
            expect!["error: tensor `t` is stored as GGML type 99, which is not supported"],
        );
        let nested = [&9_u32.to_le_bytes()[..], &1_u64.to_le_bytes()].concat();
        check(
            &file(&[("a", 9, nested)], &tensor(&[2], 0, 0)),
            expect!["error: metadata `a` has the unknown value type 9"],
        );
        check(
            &file(&[("general.alignment", 4, vec![3, 0, 0, 0])], &tensor(&[2], 0, 0)),
            expect!["error: `general.alignment` is 3, which is no power of two below 64 KiB"],
        );
    }
}
