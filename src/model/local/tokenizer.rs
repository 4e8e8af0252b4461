//! From text to token ids and from ids to bytes, by the model's own vocabulary.
//!
//! Control tokens (`<|im_start|>` and its kin) are found by us, and only in text that is said to
//! be trusted: the chat template's own. Everything else is plain text whatever it spells.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use regex::Regex;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::unicode::NFC;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::SplitDelimiterBehavior;

use crate::model::local::gguf::Gguf;
use crate::model::vocabulary::Vocabulary;
use crate::prompt::CountTokens;

/// A model's tokenizer. Byte-level BPE only: what the llama 3, smollm and qwen families use.
pub struct Tokenizer {
    /// Knows no added tokens, so that none can be found in a text.
    plain: tokenizers::Tokenizer,
    control: ControlTokens,
    /// The bytes of each token, by id.
    bytes: Vec<Vec<u8>>,
    /// Tokens that end the model's turn.
    end_of_turn: Vec<u32>,
    /// Tokens that stand for no text and end nothing: they have no place in a completion.
    silent: Vec<u32>,
}

/// A piece of a rendered prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Text of the chat template: control tokens in it are control tokens.
    Template(String),
    /// Anything else: plain text, whatever it spells.
    Content(String),
}

/// The added tokens of a vocabulary, found in template text.
struct ControlTokens {
    by_text: Vec<(String, u32)>,
    pattern: Option<Regex>,
}

/// Names under which vocabularies keep the end of a turn or of a text.
pub const END_NAMES: &[&str] = &[
    "<|im_end|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|end_of_text|>",
    "<|end|>",
    "<|eom_id|>",
    "</s>",
];

/// Splits of the cl100k kind, as the Qwen 2 family has them: one digit at a time.
const QWEN2_PATTERN: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// The same with up to three digits at a time, as Llama 3 has them.
const LLAMA3_PATTERN: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

impl Tokenizer {
    /// Builds the tokenizer that a GGUF file's metadata describes.
    pub fn from_gguf(gguf: &Gguf) -> anyhow::Result<Self> {
        let GgufVocabulary { plain, tokens, kinds } = GgufVocabulary::read(gguf)?;
        let mut added = Vec::new();
        let mut bytes = Vec::with_capacity(tokens.len());
        for (id, (token, &kind)) in (0_u32..).zip(tokens.iter().zip(kinds)) {
            bytes.push(match kind {
                CONTROL | UNUSED => Vec::new(),
                USER_DEFINED => token.clone().into_bytes(),
                _ => parse_byte_level(token)
                    .with_context(|| format!("token {id} is not byte-level: `{token}`"))?,
            });
            if matches!(kind, CONTROL | USER_DEFINED) {
                added.push((token.clone(), id));
            }
        }
        let named = ["tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"];
        let ends = named.iter().filter_map(|key| gguf.unsigned(key)).map(|id| id as u32).collect();
        Self::assemble(plain, added, bytes, ends)
    }

