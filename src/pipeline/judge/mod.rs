//! Tests as judges: the user's command, on the unchanged code first, then on candidates.
//!
//! Of a candidate, the model's reproduction test is run first where there is one, then the tests
//! that look at what it changes, then the whole command while there is time. What is found to be
//! broken, or gives no result, is not run any further; a whole command that gives no result on the
//! unchanged code, such as one that never ends, is run for no candidate.

pub mod choice;
pub mod judgement;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use anyhow::{Context as _, bail};

use crate::diff::change::{FileChange, FileState};
use crate::index::Index;
use crate::index::test_uses::{TestOfCode, TestUses};
use crate::pipeline::judge::choice::{looks_only_elsewhere, tests_of_change};
use crate::pipeline::judge::judgement::{ChosenRun, Judgement, Reproduced, Scope};
use crate::pipeline::progress::{Listener, Progress};
use crate::pipeline::reproduce::Reproduction;
use crate::repo::change::{FileContent, PathChange, PathChanges};
use crate::repo::path::RepoPath;
use crate::repo::snapshot::FileKind;
use crate::sandbox::guard::check_candidate;
use crate::sandbox::narrow::FileCommand;
use crate::sandbox::scratch::ScratchCopy;
use crate::sandbox::verdict::{Outcome, Reading, Standing, Verdict, compare, read_outcome};
use crate::sandbox::{Execution, Sandbox};

/// Runs one test command on scratch copies of one snapshot.
pub struct Judge {
    options: JudgeOptions,
    index: Arc<Index>,
    baseline: Outcome,
    /// What the command printed on the unchanged code.
    baseline_output: String,
    /// How long that took: what a whole run is expected to take.
    baseline_seconds: f64,
    /// The command, where it can be run for some files alone, or why it cannot.
    narrow: Result<FileCommand, String>,
    uses: OnceLock<TestUses>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Wall clock of all whole runs so far.
    whole_seconds: f64,
    /// What chosen tests say of the unchanged code.
    baselines: BTreeMap<Vec<RepoPath>, Outcome>,
}

/// What a judge is made from.
pub struct JudgeOptions {
    pub sandbox: Sandbox,
    /// The folder that the snapshot was read from; the scratch copy stands at its place.
    pub root: PathBuf,
    /// Where scratch copies are made: in the first folder that takes one.
    pub scratch: Vec<PathBuf>,
    /// A shell command.
    pub command: String,
    /// Accept candidates that change tests or the runner's configuration.
    pub allow_test_edits: bool,
    /// Seconds that whole runs of the command may take together, that on the unchanged code
    /// included (at most half of them); `None`: no limit.
    pub budget: Option<u64>,
}

/// More chosen files than this are no choice.
const MOST_CHOSEN: usize = 8;

impl Judge {
    /// Runs the command on the unchanged code.
    ///
    /// # Errors
    ///
    /// The command cannot start at all: no candidate could be judged by it.
    pub async fn open(index: Arc<Index>, options: JudgeOptions) -> anyhow::Result<Self> {
        let mut first = options.sandbox.clone();
        if let Some(seconds) = options.budget {
            first = first.with_options(|options| {
                options.limits.seconds = options.limits.seconds.min(seconds.div_ceil(2));
            });
        }
        let copy = copy_of(&options, &index, PathChanges::new()).await?;
        let execution = run(&first, &options.command, &copy).await?;
        let baseline = read_outcome(&execution);
        let baseline_output = String::from_utf8_lossy(&execution.output).into_owned();
        if let Reading::CannotStart(why) = &baseline.reading {
            bail!(
                "the tests cannot start on the unchanged code, so they cannot judge a patch: {why}\n\
                 hint: run `{}` yourself; the sandbox has no network, no home folder, the interpreter on your PATH, and few of your variables: write those that it needs into the command, such as `env PYTHONPATH=src …`",
                options.command
            );
        }
        let narrow = FileCommand::parse(&options.command).map_err(|why| why.to_string());
        let state = State { whole_seconds: execution.seconds, ..State::default() };
        Ok(Self {
            options,
            index,
            baseline,
            baseline_output,
            baseline_seconds: execution.seconds,
            narrow,
            uses: OnceLock::new(),
            state: Mutex::new(state),
        })
    }

    /// Whether the tests pass on the unchanged code; then they can only show what a patch breaks.
    pub fn baseline_passes(&self) -> bool {
        match &self.baseline.reading {
            Reading::Tests(summary) => summary.failed == 0,
            Reading::StatusOnly { succeeded } => *succeeded,
            Reading::CannotStart(_) | Reading::NoResult(_) => false,
        }
    }

    /// What the command says of the unchanged code, in words.
    pub fn describe_baseline(&self) -> String {
        let command = &self.options.command;
        let outcome = match &self.baseline.reading {
            Reading::Tests(summary) => format!("{} pass, {} fail", summary.passed, summary.failed),
            Reading::StatusOnly { succeeded: true } => "the command succeeds".to_owned(),
            Reading::StatusOnly { succeeded: false } => "the command fails".to_owned(),
            Reading::CannotStart(why) => format!("no result: {why}"),
            Reading::NoResult(why) => {
                format!("no result: {why}; it is run for no candidate")
            }
        };
        let limits =
            if self.baseline_passes() { "; they can only show what a patch breaks" } else { "" };
        format!("`{command}` on the unchanged code: {outcome}{limits}")
    }

