//! `sorft fix`: from an issue to a patch.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use clap::{Args, ValueEnum};

use crate::commands::Outcome;
use crate::commands::engine::{EngineArgs, open_engine};
use crate::commands::hand_over::{Handed, check_destination, hand_over};
use crate::commands::interrupt::run_until_interrupted;
use crate::commands::issue::IssueArgs;
use crate::commands::likely::{likely_places, show_likely_places, write_likely_places};
use crate::commands::places::parse_places;
use crate::commands::progress::ProgressView;
use crate::commands::repository::RepositoryArgs;
use crate::commands::run_folder::{INSTANCE, open_run, record, with_resume_hint};
use crate::commands::sandbox::{open_sandbox, sandbox_options};
use crate::commands::settings::{Surroundings, work_flags};
use crate::commands::stage_clock::StageClock;
use crate::commands::work::{Work, WorkArgs, max_time};
use crate::index::Index;
use crate::pipeline::calls::Calls;
use crate::pipeline::judge::{Judge, JudgeOptions};
use crate::pipeline::locate::locate;
use crate::pipeline::places::Places;
use crate::pipeline::progress::Progress;
use crate::pipeline::repair::{Bench, repair};
use crate::pipeline::reproduce::{Reproduction, command_for, reproduce};
use crate::write::apply::recover;

/// Find the code that an issue is about, write a patch, check it, and print it
///
/// Nothing is changed unless you say `--apply` or `--branch`, and nothing is sent anywhere unless
/// you name a server with `--endpoint`. Repository code runs only with `--test`, in a sandbox.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sorft fix --issue bug.md
  sorft fix ~/code/project --issue me/project#12 --test 'python3 -m pytest -q' --apply
  pytest 2>&1 | sorft fix --issue -
  sorft fix --test 'cargo test'               the failing test log is the issue
  sorft fix --issue bug.md --in src/cart.py:Cart.total --output fix.patch
  sorft fix --issue bug.md --test 'python3 -m pytest -q' --reproduce    the model writes a test too

Exit codes: 0 a patch was found · 1 none that is acceptable · 2 error · 130 interrupted")]
pub struct FixArgs {
    #[command(flatten)]
    pub repository: RepositoryArgs,
    #[command(flatten)]
    pub issue: IssueArgs,
    #[command(flatten)]
    pub engine: EngineArgs,
    #[command(flatten)]
    pub work: WorkArgs,
    #[command(flatten)]
    pub test: TestArgs,
    /// Write the patch into the files: all of them or none
    #[arg(long, help_heading = "Result", conflicts_with_all = ["branch", "at", "no_model"])]
    pub apply: bool,
    /// Commit the patch to a new branch; the files on disk stay as they are
    #[arg(long, value_name = "NAME", help_heading = "Result", conflicts_with = "no_model")]
    pub branch: Option<String>,
    /// Write the patch to a file in place of stdout
    #[arg(long, short, value_name = "FILE", help_heading = "Result", conflicts_with = "no_model")]
    pub output: Option<PathBuf>,
    /// Form of the result
    #[arg(long, value_enum, default_value_t, help_heading = "Result")]
    pub format: PatchFormat,
}

/// The test command, which judges candidates.
#[derive(Debug, Clone, Args)]
pub struct TestArgs {
    /// A shell command whose tests judge each candidate, in a sandbox; without an issue, its
    /// failing log is the issue
    #[arg(long, value_name = "CMD", help_heading = "Tests")]
    pub test: Option<String>,
    /// Seconds that one run of the tests may take [default: 300]
    #[arg(long, value_name = "SECONDS", help_heading = "Tests")]
    pub test_timeout: Option<u64>,
    /// Seconds that whole runs of the test command may take together; the tests that look at what
    /// a candidate changes run first, and alone once these are used up [default: no limit]
    #[arg(long, value_name = "SECONDS", value_parser = 1.., help_heading = "Tests")]
    pub test_budget: Option<i64>,
    /// Let the model write a test of the issue: kept if it fails on the unchanged code as the
    /// issue says, run with every candidate, shown, and no part of the patch; pytest and unittest
    #[arg(long, help_heading = "Tests")]
    pub reproduce: bool,
    /// How many such tests to sample [default: 6, 20 or 40, as `--effort` is quick, normal or max]
    #[arg(long, value_name = "N", value_parser = 1..=1000, help_heading = "Tests")]
    pub reproduction_samples: Option<i64>,
    /// Add the reproduction test to the patch, where the patch makes it pass
    #[arg(long, help_heading = "Tests")]
    pub with_reproduction: bool,
    /// Accept candidates that change tests or the test runner's configuration
    #[arg(long, help_heading = "Tests")]
    pub allow_test_edits: bool,
    /// Run the tests without any protection where no sandbox can be had
    #[arg(long, help_heading = "Tests")]
    pub unsafe_no_sandbox: bool,
}

