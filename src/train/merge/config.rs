//! `config.json` from what a GGUF file's metadata says.

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};

use crate::model::local::adapter::Site;
use crate::model::local::config::DecoderConfig;
use crate::model::local::gguf::Gguf;
use crate::train::decoder::Network;
use crate::train::merge::base::named_id;

/// Describes the network of a GGUF file as transformers reads it.
///
/// # Errors
///
/// It has something that `config.json` has no words for.
pub(super) fn render_config(
    gguf: &Gguf,
    config: &DecoderConfig,
    network: &Network,
    dtype: &str,
) -> anyhow::Result<Value> {
    let family = gguf.text("general.architecture").context("the base's family")?;
    let class = match family {
        "llama" => "LlamaForCausalLM",
        "qwen2" => "Qwen2ForCausalLM",
        "qwen3" => "Qwen3ForCausalLM",
        _ => bail!("no class of transformers is known for the family `{family}`"),
    };
    for (what, found, wanted) in [
        ("biases", has_bias(network), family == "qwen2"),
        ("head norms", network.layers.iter().any(|l| l.head_norms.is_some()), family == "qwen3"),
    ] {
        ensure!(
            found == wanted,
            "transformers' `{class}` has {} {what}, unlike the base\nhint: take the base's Hugging Face folder for `--model`",
            if wanted { "its" } else { "no" }
        );
    }
    let mut json = json!({
        "architectures": [class],
        "model_type": family,
        "hidden_size": config.hidden,
        "intermediate_size": config.intermediate,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.n_kv_heads,
        "head_dim": config.head_dim,
        "vocab_size": config.n_vocab,
        "max_position_embeddings": config.context_length,
        "hidden_act": "silu",
        "rms_norm_eps": shortest(config.rms_eps),
        "rope_theta": shortest(gguf.float(&format!("{family}.rope.freq_base")).unwrap_or(10_000.0)),
        "rope_scaling": rope_scaling(gguf, family)?,
        "tie_word_embeddings": network.output.is_none(),
        "attention_dropout": 0.0,
        "initializer_range": 0.02,
        "use_cache": true,
        "torch_dtype": dtype,
        "bos_token_id": named_id(gguf, "bos"),
        "eos_token_id": named_id(gguf, "eos"),
        "pad_token_id": named_id(gguf, "padding"),
    });
    if family == "qwen2" {
        json["use_sliding_window"] = json!(false);
    } else {
        json["attention_bias"] = json!(false);
    }
    Ok(json)
}

fn has_bias(network: &Network) -> bool {
    let has_bias =
        |site: Site| network.layers.iter().any(|l| l.linears[site as usize].bias.is_some());
    Site::ALL.into_iter().any(has_bias)
}

fn rope_scaling(gguf: &Gguf, family: &str) -> anyhow::Result<Value> {
    ensure!(
        gguf.tensor("rope_freqs.weight").is_none(),
        "the base stretches its context by `rope_freqs.weight`, for which config.json has no words\nhint: take the base's Hugging Face folder for `--model`, or `--out NAME.gguf`"
    );
    let float = |key: &str| {
        let found = gguf.float(&format!("{family}.rope.scaling.{key}"));
        found.map(shortest)
    };
    let kind = gguf.text(&format!("{family}.rope.scaling.type"));
    Ok(match kind {
        None | Some("none") => Value::Null,
        Some(kind) => {
            let mut scaling = json!({ "rope_type": kind, "factor": float("factor") });
            for (theirs, ours) in [
                ("original_max_position_embeddings", "original_context_length"),
                ("beta_fast", "yarn_beta_fast"),
                ("beta_slow", "yarn_beta_slow"),
                ("attention_factor", "attn_factor"),
            ] {
                if kind == "yarn"
                    && let Some(number) = float(ours)
                {
                    scaling[theirs] = json!(number);
                }
            }
            scaling
        }
    })
}

/// A number that was stored with 32 bits, as one would write it.
fn shortest(number: f64) -> f64 {
    (number as f32).to_string().parse().unwrap_or(number)
}
