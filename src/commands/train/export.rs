//! `sorft train export`: data and reward functions for other trainers.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::commands::Outcome;
use crate::commands::output::{escape_controls, write_stdout};
use crate::train::export::{Exported, Trainer, export as export_rows};

/// Write data, and a reward function in Python, for TRL, verl or OpenRLHF
///
/// The reward functions ask `sorft reward serve` with the same episodes. Held-out rows go into a
/// `test` file of their own.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sorft train export episodes.jsonl --format verl --out for-verl
  sorft train export episodes.jsonl --format openrlhf --out for-openrlhf
  sorft train export sft.jsonl --format trl --out for-sft
  sorft reward serve episodes.jsonl")]
pub struct ExportArgs {
    /// Episodes, as `sorft train data` makes them; for TRL also chats, as `sorft train sample` does
    #[arg(value_name = "ROWS")]
    pub rows: PathBuf,
    /// For which trainer
    #[arg(long, value_enum, value_name = "TRAINER")]
    pub format: TrainerArg,
    /// The folder to make
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

/// A trainer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TrainerArg {
    Trl,
    Verl,
    #[value(name = "openrlhf")]
    OpenRlhf,
}

/// Runs `sorft train export`.
pub fn export(args: &ExportArgs) -> anyhow::Result<Outcome> {
    let trainer = match args.format {
        TrainerArg::Trl => Trainer::Trl,
        TrainerArg::Verl => Trainer::Verl,
        TrainerArg::OpenRlhf => Trainer::OpenRlhf,
    };
    let Exported { rows, train, test, files } = export_rows(&args.rows, trainer, &args.out)?;
    let out = escape_controls(&args.out.display().to_string());
    write_stdout(&format!(
        "{out}: {train} {rows} to train on, {test} held out: {}\n",
        files.join(", ")
    ))?;
    Ok(Outcome::Done)
}
