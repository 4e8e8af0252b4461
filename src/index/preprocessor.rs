//! C and C++ that can only be read when the preprocessor has run, in a plainer form of the same
//! length and lines: what is left out becomes blanks.

/// What a byte belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Code,
    Directive,
    /// Comments, strings and characters.
    Other,
}

/// How deep conditions are followed.
const MAX_DEPTH: usize = 64;

/// Conditions with a branch that opens or closes more brackets than it closes or opens: of their
/// branches only the first is kept, so that brackets match.
pub(super) fn choose_branches(content: &str) -> Option<Vec<u8>> {
    let mut plainer = content.as_bytes().to_vec();
    blank_branches(&mut plainer);
    (plainer != content.as_bytes()).then_some(plainer)
}

/// Words in capitals that stand where only a macro can, such as `EXPORT` in
/// `class EXPORT buffer {`.
pub(super) fn leave_out_macros(content: &str) -> Option<Vec<u8>> {
    let mut plainer = content.as_bytes().to_vec();
    blank_macros(&mut plainer);
    (plainer != content.as_bytes()).then_some(plainer)
}

/// Both.
pub(super) fn choose_branches_without_macros(content: &str) -> Option<Vec<u8>> {
    let mut plainer = choose_branches(content)?;
    blank_macros(&mut plainer);
    Some(plainer)
}

fn parts_of(bytes: &[u8]) -> Vec<Part> {
    enum State {
        Code,
        LineComment,
        Comment,
        Quoted(u8),
        Directive,
    }
    let mut parts = vec![Part::Other; bytes.len()];
    let (mut state, mut is_line_start, mut at) = (State::Code, true, 0);
    while at < bytes.len() {
        let (byte, next) = (bytes[at], bytes.get(at + 1).copied());
        let mut n_bytes = 1;
        match state {
            State::Code => match byte {
                b'#' if is_line_start => {
                    parts[at] = Part::Directive;
                    state = State::Directive;
                }
                b'/' if next == Some(b'/') => state = State::LineComment,
                b'/' if next == Some(b'*') => {
                    state = State::Comment;
                    n_bytes = 2;
                }
                // Between digits it parts them.
                b'\'' if 0 < at && bytes[at - 1].is_ascii_hexdigit() => {}
                b'"' | b'\'' => state = State::Quoted(byte),
                _ => parts[at] = Part::Code,
            },
            State::LineComment | State::Directive => {
                if let State::Directive = state {
                    parts[at] = Part::Directive;
                }
                if byte == b'\\' {
                    n_bytes = 2;
                } else if byte == b'\n' {
                    state = State::Code;
                }
            }
            State::Comment if byte == b'*' && next == Some(b'/') => {
                state = State::Code;
                n_bytes = 2;
            }
            State::Comment => {}
            State::Quoted(_) if byte == b'\\' => n_bytes = 2,
            State::Quoted(quote) => {
                if byte == quote || byte == b'\n' {
                    state = State::Code;
                }
            }
        }
        is_line_start = byte == b'\n' || (is_line_start && byte.is_ascii_whitespace());
        at += n_bytes;
    }
    parts
}

/// Open braces and parentheses.
type Balance = (i32, i32);

/// A condition whose end has not come.
struct Condition {
    /// Where the lines of its directives start and end.
    directives: Vec<(usize, usize)>,
    is_false: bool,
    before: Balance,
    /// What each branch leaves open.
    branches: Vec<Balance>,
}

