//! Low-rank additions to a model's projections (LoRA), as PEFT keeps them: a folder with
//! `adapter_model.safetensors` and `adapter_config.json`.

mod low_rank;
mod source;

use std::collections::BTreeMap;

use anyhow::{Context as _, bail, ensure};
use clap::ValueEnum;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use crate::model::local::adapter::low_rank::LowRank;
use crate::model::local::adapter::source::PeftFiles;
pub use crate::model::local::adapter::source::{AdapterSource, SORFT_FILE};

pub const WEIGHTS_FILE: &str = "adapter_model.safetensors";
pub const CONFIG_FILE: &str = "adapter_config.json";

/// A projection of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Site {
    Q,
    K,
    V,
    O,
    Gate,
    Up,
    Down,
}

impl Site {
    pub const ALL: [Self; 7] =
        [Self::Q, Self::K, Self::V, Self::O, Self::Gate, Self::Up, Self::Down];

    /// The name of Hugging Face within a layer.
    pub fn name(self) -> &'static str {
        match self {
            Self::Q => "self_attn.q_proj",
            Self::K => "self_attn.k_proj",
            Self::V => "self_attn.v_proj",
            Self::O => "self_attn.o_proj",
            Self::Gate => "mlp.gate_proj",
            Self::Up => "mlp.up_proj",
            Self::Down => "mlp.down_proj",
        }
    }

    /// GGUF's name within a layer.
    pub fn gguf_name(self) -> &'static str {
        match self {
            Self::Q => "attn_q",
            Self::K => "attn_k",
            Self::V => "attn_v",
            Self::O => "attn_output",
            Self::Gate => "ffn_gate",
            Self::Up => "ffn_up",
            Self::Down => "ffn_down",
        }
    }

    /// PEFT's name of one of a layer's tensors: `part` is `lora_A` or `lora_B`.
    pub fn tensor_name(self, layer: usize, part: &str) -> String {
        format!("base_model.model.model.layers.{layer}.{}.{part}.weight", self.name())
    }
}

/// What PEFT must know of an adapter. Other fields of its own are passed over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeftConfig {
    pub peft_type: String,
    pub task_type: Option<String>,
    pub base_model_name_or_path: Option<String>,
    pub r: usize,
    pub lora_alpha: f64,
    #[serde(default)]
    pub lora_dropout: f64,
    /// Their names, or a pattern; the tensors tell what there is.
    #[serde(default)]
    pub target_modules: Value,
    #[serde(default)]
    pub bias: String,
    #[serde(default)]
    pub fan_in_fan_out: bool,
    #[serde(default)]
    pub use_rslora: bool,
    #[serde(default)]
    pub use_dora: bool,
    #[serde(default)]
    pub inference_mode: bool,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub alpha_pattern: Value,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub rank_pattern: Value,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub modules_to_save: Value,
}

impl PeftConfig {
    /// The first option that would change results, and that is not supported.
    fn unsupported(&self) -> Option<&'static str> {
        let is_set = |value: &Value| match value {
            Value::Null => false,
            Value::Array(items) => !items.is_empty(),
            Value::Object(fields) => !fields.is_empty(),
            _ => true,
        };
        let options = [
            ("use_rslora", self.use_rslora),
            ("use_dora", self.use_dora),
            ("fan_in_fan_out", self.fan_in_fan_out),
            ("bias", !matches!(self.bias.as_str(), "" | "none")),
            ("alpha_pattern", is_set(&self.alpha_pattern)),
            ("rank_pattern", is_set(&self.rank_pattern)),
            ("modules_to_save", is_set(&self.modules_to_save)),
        ];
        options.into_iter().find(|(_, is_set)| *is_set).map(|(name, _)| name)
    }
}

/// An adapter's numbers, which a model takes one projection at a time.
#[derive(Debug)]
pub struct AdapterWeights {
    /// What it calls the model that it was made for.
    pub base: Option<String>,
    /// What is added together; there is at least one.
    parts: Vec<Part>,
}

impl AdapterWeights {
    /// An adapter in memory: shapes and numbers by PEFT's names.
    pub fn new(rank: usize, scale: f32, tensors: BTreeMap<String, ([usize; 2], Vec<f32>)>) -> Self {
        Self { base: None, parts: vec![Part { place: String::new(), rank, scale, tensors }] }
    }

    /// # Errors
    ///
    /// The files cannot be read, or are of another kind of adapter.
    pub fn read(source: &AdapterSource) -> anyhow::Result<Self> {
        let (base, own) = Part::read(source.own_files()?)?;
        let mut parts = vec![own];
        for files in source.part_files()? {
            parts.push(Part::read(files)?.1);
        }
        Ok(Self { base, parts })
    }

    /// What is added to a projection of the shape (out, in), if anything is. All additions have
    /// the same rank and scale.
    ///
    /// # Errors
    ///
    /// It is for a projection of another shape.
    pub fn take(
        &mut self,
        layer: usize,
        site: Site,
        shape: [usize; 2],
    ) -> anyhow::Result<Option<LowRank>> {
        let mut found = Vec::new();
        for part in &mut self.parts {
            found.push(part.take(layer, site, shape)?);
        }
        if found.iter().all(Option::is_none) {
            return Ok(None);
        }
        let added = found.into_iter().zip(&self.parts).map(|(found, part)| {
            found.unwrap_or_else(|| LowRank::zeros(shape, part.rank, part.scale))
        });
        Ok(added.reduce(|before, part| before.join(&part)))
    }

