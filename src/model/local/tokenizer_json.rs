//! The tokenizer of a GGUF file as Hugging Face's `tokenizer.json`.

use anyhow::Context as _;
use serde_json::Value;
use tokenizers::AddedToken;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::processors::template::TemplateProcessing;

use crate::model::local::gguf::Gguf;
use crate::model::local::tokenizer::{CONTROL, GgufVocabulary, UNUSED, USER_DEFINED};

/// Writes out the tokenizer that a GGUF file's metadata describes, its added tokens included.
pub fn render_tokenizer_json(gguf: &Gguf) -> anyhow::Result<String> {
    let GgufVocabulary { plain: mut tokenizer, tokens, kinds } = GgufVocabulary::read(gguf)?;
    let failed = |error| anyhow::anyhow!("cannot write the tokenizer: {error}");
    let of_kind = |kind: i64| {
        let kinds = kinds.iter().enumerate();
        kinds.filter(move |(_, found)| **found == kind).map(|(id, _)| tokens[id].as_str())
    };
    let control = of_kind(CONTROL).map(|text| (text, true));
    let added = control.chain(of_kind(USER_DEFINED).map(|text| (text, false)));
    let added =
        added.map(|(text, is_special)| AddedToken::from(text, is_special).normalized(false));
    tokenizer.add_tokens(added.collect::<Vec<_>>()).map_err(failed)?;
    tokenizer.with_decoder(Some(ByteLevel::new(false, true, false)));
    let bos =
        gguf.unsigned("tokenizer.ggml.bos_token_id").and_then(|id| Some((id, tokens.get(id)?)));
    match (gguf.flag("tokenizer.ggml.add_bos_token"), bos) {
        (Some(true), Some((id, bos))) => {
            let single = format!("{bos}:0 $A:0");
            let template = TemplateProcessing::builder()
                .try_single(single)
                .map_err(|error| anyhow::anyhow!("`{bos}` before a text: {error}"))?
                .special_tokens(vec![(bos.as_str(), id as u32)])
                .build()?;
            tokenizer.with_post_processor(Some(template));
        }
        _ => {
            tokenizer.with_post_processor(Some(ByteLevel::new(false, false, false)));
        }
    }
    let mut json = serde_json::to_value(&tokenizer)?;
    // Rows of the embedding that no token stands for.
    let vocab = json.pointer_mut("/model/vocab").and_then(Value::as_object_mut);
    let vocab = vocab.context("a vocabulary in the tokenizer")?;
    of_kind(UNUSED).for_each(|text| {
        vocab.shift_remove(text);
    });
    Ok(serde_json::to_string(&json)?)
}
