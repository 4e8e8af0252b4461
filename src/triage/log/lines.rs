//! The lines of a log, one at a time: of any length and size, in bounded memory.

use std::io::{BufRead, ErrorKind};

/// Bytes of a line that are looked at.
const MOST_BYTES: usize = 4096;

/// Hands every line to `read`, without colours and line end; bytes that are no UTF-8 are replaced,
/// and of a very long line only the beginning is there. Gives the number of bytes read.
pub(super) fn for_each_line(
    mut source: impl BufRead,
    mut read: impl FnMut(&str),
) -> std::io::Result<u64> {
    let (mut line, mut n_bytes) = (Vec::new(), 0);
    loop {
        let chunk = match source.fill_buf() {
            Ok(chunk) => chunk,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if chunk.is_empty() {
            break;
        }
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let part = &chunk[..end.unwrap_or(chunk.len())];
        let room = MOST_BYTES.saturating_sub(line.len()).min(part.len());
        line.extend_from_slice(&part[..room]);
        let used = part.len() + usize::from(end.is_some());
        if end.is_some() {
            hand_over(&mut line, &mut read);
        }
        source.consume(used);
        n_bytes += used as u64;
    }
    if !line.is_empty() {
        hand_over(&mut line, &mut read);
    }
    Ok(n_bytes)
}

fn hand_over(line: &mut Vec<u8>, read: &mut impl FnMut(&str)) {
    if line.contains(&0x1b) {
        drop_colours(line);
    }
    read(String::from_utf8_lossy(line).trim_end());
    line.clear();
}

/// Takes out the escape sequences that begin with `ESC [`.
fn drop_colours(line: &mut Vec<u8>) {
    let mut plain = Vec::with_capacity(line.len());
    let mut rest = line.as_slice();
    while let Some(at) = rest.iter().position(|byte| *byte == 0x1b) {
        plain.extend_from_slice(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(inside) = rest.strip_prefix(b"[") {
            let end = inside.iter().position(|byte| (0x40..0x7f).contains(byte));
            rest = end.map_or(&[], |end| &inside[end + 1..]);
        }
    }
    plain.extend_from_slice(rest);
    *line = plain;
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    fn lines_of(bytes: &[u8], capacity: usize) -> Vec<String> {
        let mut lines = Vec::new();
        let source = BufReader::with_capacity(capacity, bytes);
        let n = for_each_line(source, |line| lines.push(line.to_owned())).unwrap();
        assert_eq!(n, bytes.len() as u64);
        lines
    }

    #[test]
    fn lines_are_the_same_however_they_arrive() {
        let bytes = b"one\r\n\x1b[31mtwo\x1b[0m\n\n\xffthree";
        for capacity in [1, 2, 5, 100] {
            assert_eq!(lines_of(bytes, capacity), ["one", "two", "", "\u{fffd}three"]);
        }
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let mut bytes = vec![b'x'; 3 * MOST_BYTES];
        bytes.extend(b"\nlast\n");
        let lines = lines_of(&bytes, 1000);
        assert_eq!((lines[0].len(), lines[1].as_str()), (MOST_BYTES, "last"));
    }
}
