//! `sorft train`: from a git history to a tuned model, step by step.

mod additions;
pub(crate) mod asking;
pub mod data;
pub mod export;
mod made;
pub mod merge;
pub mod mine;
pub mod rl;
pub mod sample;
pub mod sft;

use clap::{Args, Subcommand};

use crate::commands::Outcome;
use crate::stage::StageKind;

/// Make training data from git histories, and tune a model on it
///
/// Each step writes a file that the next one reads. Killed at any moment, the same
/// command goes on where it was, and ends with the same bytes.
#[derive(Debug, Args)]
pub struct TrainArgs {
    #[command(subcommand)]
    pub command: TrainCommand,
}

#[derive(Debug, Subcommand)]
pub enum TrainCommand {
    Mine(mine::MineArgs),
    Data(data::EpisodeArgs),
    Sample(sample::SampleArgs),
    Sft(sft::SftArgs),
    Rl(Box<rl::args::RlArgs>),
    Merge(merge::MergeArgs),
    Export(export::ExportArgs),
}

/// Runs `sorft train`.
pub fn train(args: &TrainArgs, quiet: bool) -> anyhow::Result<Outcome> {
    match &args.command {
        TrainCommand::Mine(args) => mine::mine(args, quiet),
        TrainCommand::Data(args) => data::data(args, quiet),
        TrainCommand::Sample(args) => sample::sample(args, quiet),
        TrainCommand::Sft(args) => sft::sft(args, quiet),
        TrainCommand::Rl(args) => rl::rl(args, quiet),
        TrainCommand::Merge(args) => merge::merge(args, quiet),
        TrainCommand::Export(args) => export::export(args),
    }
}

pub(crate) fn temperature(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite() && 0.0 <= *number);
    number.ok_or_else(|| "wanted 0 or a number above it".to_owned())
}

pub(crate) fn parse_stage(text: &str) -> Result<StageKind, String> {
    let found = StageKind::ALL.into_iter().find(|stage| stage.name() == text);
    found.ok_or_else(|| "wanted `file`, `function`, `line` or `edit`".to_owned())
}

fn positive(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite() && 0.0 < *number);
    number.ok_or_else(|| "wanted a number above 0".to_owned())
}

fn share(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number| (0.0..=1.0).contains(number));
    number.ok_or_else(|| "wanted a number from 0 to 1".to_owned())
}
