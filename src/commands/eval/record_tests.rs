//! The records' own tests, run on predictions: in the sandbox or by the official harness.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::{Args, ValueEnum};
use futures_util::StreamExt;
use futures_util::stream;

use crate::commands::eval::prediction::Predictions;
use crate::commands::eval::source::{Source, failure};
use crate::commands::interrupt::run_until_interrupted;
use crate::commands::progress::bar;
use crate::commands::sandbox::{open_sandbox, sandbox_limits, sandbox_options};
use crate::commands::settings::Surroundings;
use crate::config::Flags;
use crate::instance::Instance;
use crate::pipeline::verify::environment::{EnvironmentOptions, Environments};
use crate::pipeline::verify::harness::{HARNESS, HarnessOptions, run_harness};
use crate::pipeline::verify::recipe::Recipes;
use crate::pipeline::verify::{Prediction, Verifier};
use crate::report::failure::Failure;
use crate::run::eval_dir::EvalDir;
use crate::run::row::TimingRow;
use crate::run::seed::request_hash;
use crate::run::verdict_row::VerdictRow;
use crate::sandbox::Limits;

/// How the records' tests are run.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Tests of the records")]
pub struct TestArgs {
    /// Run the records' own tests with the predictions, to tell which are resolved
    #[arg(long, value_enum, value_name = "HOW")]
    pub verify: Option<Method>,
    /// With `--verify local`: how the tests of each repository are run
    #[arg(long, value_name = "FILE")]
    pub recipes: Option<PathBuf>,
    /// Instances whose tests run at once
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub test_jobs: usize,
    /// Seconds that one run of an instance's tests may take
    #[arg(long, value_name = "SECONDS", default_value_t = 1800)]
    pub test_timeout: u64,
    /// With `--verify docker`: a Python with the package `swebench`
    #[arg(long, value_name = "PROGRAM", default_value = "python3")]
    pub harness_python: PathBuf,
    /// Run the tests without any protection where no sandbox can be had
    #[arg(long)]
    pub unsafe_no_sandbox: bool,
}

/// Where the records' tests run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Method {
    /// In sorft's sandbox, in environments that recipes describe.
    Local,
    /// By the official harness (`swebench`), which needs Docker.
    Docker,
}

/// What runs the records' tests.
pub struct RecordTests<'a> {
    args: &'a TestArgs,
    /// Those that `Method::Local` works by; the harness needs none.
    recipes: Option<Recipes>,
}

impl<'a> RecordTests<'a> {
    /// Reads the recipes, so that mistakes in them are told before any work.
    pub fn new(args: &'a TestArgs) -> anyhow::Result<Self> {
        let method = args.verify.context("`--verify` says how predictions are verified")?;
        let recipes = match (method, &args.recipes) {
            (Method::Local, None) => bail!(
                "`--verify local` needs recipes, which say how tests are run\n\
                 hint: name a file with `--recipes`, such as `recipes/swe-bench-dev.yaml` of sorft's sources"
            ),
            (Method::Local, Some(path)) => Some(Recipes::read(path)?),
            (Method::Docker, _) => None,
        };
        Ok(Self { args, recipes })
    }

    /// Runs the tests of all predictions that have no verdict yet; gives what could not be run.
    pub fn run(
        &self,
        dir: &EvalDir,
        source: &Source,
        predictions: &Predictions,
        quiet: bool,
    ) -> anyhow::Result<Vec<Failure>> {
        let (mut open, mut not_run) = (Vec::new(), Vec::new());
        for instance in &source.instances {
            let id = &instance.task().instance_id;
            match predictions.of(id) {
                Some(prediction) => open.push((instance, prediction)),
                None => not_run.push(failure(id, &anyhow::anyhow!("there is no prediction"))),
            }
        }
        // Those of a repository follow each other: they share its environments.
        open.sort_by_key(|(instance, _)| (&instance.task().repo, &instance.task().instance_id));
        let more = match &self.recipes {
            Some(recipes) => self.run_local(dir, source, recipes, &open, quiet)?,
            None => self.run_docker(dir, source, &open)?,
        };
        not_run.extend(more);
        not_run.sort();
        Ok(not_run)
    }

