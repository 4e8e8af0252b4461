//! The three lines that divide a search/replace edit, and how long they must be.
//!
//! A marker is `N` equal characters at the start of a line, where `N` is whatever the edit's
//! opening line used. Prompts show seven; where shown code holds such a line itself, more.

/// Which of the three lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marker {
    /// `<<<<<<< SEARCH`
    Search,
    /// `=======`
    Divider,
    /// `>>>>>>> REPLACE`
    Replace,
}

/// The fewest characters of a marker.
pub const MIN_MARKER_LENGTH: usize = 7;

impl Marker {
    /// The marker line with `length` characters, without line end.
    pub fn render(self, length: usize) -> String {
        match self {
            Self::Search => format!("{} SEARCH", "<".repeat(length)),
            Self::Divider => "=".repeat(length),
            Self::Replace => format!("{} REPLACE", ">".repeat(length)),
        }
    }
}

/// Reads a line as a marker and its length; white space at the end is ignored.
pub fn parse_marker(line: &str) -> Option<(Marker, usize)> {
    let (marker, word) = match line.as_bytes().first()? {
        b'<' => (Marker::Search, " SEARCH"),
        b'=' => (Marker::Divider, ""),
        b'>' => (Marker::Replace, " REPLACE"),
        _ => return None,
    };
    let rest = line.trim_start_matches(char::from(line.as_bytes()[0]));
    let length = line.len() - rest.len();
    (MIN_MARKER_LENGTH <= length && rest.trim_end() == word).then_some((marker, length))
}

/// The marker length that no line of the given texts collides with: seven, or the next odd
/// number (nine, …) that is free.
pub fn free_marker_length<'a>(lines: impl IntoIterator<Item = &'a str>) -> usize {
    let taken: Vec<usize> =
        lines.into_iter().filter_map(parse_marker).map(|(_, length)| length).collect();
    let mut length = MIN_MARKER_LENGTH;
    while taken.contains(&length) {
        length += 2;
    }
    length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marker_lines() {
        let rows = [
            ("<<<<<<< SEARCH", Some((Marker::Search, 7))),
            ("<<<<<<<<< SEARCH  ", Some((Marker::Search, 9))),
            ("=======", Some((Marker::Divider, 7))),
            ("=========\r", Some((Marker::Divider, 9))),
            (">>>>>>> REPLACE", Some((Marker::Replace, 7))),
            ("<<<<<< SEARCH", None),
            ("<<<<<<<SEARCH", None),
            ("<<<<<<< HEAD", None),
            (" =======", None),
            ("======= x", None),
            ("", None),
            (">>>", None),
        ];
        for (line, expected) in rows {
            assert_eq!(parse_marker(line), expected, "{line:?}");
        }
    }

    #[test]
    fn markers_grow_where_code_holds_marker_lines() {
        let rows: [(&[&str], usize); 4] = [
            (&["a", "======"], 7),
            (&["Title", "======="], 9),
            (&["=========", "a"], 7),
            (&["=======", "<<<<<<<<< SEARCH"], 11),
        ];
        for (lines, expected) in rows {
            assert_eq!(free_marker_length(lines.iter().copied()), expected, "{lines:?}");
        }
    }
}
