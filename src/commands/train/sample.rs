//! `sorft train sample`: completions worth imitating.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::ensure;
use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::json;

use crate::commands::Outcome;
use crate::commands::engine::{EngineArgs, open_engine};
use crate::commands::eval::TableFormat;
use crate::commands::output::{write_json, write_stdout};
use crate::commands::settings::{Surroundings, engine_flags};
use crate::commands::train::asking::{Asking, Piece, name_of};
use crate::commands::train::{parse_stage, temperature};
use crate::model::Generate;
use crate::prompt::EstimateTokens;
use crate::report::table::{Style, Table};
use crate::run::seed::request_hash;
use crate::stage::StageKind;
use crate::train::data::row::EpisodeRow;
use crate::train::rows::read_rows;
use crate::train::sample::keep::Keep;
use crate::train::sample::{SampleOptions, Sampled, from_engine, from_template};
use crate::train::work_log::WorkLog;

/// Draw completions of episodes, and keep those that are right
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sorft train sample episodes.jsonl --out sft.jsonl --teacher template
  sorft train sample episodes.jsonl --out sft.jsonl --endpoint http://localhost:8000/v1 --model M
  sorft train sample episodes.jsonl --out sft.jsonl --teacher self-constrained --model smollm2-135m")]
pub struct SampleArgs {
    /// Episodes, as `sorft train data` makes them
    #[arg(value_name = "EPISODES")]
    pub episodes: PathBuf,
    /// The file of chats whose last message is worth imitating
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Who answers
    #[arg(long, value_enum, default_value_t)]
    pub teacher: Teacher,
    #[command(flatten)]
    pub engine: EngineArgs,
    /// `best:N`: those with the highest reward, the shorter of equals; `paper`: all with a hit
    #[arg(long, value_name = "RULE", default_value = "best:2")]
    pub keep: Keep,
    /// Completions of each episode
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub samples: usize,
    /// 0 is greedy
    #[arg(long, value_name = "T", default_value_t = 1.0, value_parser = temperature)]
    pub temperature: f64,
    #[arg(long, value_name = "P", default_value_t = 1.0, hide = true)]
    pub top_p: f64,
    /// Only episodes of these stages
    #[arg(long, value_name = "STAGE", value_delimiter = ',', value_parser = parse_stage)]
    pub stage: Vec<StageKind>,
    /// At most so many episodes
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Episodes in flight at once
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub jobs: usize,
    /// Seed of all random numbers
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Form of the counts on stdout
    #[arg(long, value_enum, default_value_t)]
    pub format: TableFormat,
}

/// Who answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Teacher {
    /// A model or a server, free to write what it likes
    #[default]
    Engine,
    /// Nobody: the true answer itself, with a true sentence before it where reasoning is wanted
    Template,
    /// A model that is held to the form of a valid answer; the student itself, say
    SelfConstrained,
}

/// Runs `sorft train sample`.
pub fn sample(args: &SampleArgs, quiet: bool) -> anyhow::Result<Outcome> {
    WorkLog::refuse_finished(&args.out)?;
    let mut rows = read_rows::<EpisodeRow>(&args.episodes)?;
    rows.retain(|row| args.stage.is_empty() || args.stage.contains(&row.stage));
    rows.truncate(args.limit.unwrap_or(usize::MAX));
    ensure!(!rows.is_empty(), "no episode of `{}` is selected", args.episodes.display());
    ensure!(0 < args.samples, "`--samples 0` draws nothing");
    let engine = match args.teacher {
        Teacher::Template => None,
        Teacher::Engine | Teacher::SelfConstrained => Some(open_teacher(args, quiet)?),
    };
    let options = SampleOptions {
        teacher: engine.as_ref().map_or("template".to_owned(), |engine| engine.info().name.clone()),
        keep: args.keep,
        n: args.samples,
        temperature: args.temperature,
        top_p: args.top_p,
        constrained: args.teacher == Teacher::SelfConstrained,
        seed: args.seed,
    };
    let asked = json!({ "options": options, "episodes": request_hash(&rows)? });
    let asking = Asking::open(&args.out, &asked, (rows.len(), "episodes"), quiet)?;
    let left = asking.left(&rows);
    let mut failed = Vec::new();
    match &engine {
        None => {
            for row in left {
                asking.keep(from_template(row, &options, &EstimateTokens))?;
            }
        }
        Some(engine) => {
            let (engine, options) = (engine.as_ref(), &options);
            failed = asking.ask(&left, args.jobs, name_of, |row| async move {
                from_engine(row, options, engine).await
            })?;
        }
    }
    let done = asking.finish(&failed, |sampled: &Sampled| sampled.kept.clone())?;
    let counts = Counts::of(&done, failed.len());
    match args.format.style() {
        Some(style) => write_stdout(&counts.render(style))?,
        None => write_json(&counts)?,
    }
    Ok(if failed.is_empty() { Outcome::Done } else { Outcome::Missed })
}