    /// Nothing may be left: it would be ignored in silence.
    pub fn finish(self) -> anyhow::Result<()> {
        self.parts.into_iter().try_for_each(Part::finish)
    }
}

/// The numbers of one adapter in PEFT's layout.
#[derive(Debug)]
struct Part {
    /// Where it was read, for messages; empty where it is of this process.
    place: String,
    rank: usize,
    /// alpha / rank
    scale: f32,
    tensors: BTreeMap<String, ([usize; 2], Vec<f32>)>,
}

impl Part {
    /// With what it calls the model that it was made for.
    fn read(files: PeftFiles) -> anyhow::Result<(Option<String>, Self)> {
        let PeftFiles { config, weights, place } = files;
        let context = || format!("reading the adapter `{place}`");
        let config: PeftConfig =
            serde_json::from_slice(&config).context(CONFIG_FILE).with_context(context)?;
        ensure!(
            config.peft_type == "LORA",
            "{}: a plain LoRA adapter was wanted, and `{}` was found",
            context(),
            config.peft_type
        );
        if let Some(option) = config.unsupported() {
            bail!(
                "{}: a plain LoRA adapter was wanted, and one with `{option}` was found",
                context()
            );
        }
        ensure!(
            0 < config.r && config.lora_alpha != 0.0 && (config.lora_alpha as f32).is_finite(),
            "{}: a rank above 0 and a number other than 0 for alpha were wanted, found {} and {}",
            context(),
            config.r,
            config.lora_alpha
        );
        let found =
            SafeTensors::deserialize(&weights).context(WEIGHTS_FILE).with_context(context)?;
        let mut tensors = BTreeMap::new();
        for (name, view) in found.tensors() {
            let numbers = numbers(&name, &view).with_context(context)?;
            let shape = view
                .shape()
                .try_into()
                .map_err(|_| anyhow::anyhow!("{}: its tensor `{name}` is no matrix", context()))?;
            tensors.insert(name, (shape, numbers));
        }
        let (rank, scale) = (config.r, (config.lora_alpha / config.r as f64) as f32);
        Ok((config.base_model_name_or_path, Self { place, rank, scale, tensors }))
    }

    fn take(
        &mut self,
        layer: usize,
        site: Site,
        [n_out, n_in]: [usize; 2],
    ) -> anyhow::Result<Option<LowRank>> {
        let mut half = |half: &str, wanted: [usize; 2]| {
            let name = site.tensor_name(layer, half);
            let Some((found, numbers)) = self.tensors.remove(&name) else { return Ok(None) };
            ensure!(
                found == wanted,
                "the adapter `{}` is for another model: its tensor `{name}` has the shape {found:?} where the model needs {wanted:?}",
                self.place
            );
            Ok(Some(numbers))
        };
        let a = half("lora_A", [self.rank, n_in])?;
        let b = half("lora_B", [n_out, self.rank])?;
        ensure!(
            a.is_some() == b.is_some(),
            "the adapter `{}` has one half of the pair for `{}` of layer {layer} alone",
            self.place,
            site.name()
        );
        Ok(a.zip(b).map(|(a, b)| LowRank { a, b, rank: self.rank, scale: self.scale }))
    }

    fn finish(self) -> anyhow::Result<()> {
        if let Some(name) = self.tensors.keys().next() {
            bail!(
                "the adapter `{}` is for another model, which has a place for its tensor `{name}`",
                self.place
            );
        }
        Ok(())
    }
}

fn numbers(name: &str, view: &TensorView<'_>) -> anyhow::Result<Vec<f32>> {
    let bytes = view.data();
    let numbers: Vec<f32> = match view.dtype() {
        Dtype::F32 => {
            bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
        }
        Dtype::F16 => {
            bytes.chunks_exact(2).map(|b| half::f16::from_le_bytes([b[0], b[1]]).to_f32()).collect()
        }
        Dtype::BF16 => bytes
            .chunks_exact(2)
            .map(|b| half::bf16::from_le_bytes([b[0], b[1]]).to_f32())
            .collect(),
        other => bail!("its tensor `{name}` is stored as {other:?}; floats were wanted"),
    };
    ensure!(
        numbers.iter().all(|n| n.is_finite()),
        "its tensor `{name}` has numbers without a value"
    );
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_folder_may_say_which_stages_its_adapter_is_for() {
        let folder = tempfile::tempdir().unwrap();
        let source = AdapterSource::from(folder.path());
        assert_eq!(source.stages().unwrap(), None);
        let told = |text: &str| {
            fs::write(folder.path().join(SORFT_FILE), text).unwrap();
            source.stages().map_err(|error| format!("{error:#}"))
        };
        assert_eq!(told(r#"{ "stages": ["file"] }"#).unwrap(), Some(vec!["file".to_owned()]));
        for text in [r#"{ "stage": ["file"] }"#, "{", "[]"] {
            let message = told(text).unwrap_err();
            assert!(message.contains("wanted such as { \"stages\""), "{message}");
        }
    }
}