fn blank_branches(bytes: &mut [u8]) {
    let parts = parts_of(bytes);
    let (mut open, mut balance, mut start) = (Vec::<Condition>::new(), (0, 0), 0);
    let mut blanks = Vec::new();
    let mut n_deeper = 0_usize;
    while start < bytes.len() {
        let n_bytes = bytes[start..].iter().position(|byte| *byte == b'\n');
        let end = n_bytes.map_or(bytes.len(), |n_bytes| start + n_bytes);
        let line = start..end;
        start = end + 1;
        let text = &bytes[line.clone()];
        let first = text.iter().position(|byte| !byte.is_ascii_whitespace());
        let is_directive = first.is_some_and(|first| {
            text[first] == b'#' && parts[line.start + first] == Part::Directive
        });
        if !is_directive {
            for at in line.clone().filter(|at| parts[*at] == Part::Code) {
                match bytes[at] {
                    b'{' => balance.0 += 1,
                    b'}' => balance.0 -= 1,
                    b'(' => balance.1 += 1,
                    b')' => balance.1 -= 1,
                    _ => {}
                }
            }
            continue;
        }
        let words = text[first.unwrap_or(0) + 1..].trim_ascii_start();
        let length = words.iter().position(|byte| !byte.is_ascii_alphabetic());
        let (word, rest) = words.split_at(length.unwrap_or(words.len()));
        match word {
            b"if" | b"ifdef" | b"ifndef" if open.len() == MAX_DEPTH => n_deeper += 1,
            b"if" | b"ifdef" | b"ifndef" => open.push(Condition {
                directives: vec![(line.start, line.end)],
                is_false: word == b"if" && rest.trim_ascii().starts_with(b"0"),
                before: balance,
                branches: Vec::new(),
            }),
            b"endif" if 0 < n_deeper => n_deeper -= 1,
            b"elif" | b"else" | b"elifdef" | b"elifndef" | b"endif" if n_deeper == 0 => {
                let Some(condition) = open.last_mut() else { continue };
                condition
                    .branches
                    .push((balance.0 - condition.before.0, balance.1 - condition.before.1));
                condition.directives.push((line.start, line.end));
                balance = condition.before;
                if word == b"endif"
                    && let Some(condition) = open.pop()
                {
                    balance = close(&condition, bytes, &mut blanks);
                }
            }
            _ => {}
        }
    }
    for (start, end) in blanks {
        blank(&mut bytes[start..end]);
    }
}

/// Takes note of what is left out of a condition; returns the balance behind it.
fn close(condition: &Condition, bytes: &[u8], blanks: &mut Vec<(usize, usize)>) -> Balance {
    let Condition { directives, is_false, before, branches } = condition;
    let is_continued = |(_, end): &(usize, usize)| bytes[..*end].ends_with(b"\\");
    if branches.iter().all(|left| *left == (0, 0)) || directives.iter().any(is_continued) {
        return *before;
    }
    let kept = usize::from(*is_false && 1 < branches.len());
    blanks.extend(directives);
    for (_, sides) in directives.windows(2).enumerate().filter(|(idx, _)| *idx != kept) {
        blanks.push((sides[0].1, sides[1].0));
    }
    (before.0 + branches[kept].0, before.1 + branches[kept].1)
}

fn blank_macros(bytes: &mut [u8]) {
    let parts = parts_of(bytes);
    let is_code = |at: usize| parts.get(at) == Some(&Part::Code);
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    // The last byte before a word that is code and no space.
    let (mut before, mut at) = (None, 0);
    while at < bytes.len() {
        if !is_code(at) || !is_word(bytes[at]) {
            if is_code(at) && !bytes[at].is_ascii_whitespace() {
                before = Some(at);
            }
            at += 1;
            continue;
        }
        let end = (at..bytes.len()).find(|at| !is_word(bytes[*at])).unwrap_or(bytes.len());
        let is_macro = 3 <= end - at
            && bytes[at].is_ascii_uppercase()
            && bytes[at..end].iter().all(|byte| !byte.is_ascii_lowercase());
        let arguments_end = is_macro.then(|| skip_arguments(bytes, end, is_code)).flatten();
        let behind = arguments_end.unwrap_or(end);
        let next = (behind..bytes.len())
            .find(|at| !bytes[*at].is_ascii_whitespace())
            .filter(|next| is_code(*next));
        let start = match next {
            Some(next) if is_macro => {
                let rest = &bytes[next..];
                let follows = |mark: &[u8]| rest.starts_with(mark);
                let is_before = |byte| before.is_some_and(|at| bytes[at] == byte);
                let is_before_word = behind < next
                    && (rest[0].is_ascii_alphabetic()
                        || rest[0] == b'_'
                        || follows(b"~")
                        || follows(b"[[")
                        || follows(b"::"))
                    && !follows(b"final");
                if is_before_word || (is_before(b')') && follows(b"{")) {
                    Some(at)
                } else if arguments_end.is_some() && is_before(b',') && follows(b">") {
                    before
                } else {
                    None
                }
            }
            _ => None,
        };
        match start {
            Some(start) => blank(&mut bytes[start..behind]),
            None => before = Some(end - 1),
        }
        at = if start.is_some() { behind } else { end };
    }
}

