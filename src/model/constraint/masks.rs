//! The tokens allowed in a state, and how many tokens it takes to the end.

use std::collections::HashMap;
use std::sync::Arc;

use crate::grammar::automaton::{Automaton, StateId};
use crate::model::token_trie::{TokenSet, TokenTrie};

/// A mask is kept where working it out visits more of the vocabulary than this.
const DEAR_VISITS: usize = 2_000;
/// Masks kept at once; a vocabulary of 150,000 tokens takes 19 KB for each.
const MAX_KEPT: usize = 512;

/// What was worked out for states, and is needed again.
#[derive(Debug, Default)]
pub(super) struct Masks {
    kept: HashMap<StateId, Mask>,
    closing: HashMap<StateId, usize>,
}

#[derive(Debug, Clone)]
struct Mask {
    allowed: Arc<TokenSet>,
    /// The most bytes that any allowed token leaves to the end: while more tokens than that
    /// remain, none needs a closer look.
    max_bytes_left: u32,
}

impl Masks {
    /// The tokens after which a completion can still be closed with `remaining - 1` tokens.
    pub(super) fn allowed(
        &mut self,
        automaton: &mut Automaton,
        trie: &TokenTrie,
        state: StateId,
        remaining: usize,
    ) -> Arc<TokenSet> {
        let mask = if let Some(mask) = self.kept.get(&state) {
            mask.clone()
        } else {
            let (mask, n_visited) = find_mask(automaton, trie, state);
            if DEAR_VISITS < n_visited {
                if MAX_KEPT <= self.kept.len() {
                    self.kept.clear();
                }
                self.kept.insert(state, mask.clone());
            }
            mask
        };
        if (mask.max_bytes_left as usize) < remaining {
            return mask.allowed;
        }
        let mut tight = empty_or_end(automaton, trie, state);
        visit(automaton, trie, state, &mut |automaton, tokens, end| {
            if 0 < remaining && n_closing_tokens(automaton, self, trie, end) < remaining {
                tight.extend(tokens);
            }
        });
        Arc::new(tight)
    }
}

fn find_mask(automaton: &mut Automaton, trie: &TokenTrie, state: StateId) -> (Mask, usize) {
    let mut allowed = empty_or_end(automaton, trie, state);
    let mut max_bytes_left = 0;
    let n_visited = visit(automaton, trie, state, &mut |automaton, tokens, end| {
        max_bytes_left = max_bytes_left.max(automaton.bytes_to_end(end));
        allowed.extend(tokens);
    });
    (Mask { allowed: Arc::new(allowed), max_bytes_left }, n_visited)
}

/// No token, or where the text may end the tokens that end the turn.
fn empty_or_end(automaton: &Automaton, trie: &TokenTrie, state: StateId) -> TokenSet {
    let vocabulary = trie.vocabulary();
    let mut tokens = TokenSet::empty(vocabulary.tokens.len());
    if automaton.is_end(state) {
        tokens.extend(&vocabulary.end_of_turn);
    }
    tokens
}

/// Calls `on_tokens` with the tokens that the automaton takes from `state`, and where they lead.
/// Gives the number of tree nodes looked at.
fn visit(
    automaton: &mut Automaton,
    trie: &TokenTrie,
    state: StateId,
    on_tokens: &mut dyn FnMut(&mut Automaton, &[u32], StateId),
) -> usize {
    let nodes = trie.nodes();
    let mut states = vec![state];
    let (mut at, mut n_visited) = (0, 0);
    while let Some(node) = nodes.get(at) {
        n_visited += 1;
        states.truncate(node.depth as usize);
        match automaton.step(states[node.depth as usize - 1], node.byte) {
            None => at = node.end as usize,
            Some(next) => {
                let tokens = trie.tokens_at(node);
                if !tokens.is_empty() {
                    on_tokens(automaton, tokens, next);
                }
                states.push(next);
                at += 1;
            }
        }
    }
    n_visited
}

/// How many tokens close the text on the shortest way, spelled greedily.
///
/// Never more than the bytes to the end. Each token of that spelling leads to a state whose own
/// shortest way is the rest, so a limit that once suffices goes on to suffice.
pub(super) fn n_closing_tokens(
    automaton: &mut Automaton,
    masks: &mut Masks,
    trie: &TokenTrie,
    state: StateId,
) -> usize {
    if let Some(n) = masks.closing.get(&state) {
        return *n;
    }
    let mut closing = Vec::new();
    let mut at = state;
    while let Some((byte, next)) = automaton.step_to_end(at) {
        closing.push(byte);
        at = next;
    }
    let n = trie.spell(&closing).map_or(closing.len(), |tokens| tokens.len());
    masks.closing.insert(state, n);
    n
}

/// Whether some token goes on beyond `text`, all of which it begins with, where the automaton in
/// `state` allows it.
pub(super) fn has_longer_token(
    automaton: &mut Automaton,
    trie: &TokenTrie,
    state: StateId,
    text: &[u8],
) -> bool {
    let (Some(node), Some(state)) = (trie.find(text), automaton.walk(state, text)) else {
        return false;
    };
    let mut open = vec![(node, state)];
    while let Some((node, state)) = open.pop() {
        for child in trie.children(Some(node)) {
            let child_node = &trie.nodes()[child];
            if let Some(next) = automaton.step(state, child_node.byte) {
                if !trie.tokens_at(child_node).is_empty() {
                    return true;
                }
                open.push((child, next));
            }
        }
    }
    false
}
