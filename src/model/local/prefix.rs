//! What earlier prompts left behind: their keys and values, for the next prompt that begins alike.
//!
//! Entries share segments, so a prompt that goes on from another costs only what it adds: together
//! they are a radix tree over tokens, kept as its paths.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Prompts and the segments that hold them, least recently used out first.
pub struct PrefixStore<S> {
    /// In order of use.
    entries: Vec<Entry<S>>,
    max_bytes: usize,
}

struct Entry<S> {
    /// Whether an adapter had a part in it.
    adapted: bool,
    tokens: Vec<u32>,
    path: Vec<Arc<S>>,
}

/// The longest known beginning of a prompt.
pub struct Prefix<S> {
    /// Tokens that it covers.
    pub len: usize,
    /// The segments of the prompt it was found in.
    pub path: Vec<Arc<S>>,
}

impl<S> PrefixStore<S> {
    pub fn new(max_bytes: usize) -> Self {
        Self { entries: Vec::new(), max_bytes }
    }

    /// The longest beginning of `tokens` that is known with or without the adapter, one token at
    /// least being left over.
    pub fn find(&mut self, adapted: bool, tokens: &[u32]) -> Option<Prefix<S>> {
        let n_usable = tokens.len().checked_sub(1)?;
        let common = |entry: &Entry<S>| {
            if entry.adapted != adapted {
                return 0;
            }
            let pairs = entry.tokens.iter().zip(&tokens[..n_usable]);
            pairs.take_while(|(known, token)| known == token).count()
        };
        let lens: Vec<usize> = self.entries.iter().map(common).collect();
        let (idx, &len) = lens.iter().enumerate().max_by_key(|&(idx, len)| (len, idx))?;
        if len == 0 {
            return None;
        }
        let entry = self.entries.remove(idx);
        let path = entry.path.clone();
        self.entries.push(entry);
        Some(Prefix { len, path })
    }

    /// Keeps a prompt, and forgets the least recently used ones beyond the limit.
    pub fn insert(
        &mut self,
        adapted: bool,
        tokens: &[u32],
        path: &[Arc<S>],
        bytes_of: impl Fn(&S) -> usize,
    ) {
        // What is a beginning of the new prompt adds nothing to it.
        let is_part =
            |entry: &Entry<S>| entry.adapted == adapted && tokens.starts_with(&entry.tokens);
        self.entries.retain(|entry| !is_part(entry));
        self.entries.push(Entry { adapted, tokens: tokens.to_vec(), path: path.to_vec() });
        while self.n_bytes(&bytes_of) > self.max_bytes && !self.entries.is_empty() {
            self.entries.remove(0);
        }
    }

    /// Memory of all segments, shared ones counted once.
    fn n_bytes(&self, bytes_of: impl Fn(&S) -> usize) -> usize {
        let segments = self.entries.iter().flat_map(|entry| &entry.path);
        let unique: BTreeMap<*const S, usize> =
            segments.map(|segment| (Arc::as_ptr(segment), bytes_of(segment))).collect();
        unique.values().sum()
    }
}