/// The form of a patch on stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum PatchFormat {
    /// A git-style patch.
    #[default]
    #[value(alias = "text")]
    Diff,
    /// Patch, places, candidates, usage, and what was written where.
    Json,
}

/// Runs `sorft fix`.
pub fn fix(args: &FixArgs, quiet: bool) -> anyhow::Result<Outcome> {
    let began = Instant::now();
    let view = ProgressView::new(quiet);
    let flags = work_flags(&args.engine, &args.work)
        .set("test", args.test.test.clone())
        .set("sandbox_seconds", args.test.test_timeout)
        .set("test_budget", args.test.test_budget)
        .set("reproduce", args.test.reproduce.then_some(true))
        .set("reproduction_samples", args.test.reproduction_samples);
    let surroundings = Surroundings::read(Some(&args.repository.repo), &flags)?;
    surroundings.resolved.notes.iter().for_each(|note| view.say(note));
    for folder in recover(&surroundings.folders.state)? {
        view.say(&format!(
            "a run that was killed while it wrote `{}` is rolled back",
            folder.display()
        ));
    }
    let test = surroundings.config().test.as_deref();
    let wants_reproduction = surroundings.config().reproduce;
    ensure!(
        test.is_some() || !wants_reproduction,
        "`--reproduce` needs a test command, which says how a test is run\n\
         hint: name it with `--test`; `sorft doctor` proposes some"
    );
    ensure!(
        wants_reproduction || !args.test.with_reproduction,
        "`--with-reproduction` adds the test that `--reproduce` asks for, which was not given"
    );
    let given = match (args.issue.is_given(), test) {
        (false, Some(_)) => None,
        // Without an issue, this says what an issue can be.
        _ => Some(run_until_interrupted(
            args.issue.read(&surroundings.environment, surroundings.config().offline),
        )?),
    };
    view.now("reading the repository");
    let index = args.repository.index(&surroundings, args.issue.file())?;
    let places = parse_places(&args.work.places, &index)?;
    check_destination(args, index.snapshot().base_commit())?;
    if args.engine.no_model {
        let issue = given.context("`--no-model` needs an issue: `--issue` or `--issue-text`")?;
        view.clear();
        write_likely_places(&likely_places(&index, &issue), args.format == PatchFormat::Json)?;
        return Ok(Outcome::Missed);
    }
    let likely = |issue: &str| show_likely_places(&index, issue, &view);
    // They come before anything that takes time.
    let ranking = given.as_deref().map(likely);
    let deadline = max_time(surroundings.config()).map(|limit| began + limit);
    let until = Bench { judge: None, reproduction: None, deadline };
    let open = |command| open_judge(args, command, &surroundings, &index, &until, &view);
    // Nothing where the time is up before the unchanged code is judged.
    let judge = test.map(open).transpose()?.flatten();
    if wants_reproduction && let Some(judge) = &judge {
        // Before a model is loaded.
        command_for(judge)?;
    }
    let is_log = given.is_none();
    let (issue, ranking) = match (given, ranking) {
        (Some(issue), Some(ranking)) => (issue, ranking),
        _ => {
            let issue = issue_of_log(judge.as_ref())?;
            let ranking = likely(&issue);
            (issue, ranking)
        }
    };
    // A download has a line of its own.
    view.clear();
    let engine = open_engine(&args.engine, &surroundings, quiet)?;
    let work =
        Work::new(&surroundings, &args.work.sampling, engine.as_ref(), issue, (index, ranking))?;
    if args.work.plan {
        view.clear();
        return work.plan(engine.as_ref(), args.format == PatchFormat::Json);
    }
    let run = open_run(&surroundings, "fix", engine.info(), &work, &args.repository)?;
    let clock = StageClock::new(&run);
    let hear = |progress: Progress| {
        clock.hear(&progress);
        view.hear(progress);
    };
    let calls = Calls::new(engine.as_ref(), Some(&run), INSTANCE, work.settings.seed, &hear);
    let bench = Bench { judge: judge.as_ref(), reproduction: None, deadline };
    let Work { settings, stages, writer, context } = &work;
    let wants_reproduction = 0 < settings.reproduction_samples && judge.is_some();
    if wants_reproduction && is_log {
        view.say("reproduce  not needed: the tests that fail are the issue");
    }
    let found = run_until_interrupted(async {
        let found = bench.within(locate(&calls, context, stages, settings, places.clone())).await;
        // Whoever is out of time learns at least where retrieval would look.
        let likely = || context.ranking.files.iter().take(5).map(|file| file.path.clone());
        let places = match found.transpose()? {
            Some(places) => places,
            None if places == Places::default() => {
                Places { files: likely().collect(), ..Places::default() }
            }
            None => places,
        };
        let reproductions = match wants_reproduction && !is_log && !bench.is_over() {
            true => Some(reproduce(&calls, context, writer, settings, &places, &bench).await?),
            false => None,
        };
        let chosen = reproductions.as_ref().and_then(|found| found.chosen.as_ref());
        if let Some(chosen) = chosen {
            show_reproduction(chosen, &view);
        }
        let bench = Bench { reproduction: chosen, ..bench };
        let solution = repair(&calls, context, stages, settings, places, &bench).await?;
        anyhow::Ok((solution, reproductions))
    });
    let (solution, reproductions) = found.map_err(|error| with_resume_hint(error, run.path()))?;
    view.clear();
    clock.finish(began)?;
    let reproductions = reproductions.as_ref();
    record(&run, engine.info(), (&solution, reproductions), calls.usage())?;
    let handed = Handed {
        run: run.path(),
        solution: &solution,
        reproductions,
        usage: calls.usage(),
        protection: judge.as_ref().map(Judge::protection),
        began,
        base: context.index.snapshot().base_commit(),
        state: &surroundings.folders.state,
    };
    hand_over(args, &handed, &view)
}

