//! `sorft train mine`: problems and their solutions from git histories.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use clap::Args;

use crate::commands::Outcome;
use crate::commands::eval::TableFormat;
use crate::commands::output::{note, write_json, write_stdout};
use crate::commands::progress::bar;
use crate::instance::dataset::read_dataset;
use crate::instance::mined::{Split, TextKind};
use crate::instance::repository::repository_name;
use crate::repo::commits::History;
use crate::report::table::{Style, Table};
use crate::train::mine::evaluation::Evaluation;
use crate::train::mine::issues::Issues;
use crate::train::mine::report::{DropReason, MineReport, RepositoryCounts};
use crate::train::mine::select::Holdout;
use crate::train::mine::{Mine, MineOptions, mine as mine_all};
use crate::train::work_log::WorkLog;

/// Find problems and their solutions in git histories
///
/// Takes commits that close an issue, join a pull request or read like a fix. What the message
/// tells becomes the problem, the change of source files its solution, the change of tests the
/// test patch. Repositories of SWE-bench and its development split are refused, by name and by
/// first commit.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sorft train mine . --out instances.jsonl
  sorft train mine repos/dask__dask me/shop=../shop --out instances.jsonl --repro-from-tests
  sorft train mine repos/* --out instances.jsonl --evaluation dev.jsonl --evaluation-repos bench")]
pub struct MineArgs {
    /// Repositories with all of their history, bare or with a work tree; OWNER/NAME=PATH where
    /// neither the origin nor the folder's name (`owner__name`) tells the name
    #[arg(required = true, value_name = "REPO")]
    pub repositories: Vec<String>,
    /// The file of instances, in the format of SWE-bench
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// JSON lines of issues (`number`, `title`, `body`; `repo` with several repositories): the
    /// text where a commit closes one of them
    #[arg(long, value_name = "FILE", help_heading = "Text")]
    pub issues: Option<PathBuf>,
    /// Let a test that the commit added follow the message, where it names nothing of the solution
    #[arg(long, help_heading = "Text")]
    pub repro_from_tests: bool,
    /// Words of the text, at the least
    #[arg(long, value_name = "N", default_value_t = 15, help_heading = "Text")]
    pub min_words: usize,
    /// Source files that a solution changes, at the most
    #[arg(long, value_name = "N", default_value_t = 5, help_heading = "Solution")]
    pub max_files: usize,
    /// Lines that a solution adds and removes, at the most
    #[arg(long, value_name = "N", default_value_t = 100, help_heading = "Solution")]
    pub max_lines: usize,
    /// What is kept for evaluation: `newest:10%` of each repository, or `none`
    #[arg(long, value_name = "PART", default_value = "newest:10%", help_heading = "Evaluation")]
    pub holdout: Holdout,
    /// Records of an evaluation: their repositories are refused, and commits whose tree holds a
    /// file that one of their gold patches starts from
    #[arg(
        long,
        value_name = "DATASET",
        requires = "evaluation_repos",
        help_heading = "Evaluation"
    )]
    pub evaluation: Vec<PathBuf>,
    /// The folder of these records' repositories
    #[arg(long, value_name = "DIR", requires = "evaluation", help_heading = "Evaluation")]
    pub evaluation_repos: Option<PathBuf>,
    /// Draws which instances go where a repository has more than 40 % of all
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Form of the counts on stdout
    #[arg(long, value_enum, default_value_t)]
    pub format: TableFormat,
}

/// Runs `sorft train mine`.
pub fn mine(args: &MineArgs, quiet: bool) -> anyhow::Result<Outcome> {
    WorkLog::refuse_finished(&args.out)?;
    let evaluation = read_evaluation(args)?;
    let mines: Vec<Mine> = args
        .repositories
        .iter()
        .map(|repository| open(repository, &evaluation))
        .collect::<anyhow::Result<_>>()?;
    let names: BTreeSet<&str> = mines.iter().map(|mine| mine.repo.as_str()).collect();
    ensure!(names.len() == mines.len(), "a repository is named twice");
    if mines.len() == 2 {
        note("with two repositories no part of them is cut: each would need 40 % at the most");
    }
    let only = mines.first().filter(|_| mines.len() == 1).map(|mine| mine.repo.as_str());
    let issues = args.issues.as_ref().map(|path| Issues::read(path, only)).transpose()?;
    let options = MineOptions {
        max_files: args.max_files,
        max_lines: args.max_lines,
        min_words: args.min_words,
        repro_from_tests: args.repro_from_tests,
        holdout: args.holdout,
        seed: args.seed,
    };
    let progress = bar(mines.iter().map(|mine| mine.commits.len()).sum(), "commits", quiet);
    let log = WorkLog::beside(&args.out);
    let issues = issues.unwrap_or_default();
    let mining =
        mine_all(&mines, &options, &issues, &evaluation, log.clone(), &|| progress.inc(1))?;
    progress.finish_and_clear();
    WorkLog::finish(&log, &args.out, &mining.records)?;
    match args.format.style() {
        Some(style) => write_stdout(&render(&mining.report, style))?,
        None => write_json(&mining.report)?,
    }
    if mining.records.is_empty() {
        note("no commit became an instance; the table says why");
        return Ok(Outcome::Missed);
    }
    Ok(Outcome::Done)
}

fn read_evaluation(args: &MineArgs) -> anyhow::Result<Evaluation> {
    let mut evaluation = Evaluation::default();
    for dataset in &args.evaluation {
        let repos = args.evaluation_repos.as_deref().unwrap_or(Path::new("."));
        let read = read_dataset(dataset)?;
        evaluation
            .add(&read.instances, repos)
            .with_context(|| format!("the evaluation `{}`", dataset.display()))?;
    }
    Ok(evaluation)
}

fn open(repository: &str, evaluation: &Evaluation) -> anyhow::Result<Mine> {
    let (name, path) = match repository.split_once('=') {
        Some((name, path)) if !Path::new(repository).exists() => (Some(name), Path::new(path)),
        _ => (None, Path::new(repository)),
    };
    let name_of = |history: &History| {
        match name {
        Some(name) => Ok(name.to_owned()),
        None => repository_name(path, history.origin()).with_context(|| {
            format!(
                "`{}` does not tell the name of its repository\nhint: write `OWNER/NAME={repository}`",
                path.display()
            )
        }),
    }
    };
    Mine::open(path, name_of, evaluation)
}

fn render(report: &MineReport, style: Style) -> String {
    let total = report.total();
    let mut rows: Vec<(&str, &RepositoryCounts)> =
        report.repositories.iter().map(|(name, counts)| (name.as_str(), counts)).collect();
    if 1 < rows.len() {
        rows.push(("all", &total));
    }
    let kinds = [TextKind::Issue, TextKind::Message, TextKind::MessageAndTest];
    let kinds: Vec<TextKind> = kinds.into_iter().filter(|k| total.kept.contains_key(k)).collect();
    let mut head = vec!["repository", "commits", "kept", "train", "holdout"];
    head.extend(kinds.iter().map(|kind| kind.name()));
    let mut table = Table::new(&head);
    for (name, counts) in &rows {
        let mut row = vec![
            (*name).to_owned(),
            counts.commits.to_string(),
            counts.n_kept().to_string(),
            counts.n_of(Split::Train).to_string(),
            counts.n_of(Split::Holdout).to_string(),
        ];
        let of_kind = |kind| counts.kept.get(kind).copied().unwrap_or_default().to_string();
        row.extend(kinds.iter().map(of_kind));
        table.push(row);
    }
    let reasons: Vec<DropReason> = total.dropped.keys().copied().collect();
    let mut head = vec!["dropped because"];
    head.extend(rows.iter().map(|(name, _)| *name));
    let mut dropped = Table::new(&head);
    for reason in reasons {
        let of_repo = |(_, counts): &(&str, &RepositoryCounts)| {
            counts.dropped.get(&reason).copied().unwrap_or_default().to_string()
        };
        let mut row = vec![reason.name().to_owned()];
        row.extend(rows.iter().map(of_repo));
        dropped.push(row);
    }
    format!(
        "{}\n{}\nfiles of evaluations that no base tree holds: {}\n",
        table.render(style),
        dropped.render(style),
        report.evaluation_files
    )
}