fn open_teacher(args: &SampleArgs, quiet: bool) -> anyhow::Result<std::sync::Arc<dyn Generate>> {
    ensure!(
        !args.engine.no_model,
        "a teacher that is a model was asked for\nhint: `--teacher template` needs none"
    );
    let engine =
        open_engine(&args.engine, &Surroundings::read(None, &engine_flags(&args.engine))?, quiet)?;
    ensure!(
        args.teacher != Teacher::SelfConstrained || engine.info().obeys_grammar,
        "`{}` cannot be held to a grammar\nhint: `--teacher engine` lets it write what it likes",
        engine.info().name
    );
    Ok(engine)
}

impl Piece for Sampled {
    type Part = StageKind;

    fn key(&self) -> (&str, StageKind) {
        (&self.instance, self.stage)
    }
}

/// What was kept, by stage.
#[derive(Debug, Serialize)]
struct Counts {
    version: u32,
    failed: usize,
    stages: BTreeMap<&'static str, StageCounts>,
}

#[derive(Debug, Default, Serialize)]
struct StageCounts {
    episodes: usize,
    /// Episodes with at least one completion that was kept.
    with_kept: usize,
    kept: usize,
    /// The mean reward of what was kept.
    mean_reward: f64,
    dropped: BTreeMap<String, usize>,
}

impl Counts {
    fn of(done: &[Sampled], failed: usize) -> Self {
        let mut stages: BTreeMap<&'static str, StageCounts> = BTreeMap::new();
        for sampled in done {
            let counts = stages.entry(sampled.stage.name()).or_default();
            counts.episodes += 1;
            counts.with_kept += usize::from(!sampled.kept.is_empty());
            counts.kept += sampled.kept.len();
            counts.mean_reward += sampled.kept.iter().map(|row| row.reward).sum::<f64>();
            for (reason, n) in &sampled.reasons {
                *counts.dropped.entry(reason.clone()).or_default() += n;
            }
        }
        for counts in stages.values_mut() {
            counts.mean_reward /= counts.kept.max(1) as f64;
        }
        Self { version: 1, failed, stages }
    }

    fn render(&self, style: Style) -> String {
        let of_stages = || StageKind::ALL.iter().filter_map(|stage| self.stages.get(stage.name()));
        let reasons: BTreeSet<&String> = of_stages().flat_map(|c| c.dropped.keys()).collect();
        let mut head = vec!["stage", "episodes", "answered", "kept", "mean reward"];
        head.extend(reasons.iter().map(|reason| reason.as_str()));
        let mut table = Table::new(&head);
        for stage in StageKind::ALL {
            let Some(counts) = self.stages.get(stage.name()) else { continue };
            let mut row = vec![stage.name().to_owned()];
            row.extend([counts.episodes, counts.with_kept, counts.kept].map(|n| n.to_string()));
            row.push(format!("{:.3}", counts.mean_reward));
            row.extend(reasons.iter().map(|reason| {
                counts.dropped.get(*reason).copied().unwrap_or_default().to_string()
            }));
            table.push(row);
        }
        table.render(style)
    }
}
