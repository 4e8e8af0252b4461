//! What texts cost, kept: a run whose counts are known builds the same prompts where its tokenizer
//! is not at hand.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::prompt::{CountTokens, EstimateTokens};

/// Tokens of texts, which are known by the first half of their SHA-256.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Counts {
    by_text: BTreeMap<String, usize>,
}

impl Counts {
    pub fn is_empty(&self) -> bool {
        self.by_text.is_empty()
    }

    pub fn extend(&mut self, others: Self) {
        self.by_text.extend(others.by_text);
    }
}

/// Counts as these counts say; a text that they do not know is estimated.
impl CountTokens for Counts {
    fn count(&self, text: &str) -> usize {
        self.by_text.get(&name_of(text)).copied().unwrap_or_else(|| EstimateTokens.count(text))
    }
}

/// Counts as another counter does, and keeps what it said.
pub struct CountLog<'a> {
    counter: &'a dyn CountTokens,
    state: Mutex<LogState>,
}

#[derive(Default)]
struct LogState {
    known: BTreeMap<String, usize>,
    /// Those of `known` that nobody has taken yet.
    new: Counts,
}

impl<'a> CountLog<'a> {
    pub fn new(counter: &'a dyn CountTokens) -> Self {
        Self { counter, state: Mutex::default() }
    }

    /// The counts of texts that were met for the first time since this was last called.
    pub fn take_new(&self) -> Counts {
        std::mem::take(&mut self.state().new)
    }

    fn state(&self) -> MutexGuard<'_, LogState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CountTokens for CountLog<'_> {
    fn count(&self, text: &str) -> usize {
        let name = name_of(text);
        if let Some(known) = self.state().known.get(&name) {
            return *known;
        }
        let count = self.counter.count(text);
        let mut state = self.state();
        state.known.insert(name.clone(), count);
        state.new.by_text.insert(name, count);
        count
    }
}

fn name_of(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct ByLetter;

    impl CountTokens for ByLetter {
        fn count(&self, text: &str) -> usize {
            text.chars().count()
        }
    }

    #[test]
    fn what_was_counted_is_counted_again_without_the_counter() {
        let log = CountLog::new(&ByLetter);
        assert_eq!(log.count("four"), 4);
        let first = log.take_new();
        assert_eq!((log.count("four"), log.count("seven")), (4, 5));
        let second = log.take_new();
        assert!(log.take_new().is_empty());
        assert_eq!(second.count("seven"), 5);
        // Each count is kept once, with the texts that came to be counted with it.
        assert_eq!(second.count("four"), EstimateTokens.count("four"));
        let json = serde_json::to_string(&first).unwrap();
        let mut read: Counts = serde_json::from_str(&json).unwrap();
        read.extend(second);
        assert_eq!((read.count("four"), read.count("seven")), (4, 5));
    }
}
