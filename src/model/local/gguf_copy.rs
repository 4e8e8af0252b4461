//! A GGUF file written anew with other numbers in some of its tensors.

use std::io::Write;

use anyhow::{Context as _, ensure};

use crate::model::local::gguf::{Encoding, Gguf};

/// Says for people which encoding prevails, and so would no longer be true.
const FILE_TYPE: &str = "general.file_type";

/// Writes a file with a base's metadata and tensors; those that `encoding_of` names have their
/// numbers, so encoded, from `bytes_of`.
///
/// # Errors
///
/// It cannot be written, or `bytes_of` fails or gives another number of bytes than belongs there.
pub fn write_changed(
    base: &Gguf,
    out: &mut impl Write,
    encoding_of: impl Fn(&str) -> Option<Encoding>,
    mut bytes_of: impl FnMut(&str, Encoding) -> anyhow::Result<Vec<u8>>,
) -> anyhow::Result<()> {
    let names = base.placed();
    let alignment = base.alignment();
    let entries: Vec<_> = base.entries().into_iter().filter(|(key, _)| *key != FILE_TYPE).collect();
    let mut head = b"GGUF".to_vec();
    head.extend(base.version().to_le_bytes());
    head.extend((names.len() as u64).to_le_bytes());
    head.extend((entries.len() as u64).to_le_bytes());
    entries.iter().for_each(|(_, bytes)| head.extend(*bytes));
    let mut planned = Vec::with_capacity(names.len());
    let mut offset = 0_usize;
    for name in names {
        let (info, _) = base.tensor(name).context("a tensor of the base")?;
        let changed = encoding_of(name);
        let encoding = changed.unwrap_or(info.encoding);
        let n_bytes = encoding.n_bytes(&info.shape).with_context(|| {
            format!(
                "`{name}` has the shape {:?}, whose rows are no whole blocks of {encoding:?}",
                info.shape
            )
        })?;
        head.extend((name.len() as u64).to_le_bytes());
        head.extend(name.as_bytes());
        head.extend((info.shape.len() as u32).to_le_bytes());
        // Innermost dimension first.
        info.shape.iter().rev().for_each(|dim| head.extend((*dim as u64).to_le_bytes()));
        head.extend(encoding.code().to_le_bytes());
        head.extend((offset as u64).to_le_bytes());
        offset += n_bytes.next_multiple_of(alignment);
        planned.push((name, changed, n_bytes));
    }
    head.resize(head.len().next_multiple_of(alignment), 0);
    out.write_all(&head)?;
    for (name, changed, n_bytes) in planned {
        let (_, stored) = base.tensor(name).context("a tensor of the base")?;
        match changed {
            None => out.write_all(stored)?,
            Some(encoding) => {
                let bytes = bytes_of(name, encoding)?;
                let found = bytes.len();
                ensure!(found == n_bytes, "{found} bytes for `{name}`, which has {n_bytes}");
                out.write_all(&bytes)?;
            }
        }
        out.write_all(&vec![0; n_bytes.next_multiple_of(alignment) - n_bytes])?;
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::model::local::gguf::Value;

    /// A metadata value: its type, and its bytes.
    pub(crate) enum Entry<'a> {
        Text(&'a str),
        Number(u32),
        Float(f32),
        Texts(Vec<String>),
        Numbers(Vec<i32>),
    }

    /// Writes a GGUF file of 32-bit floats: keys, and tensors by name with shape, outermost
    /// dimension first.
    pub(crate) fn write_gguf(
        path: &Path,
        entries: &[(&str, Entry<'_>)],
        tensors: &[(String, Vec<usize>, Vec<f32>)],
    ) {
        fn put(bytes: &mut Vec<u8>, text: &str) {
            bytes.extend((text.len() as u64).to_le_bytes());
            bytes.extend(text.as_bytes());
        }
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        bytes.extend((tensors.len() as u64).to_le_bytes());
        bytes.extend((entries.len() as u64).to_le_bytes());
        for (key, entry) in entries {
            put(&mut bytes, key);
            let code = |code: u32| code.to_le_bytes();
            match entry {
                Entry::Text(text) => {
                    bytes.extend(code(8));
                    put(&mut bytes, text);
                }
                Entry::Number(number) => bytes.extend([code(4), number.to_le_bytes()].concat()),
                Entry::Float(number) => bytes.extend([code(6), number.to_le_bytes()].concat()),
                Entry::Texts(texts) => {
                    bytes.extend([code(9), code(8)].concat());
                    bytes.extend((texts.len() as u64).to_le_bytes());
                    texts.iter().for_each(|text| put(&mut bytes, text));
                }
                Entry::Numbers(numbers) => {
                    bytes.extend([code(9), code(5)].concat());
                    bytes.extend((numbers.len() as u64).to_le_bytes());
                    numbers.iter().for_each(|number| bytes.extend(number.to_le_bytes()));
                }
            }
        }
        let mut offset = 0_usize;
        for (name, shape, numbers) in tensors {
            put(&mut bytes, name);
            bytes.extend((shape.len() as u32).to_le_bytes());
            shape.iter().rev().for_each(|dim| bytes.extend((*dim as u64).to_le_bytes()));
            bytes.extend(0_u32.to_le_bytes());
            bytes.extend((offset as u64).to_le_bytes());
            offset += (4 * numbers.len()).next_multiple_of(32);
        }
        for (_, _, numbers) in tensors {
            bytes.resize(bytes.len().next_multiple_of(32), 0);
            numbers.iter().for_each(|number| bytes.extend(number.to_le_bytes()));
        }
        bytes.resize(bytes.len().next_multiple_of(32), 0);
        fs::write(path, bytes).unwrap();
    }

    #[test]
    fn a_copy_differs_in_what_is_changed_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("base.gguf");
        let numbers: Vec<f32> = (0..64).map(|n| n as f32 / 8.0).collect();
        let tensors = [
            ("a".to_owned(), vec![2, 32], numbers.clone()),
            ("b".to_owned(), vec![3], vec![1.0, 2.0, 3.0]),
            ("c".to_owned(), vec![1, 64], numbers),
        ];
        let entries = [
            ("name", Entry::Text("x")),
            ("general.file_type", Entry::Number(0)),
            ("eps", Entry::Float(0.5)),
            ("list", Entry::Texts(vec!["p".to_owned(), "qq".to_owned()])),
            ("kinds", Entry::Numbers(vec![1, -2])),
        ];
        write_gguf(&path, &entries, &tensors);
        let base = Gguf::open(&path).unwrap();
        let copy_path = folder.path().join("copy.gguf");
        let mut copy = Vec::new();
        let changed = |name: &str| (name == "a").then_some(Encoding::F16);
        write_changed(&base, &mut copy, changed, |_, _| Ok(vec![7; 128])).unwrap();
        fs::write(&copy_path, &copy).unwrap();
        let copy = Gguf::open(&copy_path).unwrap();
        assert_eq!(copy.value("general.file_type"), None);
        for key in ["name", "eps", "list", "kinds"] {
            assert_eq!(copy.value(key), base.value(key), "{key}");
        }
        assert_eq!(copy.value("kinds"), Some(&Value::Integers(vec![1, -2])));
        let (info, bytes) = copy.tensor("a").unwrap();
        assert_eq!((info.encoding, &info.shape), (Encoding::F16, &vec![2, 32]));
        assert_eq!(bytes, [7; 128]);
        for name in ["b", "c"] {
            assert_eq!(copy.tensor(name).unwrap().1, base.tensor(name).unwrap().1, "{name}");
        }

        let changed = |name: &str| (name == "b").then_some(Encoding::Q8_0);
        let error = write_changed(&base, &mut Vec::new(), changed, |_, _| Ok(Vec::new()));
        assert!(error.unwrap_err().to_string().contains("no whole blocks of Q8_0"));
    }
}
