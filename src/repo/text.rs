//! A decoded file whose bytes are never lost.
//!
//! Everything above works on [`Text::content`]: Unicode with LF line ends. Whoever writes a file
//! back asks for the base bytes of the lines that stay ([`Text::raw_line`]) and for new lines in
//! the file's own encoding ([`Text::encode_line`]), or lets [`Text::assemble`] do both.
//! Lines end at `\n` or `\r\n` and nowhere else: a form feed, a lone `\r` or U+2028 is part of its
//! line, as compilers, `git` and tree-sitter count.

use std::ops::Range;

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};

/// A decoded file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    encoding: TextEncoding,
    content: Box<str>,
    /// Where each line starts in `content`.
    starts: Box<[u32]>,
    /// The file's bytes where they differ from those of `content`.
    raw: Option<Raw>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Raw {
    bytes: Box<[u8]>,
    /// Where each line starts in `bytes`; the first one at 0, before a byte order mark.
    starts: Box<[u32]>,
}

/// How a file's bytes were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextEncoding {
    Utf8,
    /// UTF-8 behind a byte order mark.
    Utf8Bom,
    /// UTF-16 behind a byte order mark.
    Utf16Le,
    Utf16Be,
    /// The encoding that a `coding:` comment names, or else Windows-1252, in which every byte
    /// stands for one character.
    Legacy(&'static Encoding),
}

/// How a line ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ending {
    Lf,
    CrLf,
    /// The last line of a file without a final newline.
    None,
}

/// A part of a file to be put together by [`Text::assemble`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece<'a> {
    /// The base lines of these indices, byte for byte.
    Kept(Range<usize>),
    New(&'a str, Ending),
}

/// Why bytes are no text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotText {
    #[error("it is binary (a NUL byte at offset {offset})")]
    Binary { offset: usize },
    #[error("it starts with a UTF-16 mark, but is no valid UTF-16")]
    BrokenUtf16,
    #[error("it has {bytes} bytes, more than a text may have")]
    TooLong { bytes: usize },
}

/// A line that the file's encoding cannot hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{encoding} has no character `{}`", .character.escape_default())]
pub struct NotEncodable {
    pub character: char,
    /// The name of the file's encoding.
    pub encoding: &'static str,
}

impl Text {
    /// Decodes a file: UTF-8, UTF-16 behind a byte order mark, the encoding that a `coding:`
    /// comment in the first two lines names, or Windows-1252. A NUL byte makes it binary.
    pub fn decode(bytes: &[u8]) -> Result<Self, NotText> {
        if i32::MAX as usize <= bytes.len() {
            return Err(NotText::TooLong { bytes: bytes.len() });
        }
        match bytes {
            [0xff, 0xfe, ..] => return Self::decode_utf16(bytes, TextEncoding::Utf16Le),
            [0xfe, 0xff, ..] => return Self::decode_utf16(bytes, TextEncoding::Utf16Be),
            _ => {}
        }
        if let Some(offset) = bytes.iter().position(|&byte| byte == 0) {
            return Err(NotText::Binary { offset });
        }
        if let Some(behind_mark) = bytes.strip_prefix(b"\xef\xbb\xbf")
            && let Ok(content) = std::str::from_utf8(behind_mark)
        {
            return Ok(Self::split(TextEncoding::Utf8Bom, content, bytes, 3));
        }
        let named = named_encoding(bytes).filter(|encoding| is_lossless(encoding, bytes));
        match (named, std::str::from_utf8(bytes)) {
            (None, Ok(content)) => Ok(Self::split(TextEncoding::Utf8, content, bytes, 0)),
            (named, _) => {
                let encoding = named.unwrap_or(WINDOWS_1252);
                let (content, _) = encoding.decode_without_bom_handling(bytes);
                Ok(Self::split(TextEncoding::Legacy(encoding), &content, bytes, 0))
            }
        }
    }

    /// The UTF-8 file of that content, whatever its first lines say about an encoding.
    pub fn from_content(content: &str) -> Self {
        Self::split(TextEncoding::Utf8, content, content.as_bytes(), 0)
    }

    fn decode_utf16(bytes: &[u8], encoding: TextEncoding) -> Result<Self, NotText> {
        let rules = if encoding == TextEncoding::Utf16Le { UTF_16LE } else { UTF_16BE };
        let content = rules
            .decode_without_bom_handling_and_without_replacement(&bytes[2..])
            .ok_or(NotText::BrokenUtf16)?;
        match content.find('\0') {
            Some(_) => Err(NotText::BrokenUtf16),
            None => Ok(Self::split(encoding, &content, bytes, 2)),
        }
    }

