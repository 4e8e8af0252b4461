//! `sorft train data`: from instances to episodes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;
use serde_json::json;

use crate::commands::Outcome;
use crate::commands::eval::TableFormat;
use crate::commands::eval::source::{DataArgs, RANKING, Source};
use crate::commands::model::{SourceArgs, obtain_with_progress};
use crate::commands::output::{note, write_json, write_stdout};
use crate::instance::Instance;
use crate::model::catalog::ModelRef;
use crate::model::local::load::read_parts;
use crate::prompt::{CountTokens, EstimateTokens};
use crate::report::failure::render_failures;
use crate::report::table::{Style, Table};
use crate::run::record_row::fingerprint;
use crate::run::seed::request_hash;
use crate::stage::StageKind;
use crate::stage::episode::Expect;
use crate::stage::profile::Profile;
use crate::train::data::on_policy::OnPolicy;
use crate::train::data::{Built, DataOptions, Distractors, Missing, build, training_stages};
use crate::train::mine::evaluation::Evaluation;
use crate::train::rows::read_rows;
use crate::train::scored::ScoredRow;
use crate::train::work_log::WorkLog;

/// Make episodes from instances: prompt, what it shows, and the truth, for each stage
///
/// Needs no model. Each stage is given the truth of the stage before it among other well ranked
/// files and symbols, or with `--on-policy` what a model answered there.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sorft train data instances.jsonl --repos repos --out episodes.jsonl
  sorft train data instances.jsonl --repos repos --out episodes.jsonl --tokenizer qwen2.5-coder-0.5b
  sorft eval episodes episodes.jsonl --adapter tuned/adapter --out answers.jsonl
  sorft train data instances.jsonl --repos repos --out next.jsonl \\
      --on-policy answers.jsonl --answered episodes.jsonl")]
pub struct EpisodeArgs {
    #[command(flatten)]
    pub data: DataArgs,
    /// The file of episodes
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Limits of prompts and answers: `small` (prompts of 700 to 1,400 tokens, no reasoning),
    /// `medium` or `large`
    #[arg(long, value_name = "PROFILE", default_value = "small", value_parser = parse_profile)]
    pub profile: Profile,
    /// The model whose tokenizer counts; by default three bytes count as a token
    #[arg(long, value_name = "MODEL")]
    pub tokenizer: Option<String>,
    #[command(flatten)]
    pub source: SourceArgs,
    /// Give each stage the truth alone
    #[arg(long)]
    pub no_distractors: bool,
    /// Give each stage what a model answered in the stage before it, filled up by retrieval as the
    /// pipeline does: judged answers, as `sorft eval episodes` writes them
    #[arg(long, value_name = "ANSWERS", requires = "answered")]
    pub on_policy: Option<PathBuf>,
    /// The episodes that these answer
    #[arg(long, value_name = "EPISODES", requires = "on_policy")]
    pub answered: Option<PathBuf>,
    /// For `sorft eval episodes`: takes repositories of an evaluation, too, and expects also what
    /// no prompt shows. Training refuses such repositories
    #[arg(long)]
    pub to_evaluate: bool,
    /// Draws the order of true inputs and distractors
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Form of the counts on stdout
    #[arg(long, value_enum, default_value_t)]
    pub format: TableFormat,
}

fn parse_profile(text: &str) -> Result<Profile, String> {
    match text {
        "small" => Ok(Profile::Small),
        "medium" => Ok(Profile::Medium),
        "large" => Ok(Profile::Large),
        _ => Err("wanted `small`, `medium` or `large`".to_owned()),
    }
}

/// Runs `sorft train data`.
pub fn data(args: &EpisodeArgs, quiet: bool) -> anyhow::Result<Outcome> {
    WorkLog::refuse_finished(&args.out)?;
    let mut source = Source::open(&args.data, quiet)?;
    let evaluation = Evaluation::default();
    let repos: BTreeSet<&String> = match args.to_evaluate {
        true => BTreeSet::new(),
        false => source.instances.iter().map(|i| &i.task().repo).collect(),
    };
    for repo in repos {
        evaluation.refuse(repo, &[])?;
    }
    let counter = open_counter(args, quiet)?;
    let options = DataOptions {
        stages: training_stages(args.profile),
        distractors: match args.no_distractors {
            true => Distractors::NONE,
            false => Distractors::PIPELINE,
        },
        expect: if args.to_evaluate { Expect::All } else { Expect::InView },
        seed: args.seed,
    };
    let (on_policy, answers) = read_answers(args, quiet)?;
    let asked = json!({
        "options": options,
        "on_policy": answers,
        "tokenizer": args.tokenizer,
        "instances": fingerprint(&source.records())?,
    });
    let log_path = WorkLog::beside(&args.out);
    let log = WorkLog::open(log_path.clone(), &asked)?;
    let done: Vec<Built> = log.rows()?;
    let finished: BTreeSet<String> = done.iter().map(|built| built.instance.clone()).collect();
    source.instances.retain(|instance| !finished.contains(&instance.task().instance_id));
    let built = Mutex::new(done);
    let mut failed = Vec::new();
    if !source.instances.is_empty() {
        let work = |instance: &Instance| {
            let found =
                of_instance(&source, instance, (&options, on_policy.as_ref()), counter.as_ref())?;
            log.append(&found)?;
            built.lock().unwrap_or_else(PoisonError::into_inner).push(found);
            Ok(())
        };
        failed = source.for_each(quiet, work)?.1;
    }
    let mut built = built.into_inner().unwrap_or_else(PoisonError::into_inner);
    built.sort_by(|a, b| a.instance.cmp(&b.instance));
    let counts = Counts::of(&built, failed.len());
    drop(log);
    WorkLog::finish(&log_path, &args.out, built.iter().flat_map(|built| &built.episodes))?;
    match args.format.style() {
        Some(style) => write_stdout(&counts.render(style))?,
        None => write_json(&counts)?,
    }
    render_failures(&failed).lines().for_each(note);
    Ok(if failed.is_empty() { Outcome::Done } else { Outcome::Missed })
}

