//! `sorft reward`: what completions that others sampled earn.

pub mod score;
pub mod serve;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::commands::Outcome;
use crate::commands::train::rl::args::RewardRuleArgs;
use crate::train::reward::Rewards;
use crate::train::scored::RunTests;

/// Reward completions by the episodes that they answer, for trainers other than this one
///
/// The same judgement as in training here; neither a repository nor a model is needed, but with
/// `--verify tests`.
#[derive(Debug, Args)]
pub struct RewardArgs {
    #[command(subcommand)]
    pub command: RewardCommand,
}

#[derive(Debug, Subcommand)]
pub enum RewardCommand {
    Score(score::ScoreArgs),
    Serve(serve::ServeArgs),
}

/// Runs `sorft reward`.
pub fn reward(args: &RewardArgs, quiet: bool) -> anyhow::Result<Outcome> {
    match &args.command {
        RewardCommand::Score(args) => score::score(args, quiet),
        RewardCommand::Serve(args) => serve::serve(args, quiet),
    }
}

/// Episodes, and how their completions are rewarded.
#[derive(Debug, Args)]
pub struct RuleArgs {
    /// Episodes, as `sorft train data` makes them
    #[arg(value_name = "EPISODES")]
    pub episodes: PathBuf,
    #[command(flatten)]
    pub reward: RewardRuleArgs,
}

impl RuleArgs {
    fn read(&self, quiet: bool) -> anyhow::Result<Rewards> {
        let rows = self.reward.read(&self.episodes)?;
        let tests = self.reward.tests.open(&rows, quiet)?;
        let tests = tests.map(|tests| Box::new(tests) as Box<dyn RunTests>);
        Rewards::new(rows, self.reward.options(), tests)
    }
}
