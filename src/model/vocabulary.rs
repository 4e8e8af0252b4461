//! What constrained decoding must know of a tokenizer: the bytes of every token.

/// The tokens of a model, by id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vocabulary {
    /// The bytes each token stands for in a completion; empty for a token that stands for none
    /// (control tokens, padding rows of the embedding).
    pub tokens: Vec<Vec<u8>>,
    /// The tokens that end the model's turn; their `tokens` entry is empty.
    pub end_of_turn: Vec<u32>,
}
