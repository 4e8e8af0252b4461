//! Constrained decoding: which tokens may come next so that a completion obeys its grammar.
//!
//! A grammar is right recursive, so a deterministic automaton over bytes judges it; the tokens
//! allowed in a state are those whose bytes the automaton takes from there, whatever way they
//! cross the grammar's pieces. Every state can reach the end, and a token after which the closing
//! text would no longer fit into the token limit is not allowed: a completion is never cut off.

mod masks;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::grammar::Grammar;
use crate::grammar::automaton::{Automaton, StateId};
use crate::grammar::program::{GrammarError, StepId};
use crate::model::constraint::masks::{Masks, has_longer_token, n_closing_tokens};
use crate::model::token_trie::{TokenSet, TokenTrie};

/// A grammar made ready for one vocabulary; all samples of a request share it.
#[derive(Debug)]
pub struct Compiled {
    trie: Arc<TokenTrie>,
    work: Mutex<Work>,
}

/// What is worked out on the way and kept for other samples.
#[derive(Debug)]
struct Work {
    automaton: Automaton,
    masks: Masks,
}

/// A token that the grammar does not allow where it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the grammar does not allow the token {token} here")]
pub struct NotAllowed {
    pub token: u32,
}

impl Compiled {
    pub fn new(grammar: &Grammar, trie: Arc<TokenTrie>) -> Result<Arc<Self>, GrammarError> {
        let automaton = Automaton::new(grammar)?;
        let missing = (0..=255_u8).filter(|byte| automaton.literal_bytes()[usize::from(*byte)]);
        for byte in missing {
            if trie.spell(&[byte]).is_none() {
                return Err(GrammarError::MissingByte { byte });
            }
        }
        let work = Mutex::new(Work { automaton, masks: Masks::default() });
        Ok(Arc::new(Self { trie, work }))
    }

    fn work(&self) -> MutexGuard<'_, Work> {
        // What is kept is right at every moment, also after a panic elsewhere.
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How far one sample has come in its grammar.
#[derive(Debug, Clone)]
pub struct Constraint {
    compiled: Arc<Compiled>,
    state: StateId,
    /// Tokens that may still come, besides the one that ends the turn.
    remaining: usize,
    /// Tokens spent in each free text that the sample stands in.
    spent: BTreeMap<StepId, u32>,
    is_ended: bool,
    /// Whether the model spells even what the grammar dictates.
    is_unforced: bool,
}

impl Constraint {
    /// The start of a completion of at most `max_tokens` tokens, not counting the one that ends
    /// the turn.
    pub fn new(compiled: &Arc<Compiled>, max_tokens: usize) -> Result<Self, GrammarError> {
        let state = Automaton::START;
        let Work { automaton, masks } = &mut *compiled.work();
        let wanted = n_closing_tokens(automaton, masks, &compiled.trie, state);
        if max_tokens < wanted {
            return Err(GrammarError::TooFewTokens { wanted, found: max_tokens });
        }
        let (compiled, spent) = (Arc::clone(compiled), BTreeMap::new());
        let (is_ended, is_unforced) = (false, false);
        Ok(Self { compiled, state, remaining: max_tokens, spent, is_ended, is_unforced })
    }

    /// The same, with [`Constraint::forced`] always empty.
    #[must_use]
    pub fn unforced(self) -> Self {
        Self { is_unforced: true, ..self }
    }

    /// The tokens that may come next. Never empty before the end: where the completion may end,
    /// the vocabulary's end-of-turn tokens are among them.
    pub fn allowed(&mut self) -> Arc<TokenSet> {
        let trie = &self.compiled.trie;
        if self.is_ended {
            return Arc::new(TokenSet::empty(trie.vocabulary().tokens.len()));
        }
        let Work { automaton, masks } = &mut *self.compiled.work();
        masks.allowed(automaton, trie, self.state, self.remaining)
    }

    /// Appends a token to the completion.
    pub fn commit(&mut self, token: u32) -> Result<(), NotAllowed> {
        let refused = NotAllowed { token };
        if self.is_ended {
            return Err(refused);
        }
        if self.compiled.trie.vocabulary().end_of_turn.contains(&token) {
            self.is_ended = self.may_end();
            return if self.is_ended { Ok(()) } else { Err(refused) };
        }
        let bytes = self.compiled.trie.bytes(token);
        if bytes.is_empty() || self.remaining == 0 {
            return Err(refused);
        }
        let automaton = &mut self.compiled.work().automaton;
        self.state = automaton.walk(self.state, bytes).ok_or(refused)?;
        self.remaining -= 1;
        let stands_in: Vec<(StepId, u32)> = automaton.free_lines(self.state).collect();
        self.spent.retain(|lines, _| stands_in.iter().any(|(id, _)| id == lines));
        for (lines, limit) in stands_in {
            let spent = self.spent.entry(lines).or_default();
            *spent += 1;
            // The line's end takes a token of its own.
            if limit <= *spent + 1 {
                self.state = automaton.close(self.state, lines).unwrap_or(self.state);
            }
        }
        Ok(())
    }

    /// The tokens of the text that must follow whatever the model says, ready to be committed one
    /// by one; empty where there is a choice. `encode` is the model's own tokenizer, so that forced
    /// text looks to the model as text does in its prompts.
    ///
    /// A token at the end that the model might have written longer is left to the model.
    pub fn forced(&mut self, encode: &dyn Fn(&str) -> Vec<u32>) -> Vec<u32> {
        if self.is_ended || self.is_unforced {
            return Vec::new();
        }
        let trie = &self.compiled.trie;
        let Work { automaton, .. } = &mut *self.compiled.work();
        let (mut states, mut text) = (vec![self.state], Vec::new());
        let mut state = self.state;
        while let Some(byte) = automaton.forced_byte(state) {
            let Some(next) = automaton.step(state, byte) else { break };
            text.push(byte);
            states.push(next);
            state = next;
        }
        let spells =
            |tokens: &[u32]| tokens.iter().flat_map(|token| trie.bytes(*token)).eq(text.iter());
        let encoded = std::str::from_utf8(&text).ok().map(encode).filter(|tokens| spells(tokens));
        let Some(mut tokens) = encoded.or_else(|| trie.spell(&text)) else { return Vec::new() };
        // From the last token back: the first token that could be another, longer one, and all
        // behind it, are not forced.
        let mut ends: Vec<usize> = Vec::with_capacity(tokens.len());
        for token in &tokens {
            ends.push(ends.last().unwrap_or(&0) + trie.bytes(*token).len());
        }
        for at in 0..tokens.len() {
            let start = if at == 0 { 0 } else { ends[at - 1] };
            if has_longer_token(automaton, trie, states[start], &text[start..]) {
                tokens.truncate(at);
                break;
            }
        }
        tokens.truncate(self.remaining);
        tokens
    }

    /// Whether the completion may end here.
    pub fn may_end(&self) -> bool {
        self.is_ended || self.compiled.work().automaton.is_end(self.state)
    }

    /// Whether nothing may follow, not even a choice to end: the engine stops without a step.
    pub fn is_complete(&self) -> bool {
        if self.is_ended {
            return true;
        }
        let Work { automaton, .. } = &mut *self.compiled.work();
        automaton.is_end(self.state)
            && (self.remaining == 0
                || (!automaton.has_free_lines(self.state)
                    && (0..=255).all(|byte| automaton.step(self.state, byte).is_none())))
    }
}

#[cfg(test)]
mod tests;
