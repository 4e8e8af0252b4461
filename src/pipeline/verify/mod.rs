//! A record's own tests as judges of its prediction, without containers.
//!
//! The tests run in the sandbox, on the tree of the base commit with the record's test patch: once
//! as it is (the tests to be mended must fail), once with the gold patch (all must pass), and once
//! with the prediction. Where the first two are not so, nothing is known of the prediction.

pub mod environment;
pub mod harness;
pub mod interpreter;
pub mod log;
pub mod recipe;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

use crate::diff::patch::Patch;
use crate::instance::{Instance, Solution};
use crate::pipeline::case::{apply_patch, base_snapshot};
use crate::pipeline::judge::by_path;
use crate::pipeline::verify::environment::{Environment, Environments};
use crate::pipeline::verify::log::{Demand, TestLog};
use crate::pipeline::verify::recipe::{Recipe, Recipes};
use crate::repo::change::PathChanges;
use crate::repo::snapshot::Snapshot;
use crate::run::RUN_VERSION;
use crate::run::seed::request_hash;
use crate::run::verdict_row::{TestOutcome, TestsRow, VerdictRow};
use crate::sandbox::Sandbox;
use crate::sandbox::guard::check_candidate;
use crate::sandbox::scratch::ScratchCopy;
use crate::sandbox::words::quote;

/// At most so many failing tests are kept of a run.
const MAX_NAMED: usize = 20;

/// Stands in the output between what prepares the tree and the tests.
const TESTS_BEGIN: &str = "##### the tests begin";

/// What predictions are verified with.
pub struct Verifier {
    pub recipes: Recipes,
    pub environments: Environments,
    pub sandbox: Sandbox,
    /// Where scratch copies are made.
    pub scratch: PathBuf,
    /// Where outputs of tests are kept.
    pub logs: PathBuf,
}

/// What is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prediction<'a> {
    Gold,
    Patch(&'a [u8]),
}

impl Prediction<'_> {
    /// A short name for the patch.
    pub fn fingerprint(&self, instance: &Instance) -> anyhow::Result<String> {
        match self {
            Self::Gold => request_hash(&instance.solution().patch.as_bytes()),
            Self::Patch(patch) => request_hash(patch),
        }
    }
}

/// An instance whose tests can be run.
struct Bench<'a> {
    instance: &'a Instance,
    recipe: &'a Recipe,
    environment: Environment,
    snapshot: Arc<Snapshot>,
    /// The record's change of tests.
    tests: PathChanges,
    command: String,
}

/// How the tests of a record stand with some patch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Standing {
    fail_to_pass: TestsRow,
    pass_to_pass: TestsRow,
    /// The first of those that do not pass.
    failing: Vec<String>,
    /// Why nothing counts as passed.
    problem: Option<String>,
}

impl Standing {
    fn all_pass(&self) -> bool {
        let all = |tests: TestsRow| tests.passed == tests.expected;
        all(self.fail_to_pass) && all(self.pass_to_pass)
    }

    /// Which tests do not pass, in words.
    fn describe(&self) -> String {
        if let Some(problem) = &self.problem {
            return problem.clone();
        }
        let missed = |tests: TestsRow| tests.expected - tests.passed;
        let first = self.failing.first().map_or_else(String::new, |name| format!(": `{name}`"));
        format!(
            "{} of {} tests to mend and {} of {} to keep fail{first}",
            missed(self.fail_to_pass),
            self.fail_to_pass.expected,
            missed(self.pass_to_pass),
            self.pass_to_pass.expected,
        )
    }
}

/// How the tests stand without a patch; that they all pass with the gold patch was seen.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Verified {
    version: u32,
    before: Standing,
    gold: Standing,
}

impl Verifier {
    /// A short name for what a verdict depends on besides the prediction.
    pub fn judge_of(&self, instance: &Instance) -> anyhow::Result<String> {
        let task = instance.task();
        let solution = instance.solution();
        let recipe = self.recipes.find(&task.repo, &solution.version)?;
        let Solution { patch, test_patch, fail_to_pass, pass_to_pass, .. } = solution;
        let setup = setup_commit(instance);
        request_hash(&(
            (recipe, setup),
            (&task.base_commit, patch, test_patch, fail_to_pass, pass_to_pass),
        ))
    }

