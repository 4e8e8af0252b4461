//! `sorft eval`: how well sorft does on a benchmark.

pub mod episodes;
pub mod general;
pub mod merge;
pub mod oracle;
pub mod prediction;
pub mod record_tests;
pub mod retrieval;
pub mod run;
pub mod source;
pub mod summary;
pub mod timed_engine;
pub mod triage;
pub mod verify;

use std::path::PathBuf;

use anyhow::ensure;
use clap::{Args, Subcommand, ValueEnum};

use crate::commands::Outcome;
use crate::commands::eval::episodes::EpisodesArgs;
use crate::commands::eval::general::livecodebench::LiveCodeBenchArgs;
use crate::commands::eval::general::repoqa::RepoQaArgs;
use crate::commands::eval::merge::MergeArgs;
use crate::commands::eval::record_tests::TestArgs;
use crate::commands::eval::run::RunArgs;
use crate::commands::eval::source::{DataArgs, Source};
use crate::commands::eval::summary::{CompareArgs, PriceArg};
use crate::commands::eval::verify::VerifyArgs;
use crate::commands::output::note;
use crate::report::failure::{Failure, render_failures};
use crate::report::table::Style;

/// Measure on a benchmark in the format of SWE-bench
///
/// Needs no container and no network: base commits are read from the objects of local
/// repositories. A run takes every instance through the pipeline and compares what each stage
/// answered with the gold patch; killed at any moment, the same command resumes it.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(after_help = "\
Examples:
  sorft eval dev.jsonl --repos repos --out runs/dev --limit 40
  sorft eval lite.parquet --repos repos --clone-from https://github.com/{repo} --out runs/3 --shard 3/16
  sorft eval dev.jsonl --repos repos --retrieval
  sorft eval dev.jsonl --repos repos --oracle
  sorft eval dev.jsonl --repos repos --out runs/dev --verify local --recipes recipes/swe-bench-dev.yaml
  sorft eval verify dev.jsonl --repos repos --recipes recipes/swe-bench-dev.yaml --gold --out runs/gold
  sorft eval merge runs/all runs/1 runs/2 runs/3
  sorft eval compare runs/before runs/after
  sorft eval episodes dev-episodes.jsonl --out answers.jsonl
  sorft eval repoqa repoqa-2024-06-23.json.gz --out answers.jsonl

Exit codes: 0 done · 1 some instance could not be evaluated · 2 error · 130 interrupted")]
pub struct EvalArgs {
    #[command(subcommand)]
    pub command: Option<EvalCommand>,
    #[command(flatten)]
    pub data: DataArgs,
    #[command(flatten)]
    pub run: RunArgs,
    #[command(flatten)]
    pub tests: TestArgs,
    /// Measure the ranking of files and symbols, without a model
    #[arg(long, conflicts_with = "oracle", help_heading = "Without a model")]
    pub retrieval: bool,
    /// Answer each stage from the gold patch: what is the most that a model could reach?
    #[arg(long, help_heading = "Without a model")]
    pub oracle: bool,
    /// Measure how well `sorft triage` tells gold patches from those of other issues
    #[arg(long, conflicts_with_all = ["oracle", "retrieval"], help_heading = "Without a model")]
    pub triage: bool,
    /// With --retrieval: only files with this extension are candidates [default: all source code]
    #[arg(long, value_name = "EXT", requires = "retrieval", help_heading = "Without a model")]
    pub extension: Vec<String>,
    /// The folder of the results; an unfinished evaluation in it is resumed
    #[arg(long, value_name = "DIR", help_heading = "Result")]
    pub out: Option<PathBuf>,
    /// Dollars per million tokens of prompt and of completion, to tell the cost
    #[arg(long, value_name = "IN/OUT", help_heading = "Result")]
    pub price: Option<PriceArg>,
    /// Form of the tables on stdout
    #[arg(long, value_enum, default_value_t, help_heading = "Result")]
    pub format: TableFormat,
}

/// What is done with finished evaluations and predictions, and other benchmarks.
#[derive(Debug, Subcommand)]
pub enum EvalCommand {
    Merge(MergeArgs),
    Compare(CompareArgs),
    Episodes(Box<EpisodesArgs>),
    #[command(name = "livecodebench")]
    LiveCodeBench(Box<LiveCodeBenchArgs>),
    #[command(name = "repoqa")]
    RepoQa(Box<RepoQaArgs>),
    Verify(Box<VerifyArgs>),
}

/// The form of tables on stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum TableFormat {
    /// For a terminal.
    #[default]
    Text,
    Markdown,
    Json,
}

impl TableFormat {
    /// How tables are drawn; `None` where numbers are wanted.
    pub fn style(self) -> Option<Style> {
        match self {
            Self::Text => Some(Style::Terminal),
            Self::Markdown => Some(Style::Markdown),
            Self::Json => None,
        }
    }
}

/// Runs `sorft eval`.
pub fn eval(args: &EvalArgs, quiet: bool) -> anyhow::Result<Outcome> {
    match &args.command {
        Some(EvalCommand::Merge(args)) => return merge::merge(args),
        Some(EvalCommand::Compare(args)) => return summary::compare(args),
        Some(EvalCommand::Episodes(args)) => return episodes::episodes(args, quiet),
        Some(EvalCommand::LiveCodeBench(args)) => {
            return general::livecodebench::livecodebench(args, quiet);
        }
        Some(EvalCommand::RepoQa(args)) => return general::repoqa::repoqa(args, quiet),
        Some(EvalCommand::Verify(args)) => return verify::verify(args, quiet),
        None => {}
    }
    ensure!(
        args.tests.verify.is_none() || !(args.oracle || args.retrieval || args.triage),
        "`--verify` runs tests with the predictions of a model\nhint: `sorft eval verify --predictions FILE` verifies any others"
    );
    let source = Source::open(&args.data, quiet)?;
    match (args.oracle, args.retrieval) {
        (true, _) => oracle::oracle(args, &source, quiet),
        (_, true) => retrieval::retrieval(args, &source, quiet),
        _ if args.triage => triage::triage(args, &source, quiet),
        _ => run::run(args, source, quiet),
    }
}

/// Names what was left out on stderr, and says how the command ended.
fn end_with(source: &Source, failed: &[Failure]) -> Outcome {
    for line in render_failures(failed).lines() {
        note(line);
    }
    if failed.is_empty() && source.problems.is_empty() { Outcome::Done } else { Outcome::Missed }
}
