//! The tokens of a vocabulary as a tree over their bytes, and sets of tokens.

use crate::model::vocabulary::Vocabulary;

/// A vocabulary laid out for finding all tokens that some bytes may begin or continue with.
#[derive(Debug)]
pub struct TokenTrie {
    vocabulary: Vocabulary,
    /// Depth first, children in byte order; the root is not among them.
    nodes: Vec<Node>,
    /// Tokens in the order of their bytes; a node names a range of them.
    tokens: Vec<u32>,
}

/// One byte of tokens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Node {
    pub(crate) byte: u8,
    /// Bytes from the root, this one included.
    pub(crate) depth: u32,
    /// Where the nodes end that begin with this one's bytes.
    pub(crate) end: u32,
    /// The tokens that end here: a range of `tokens`.
    first_token: u32,
    n_tokens: u32,
}

impl TokenTrie {
    pub fn new(vocabulary: Vocabulary) -> Self {
        let bytes_of = |token: u32| vocabulary.tokens[token as usize].as_slice();
        let mut tokens: Vec<u32> = (0..vocabulary.tokens.len() as u32)
            .filter(|token| !bytes_of(*token).is_empty())
            .collect();
        tokens.sort_by(|a, b| bytes_of(*a).cmp(bytes_of(*b)).then(a.cmp(b)));
        let mut nodes: Vec<Node> = Vec::new();
        let mut path: Vec<usize> = Vec::new();
        let mut before: &[u8] = &[];
        for (at, token) in tokens.iter().enumerate() {
            let bytes = bytes_of(*token);
            let shared = bytes.iter().zip(before).take_while(|(a, b)| a == b).count();
            for node in path.drain(shared..) {
                nodes[node].end = nodes.len() as u32;
            }
            for (depth, byte) in bytes.iter().enumerate().skip(shared) {
                path.push(nodes.len());
                let depth = depth as u32 + 1;
                nodes.push(Node { byte: *byte, depth, end: 0, first_token: 0, n_tokens: 0 });
            }
            let node = &mut nodes[path[bytes.len() - 1]];
            if node.n_tokens == 0 {
                node.first_token = at as u32;
            }
            node.n_tokens += 1;
            before = bytes;
        }
        for node in path {
            nodes[node].end = nodes.len() as u32;
        }
        Self { vocabulary, nodes, tokens }
    }

    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// The bytes of a token; empty for one that stands for no text, or does not exist.
    pub fn bytes(&self, token: u32) -> &[u8] {
        self.vocabulary.tokens.get(token as usize).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The tokens whose bytes end at this node.
    pub(crate) fn tokens_at(&self, node: &Node) -> &[u32] {
        let first = node.first_token as usize;
        &self.tokens[first..first + node.n_tokens as usize]
    }

    /// The children of a node (`None`: of the root), as indices.
    pub(crate) fn children(&self, node: Option<usize>) -> impl Iterator<Item = usize> {
        let (mut at, end) = match node {
            None => (0, self.nodes.len()),
            Some(node) => (node + 1, self.nodes[node].end as usize),
        };
        std::iter::from_fn(move || {
            let child = (at < end).then_some(at)?;
            at = self.nodes[child].end as usize;
            Some(child)
        })
    }

    /// The node of some bytes, if any token begins with them.
    pub(crate) fn find(&self, bytes: &[u8]) -> Option<usize> {
        let mut at = None;
        for byte in bytes {
            at = Some(self.children(at).find(|child| self.nodes[*child].byte == *byte)?);
        }
        at
    }

    /// Tokens that spell `bytes`, the longest first piece each time; `None` where a byte has no
    /// token.
    pub(crate) fn spell(&self, bytes: &[u8]) -> Option<Vec<u32>> {
        let mut tokens = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let (mut at, mut longest) = (None, None);
            for (length, byte) in rest.iter().enumerate() {
                let child = self.children(at).find(|child| self.nodes[*child].byte == *byte);
                let Some(child) = child else { break };
                at = Some(child);
                if let Some(token) = self.tokens_at(&self.nodes[child]).first() {
                    longest = Some((*token, length + 1));
                }
            }
            let (token, length) = longest?;
            tokens.push(token);
            rest = &rest[length..];
        }
        Some(tokens)
    }
}

/// A set of tokens of one vocabulary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenSet {
    words: Vec<u64>,
}

impl TokenSet {
    /// The empty set, for token ids below `n_tokens`.
    pub fn empty(n_tokens: usize) -> Self {
        Self { words: vec![0; n_tokens.div_ceil(64)] }
    }

    pub fn insert(&mut self, token: u32) {
        if let Some(word) = self.words.get_mut(token as usize / 64) {
            *word |= 1 << (token % 64);
        }
    }

    pub fn extend(&mut self, tokens: &[u32]) {
        for token in tokens {
            self.insert(*token);
        }
    }

    pub fn contains(&self, token: u32) -> bool {
        self.words.get(token as usize / 64).is_some_and(|word| word >> (token % 64) & 1 == 1)
    }

    pub fn len(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// The set as bits: token `t` is bit `t % 64` of word `t / 64`.
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// The tokens in rising order.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        self.words.iter().enumerate().flat_map(|(at, word)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                let bit = (rest != 0).then(|| rest.trailing_zeros())?;
                rest &= rest - 1;
                Some(at as u32 * 64 + bit)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trie(tokens: &[&str]) -> TokenTrie {
        let tokens = tokens.iter().map(|token| token.as_bytes().to_vec()).collect();
        TokenTrie::new(Vocabulary { tokens, end_of_turn: vec![] })
    }

    #[test]
    fn every_token_is_found_under_its_bytes() {
        let trie = trie(&["b", "ab", "a", "", "abc", "ab", "ca"]);
        let tokens = |bytes: &[u8]| trie.find(bytes).map(|at| trie.tokens_at(&trie.nodes()[at]));
        assert_eq!(tokens(b"ab"), Some([1, 5].as_slice()));
        assert_eq!(tokens(b"abc"), Some([4].as_slice()));
        assert_eq!(tokens(b"c"), Some([].as_slice()));
        assert_eq!(tokens(b"ac"), None);
        let roots: Vec<u8> = trie.children(None).map(|at| trie.nodes()[at].byte).collect();
        assert_eq!(roots, b"abc");
    }

    #[test]
    fn spelling_takes_the_longest_token() {
        let trie = trie(&["a", "b", "ab", "abc", "c"]);
        assert_eq!(trie.spell(b"ababc"), Some(vec![2, 3]));
        assert_eq!(trie.spell(b"abd"), None);
    }

    #[test]
    fn a_set_gives_back_its_tokens_in_order() {
        let mut set = TokenSet::empty(130);
        for token in [129, 0, 64, 63, 64, 500] {
            set.insert(token);
        }
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 63, 64, 129]);
        assert_eq!(set.len(), 4);
        assert!(!set.contains(500) && set.contains(129));
    }
}