    fn run_local(
        &self,
        dir: &EvalDir,
        source: &Source,
        recipes: &Recipes,
        open: &[(&Instance, Prediction<'_>)],
        quiet: bool,
    ) -> anyhow::Result<Vec<Failure>> {
        let args = self.args;
        run_until_interrupted(async {
            let logs = dir.run().path().join("logs");
            let limits = (args.test_timeout, args.unsafe_no_sandbox);
            let verifier = local_verifier(recipes.clone(), logs, limits).await?;
            let known = known_verdicts(dir)?;
            let is_open = |(instance, prediction): &(&Instance, Prediction<'_>)| {
                // What has no judge is told why when its turn comes.
                let Ok(judge) = verifier.judge_of(instance) else { return Ok(true) };
                is_unknown(&known, instance, (&judge, &prediction.fingerprint(instance)?))
            };
            let mut left = Vec::new();
            for one in open {
                if is_open(one)? {
                    left.push(*one);
                }
            }
            let bar = bar(open.len(), "instances", quiet);
            bar.inc((open.len() - left.len()) as u64);
            let work = left.into_iter().map(|one| verify_one(&verifier, source, one));
            let mut results = stream::iter(work).buffer_unordered(args.test_jobs.max(1));
            let mut not_run = Vec::new();
            while let Some((id, row, took)) = results.next().await {
                bar.inc(1);
                match row {
                    Ok(row) => {
                        dir.run().append_timing(&TimingRow::ending_now(id, "", "tests", took))?;
                        dir.append_verdict(&row)?;
                    }
                    Err(error) => not_run.push(failure(id, &error)),
                }
            }
            bar.finish_and_clear();
            Ok(not_run)
        })
    }

    fn run_docker(
        &self,
        dir: &EvalDir,
        source: &Source,
        open: &[(&Instance, Prediction<'_>)],
    ) -> anyhow::Result<Vec<Failure>> {
        let known = known_verdicts(dir)?;
        let mut left = Vec::new();
        for (instance, prediction) in open {
            let patch = prediction.fingerprint(instance)?;
            if is_unknown(&known, instance, (HARNESS, &patch))? {
                left.push((*instance, patch));
            }
        }
        if left.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<String> =
            left.iter().map(|(instance, _)| instance.task().instance_id.clone()).collect();
        let folder = dir.run().path().to_owned();
        // Other predictions under the same name would be taken for those that ran before.
        let patches: Vec<&String> = left.iter().map(|(_, patch)| patch).collect();
        let options = HarnessOptions {
            python: self.args.harness_python.clone(),
            dataset: source.dataset.clone(),
            predictions: folder.join("predictions.jsonl"),
            folder,
            run_id: format!("sorft-{}", &request_hash(&patches)?[..12]),
            instances: ids,
            jobs: self.args.test_jobs,
            seconds: self.args.test_timeout,
        };
        let report = run_until_interrupted(run_harness(&options))?;
        let mut not_run = Vec::new();
        for (instance, patch) in left {
            let task = instance.task();
            match report.row(&task.instance_id, &task.repo, patch) {
                Ok(row) => dir.append_verdict(&row)?,
                Err(why) => not_run.push(failure(&task.instance_id, &anyhow::Error::msg(why))),
            }
        }
        Ok(not_run)
    }
}

/// What runs records' tests on this machine, whose outputs go to `logs`; a run of one instance's
/// tests may take so many seconds, and runs without protection only where the user insists.
pub async fn local_verifier(
    recipes: Recipes,
    logs: PathBuf,
    (seconds, unsafe_no_sandbox): (u64, bool),
) -> anyhow::Result<Verifier> {
    let flags = Flags::default().set("sandbox_seconds", Some(seconds));
    let surroundings = Surroundings::read(None, &flags)?;
    let options = sandbox_options(&surroundings)?;
    let cache = &surroundings.folders.cache;
    let variables = options.environment.clone();
    let sandbox = open_sandbox(options, unsafe_no_sandbox).await?;
    let environments = EnvironmentOptions {
        folder: cache.join("environments"),
        scratch: cache.join("scratch"),
        variables,
        sandbox: sandbox.clone(),
        limits: install_limits(sandbox_limits(surroundings.config())),
    };
    let environments = Environments::new(environments);
    Ok(Verifier { recipes, environments, sandbox, scratch: cache.join("scratch"), logs })
}

/// Verifies a prediction; gives the instance and how long it took, too.
async fn verify_one<'a>(
    verifier: &Verifier,
    source: &Source,
    (instance, prediction): (&'a Instance, Prediction<'a>),
) -> (&'a str, anyhow::Result<VerdictRow>, Duration) {
    let began = Instant::now();
    let task = instance.task();
    let row = match source.root(&task.repo) {
        Ok(root) => verifier.verify(instance, root, prediction).await,
        Err(error) => Err(error),
    };
    (&task.instance_id, row, began.elapsed())
}

fn known_verdicts(dir: &EvalDir) -> anyhow::Result<BTreeMap<String, VerdictRow>> {
    Ok(dir.verdicts()?.into_iter().map(|row| (row.instance.clone(), row)).collect())
}

/// Whether an instance has no verdict yet; one by another judge or on another patch is no use.
fn is_unknown(
    known: &BTreeMap<String, VerdictRow>,
    instance: &Instance,
    (judge, patch): (&str, &str),
) -> anyhow::Result<bool> {
    let Some(row) = known.get(&instance.task().instance_id) else { return Ok(true) };
    ensure!(
        row.judge == judge && row.patch == patch,
        "`{}` has a verdict already, by another recipe, record or patch\n\
         hint: name another folder, or delete `verdicts.jsonl` in this one to verify anew",
        row.instance
    );
    Ok(false)
}

/// Packages are larger than what tests write, and take longer.
fn install_limits(limits: Limits) -> Limits {
    Limits {
        seconds: limits.seconds.max(3600),
        processes: limits.processes.max(512),
        disk_bytes: limits.disk_bytes.max(16 << 30),
        output_bytes: limits.output_bytes.max(64 << 20),
        ..limits
    }
}