    /// Cuts the decoded content and the bytes into lines side by side.
    fn split(encoding: TextEncoding, decoded: &str, bytes: &[u8], mark: usize) -> Self {
        let is_plain = mark == 0
            && matches!(encoding, TextEncoding::Utf8)
            && !decoded.as_bytes().windows(2).any(|pair| pair == b"\r\n");
        let mut content = String::with_capacity(if is_plain { 0 } else { decoded.len() });
        let mut starts = Vec::new();
        let mut raw_starts = Vec::new();
        let mut raw_at = 0;
        let mut at = 0;
        let unit = encoding.bytes_of_newline();
        for line in decoded.split_inclusive('\n') {
            starts.push(at as u32);
            if is_plain {
                at += line.len();
                continue;
            }
            raw_starts.push(raw_at as u32);
            match line.strip_suffix("\r\n") {
                Some(body) => content.extend([body, "\n"]),
                None => content.push_str(line),
            }
            at = content.len();
            let behind_mark = if raw_at == 0 { mark } else { raw_at };
            raw_at = find_newline(&bytes[behind_mark..], unit, encoding)
                .map_or(bytes.len(), |newline| behind_mark + newline + unit);
        }
        if is_plain {
            content.push_str(decoded);
        }
        let raw =
            (!is_plain).then(|| Raw { bytes: bytes.into(), starts: raw_starts.into_boxed_slice() });
        Self { encoding, content: content.into_boxed_str(), starts: starts.into_boxed_slice(), raw }
    }

    pub fn encoding(&self) -> TextEncoding {
        self.encoding
    }

    /// The whole text with LF line ends; no byte order mark.
    pub fn content(&self) -> &str {
        &self.content
    }

    pub fn n_lines(&self) -> usize {
        self.starts.len()
    }

    /// The line of that index (from 0), without its end.
    ///
    /// # Panics
    /// Where there is no such line.
    pub fn line(&self, line_idx: usize) -> &str {
        let line = &self.content[self.start_of(line_idx)..self.start_of(line_idx + 1)];
        line.strip_suffix('\n').unwrap_or(line)
    }

    /// All lines, without their ends.
    pub fn lines(&self) -> impl ExactSizeIterator<Item = &str> + DoubleEndedIterator + Clone {
        (0..self.n_lines()).map(|line_idx| self.line(line_idx))
    }

    /// The bytes of a line with its end, as the file has them. The first line of a file with a
    /// byte order mark starts with that mark, so that all raw lines in order are the file.
    pub fn raw_line(&self, line_idx: usize) -> &[u8] {
        self.raw_lines(line_idx..line_idx + 1)
    }

    /// The bytes of a run of lines, as those of [`Self::raw_line`] one behind the other.
    pub fn raw_lines(&self, lines: Range<usize>) -> &[u8] {
        match &self.raw {
            None => &self.content.as_bytes()[self.start_of(lines.start)..self.start_of(lines.end)],
            Some(raw) => {
                let start_of =
                    |idx| raw.starts.get(idx).map_or(raw.bytes.len(), |&at: &u32| at as usize);
                &raw.bytes[start_of(lines.start)..start_of(lines.end)]
            }
        }
    }

    pub fn ending(&self, line_idx: usize) -> Ending {
        if !self.content[..self.start_of(line_idx + 1)].ends_with('\n') {
            return Ending::None;
        }
        let raw = self.raw_line(line_idx);
        let cr: &[u8] = match self.encoding {
            TextEncoding::Utf16Le => b"\r\0\n\0",
            TextEncoding::Utf16Be => b"\0\r\0\n",
            _ => b"\r\n",
        };
        if raw.ends_with(cr) { Ending::CrLf } else { Ending::Lf }
    }

    /// The bytes of a new line in the file's encoding; no byte order mark.
    pub fn encode_line(&self, line: &str, ending: Ending) -> Result<Vec<u8>, NotEncodable> {
        let end = match ending {
            Ending::Lf => "\n",
            Ending::CrLf => "\r\n",
            Ending::None => "",
        };
        let characters = line.chars().chain(end.chars());
        let mut units = [0; 2];
        let mut bytes = Vec::with_capacity(line.len() + 2);
        match self.encoding {
            TextEncoding::Utf8 | TextEncoding::Utf8Bom => {
                bytes.extend(line.bytes().chain(end.bytes()));
            }
            TextEncoding::Utf16Le => bytes.extend(
                characters
                    .flat_map(|c| c.encode_utf16(&mut units).to_vec())
                    .flat_map(u16::to_le_bytes),
            ),
            TextEncoding::Utf16Be => bytes.extend(
                characters
                    .flat_map(|c| c.encode_utf16(&mut units).to_vec())
                    .flat_map(u16::to_be_bytes),
            ),
            TextEncoding::Legacy(encoding) => {
                let (encoded, _, lacks_some) = encoding.encode(line);
                if lacks_some {
                    let lacks = |c: &char| encoding.encode(c.encode_utf8(&mut [0; 4])).2;
                    let character = line.chars().find(lacks).unwrap_or(char::REPLACEMENT_CHARACTER);
                    return Err(NotEncodable { character, encoding: encoding.name() });
                }
                bytes.extend(encoded.iter().copied().chain(end.bytes()));
            }
        }
        Ok(bytes)
    }

