//! Identifiers and words: how a text becomes terms that an issue and a file can share.
//!
//! A term is a lower-case stem. An identifier of several parts gives its parts and, joined without
//! underscores, itself: `DataElement`, `data_element` and "data elements" meet. Terms are kept as
//! hashes, so that term lists are small and mean the same in every file and every run.

pub mod stop_words;
#[cfg(test)]
mod tests;

/// A hash of a term, the same on every machine and in every version of a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TermId(pub u32);

impl TermId {
    /// FNV-1a over the bytes, 64 bits folded to 32.
    pub fn of(term: &str) -> Self {
        let hash = term.bytes().fold(0xcbf2_9ce4_8422_2325, fnv_step);
        Self((hash ^ (hash >> 32)) as u32)
    }

    /// The id of some words in a row, which is no other term's.
    pub fn of_phrase(words: [Self; PHRASE_WORDS]) -> Self {
        let bytes = words.iter().flat_map(|word| word.0.to_le_bytes());
        let hash = bytes.fold(0x9e37_79b9_7f4a_7c15, fnv_step);
        Self((hash ^ (hash >> 32)) as u32)
    }
}

/// How many words in a row make a phrase that is worth finding again in a message.
pub const PHRASE_WORDS: usize = 3;

fn fnv_step(hash: u64, byte: u8) -> u64 {
    (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
}

/// The identifiers and words of a text, each with its byte offset.
///
/// A run of letters, digits and underscores that holds a letter; numbers are no words.
pub fn identifiers(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut rest = text;
    let mut offset = 0;
    std::iter::from_fn(move || {
        loop {
            let start = rest.find(is_identifier_char)?;
            let run = &rest[start..];
            let end = run.find(|c| !is_identifier_char(c)).unwrap_or(run.len());
            let word = &run[..end];
            let at = offset + start;
            offset = at + end;
            rest = &run[end..];
            if word.contains(char::is_alphabetic) {
                return Some((at, word));
            }
        }
    })
}

fn is_identifier_char(c: char) -> bool {
    c == '_' || c.is_ascii_alphanumeric() || (!c.is_ascii() && c.is_alphanumeric())
}

/// Whether an identifier has an underscore between letters, a capital behind a small letter, or
/// several capitals followed by small letters: a name that ordinary prose does not hold.
pub fn is_compound(identifier: &str) -> bool {
    1 < parts(identifier).take(2).count()
}

/// The parts of an identifier: split at underscores and where the case changes.
///
/// `HTTPServer_v2` → `HTTP`, `Server`, `v2`.
pub fn parts(identifier: &str) -> impl Iterator<Item = &str> {
    identifier.split('_').filter(|part| !part.is_empty()).flat_map(case_parts)
}

fn case_parts(word: &str) -> impl Iterator<Item = &str> {
    let mut rest = word;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = case_boundary(rest).unwrap_or(rest.len());
        let (part, tail) = rest.split_at(end);
        rest = tail;
        Some(part)
    })
}

/// Where the first part of a word without underscores ends, if it is not all of it.
fn case_boundary(word: &str) -> Option<usize> {
    let mut before_previous = None::<char>;
    let mut previous = None::<(usize, char)>;
    for (at, c) in word.char_indices() {
        if let Some((previous_at, p)) = previous {
            if !p.is_uppercase() && c.is_uppercase() {
                return Some(at);
            }
            // `HTTPServer`: the last capital belongs to the part behind it. `URLs` is one word.
            let ends_acronym = before_previous.is_some_and(char::is_uppercase)
                && p.is_uppercase()
                && c.is_lowercase()
                && &word[at..] != "s";
            if ends_acronym {
                return Some(previous_at);
            }
        }
        before_previous = previous.map(|(_, p)| p);
        previous = Some((at, c));
    }
    None
}

/// Turns identifiers into terms; holds the buffers that this takes.
#[derive(Debug, Default)]
pub struct TermReader {
    joined: String,
    part: String,
}

impl TermReader {
    /// Calls `found` with the terms of one identifier: its parts, then itself where it has several.
    /// Terms of one letter are left out.
    pub fn read(&mut self, identifier: &str, mut found: impl FnMut(&str)) {
        self.joined.clear();
        let mut n_parts = 0;
        for part in parts(identifier) {
            n_parts += 1;
            self.part.clear();
            push_lowercase(&mut self.part, part);
            self.joined.push_str(&self.part);
            stem(&mut self.part);
            if 1 < self.part.chars().take(2).count() && self.part.contains(char::is_alphabetic) {
                found(&self.part);
            }
        }
        if 1 < n_parts {
            stem(&mut self.joined);
            found(&self.joined);
        }
    }
}

fn push_lowercase(into: &mut String, part: &str) {
    if part.is_ascii() {
        into.extend(part.bytes().map(|byte| char::from(byte.to_ascii_lowercase())));
    } else {
        into.extend(part.chars().flat_map(char::to_lowercase));
    }
}

/// Cuts the commonest English endings off a lower-case word, so that "parsing", "parsed", "parses"
/// and "parse" meet. Crude on purpose: it only has to treat issue and code alike.
fn stem(word: &mut String) {
    if !word.is_ascii() {
        return;
    }
    if word.ends_with("ies") && 4 < word.len() {
        word.truncate(word.len() - 3);
        word.push('y');
    } else if word.ends_with('s')
        && 3 < word.len()
        && !["ss", "us", "is"].iter().any(|end| word.ends_with(end))
    {
        word.truncate(word.len() - 1);
    }
    for ending in ["ing", "ed"] {
        if word.ends_with(ending) && ending.len() + 3 <= word.len() {
            let stem_len = word.len() - ending.len();
            if word[..stem_len].contains(['a', 'e', 'i', 'o', 'u', 'y']) {
                word.truncate(stem_len);
                drop_doubled_consonant(word);
            }
            break;
        }
    }
    if word.ends_with('e') && 3 < word.len() {
        word.truncate(word.len() - 1);
    }
}

/// `mapp` (of "mapping") → `map`; `call` and `pass` keep both letters.
fn drop_doubled_consonant(word: &mut String) {
    let bytes = word.as_bytes();
    if let [.., a, b] = bytes
        && a == b
        && !matches!(b, b'a' | b'e' | b'i' | b'o' | b'u' | b'l' | b's' | b'z')
    {
        word.truncate(word.len() - 1);
    }
}
