//! The shape of a decoder: what GGUF metadata or a `config.json` says of it.
//!
//! The llama, qwen2 and qwen3 families are one network; what differs is data: here, and in
//! which tensors (biases, head norms, an output matrix) a file holds.

use std::f64::consts::PI;

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;

use crate::model::local::gguf::Gguf;

/// The shape of a decoder.
#[derive(Debug, Clone, PartialEq)]
pub struct DecoderConfig {
    pub n_layers: usize,
    pub hidden: usize,
    /// Width of the feed-forward layers.
    pub intermediate: usize,
    pub n_heads: usize,
    pub n_kv_heads: usize,
    pub head_dim: usize,
    pub n_vocab: usize,
    pub rms_eps: f64,
    pub rope: Rope,
    /// Tokens of prompt and completion together.
    pub context_length: usize,
    /// Whether a query's and a key's rotated pairs lie side by side in the file (GGUF files of the
    /// llama family) and not half a head apart.
    pub has_interleaved_rope: bool,
    /// Whether keys have a bias, by which some of their dimensions are far larger than others.
    pub has_key_bias: bool,
}

/// Rotary position embedding.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// Radians per position, of each pair of a head.
    pub frequencies: Vec<f32>,
    /// Scales sine and cosine (`yarn` alone); 1 elsewhere.
    pub magnitude: f32,
}

/// How a model trained on short contexts is stretched to long ones.
#[derive(Debug, Clone, PartialEq)]
enum RopeScaling {
    None,
    Linear { factor: f64 },
    Llama3 { factor: f64, low: f64, high: f64, original: f64 },
    Yarn { factor: f64, original: f64, beta_fast: f64, beta_slow: f64, magnitude: Option<f64> },
}

impl DecoderConfig {
    pub fn from_gguf(gguf: &Gguf) -> anyhow::Result<Self> {
        let family = gguf
            .text("general.architecture")
            .context("the model file has no `general.architecture`")?;
        ensure!(
            matches!(family, "llama" | "qwen2" | "qwen3"),
            "the model is of the family `{family}`; `llama`, `qwen2` and `qwen3` are supported"
        );
        let count = |key: &str| {
            let key = format!("{family}.{key}");
            gguf.unsigned(&key).with_context(|| format!("the model file has no `{key}`"))
        };
        if gguf.unsigned(&format!("{family}.expert_count")).is_some_and(|n| n > 0) {
            bail!("the model is a mixture of experts, which is not supported");
        }
        let hidden = count("embedding_length")?;
        let n_heads = count("attention.head_count")?;
        ensure!(n_heads > 0, "the model file says it has no attention heads");
        let head_dim = match gguf.unsigned(&format!("{family}.attention.key_length")) {
            Some(key_length) => key_length,
            None => hidden / n_heads,
        };
        let (table, _) = gguf
            .tensor("token_embd.weight")
            .context("the model file has no tensor `token_embd.weight`")?;
        let float = |key: &str| gguf.float(&format!("{family}.{key}"));
        let scaling = match gguf.text(&format!("{family}.rope.scaling.type")) {
            None | Some("none") => RopeScaling::None,
            Some("linear") => {
                RopeScaling::Linear { factor: float("rope.scaling.factor").unwrap_or(1.0) }
            }
            Some("yarn") => RopeScaling::Yarn {
                factor: float("rope.scaling.factor").unwrap_or(1.0),
                original: float("rope.scaling.original_context_length")
                    .context("YaRN without the original context length")?,
                beta_fast: float("rope.scaling.yarn_beta_fast").unwrap_or(32.0),
                beta_slow: float("rope.scaling.yarn_beta_slow").unwrap_or(1.0),
                magnitude: float("rope.scaling.attn_factor"),
            },
            Some(other) => bail!("the rope scaling `{other}` is not supported"),
        };
        let base = float("rope.freq_base").unwrap_or(10_000.0);
        let mut rope = Rope::new(head_dim, base, &scaling)?;
        // Llama 3 files carry their stretching as one divisor for each pair.
        if let Some((info, bytes)) = gguf.tensor("rope_freqs.weight") {
            ensure!(
                bytes.len() == 4 * rope.frequencies.len(),
                "`rope_freqs.weight` has the shape {:?} for heads of {head_dim}",
                info.shape
            );
            for (frequency, divisor) in rope.frequencies.iter_mut().zip(bytes.chunks_exact(4)) {
                *frequency /= f32::from_le_bytes([divisor[0], divisor[1], divisor[2], divisor[3]]);
            }
        }
        let config = Self {
            n_layers: count("block_count")?,
            hidden,
            intermediate: count("feed_forward_length")?,
            n_heads,
            n_kv_heads: count("attention.head_count_kv").unwrap_or(n_heads),
            head_dim,
            n_vocab: table.shape[0],
            rms_eps: float("attention.layer_norm_rms_epsilon").unwrap_or(1e-5),
            rope,
            context_length: count("context_length")?,
            has_interleaved_rope: family == "llama",
            has_key_bias: family == "qwen2",
        };
        config.check()?;
        Ok(config)
    }

