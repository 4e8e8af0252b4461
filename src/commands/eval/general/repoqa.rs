//! `sorft eval repoqa`: finding a described function in a long context.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use clap::Args;
use serde::Serialize;
use serde_json::json;

use crate::commands::Outcome;
use crate::commands::engine::{EngineArgs, open_engine};
use crate::commands::eval::TableFormat;
use crate::commands::eval::general::{SelectArgs, request};
use crate::commands::output::{note, write_json, write_stdout};
use crate::commands::settings::{Surroundings, engine_flags};
use crate::commands::train::asking::{Asking, Piece};
use crate::general::repoqa::context::{FileTokens, code_context};
use crate::general::repoqa::data::Dataset;
use crate::general::repoqa::row::{Answered, OutputRow};
use crate::general::repoqa::score::{Judge, THRESHOLD, THRESHOLDS, Verdict};
use crate::general::repoqa::{ANSWER_TOKENS, CONTEXT_TOKENS, Task};
use crate::prompt::CountTokens;
use crate::report::general::{FoundNeedle, Needles};
use crate::run::seed::request_hash;
use crate::train::work_log::WorkLog;

/// Measure how well a model finds a described function in a long context (RepoQA)
///
/// Reads RepoQA's own data file, and prompts and scores as its reference code does: an answer
/// counts where it is more like the function that was meant than like any other that is asked for
/// in its repository, with a BLEU of at least 0.8. Greedy, one answer for each function.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sorft eval repoqa repoqa-2024-06-23.json.gz --out bare.jsonl
  sorft eval repoqa repoqa-2024-06-23.json.gz --adapter tuned/adapter --out tuned.jsonl
  sorft eval repoqa repoqa-2024-06-23.json.gz --answers results/ntoken_16384/model.jsonl")]
pub struct RepoQaArgs {
    /// RepoQA's data file, plain or gzipped
    #[arg(value_name = "DATA")]
    pub data: PathBuf,
    /// The file of answers, in the format of the reference; unfinished work on it is resumed
    #[arg(long, value_name = "FILE", required_unless_present = "answers")]
    pub out: Option<PathBuf>,
    /// Ask no model: score the answers of this file, which the reference or `--out` wrote
    #[arg(long, value_name = "FILE", conflicts_with = "out")]
    pub answers: Option<PathBuf>,
    #[command(flatten)]
    pub engine: EngineArgs,
    /// Tokens of the code that a prompt shows
    #[arg(long, value_name = "N", default_value_t = CONTEXT_TOKENS)]
    pub context_tokens: usize,
    /// A `tokenizer.json` to measure the code by; the reference takes CodeLlama's [default: the
    /// model's own tokens]
    #[arg(long, value_name = "FILE")]
    pub tokenizer: Option<PathBuf>,
    /// Comments count for nothing, in answers and in functions
    #[arg(long)]
    pub ignore_comments: bool,
    /// Only functions of these languages
    #[arg(long, value_name = "LANGUAGE", value_delimiter = ',', help_heading = "Selection")]
    pub language: Vec<String>,
    #[command(flatten)]
    pub select: SelectArgs,
    /// Prompts in flight at once
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub jobs: usize,
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
    languages: Vec<Needles>,
    needles: &'a [Verdict],
}

/// Runs `sorft eval repoqa`.
pub fn repoqa(args: &RepoQaArgs, quiet: bool) -> anyhow::Result<Outcome> {
    let dataset = Dataset::read(&args.data)?;
    let tasks = select(args, &dataset)?;
    let Some(out) = &args.out else {
        let path = args.answers.as_ref().context("`--out` or `--answers` is wanted")?;
        let answers = meant(Answered::read_all(path)?, &tasks)?;
        tell(args, &score(args, &dataset, &tasks, &answers)?, None, 0)?;
        return Ok(Outcome::Done);
    };
    WorkLog::refuse_finished(out)?;
    ensure!(!args.engine.no_model, "`--no-model` answers nothing");
    let counter = args.tokenizer.as_deref().map(FileTokens::read).transpose()?;
    let engine =
        open_engine(&args.engine, &Surroundings::read(None, &engine_flags(&args.engine))?, quiet)?;
    let (engine, model) = (engine.as_ref(), &engine.info().name);
    let counter: &dyn CountTokens = match &counter {
        Some(counter) => counter,
        None => engine.counter(),
    };
    ensure_room(args.context_tokens, engine.info().context_length)?;
    let ids: Vec<&str> = tasks.iter().map(|task| task.id.as_str()).collect();
    let tokenizer = args.tokenizer.as_ref().map(std::fs::read).transpose()?;
    let asked = json!({
        "model": model,
        "data": dataset.fingerprint,
        "tasks": request_hash(&ids)?,
        "context_tokens": args.context_tokens,
        "tokenizer": tokenizer.map(|bytes| request_hash(&bytes)).transpose()?,
    });
    let asking = Asking::open(out, &asked, (tasks.len(), "functions"), quiet)?;
    let (left, dataset) = (asking.left(&tasks), &dataset);
    let failed = asking.ask(
        &left,
        args.jobs,
        |task| task.id.clone(),
        |task| async move {
            let context = tokio::task::block_in_place(|| {
                let repository = &dataset.of_language(&task.language)[task.repository_idx];
                code_context(task, &repository.ordered_files()?, args.context_tokens, counter)
            })?;
            let request = request(task.prompt(&context), (1, 0.0, 1.0), ANSWER_TOKENS, 0);
            let completions = engine.generate(&request, &|_| {}).await?;
            let answer = completions.first().context("the engine gave no answer")?;
            Ok(OutputRow::new(task, context, model, answer.text().into_owned()))
        },
    )?;
    let done = asking.finish(&failed, |row: &OutputRow| vec![row.clone()])?;
    let answers: Vec<Answered> = done.iter().map(OutputRow::answered).collect();
    tell(args, &score(args, dataset, &tasks, &answers)?, Some(model), failed.len())?;
    Ok(if failed.is_empty() { Outcome::Done } else { Outcome::Missed })
}

