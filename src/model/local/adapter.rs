//! Low-rank additions to a model's projections (LoRA), as PEFT keeps them: a folder with
//! `adapter_model.safetensors` and `adapter_config.json`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use clap::ValueEnum;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::model::shipped::ShippedAdapter;

pub const WEIGHTS_FILE: &str = "adapter_model.safetensors";
pub const CONFIG_FILE: &str = "adapter_config.json";
/// What only this program asks of an adapter; it may be absent.
pub const SORFT_FILE: &str = "sorft.json";

/// The content of [`SORFT_FILE`].
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct SorftConfig {
    /// The stages that it is for; absent: all. The others run without it.
    stages: Option<Vec<String>>,
}

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

/// `y += scale · x · aᵀ · bᵀ`
#[derive(Debug, Clone, PartialEq)]
pub struct LowRankWeights {
    /// (rank, in)
    pub a: Vec<f32>,
    /// (out, rank)
    pub b: Vec<f32>,
}

/// Where an adapter is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdapterSource {
    /// A folder in PEFT's layout.
    Folder(PathBuf),
    /// In this program.
    Shipped(&'static ShippedAdapter),
}

impl fmt::Display for AdapterSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => write!(f, "{}", folder.display()),
            Self::Shipped(adapter) => write!(f, "shipped for {}", adapter.base),
        }
    }
}

impl From<&Path> for AdapterSource {
    fn from(folder: &Path) -> Self {
        Self::Folder(folder.to_owned())
    }
}

impl AdapterSource {
    /// Eight digits that tell an adapter from others, by its files.
    pub fn fingerprint(&self) -> anyhow::Result<String> {
        let mut hash = Sha256::new();
        for bytes in self.files()?.into_iter().chain(self.sorft_file()?) {
            hash.update(bytes);
        }
        let digest = hash.finalize();
        Ok(digest[..4].iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The stages that it is for; `None`: all.
    ///
    /// # Errors
    ///
    /// Its `sorft.json` cannot be read.
    pub fn stages(&self) -> anyhow::Result<Option<Vec<String>>> {
        let Some(bytes) = self.sorft_file()? else { return Ok(None) };
        let config: SorftConfig = serde_json::from_slice(&bytes).with_context(|| {
            format!("`{SORFT_FILE}` of the adapter `{self}`: wanted such as {{ \"stages\": [\"file\"] }}")
        })?;
        Ok(config.stages)
    }

    fn sorft_file(&self) -> anyhow::Result<Option<Cow<'static, [u8]>>> {
        match self {
            Self::Shipped(adapter) => Ok(adapter.sorft.map(Cow::Borrowed)),
            Self::Folder(folder) => match fs::read(folder.join(SORFT_FILE)) {
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
                bytes => bytes
                    .map(|bytes| Some(Cow::Owned(bytes)))
                    .with_context(|| format!("reading `{SORFT_FILE}` of the adapter `{self}`")),
            },
        }
    }

    /// The bytes of `CONFIG_FILE` and `WEIGHTS_FILE`.
    fn files(&self) -> anyhow::Result<[Cow<'static, [u8]>; 2]> {
        let read = |name: &str, shipped: fn(&ShippedAdapter) -> &'static [u8]| match self {
            Self::Shipped(adapter) => Ok(Cow::Borrowed(shipped(adapter))),
            Self::Folder(folder) => fs::read(folder.join(name)).map(Cow::Owned).map_err(|error| {
                let hint = hint(folder);
                anyhow::anyhow!("reading the adapter `{self}`: `{name}`: {error}\n{hint}")
            }),
        };
        Ok([
            read(CONFIG_FILE, |adapter| adapter.config)?,
            read(WEIGHTS_FILE, |adapter| adapter.weights)?,
        ])
    }
}

/// An adapter's numbers, which a model takes one projection at a time.
#[derive(Debug)]
pub struct AdapterWeights {
    /// Where it was read, for messages; empty where it is of this process.
    place: String,
    /// What it calls the model that it was made for.
    pub base: Option<String>,
    pub rank: usize,
    /// alpha / rank
    pub scale: f32,
    tensors: BTreeMap<String, ([usize; 2], Vec<f32>)>,
}

/// What to do where a folder holds no adapter.
fn hint(folder: &Path) -> String {
    let below = folder.join("adapter");
    match below.join(CONFIG_FILE).is_file() {
        true => format!("hint: there is one in `{}`", below.display()),
        false => "hint: an adapter is a folder, as `sorft train sft --out DIR` leaves it in `DIR/adapter`"
            .to_owned(),
    }
}

impl AdapterWeights {
    /// An adapter in memory: shapes and numbers by PEFT's names.
    pub fn new(rank: usize, scale: f32, tensors: BTreeMap<String, ([usize; 2], Vec<f32>)>) -> Self {
        Self { place: String::new(), base: None, rank, scale, tensors }
    }

    /// # Errors
    ///
    /// The files cannot be read, or are of another kind of adapter.
    pub fn read(source: &AdapterSource) -> anyhow::Result<Self> {
        let context = || format!("reading the adapter `{source}`");
        let [config, weights] = source.files()?;
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
        Ok(Self {
            place: source.to_string(),
            base: config.base_model_name_or_path,
            rank: config.r,
            scale: (config.lora_alpha / config.r as f64) as f32,
            tensors,
        })
    }

    /// What is added to a projection of the shape (out, in), if anything is.
    ///
    /// # Errors
    ///
    /// It is for a projection of another shape.
    pub fn take(
        &mut self,
        layer: usize,
        site: Site,
        [n_out, n_in]: [usize; 2],
    ) -> anyhow::Result<Option<LowRankWeights>> {
        let mut part = |part: &str, wanted: [usize; 2]| {
            let name = site.tensor_name(layer, part);
            let Some((found, numbers)) = self.tensors.remove(&name) else { return Ok(None) };
            ensure!(
                found == wanted,
                "the adapter `{}` is for another model: its tensor `{name}` has the shape {found:?} where the model needs {wanted:?}",
                self.place
            );
            Ok(Some(numbers))
        };
        let a = part("lora_A", [self.rank, n_in])?;
        let b = part("lora_B", [n_out, self.rank])?;
        ensure!(
            a.is_some() == b.is_some(),
            "the adapter `{}` has one half of the pair for `{}` of layer {layer} alone",
            self.place,
            site.name()
        );
        Ok(a.zip(b).map(|(a, b)| LowRankWeights { a, b }))
    }

    /// Nothing may be left: it would be ignored in silence.
    pub fn finish(self) -> anyhow::Result<()> {
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
