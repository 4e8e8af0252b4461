//! Which stretches of a source text are code and which are words: comments and strings.
//!
//! A lexer for all languages at once, by the few facts in [`Style`]. A wrong guess costs a word its
//! weight and nothing else.

/// What a stretch of text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SegmentKind {
    Code,
    /// A comment, or a string of several lines, which is documentation more often than not.
    Comment,
    /// A string on one line, without its quotes.
    String,
}

/// How a language writes comments and strings.
#[derive(Debug, Clone, Copy)]
struct Style {
    hash_comments: bool,
    slash_comments: bool,
    single_quotes: bool,
    backticks: bool,
    triple_quotes: bool,
}

impl Style {
    fn of_extension(extension: &str) -> Option<Self> {
        let none = Self {
            hash_comments: false,
            slash_comments: false,
            single_quotes: true,
            backticks: false,
            triple_quotes: false,
        };
        let slash = Self { slash_comments: true, ..none };
        Some(match extension {
            "py" | "pyi" | "pyx" => Self { hash_comments: true, triple_quotes: true, ..none },
            "rb" | "sh" | "yaml" | "yml" | "toml" | "cfg" | "ini" => {
                Self { hash_comments: true, ..none }
            }
            "php" => Self { hash_comments: true, ..slash },
            "js" | "jsx" | "mjs" | "cjs" | "ts" | "tsx" | "mts" | "cts" | "go" => {
                Self { backticks: true, ..slash }
            }
            // A quote may start a lifetime there.
            "rs" => Self { single_quotes: false, ..slash },
            "java" | "kt" | "scala" | "swift" | "cs" => Self { triple_quotes: true, ..slash },
            "c" | "h" | "cc" | "cpp" | "cxx" | "hpp" | "hh" | "hxx" => slash,
            _ => return None,
        })
    }
}

/// Splits a text into stretches, in order and without gaps but for quotes. Text in a format that is
/// not known to be code is one [`SegmentKind::Comment`].
pub(super) fn segments(text: &str, extension: &str) -> Vec<(SegmentKind, std::ops::Range<usize>)> {
    let Some(style) = Style::of_extension(extension) else {
        return vec![(SegmentKind::Comment, 0..text.len())];
    };
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut code_start = 0;
    let mut at = 0;
    while at < bytes.len() {
        let Some((kind, body, end)) = quoted_at(bytes, at, style) else {
            at += 1;
            continue;
        };
        if code_start < at {
            found.push((SegmentKind::Code, code_start..at));
        }
        found.push((kind, body));
        at = end;
        code_start = end;
    }
    if code_start < bytes.len() {
        found.push((SegmentKind::Code, code_start..bytes.len()));
    }
    found
}

type Quoted = (SegmentKind, std::ops::Range<usize>, usize);

/// The comment or string that starts at a byte: its kind, its inside, and where it is over.
fn quoted_at(bytes: &[u8], at: usize, style: Style) -> Option<Quoted> {
    let rest = &bytes[at..];
    match rest[0] {
        b'#' if style.hash_comments => Some(line_comment(bytes, at, 1)),
        b'/' if style.slash_comments && rest.get(1) == Some(&b'/') => {
            Some(line_comment(bytes, at, 2))
        }
        b'/' if style.slash_comments && rest.get(1) == Some(&b'*') => {
            let end = find(bytes, at + 2, b"*/").unwrap_or(bytes.len());
            Some((SegmentKind::Comment, at + 2..end, (end + 2).min(bytes.len())))
        }
        quote @ (b'"' | b'\'') if style.triple_quotes && rest.starts_with(&[quote; 3]) => {
            let end = find(bytes, at + 3, &[quote; 3]).unwrap_or(bytes.len());
            Some((SegmentKind::Comment, at + 3..end, (end + 3).min(bytes.len())))
        }
        b'"' => Some(short_string(bytes, at, b'"')),
        b'\'' if style.single_quotes => Some(short_string(bytes, at, b'\'')),
        b'`' if style.backticks => {
            let end = find(bytes, at + 1, b"`").unwrap_or(bytes.len());
            Some((SegmentKind::String, at + 1..end, (end + 1).min(bytes.len())))
        }
        _ => None,
    }
}

fn line_comment(bytes: &[u8], at: usize, mark: usize) -> Quoted {
    let end = find(bytes, at, b"\n").unwrap_or(bytes.len());
    (SegmentKind::Comment, at + mark..end, end)
}

/// A string that ends at its quote or, where that is missing, with the line.
fn short_string(bytes: &[u8], at: usize, quote: u8) -> Quoted {
    let mut end = at + 1;
    while end < bytes.len() && bytes[end] != quote && bytes[end] != b'\n' {
        end += if bytes[end] == b'\\' { 2 } else { 1 };
    }
    let end = end.min(bytes.len());
    (SegmentKind::String, at + 1..end, (end + 1).min(bytes.len()))
}

fn find(bytes: &[u8], from: usize, wanted: &[u8]) -> Option<usize> {
    let rest = bytes.get(from..)?;
    rest.windows(wanted.len()).position(|window| window == wanted).map(|at| from + at)
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[track_caller]
    fn check(extension: &str, text: &str, expect: Expect) {
        let lines = segments(text, extension)
            .into_iter()
            .map(|(kind, range)| format!("{kind:?} {:?}\n", &text[range]))
            .collect::<String>();
        expect.assert_eq(&lines);
    }

    #[test]
    fn comments_and_strings_stand_apart_from_code() {
        check(
            "py",
            "x = f'a\\'b' # c\n\"\"\"doc\n'x'\"\"\"\ny",
            expect![[r#"
            Code "x = f"
            String "a\\'b"
            Code " "
            Comment " c"
            Code "\n"
            Comment "doc\n'x'"
            Code "\ny"
        "#]],
        );
        check(
            "js",
            "a // b\n`c\nd` /* e\n */ f",
            expect![[r#"
            Code "a "
            Comment " b"
            Code "\n"
            String "c\nd"
            Code " "
            Comment " e\n "
            Code " f"
        "#]],
        );
        check(
            "rs",
            "fn f<'a>(x: &'a str) { \"b\" }",
            expect![[r#"
            Code "fn f<'a>(x: &'a str) { "
            String "b"
            Code " }"
        "#]],
        );
    }

    #[test]
    fn open_quotes_end_with_the_line_or_the_text() {
        check(
            "py",
            "x = 'a\ny = \"\"\"b",
            expect![[r#"
            Code "x = "
            String "a"
            Code "y = "
            Comment "b"
        "#]],
        );
        check(
            "c",
            "/* a",
            expect![[r#"
            Comment " a"
        "#]],
        );
        check(
            "py",
            "'\\",
            expect![[r#"
            String "\\"
        "#]],
        );
        check(
            "py",
            "'é\\é",
            expect![[r#"
            String "é\\é"
        "#]],
        );
    }

    #[test]
    fn other_formats_are_words_alone() {
        check(
            "md",
            "it's `x`",
            expect![[r#"
            Comment "it's `x`"
        "#]],
        );
    }
}