    /// Verifies a prediction. `root` is the instance's repository.
    ///
    /// # Errors
    ///
    /// The tests cannot be run at all: no recipe, no interpreter, a failed install, an unknown
    /// commit. Nothing is known of the prediction then, and another day it may be.
    pub async fn verify(
        &self,
        instance: &Instance,
        root: &Path,
        prediction: Prediction<'_>,
    ) -> anyhow::Result<VerdictRow> {
        let judge = self.judge_of(instance)?;
        let patch = prediction.fingerprint(instance)?;
        let bench = self.bench(instance, root).await?;
        let (outcome, reason, standing) = self.judge(&bench, &judge, prediction).await?;
        let task = instance.task();
        Ok(VerdictRow {
            version: RUN_VERSION,
            instance: task.instance_id.clone(),
            repo: task.repo.clone(),
            outcome,
            reason,
            fail_to_pass: standing.fail_to_pass,
            pass_to_pass: standing.pass_to_pass,
            failing: standing.failing,
            judge,
            patch,
            protection: self.sandbox.protection().to_string(),
        })
    }

    /// Makes an instance ready for its tests.
    async fn bench<'a>(&'a self, instance: &'a Instance, root: &Path) -> anyhow::Result<Bench<'a>> {
        let (task, solution) = (instance.task(), instance.solution());
        let recipe = self.recipes.find(&task.repo, &solution.version)?;
        ensure!(
            matches!(solution.eval_type.as_str(), "" | "pass_and_fail"),
            "its tests are graded as `{}`; `pass_and_fail` is all that can be verified here",
            solution.eval_type
        );
        ensure!(!solution.fail_to_pass.is_empty(), "the record names no test to mend");
        let environment = self.environments.obtain(recipe, (root, setup_commit(instance))).await?;
        let (snapshot, tests) = tokio::task::block_in_place(|| {
            let snapshot = base_snapshot(instance, root)?;
            let tests = changes_of(solution.test_patch.as_bytes(), &snapshot);
            anyhow::Ok((snapshot, tests.context("the test patch and its base commit")?))
        })?;
        let command = test_command(recipe, solution);
        Ok(Bench { instance, recipe, environment, snapshot: Arc::new(snapshot), tests, command })
    }

    async fn judge(
        &self,
        bench: &Bench<'_>,
        judge: &str,
        prediction: Prediction<'_>,
    ) -> anyhow::Result<(TestOutcome, String, Standing)> {
        let Verified { before, gold, .. } = match self.verify_gold(bench, judge).await? {
            Ok(verified) => verified,
            Err((why, standing)) => return Ok((TestOutcome::Unverifiable, why, standing)),
        };
        let not = |why: String, standing: Standing| (TestOutcome::NotResolved, why, standing);
        let Prediction::Patch(patch) = prediction else {
            return Ok((TestOutcome::Resolved, String::new(), gold));
        };
        if patch.trim_ascii().is_empty() {
            return Ok(not("the prediction is empty".to_owned(), before));
        }
        let nothing = |why: &str| Standing {
            problem: Some(why.to_owned()),
            ..count(&TestLog::empty(), bench.instance.solution())
        };
        let changes = match changes_of(patch, &bench.snapshot) {
            Ok(changes) => changes,
            Err(error) => {
                let why = format!("the prediction does not apply: {error:#}");
                return Ok(not(why.clone(), nothing(&why)));
            }
        };
        // Whatever it does to the record's own tests is put back, so other tests may change.
        let files = bench.snapshot.files();
        let has_file = |path: &str| files.keys().any(|known| known.as_str() == path);
        if let Err(refusal) = check_candidate(&changes, &bench.recipe.test, &|_| false, &has_file) {
            let why = refusal.to_string();
            return Ok(not(why.clone(), nothing(&why)));
        }
        let standing = self.run(bench, changes, "prediction").await?;
        Ok(match standing.all_pass() && standing.problem.is_none() {
            true => (TestOutcome::Resolved, String::new(), standing),
            false => not(standing.describe(), standing),
        })
    }

    /// Whether the tests tell the gold patch from none; `Err` is why they do not. Only a yes is
    /// remembered: what spoke against it may pass.
    async fn verify_gold(
        &self,
        bench: &Bench<'_>,
        judge: &str,
    ) -> anyhow::Result<Result<Verified, (String, Standing)>> {
        let folder = bench.environment.gold_folder();
        let known = folder.join(format!("{judge}.json"));
        let remembered = fs::read(&known).ok().and_then(|json| serde_json::from_slice(&json).ok());
        if let Some(verified) = remembered.filter(|one: &Verified| one.version == RUN_VERSION) {
            return Ok(Ok(verified));
        }
        let before = self.run(bench, PathChanges::new(), "before").await?;
        if 0 < before.fail_to_pass.passed {
            let why = format!(
                "{} of {} tests to mend pass without the gold patch",
                before.fail_to_pass.passed, before.fail_to_pass.expected
            );
            return Ok(Err((why, before)));
        }
        let patch = bench.instance.solution().patch.as_bytes();
        let gold = changes_of(patch, &bench.snapshot);
        let gold = gold.context("the gold patch and its base commit")?;
        let gold = self.run(bench, gold, "gold").await?;
        if !gold.all_pass() || gold.problem.is_some() {
            // Repositories may lack objects: then their tests miss files.
            let missing = bench.snapshot.problems().first().map_or_else(String::new, |problem| {
                let n = bench.snapshot.problems().len();
                format!("; of the tree {n} could not be read, first {problem}")
            });
            return Ok(Err((format!("with the gold patch: {}{missing}", gold.describe()), gold)));
        }
        let verified = Verified { version: RUN_VERSION, before, gold };
        let context = || format!("writing `{}`", known.display());
        let file = tempfile::NamedTempFile::new_in(&folder).with_context(context)?;
        serde_json::to_writer(file.as_file(), &verified).with_context(context)?;
        file.persist(&known).with_context(context)?;
        Ok(Ok(verified))
    }