/// The most bytes of a macro's arguments.
const MAX_ARGUMENTS: usize = 2000;

/// Where the parentheses end that start behind a word.
fn skip_arguments(bytes: &[u8], word_end: usize, is_code: impl Fn(usize) -> bool) -> Option<usize> {
    if bytes.get(word_end) != Some(&b'(') {
        return None;
    }
    let mut n_open = 0_usize;
    let last = bytes.len().min(word_end + MAX_ARGUMENTS);
    for at in (word_end..last).filter(|at| is_code(*at)) {
        match bytes[at] {
            b'(' => n_open += 1,
            b')' if n_open == 1 => return Some(at + 1),
            b')' => n_open -= 1,
            _ => {}
        }
    }
    None
}

fn blank(bytes: &mut [u8]) {
    bytes.iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(plainer: fn(&str) -> Option<Vec<u8>>, source: &str, wanted: Option<&str>) {
        let found = plainer(source).map(|bytes| String::from_utf8(bytes).unwrap());
        // Blanks as they come are hard to read.
        let tidy = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
        if let Some(found) = &found {
            assert_eq!(found.len(), source.len());
            assert_eq!(found.lines().count(), source.lines().count());
        }
        assert_eq!(found.map(tidy).as_deref(), wanted);
    }

    #[test]
    fn of_conditions_that_part_brackets_one_branch_is_kept() {
        check(
            choose_branches,
            "void f() {\n#ifdef A\n  if (a) {\n#else\n  if (b) {\n#endif\n  }\n}\n",
            Some("void f() { if (a) { } }"),
        );
        check(
            choose_branches,
            "#ifdef A\nint f() {\n#endif\n  g();\n#ifdef A\n}\n#endif\n",
            Some("int f() { g(); }"),
        );
        check(choose_branches, "#if 0\nint f( {\n#else\nf {\n#endif\n}\n", Some("f { }"));
        check(choose_branches, "#ifdef A\nint f() { }\n#else\nint g() { }\n#endif\n", None);
        // Brackets in strings and comments are none, and an inner condition is not the outer's.
        check(choose_branches, "#ifdef A\nchar c = '{'; // (\n#endif\n", None);
        check(
            choose_branches,
            "#ifdef A\n#ifdef B\nif (x) {\n#else\n{\n#endif\n}\n#else\nint g;\n#endif\n",
            Some("#ifdef A if (x) { } #else int g; #endif"),
        );
    }

    #[test]
    fn words_in_capitals_that_can_only_be_macros_are_left_out() {
        check(
            leave_out_macros,
            "class API error : public b {};",
            Some("class error : public b {};"),
        );
        check(leave_out_macros, "EXPORT template <T> F(x) f();", Some("template <T> F(x) f();"));
        check(leave_out_macros, "EXPORT(1, (2)) int f() NOTHROW { }", Some("int f() { }"));
        check(
            leave_out_macros,
            "template <typename T, ENABLE_IF(is<T>::x)>\nvoid f(T);",
            Some("template <typename T > void f(T);"),
        );
        for kept in ["FILE* f;", "class API final {};", "int A = MAX(1, 2);", "// API class"] {
            check(leave_out_macros, kept, None);
        }
    }
}