    /// Reads a Hugging Face `config.json`.
    pub fn parse_json(text: &str) -> anyhow::Result<Self> {
        let file: ConfigFile = serde_json::from_str(text)?;
        ensure!(
            matches!(file.model_type.as_str(), "llama" | "qwen2" | "qwen3"),
            "the model is of the family `{}`; `llama`, `qwen2` and `qwen3` are supported",
            file.model_type
        );
        ensure!(file.num_attention_heads > 0, "the model says it has no attention heads");
        let head_dim = file.head_dim.unwrap_or(file.hidden_size / file.num_attention_heads);
        let parameters = file.rope_scaling.or(file.rope_parameters).unwrap_or_default();
        let base = file.rope_theta.or(parameters.rope_theta).unwrap_or(10_000.0);
        let scaling = parameters.scaling(file.max_position_embeddings as f64)?;
        if file.use_sliding_window {
            bail!("the model uses a sliding attention window, which is not supported");
        }
        let config = Self {
            n_layers: file.num_hidden_layers,
            hidden: file.hidden_size,
            intermediate: file.intermediate_size,
            n_heads: file.num_attention_heads,
            n_kv_heads: file.num_key_value_heads.unwrap_or(file.num_attention_heads),
            head_dim,
            n_vocab: file.vocab_size,
            rms_eps: file.rms_norm_eps,
            rope: Rope::new(head_dim, base, &scaling)?,
            context_length: file.max_position_embeddings,
            has_interleaved_rope: false,
            has_key_bias: file.model_type == "qwen2",
        };
        config.check()?;
        Ok(config)
    }

    /// Refuses shapes that no network has, before anything is allocated by them.
    fn check(&self) -> anyhow::Result<()> {
        let in_range = |name: &str, count: usize, max: usize| {
            ensure!((1..=max).contains(&count), "the model says its {name} is {count}");
            Ok(())
        };
        in_range("number of layers", self.n_layers, 1_000)?;
        in_range("hidden width", self.hidden, 1 << 17)?;
        in_range("feed-forward width", self.intermediate, 1 << 20)?;
        in_range("number of heads", self.n_heads, 1 << 12)?;
        in_range("number of key-value heads", self.n_kv_heads, self.n_heads)?;
        in_range("head width", self.head_dim, 1 << 10)?;
        in_range("vocabulary size", self.n_vocab, 1 << 24)?;
        in_range("context length", self.context_length, 1 << 26)?;
        ensure!(
            self.n_heads.is_multiple_of(self.n_kv_heads),
            "{} heads cannot share {} key-value heads",
            self.n_heads,
            self.n_kv_heads
        );
        ensure!(self.head_dim.is_multiple_of(2), "the head width {} is odd", self.head_dim);
        Ok(())
    }
}

