//! `sorft triage`: where an issue or a failing log points, and whether the staged change goes there.

mod known_issue;
mod render;
mod with_model;

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use clap::{Args, ValueEnum};
use serde_json::json;

use crate::commands::Outcome;
use crate::commands::engine::EngineArgs;
use crate::commands::interrupt::run_until_interrupted;
use crate::commands::issue::IssueArgs;
use crate::commands::output::{escape_controls, note, write_json, write_stdout};
use crate::commands::repository::RepositoryArgs;
use crate::commands::settings::{Surroundings, flags_of};
use crate::commands::triage::known_issue::find_issue;
use crate::commands::triage::render::{render_comparison, render_findings};
use crate::commands::triage::with_model::ask_model;
use crate::commands::work::SampleArgs;
use crate::index::Index;
use crate::repo::staged::{StagedFile, read_staged};
use crate::triage::Findings;
use crate::triage::annotations::{MOST_OF_A_KIND, command, render_annotations};
use crate::triage::change::{Comparison, changes_of};
use crate::triage::issue::find_in_issue;
use crate::triage::log::Log;
use crate::triage::log::findings::find_in_log;
use crate::triage::sarif::render_sarif;

/// Find where an issue or a failing log points, in a second and without a model
///
/// With `--staged`, tells whether the change that is about to be committed goes there; a commit
/// for which no issue is known passes without a word.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sorft triage --issue bug.md
  pytest 2>&1 | sorft triage --log -
  sorft triage --staged --issue me/project#12
  sorft triage --staged --strict --commit-msg .git/COMMIT_EDITMSG
  sorft triage --log build.log --format sarif > triage.sarif")]
pub struct TriageArgs {
    #[command(flatten)]
    pub repository: RepositoryArgs,
    #[command(flatten)]
    pub issue: IssueArgs,
    /// A failing test or build log, of any size; `-` for standard input
    #[arg(long, value_name = "FILE|-", help_heading = "Issue", conflicts_with_all = ["issue", "issue_text"])]
    pub log: Option<PathBuf>,
    /// Compare what is staged for the next commit with where the issue or the log points
    #[arg(long, conflicts_with = "at", help_heading = "Change")]
    pub staged: bool,
    /// The commit message, whose reference (`#12`) names the issue that `issue_command` prints
    #[arg(long, value_name = "FILE", requires = "staged", help_heading = "Change")]
    pub commit_msg: Option<PathBuf>,
    /// End with exit code 1 where the change goes elsewhere
    #[arg(long, requires = "staged", help_heading = "Change")]
    pub strict: bool,
    /// Agreement below which a change goes elsewhere, from 0 to 1 [default: 0.25]
    #[arg(long, value_name = "SHARE", requires = "staged", help_heading = "Change")]
    pub threshold: Option<f64>,
    #[command(flatten)]
    pub engine: EngineArgs,
    /// So many places of each kind
    #[arg(long, value_name = "N", default_value_t = 5, help_heading = "Result")]
    pub top: usize,
    /// Form of the result
    #[arg(long, value_enum, default_value_t, help_heading = "Result")]
    pub format: TriageFormat,
}

/// The form of the result on stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum TriageFormat {
    /// For people
    #[default]
    Text,
    /// Places, reasons and the comparison
    Json,
    /// SARIF 2.1.0, for code hosts and editors
    Sarif,
    /// GitHub's annotations, for its workflows
    Github,
}

/// Runs `sorft triage`.
pub fn triage(args: &TriageArgs, quiet: bool) -> anyhow::Result<Outcome> {
    let threshold = args.threshold.map(|share| share.to_string());
    let flags = flags_of(&args.engine, &SampleArgs::default()).set("triage_threshold", threshold);
    let surroundings = Surroundings::read(Some(&args.repository.repo), &flags)?;
    if !quiet {
        surroundings.resolved.notes.iter().for_each(|text| note(text));
    }
    let staged = if args.staged { Some(read_staged(&args.repository.repo)?) } else { None };
    if staged.as_ref().is_some_and(Vec::is_empty) {
        return Ok(Outcome::Done);
    }
    let Some(hint) = hint_of(args, &surroundings)? else { return Ok(Outcome::Done) };
    let index = index_of(args, &surroundings)?;
    let mut findings = match &hint {
        Hint::Issue(text) => find_in_issue(&index, text),
        Hint::Log(log) => find_in_log(&index, log),
    };
    if args.engine.model.is_some() || !args.engine.endpoint.is_empty() {
        ask_model(args, &surroundings, (&index, hint.text()), &mut findings, quiet)?;
    }
    let changed = staged.map(|staged| compare(&index, &findings, &staged));
    findings.truncate(args.top);
    let threshold = surroundings.config().triage_threshold;
    show(args, &findings, changed.as_ref(), threshold)?;
    Ok(match changed {
        Some(Some(comparison)) if args.strict && comparison.agreement < threshold => {
            Outcome::Missed
        }
        None if findings.is_empty() => Outcome::Missed,
        _ => Outcome::Done,
    })
}