    /// The byte order mark that the file starts with; empty for most.
    pub fn mark(&self) -> &'static [u8] {
        match self.encoding {
            TextEncoding::Utf8 | TextEncoding::Legacy(_) => b"",
            TextEncoding::Utf8Bom => b"\xef\xbb\xbf",
            TextEncoding::Utf16Le => b"\xff\xfe",
            TextEncoding::Utf16Be => b"\xfe\xff",
        }
    }

    /// The bytes of an edited file: kept lines as they were, new ones in the file's encoding, its
    /// byte order mark first whichever line comes first.
    pub fn assemble<'a>(
        &self,
        pieces: impl IntoIterator<Item = Piece<'a>>,
    ) -> Result<Vec<u8>, NotEncodable> {
        let mut bytes = self.mark().to_vec();
        for piece in pieces {
            match piece {
                Piece::Kept(lines) if lines.is_empty() => {}
                Piece::Kept(lines) => {
                    let mark = if lines.start == 0 { self.mark().len() } else { 0 };
                    bytes.extend_from_slice(&self.raw_lines(lines)[mark..]);
                }
                Piece::New(line, ending) => bytes.extend(self.encode_line(line, ending)?),
            }
        }
        Ok(bytes)
    }

    fn start_of(&self, line_idx: usize) -> usize {
        self.starts.get(line_idx).map_or(self.content.len(), |&at| at as usize)
    }
}

impl TextEncoding {
    fn bytes_of_newline(self) -> usize {
        if matches!(self, Self::Utf16Le | Self::Utf16Be) { 2 } else { 1 }
    }
}

/// The offset of the first newline, looking at every `unit`-th byte.
fn find_newline(bytes: &[u8], unit: usize, encoding: TextEncoding) -> Option<usize> {
    let newline: &[u8] = match encoding {
        TextEncoding::Utf16Le => b"\n\0",
        TextEncoding::Utf16Be => b"\0\n",
        _ => b"\n",
    };
    bytes.chunks_exact(unit).position(|chunk| chunk == newline).map(|idx| idx * unit)
}

/// The encoding other than UTF-8 that a `coding:` or `encoding=` comment in the first two lines
/// names, as Python, Ruby and Emacs read it.
fn named_encoding(bytes: &[u8]) -> Option<&'static Encoding> {
    for line in bytes.split(|&byte| byte == b'\n').take(2) {
        let head = &line[..line.len().min(200)];
        let Ok(head) = std::str::from_utf8(head) else { continue };
        let Some(comment) = head.trim_start().strip_prefix('#') else { continue };
        let Some((_, label)) = comment.split_once("coding") else { continue };
        let Some(label) = label.strip_prefix([':', '=']) else { continue };
        let is_label = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let label = label.trim_start();
        let label = &label[..label.find(|c| !is_label(c)).unwrap_or(label.len())];
        let label = label.to_ascii_lowercase().replace('_', "-");
        let label = match label.as_str() {
            "latin-1" | "iso-latin-1" => "iso-8859-1",
            "latin-9" | "l9" => "iso-8859-15",
            "cp936" => "gbk",
            "cp932" => "shift_jis",
            other => other,
        };
        return Encoding::for_label(label.as_bytes())
            .filter(|encoding| encoding.is_ascii_compatible() && *encoding != UTF_8);
    }
    None
}

