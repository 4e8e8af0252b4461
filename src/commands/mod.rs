//! The command line: one file per subcommand, each an `Args` struct and a function.
//!
//! The only code that prints. stdout carries the result, stderr everything else.
#![expect(clippy::print_stderr, reason = "commands are where messages reach the user")]

pub mod apply;
pub mod bench;
pub mod completions;
pub mod config;
pub mod curves;
pub mod doctor;
pub mod engine;
pub mod eval;
pub mod fix;
pub mod hand_over;
pub mod index;
pub mod interrupt;
pub mod issue;
pub mod likely;
pub mod locate;
pub mod model;
pub mod output;
pub mod places;
pub mod progress;
pub mod report;
pub mod repository;
pub mod reward;
pub mod run_folder;
pub mod run_record;
pub mod sandbox;
pub mod search;
pub mod settings;
pub mod show;
pub mod stage_clock;
pub mod test_reward;
pub mod train;
pub mod triage;
pub mod trust;
pub mod work;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Resolve issues on a code repository with a local language model.
///
/// sorft works in a pipeline: it finds the files, then the functions, then the lines, then writes
/// search/replace edits, checks them, and hands over a patch. Nothing is sent anywhere unless you
/// name a server.
#[derive(Debug, Parser)]
#[command(name = "sorft", version, arg_required_else_help = true, max_term_width = 100)]
pub struct Cli {
    /// Say less on stderr: errors and the verdict only
    #[arg(long, short, global = true)]
    pub quiet: bool,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Fix(fix::FixArgs),
    Locate(locate::LocateArgs),
    Show(show::ShowArgs),
    Apply(apply::ApplyArgs),
    Completions(completions::CompletionsArgs),
    Config(config::ConfigArgs),
    Doctor(doctor::DoctorArgs),
    Eval(Box<eval::EvalArgs>),
    Index(index::IndexArgs),
    Model(model::ModelArgs),
    Report(report::ReportArgs),
    Reward(reward::RewardArgs),
    Train(train::TrainArgs),
    Triage(triage::TriageArgs),
    Trust(trust::TrustArgs),
}

/// How a run ended, when it ended without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// Everything asked for was done.
    Done,
    /// It ran, but found no acceptable patch, missed a threshold, or some instance failed.
    Missed,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done => Self::SUCCESS,
            Outcome::Missed => Self::from(1),
        }
    }
}

/// The user pressed Ctrl-C, or the system asked the program to end.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

/// Runs one command line.
pub fn run(cli: &Cli) -> anyhow::Result<Outcome> {
    interrupt::watch_for_interrupts()?;
    match &cli.command {
        Command::Fix(args) => fix::fix(args, cli.quiet),
        Command::Locate(args) => locate::locate(args, cli.quiet),
        Command::Show(args) => show::show(args),
        Command::Apply(args) => apply::apply(args, cli.quiet),
        Command::Completions(args) => completions::completions(args),
        Command::Config(args) => config::config(args),
        Command::Doctor(args) => doctor::doctor(args),
        Command::Eval(args) => eval::eval(args, cli.quiet),
        Command::Index(args) => index::index(args),
        Command::Model(args) => model::model(args, cli.quiet),
        Command::Report(args) => report::report(args, cli.quiet),
        Command::Reward(args) => reward::reward(args, cli.quiet),
        Command::Train(args) => train::train(args, cli.quiet),
        Command::Triage(args) => triage::triage(args, cli.quiet),
        Command::Trust(args) => trust::trust(args),
    }
}

/// Prints an error and gives the exit code that tells its kind: 130 for an interrupt, 0 for a
/// reader that closed our output, 2 for all else.
pub fn report_error(error: &anyhow::Error) -> ExitCode {
    if error.is::<Interrupted>() {
        eprintln!("interrupted");
        return ExitCode::from(interrupt::INTERRUPTED_CODE);
    }
    let is_broken_pipe = |cause: &(dyn std::error::Error + 'static)| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
    };
    if error.chain().any(is_broken_pipe) {
        return ExitCode::SUCCESS;
    }
    eprintln!("error: {}", output::escape_controls(&format!("{error:#}")));
    ExitCode::from(2)
}