    /// Reads `tokenizer.json` of a Hugging Face directory; `ends` are the end-of-sequence ids of
    /// its configuration.
    pub fn from_json(path: &Path, ends: Vec<u32>) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read `{}`", path.display()))?;
        Self::parse_json(&text, ends)
            .with_context(|| format!("cannot use the tokenizer `{}`", path.display()))
    }

    fn parse_json(text: &str, ends: Vec<u32>) -> anyhow::Result<Self> {
        #[derive(serde::Deserialize)]
        struct Added {
            id: u32,
            content: String,
            #[serde(default)]
            special: bool,
        }
        let mut json: serde_json::Value = serde_json::from_str(text)?;
        let fields = json.as_object_mut().context("it holds no JSON object")?;
        let added: Vec<Added> = match fields.insert("added_tokens".into(), serde_json::json!([])) {
            Some(added) => serde_json::from_value(added)?,
            None => Vec::new(),
        };
        // Both would change what is encoded behind the caller's back.
        for key in ["truncation", "padding", "post_processor"] {
            fields.insert(key.into(), serde_json::Value::Null);
        }
        let plain: tokenizers::Tokenizer = serde_json::from_value(json)?;
        let mut bytes = Vec::new();
        let vocab: BTreeMap<String, u32> = plain.get_vocab(false).into_iter().collect();
        for (token, id) in vocab {
            let is_added = added.iter().any(|added| added.id == id);
            let own = if is_added {
                Vec::new()
            } else {
                parse_byte_level(&token)
                    .with_context(|| format!("token {id} is not byte-level: `{token}`"))?
            };
            insert_at(&mut bytes, id, own)?;
        }
        for token in &added {
            let own = if token.special { Vec::new() } else { token.content.clone().into_bytes() };
            insert_at(&mut bytes, token.id, own)?;
        }
        let added = added.into_iter().map(|token| (token.content, token.id)).collect();
        Self::assemble(plain, added, bytes, ends)
    }

    fn assemble(
        plain: tokenizers::Tokenizer,
        added: Vec<(String, u32)>,
        mut bytes: Vec<Vec<u8>>,
        mut end_of_turn: Vec<u32>,
    ) -> anyhow::Result<Self> {
        let is_end = |(text, _): &&(String, u32)| END_NAMES.contains(&text.as_str());
        end_of_turn.extend(added.iter().filter(is_end).map(|(_, id)| *id));
        end_of_turn.sort_unstable();
        end_of_turn.dedup();
        ensure!(!end_of_turn.is_empty(), "the model names no token that ends its turn");
        for &id in &end_of_turn {
            match bytes.get_mut(id as usize) {
                Some(bytes) => bytes.clear(),
                None => bail!("the end-of-turn token {id} is not in the vocabulary"),
            }
        }
        let is_silent = |id: &u32| bytes[*id as usize].is_empty() && !end_of_turn.contains(id);
        let silent = (0..bytes.len() as u32).filter(is_silent).collect();
        Ok(Self { plain, control: ControlTokens::new(added)?, bytes, end_of_turn, silent })
    }

    /// Ids of plain text: no control token comes out of it.
    pub fn encode(&self, text: &str) -> anyhow::Result<Vec<u32>> {
        if text.is_empty() {
            return Ok(Vec::new());
        }
        let encoding = self
            .plain
            .encode_fast(text, false)
            .map_err(|error| anyhow::anyhow!("cannot tokenize the text: {error}"))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Ids of a rendered prompt. Text between two control tokens is tokenized as one, across the
    /// pieces it came in, as the model was trained to see it.
    pub fn encode_pieces(&self, pieces: &[Piece]) -> anyhow::Result<Vec<u32>> {
        let mut ids = Vec::new();
        let mut run = String::new();
        for piece in pieces {
            match piece {
                Piece::Content(text) => run.push_str(text),
                Piece::Template(text) => {
                    let mut text = text.as_str();
                    while let Some((start, end, id)) = self.control.find(text) {
                        run.push_str(&text[..start]);
                        ids.extend(self.encode(&run)?);
                        run.clear();
                        ids.push(id);
                        text = &text[end..];
                    }
                    run.push_str(text);
                }
            }
        }
        ids.extend(self.encode(&run)?);
        Ok(ids)
    }

    /// The text of the token with that id, where it is an added one.
    pub fn added_text(&self, id: u32) -> Option<&str> {
        self.control.by_text.iter().find(|(_, own)| *own == id).map(|(text, _)| text.as_str())
    }

    /// The bytes that a token stands for in a completion: none for a control token.
    pub fn bytes(&self, id: u32) -> &[u8] {
        self.bytes.get(id as usize).map_or(&[], Vec::as_slice)
    }

    pub fn is_end_of_turn(&self, id: u32) -> bool {
        self.end_of_turn.contains(&id)
    }

    /// Rules out what has no place in a completion: control tokens that end nothing, and the
    /// network's rows beyond the vocabulary.
    pub fn mask_silent(&self, logits: &mut [f32]) {
        for &id in &self.silent {
            if let Some(logit) = logits.get_mut(id as usize) {
                *logit = f32::NEG_INFINITY;
            }
        }
        let n_tokens = self.bytes.len().min(logits.len());
        logits[n_tokens..].fill(f32::NEG_INFINITY);
    }

    /// The ids of tokens that end the model's turn.
    pub fn ends(&self) -> &[u32] {
        &self.end_of_turn
    }

    pub fn vocabulary(&self) -> Vocabulary {
        Vocabulary { tokens: self.bytes.clone(), end_of_turn: self.end_of_turn.clone() }
    }
}

