//! Which engine completes prompts: a model on this machine, a server, or a recorded run.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use clap::Args;

use crate::commands::interrupt::run_until_interrupted;
use crate::commands::model::{SourceArgs, obtain_with_progress};
use crate::commands::output::note;
use crate::commands::run_record::find_run;
use crate::commands::settings::Surroundings;
use crate::config::key::NO_ADAPTER;
use crate::config::{Config, Flags, Origin, Resolved};
use crate::model::Generate;
use crate::model::catalog::ModelRef;
use crate::model::kernels::Isa;
use crate::model::local::adapter::{AdapterSource, SORFT_FILE};
use crate::model::local::engine::LocalEngine;
use crate::model::local::gpu::choice::DeviceChoice;
use crate::model::local::load::LocalOptions;
use crate::model::local::speed_up::SpeedUp;
use crate::model::remote::endpoint::{ApiKey, Endpoint};
use crate::model::remote::{RemoteEngine, RemoteOptions};
use crate::model::scripted::ScriptedEngine;
use crate::stage::StageKind;

/// Which engine.
#[derive(Debug, Clone, Args)]
pub struct EngineArgs {
    /// The model: a short name (`sorft model list`), `hf:OWNER/NAME[/FILE]`, a GGUF file, a
    /// folder with safetensors, or `scripted:RUN` to replay a recorded run; with `--endpoint`,
    /// the server's name for it
    #[arg(long, value_name = "MODEL", help_heading = "Model")]
    pub model: Option<String>,
    /// The folder of an adapter (LoRA, as PEFT keeps it) that is added to a local model
    /// [default: the one that is shipped for the model, if any]
    #[arg(long, value_name = "DIR", help_heading = "Model")]
    pub adapter: Option<PathBuf>,
    /// Run the bare model, without the adapter that is shipped for it
    #[arg(long, help_heading = "Model", conflicts_with = "adapter")]
    pub no_adapter: bool,
    /// An OpenAI-compatible server; may be given several times
    #[arg(long, value_name = "URL", help_heading = "Model")]
    pub endpoint: Vec<String>,
    /// Ask no model: print the places that retrieval finds, and end
    #[arg(long, help_heading = "Model", conflicts_with_all = ["model", "adapter", "endpoint"])]
    pub no_model: bool,
    #[command(flatten)]
    pub source: SourceArgs,
    #[command(flatten)]
    pub cpu: CpuArgs,
}

/// How a local model computes.
#[derive(Debug, Clone, Args)]
pub struct CpuArgs {
    /// What computes: `cpu`, `cuda`, `cuda:1`, `metal`, or `auto`, a GPU where this program was
    /// built for one and one is found [default: auto]
    #[arg(long, value_name = "DEVICE", help_heading = "Model")]
    pub device: Option<DeviceChoice>,
    /// Threads that compute [default: one for each core]
    #[arg(long, value_name = "N", help_heading = "Model", value_parser = 1..=1024, hide = true)]
    pub threads: Option<i64>,
    /// Instructions that compute: `portable`, `avx2` or `avx512-vnni` [default: the fastest of
    /// this processor]; the results are the same
    #[arg(long, env = "SORFT_ISA", value_name = "ISA", help_heading = "Model", hide = true)]
    pub isa: Option<Isa>,
    /// What to leave out to see what it brings: `prefixes`, `batching`, `forced-text`, `guesses`
    #[arg(
        long,
        env = "SORFT_WITHOUT",
        value_name = "PART",
        value_delimiter = ',',
        help_heading = "Model",
        hide = true
    )]
    pub without: Vec<SpeedUp>,
}

impl CpuArgs {
    /// The configuration keys that these flags set.
    pub fn set_keys(&self, flags: Flags) -> Flags {
        flags.set("device", self.device.map(|device| device.to_string()))
    }

    /// The options of a local engine that calls itself `name`.
    pub fn local_options(&self, name: String, config: &Config) -> anyhow::Result<LocalOptions> {
        let device = device_choice(config)?;
        // What cannot be had is told before a model is downloaded.
        device.find()?;
        Ok(LocalOptions {
            name: Some(name),
            n_threads: self.threads.map(|n| n as usize),
            isa: self.isa,
            without: self.without.clone(),
            device,
            ..LocalOptions::default()
        })
    }
}

/// The device that the configuration names.
pub fn device_choice(config: &Config) -> anyhow::Result<DeviceChoice> {
    config.device.parse().map_err(|error| anyhow!("in the setting `device`: {error}"))
}

/// Used where no model is named: small enough for a CPU.
pub const DEFAULT_MODEL: &str = "qwen2.5-coder-0.5b";

