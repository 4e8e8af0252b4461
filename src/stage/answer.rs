//! What list answers have in common: finding the block, undressing an entry, naming a path.
//!
//! Models dress entries in bullets, numbers, quotes and reasons; all of that is taken off here,
//! once, for inference and rewards alike.

use std::borrow::Cow;

use crate::index::outline::SymbolKind;
use crate::repo::path::{PathError, RepoPath};
use crate::search_replace::fence::{Ended, last_block};
use crate::stage::rejection::{Reason, Rejection, quoted};

/// The non-blank lines of the answer block, trimmed; `wanted` says what they should be.
pub(crate) fn list_entries<'a>(
    completion: &'a str,
    ended: Ended,
    wanted: &str,
) -> Result<Vec<&'a str>, Rejection> {
    let Some(block) = last_block(completion) else {
        let found = match completion.trim() {
            "" => "an empty text".to_owned(),
            text => format!("{} without one", quoted(text)),
        };
        return Err(Rejection::new(Reason::NoAnswer, format!("a code block with {wanted}"), found));
    };
    let body = block.list_body(ended);
    let entries: Vec<&str> = body.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if entries.is_empty() {
        return Err(Rejection::new(Reason::EmptyAnswer, wanted, "an empty code block"));
    }
    Ok(entries)
}

/// Takes bullets, numbers, heading marks, quotes, backticks and bold marks off an entry.
pub(crate) fn undress(line: &str) -> &str {
    let mut text = line.trim().trim_start_matches('#').trim_start();
    loop {
        let before = text;
        for bullet in ["- ", "* ", "+ ", "• "] {
            text = text.strip_prefix(bullet).unwrap_or(text).trim_start();
        }
        text = strip_number(text);
        let is_quote = |c: char| matches!(c, '`' | '"' | '\'');
        text = text.trim_matches(is_quote).trim_end_matches([',', ';']).trim();
        text = text.strip_prefix("**").map_or(text, |rest| rest.trim_end_matches("**"));
        if text == before {
            return text;
        }
    }
}

/// `1. x` and `2) x` without the number.
fn strip_number(text: &str) -> &str {
    let rest = text.trim_start_matches(|c: char| c.is_ascii_digit());
    match rest.strip_prefix(['.', ')']).and_then(|rest| rest.strip_prefix(' ')) {
        Some(entry) if rest.len() < text.len() => entry.trim_start(),
        _ => text,
    }
}

/// The path that an entry names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NamedPath {
    Existing(RepoPath),
    /// A path that the snapshot does not have.
    Invented(String),
    /// A text that leaves the repository or reaches into `.git`.
    Unsafe(String),
}

/// Reads an entry as a path. A leading `./`, `a/` or `b/`, and what follows the path (`: …`,
/// ` - …`, ` (…)`), are taken off where the path exists only without them.
pub(crate) fn parse_path(entry: &str, exists: impl Fn(&RepoPath) -> bool) -> NamedPath {
    let text = undress(entry);
    let text = ["File:", "file:", "Path:", "path:"]
        .iter()
        .find_map(|label| text.strip_prefix(label))
        .map_or(text, undress);
    let heads = [Some(text), cut(text, ": "), cut(text, " - "), cut(text, " ("), cut(text, ":")];
    let mut error = None;
    for head in heads.into_iter().flatten() {
        let head = undress(head);
        let head = head.trim_start_matches("./");
        for path in [head, strip_diff_side(head)] {
            match RepoPath::parse(path) {
                Ok(path) if exists(&path) => return NamedPath::Existing(path),
                Ok(_) => {}
                Err(what) => error = error.or(Some(what)),
            }
        }
    }
    match error {
        Some(PathError::Absolute(_) | PathError::NotPlain(_) | PathError::GitFolder(_)) => {
            NamedPath::Unsafe(text.to_owned())
        }
        _ => NamedPath::Invented(text.to_owned()),
    }
}

fn cut<'a>(text: &'a str, at: &str) -> Option<&'a str> {
    text.split_once(at).map(|(head, _)| head)
}

