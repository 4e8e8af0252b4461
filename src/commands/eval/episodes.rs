//! `sorft eval episodes`: each stage by itself, with true inputs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::ensure;
use clap::Args;
use serde::Serialize;
use serde_json::json;

use crate::commands::Outcome;
use crate::commands::engine::{EngineArgs, open_engine};
use crate::commands::eval::TableFormat;
use crate::commands::output::{note, write_json, write_stdout};
use crate::commands::settings::{Surroundings, engine_flags};
use crate::commands::train::asking::{Asking, Piece, name_of};
use crate::commands::train::{parse_stage, temperature};
use crate::report::answers::{Answer, StageAnswers, StageChange};
use crate::run::seed::request_hash;
use crate::stage::StageKind;
use crate::stage::score::RewardOptions;
use crate::train::data::row::EpisodeRow;
use crate::train::rows::read_rows;
use crate::train::sample::keep::Keep;
use crate::train::sample::{SampleOptions, complete};
use crate::train::scored::ScoredRow;
use crate::train::work_log::WorkLog;

/// Measure each stage by itself: a model answers episodes, whose inputs are true
///
/// Unlike a run through the pipeline, no stage suffers from the one before it. A rejected answer
/// hits nothing; intervals are 95 %, by bootstrap over episodes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sorft train data dev.jsonl --repos repos --to-evaluate --out dev-episodes.jsonl
  sorft eval episodes dev-episodes.jsonl --out bare.jsonl
  sorft eval episodes dev-episodes.jsonl --adapter tuned/adapter --out tuned.jsonl
  sorft eval compare bare.jsonl tuned.jsonl")]
pub struct EpisodesArgs {
    /// Episodes, as `sorft train data` makes them
    #[arg(value_name = "EPISODES")]
    pub episodes: PathBuf,
    /// The file of judged answers
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    #[command(flatten)]
    pub engine: EngineArgs,
    /// Hold the model to the grammar of valid answers
    #[arg(long)]
    pub constrained: bool,
    /// Completions of each episode; all but the mean reward is taken of the first
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub samples: usize,
    /// 0 is greedy
    #[arg(long, value_name = "T", default_value_t = 0.0, value_parser = temperature)]
    pub temperature: f64,
    /// Only episodes of these stages
    #[arg(long, value_name = "STAGE", value_delimiter = ',', value_parser = parse_stage)]
    pub stage: Vec<StageKind>,
    /// At most so many episodes of each stage, the first ones
    #[arg(long, value_name = "N")]
    pub limit_per_stage: Option<usize>,
    /// Episodes in flight at once
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub jobs: usize,
    /// Seed of all random numbers
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Form of the table on stdout
    #[arg(long, value_enum, default_value_t)]
    pub format: TableFormat,
}

#[derive(Debug, Serialize)]
struct Answers<'a> {
    version: u32,
    model: &'a str,
    failed: usize,
    stages: Vec<StageAnswers>,
}