/// The answers of `--on-policy`, and what tells them from others.
fn read_answers(
    args: &EpisodeArgs,
    quiet: bool,
) -> anyhow::Result<(Option<OnPolicy>, Option<String>)> {
    let (Some(answers), Some(episodes)) = (&args.on_policy, &args.answered) else {
        return Ok((None, None));
    };
    let (answers, episodes) = (read_rows::<ScoredRow>(answers)?, read_rows(episodes)?);
    let on_policy = OnPolicy::new(&episodes, &answers)?;
    let usable = on_policy.counts.iter().map(|(stage, [n_used, n])| {
        format!("{n_used} of {n} answers of the {} stage can be used", stage.name())
    });
    if !quiet {
        note(&usable.collect::<Vec<_>>().join("; "));
    }
    Ok((Some(on_policy), Some(request_hash(&answers)?)))
}

fn open_counter(args: &EpisodeArgs, quiet: bool) -> anyhow::Result<Box<dyn CountTokens>> {
    let Some(name) = &args.tokenizer else { return Ok(Box::new(EstimateTokens)) };
    let model = ModelRef::parse(name)?;
    let found = obtain_with_progress(&model, &args.source.download_options()?, quiet)?;
    let parts = read_parts(found.path());
    let parts = parts.with_context(|| format!("reading the tokenizer of `{model}`"))?;
    Ok(Box::new(parts.tokenizer))
}

fn of_instance(
    source: &Source,
    instance: &Instance,
    options: (&DataOptions, Option<&OnPolicy>),
    counter: &dyn CountTokens,
) -> anyhow::Result<Built> {
    let case = source.case(instance, &RANKING)?;
    let gold = case.gold()?;
    let context = source.context(&case);
    Ok(build(instance, &context, &gold.changes, &gold.gold, options, counter))
}

/// What was made, by stage.
#[derive(Debug, Serialize)]
struct Counts {
    version: u32,
    instances: usize,
    failed: usize,
    stages: BTreeMap<&'static str, StageCounts>,
}

#[derive(Debug, Default, Serialize)]
struct StageCounts {
    episodes: usize,
    /// Of these, those whose true answer can be written within the stage's limits.
    answers: usize,
    /// Items of the truth that no prompt shows.
    out_of_view: usize,
    missing: BTreeMap<&'static str, usize>,
}

impl Counts {
    fn of(built: &[Built], failed: usize) -> Self {
        let mut stages: BTreeMap<&'static str, StageCounts> = BTreeMap::new();
        for built in built {
            for row in &built.episodes {
                let counts = stages.entry(row.stage.name()).or_default();
                counts.episodes += 1;
                counts.answers += usize::from(row.answer.is_some());
                counts.out_of_view += row.episode.n_out_of_view;
            }
            for (stage, why) in &built.left_out {
                let counts = stages.entry(stage.name()).or_default();
                *counts.missing.entry(why.name()).or_default() += 1;
            }
        }
        Self { version: 1, instances: built.len(), failed, stages }
    }

    fn render(&self, style: Style) -> String {
        let reasons = [Missing::EmptyTruth, Missing::NoPrompt].map(Missing::name);
        let mut head = vec!["stage", "episodes", "with an answer", "items out of view"];
        head.extend(reasons);
        let mut table = Table::new(&head);
        for stage in StageKind::ALL {
            let Some(counts) = self.stages.get(stage.name()) else { continue };
            let mut row = vec![stage.name().to_owned()];
            row.extend(
                [counts.episodes, counts.answers, counts.out_of_view].map(|n| n.to_string()),
            );
            row.extend(
                reasons.map(|reason| {
                    counts.missing.get(reason).copied().unwrap_or_default().to_string()
                }),
            );
            table.push(row);
        }
        format!("{}\ninstances: {}, failed: {}\n", table.render(style), self.instances, self.failed)
    }
}