/// GGUF's kinds of tokens that are no ordinary text, except the last: that is added, but ordinary.
pub(super) const CONTROL: i64 = 3;
pub(super) const UNUSED: i64 = 5;
pub(super) const USER_DEFINED: i64 = 4;

/// What a GGUF file's metadata says of its tokenizer.
pub(super) struct GgufVocabulary<'a> {
    /// Knows no added tokens.
    pub(super) plain: tokenizers::Tokenizer,
    /// By id.
    pub(super) tokens: &'a [String],
    /// GGUF's number for what each token is.
    pub(super) kinds: &'a [i64],
}

impl<'a> GgufVocabulary<'a> {
    pub(super) fn read(gguf: &'a Gguf) -> anyhow::Result<Self> {
        let kind = gguf.text("tokenizer.ggml.model").unwrap_or_default();
        ensure!(
            kind == "gpt2",
            "the model's tokenizer is of kind `{kind}`; only byte-level BPE (`gpt2`) is supported"
        );
        let tokens = gguf
            .texts("tokenizer.ggml.tokens")
            .context("the model file has no `tokenizer.ggml.tokens`")?;
        let merges = gguf
            .texts("tokenizer.ggml.merges")
            .context("the model file has no `tokenizer.ggml.merges`")?;
        let kinds = gguf
            .integers("tokenizer.ggml.token_type")
            .context("the model file has no `tokenizer.ggml.token_type`")?;
        ensure!(
            kinds.len() == tokens.len(),
            "the model file has {} tokens but {} token types",
            tokens.len(),
            kinds.len()
        );
        let pre = gguf.text("tokenizer.ggml.pre").unwrap_or("gpt-2");
        let scheme = Scheme::parse(pre)?;

        let vocab: Vocab = tokens.iter().cloned().zip(0..).collect();
        ensure!(vocab.len() == tokens.len(), "the model file lists a token twice");
        let merges = parse_merges(merges, &vocab)?;
        let mut plain = tokenizers::Tokenizer::new(
            BPE::builder()
                .vocab_and_merges(vocab, merges)
                .ignore_merges(scheme.ignores_merges)
                .build()
                .map_err(|error| anyhow::anyhow!("the model's vocabulary is unusable: {error}"))?,
        );
        plain.with_pre_tokenizer(Some(scheme.splits));
        if scheme.normalizes {
            plain.with_normalizer(Some(NFC)).map_err(|error| anyhow::anyhow!("{error}"))?;
        }
        Ok(Self { plain, tokens, kinds })
    }
}

impl CountTokens for Tokenizer {
    fn count(&self, text: &str) -> usize {
        // A byte is never more than one token, so the length is a safe answer for what cannot be
        // tokenized.
        self.encode(text).map_or(text.len(), |ids| ids.len())
    }
}

