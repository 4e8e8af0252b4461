//! Free text, line by line: a small machine over bytes that never lets a line start with a marker.
//!
//! Besides the markers it refuses NUL and carriage return, and bytes that cannot be UTF-8.

use std::ops::RangeInclusive;

/// The start of a line: free text may end here.
pub(crate) const LINE_START: u32 = 0;
/// Inside a line; `MID + n` waits for `n` more bytes of a character.
const MID: u32 = 1;
/// Behind the bytes of a character whose second byte has bounds of its own.
const AFTER_E0: u32 = 5;
const AFTER_ED: u32 = 6;
const AFTER_F0: u32 = 7;
const AFTER_F4: u32 = 8;
/// `PREFIX + n`: node `n` of the markers' tree, a marker that has begun.
const PREFIX: u32 = 9;

/// Which lines are allowed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct FreeLines {
    /// Tree of the markers' bytes; node 0 is the root.
    nodes: Vec<MarkerNode>,
    pub(crate) max_tokens: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct MarkerNode {
    children: Vec<(u8, u32)>,
    is_marker: bool,
}

impl FreeLines {
    pub(crate) fn new(never_starts: &[String], max_tokens: u32) -> Self {
        let mut nodes = vec![MarkerNode::default()];
        for marker in never_starts.iter().filter(|marker| !marker.is_empty()) {
            let mut at = 0;
            for byte in marker.bytes() {
                let child = nodes[at].children.iter().find(|(b, _)| *b == byte);
                at = if let Some((_, child)) = child {
                    *child as usize
                } else {
                    let new = nodes.len();
                    nodes[at].children.push((byte, new as u32));
                    nodes.push(MarkerNode::default());
                    new
                };
            }
            nodes[at].is_marker = true;
        }
        Self { nodes, max_tokens }
    }

    /// The phase after one more byte; `None` where the byte is not allowed.
    pub(crate) fn step(&self, phase: u32, byte: u8) -> Option<u32> {
        if 0 < bytes_waited_for(phase) {
            return step_in_character(phase, byte);
        }
        match byte {
            b'\n' => Some(LINE_START),
            0 | b'\r' => None,
            _ => match self.child(phase, byte) {
                Some(node) if self.nodes[node as usize].is_marker => None,
                Some(node) => Some(PREFIX + node),
                None => match byte {
                    0..0x80 => Some(MID),
                    0xc2..0xe0 => Some(MID + 1),
                    0xe0 => Some(AFTER_E0),
                    0xed => Some(AFTER_ED),
                    0xe1..0xf0 => Some(MID + 2),
                    0xf0 => Some(AFTER_F0),
                    0xf4 => Some(AFTER_F4),
                    0xf1..0xf4 => Some(MID + 3),
                    _ => None,
                },
            },
        }
    }

    /// The marker node that `byte` leads to, where a marker is still possible.
    fn child(&self, phase: u32, byte: u8) -> Option<u32> {
        let node = match phase {
            LINE_START => 0,
            PREFIX.. => phase - PREFIX,
            _ => return None,
        };
        let children = &self.nodes[node as usize].children;
        children.iter().find(|(b, _)| *b == byte).map(|(_, child)| *child)
    }
}

/// How many bytes end the text from here: the rest of a character and a line end.
pub(crate) fn bytes_to_line_end(phase: u32) -> u32 {
    if phase == LINE_START { 0 } else { bytes_waited_for(phase) + 1 }
}

/// Like [`FreeLines::step`], but on the shortest way to the line's end.
pub(crate) fn step_to_line_end(phase: u32, byte: u8) -> Option<u32> {
    match bytes_waited_for(phase) {
        0 => (byte == b'\n').then_some(LINE_START),
        _ => step_in_character(phase, byte),
    }
}

/// The smallest byte on the shortest way to the line's end.
pub(crate) fn byte_to_line_end(phase: u32) -> u8 {
    match bytes_waited_for(phase) {
        0 => b'\n',
        _ => *bounds(phase).start(),
    }
}

fn step_in_character(phase: u32, byte: u8) -> Option<u32> {
    bounds(phase).contains(&byte).then(|| MID + bytes_waited_for(phase) - 1)
}

/// The bytes that may follow within a character.
fn bounds(phase: u32) -> RangeInclusive<u8> {
    match phase {
        AFTER_E0 => 0xa0..=0xbf,
        AFTER_ED => 0x80..=0x9f,
        AFTER_F0 => 0x90..=0xbf,
        AFTER_F4 => 0x80..=0x8f,
        _ => 0x80..=0xbf,
    }
}

fn bytes_waited_for(phase: u32) -> u32 {
    match phase {
        MID..AFTER_E0 => phase - MID,
        AFTER_E0 | AFTER_ED => 2,
        AFTER_F0 | AFTER_F4 => 3,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, is_allowed: bool) {
        let lines = FreeLines::new(&["```".to_owned(), "<<<<<<<".to_owned()], 10);
        let end = text.bytes().try_fold(LINE_START, |phase, byte| lines.step(phase, byte));
        assert_eq!(end.is_some(), is_allowed, "{text:?} ends in {end:?}");
    }

    #[test]
    fn a_line_may_hold_a_marker_but_not_start_with_it() {
        check("plain\n\n  text ```rust\n``\n", true);
        check("`` ` ```\n<<<<<< six\n", true);
        check("ok\n```\n", false);
        check("ok\n \t ```\n", true);
        check("<<<<<<< SEARCH\n", false);
    }

    #[test]
    fn text_stays_text() {
        check("é 漢 🦀\n", true);
        check("a\0", false);
        check("a\r\n", false);
        let lines = FreeLines::new(&[], 10);
        let half = lines.step(LINE_START, 0xc3).unwrap();
        assert_eq!(lines.step(half, b'\n'), None);
        assert_eq!(bytes_to_line_end(half), 2);
        for bytes in
            [b"\xff".as_slice(), b"\xe0\x80", b"\xed\xa0", b"\xf0\x80", b"\xf4\x90", b"\xc1"]
        {
            let end = bytes.iter().try_fold(LINE_START, |phase, byte| lines.step(phase, *byte));
            assert_eq!(end, None, "{bytes:x?}");
        }
    }
}
