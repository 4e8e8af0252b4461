//! `sorft model bench`: how fast a model runs on this machine.

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;

use crate::commands::Outcome;
use crate::commands::engine::{CpuArgs, DEFAULT_MODEL};
use crate::commands::model::{SourceArgs, bytes_of, obtain_with_progress};
use crate::commands::output::{Format, write_json, write_stdout};
use crate::commands::settings::Surroundings;
use crate::config::Flags;
use crate::model::catalog::ModelRef;
use crate::model::download::render_bytes;
use crate::model::local::bench::{BenchPlan, BenchReport, Figure};
use crate::run::memory::peak_memory_bytes;

/// Measure how fast a model runs on this machine
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sorft model bench
  sorft model bench smollm2-135m --format json")]
pub struct BenchArgs {
    /// Short name, `hf:OWNER/NAME[/FILE]`, GGUF file or folder
    #[arg(default_value = DEFAULT_MODEL)]
    pub model: String,
    /// Lengths of prompts, in tokens
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "512,2048")]
    pub prefill: Vec<usize>,
    /// How many samples of one prompt grow at once
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1,8,16")]
    pub batch: Vec<usize>,
    /// Tokens of the prompt that the samples share
    #[arg(long, value_name = "N", default_value_t = 512)]
    pub prompt: usize,
    /// Tokens that each sample grows by
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub tokens: usize,
    /// How often each figure is measured; the best counts
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub repeat: usize,
    #[command(flatten)]
    pub source: SourceArgs,
    #[command(flatten)]
    pub cpu: CpuArgs,
    /// Form of the result
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// What JSON holds.
#[derive(Debug, Serialize)]
struct Measured {
    #[serde(flatten)]
    report: BenchReport,
    /// Bytes of the model's files.
    file_bytes: u64,
    /// The most memory that the program held, of the model's file mapped pages included; `null`
    /// where the system does not tell.
    peak_memory_bytes: Option<u64>,
}

/// Runs `sorft model bench`.
pub fn bench(args: &BenchArgs, quiet: bool) -> anyhow::Result<Outcome> {
    let model = ModelRef::parse(&args.model)?;
    let surroundings = Surroundings::read(None, &args.cpu.set_keys(Flags::default()))?;
    let options = args.cpu.local_options(model.to_string(), surroundings.config())?;
    let found = obtain_with_progress(&model, &args.source.download_options()?, quiet)?;
    let plan = BenchPlan {
        prefill: args.prefill.clone(),
        batches: args.batch.clone(),
        n_prompt: args.prompt,
        n_decoded: args.tokens,
        n_repeats: args.repeat,
    };
    let bar = indicatif::ProgressBar::new_spinner();
    if quiet {
        bar.set_draw_target(indicatif::ProgressDrawTarget::hidden());
    }
    let tell = |text: &str| {
        bar.set_message(text.to_owned());
        bar.tick();
    };
    let report = crate::model::local::bench::bench(found.path(), &options, &plan, &tell)
        .with_context(|| format!("measuring the model `{model}`"))?;
    bar.finish_and_clear();
    let measured = Measured {
        report,
        file_bytes: bytes_of(found.path()),
        peak_memory_bytes: peak_memory_bytes(),
    };
    match args.format {
        Format::Json => write_json(&measured)?,
        Format::Text => write_stdout(&render(&measured, args.prompt))?,
    }
    Ok(Outcome::Done)
}

fn render(measured: &Measured, n_prompt: usize) -> String {
    let BenchReport { model, isa, n_threads, device, load_seconds, prefill, decode } =
        &measured.report;
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::NOTHING);
    table.set_header(["", "tokens/s"]);
    let mut row = |what: String, figure: &Figure| {
        table.add_row([what, format!("{:.1}", figure.tokens_per_second)]);
    };
    for figure in prefill {
        row(format!("prompt of {}", figure.size), figure);
    }
    for figure in decode {
        let what = match figure.size {
            1 => format!("one sample after {n_prompt}"),
            n => format!("{n} samples sharing {n_prompt}"),
        };
        row(what, figure);
    }
    let peak = measured.peak_memory_bytes.map_or("not known".to_owned(), render_bytes);
    format!(
        "{model}: {device}, {n_threads} threads, {isa}\n{}\nloaded in {load_seconds:.2} s, file {}, peak memory {peak}\n",
        table.trim_fmt(),
        render_bytes(measured.file_bytes),
    )
}
