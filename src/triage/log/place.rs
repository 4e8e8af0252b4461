//! The places that a line of a log names: stack frames, and what compilers and test tools print.

use crate::index::retrieval::frames::{Frame, parse_frame, parse_path};

/// Words that make a line with a path and a line number a diagnostic.
const FAILING: &[&str] = &[
    "error",
    "Error",
    "ERROR",
    "panicked",
    "Assertion",
    "assertion",
    "Failure",
    "FAIL",
    "failed",
    "undefined",
    "Exception",
];

/// A place that a line names, if it names one.
pub(super) fn parse_place(line: &str) -> Option<Frame> {
    if !may_name_a_place(line) {
        return None;
    }
    let line = line.replace("file://", "");
    let bare = line.trim_start_matches(|c: char| c.is_whitespace() || matches!(c, '#' | '|'));
    let is_warning = line.contains("warning") || line.contains("Warning");
    parse_frame(&line)
        .or_else(|| parse_frame(bare))
        .or_else(|| parse_arrow(bare))
        .or_else(|| parse_path_alone(bare))
        .or_else(|| parse_go(bare))
        .or_else(|| (!is_warning).then(|| parse_diagnostic(&line)).flatten())
}

/// A quick look, since most lines of a log are no place: a digit behind `:`, `(`, `[` or a space,
/// and a point or the word `line`.
fn may_name_a_place(line: &str) -> bool {
    let bytes = line.as_bytes();
    let has_number = bytes.windows(2).any(|pair| {
        matches!(pair[0], b':' | b'(' | b'[' | b' ' | b'L') && pair[1].is_ascii_digit()
    });
    has_number && bytes.contains(&b'.')
}

/// `--> src/a.rs:3:5` (rustc), without knowing whether it is a warning's.
fn parse_arrow(line: &str) -> Option<Frame> {
    place(line.strip_prefix("--> ")?.split_whitespace().next()?)
}

/// A line that is a path with a number and nothing else (of `phpunit`), perhaps in brackets at the end
/// of a heading (minitest).
fn parse_path_alone(line: &str) -> Option<Frame> {
    let in_brackets = line.strip_suffix(':').and_then(|line| line.strip_suffix(']'));
    let token = match in_brackets {
        Some(line) => line.rsplit_once('[')?.1,
        None => line,
    };
    if token.contains(' ') { None } else { place(token) }
}

/// `./a.go:5:2: undefined: x`, `a_test.go:12: wanted 3`.
fn parse_go(line: &str) -> Option<Frame> {
    let token = line.split_whitespace().next()?;
    (token.ends_with(':') && token.contains(".go:")).then(|| place(token)).flatten()
}

/// Any path with a number on a line that speaks of a failure.
fn parse_diagnostic(line: &str) -> Option<Frame> {
    if !FAILING.iter().any(|word| line.contains(word)) {
        return None;
    }
    line.split_whitespace().find_map(place)
}

fn place(token: &str) -> Option<Frame> {
    // Maven prints `/a/B.java:[12,5]`.
    let mention = parse_path(&token.replace(":[", ":"))?;
    mention.line.map(|line| Frame { path: mention.path, line: Some(line), function: None })
}

/// The function that a line names for the frame below it: `5: demo::cart::total` of Rust,
/// `main.(*Cart).Total(0x1, …)` of Go.
pub(super) fn parse_function_above(line: &str) -> Option<String> {
    let bare = line.trim_start();
    let name = match bare.split_once(": ") {
        Some((number, name)) if number.bytes().all(|byte| byte.is_ascii_digit()) => {
            let name = name.split(" - ").last()?;
            let hash = name.rfind("::h").filter(|at| name.len() - at == 19);
            name[..hash.unwrap_or(name.len())].replace("::", ".")
        }
        _ => {
            let (name, arguments) = bare.rsplit_once('(')?;
            let is_call = arguments.ends_with(')') && !name.contains(' ') && !name.is_empty();
            is_call.then(|| name.rsplit('/').next().unwrap_or(name).replace(['(', ')', '*'], ""))?
        }
    };
    let is_name = name.chars().all(|c| c == '.' || c == '_' || c.is_alphanumeric());
    let short: Vec<&str> = name.rsplitn(3, '.').take(2).collect();
    (is_name && !name.is_empty()).then(|| short.into_iter().rev().collect::<Vec<_>>().join("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_compilers_and_test_tools_are_read() {
        let rows = [
            ("  File \"/a/b.py\", line 3, in f", Some(("/a/b.py", 3))),
            ("src/a.py:12: AssertionError", Some(("src/a.py", 12))),
            ("  --> src/lib.rs:10:5", Some(("src/lib.rs", 10))),
            ("thread 'tests::a' panicked at src/lib.rs:10:5:", Some(("src/lib.rs", 10))),
            ("             at ./src/lib.rs:10:5", Some(("./src/lib.rs", 10))),
            ("src/a.c:3:5: error: unknown type name 'x'", Some(("src/a.c", 3))),
            ("src/a.c:3:5: warning: unused variable", None),
            ("src/a.ts(3,5): error TS2304: no name", Some(("src/a.ts", 3))),
            ("./a.go:5:2: undefined: x", Some(("./a.go", 5))),
            ("    cart_test.go:12: wanted 3, found 4", Some(("cart_test.go", 12))),
            ("[ERROR] /w/src/A.java:[12,5] cannot find symbol", Some(("/w/src/A.java", 12))),
            ("    at Object.<anonymous> (src/sum.test.js:4:19)", Some(("src/sum.test.js", 4))),
            ("    at file:///w/src/sum.mjs:4:19", Some(("/w/src/sum.mjs", 4))),
            ("     # ./lib/cart.rb:3:in `total'", Some(("./lib/cart.rb", 3))),
            ("TestCart#test_total [test/cart_test.rb:12]:", Some(("test/cart_test.rb", 12))),
            ("/w/tests/CartTest.php:21", Some(("/w/tests/CartTest.php", 21))),
            ("/w/cart_test.cc:12: Failure", Some(("/w/cart_test.cc", 12))),
            ("a.out: cart.c:12: total: Assertion `0 < n' failed.", Some(("cart.c", 12))),
            ("collected 12 items in 0.3s", None),
            ("see docs/a.md:3 for more", None),
            ("downloaded 3.4 MB at 12:30", None),
        ];
        for (line, expected) in rows {
            let found = parse_place(line);
            let found = found.as_ref().map(|at| (at.path.as_str(), at.line.unwrap_or_default()));
            assert_eq!(found, expected, "{line}");
        }
    }

    #[test]
    fn a_function_may_stand_above_its_place() {
        let rows = [
            ("   5: demo::cart::total", Some("cart.total")),
            ("   5: demo::cart::total::h0123456789abcdef", Some("cart.total")),
            ("main.(*Cart).Total(0xc000, 0x1)", Some("Cart.Total")),
            ("example.com/shop/cart.Total(...)", Some("cart.Total")),
            ("goroutine 7 [running]:", None),
            ("12: some words", None),
        ];
        for (line, name) in rows {
            assert_eq!(parse_function_above(line).as_deref(), name, "{line}");
        }
    }
}
