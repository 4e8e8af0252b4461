//! Whether changes reach code, or only blank lines, white space at line ends, and comments.
//!
//! A small scanner that knows comments and strings of common languages by file extension. Where
//! it does not know a language, every change that is not blank counts as code; documentation
//! strings are strings, so they count too.

use crate::diff::change::{FileChange, FileState};
use crate::repo::text::Text;

/// Whether any of the changes is more than blanks and comments. A file created, deleted, renamed
/// or made executable always is.
pub fn changes_code(changes: &[FileChange]) -> bool {
    changes.iter().any(|change| match change {
        FileChange::Created(_) | FileChange::Deleted(_) => true,
        FileChange::Changed { before, after } => {
            before.path != after.path || before.kind != after.kind || code_differs(before, after)
        }
    })
}

fn code_differs(before: &FileState, after: &FileState) -> bool {
    if before.bytes == after.bytes {
        return false;
    }
    let syntax = after.path.extension().map_or(&UNKNOWN, syntax_of);
    match (Text::decode(&before.bytes), Text::decode(&after.bytes)) {
        (Ok(before), Ok(after)) => {
            let (before, after) =
                (code_lines(before.content(), syntax), code_lines(after.content(), syntax));
            // A string that never ends means that the scanner lost its way.
            before.is_none() || before != after
        }
        _ => true,
    }
}

/// How a language writes what is no code.
struct Syntax {
    /// What starts a comment that ends with the line.
    line_comments: &'static [&'static str],
    /// Whether such a start counts only behind white space or at the start of a line.
    after_blank_only: bool,
    block_comments: &'static [(&'static str, &'static str)],
    /// Longer openers first.
    strings: &'static [Quote],
}

/// How a string is written.
struct Quote {
    open: &'static str,
    close: &'static str,
    spans_lines: bool,
    has_escapes: bool,
}

impl Quote {
    const fn new(open: &'static str, close: &'static str, spans: bool, escapes: bool) -> Self {
        Self { open, close, spans_lines: spans, has_escapes: escapes }
    }
}

const DOUBLE: Quote = Quote::new("\"", "\"", false, true);
const SINGLE: Quote = Quote::new("'", "'", false, true);

static UNKNOWN: Syntax =
    Syntax { line_comments: &[], after_blank_only: false, block_comments: &[], strings: &[] };

static PYTHON: Syntax = Syntax {
    line_comments: &["#"],
    after_blank_only: false,
    block_comments: &[],
    strings: &[
        Quote::new("\"\"\"", "\"\"\"", true, true),
        Quote::new("'''", "'''", true, true),
        DOUBLE,
        SINGLE,
    ],
};

static C_LIKE: Syntax = Syntax {
    line_comments: &["//"],
    after_blank_only: false,
    block_comments: &[("/*", "*/")],
    strings: &[Quote::new("\"\"\"", "\"\"\"", true, true), DOUBLE, SINGLE],
};

static SCRIPT: Syntax = Syntax {
    line_comments: &["//"],
    after_blank_only: false,
    block_comments: &[("/*", "*/")],
    strings: &[Quote::new("`", "`", true, true), DOUBLE, SINGLE],
};

static GO: Syntax = Syntax {
    line_comments: &["//"],
    after_blank_only: false,
    block_comments: &[("/*", "*/")],
    strings: &[Quote::new("`", "`", true, false), DOUBLE, SINGLE],
};

static RUST: Syntax = Syntax {
    line_comments: &["//"],
    after_blank_only: false,
    block_comments: &[("/*", "*/")],
    // A single quote may start a lifetime, so only the one literal that matters is named.
    strings: &[
        Quote::new("'\"'", "", false, false),
        Quote::new("r##\"", "\"##", true, false),
        Quote::new("r#\"", "\"#", true, false),
        Quote::new("\"", "\"", true, true),
    ],
};

static PHP: Syntax = Syntax {
    line_comments: &["//", "#"],
    after_blank_only: false,
    block_comments: &[("/*", "*/")],
    strings: &[Quote::new("\"", "\"", true, true), Quote::new("'", "'", true, true)],
};

static HASH: Syntax = Syntax {
    line_comments: &["#"],
    after_blank_only: true,
    block_comments: &[],
    strings: &[DOUBLE, SINGLE],
};

static SQL: Syntax = Syntax {
    line_comments: &["--"],
    after_blank_only: false,
    block_comments: &[("/*", "*/")],
    strings: &[Quote::new("'", "'", true, false), DOUBLE],
};

fn syntax_of(extension: &str) -> &'static Syntax {
    match extension {
        "py" | "pyi" | "pyx" => &PYTHON,
        "c" | "h" | "cc" | "cpp" | "cxx" | "hpp" | "hh" | "java" | "kt" | "cs" | "scala"
        | "swift" => &C_LIKE,
        "js" | "jsx" | "mjs" | "cjs" | "ts" | "tsx" | "mts" | "cts" => &SCRIPT,
        "go" => &GO,
        "rs" => &RUST,
        "php" => &PHP,
        "rb" | "sh" | "bash" | "yml" | "yaml" | "toml" | "cfg" | "r" | "pl" => &HASH,
        "sql" => &SQL,
        _ => &UNKNOWN,
    }
}

