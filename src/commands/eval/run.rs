//! `sorft eval` with a model: many instances in flight over one engine, resumable at any moment.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use futures_util::StreamExt;
use futures_util::stream;
use indicatif::ProgressBar;
use serde_json::json;

use crate::commands::Outcome;
use crate::commands::engine::{EngineArgs, open_engine};
use crate::commands::eval::prediction::Predictions;
use crate::commands::eval::record_tests::RecordTests;
use crate::commands::eval::source::{RANKING, Source, failure};
use crate::commands::eval::timed_engine::TimedEngine;
use crate::commands::eval::verify::end_with_unknown;
use crate::commands::eval::{EvalArgs, end_with, summary};
use crate::commands::interrupt::run_until_interrupted;
use crate::commands::progress::bar;
use crate::commands::run_folder::candidate_row;
use crate::commands::settings::{Surroundings, flags_of};
use crate::commands::work::{SampleArgs, read_templates, settings_of};
use crate::instance::Instance;
use crate::model::Generate;
use crate::pipeline::calls::Calls;
use crate::pipeline::evaluate::Judged;
use crate::pipeline::locate::locate;
use crate::pipeline::places::Places;
use crate::pipeline::progress::Progress;
use crate::pipeline::repair::{Bench, repair};
use crate::pipeline::settings::Settings;
use crate::report::failure::Failure;
use crate::run::directory::RunRecord;
use crate::run::eval_dir::EvalDir;
use crate::run::instance_row::PerStage;
use crate::run::record_row::fingerprint;
use crate::run::row::{PredictionRow, RunInfo, TimingRow};
use crate::stage::profile::{Profile, Stages};

/// How a model is evaluated.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub engine: EngineArgs,
    #[command(flatten)]
    pub sampling: SampleArgs,
    /// Samples that must agree on a prediction; in an evaluation the best of them counts
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Work")]
    pub min_votes: u32,
    /// Ask each stage once more with the truth of the stage before it as input
    #[arg(long, help_heading = "Work")]
    pub true_inputs: bool,
    /// Instances in flight at once
    #[arg(long, value_name = "N", default_value_t = 4, help_heading = "Work")]
    pub jobs: usize,
}

/// Everything that the instances share.
struct Evaluation<'a> {
    source: &'a Arc<Source>,
    engine: &'a dyn Generate,
    dir: &'a EvalDir,
    settings: Settings,
    stages: Stages,
    true_inputs: bool,
}

pub fn run(args: &EvalArgs, mut source: Source, quiet: bool) -> anyhow::Result<Outcome> {
    let Some(out) = &args.out else {
        bail!("a run needs a folder for its results\nhint: name one with `--out DIR`");
    };
    ensure!(!args.run.engine.no_model, "without a model there is `--retrieval` and `--oracle`");
    let tests = args.tests.verify.map(|_| RecordTests::new(&args.tests)).transpose()?;
    let RunArgs { engine, sampling, min_votes, .. } = &args.run;
    let flags = flags_of(engine, sampling).set("min_votes", Some(*min_votes));
    let surroundings = Surroundings::read(None, &flags)?;
    source.templates = Arc::new(read_templates(surroundings.config().prompts.as_deref())?);
    let engine = open_engine(&args.run.engine, &surroundings, quiet)?;
    let info = engine.info();
    let settings = settings_of(surroundings.config(), sampling, info);
    let stages = Profile::for_engine(&info.name, info.context_length, info.is_local_cpu).stages();
    let records = source.records();
    let asked = json!({
        "engine": info,
        "settings": settings,
        "stages": stages,
        "true_inputs": args.run.true_inputs,
        "instances": fingerprint(&records)?,
    });
    let dir = EvalDir::open(out, &RunInfo::new("eval", &info.name, settings.seed, asked))?;
    dir.write_records(&records)?;
    let source = Arc::new(source);
    let true_inputs = args.run.true_inputs;
    let engine = engine.as_ref();
    let evaluation =
        Evaluation { source: &source, engine, dir: &dir, settings, stages, true_inputs };
    let bar = bar(source.instances.len(), "instances", quiet);
    let failed = run_until_interrupted(evaluation.evaluate_all(args.run.jobs.max(1), &bar))?;
    bar.finish_and_clear();
    let not_run = match &tests {
        Some(tests) => {
            let predictions = RunRecord::read(dir.run().path())?.predictions;
            Some(tests.run(&dir, &source, &Predictions::of_run(predictions), quiet)?)
        }
        None => None,
    };
    let shown = (args.price, args.format);
    let report = summary::finish(&dir, failed.clone(), not_run.as_deref(), shown)?;
    let ended = end_with(&source, &failed);
    match report.verification.as_ref().filter(|_| tests.is_some()).map(end_with_unknown) {
        Some(Outcome::Missed) => Ok(Outcome::Missed),
        _ => Ok(ended),
    }
}

