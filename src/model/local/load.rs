//! From a path to a running engine.

use std::fs::File;
use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use anyhow::Context as _;
use rayon::{ThreadPool, ThreadPoolBuilder};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::model::EngineInfo;
use crate::model::kernels::Isa;
use crate::model::kernels::team::Team;
use crate::model::local::adapter::{AdapterSource, AdapterWeights};
use crate::model::local::chat::ChatTemplate;
use crate::model::local::config::DecoderConfig;
use crate::model::local::cpu::Cpu;
use crate::model::local::decoder::{Decoder, Ops};
use crate::model::local::engine::{LocalEngine, start};
use crate::model::local::gguf::Gguf;
use crate::model::local::gpu::Gpu;
use crate::model::local::gpu::choice::{Chosen, DeviceChoice};
use crate::model::local::safetensors::SafetensorsFiles;
use crate::model::local::scheduler::{Limits, Scheduler};
use crate::model::local::speed_up::SpeedUp;
use crate::model::local::tokenizer::Tokenizer;
use crate::model::local::weights::Weights;
use crate::model::token_trie::TokenTrie;

/// How a model is loaded.
#[derive(Debug, Clone)]
pub struct LocalOptions {
    /// What the engine calls itself; the file's name where it is `None`.
    pub name: Option<String>,
    /// Cuts the context to so many tokens, where the model's own is longer.
    pub max_context: Option<usize>,
    /// Bytes of keys and values kept from earlier prompts.
    pub max_prefix_bytes: usize,
    /// Threads that compute; as many as the machine has cores where it is `None`.
    pub n_threads: Option<usize>,
    /// The instructions that compute; the fastest of the processor where it is `None`.
    pub isa: Option<Isa>,
    pub adapter: Option<AdapterSource>,
    pub device: DeviceChoice,
    /// What is left out, to see what it brings.
    pub without: Vec<SpeedUp>,
}

impl Default for LocalOptions {
    fn default() -> Self {
        Self {
            name: None,
            max_context: None,
            max_prefix_bytes: 1 << 30,
            n_threads: None,
            isa: None,
            adapter: None,
            device: DeviceChoice::Cpu,
            without: Vec::new(),
        }
    }
}

/// The parts of a model's files, before the network is built.
pub struct Parts {
    pub config: DecoderConfig,
    pub weights: Weights,
    pub tokenizer: Tokenizer,
    pub template: ChatTemplate,
}

/// A loaded network with what belongs to it.
pub struct Loaded<O: Ops = Cpu> {
    pub info: EngineInfo,
    pub decoder: Decoder<O>,
    pub tokenizer: Arc<Tokenizer>,
    pub template: ChatTemplate,
    /// Threads of the CPU.
    pub n_threads: usize,
}

impl Loaded {
    /// Loads a network for the CPU.
    pub fn read(path: &Path, options: &LocalOptions) -> anyhow::Result<Self> {
        Self::read_for(path, options, Cpu::new)
    }
}

impl<O: Ops> Loaded<O> {
    /// Loads a network for what `ops` makes.
    pub fn read_for(
        path: &Path,
        options: &LocalOptions,
        ops: impl FnOnce(&DecoderConfig, Team) -> anyhow::Result<O>,
    ) -> anyhow::Result<Self> {
        let Parts { mut config, weights, tokenizer, template } = read_parts(path)?;
        if let Some(max_context) = options.max_context {
            config.context_length = config.context_length.min(max_context);
        }
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let isa = options.isa.unwrap_or_else(Isa::best);
        let cores = || thread::available_parallelism().map_or(1, NonZero::get);
        let n_threads = options.n_threads.unwrap_or_else(cores);
        let threads = || -> anyhow::Result<(ThreadPool, Team)> {
            let pool = ThreadPoolBuilder::new().num_threads(n_threads).build()?;
            Ok((pool, Team::new(isa, n_threads)?))
        };
        let (pool, team) = threads().context("cannot start the engine's threads")?;
        let ops = ops(&config, team)?;
        let info = EngineInfo {
            name: options.name.clone().or(stem).unwrap_or_default(),
            context_length: config.context_length,
            obeys_grammar: true,
            is_local_cpu: O::IS_CPU,
            gives_distinct: true,
        };
        let adapter = options.adapter.as_ref().map(AdapterWeights::read).transpose()?;
        let decoder = pool
            .install(|| Decoder::load(config, &weights, adapter, ops))
            .with_context(|| format!("cannot load the model `{}`", path.display()))?;
        Ok(Self { info, decoder, tokenizer: Arc::new(tokenizer), template, n_threads })
    }
}

/// Opens a GGUF file or a Hugging Face directory; no weight is read yet.
pub fn read_parts(path: &Path) -> anyhow::Result<Parts> {
    if path.is_dir() { read_folder(path) } else { read_gguf(path) }
}

/// How much goes through the network at once.
pub const PREFILL_ROWS: usize = 256;

impl LocalEngine {
    /// Loads a GGUF file, or a Hugging Face directory, for the device of the options.
    pub fn load(path: &Path, options: &LocalOptions) -> anyhow::Result<Self> {
        match options.device.find()? {
            Chosen::Cpu => Self::over(Loaded::read(path, options)?, options),
            Chosen::Gpu(device) => {
                let ops = |config: &DecoderConfig, team| Gpu::new(config, device, team);
                Self::over(Loaded::read_for(path, options, ops)?, options)
            }
        }
    }