    /// Runs the record's tests on the base tree with these changes.
    async fn run(
        &self,
        bench: &Bench<'_>,
        mut changes: PathChanges,
        name: &str,
    ) -> anyhow::Result<Standing> {
        changes.extend(bench.tests.clone());
        let (snapshot, checkout) = (Arc::clone(&bench.snapshot), bench.environment.checkout());
        let scratch = self.scratch.clone();
        let copy = tokio::task::spawn_blocking(move || {
            ScratchCopy::create(&snapshot, &checkout, &changes, &scratch)
        });
        let copy = copy.await.context("making a scratch copy")??;
        let sandbox = self.sandbox.with_options(|options| {
            if let Some(programs) = bench.environment.programs() {
                let path = options.environment.get("PATH").map_or("", String::as_str);
                let path = format!("{}:{path}", programs.display());
                options.environment.insert("PATH".to_owned(), path);
            }
        });
        let execution = sandbox.run(&bench.command, &copy).await?;
        self.keep_log(bench, name, &execution.output)?;
        let output = String::from_utf8_lossy(&execution.output);
        let solution = bench.instance.solution();
        let read = match output.split_once(TESTS_BEGIN) {
            Some((_, tests)) => TestLog::read(tests, execution.end, bench.recipe.log),
            None => {
                let last = output.lines().rev().find(|line| !line.trim().is_empty());
                Err(format!(
                    "preparing the tree failed ({}): {}",
                    execution.end,
                    last.unwrap_or("no output").trim()
                ))
            }
        };
        Ok(match read {
            Ok(log) => count(&log, solution),
            Err(why) => Standing { problem: Some(why), ..count(&TestLog::empty(), solution) },
        })
    }

    fn keep_log(&self, bench: &Bench<'_>, name: &str, output: &[u8]) -> anyhow::Result<()> {
        let id = &bench.instance.task().instance_id;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let id: String = id.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
        let path = self.logs.join(format!("{id}.{name}.log"));
        let context = || format!("writing `{}`", path.display());
        fs::create_dir_all(&self.logs).with_context(context)?;
        fs::write(&path, output).with_context(context)
    }
}

fn setup_commit(instance: &Instance) -> &str {
    match instance.solution().environment_setup_commit.as_str() {
        "" => &instance.task().base_commit,
        commit => commit,
    }
}

fn changes_of(patch: &[u8], snapshot: &Snapshot) -> anyhow::Result<PathChanges> {
    if Patch::parse(patch)?.files.is_empty() {
        return Ok(PathChanges::new());
    }
    Ok(by_path(&apply_patch(patch, snapshot)?))
}

/// Prepares the tree, then runs the files that hold the record's tests.
fn test_command(recipe: &Recipe, solution: &Solution) -> String {
    let tests = solution.fail_to_pass.iter().chain(&solution.pass_to_pass);
    let files: BTreeSet<&str> =
        tests.map(|test| test.split("::").next().unwrap_or_default()).collect();
    let files: Vec<String> = files.into_iter().map(quote).collect();
    let prepare: String = recipe.prepare.iter().map(|line| format!("{line} || exit\n")).collect();
    format!("{prepare}echo '{TESTS_BEGIN}'\n{} {}\n", recipe.test.trim(), files.join(" "))
}

fn count(log: &TestLog, solution: &Solution) -> Standing {
    let (fail_to_pass, mut failing) = log.count(&solution.fail_to_pass, Demand::Passes);
    let (pass_to_pass, broken) = log.count(&solution.pass_to_pass, Demand::IsKept);
    failing.extend(broken);
    failing.truncate(MAX_NAMED);
    Standing { fail_to_pass, pass_to_pass, failing, problem: None }
}
