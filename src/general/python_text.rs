//! Texts as Python's `str` takes them apart: the reference code is written in it.

/// Whether `str.isspace` holds; it counts four separators that Unicode's property leaves out.
pub fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// `str.strip()`.
pub fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// `str.split()`: the words between white space.
pub fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_space).filter(|word| !word.is_empty())
}

/// `text[start:end]`, counted in characters; what lies behind the end is left out.
pub fn slice(text: &str, start: usize, end: usize) -> &str {
    let at = |n: usize| match text.is_ascii() {
        true => n.min(text.len()),
        false => text.char_indices().nth(n).map_or(text.len(), |(at, _)| at),
    };
    let (start, end) = (at(start), at(end));
    &text[start..end.max(start)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_taken_apart_as_python_does() {
        assert_eq!(strip(" \u{1f}\u{3000}a b\n"), "a b");
        assert_eq!(words(" a\u{1c}b\t\nc ").collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(words(" \n").count(), 0);
        for (text, start, end, expected) in [
            ("abcd", 1, 3, "bc"),
            ("abcd", 3, 9, "d"),
            ("abcd", 3, 1, ""),
            ("abcd", 9, 9, ""),
            ("aöcd", 1, 3, "öc"),
            ("äöü", 2, 9, "ü"),
        ] {
            assert_eq!(slice(text, start, end), expected, "{text}[{start}:{end}]");
        }
    }
}
