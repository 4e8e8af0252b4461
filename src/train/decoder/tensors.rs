//! The tensors of a network and of an adapter, by the names that other programs give them.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::model::local::adapter::{LowRank, Site};
use crate::train::decoder::{Adapter, Gradients, Network};

/// A tensor of a network, read.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedTensor<'a> {
    /// Hugging Face's.
    pub name: String,
    pub shape: Vec<usize>,
    pub numbers: &'a [f32],
}

impl Network {
    /// All tensors with their shapes, in the order of [`Network::tensors_mut`].
    pub fn tensors(&self) -> Vec<NamedTensor<'_>> {
        fn vector(name: String, numbers: &[f32]) -> NamedTensor<'_> {
            NamedTensor { name, shape: vec![numbers.len()], numbers }
        }
        fn matrix(name: String, numbers: &[f32], n_in: usize) -> NamedTensor<'_> {
            NamedTensor { name, shape: vec![numbers.len() / n_in, n_in], numbers }
        }
        let hidden = self.shape.hidden;
        let mut tensors =
            vec![matrix("model.embed_tokens.weight".to_owned(), &self.embedding, hidden)];
        for (idx, layer) in self.layers.iter().enumerate() {
            let name = |part: &str| format!("model.layers.{idx}.{part}");
            tensors.push(vector(name("input_layernorm.weight"), &layer.attn_norm));
            for (site, linear) in Site::ALL.iter().zip(&layer.linears) {
                let weight = name(&format!("{}.weight", site.name()));
                tensors.push(matrix(weight, linear.weight.floats(), linear.n_in));
                if let Some(bias) = &linear.bias {
                    tensors.push(vector(name(&format!("{}.bias", site.name())), bias));
                }
            }
            if let Some((q, k)) = &layer.head_norms {
                tensors.push(vector(name("self_attn.q_norm.weight"), q));
                tensors.push(vector(name("self_attn.k_norm.weight"), k));
            }
            tensors.push(vector(name("post_attention_layernorm.weight"), &layer.ffn_norm));
        }
        tensors.push(vector("model.norm.weight".to_owned(), &self.norm));
        if let Some(output) = &self.output {
            tensors.push(matrix("lm_head.weight".to_owned(), output, hidden));
        }
        tensors
    }

    /// All tensors with Hugging Face's names, in a fixed order.
    pub fn tensors_mut(&mut self) -> Vec<(String, &mut Vec<f32>)> {
        let mut tensors = vec![("model.embed_tokens.weight".to_owned(), &mut self.embedding)];
        for (idx, layer) in self.layers.iter_mut().enumerate() {
            let name = |part: &str| format!("model.layers.{idx}.{part}");
            tensors.push((name("input_layernorm.weight"), &mut layer.attn_norm));
            for (site, linear) in Site::ALL.iter().zip(&mut layer.linears) {
                tensors
                    .push((name(&format!("{}.weight", site.name())), linear.weight.floats_mut()));
                if let Some(bias) = &mut linear.bias {
                    tensors.push((name(&format!("{}.bias", site.name())), bias));
                }
            }
            if let Some((q, k)) = &mut layer.head_norms {
                tensors.push((name("self_attn.q_norm.weight"), q));
                tensors.push((name("self_attn.k_norm.weight"), k));
            }
            tensors.push((name("post_attention_layernorm.weight"), &mut layer.ffn_norm));
        }
        tensors.push(("model.norm.weight".to_owned(), &mut self.norm));
        if let Some(output) = &mut self.output {
            tensors.push(("lm_head.weight".to_owned(), output));
        }
        tensors
    }

    /// A network of the same shape with 0 for every number.
    #[must_use]
    pub fn zeros_like(&self) -> Self {
        let mut zeros = self.clone();
        zeros.tensors_mut().into_iter().for_each(|(_, tensor)| tensor.fill(0.0));
        zeros
    }
}

impl Adapter {
    /// Additions of a rank to all seven projections of every layer, which change nothing yet:
    /// `draw` gives the numbers of each `a`, and each `b` is 0. `scale` is alpha / rank.
    pub fn new(
        network: &Network,
        rank: usize,
        scale: f32,
        mut draw: impl FnMut(usize) -> f32,
    ) -> Self {
        let layers = network.layers.iter().map(|layer| {
            Site::ALL.map(|site| {
                let linear = &layer.linears[site as usize];
                let n_out = linear.weight.n_numbers() / linear.n_in;
                let a = (0..rank * linear.n_in).map(|_| draw(linear.n_in)).collect();
                Some(LowRank { a, b: vec![0.0; n_out * rank], rank, scale })
            })
        });
        Self { layers: layers.collect() }
    }

    /// Additions that change nothing yet, drawn uniformly within ±1/√in, as PEFT does.
    pub fn fresh(network: &Network, rank: usize, alpha: f64, seed: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        Self::new(network, rank, (alpha / rank as f64) as f32, |n_in| {
            let bound = 1.0 / (n_in as f32).sqrt();
            random.random_range(-bound..bound)
        })
    }

    /// Without the additions to other projections than these.
    #[must_use]
    pub fn only(mut self, sites: &[Site]) -> Self {
        for layer in &mut self.layers {
            for site in Site::ALL.into_iter().filter(|site| !sites.contains(site)) {
                layer[site as usize] = None;
            }
        }
        self
    }

    /// All tensors with PEFT's names, in a fixed order.
    pub fn tensors_mut(&mut self) -> Vec<(String, &mut Vec<f32>)> {
        let mut tensors = Vec::new();
        for (idx, layer) in self.layers.iter_mut().enumerate() {
            for (site, low_rank) in Site::ALL.iter().zip(layer) {
                let Some(low_rank) = low_rank else { continue };
                let name = |part: &str| site.tensor_name(idx, part);
                tensors.push((name("lora_A"), &mut low_rank.a));
                tensors.push((name("lora_B"), &mut low_rank.b));
            }
        }
        tensors
    }

    /// Names the first tensor that holds what is no number, or more than 16 bits hold.
    pub fn check_finite(&mut self) -> anyhow::Result<()> {
        let is_usable = |number: &f32| half::f16::from_f32(*number).is_finite();
        for (name, numbers) in self.tensors_mut() {
            anyhow::ensure!(numbers.iter().all(is_usable), "`{name}` has grown beyond all numbers");
        }
        Ok(())
    }

    /// An adapter of the same shape with 0 for every number.
    #[must_use]
    pub fn zeros_like(&self) -> Self {
        let mut zeros = self.clone();
        zeros.tensors_mut().into_iter().for_each(|(_, tensor)| tensor.fill(0.0));
        zeros
    }
}

impl Gradients {
    /// All tensors, in the order of what is trained.
    pub fn tensors_mut(&mut self) -> Vec<(String, &mut Vec<f32>)> {
        match self {
            Self::Full(network) => network.tensors_mut(),
            Self::Adapter(adapter) => adapter.tensors_mut(),
        }
    }

    /// Sets every gradient to 0.
    pub fn clear(&mut self) {
        self.tensors_mut().into_iter().for_each(|(_, tensor)| tensor.fill(0.0));
    }
}
