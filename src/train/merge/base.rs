//! What a Hugging Face folder holds beside its weights, from the base model's own files.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, ensure};
use serde_json::{Map, Value, json};

use crate::model::local::config::DecoderConfig;
use crate::model::local::gguf::Gguf;
use crate::model::local::tokenizer_json::render_tokenizer_json;
use crate::train::decoder::Network;
use crate::train::merge::config::render_config;

/// A base model's files.
pub(super) enum Base<'a> {
    Folder(&'a Path),
    Gguf {
        gguf: &'a Gguf,
        config: &'a DecoderConfig,
        /// The tokens that end a turn.
        ends: &'a [u32],
    },
}

/// What is taken over as it is, where it is there.
const COPIED: [&str; 10] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
];

impl Base<'_> {
    /// The files, by name; `dtype` is the weights' in the words of `config.json`.
    pub(super) fn files(
        &self,
        network: &Network,
        dtype: &str,
    ) -> anyhow::Result<Vec<(&'static str, Vec<u8>)>> {
        match self {
            Self::Folder(folder) => of_folder(folder, network, dtype),
            Self::Gguf { gguf, config, ends } => {
                let config = render_config(gguf, config, network, dtype)?;
                Ok(vec![
                    ("config.json", pretty(&config)?),
                    ("generation_config.json", pretty(&generation_config(gguf, ends))?),
                    ("tokenizer.json", render_tokenizer_json(gguf)?.into_bytes()),
                    ("tokenizer_config.json", pretty(&tokenizer_config(gguf)?)?),
                ])
            }
        }
    }
}

fn of_folder(
    folder: &Path,
    network: &Network,
    dtype: &str,
) -> anyhow::Result<Vec<(&'static str, Vec<u8>)>> {
    let read = |name: &str| {
        let path = folder.join(name);
        fs::read(&path).with_context(|| format!("reading `{}`", path.display()))
    };
    let mut config: Map<String, Value> =
        serde_json::from_slice(&read("config.json")?).context("config.json")?;
    ensure!(
        !config.contains_key("quantization_config"),
        "the base's config.json has a `quantization_config`, and merged weights are plain numbers\nhint: take the model that it was made from"
    );
    // Older files have one name for it, newer ones another.
    let name = if config.contains_key("dtype") { "dtype" } else { "torch_dtype" };
    config.insert(name.to_owned(), json!(dtype));
    config.insert("tie_word_embeddings".to_owned(), json!(network.output.is_none()));
    let mut files = vec![("config.json", pretty(&Value::Object(config))?)];
    for name in COPIED {
        if folder.join(name).is_file() {
            files.push((name, read(name)?));
        }
    }
    Ok(files)
}

fn pretty(value: &Value) -> anyhow::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec_pretty(value)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Ids that GGUF's metadata names.
pub(super) fn named_id(gguf: &Gguf, name: &str) -> Option<usize> {
    gguf.unsigned(&format!("tokenizer.ggml.{name}_token_id"))
}

fn generation_config(gguf: &Gguf, ends: &[u32]) -> Value {
    json!({
        "bos_token_id": named_id(gguf, "bos"),
        "eos_token_id": ends,
        "pad_token_id": named_id(gguf, "padding").or(named_id(gguf, "eos")),
    })
}

fn tokenizer_config(gguf: &Gguf) -> anyhow::Result<Value> {
    let tokens = gguf.texts("tokenizer.ggml.tokens").context("the base's tokens")?;
    let text = |name: &str| named_id(gguf, name).and_then(|id| tokens.get(id));
    let family = gguf.text("general.architecture").unwrap_or_default();
    Ok(json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": text("bos"),
        "eos_token": text("eos"),
        "pad_token": text("padding").or(text("eos")),
        "clean_up_tokenization_spaces": false,
        "model_max_length": gguf.unsigned(&format!("{family}.context_length")),
        "chat_template": gguf.text("tokenizer.chat_template"),
    }))
}