fn select(args: &RepoQaArgs, dataset: &Dataset) -> anyhow::Result<Vec<Task>> {
    for language in &args.language {
        ensure!(
            dataset.languages().any(|known| known == language),
            "`{}` has no language `{language}`\nhint: it has {}",
            args.data.display(),
            dataset.languages().collect::<Vec<_>>().join(", ")
        );
    }
    let (mut tasks, left_out) = dataset.tasks();
    for id in left_out {
        note(&format!("`{id}` is there twice; the second is left out"));
    }
    tasks.retain(|task| args.language.is_empty() || args.language.contains(&task.language));
    args.select.selection().choose(tasks, |task| (&task.id, &task.repo))
}

/// The answers to the selected tasks; those to others, and tasks without an answer, are told.
fn meant(answers: Vec<Answered>, tasks: &[Task]) -> anyhow::Result<Vec<Answered>> {
    let mut is_answered: BTreeMap<&str, bool> =
        tasks.iter().map(|task| (task.id.as_str(), false)).collect();
    let n = answers.len();
    let mut kept = Vec::new();
    for answer in answers {
        if let Some(is_answered) = is_answered.get_mut(answer.id().as_str()) {
            *is_answered = true;
            kept.push(answer);
        }
    }
    ensure!(!kept.is_empty(), "none of {n} answers is to a selected function");
    if kept.len() < n {
        note(&format!("{} answers are to functions that are not selected", n - kept.len()));
    }
    match is_answered.values().filter(|is_answered| !**is_answered).count() {
        0 => {}
        missing => note(&format!("{missing} selected functions have no answer and count nowhere")),
    }
    Ok(kept)
}

fn score(
    args: &RepoQaArgs,
    dataset: &Dataset,
    tasks: &[Task],
    answers: &[Answered],
) -> anyhow::Result<Vec<Verdict>> {
    let by_id: BTreeMap<&str, &Task> = tasks.iter().map(|task| (task.id.as_str(), task)).collect();
    let mut judge = Judge::new(args.ignore_comments);
    let verdict = |answer: &Answered| {
        let task = by_id.get(answer.id().as_str()).context("only selected tasks are answered")?;
        let repository = &dataset.of_language(&task.language)[task.repository_idx];
        judge.judge(&answer.language, repository, &answer.name, &answer.output[0])
    };
    answers.iter().map(verdict).collect()
}

fn tell(
    args: &RepoQaArgs,
    needles: &[Verdict],
    model: Option<&str>,
    failed: usize,
) -> anyhow::Result<()> {
    let found = |verdict: &Verdict| verdict.is_found(0.0).then_some(verdict.similarity);
    let found: Vec<FoundNeedle<'_>> = needles
        .iter()
        .map(|one| FoundNeedle { language: &one.language, similarity: found(one) })
        .collect();
    let languages = Needles::by_language(&found, (&THRESHOLDS, THRESHOLD));
    match args.format.style() {
        Some(style) => {
            let table = Needles::render(&languages, THRESHOLD, style);
            let who = model.unwrap_or("given answers");
            write_stdout(&format!("{table}\n{who}: {failed} failed\n"))
        }
        None => write_json(&Figures { version: 1, model, failed, languages, needles }),
    }
}

/// Tokens of instruction and description, and some to spare.
const ASIDE_TOKENS: usize = 512;

fn ensure_room(context_tokens: usize, context_length: usize) -> anyhow::Result<()> {
    let needed = context_tokens + ASIDE_TOKENS + ANSWER_TOKENS;
    ensure!(
        needed <= context_length,
        "code of {context_tokens} tokens, the description and an answer of {ANSWER_TOKENS} do not fit into the model's {context_length} tokens\n\
         hint: `--context-tokens {}` fits; scores of another size are figures of their own",
        context_length.saturating_sub(ASIDE_TOKENS + ANSWER_TOKENS)
    );
    Ok(())
}

impl Piece for Task {
    type Part = ();

    fn key(&self) -> (&str, ()) {
        (&self.id, ())
    }
}

impl Piece for OutputRow {
    type Part = ();

    fn key(&self) -> (&str, ()) {
        (&self.instance, ())
    }
}