impl Evaluation<'_> {
    /// Evaluates what is not finished yet; gives what could not be.
    async fn evaluate_all(&self, jobs: usize, bar: &ProgressBar) -> anyhow::Result<Vec<Failure>> {
        let one = |instance: &Instance| {
            let instance = instance.clone();
            async move {
                let result = self.evaluate(&instance).await;
                bar.inc(1);
                let id = &instance.task().instance_id;
                result.err().map(|error| (failure(id, &error), is_ours(&error)))
            }
        };
        let unfinished = self.source.instances.iter().filter(|instance| {
            let is_finished = self.dir.run().is_finished(&instance.task().instance_id);
            bar.inc(u64::from(is_finished));
            !is_finished
        });
        let mut results = stream::iter(unfinished.map(one)).buffer_unordered(jobs);
        let mut failed = Vec::new();
        while let Some(result) = results.next().await {
            let Some((failure, is_ours)) = result else { continue };
            // Where results cannot be kept, going on would only burn tokens.
            ensure!(!is_ours, "{}: {}", failure.instance, failure.reason);
            failed.push(failure);
        }
        failed.sort();
        Ok(failed)
    }

    /// Takes an instance through the pipeline and records what came of it.
    async fn evaluate(&self, instance: &Instance) -> anyhow::Result<()> {
        let began = Instant::now();
        let task = instance.task();
        let (source, owned) = (Arc::clone(self.source), instance.clone());
        let opened = tokio::task::spawn_blocking(move || {
            let case = source.case(&owned, &RANKING)?;
            let gold = case.gold_if_any()?;
            anyhow::Ok((source.context(&case), gold))
        });
        let (context, gold) = opened.await.context("opening the instance")??;
        let indexed = began.elapsed();
        let engine = TimedEngine::new(self.engine);
        let hear = |_: Progress| {};
        let Self { settings, stages, .. } = self;
        let run = self.dir.run();
        let id = &task.instance_id;
        let calls = Calls::new(&engine, Some(run), id, settings.seed, &hear);
        let places = locate(&calls, &context, stages, settings, Places::default()).await?;
        let bench = Bench { judge: None, reproduction: None, deadline: None };
        let solution = repair(&calls, &context, stages, settings, places, &bench).await?;
        let judged = Judged {
            instance: id,
            repo: &task.repo,
            context: &context,
            gold: gold.as_ref(),
            stages,
            counter: self.engine.counter(),
            run_seed: settings.seed,
        };
        let true_inputs = match self.true_inputs {
            true => judged.ask_with_true_inputs(&calls).await?,
            false => PerStage::default(),
        };
        let row = tokio::task::block_in_place(|| {
            judged.row(&solution, &run.calls_of_instance(id)?, true_inputs)
        })?;
        for (rank, candidate) in (1..).zip(&solution.candidates) {
            run.append_candidate(&candidate_row(id, rank, candidate, &solution)).map_err(ours)?;
        }
        for (event, took) in
            [("index", indexed), ("model", engine.busy()), ("total", began.elapsed())]
        {
            run.append_timing(&TimingRow::ending_now(id, "", event, took)).map_err(ours)?;
        }
        self.dir.append_instance(&row).map_err(ours)?;
        let patch = solution.accepted_patch().unwrap_or_default();
        run.append_prediction(&PredictionRow {
            instance_id: id.clone(),
            model_name_or_path: self.engine.info().name.clone(),
            model_patch: String::from_utf8_lossy(&patch).into_owned(),
        })
        .map_err(ours)
    }
}

/// The results cannot be written: no fault of the instance.
#[derive(Debug, thiserror::Error)]
#[error("recording the results")]
struct NotRecorded;

fn ours(error: anyhow::Error) -> anyhow::Error {
    error.context(NotRecorded)
}

fn is_ours(error: &anyhow::Error) -> bool {
    error.is::<NotRecorded>()
}
