//! `sorft eval livecodebench`: programs for problems of contests.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use clap::Args;
use jiff::civil::{Date, DateTime};
use serde::Serialize;
use serde_json::json;

use crate::commands::Outcome;
use crate::commands::engine::{EngineArgs, open_engine};
use crate::commands::eval::TableFormat;
use crate::commands::eval::general::{SelectArgs, request};
use crate::commands::interrupt::run_until_interrupted;
use crate::commands::output::{note, write_json, write_stdout};
use crate::commands::sandbox::{open_sandbox, sandbox_options};
use crate::commands::settings::{Surroundings, engine_flags};
use crate::commands::train::asking::{Asking, Piece};
use crate::commands::train::temperature;
use crate::general::livecodebench::data::{Problem, Problems};
use crate::general::livecodebench::row::{Answers, ProblemRow, Step};
use crate::general::livecodebench::run::Runner;
use crate::general::livecodebench::{ANSWER_TOKENS, TEST_SECONDS, prompt};
use crate::general::pass_at_k::{KS, pass_at_k};
use crate::report::general::{Difficulty, JudgedProblem};
use crate::run::seed::{call_seed, request_hash};
use crate::train::work_log::WorkLog;

/// Measure how well a model writes programs (LiveCodeBench, code generation)
///
/// Reads the benchmark's own data files, and prompts and scores as its reference code does: a
/// program is right where it passes all tests of its problem. Programs run in the sandbox, on all
/// inputs of a problem in one process; the expected outputs stay outside. Greedy, one answer each,
/// unless asked for more.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sorft eval livecodebench test6.jsonl --out bare.jsonl
  sorft eval livecodebench test*.jsonl --from 2024-08-01 --adapter tuned/adapter --out tuned.jsonl
  sorft eval livecodebench test6.jsonl --samples 10 --temperature 0.2 --top-p 0.95 --out ten.jsonl
  sorft eval livecodebench test6.jsonl --answers codes.json --out graded.jsonl")]
pub struct LiveCodeBenchArgs {
    /// LiveCodeBench's data files (`test.jsonl`, `test2.jsonl`, …)
    #[arg(value_name = "DATA", required = true)]
    pub data: Vec<PathBuf>,
    /// The file of graded answers, JSON lines in the format of the reference; unfinished work on
    /// it is resumed
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Ask no model: grade the answers of this file, in the reference's format
    #[arg(long, value_name = "FILE")]
    pub answers: Option<PathBuf>,
    #[command(flatten)]
    pub engine: EngineArgs,
    /// Answers to each problem
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub samples: usize,
    /// 0 is greedy; the reference's figures are of 10 answers at 0.2
    #[arg(long, value_name = "T", default_value_t = 0.0, value_parser = temperature)]
    pub temperature: f64,
    /// The share of likely tokens that are drawn from
    #[arg(long, value_name = "P", default_value_t = 1.0)]
    pub top_p: f64,
    /// Tokens of an answer
    #[arg(long, value_name = "N", default_value_t = ANSWER_TOKENS)]
    pub max_tokens: usize,
    /// Only problems of contests on or after this day
    #[arg(long, value_name = "DATE", help_heading = "Selection")]
    pub from: Option<Date>,
    /// Only problems of contests until the beginning of this day
    #[arg(long, value_name = "DATE", help_heading = "Selection")]
    pub until: Option<Date>,
    #[command(flatten)]
    pub select: SelectArgs,
    /// Prompts in flight at once
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub jobs: usize,
    /// Problems whose programs run at once; more than there are cores may make them too slow
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub test_jobs: usize,
    /// Seconds that a program may take for one test
    #[arg(long, value_name = "SECONDS", default_value_t = TEST_SECONDS)]
    pub test_timeout: u64,
    /// Run programs without any protection where no sandbox can be had
    #[arg(long)]
    pub unsafe_no_sandbox: bool,
    /// Seed of all random numbers
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Form of the table on stdout
    #[arg(long, value_enum, default_value_t)]
    pub format: TableFormat,
}

#[derive(Debug, Serialize)]
struct Figures<'a> {
    version: u32,
    /// Who answered; `null` for given answers.
    model: Option<&'a str>,
    failed: usize,
    difficulties: &'a [Difficulty],
}

