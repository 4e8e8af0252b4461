//! How the data files hide private tests: base64 of zlib of a pickled text.
//!
//! A pickle is a program. This reads the one kind that the files hold, a text by itself, and runs
//! nothing: any other instruction is an error.

use std::io::Read;

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::ZlibDecoder;

/// More than any problem's tests inflate to.
const MAX_BYTES: u64 = 1 << 30;

/// The text behind a hidden one.
pub fn reveal(hidden: &str) -> anyhow::Result<String> {
    let packed = STANDARD.decode(hidden.trim()).context("wanted base64")?;
    let mut pickle = Vec::new();
    ZlibDecoder::new(&packed[..])
        .take(MAX_BYTES + 1)
        .read_to_end(&mut pickle)
        .context("wanted what zlib packed, in base64")?;
    ensure!(pickle.len() as u64 <= MAX_BYTES, "it inflates to more than {MAX_BYTES} bytes");
    unpickle(&pickle).context("wanted one pickled text")
}

/// The text that a pickle of one text holds, protocols 1 to 5.
pub fn unpickle(pickle: &[u8]) -> anyhow::Result<String> {
    let mut rest = pickle;
    let mut text = None;
    loop {
        match take(&mut rest, 1)?[0] {
            // PROTO and a protocol's number; BINPUT, LONG_BINPUT and MEMOIZE, which keep it for a
            // later that never comes; FRAME and a length.
            0x80 | b'q' => drop(take(&mut rest, 1)?),
            b'r' => drop(take(&mut rest, 4)?),
            0x95 => drop(take(&mut rest, 8)?),
            0x94 => {}
            // SHORT_BINUNICODE, BINUNICODE and BINUNICODE8: a length and a text.
            code @ (0x8c | b'X' | 0x8d) => {
                ensure!(text.is_none(), "it holds more than one text");
                let width = match code {
                    0x8c => 1,
                    b'X' => 4,
                    _ => 8,
                };
                let length = take(&mut rest, width)?;
                let length =
                    length.iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
                let bytes = take(&mut rest, usize::try_from(length)?)?;
                text = Some(std::str::from_utf8(bytes).context("its text")?.to_owned());
            }
            b'.' => return text.context("it holds no text"),
            code => bail!("its instruction 0x{code:02x} does more than hold a text"),
        }
    }
}

fn take<'a>(rest: &mut &'a [u8], n: usize) -> anyhow::Result<&'a [u8]> {
    let (taken, behind) = rest.split_at_checked(n).context("it is cut off")?;
    *rest = behind;
    Ok(taken)
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write;

    use super::*;

    /// As the data files hide a text.
    pub(in crate::general::livecodebench) fn hide(text: &str) -> String {
        pack(&pickle(text))
    }

    fn pickle(text: &str) -> Vec<u8> {
        let length = (text.len() as u32).to_le_bytes();
        [b"\x80\x04X", &length[..], text.as_bytes(), b"\x94."].concat()
    }

    fn pack(bytes: &[u8]) -> String {
        let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(bytes).unwrap();
        STANDARD.encode(packed.finish().unwrap())
    }

    #[test]
    fn a_hidden_text_is_revealed() {
        assert_eq!(reveal(&hide("[{\"input\": \"ö\"}]")).unwrap(), "[{\"input\": \"ö\"}]");
        // As `pickle.dumps` of Python 3.11 writes a short text, by protocol.
        for bytes in [
            &b"\x80\x04\x95\x06\x00\x00\x00\x00\x00\x00\x00\x8c\x02[]\x94."[..],
            b"\x80\x02X\x02\x00\x00\x00[]q\x00.",
            b"X\x02\x00\x00\x00[]q\x00.",
            b"\x80\x04\x8d\x02\x00\x00\x00\x00\x00\x00\x00[]\x94.",
        ] {
            assert_eq!(unpickle(bytes).unwrap(), "[]");
        }
    }

    #[test]
    fn a_pickle_that_does_more_than_hold_a_text_is_refused() {
        let check = |bytes: &[u8], wanted: &str| {
            let message = format!("{:#}", reveal(&pack(bytes)).unwrap_err());
            assert!(message.contains(wanted), "{message}");
        };
        check(b"\x80\x04cos\nsystem\n(S'true'\ntR.", "instruction 0x63 does more");
        check(b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "more than one text");
        check(b"\x80\x04K\x01.", "instruction 0x4b");
        check(b"\x80\x04.", "holds no text");
        check(b"\x80\x04X\xff\xff\xff\xff[]", "cut off");
        check(b"\x80\x04\x8c\x01\xff\x94.", "its text");
        check(b"", "cut off");
        assert!(format!("{:#}", reveal("!").unwrap_err()).contains("wanted base64"));
        assert!(format!("{:#}", reveal("YWJj").unwrap_err()).contains("what zlib packed"));
    }
}
