//! A decoder's tensors from a model's files, or from what training holds.

use anyhow::Context as _;

use crate::model::local::adapter::AdapterWeights;
use crate::model::local::config::DecoderConfig;
use crate::model::local::decoder::{Decoder, Layer, Linear, Ops};
use crate::model::local::weights::{StoredTensor, Weights};

/// All that is learnt of a network, in the form that a device computes with.
struct Tensors<O: Ops> {
    embedding: Linear<O>,
    layers: Vec<Layer<O>>,
    norm: O::Vector,
    output: Option<Linear<O>>,
}

impl<O: Ops> Decoder<O> {
    /// Loads a network, and what an adapter adds to it.
    pub fn load(
        config: DecoderConfig,
        weights: &Weights,
        adapter: Option<AdapterWeights>,
        ops: O,
    ) -> anyhow::Result<Self> {
        let Tensors { embedding, layers, norm, output } = Tensors::load(&config, weights, &ops)?;
        let mut decoder = Self { config, ops, embedding, layers, norm, output };
        if let Some(adapter) = adapter {
            decoder.adapt(adapter)?;
        }
        Ok(decoder)
    }

    /// Puts other weights of the same shape in the place of all that was there, an adapter's too.
    ///
    /// # Errors
    ///
    /// They are of another model; what was there before then stays.
    pub fn replace(&mut self, weights: &Weights) -> anyhow::Result<()> {
        let Tensors { embedding, layers, norm, output } =
            Tensors::load(&self.config, weights, &self.ops)?;
        (self.embedding, self.layers, self.norm, self.output) = (embedding, layers, norm, output);
        Ok(())
    }
}

impl<O: Ops> Tensors<O> {
    fn load(config: &DecoderConfig, weights: &Weights, ops: &O) -> anyhow::Result<Self> {
        let (hidden, head_dim) = (config.hidden, config.head_dim);
        let (q_width, kv_width) = (config.n_heads * head_dim, config.n_kv_heads * head_dim);
        let load = |stored: StoredTensor<'_>| ops.load_matrix(&stored);
        let vector = |name: &str, len: usize| {
            let stored = weights.tensor(name, &[len])?;
            ops.load_vector(&stored).with_context(|| format!("cannot load tensor `{name}`"))
        };
        let linear = |name: &str, n_out: usize, n_in: usize| -> anyhow::Result<Linear<O>> {
            let matrix = load(weights.tensor(&format!("{name}.weight"), &[n_out, n_in])?)
                .with_context(|| format!("cannot load tensor `{name}.weight`"))?;
            let bias = format!("{name}.bias");
            let bias = weights.find(&bias).map(|_| vector(&bias, n_out)).transpose()?;
            Ok(Linear { matrix, bias, low_rank: None })
        };
        let rotated = |name: &str, n_out: usize| -> anyhow::Result<Linear<O>> {
            let weight = format!("{name}.weight");
            let matrix = load(weights.rotated(&weight, &[n_out, hidden], config)?)
                .with_context(|| format!("cannot load tensor `{weight}`"))?;
            let bias = format!("{name}.bias");
            let bias = match weights.find(&bias) {
                Some(_) => Some(ops.load_vector(&weights.rotated(&bias, &[n_out], config)?)?),
                None => None,
            };
            Ok(Linear { matrix, bias, low_rank: None })
        };
        let mut layers = Vec::with_capacity(config.n_layers);
        for idx in 0..config.n_layers {
            let name = |part: &str| format!("blk.{idx}.{part}");
            let head_norms = match weights.find(&name("attn_q_norm.weight")) {
                Some(_) => Some((
                    vector(&name("attn_q_norm.weight"), head_dim)?,
                    vector(&name("attn_k_norm.weight"), head_dim)?,
                )),
                None => None,
            };
            let ffn = config.intermediate;
            layers.push(Layer {
                attn_norm: vector(&name("attn_norm.weight"), hidden)?,
                q_proj: rotated(&name("attn_q"), q_width)?,
                k_proj: rotated(&name("attn_k"), kv_width)?,
                v_proj: linear(&name("attn_v"), kv_width, hidden)?,
                head_norms,
                o_proj: linear(&name("attn_output"), hidden, q_width)?,
                ffn_norm: vector(&name("ffn_norm.weight"), hidden)?,
                gate_proj: linear(&name("ffn_gate"), ffn, hidden)?,
                up_proj: linear(&name("ffn_up"), ffn, hidden)?,
                down_proj: linear(&name("ffn_down"), hidden, ffn)?,
            });
            weights.forget_read();
        }
        let embedding = linear("token_embd", config.n_vocab, hidden)?;
        let norm = vector("output_norm.weight", hidden)?;
        let output = match weights.find("output.weight") {
            Some(_) => Some(linear("output", config.n_vocab, hidden)?),
            None => None,
        };
        weights.forget_read();
        Ok(Self { embedding, layers, norm, output })
    }
}
