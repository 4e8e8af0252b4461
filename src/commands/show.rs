//! `sorft show`: what a run found, considered and decided.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use clap::Args;
use serde_json::{Value, json};

use crate::commands::Outcome;
use crate::commands::hand_over::{render_places, write_patch};
use crate::commands::output::{Format, escape_controls, write_json, write_stdout};
use crate::commands::run_record::{candidate, find_run, is_accepted};
use crate::config::folder::Folders;
use crate::model::Usage;
use crate::pipeline::places::Places;
use crate::run::directory::RunRecord;
use crate::run::row::{CallOutcome, RunInfo};

/// Show what a run found: places, candidates with votes, verdicts and patches, and the tokens used
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sorft show last
  sorft show last 2 | git apply          the patch of candidate 2
  sorft show ./run --format json")]
pub struct ShowArgs {
    /// A run's folder, its name among your runs, or `last`
    pub run: String,
    /// Print the patch of this candidate alone, counted from 1, the best first
    #[arg(value_name = "K")]
    pub candidate: Option<u32>,
    /// Form of the result
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// Runs `sorft show`.
pub fn show(args: &ShowArgs) -> anyhow::Result<Outcome> {
    let path = find_run(&args.run, &Folders::find()?)?;
    let record = RunRecord::read(&path)?;
    match (args.candidate, args.format) {
        (Some(rank), Format::Text) => write_patch(&candidate(&record, rank)?.patch_bytes())?,
        (Some(rank), Format::Json) => write_json(candidate(&record, rank)?)?,
        (None, Format::Json) => write_json(&report(&path, &record))?,
        (None, Format::Text) => write_stdout(&escape_controls(&render_record(&path, &record)))?,
    }
    Ok(Outcome::Done)
}

/// How many completions a stage had, and how many of them were no use.
#[derive(Debug, Clone, Copy, Default, serde::Serialize)]
struct CallCount {
    n: usize,
    n_unusable: usize,
}

fn count_calls(record: &RunRecord) -> BTreeMap<&str, CallCount> {
    let mut counts: BTreeMap<&str, CallCount> = BTreeMap::new();
    for row in &record.trajectory {
        let count = counts.entry(&row.stage).or_default();
        count.n += 1;
        count.n_unusable += usize::from(matches!(row.outcome, CallOutcome::Rejected { .. }));
    }
    counts
}

/// The tokens of all recorded completions.
fn count_tokens(record: &RunRecord) -> Usage {
    let usages = record.trajectory.iter();
    let usages = usages.filter_map(|row| serde_json::from_value::<Usage>(row.usage.clone()).ok());
    usages.fold(Usage::default(), |total, usage| Usage {
        prompt_tokens: total.prompt_tokens + usage.prompt_tokens,
        // A record does not tell what was computed before.
        cached_tokens: 0,
        completion_tokens: total.completion_tokens + usage.completion_tokens,
        forced_tokens: total.forced_tokens + usage.forced_tokens,
        is_estimated: total.is_estimated | usage.is_estimated,
    })
}

fn metric<'a>(record: &'a RunRecord, name: &str) -> Option<&'a Value> {
    record.metrics.as_ref()?.get(name)
}

fn report(path: &Path, record: &RunRecord) -> Value {
    let RunInfo { program, command, model, seed, repository, settings, .. } = &record.info;
    json!({
        "version": 1,
        "run": path.display().to_string(),
        "program": program,
        "command": command,
        "model": model,
        "seed": seed,
        "repository": repository,
        "settings": settings,
        "finished": record.metrics.is_some(),
        "accepted": is_accepted(record),
        "verified": metric(record, "verified"),
        "verdict": metric(record, "verdict"),
        "places": metric(record, "places"),
        "reproduction": metric(record, "reproduction"),
        "candidates": record.candidates,
        "calls": count_calls(record),
        "usage": count_tokens(record),
    })
}

fn render_record(path: &Path, record: &RunRecord) -> String {
    let RunInfo { program, command, model, seed, repository, .. } = &record.info;
    let mut lines = vec![("run", path.display().to_string())];
    lines.push(("command", format!("{command} ({program}, {model}, seed {seed})")));
    if let Some(repository) = repository {
        let at = match (&repository.revision, &repository.commit) {
            (Some(revision), Some(commit)) => format!(" at {revision} ({})", short(commit)),
            (None, Some(commit)) => format!(" (files on disk, on {})", short(commit)),
            _ => String::new(),
        };
        lines.push(("repository", format!("{}{at}", repository.path.display())));
    }
    let calls = ["file", "function", "line", "edit", "reproduce"];
    let counts = count_calls(record);
    let calls = calls.iter().filter_map(|stage| Some((stage, counts.get(stage)?)));
    let calls = calls.map(|(stage, CallCount { n, n_unusable })| match n_unusable {
        0 => format!("{stage} {n}"),
        _ => format!("{stage} {n} ({n_unusable} unusable)"),
    });
    lines.push(("answers", calls.collect::<Vec<_>>().join(", ")));
    let usage = count_tokens(record);
    lines.push((
        "tokens",
        format!(
            "{} of prompts, {} of answers ({} of them forced)",
            usage.prompt_tokens, usage.completion_tokens, usage.forced_tokens
        ),
    ));
    let places = metric(record, "places");
    let places = places.and_then(|places| serde_json::from_value::<Places>(places.clone()).ok());
    if let Some(places) = places {
        lines.push(("places", render_places(&places)));
    }
    let test = metric(record, "reproduction").map(|found| &found["chosen"]);
    if let Some(test) = test {
        let field = |name: &str| test[name].as_str().unwrap_or_default();
        let words = match test.is_null() {
            true => "no test that the model wrote fails as the issue says".to_owned(),
            false => format!("{} failed with {}", field("path"), field("fails_with")),
        };
        lines.push(("reproduced", words));
    }
    let verdict = metric(record, "verdict").and_then(Value::as_str);
    let verdict = match (&record.metrics, verdict) {
        (None, _) => format!(
            "not finished; the same command with `--run-dir {}` goes on from here",
            path.display()
        ),
        (Some(_), Some(verdict)) => verdict.to_owned(),
        (Some(_), None) => "finished".to_owned(),
    };
    lines.push(("verdict", verdict));
    let mut text = String::new();
    for (topic, words) in lines {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{topic:<10}  {words}");
    }
    for row in &record.candidates {
        let votes =
            if row.votes == 1 { "1 vote".to_owned() } else { format!("{} votes", row.votes) };
        let _ = writeln!(
            text,
            "\ncandidate {} (sample {}, {votes}): {}",
            row.rank, row.sample, row.verdict
        );
        text += &row.patch;
    }
    text
}

fn short(commit: &str) -> &str {
    commit.get(..10).unwrap_or(commit)
}