/// Runs `sorft eval livecodebench`.
pub fn livecodebench(args: &LiveCodeBenchArgs, quiet: bool) -> anyhow::Result<Outcome> {
    WorkLog::refuse_finished(&args.out)?;
    ensure!(0 < args.samples, "`--samples 0` draws nothing");
    ensure!(0 < args.test_timeout, "`--test-timeout 0` lets no program run");
    let read = Problems::read(&args.data)?;
    for id in &read.repeated {
        note(&format!("`{id}` is there twice; the second is left out"));
    }
    let in_time = in_time(args, read.problems)?;
    let given = args.answers.as_ref().map(|path| Answers::read_all(path, &in_time)).transpose()?;
    let mut problems = args.select.selection().choose(in_time, |one| (&one.question_id, ""))?;
    if let Some(given) = &given {
        let n = problems.len();
        problems.retain(|problem| given.contains_key(&problem.question_id));
        ensure!(!problems.is_empty(), "the answers are to none of {n} selected problems");
        if problems.len() < n {
            let missing = n - problems.len();
            note(&format!("{missing} selected problems have no answer and count nowhere"));
        }
    }
    let engine = match &given {
        Some(_) => None,
        None => {
            ensure!(!args.engine.no_model, "`--no-model` answers nothing");
            let surroundings = Surroundings::read(None, &engine_flags(&args.engine))?;
            Some(open_engine(&args.engine, &surroundings, quiet)?)
        }
    };
    let model = engine.as_ref().map(|engine| engine.info().name.as_str());
    let ids: Vec<&str> = problems.iter().map(|one| one.question_id.as_str()).collect();
    let asked = json!({
        "model": model,
        "answers": args.answers.as_ref().map(std::fs::read).transpose()?.map(|a| request_hash(&a)).transpose()?,
        "data": read.fingerprint,
        "problems": request_hash(&ids)?,
        "sampling": (args.samples, args.temperature, args.top_p, args.max_tokens, args.seed),
        "test_timeout": args.test_timeout,
    });
    let asking =
        Asking::open(&args.out, &asked, (2 * problems.len(), "answers and grades"), quiet)?;
    let left = asking.left(&problems);
    let mut failed = match (&engine, given) {
        (Some(engine), _) => {
            let engine = engine.as_ref();
            asking.ask(&left, args.jobs, name_of, |problem| async move {
                let seed = call_seed(args.seed, &problem.question_id, "livecodebench", 0);
                let sampling = (args.samples, args.temperature, args.top_p);
                let request = request(prompt(problem), sampling, args.max_tokens, seed);
                let completions = engine.generate(&request, &|_| {}).await?;
                let outputs = completions.iter().map(|one| one.text().into_owned()).collect();
                Ok(ProblemRow::new(problem, model, Answers::of_outputs(outputs)))
            })?
        }
        (None, given) => {
            let mut given = given.unwrap_or_default();
            for problem in left {
                let answers = given.remove(&problem.question_id).context("an answer is gone")?;
                asking.keep(ProblemRow::new(problem, None, answers))?;
            }
            Vec::new()
        }
    };
    failed.extend(grade(args, &problems, &asking)?);
    let done = asking.finish(&failed, |row: &ProblemRow| {
        Vec::from_iter((row.stage == Step::Graded).then(|| row.clone()))
    })?;
    let graded: Vec<&ProblemRow> = done.iter().filter(|row| row.stage == Step::Graded).collect();
    tell(args, &graded, model, failed.len())?;
    Ok(if failed.is_empty() { Outcome::Done } else { Outcome::Missed })
}

/// Problems of the contests that are meant, as the reference compares times.
fn in_time(args: &LiveCodeBenchArgs, problems: Vec<Problem>) -> anyhow::Result<Vec<Problem>> {
    if args.from.is_none() && args.until.is_none() {
        return Ok(problems);
    }
    let mut kept = Vec::new();
    for problem in problems {
        let date: DateTime = problem.contest_date.parse().with_context(|| {
            format!("`{}`: its contest's date is `{}`", problem.question_id, problem.contest_date)
        })?;
        let is_early =
            args.from.is_some_and(|from| date < from.to_datetime(jiff::civil::Time::MIN));
        let is_late =
            args.until.is_some_and(|until| until.to_datetime(jiff::civil::Time::MIN) < date);
        if !is_early && !is_late {
            kept.push(problem);
        }
    }
    ensure!(!kept.is_empty(), "no contest of the data is between these days");
    Ok(kept)
}