/// Runs `sorft eval episodes`.
pub fn episodes(args: &EpisodesArgs, quiet: bool) -> anyhow::Result<Outcome> {
    WorkLog::refuse_finished(&args.out)?;
    let mut rows = read_rows::<EpisodeRow>(&args.episodes)?;
    rows.retain(|row| args.stage.is_empty() || args.stage.contains(&row.stage));
    if let Some(limit) = args.limit_per_stage {
        let mut so_far = [0; 4];
        rows.retain(|row| {
            so_far[row.stage as usize] += 1;
            so_far[row.stage as usize] <= limit
        });
    }
    ensure!(!rows.is_empty(), "no episode of `{}` is selected", args.episodes.display());
    ensure!(0 < args.samples, "`--samples 0` draws nothing");
    ensure!(!args.engine.no_model, "`--no-model` answers nothing");
    let engine =
        open_engine(&args.engine, &Surroundings::read(None, &engine_flags(&args.engine))?, quiet)?;
    ensure!(
        !args.constrained || engine.info().obeys_grammar,
        "`{}` cannot be held to a grammar\nhint: leave out `--constrained`",
        engine.info().name
    );
    let options = SampleOptions {
        teacher: engine.info().name.clone(),
        keep: Keep::Paper,
        n: args.samples,
        temperature: args.temperature,
        top_p: 1.0,
        constrained: args.constrained,
        seed: args.seed,
    };
    let asked = json!({ "options": options, "episodes": request_hash(&rows)? });
    let asking = Asking::open(&args.out, &asked, (rows.len(), "episodes"), quiet)?;
    let (engine, options) = (engine.as_ref(), &options);
    let failed = asking.ask(&asking.left(&rows), args.jobs, name_of, |row| async move {
        let completions = complete(row, options, engine).await?;
        Ok(ScoredRow::new(row, options, completions, &RewardOptions::PAPER))
    })?;
    let done = asking.finish(&failed, |row: &ScoredRow| vec![row.clone()])?;
    let of_stage = |stage: StageKind| StageAnswers::new(stage.name(), &answers_of(&done, stage));
    let answers = Answers {
        version: 1,
        model: &options.teacher,
        failed: failed.len(),
        stages: StageKind::ALL.map(of_stage).into_iter().filter(|s| 0 < s.episodes).collect(),
    };
    match args.format.style() {
        Some(style) => {
            let table = StageAnswers::render(&answers.stages, style);
            write_stdout(&format!("{table}\n{}: {} failed\n", answers.model, answers.failed))?;
        }
        None => write_json(&answers)?,
    }
    Ok(if failed.is_empty() { Outcome::Done } else { Outcome::Missed })
}

/// Compares two files of judged answers, stage by stage.
pub(super) fn compare(first: &Path, second: &Path, format: TableFormat) -> anyhow::Result<Outcome> {
    let (first_rows, second_rows): (Vec<ScoredRow>, Vec<ScoredRow>) =
        (read_rows(first)?, read_rows(second)?);
    let changes: Vec<StageChange> = StageKind::ALL
        .map(|stage| {
            let (first, second) = (answers_of(&first_rows, stage), answers_of(&second_rows, stage));
            StageChange::new(stage.name(), &first, &second)
        })
        .into_iter()
        .filter(|change| 0 < change.episodes)
        .collect();
    ensure!(
        !changes.is_empty(),
        "`{}` and `{}` have no episode in common",
        first.display(),
        second.display()
    );
    for (path, rows, others) in
        [(first, &first_rows, &second_rows), (second, &second_rows, &first_rows)]
    {
        let known: BTreeSet<(&str, StageKind)> = others.iter().map(Piece::key).collect();
        let n_alone = rows.iter().filter(|row| !known.contains(&row.key())).count();
        if 0 < n_alone {
            note(&format!(
                "{n_alone} episodes of `{}` are not in the other file and are left out",
                path.display()
            ));
        }
    }
    let names = [answerers(&first_rows), answerers(&second_rows)];
    match format.style() {
        Some(style) => {
            let [first, second] = &names;
            let table = StageChange::render(&changes, style);
            write_stdout(&format!("{table}\nfirst: {first}, second: {second}\n"))?;
        }
        None => write_json(&json!({ "version": 1, "answered_by": names, "stages": changes }))?,
    }
    Ok(Outcome::Done)
}

/// Who answered: one, unless files were joined by hand.
fn answerers(rows: &[ScoredRow]) -> String {
    let name = |row: &ScoredRow| match row.constrained {
        true => format!("{} held to the grammar", row.model),
        false => row.model.clone(),
    };
    rows.iter().map(name).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(" and ")
}

fn answers_of(rows: &[ScoredRow], stage: StageKind) -> Vec<Answer> {
    let answer = |row: &ScoredRow| Answer {
        instance: row.instance.clone(),
        score: row.samples.first().and_then(|sample| sample.score),
        reward: row.samples.iter().map(|sample| sample.reward).sum::<f64>()
            / row.samples.len().max(1) as f64,
    };
    rows.iter().filter(|row| row.stage == stage).map(answer).collect()
}

impl Piece for ScoredRow {
    type Part = StageKind;

    fn key(&self) -> (&str, StageKind) {
        (&self.instance, self.stage)
    }
}