/// Obtains and loads the engine that the configuration names.
///
/// Blocks while a model is downloaded and loaded, or servers are asked what they are.
pub fn open_engine(
    args: &EngineArgs,
    surroundings: &Surroundings,
    quiet: bool,
) -> anyhow::Result<Arc<dyn Generate>> {
    let config = surroundings.config();
    if !config.endpoint.is_empty() {
        ensure!(
            config.adapter.as_ref().is_none_or(|word| word.as_os_str() == NO_ADAPTER),
            "`adapter` is for local models; a server has its own way of adding one\nhint: leave out `adapter`, and name the server's model for it with `--model`"
        );
        let options = remote_options(surroundings)?;
        let engine = run_until_interrupted(RemoteEngine::connect(options))?;
        if !quiet {
            engine.unreached().iter().for_each(|failure| note(failure));
        }
        return Ok(Arc::new(engine));
    }
    let model = ModelRef::parse(config.model.as_deref().unwrap_or(DEFAULT_MODEL))?;
    if let ModelRef::Scripted(path) = &model {
        let path = match path.to_str() {
            Some(run) if !path.is_file() => find_run(run, &surroundings.folders)?,
            _ => path.clone(),
        };
        return Ok(Arc::new(ScriptedEngine::open(&path)?));
    }
    let mut options = args.cpu.local_options(model.to_string(), config)?;
    let mut source = args.source.download_options()?;
    source.offline |= config.offline;
    let found = obtain_with_progress(&model, &source, quiet)?;
    options.adapter = adapter_of(&model, config);
    if let Some(adapter) = &options.adapter {
        check_stages(adapter)?;
        // Runs with other weights must not be taken for each other.
        options.name = Some(format!("{model}+{}", adapter.fingerprint()?));
    }
    let engine = LocalEngine::load(found.path(), &options)
        .with_context(|| format!("loading the model `{model}`"))?;
    Ok(Arc::new(engine))
}

/// Refuses an adapter for what is no stage: it would be of no use in silence.
fn check_stages(adapter: &AdapterSource) -> anyhow::Result<()> {
    let known = StageKind::ALL.map(StageKind::name);
    for name in adapter.stages()?.unwrap_or_default() {
        ensure!(
            known.contains(&name.as_str()),
            "`{SORFT_FILE}` of the adapter `{adapter}`: wanted stages ({}), found `{name}`",
            known.join(", ")
        );
    }
    Ok(())
}

/// The adapter that is added to a local model.
fn adapter_of(model: &ModelRef, config: &Config) -> Option<AdapterSource> {
    match (&config.adapter, model) {
        (Some(word), _) if word.as_os_str() == NO_ADAPTER => None,
        (Some(folder), _) => Some(AdapterSource::Folder(folder.clone())),
        (None, ModelRef::Catalog(model)) => model.adapter.map(AdapterSource::Shipped),
        (None, _) => None,
    }
}

/// Whether the key file was configured for the very servers that are asked: a key goes nowhere
/// else. `SORFT_API_KEY` is the user's word for this run.
fn key_is_for_endpoints(resolved: &Resolved) -> bool {
    let origin = |name: &str| {
        let setting = resolved.settings.iter().find(|setting| setting.key.name == name);
        setting.map(|setting| &setting.origin)
    };
    let (key, endpoint) = (origin("api_key_file"), origin("endpoint"));
    let is_for_this_run =
        matches!(key, Some(Origin::Environment(_) | Origin::Flag(_) | Origin::Default));
    if !is_for_this_run && key != endpoint {
        note(
            "the key of `api_key_file` is not sent: `endpoint` was set elsewhere, for other servers\n\
             hint: SORFT_API_KEY gives a key for this run",
        );
        return false;
    }
    true
}

fn remote_options(surroundings: &Surroundings) -> anyhow::Result<RemoteOptions> {
    let config = surroundings.config();
    let key = match key_is_for_endpoints(&surroundings.resolved) {
        true => surroundings.environment.api_key(config)?,
        false => surroundings.environment.given_api_key(),
    };
    let key = key.map(|key| ApiKey::new(key.reveal()));
    let endpoint = |url: &String| Endpoint::new(url, key.clone());
    Ok(RemoteOptions {
        endpoints: config.endpoint.iter().map(endpoint).collect::<anyhow::Result<_>>()?,
        model: config.model.clone(),
        dialect: None,
        context_length: (0 < config.context_tokens).then_some(config.context_tokens),
        concurrency: 8,
        greeting_within: Duration::from_secs(10),
        stall: Duration::from_secs(300),
        retries: 5,
        retry_wait: Duration::from_secs(1),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shipped_adapter_is_taken_unless_another_or_none_is_named() {
        let found = |model: &str, adapter: Option<&str>| {
            let config = Config { adapter: adapter.map(PathBuf::from), ..Config::default() };
            let source = adapter_of(&ModelRef::parse(model).unwrap(), &config);
            source.map(|source| source.to_string())
        };
        let shipped = Some("shipped for qwen2.5-coder-0.5b".to_owned());
        assert_eq!(found(DEFAULT_MODEL, None), shipped);
        assert_eq!(found(DEFAULT_MODEL, Some("none")), None);
        assert_eq!(found(DEFAULT_MODEL, Some("mine")), Some("mine".to_owned()));
        assert_eq!(found("smollm2-135m", None), None);
        assert_eq!(found("./qwen.gguf", None), None);
    }
}