impl ControlTokens {
    fn new(mut by_text: Vec<(String, u32)>) -> anyhow::Result<Self> {
        by_text.retain(|(text, _)| !text.is_empty());
        // The longest first, so that no token hides another that it is a prefix of.
        by_text.sort_by(|(a, _), (b, _)| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        let escaped: Vec<_> = by_text.iter().map(|(text, _)| regex::escape(text)).collect();
        let pattern = if escaped.is_empty() { None } else { Some(Regex::new(&escaped.join("|"))?) };
        Ok(Self { by_text, pattern })
    }

    /// The first control token of `text`: where it starts, where it ends, its id.
    fn find(&self, text: &str) -> Option<(usize, usize, u32)> {
        let found = self.pattern.as_ref()?.find(text)?;
        let (_, id) = self.by_text.iter().find(|(own, _)| own == found.as_str())?;
        Some((found.start(), found.end(), *id))
    }
}

/// How text is cut into words before the merges, by GGUF's name for it.
struct Scheme {
    splits: PreTokenizerWrapper,
    /// Whether characters are composed first (NFC).
    normalizes: bool,
    /// Whether a word that is a token is taken whole.
    ignores_merges: bool,
}

impl Scheme {
    fn parse(pre: &str) -> anyhow::Result<Self> {
        let pattern = |pattern: &str| -> anyhow::Result<PreTokenizerWrapper> {
            let split = Split::new(
                SplitPattern::Regex(pattern.to_owned()),
                SplitDelimiterBehavior::Isolated,
                false,
            )
            .map_err(|error| anyhow::anyhow!("{error}"))?;
            let bytes = ByteLevel::new(false, true, false);
            Ok(Sequence::new(vec![split.into(), bytes.into()]).into())
        };
        let gpt2 = ByteLevel::new(false, true, true);
        Ok(match pre {
            "qwen2" => {
                Self { splits: pattern(QWEN2_PATTERN)?, normalizes: true, ignores_merges: false }
            }
            "llama-bpe" | "llama3" | "llama-v3" => {
                Self { splits: pattern(LLAMA3_PATTERN)?, normalizes: false, ignores_merges: true }
            }
            "smollm" => Self {
                splits: Sequence::new(vec![Digits::new(true).into(), gpt2.into()]).into(),
                normalizes: false,
                ignores_merges: false,
            },
            "gpt-2" => Self { splits: gpt2.into(), normalizes: false, ignores_merges: false },
            _ => bail!(
                "the model's text splitting `{pre}` is not supported (`qwen2`, `llama-bpe`, \
                 `smollm` and `gpt-2` are)\nhint: a Hugging Face directory of the same model \
                 brings its own tokenizer.json"
            ),
        })
    }
}

fn parse_merges(lines: &[String], vocab: &Vocab) -> anyhow::Result<Vec<(String, String)>> {
    lines
        .iter()
        .map(|line| {
            let (left, right) =
                line.split_once(' ').with_context(|| format!("`{line}` is no merge"))?;
            ensure!(
                [left, right, &format!("{left}{right}")]
                    .iter()
                    .all(|text| vocab.contains_key(*text)),
                "the merge `{line}` is about tokens that the vocabulary does not have"
            );
            Ok((left.to_owned(), right.to_owned()))
        })
        .collect()
}

/// The bytes that a token's text stands for: byte-level vocabularies write each byte as one
/// printable character.
fn parse_byte_level(token: &str) -> Option<Vec<u8>> {
    token.chars().map(byte_of_char).collect()
}

/// Printable Latin-1 characters stand for themselves, all other bytes for the characters from
/// U+0100 on, in their order.
fn byte_of_char(char: char) -> Option<u8> {
    let is_printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    match u32::from(char) {
        code @ 0..=0xff => Some(code as u8).filter(|&byte| is_printable(byte)),
        code => (0..=255_u8).filter(|&byte| !is_printable(byte)).nth((code - 0x100) as usize),
    }
}

/// Ids beyond this are a damaged or hostile file, not a vocabulary.
const MAX_TOKENS: u32 = 4_000_000;

fn insert_at(bytes: &mut Vec<Vec<u8>>, id: u32, own: Vec<u8>) -> anyhow::Result<()> {
    ensure!(id < MAX_TOKENS, "token id {id} is out of range");
    if bytes.len() <= id as usize {
        bytes.resize(id as usize + 1, Vec::new());
    }
    bytes[id as usize] = own;
    Ok(())
}
