//! Rewards by the tests of records (`--verify tests`): a fix is not unique.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Context as _, anyhow, ensure};
use clap::{Args, ValueEnum};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::commands::eval::record_tests::local_verifier;
use crate::commands::output::note;
use crate::commands::progress::bar;
use crate::diff::render::render;
use crate::instance::Instance;
use crate::instance::dataset::read_dataset;
use crate::instance::repository::find_repository;
use crate::pipeline::case::base_snapshot;
use crate::pipeline::verify::recipe::Recipes;
use crate::pipeline::verify::{Prediction, Verifier};
use crate::run::seed::request_hash;
use crate::run::verdict_row::{TestOutcome, VerdictRow};
use crate::search_replace::fence::Ended;
use crate::stage::episode::{Episode, Task};
use crate::stage::{Stage as _, StageKind};
use crate::train::data::row::EpisodeRow;
use crate::train::scored::RunTests;

/// Whether tests judge edits, and how they are run.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Reward")]
pub struct TestRewardArgs {
    /// `tests`: an edit with which all tests of its record pass earns 1, whatever the gold patch
    /// says; any other what the rule gives
    #[arg(long, value_enum, value_name = "BY", requires_all = ["records", "repos", "recipes"])]
    pub verify: Option<VerifyBy>,
    /// With `--verify tests`: records of SWE-bench, whose tests are run
    #[arg(long, value_name = "FILE", requires = "verify")]
    pub records: Option<PathBuf>,
    /// With `--verify tests`: the folder of their repositories
    #[arg(long, value_name = "DIR", requires = "verify")]
    pub repos: Option<PathBuf>,
    /// With `--verify tests`: how the tests of each repository are run
    #[arg(long, value_name = "FILE", requires = "verify")]
    pub recipes: Option<PathBuf>,
    /// Seconds that one run of an instance's tests may take
    #[arg(long, value_name = "SECONDS", default_value_t = 1800, requires = "verify")]
    pub test_timeout: u64,
    /// Run the tests without any protection where no sandbox can be had
    #[arg(long, requires = "verify")]
    pub unsafe_no_sandbox: bool,
}

/// What judges edits beside the rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum VerifyBy {
    /// The tests of the instances' records.
    Tests,
}

/// Records' tests that tell right from wrong on this machine.
pub struct EditTests {
    runtime: Runtime,
    verifier: Verifier,
    by_instance: BTreeMap<String, Testable>,
    /// By instance and patch.
    known: Mutex<BTreeMap<(String, String), bool>>,
    _logs: TempDir,
}

struct Testable {
    instance: Instance,
    root: PathBuf,
    /// A short name for all that a verdict depends on besides the patch.
    judge: String,
}

impl TestRewardArgs {
    /// Makes the tests of all edit episodes ready, by a run with each gold patch; `None` where
    /// they were not asked for.
    ///
    /// # Errors
    ///
    /// A record is there whose tests cannot be run, or no episode has tests that tell.
    pub fn open(&self, rows: &[EpisodeRow], quiet: bool) -> anyhow::Result<Option<EditTests>> {
        let (Some(VerifyBy::Tests), Some(records), Some(repos), Some(recipes)) =
            (self.verify, &self.records, &self.repos, &self.recipes)
        else {
            return Ok(None);
        };
        let recipes = Recipes::read(recipes)?;
        let wanted: BTreeSet<&str> = rows
            .iter()
            .filter(|row| row.stage == StageKind::Edit)
            .map(|row| row.instance_id.as_str())
            .collect();
        ensure!(
            !wanted.is_empty(),
            "`--verify tests` judges edits, and no episode is of the edit stage\n\
             hint: leave it out, or name episodes of that stage"
        );
        let mut instances = read_dataset(records)?.instances;
        instances.retain(|instance| wanted.contains(instance.task().instance_id.as_str()));
        ensure!(
            !instances.is_empty(),
            "`{}` holds the record of none of {} instances with an edit episode\n\
             hint: `--records` wants the records that the episodes were made from",
            records.display(),
            wanted.len()
        );
        let runtime = Runtime::new().context("starting the runtime")?;
        let logs = tempfile::tempdir().context("creating a folder for the tests' outputs")?;
        let limits = (self.test_timeout, self.unsafe_no_sandbox);
        let path = logs.path().to_owned();
        let verifier = runtime.block_on(local_verifier(recipes, path, limits))?;
        let mut by_instance = BTreeMap::new();
        let n = instances.len();
        let progress = bar(n, "runs of tests with the gold patch", quiet);
        progress.tick();
        for instance in instances {
            let id = instance.task().instance_id.clone();
            let context = || format!("running the tests of `{id}` with its gold patch");
            let root = find_repository(repos, &instance.task().repo).with_context(context)?;
            let gold = runtime.block_on(verifier.verify(&instance, &root, Prediction::Gold));
            let VerdictRow { outcome, reason, judge, .. } = gold.with_context(context)?;
            if outcome == TestOutcome::Resolved {
                by_instance.insert(id, Testable { instance, root, judge });
            } else {
                progress.suspend(|| note(&format!("`{id}`: its tests cannot tell: {reason}")));
            }
            progress.inc(1);
        }
        progress.finish_and_clear();
        let n_telling = by_instance.len();
        ensure!(0 < n_telling, "the tests of none of {n} records tell right from wrong here");
        if !quiet {
            note(&format!("tests judge the edits of {n_telling} of {} instances", wanted.len()));
        }
        let known = Mutex::default();
        Ok(Some(EditTests { runtime, verifier, by_instance, known, _logs: logs }))
    }
}

impl EditTests {
    /// A short name for all that its verdicts depend on.
    pub fn fingerprint(&self) -> anyhow::Result<String> {
        let judges = self.by_instance.iter().map(|(id, testable)| (id, &testable.judge));
        request_hash(&judges.collect::<Vec<_>>())
    }

    fn verify(&self, testable: &Testable, patch: &[u8]) -> anyhow::Result<bool> {
        let Testable { instance, root, .. } = testable;
        let verdict = self.verifier.verify(instance, root, Prediction::Patch(patch));
        // Who asks may be in a runtime of its own, in which another cannot be waited for.
        let verdict = thread::scope(|scope| {
            scope
                .spawn(|| self.runtime.block_on(verdict))
                .join()
                .map_err(|_| anyhow!("the tests' thread panicked"))
        })??;
        Ok(verdict.outcome == TestOutcome::Resolved)
    }
}

impl RunTests for EditTests {
    fn all_pass(&self, episode: &Episode, completion: &str) -> anyhow::Result<Option<bool>> {
        let (Task::Edit(case), Some(testable)) =
            (&episode.task, self.by_instance.get(&episode.instance_id))
        else {
            return Ok(None);
        };
        let base = base_snapshot(&testable.instance, &testable.root)?;
        let answer = case.limits.parse(&case.shown, completion, Ended::ByItself);
        let Ok(changes) = answer.and_then(|answer| answer.apply(&case.shown, &base)) else {
            return Ok(Some(false));
        };
        let patch = render(&changes);
        let key = (episode.instance_id.clone(), request_hash(&patch)?);
        // Held while the tests run: they run alone, and never twice for one patch.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(passes) = known.get(&key) {
            return Ok(Some(*passes));
        }
        let passes = self.verify(testable, &patch)?;
        known.insert(key, passes);
        Ok(Some(passes))
    }
}