/// Runs the tests on the unchanged code, and says what they can judge; `None` where the time is
/// up first.
fn open_judge(
    args: &FixArgs,
    command: &str,
    surroundings: &Surroundings,
    index: &Arc<Index>,
    clock: &Bench<'_>,
    view: &ProgressView,
) -> anyhow::Result<Option<Judge>> {
    view.now(&format!("tests: `{command}` on the unchanged code"));
    let sandbox = sandbox_options(surroundings)?;
    let budget = surroundings.config().test_budget;
    let opening = async {
        let sandbox = open_sandbox(sandbox, args.test.unsafe_no_sandbox).await?;
        let options = JudgeOptions {
            sandbox,
            root: args.repository.repo.clone(),
            scratch: vec![surroundings.cache().join("scratch"), std::env::temp_dir()],
            command: command.to_owned(),
            allow_test_edits: args.test.allow_test_edits,
            budget: (0 < budget).then_some(budget),
        };
        Judge::open(Arc::clone(index), options).await
    };
    let judge = run_until_interrupted(async { clock.within(opening).await.transpose() })?;
    view.say(&match &judge {
        Some(judge) => format!("tests      {}", judge.describe_baseline()),
        None => format!("tests      `{command}` on the unchanged code: {OUT_OF_TIME}"),
    });
    if let Some(Err(why)) = judge.as_ref().map(Judge::narrow) {
        view.say(&format!("tests      all of them for each candidate: no choice is made, {why}"));
    }
    Ok(judge)
}

const OUT_OF_TIME: &str = "stopped, the time of `--max-time` is up";

/// The test that judges candidates, in full: whoever reads the verdict must know by what.
fn show_reproduction(test: &Reproduction, view: &ProgressView) {
    view.say(&format!("reproduce  by `{}`:", test.command));
    for line in test.text.lines() {
        view.say(&format!("  | {line}"));
    }
}

/// The failing log of the tests, as the issue.
fn issue_of_log(judge: Option<&Judge>) -> anyhow::Result<String> {
    let judge = judge.with_context(|| {
        format!(
            "the log of the tests was to be the issue, but they were {OUT_OF_TIME}\n\
             hint: allow more time, or describe what is wrong with `--issue` or `--issue-text`"
        )
    })?;
    ensure!(
        !judge.baseline_passes(),
        "there is nothing to fix: `{}` passes on the unchanged code\n\
         hint: describe what is wrong with `--issue` or `--issue-text`",
        judge.command()
    );
    Ok(format!("`{}` fails:\n\n{}", judge.command(), judge.baseline_output()))
}