/// Where the scanner stands between two characters.
#[derive(Clone, Copy)]
enum State {
    Code,
    Comment { close: &'static str },
    String(&'static Quote),
}

/// The lines without comments, without white space at their ends, and without those that are
/// blank then; lines inside strings as they are. `None` where a string is still open at the end.
fn code_lines(content: &str, syntax: &'static Syntax) -> Option<Vec<String>> {
    let mut lines = Vec::new();
    let mut state = State::Code;
    for line in content.split('\n') {
        let starts_in_string = matches!(state, State::String(_));
        let mut code = String::with_capacity(line.len());
        let mut rest = line;
        while !rest.is_empty() {
            let (taken, next) = match state {
                State::Code => match step(rest, &code, syntax) {
                    Some(step) => step,
                    None => break,
                },
                State::Comment { close } => match rest.find(close) {
                    Some(at) => (&rest[..at + close.len()], State::Code),
                    None => break,
                },
                State::String(quote) => string_step(rest, quote),
            };
            if !matches!(state, State::Comment { .. }) && !matches!(next, State::Comment { .. }) {
                code.push_str(taken);
            }
            state = next;
            rest = &rest[taken.len()..];
        }
        if matches!(state, State::String(quote) if !quote.spans_lines) {
            state = State::Code;
        }
        if starts_in_string || matches!(state, State::String(_)) {
            lines.push(code);
        } else if !code.trim_end().is_empty() {
            lines.push(code.trim_end().to_owned());
        }
    }
    matches!(state, State::Code).then_some(lines)
}

/// The next piece of code and the state behind it; `None` where a comment takes the rest of the
/// line.
fn step<'a>(rest: &'a str, before: &str, syntax: &'static Syntax) -> Option<(&'a str, State)> {
    let is_start = !syntax.after_blank_only || before.ends_with([' ', '\t']) || before.is_empty();
    // An escaped slash belongs to a regular expression.
    let is_escaped = before.ends_with('\\');
    if is_start && !is_escaped && syntax.line_comments.iter().any(|mark| rest.starts_with(mark)) {
        return None;
    }
    if let Some((open, close)) = syntax.block_comments.iter().find(|pair| rest.starts_with(pair.0))
        && !is_escaped
    {
        return Some((&rest[..open.len()], State::Comment { close }));
    }
    if let Some(quote) = syntax.strings.iter().find(|quote| rest.starts_with(quote.open)) {
        let next = if quote.close.is_empty() { State::Code } else { State::String(quote) };
        return Some((&rest[..quote.open.len()], next));
    }
    let n_bytes = rest.chars().next().map_or(0, char::len_utf8);
    Some((&rest[..n_bytes], State::Code))
}

fn string_step<'a>(rest: &'a str, quote: &'static Quote) -> (&'a str, State) {
    if rest.starts_with(quote.close) {
        return (&rest[..quote.close.len()], State::Code);
    }
    let n_chars = if quote.has_escapes && rest.starts_with('\\') { 2 } else { 1 };
    let n_bytes = rest.chars().take(n_chars).map(char::len_utf8).sum();
    (&rest[..n_bytes], State::String(quote))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::path::RepoPath;
    use crate::repo::snapshot::FileKind;

    #[track_caller]
    fn check(path: &str, before: &str, after: &str, is_code: bool) {
        let state = |text: &str| FileState {
            path: RepoPath::parse(path).unwrap(),
            kind: FileKind::Regular,
            bytes: text.as_bytes().to_vec(),
        };
        for (before, after) in [(before, after), (after, before)] {
            let change = FileChange::Changed { before: state(before), after: state(after) };
            assert_eq!(changes_code(&[change]), is_code, "{path}: {before:?} -> {after:?}");
        }
    }

    #[test]
    fn blanks_and_comments_are_no_code() {
        check("a.py", "x = 1\n", "x = 1  # one\n\n  \n", false);
        check("a.py", "# old\nx = 1\n", "# new\n    # more\nx = 1", false);
        check("a.py", "x = '#'  # a\n", "x = '#'  # b\n", false);
        check("a.js", "f(`//`) // a\n", "f(`//`) /* b\n c */\n", false);
        check("a.rs", "let c = '\"'; // a\n", "let c = '\"'; // b\n", false);
        check("a.yml", "a: 1 # x\n", "a: 1\n", false);
        check("a.unknown", "x\n\n", "x  \n", false);
        check("a.py", "x = 1\r\n", "x = 1\n", false);
    }

    #[test]
    fn all_else_is_code() {
        check("a.py", "x = 1\n", "x = 2\n", true);
        check("a.py", "    x = 1\n", "x = 1\n", true);
        check("a.py", "x = '# a'\n", "x = '# b'\n", true);
        check("a.py", "s = '''\n# a\n'''\n", "s = '''\n# b\n'''\n", true);
        check("a.py", "s = '''\na\n\nb'''\n", "s = '''\na\nb'''\n", true);
        check("a.py", "\"\"\"Old.\"\"\"\n", "\"\"\"New.\"\"\"\n", true);
        check("a.js", "x = 'http://a'\n", "x = 'http://b'\n", true);
        check("a.js", "r = /\\//.test(a)\n", "r = /\\//.test(b)\n", true);
        check("a.go", "s := `// a`\n", "s := `// b`\n", true);
        check("a.rs", "f(r#\"// \" a\"#);\n", "f(r#\"// \" b\"#);\n", true);
        check("a.yml", "a: b#c\n", "a: b#d\n", true);
        check("a.unknown", "# a\n", "# b\n", true);
        check("a.py", "x = 1 \"\"\"\n# a", "x = 1 \"\"\"\n# b", true);
    }
}
