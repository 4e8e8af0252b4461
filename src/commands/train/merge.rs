//! `sorft train merge`: base and adapter as one model.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::commands::Outcome;
use crate::commands::engine::DEFAULT_MODEL;
use crate::commands::model::{SourceArgs, obtain_with_progress};
use crate::commands::output::{Format, escape_controls, note, write_json, write_stdout};
use crate::model::catalog::ModelRef;
use crate::train::merge::precision::Precision;
use crate::train::merge::{MergeOptions, Merged, base_of, merge as merge_models};

/// Write a base model and an adapter as one model, for other programs
///
/// A Hugging Face folder loads in transformers; a GGUF file, for which the base
/// must be one, in llama.cpp. All weights are in memory as 32-bit floats meanwhile.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sorft train merge tuned/adapter --model smollm2-135m --out merged
  sorft train merge tuned/adapter --model smollm2-135m --out merged.gguf
  sorft train merge tuned/adapter --model ./SmolLM2-135M-Instruct --out merged --precision f16")]
pub struct MergeArgs {
    /// The adapter's folder, in PEFT's layout
    #[arg(value_name = "ADAPTER")]
    pub adapter: PathBuf,
    /// The model that it was made for: a short name, a GGUF file, or a folder with safetensors
    #[arg(long, value_name = "MODEL", default_value = DEFAULT_MODEL)]
    pub model: String,
    #[command(flatten)]
    pub source: SourceArgs,
    /// The folder to make, or the file where it ends in `.gguf`
    #[arg(long, value_name = "DIR|FILE.gguf")]
    pub out: PathBuf,
    /// How numbers are stored; in a GGUF file those of the merged projections, the others stay as
    /// they are [default: bf16, in a GGUF file f16]
    #[arg(long, value_enum, value_name = "PRECISION")]
    pub precision: Option<PrecisionArg>,
    /// Form of the result
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// How numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PrecisionArg {
    F32,
    F16,
    Bf16,
    /// In a GGUF file alone
    #[value(name = "q8_0")]
    Q8_0,
}

/// Runs `sorft train merge`.
pub fn merge(args: &MergeArgs, quiet: bool) -> anyhow::Result<Outcome> {
    let model = ModelRef::parse(&args.model)?;
    let base = base_of(&args.adapter)?;
    if let Some(base) = base.filter(|base| !quiet && *base != model.to_string()) {
        note(&format!("the adapter says that it was made for `{base}`, and `{model}` was given"));
    }
    let found = obtain_with_progress(&model, &args.source.download_options()?, quiet)?;
    let precision = args.precision.map(|precision| match precision {
        PrecisionArg::F32 => Precision::F32,
        PrecisionArg::F16 => Precision::F16,
        PrecisionArg::Bf16 => Precision::Bf16,
        PrecisionArg::Q8_0 => Precision::Q8_0,
    });
    let options = MergeOptions { out: args.out.clone(), precision };
    let merged = merge_models(found.path(), &args.adapter, &options)?;
    match args.format {
        Format::Json => write_json(&merged)?,
        Format::Text => write_stdout(&render(&merged))?,
    }
    Ok(Outcome::Done)
}

fn render(merged: &Merged) -> String {
    let Merged { out, form, precision, tensors, merged: n, bytes, tied, .. } = merged;
    let stored = match *form {
        "gguf" => format!("{n} of {tensors} tensors merged and stored as {precision}"),
        _ => format!("{n} of {tensors} tensors merged, all stored as {precision}"),
    };
    let tied = if *tied { "; the embedding is the output matrix, too" } else { "" };
    format!(
        "{}: {stored}, {:.0} MB{tied}\n",
        escape_controls(&out.display().to_string()),
        *bytes as f64 / 1e6
    )
}