#[derive(Deserialize)]
struct ConfigFile {
    model_type: String,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    vocab_size: usize,
    rms_norm_eps: f64,
    rope_theta: Option<f64>,
    rope_scaling: Option<RopeParameters>,
    /// Newer files keep base and scaling together.
    rope_parameters: Option<RopeParameters>,
    max_position_embeddings: usize,
    #[serde(default)]
    use_sliding_window: bool,
}

#[derive(Default, Deserialize)]
struct RopeParameters {
    #[serde(alias = "type")]
    rope_type: Option<String>,
    rope_theta: Option<f64>,
    factor: Option<f64>,
    original_max_position_embeddings: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    beta_fast: Option<f64>,
    beta_slow: Option<f64>,
    attention_factor: Option<f64>,
}

impl RopeParameters {
    fn scaling(&self, max_positions: f64) -> anyhow::Result<RopeScaling> {
        let factor = || self.factor.context("rope scaling without `factor`");
        let original = self.original_max_position_embeddings;
        Ok(match self.rope_type.as_deref() {
            None | Some("default") => RopeScaling::None,
            Some("linear") => RopeScaling::Linear { factor: factor()? },
            Some("llama3") => RopeScaling::Llama3 {
                factor: factor()?,
                low: self.low_freq_factor.unwrap_or(1.0),
                high: self.high_freq_factor.unwrap_or(4.0),
                original: original.context("llama3 scaling without the original context")?,
            },
            Some("yarn") => RopeScaling::Yarn {
                factor: factor()?,
                original: original.unwrap_or(max_positions),
                beta_fast: self.beta_fast.unwrap_or(32.0),
                beta_slow: self.beta_slow.unwrap_or(1.0),
                magnitude: self.attention_factor,
            },
            Some(other) => bail!("the rope scaling `{other}` is not supported"),
        })
    }
}

impl Rope {
    fn new(head_dim: usize, base: f64, scaling: &RopeScaling) -> anyhow::Result<Self> {
        ensure!(base > 1.0 && base.is_finite(), "the rope base is {base}");
        let plain: Vec<f64> =
            (0..head_dim / 2).map(|i| base.powf(-2.0 * i as f64 / head_dim as f64)).collect();
        let mut magnitude = 1.0;
        let frequencies: Vec<f64> = match *scaling {
            RopeScaling::None => plain,
            RopeScaling::Linear { factor } => plain.iter().map(|f| f / factor).collect(),
            RopeScaling::Llama3 { factor, low, high, original } => plain
                .iter()
                .map(|&frequency| {
                    // Turns within the original context: many keep their speed, few are slowed.
                    let turns = original * frequency / (2.0 * PI);
                    let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                    frequency / factor * (1.0 - kept) + frequency * kept
                })
                .collect(),
            RopeScaling::Yarn { factor, original, beta_fast, beta_slow, magnitude: given } => {
                magnitude =
                    given.unwrap_or(if factor > 1.0 { 0.1 * factor.ln() + 1.0 } else { 1.0 });
                let pair_of = |turns: f64| {
                    head_dim as f64 * (original / (turns * 2.0 * PI)).ln() / (2.0 * base.ln())
                };
                let last = head_dim as f64 - 1.0;
                let first = pair_of(beta_fast).floor().max(0.0);
                let end = pair_of(beta_slow).ceil().min(last);
                let width = if end > first { end - first } else { 0.001 };
                let ramp = |i: usize| ((i as f64 - first) / width).clamp(0.0, 1.0);
                plain
                    .iter()
                    .enumerate()
                    .map(|(i, f)| f / factor * ramp(i) + f * (1.0 - ramp(i)))
                    .collect()
            }
        };
        let is_usable = |frequency: &f64| frequency.is_finite() && *frequency >= 0.0;
        ensure!(frequencies.iter().all(is_usable), "the rope scaling {scaling:?} makes no sense");
        let frequencies = frequencies.into_iter().map(|frequency| frequency as f32).collect();
        Ok(Self { frequencies, magnitude: magnitude as f32 })
    }
}