fn strip_diff_side(path: &str) -> &str {
    path.strip_prefix("a/").or_else(|| path.strip_prefix("b/")).unwrap_or(path)
}

/// What an entry below a path line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry<'a> {
    Symbol(SymbolKind, Cow<'a, str>),
    /// First and last line, in order.
    Lines(u32, u32),
    Other,
}

/// Reads `class: X`, `function: X.y`, `method: y`, `variable: X`, `module:`, `line: N`,
/// `lines: N-M`, `def y(…)`, `N`, `N-M` and `N| code`.
pub(crate) fn parse_entry(line: &str) -> Vec<Entry<'_>> {
    let text = undress(line);
    let (key, value) = match (text.split_once(' '), text.split_once(':')) {
        (Some((key, value)), _) if is_definition_word(key) => (key, undress(value)),
        (_, Some((key, value))) => (key.trim(), undress(value)),
        _ => (text, ""),
    };
    let kind = match key.trim_matches(['*', '`', '_']).to_ascii_lowercase().as_str() {
        "class" | "struct" | "trait" | "interface" => SymbolKind::Class,
        "function" | "method" | "func" | "def" | "fn" => SymbolKind::Function,
        "variable" | "global" | "constant" => SymbolKind::Variable,
        "module" => SymbolKind::Module,
        "line" | "lines" => return parse_line_numbers(value),
        number if number.starts_with(|c: char| c.is_ascii_digit()) => {
            return parse_line_numbers(key);
        }
        _ => return parse_line_numbers(text),
    };
    if kind == SymbolKind::Module {
        return vec![Entry::Symbol(kind, Cow::Borrowed(""))];
    }
    let name = value.split(['(', ' ', '=', '`']).next().unwrap_or_default().trim_end_matches(':');
    vec![match name {
        "" => Entry::Other,
        name if name.contains("::") => Entry::Symbol(kind, Cow::Owned(name.replace("::", "."))),
        name => Entry::Symbol(kind, Cow::Borrowed(name)),
    }]
}

fn is_definition_word(word: &str) -> bool {
    matches!(word, "class" | "def" | "function" | "method" | "variable" | "fn" | "func")
}

/// `12`, `12-15`, `12 to 15`, `3, 7-9`, `L12`, `12| code`.
fn parse_line_numbers(value: &str) -> Vec<Entry<'_>> {
    let value = value.split('|').next().unwrap_or_default();
    let parsed: Option<Vec<Entry<'_>>> = value.split(',').map(parse_line_range).collect();
    parsed.unwrap_or_else(|| vec![Entry::Other])
}