    pub fn baseline_output(&self) -> &str {
        &self.baseline_output
    }

    pub fn command(&self) -> &str {
        &self.options.command
    }

    /// The command, where it can be run for some files alone; otherwise why it cannot.
    pub fn narrow(&self) -> Result<&FileCommand, &str> {
        self.narrow.as_ref().map_err(String::as_str)
    }

    pub fn protection(&self) -> String {
        self.options.sandbox.protection().to_string()
    }

    /// What the test files of the snapshot import and name.
    pub fn uses(&self) -> &TestUses {
        self.uses.get_or_init(|| TestUses::read(&self.index))
    }

    /// Why the tests may not judge a candidate: it changes what they are.
    pub fn refuses(
        &self,
        changes: &[FileChange],
        reproduction: Option<&Reproduction>,
    ) -> Option<String> {
        let changes = by_path(changes);
        if let Some(path) = reproduction.map(|test| &test.path)
            && changes.contains_key(path)
        {
            return Some(format!("the candidate changes `{path}`, the reproduction test"));
        }
        if self.options.allow_test_edits {
            return None;
        }
        let is_test = |path: &_| self.index.is_test(path);
        let has_file = |path: &str| self.has_file(path);
        let refusal = check_candidate(&changes, &self.options.command, &is_test, &has_file);
        refusal.err().map(|refusal| refusal.to_string())
    }

    /// Runs the tests with a candidate's changes.
    pub async fn judge(
        &self,
        changes: &[FileChange],
        reproduction: Option<&Reproduction>,
        hear: &Listener<'_>,
    ) -> anyhow::Result<Judgement> {
        let reproduced = match reproduction {
            Some(test) => Some(self.reproduce(test, changes).await?),
            None => None,
        };
        if let Some(Reproduced::NoResult { why }) = &reproduced {
            let verdict = Verdict::no_result(format!("the reproduction: {why}"));
            return Ok(Judgement::new(verdict, Scope::Reproduction, reproduced));
        }
        let looking = tests_of_change(&self.index, self.uses(), changes);
        let chosen = self.run_chosen(&looking, changes, hear).await?;
        let decides = |run: &ChosenRun| {
            run.is_all || matches!(run.verdict.standing, Standing::Broken | Standing::NoResult)
        };
        let judgement = match (chosen, self.why_not_whole()) {
            (Some((run, outcome)), why) if decides(&run) || why.is_some() => {
                let verdict = self.not_held_against(&run.base, &outcome, &run.verdict, &looking);
                let scope = if run.is_all { Scope::Whole } else { Scope::Chosen };
                Judgement { chosen: Some(run), ..Judgement::new(verdict, scope, reproduced) }
            }
            (None, Some(why)) => {
                let why = format!("{why}, and no tests were chosen");
                let verdict = match reproduced {
                    Some(Reproduced::Passes) => Verdict::not_run(&why),
                    _ => Verdict::no_result(why),
                };
                Judgement::new(verdict, Scope::Reproduction, reproduced)
            }
            (chosen, _) => {
                let execution = self.run(&self.options.command, by_path(changes)).await?;
                self.state().whole_seconds += execution.seconds;
                let outcome = read_outcome(&execution);
                let verdict = compare(&self.baseline, &outcome);
                let verdict = self.not_held_against(&self.baseline, &outcome, &verdict, &looking);
                let chosen = chosen.map(|(run, _)| run);
                Judgement { chosen, ..Judgement::new(verdict, Scope::Whole, reproduced) }
            }
        };
        Ok(judgement)
    }

    /// Runs one test file of ours with a candidate's changes, or none.
    pub async fn run_test(
        &self,
        command: &str,
        (path, text): (&RepoPath, &str),
        changes: &[FileChange],
    ) -> anyhow::Result<Execution> {
        let mut changes = by_path(changes);
        let content = FileContent { bytes: text.as_bytes().to_vec(), executable: false };
        // Whatever a candidate put there.
        changes.insert(path.clone(), PathChange { before: None, after: Some(content) });
        self.run(command, changes).await
    }

    pub fn has_file(&self, path: &str) -> bool {
        RepoPath::parse(path).is_ok_and(|path| self.index.snapshot().files().contains_key(&path))
    }

    async fn reproduce(
        &self,
        test: &Reproduction,
        changes: &[FileChange],
    ) -> anyhow::Result<Reproduced> {
        let file = (&test.path, test.text.as_str());
        let outcome = read_outcome(&self.run_test(&test.command, file, changes).await?);
        Ok(Reproduced::of(&compare(&test.base, &outcome)))
    }

