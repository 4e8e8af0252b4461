//! `sorft reward score`: rewards of a file of completions.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;

use crate::commands::Outcome;
use crate::commands::eval::TableFormat;
use crate::commands::output::{write_json, write_stdout};
use crate::commands::reward::RuleArgs;
use crate::report::table::{Table, percent};
use crate::stage::StageKind;
use crate::train::new_folder::NewFile;
use crate::train::reward::completions::read_completions;
use crate::train::reward::{Judged, Question};

/// Reward a file of completions
///
/// A line is {"id": "INSTANCE/STAGE", "completion": "TEXT"}; one that the token limit cut off has
/// "ended": false, and earns nothing.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sorft reward score episodes.jsonl completions.jsonl
  sorft reward score episodes.jsonl completions.jsonl --out rewards.jsonl --rule hit
  sorft reward score episodes.jsonl completions.jsonl --format json
  sorft reward score episodes.jsonl completions.jsonl --verify tests --records swe.jsonl --repos repos \
      --recipes recipes.yaml")]
pub struct ScoreArgs {
    #[command(flatten)]
    pub rule: RuleArgs,
    /// Completions: JSON lines
    #[arg(value_name = "COMPLETIONS")]
    pub completions: PathBuf,
    /// A file for the reward of each completion, in their order
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Form of the table on stdout; `json` has the rewards, too
    #[arg(long, value_enum, default_value_t)]
    pub format: TableFormat,
}

/// A completion's reward.
#[derive(Debug, Serialize)]
struct RewardRow<'a> {
    id: &'a str,
    #[serde(flatten)]
    judged: Judged,
}

#[derive(Debug, Default, Serialize)]
struct Summary {
    completions: usize,
    /// Shares of all completions.
    valid: f64,
    hit: f64,
    mean_reward: f64,
}

#[derive(Debug, Serialize)]
struct Scored<'a> {
    version: u32,
    stages: BTreeMap<&'static str, Summary>,
    rows: Vec<RewardRow<'a>>,
}

/// Runs `sorft reward score`.
pub fn score(args: &ScoreArgs, quiet: bool) -> anyhow::Result<Outcome> {
    let out = args.out.as_deref().map(NewFile::create).transpose()?;
    let rewards = args.rule.read(quiet)?;
    let questions: Vec<Question> = read_completions(&args.completions)?;
    let judged = rewards
        .judge(&questions)
        .with_context(|| format!("rewarding `{}`", args.completions.display()))?;
    let rows: Vec<RewardRow<'_>> = questions
        .iter()
        .zip(judged)
        .map(|(question, judged)| RewardRow { id: &question.id, judged })
        .collect();
    if let Some(mut out) = out {
        let mut text = String::new();
        for row in &rows {
            text.push_str(&serde_json::to_string(row)?);
            text.push('\n');
        }
        out.as_file().write_all(text.as_bytes()).with_context(|| out.failed())?;
        out.finish()?;
    }
    let of_stage = |stage: StageKind| {
        let rows = rows.iter().filter(|row| rewards.stage(row.id) == Some(stage));
        Summary::new(&rows.map(|row| &row.judged).collect::<Vec<_>>())
    };
    let stages = StageKind::ALL.map(|stage| (stage.name(), of_stage(stage)));
    let stages = stages.into_iter().filter(|(_, summary)| 0 < summary.completions).collect();
    let scored = Scored { version: 1, stages, rows };
    match args.format.style() {
        None => write_json(&scored)?,
        Some(style) => {
            let mut table =
                Table::new(&["stage", "completions", "valid %", "hit %", "mean reward"]);
            for (stage, summary) in &scored.stages {
                table.push(vec![
                    (*stage).to_owned(),
                    summary.completions.to_string(),
                    percent(summary.valid),
                    percent(summary.hit),
                    format!("{:.3}", summary.mean_reward),
                ]);
            }
            write_stdout(&table.render(style))?;
        }
    }
    Ok(Outcome::Done)
}

impl Summary {
    fn new(judged: &[&Judged]) -> Self {
        let n = judged.len().max(1) as f64;
        let share = |is: fn(&&&Judged) -> bool| judged.iter().filter(is).count() as f64 / n;
        Self {
            completions: judged.len(),
            valid: share(|judged| judged.rejection.is_none()),
            hit: share(|judged| judged.hit),
            mean_reward: judged.iter().map(|judged| judged.reward).sum::<f64>() / n,
        }
    }
}