    fn over<O: Ops>(loaded: Loaded<O>, options: &LocalOptions) -> anyhow::Result<Self> {
        let Loaded { info, decoder, tokenizer, template, .. } = loaded;
        let unless = |part: SpeedUp, limit, other| match options.without.contains(&part) {
            true => other,
            false => limit,
        };
        let limits = Limits {
            prefill_rows: PREFILL_ROWS,
            max_samples: unless(SpeedUp::Batching, 64, 1),
            max_guessing_rows: unless(SpeedUp::Guesses, 16, 0),
            max_prefix_bytes: unless(SpeedUp::Prefixes, options.max_prefix_bytes, 0),
        };
        let forces_text = !options.without.contains(&SpeedUp::ForcedText);
        let scheduler = Scheduler::new(decoder, Arc::clone(&tokenizer), limits);
        let trie = Arc::new(TokenTrie::new(tokenizer.vocabulary()));
        let adapted_stages = options.adapter.as_ref().map(AdapterSource::stages).transpose()?;
        let adapted_stages = adapted_stages.flatten();
        let jobs = start(scheduler)?;
        Ok(Self { info, tokenizer, template, trie, adapted_stages, forces_text, jobs })
    }
}

/// What tells a model's weights from others under the same path: SHA-256 of the file, or of a
/// folder's files of weights.
pub fn weights_digest(path: &Path) -> anyhow::Result<String> {
    let mut files = vec![path.to_owned()];
    if path.is_dir() {
        files = std::fs::read_dir(path)?
            .map(|entry| Ok(entry?.path()))
            .collect::<anyhow::Result<Vec<_>>>()?;
        files.retain(|file| file.extension().is_some_and(|extension| extension == "safetensors"));
        files.sort();
    }
    let mut hash = Sha256::new();
    for file in files {
        let mut file =
            File::open(&file).with_context(|| format!("opening `{}`", file.display()))?;
        std::io::copy(&mut file, &mut hash)?;
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn read_gguf(path: &Path) -> anyhow::Result<Parts> {
    let gguf = Gguf::open(path)?;
    let read = || {
        let config = DecoderConfig::from_gguf(&gguf)?;
        let tokenizer = Tokenizer::from_gguf(&gguf)?;
        let source = gguf
            .text("tokenizer.chat_template")
            .context("it has no chat template\nhint: take the model's instruction-tuned version")?;
        let named = |key: &str| {
            let id = gguf.unsigned(key).unwrap_or(usize::MAX) as u32;
            tokenizer.added_text(id).unwrap_or_default()
        };
        let template = ChatTemplate::parse(
            source,
            named("tokenizer.ggml.bos_token_id"),
            named("tokenizer.ggml.eos_token_id"),
        )?;
        anyhow::Ok((config, tokenizer, template))
    };
    let (config, tokenizer, template) =
        read().with_context(|| format!("cannot use the model file `{}`", path.display()))?;
    Ok(Parts { config, weights: Weights::Gguf(gguf), tokenizer, template })
}

/// The end-of-sequence ids of a `config.json` or `generation_config.json`: one, several or none.
#[derive(Default, Deserialize)]
struct Ends {
    eos_token_id: Option<OneOrMore>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(u32),
    More(Vec<u32>),
}

/// What `tokenizer_config.json` says of chats.
#[derive(Deserialize)]
struct TokenizerConfig {
    chat_template: Option<String>,
    bos_token: Option<NamedToken>,
    eos_token: Option<NamedToken>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum NamedToken {
    Text(String),
    Full { content: String },
}

impl NamedToken {
    fn text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Full { content: text } => text,
        }
    }
}

fn read_folder(folder: &Path) -> anyhow::Result<Parts> {
    let read = |name: &str| {
        let path = folder.join(name);
        std::fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))
    };
    let within = |name: &str| format!("cannot use `{}`", folder.join(name).display());
    let text = read("config.json")?;
    let config = DecoderConfig::parse_json(&text).with_context(|| within("config.json"))?;
    let mut ends = Vec::new();
    for name in ["config.json", "generation_config.json"] {
        if !folder.join(name).is_file() {
            continue;
        }
        let file: Ends = serde_json::from_str(&read(name)?).with_context(|| within(name))?;
        match file.eos_token_id {
            Some(OneOrMore::One(id)) => ends.push(id),
            Some(OneOrMore::More(ids)) => ends.extend(ids),
            None => {}
        }
    }
    let tokenizer = Tokenizer::from_json(&folder.join("tokenizer.json"), ends)?;
    let chat: TokenizerConfig = serde_json::from_str(&read("tokenizer_config.json")?)
        .with_context(|| within("tokenizer_config.json"))?;
    let source = match chat.chat_template {
        Some(source) => source,
        None => read("chat_template.jinja").context(
            "the model has no chat template\nhint: take the model's instruction-tuned version",
        )?,
    };
    let text_of = |token: &Option<NamedToken>| {
        token.as_ref().map(|token| token.text().to_owned()).unwrap_or_default()
    };
    let template =
        ChatTemplate::parse(&source, &text_of(&chat.bos_token), &text_of(&chat.eos_token))
            .with_context(|| within("tokenizer_config.json"))?;
    let weights = Weights::Safetensors(SafetensorsFiles::open(folder)?);
    Ok(Parts { config, weights, tokenizer, template })
}