    /// Runs the tests that look at a change, with it; `None` where they cannot be run alone.
    async fn run_chosen(
        &self,
        looking: &[TestOfCode],
        changes: &[FileChange],
        hear: &Listener<'_>,
    ) -> anyhow::Result<Option<(ChosenRun, Outcome)>> {
        let Ok(command) = &self.narrow else { return Ok(None) };
        let has_file = |path: &str| self.has_file(path);
        let is_run = |test: &&TestOfCode| command.covers(&test.path, &has_file);
        let tests: Vec<&TestOfCode> = looking.iter().filter(is_run).take(MOST_CHOSEN).collect();
        let files: Vec<RepoPath> = tests.iter().map(|test| test.path.clone()).collect();
        if files.is_empty() {
            return Ok(None);
        }
        let narrowed = command.for_files(&files);
        let known = self.state().baselines.get(&files).cloned();
        let is_new = known.is_none();
        let base = match known {
            Some(base) => base,
            None => read_outcome(&self.run(&narrowed, PathChanges::new()).await?),
        };
        let is_usable = matches!(base.reading, Reading::Tests(_));
        if is_new {
            self.state().baselines.insert(files, base.clone());
            let names: Vec<String> = tests.iter().map(ToString::to_string).collect();
            let doubt = if is_usable { "" } else { "; they give no result of their own" };
            hear(Progress::Chosen { words: format!("{}{doubt}", names.join(", ")) });
        }
        if !is_usable {
            return Ok(None);
        }
        let outcome = read_outcome(&self.run(&narrowed, by_path(changes)).await?);
        let run = ChosenRun {
            tests: tests.into_iter().cloned().collect(),
            command: narrowed,
            verdict: compare(&base, &outcome),
            is_all: n_tests(&base).is_some() && n_tests(&base) == n_tests(&self.baseline),
            base,
        };
        Ok(Some((run, outcome)))
    }

    /// A verdict in which tests that fail before and after count for nothing where they do not
    /// look at what the candidate changes.
    fn not_held_against(
        &self,
        base: &Outcome,
        outcome: &Outcome,
        verdict: &Verdict,
        looking: &[TestOfCode],
    ) -> Verdict {
        let failing = match (&base.reading, &outcome.reading) {
            (Reading::Tests(_), Reading::Tests(summary)) => summary.failing.as_ref(),
            _ => None,
        };
        let files = self.index.snapshot().files().keys();
        let tests: BTreeSet<&RepoPath> = files.filter(|path| self.index.is_test(path)).collect();
        match failing {
            Some(failing)
                if verdict.standing == Standing::Unchanged
                    && looks_only_elsewhere(failing, looking, &tests) =>
            {
                verdict.clone().without_old_failures()
            }
            _ => verdict.clone(),
        }
    }

    /// Why the whole command is not run for a candidate: it would tell nothing, or is likely to end
    /// behind the budget.
    fn why_not_whole(&self) -> Option<&'static str> {
        if matches!(self.baseline.reading, Reading::NoResult(_)) {
            return Some("the whole command has no result on the unchanged code");
        }
        let expected = self.state().whole_seconds + self.baseline_seconds;
        let is_over = self.options.budget.is_some_and(|budget| (budget as f64) < expected);
        is_over.then_some("the time of `--test-budget` is up")
    }

    async fn run(&self, command: &str, changes: PathChanges) -> anyhow::Result<Execution> {
        let copy = copy_of(&self.options, &self.index, changes).await?;
        run(&self.options.sandbox, command, &copy).await
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn n_tests(outcome: &Outcome) -> Option<usize> {
    match &outcome.reading {
        Reading::Tests(summary) => Some(summary.passed + summary.failed + summary.skipped),
        _ => None,
    }
}

async fn copy_of(
    options: &JudgeOptions,
    index: &Arc<Index>,
    changes: PathChanges,
) -> anyhow::Result<ScratchCopy> {
    let index = Arc::clone(index);
    let (root, scratch) = (options.root.clone(), options.scratch.clone());
    tokio::task::spawn_blocking(move || {
        ScratchCopy::create_in_first(index.snapshot(), &root, &changes, &scratch)
    })
    .await
    .context("making a scratch copy")?
}

async fn run(sandbox: &Sandbox, command: &str, copy: &ScratchCopy) -> anyhow::Result<Execution> {
    sandbox.run(command, copy).await.with_context(|| format!("running `{command}`"))
}

/// The changes by path; a rename is a deletion and a creation.
pub fn by_path(changes: &[FileChange]) -> PathChanges {
    let mut by_path = PathChanges::new();
    for change in changes {
        for (state, is_after) in [(change.before(), false), (change.after(), true)] {
            let Some(state) = state else { continue };
            let nothing = || PathChange { before: None, after: None };
            let entry = by_path.entry(state.path.clone()).or_insert_with(nothing);
            let side = if is_after { &mut entry.after } else { &mut entry.before };
            *side = Some(content_of(state));
        }
    }
    by_path
}

fn content_of(state: &FileState) -> FileContent {
    FileContent { bytes: state.bytes.clone(), executable: state.kind == FileKind::Executable }
}
