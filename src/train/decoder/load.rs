//! A network from a model's files: GGUF (unpacked to floats) or a Hugging Face directory.

use anyhow::Context as _;

use crate::model::local::adapter::Site;
use crate::model::local::config::DecoderConfig;
use crate::model::local::weights::{StoredTensor, Weights};
use crate::train::decoder::layer::Layer;
use crate::train::decoder::linear::Linear;
use crate::train::decoder::weight::Weight;
use crate::train::decoder::{Network, Shape};

impl Network {
    /// Reads all weights as floats; queries and keys have rotated pairs half a head apart, as in
    /// Hugging Face's files, wherever they come from.
    pub fn read(config: &DecoderConfig, weights: &Weights) -> anyhow::Result<Self> {
        let DecoderConfig { hidden, head_dim, intermediate, n_vocab, .. } = *config;
        let (q_width, kv_width) = (config.n_heads * head_dim, config.n_kv_heads * head_dim);
        let numbers = |name: &str, stored: StoredTensor<'_>| {
            stored.to_f32().with_context(|| format!("cannot read tensor `{name}`"))
        };
        let vector = |name: &str, len: usize| numbers(name, weights.tensor(name, &[len])?);
        let linear = |layer: usize, site: Site| -> anyhow::Result<Linear> {
            let (n_out, n_in) = match site {
                Site::Q => (q_width, hidden),
                Site::K | Site::V => (kv_width, hidden),
                Site::O => (hidden, q_width),
                Site::Gate | Site::Up => (intermediate, hidden),
                Site::Down => (hidden, intermediate),
            };
            let name = site.gguf_name();
            let stored = |name: &str, shape: &[usize]| match site {
                Site::Q | Site::K => weights.rotated(name, shape, config),
                _ => weights.tensor(name, shape),
            };
            let weight = format!("blk.{layer}.{name}.weight");
            let bias = format!("blk.{layer}.{name}.bias");
            Ok(Linear {
                weight: Weight::Floats(numbers(&weight, stored(&weight, &[n_out, n_in])?)?),
                bias: match weights.find(&bias) {
                    Some(_) => Some(numbers(&bias, stored(&bias, &[n_out])?)?),
                    None => None,
                },
                n_in,
            })
        };
        let layer = |idx: usize| -> anyhow::Result<Layer> {
            let name = |part: &str| format!("blk.{idx}.{part}.weight");
            let head_norms = match weights.find(&name("attn_q_norm")) {
                Some(_) => Some((
                    vector(&name("attn_q_norm"), head_dim)?,
                    vector(&name("attn_k_norm"), head_dim)?,
                )),
                None => None,
            };
            let linears: Vec<Linear> =
                Site::ALL.iter().map(|site| linear(idx, *site)).collect::<anyhow::Result<_>>()?;
            Ok(Layer {
                attn_norm: vector(&name("attn_norm"), hidden)?,
                ffn_norm: vector(&name("ffn_norm"), hidden)?,
                head_norms,
                linears: linears.try_into().ok().context("seven projections")?,
            })
        };
        let table = |name: &str| numbers(name, weights.tensor(name, &[n_vocab, hidden])?);
        Ok(Self {
            shape: Shape {
                hidden,
                n_heads: config.n_heads,
                n_kv_heads: config.n_kv_heads,
                head_dim,
                rms_eps: config.rms_eps as f32,
                frequencies: config.rope.frequencies.clone(),
                magnitude: config.rope.magnitude,
            },
            embedding: table("token_embd.weight")?,
            layers: (0..config.n_layers).map(layer).collect::<anyhow::Result<_>>()?,
            norm: vector("output_norm.weight", hidden)?,
            output: weights.find("output.weight").map(|_| table("output.weight")).transpose()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::Path;

    use serde::Deserialize;

    use super::*;
    use crate::model::local::load::read_parts;
    use crate::train::decoder::batch::Batch;
    use crate::train::decoder::{Activations, Trainer};

    #[derive(Deserialize)]
    struct Expected {
        ids: Vec<u32>,
        /// By position.
        logits: BTreeMap<String, Vec<f64>>,
    }

    #[test]
    fn losses_are_those_of_transformers() {
        for family in ["llama", "qwen2", "qwen3"] {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/models").join(family);
            let text = fs::read_to_string(folder.join("expected.json")).unwrap();
            let expected: Expected = serde_json::from_str(&text).unwrap();
            let parts = read_parts(&folder).unwrap();
            let network = Network::read(&parts.config, &parts.weights).unwrap();
            let mut trainer = Trainer::new(Activations::Recompute);
            for (row, logits) in &expected.logits {
                let row: usize = row.parse().unwrap();
                let Some(token) = expected.ids.get(row + 1) else { continue };
                let mut batch = Batch::default();
                batch.push(&expected.ids[..row + 2], row + 1, 1.0);
                let loss = trainer.loss(&network, None, &batch);
                let sum: f64 = logits.iter().map(|logit| logit.exp()).sum();
                let wanted = sum.ln() - logits[*token as usize];
                assert!((loss - wanted).abs() < 1e-4, "{family}, row {row}: {loss}, {wanted}");
            }
        }
    }
}