fn parse_line_range(part: &str) -> Option<Entry<'static>> {
    let part = part.trim();
    let (first, last) = part
        .split_once('-')
        .or_else(|| part.split_once('–'))
        .or_else(|| part.split_once(" to "))
        .unwrap_or((part, part));
    let number = |text: &str| -> Option<u32> {
        let digits = text.trim().trim_start_matches(['L', 'l']);
        let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        // Too large for u32 is too large for any file.
        all_digits.then(|| digits.parse().unwrap_or(u32::MAX))
    };
    let (first, last) = (number(first)?, number(last)?);
    Some(Entry::Lines(first.min(last), first.max(last)))
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[test]
    fn dressed_paths_are_undressed() {
        let exists = |path: &RepoPath| matches!(path.as_str(), "src/a.py" | "a/b.py" | "a b.py");
        let rows = [
            "src/a.py",
            "./src/a.py",
            "`src/a.py`",
            "`./src/a.py`,",
            "\"src/a.py\"",
            "- src/a.py",
            "* `src/a.py`",
            "1. src/a.py",
            "2) **src/a.py**",
            "### src/a.py",
            "File: src/a.py",
            "a/src/a.py",
            "b/src/a.py",
            "src/a.py: Cart, Cart.total",
            "src/a.py - holds the parser",
            "`src/a.py` (the parser)",
            "src/a.py:12",
            "  src/a.py  ",
        ];
        for row in rows {
            let expected = NamedPath::Existing(RepoPath::parse("src/a.py").unwrap());
            assert_eq!(parse_path(row, exists), expected, "{row:?}");
        }
        for exact in ["a/b.py", "a b.py"] {
            let expected = NamedPath::Existing(RepoPath::parse(exact).unwrap());
            assert_eq!(parse_path(exact, exists), expected, "{exact:?}");
        }
    }

    #[test]
    fn paths_that_do_not_exist_are_invented_and_hostile_ones_unsafe() {
        let none = |_: &RepoPath| false;
        for text in ["src/b.py", "I would change the parser", "src/b.py: x", "C:/x"] {
            assert_eq!(parse_path(text, none), NamedPath::Invented(text.to_owned()));
        }
        for text in ["/etc/passwd", "../x.py", "src/../../x", ".git/config", "a/.git/hooks/x"] {
            assert_eq!(parse_path(text, none), NamedPath::Unsafe(text.to_owned()));
        }
    }

    #[track_caller]
    fn check(line: &str, expect: Expect) {
        expect.assert_eq(&format!("{:?}", parse_entry(line)));
    }

    #[test]
    fn entries_below_a_path() {
        check("function: Cart.total", expect![[r#"[Symbol(Function, "Cart.total")]"#]]);
        check("- method: `Cart.total()`", expect![[r#"[Symbol(Function, "Cart.total")]"#]]);
        check("def total(self):", expect![[r#"[Symbol(Function, "total")]"#]]);
        check("class: Cart(Base)", expect![[r#"[Symbol(Class, "Cart")]"#]]);
        check("class Cart:", expect![[r#"[Symbol(Class, "Cart")]"#]]);
        check("function: Cart::total", expect![[r#"[Symbol(Function, "Cart.total")]"#]]);
        check("Variable: RATES = {}", expect![[r#"[Symbol(Variable, "RATES")]"#]]);
        check("module:", expect![[r#"[Symbol(Module, "")]"#]]);
        check("module", expect![[r#"[Symbol(Module, "")]"#]]);
        check("function:", expect!["[Other]"]);
        check("line: 12", expect!["[Lines(12, 12)]"]);
        check("line: 5-9", expect!["[Lines(5, 9)]"]);
        check("lines: 9-5", expect!["[Lines(5, 9)]"]);
        check("lines: 3, 7 to 9", expect!["[Lines(3, 3), Lines(7, 9)]"]);
        check("* 12", expect!["[Lines(12, 12)]"]);
        check("12|     return x", expect!["[Lines(12, 12)]"]);
        check("12: return x", expect!["[Lines(12, 12)]"]);
        check("12-14: the loop", expect!["[Lines(12, 14)]"]);
        check("line: L7", expect!["[Lines(7, 7)]"]);
        check("line: 99999999999999", expect!["[Lines(4294967295, 4294967295)]"]);
        check("line: twelve", expect!["[Other]"]);
        check("src/a.py", expect!["[Other]"]);
        check("because of this", expect!["[Other]"]);
    }

    #[test]
    fn a_block_is_wanted_and_must_hold_something() {
        fn reason(completion: &str, ended: Ended) -> Result<Vec<&str>, Reason> {
            list_entries(completion, ended, "paths").map_err(|rejection| rejection.reason)
        }
        assert_eq!(reason("", Ended::ByItself), Err(Reason::NoAnswer));
        assert_eq!(reason("src/a.py", Ended::ByItself), Err(Reason::NoAnswer));
        assert_eq!(reason("```\n\n```", Ended::ByItself), Err(Reason::EmptyAnswer));
        assert_eq!(reason("```\na\nb", Ended::ByItself), Ok(vec!["a", "b"]));
        assert_eq!(reason("```\na\nb", Ended::CutOff), Ok(vec!["a"]));
        assert_eq!(reason("```\na", Ended::CutOff), Err(Reason::EmptyAnswer));
    }
}