/// A problem that was answered, on its way to be graded.
struct ToGrade<'a> {
    problem: &'a Problem,
    row: ProblemRow,
}

/// Runs all programs that have no grade yet; gives a line for each problem that failed.
fn grade(
    args: &LiveCodeBenchArgs,
    problems: &[Problem],
    asking: &Asking<ProblemRow>,
) -> anyhow::Result<Vec<String>> {
    let by_id: BTreeMap<&str, &Problem> =
        problems.iter().map(|problem| (problem.question_id.as_str(), problem)).collect();
    let answered = asking.done().into_iter().filter(|row| row.stage == Step::Answered);
    let to_grade: Vec<ToGrade<'_>> = answered
        .filter_map(|row| Some(ToGrade { problem: by_id.get(row.instance.as_str())?, row }))
        .collect();
    let left = asking.left(&to_grade);
    if left.is_empty() {
        return Ok(Vec::new());
    }
    let surroundings = Surroundings::read(None, &engine_flags(&args.engine))?;
    let options = sandbox_options(&surroundings)?;
    let scratch = surroundings.folders.cache.join("scratch");
    std::fs::create_dir_all(&scratch)
        .with_context(|| format!("creating `{}`", scratch.display()))?;
    let root = tempfile::tempdir_in(&scratch).context("creating a folder for programs")?;
    let sandbox = run_until_interrupted(open_sandbox(options, args.unsafe_no_sandbox))?;
    let seconds = args.test_timeout;
    let runner = Runner { sandbox, root: root.path().to_owned(), scratch, seconds };
    let runner = &runner;
    asking.ask(
        &left,
        args.test_jobs,
        |one| name_of(one.problem),
        |one| async move {
            let tests = tokio::task::block_in_place(|| one.problem.read_tests())?;
            let mut grades = Vec::new();
            for code in &one.row.code_list {
                grades.push(runner.grade(one.problem, &tests, code).await?);
            }
            Ok(one.row.clone().graded(grades))
        },
    )
}

fn name_of(problem: &Problem) -> String {
    problem.question_id.clone()
}

fn tell(
    args: &LiveCodeBenchArgs,
    graded: &[&ProblemRow],
    model: Option<&str>,
    failed: usize,
) -> anyhow::Result<()> {
    let fewest = graded.iter().map(|row| row.grades.len()).min().unwrap_or(0);
    let ks: Vec<usize> = KS.into_iter().filter(|k| *k <= fewest).collect();
    let judged: Vec<JudgedProblem<'_>> = graded
        .iter()
        .map(|row| JudgedProblem {
            difficulty: &row.difficulty,
            pass: ks.iter().map(|k| pass_at_k(row.grades.len(), row.n_right(), *k)).collect(),
            outcomes: row.grades.iter().map(|grade| grade.outcome.name()).collect(),
        })
        .collect();
    let difficulties = Difficulty::of_all(&judged, &ks);
    match args.format.style() {
        Some(style) => {
            let table = Difficulty::render(&difficulties, style);
            let who = model.unwrap_or("given answers");
            write_stdout(&format!("{table}\n{who}: {failed} failed\n"))
        }
        None => write_json(&Figures { version: 1, model, failed, difficulties: &difficulties }),
    }
}

impl Piece for Problem {
    type Part = Step;

    fn key(&self) -> (&str, Step) {
        (&self.question_id, Step::Answered)
    }
}

impl Piece for ProblemRow {
    type Part = Step;

    fn key(&self) -> (&str, Step) {
        (&self.instance, self.stage)
    }
}

impl Piece for ToGrade<'_> {
    type Part = Step;

    fn key(&self) -> (&str, Step) {
        (&self.row.instance, Step::Graded)
    }
}