/// Whether decoding and encoding again gives back the same bytes.
fn is_lossless(encoding: &'static Encoding, bytes: &[u8]) -> bool {
    let (content, failed) = encoding.decode_without_bom_handling(bytes);
    !failed && {
        let (encoded, _, lacks_some) = encoding.encode(&content);
        !lacks_some && encoded == bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    #[track_caller]
    fn check(bytes: &[u8], expect: Expect) {
        let shown = match Text::decode(bytes) {
            Err(problem) => format!("{problem}"),
            Ok(text) => {
                let raw: Vec<u8> =
                    (0..text.n_lines()).flat_map(|i| text.raw_line(i)).copied().collect();
                assert_eq!(raw, bytes, "raw lines are the file");
                let kept = (0..text.n_lines()).map(|idx| Piece::Kept(idx..idx + 1));
                assert_eq!(text.assemble(kept).unwrap(), bytes, "kept pieces are the file");
                let lines: Vec<_> =
                    (0..text.n_lines()).map(|i| (text.line(i), text.ending(i))).collect();
                format!("{:?} {lines:?}", text.encoding())
            }
        };
        expect.assert_eq(&shown);
    }

    #[test]
    fn lines_end_at_newlines_only() {
        check(b"", expect!["Utf8 []"]);
        check(b"\n", expect![[r#"Utf8 [("", Lf)]"#]]);
        check(b"a\nb", expect![[r#"Utf8 [("a", Lf), ("b", None)]"#]]);
        check(b"a\r\nb\nc\r\n", expect![[r#"Utf8 [("a", CrLf), ("b", Lf), ("c", CrLf)]"#]]);
        check(b"a\rb\x0cc\x1ed\r\r\n", expect![[r#"Utf8 [("a\rb\u{c}c\u{1e}d\r", CrLf)]"#]]);
        check("a\u{2028}b\u{85}c\n".as_bytes(), expect![[r#"Utf8 [("a\u{2028}b\u{85}c", Lf)]"#]]);
    }

    #[test]
    fn encodings_are_told_apart_and_kept() {
        check("\u{feff}é\r\nb".as_bytes(), expect![[r#"Utf8Bom [("é", CrLf), ("b", None)]"#]]);
        check(b"\xff\xfea\0\r\0\n\0\x0a\x01", expect![[r#"Utf16Le [("a", CrLf), ("Ċ", None)]"#]]);
        check(b"\xfe\xff\0a\0\n\x01\x0a\0\n", expect![[r#"Utf16Be [("a", Lf), ("Ċ", Lf)]"#]]);
        check(
            b"caf\xe9 \x81\x85\n",
            expect![[r#"Legacy(Encoding { name: "windows-1252", .. }) [("café \u{81}…", Lf)]"#]],
        );
        check(
            b"# -*- coding: koi8-r -*-\nx = '\xd0'\n",
            expect![[
                r##"Legacy(Encoding { name: "KOI8-R", .. }) [("# -*- coding: koi8-r -*-", Lf), ("x = 'п'", Lf)]"##
            ]],
        );
        check(
            b"#!/usr/bin/python\n# coding: latin-1\nx\n",
            expect![[
                r##"Legacy(Encoding { name: "windows-1252", .. }) [("#!/usr/bin/python", Lf), ("# coding: latin-1", Lf), ("x", Lf)]"##
            ]],
        );
        check(
            "# coding: utf-8\né\n".as_bytes(),
            expect![[r##"Utf8 [("# coding: utf-8", Lf), ("é", Lf)]"##]],
        );
        check(
            b"# coding: nonsense\n\xe9\n",
            expect![[
                r##"Legacy(Encoding { name: "windows-1252", .. }) [("# coding: nonsense", Lf), ("é", Lf)]"##
            ]],
        );
    }

    #[test]
    fn binary_is_no_text() {
        check(b"\x7fELF\0", expect!["it is binary (a NUL byte at offset 4)"]);
        check(b"\xff\xfea", expect!["it starts with a UTF-16 mark, but is no valid UTF-16"]);
        check(b"\xff\xfe\0\xd8", expect!["it starts with a UTF-16 mark, but is no valid UTF-16"]);
    }

    #[test]
    fn new_lines_take_the_encoding_of_the_file() {
        let latin = Text::decode(b"\xe9\n").unwrap();
        assert_eq!(latin.encode_line("ü", Ending::CrLf).unwrap(), b"\xfc\r\n");
        let problem = latin.encode_line("a → b", Ending::Lf).unwrap_err();
        assert_eq!(problem.to_string(), r"windows-1252 has no character `\u{2192}`");
        let wide = Text::decode(b"\xff\xfea\0\n\0").unwrap();
        assert_eq!(wide.encode_line("Ċ𝄞", Ending::Lf).unwrap(), b"\x0a\x01\x34\xd8\x1e\xdd\n\0");
    }

    #[test]
    fn the_byte_order_mark_stays_first_whatever_line_is_replaced() {
        let text = Text::decode(b"\xef\xbb\xbfa\nb\n").unwrap();
        let edited =
            text.assemble([Piece::New("x", Ending::Lf), Piece::Kept(0..1), Piece::Kept(1..2)]);
        assert_eq!(edited.unwrap(), b"\xef\xbb\xbfx\na\nb\n");
    }
}
