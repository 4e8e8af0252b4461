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
    let bytes =
        file(&[("n", 4, 7_u32.to_le_bytes().to_vec()), ("list", 9, texts)], &tensor(&[2, 1], 0, 0));
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
                    header.tensors.values().all(|info| info.start + info.n_bytes <= bytes.len())
                );
            }
        }
    }
}

#[test]
fn hostile_files_are_refused() {
    check(b"", expect!["error: not a GGUF file: it starts with []"]);
    check(b"PK\x03\x04....", expect!["error: not a GGUF file: it starts with [50, 4b, 03, 04]"]);
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