/// What points somewhere.
enum Hint {
    Issue(String),
    Log(Log),
}

impl Hint {
    /// As an issue for a model.
    fn text(&self) -> String {
        match self {
            Self::Issue(text) => text.clone(),
            Self::Log(log) => {
                let failures = log.failures.iter().flat_map(|failure| {
                    [&failure.title].into_iter().chain(&failure.messages).chain(&failure.code)
                });
                let lines: Vec<&str> = failures.map(String::as_str).collect();
                if lines.is_empty() { log.tail.join("\n") } else { lines.join("\n") }
            }
        }
    }
}

/// The issue or the log; `None` where a change has neither.
fn hint_of(args: &TriageArgs, surroundings: &Surroundings) -> anyhow::Result<Option<Hint>> {
    if let Some(path) = &args.log {
        return read_log(path).map(|log| Some(Hint::Log(log)));
    }
    ensure!(
        args.issue.is_given() || args.staged,
        "neither an issue nor a log: `--issue FILE|-|URL|OWNER/REPO#N`, `--issue-text TEXT` or `--log FILE|-` was wanted\n\
         hint: a failing test run will do: `pytest 2>&1 | sorft triage --log -`"
    );
    if args.issue.is_given() {
        let issue = run_until_interrupted(
            args.issue.read(&surroundings.environment, surroundings.config().offline),
        )?;
        return Ok(Some(Hint::Issue(issue)));
    }
    let found = find_issue(&args.repository.repo, args.commit_msg.as_deref(), surroundings)?;
    Ok(found.map(Hint::Issue))
}

fn read_log(path: &std::path::Path) -> anyhow::Result<Log> {
    let log = if path.as_os_str() == "-" {
        Log::read(std::io::stdin().lock())
    } else {
        let file =
            File::open(path).with_context(|| format!("opening the log `{}`", path.display()))?;
        ensure!(
            !file.metadata().is_ok_and(|facts| facts.is_dir()),
            "the log `{}` is a folder; a file was wanted",
            path.display()
        );
        Log::read(BufReader::with_capacity(1 << 20, file))
    };
    let log = log.with_context(|| format!("reading the log `{}`", path.display()))?;
    if log.n_bytes == 0 {
        bail!("the log is empty: the output of failing tests or of a failing build was wanted");
    }
    Ok(log)
}

/// The index of what the change is made to, or of the files as they stand.
fn index_of(args: &TriageArgs, surroundings: &Surroundings) -> anyhow::Result<Arc<Index>> {
    let mut repository = args.repository.clone();
    if args.staged {
        repository.at = Some("HEAD".to_owned());
    }
    repository.index(surroundings, args.issue.file())
}

fn compare(index: &Index, findings: &Findings, staged: &[StagedFile]) -> Option<Comparison> {
    Comparison::new(index, findings, &changes_of(staged))
}

fn show(
    args: &TriageArgs,
    findings: &Findings,
    changed: Option<&Option<Comparison>>,
    threshold: f64,
) -> anyhow::Result<()> {
    let comparison = changed.and_then(Option::as_ref);
    match args.format {
        TriageFormat::Text => {
            let mut text = match comparison {
                Some(comparison) => render_comparison(comparison, threshold),
                None if changed.is_some() => {
                    "the staged change is in no source file that was there before\n".to_owned()
                }
                None => String::new(),
            };
            // A change that agrees needs no list of places.
            if comparison.is_none_or(|comparison| comparison.agreement < threshold) {
                text += &render_findings(findings);
            }
            write_stdout(&escape_controls(&text))
        }
        TriageFormat::Json => write_json(&json!({
            "version": 1,
            "places": findings,
            "change": comparison,
            "threshold": changed.map(|_| threshold),
            "agrees": comparison.map(|comparison| threshold <= comparison.agreement),
        })),
        TriageFormat::Sarif => write_json(&render_sarif(findings, comparison)),
        TriageFormat::Github => {
            let mut text = render_annotations(findings);
            let missing = comparison.iter().flat_map(|comparison| &comparison.missing);
            for path in missing.take(MOST_OF_A_KIND) {
                let message = "the issue points here, and the change does not go here";
                text += &command("warning", path.as_str(), 1, "not changed", message);
            }
            write_stdout(&text)
        }
    }
}
