//! One instance on the page: how it went, the files it looked at, its calls and its patches.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::prompt::{Message, Role};
use crate::report::page::Run;
use crate::report::page::content::clean;
use crate::run::instance_row::{InstanceRow, StageRow, TRUE_INPUTS};
use crate::run::record_row::RecordRow;
use crate::run::row::{CallOutcome, CandidateRow, TrajectoryRow};
use crate::run::verdict_row::{TestOutcome, VerdictRow};

#[derive(Serialize)]
pub(super) struct Instance {
    id: String,
    pub(super) repo: String,
    pub(super) lost: &'static str,
    state: String,
    class: &'static str,
    /// Divided by `|`, for the filter.
    pub(super) reasons: String,
    verdict: String,
    /// What the record's tests say; empty where they were not run.
    tests: String,
    figures: Vec<Vec<String>>,
    tree: Vec<TreeFile>,
    issue: String,
    calls: Vec<Call>,
    patch: Vec<DiffLine>,
    gold: Vec<DiffLine>,
}

#[derive(Serialize)]
struct TreeFile {
    path: String,
    mark: &'static str,
    class: &'static str,
}

#[derive(Serialize)]
struct Call {
    name: String,
    outcome: String,
    class: &'static str,
    prompt: Vec<PageMessage>,
    completion: String,
}

#[derive(Serialize)]
struct PageMessage {
    role: &'static str,
    content: String,
}

#[derive(Serialize)]
struct DiffLine {
    class: &'static str,
    text: String,
}

/// What the tests say of a prediction, in words.
fn words_of_tests(row: &VerdictRow) -> String {
    let (mended, kept) = (row.fail_to_pass, row.pass_to_pass);
    let counts = match mended.expected {
        // The harness tells no counts.
        0 => String::new(),
        _ => format!(
            " ({} of {} tests mended, {} of {} kept)",
            mended.passed, mended.expected, kept.passed, kept.expected
        ),
    };
    let words = match row.outcome {
        TestOutcome::Resolved => "resolved".to_owned(),
        TestOutcome::NotResolved => format!("not resolved: {}", row.reason),
        TestOutcome::Unverifiable => format!("unverifiable: {}", row.reason),
    };
    let failing = match row.failing.as_slice() {
        [] => String::new(),
        names => format!("; failing: {}", names.join(", ")),
    };
    format!("Tests: {words}{counts}{failing}")
}

pub(super) fn instances(run: &Run<'_>) -> Vec<Instance> {
    let record = run.record;
    let mut ids: BTreeSet<&str> = BTreeSet::new();
    ids.extend(record.trajectory.iter().map(|row| row.instance.as_str()));
    ids.extend(record.predictions.iter().map(|row| row.instance_id.as_str()));
    let rows: BTreeMap<&str, &InstanceRow> =
        run.instances.iter().map(|row| (row.instance.as_str(), row)).collect();
    let records: BTreeMap<&str, &RecordRow> =
        run.records.iter().map(|row| (row.instance.as_str(), row)).collect();
    let tests: BTreeMap<&str, &VerdictRow> =
        run.verdicts.iter().map(|row| (row.instance.as_str(), row)).collect();
    let mut calls: BTreeMap<&str, Vec<&TrajectoryRow>> = BTreeMap::new();
    for row in &record.trajectory {
        calls.entry(&row.instance).or_default().push(row);
    }
    let patches: BTreeMap<&str, &str> = record
        .predictions
        .iter()
        .map(|row| (row.instance_id.as_str(), row.model_patch.as_str()))
        .collect();
    let mut best: BTreeMap<&str, &CandidateRow> = BTreeMap::new();
    for row in &record.candidates {
        best.entry(&row.instance).or_insert(row);
    }
    ids.into_iter()
        .map(|id| {
            let row = rows.get(id).copied();
            let verdict = row.map(|row| row.verdict.as_str());
            let verdict = verdict.or_else(|| best.get(id).map(|row| row.verdict.as_str()));
            let known = records.get(id).copied();
            let calls = calls.get(id).map(Vec::as_slice).unwrap_or_default();
            let gold = known.map(|record| record.gold_patch.as_str()).unwrap_or_default();
            let lost = row.map_or("", lost_at);
            let resolved = tests.get(id).and_then(|row| row.resolved());
            let is_good = resolved.unwrap_or(row.is_some() && lost.is_empty());
            Instance {
                id: clean(id),
                repo: clean(known.map(|record| record.repo.as_str()).unwrap_or_default()),
                lost,
                state: state_words(row, lost, tests.get(id).copied()),
                class: if is_good { "good" } else { "bad" },
                reasons: reasons(calls),
                verdict: clean(verdict.unwrap_or_default()),
                tests: tests.get(id).map(|row| clean(&words_of_tests(row))).unwrap_or_default(),
                figures: row.map(figures).unwrap_or_default(),
                tree: tree(calls, gold),
                issue: clean(known.map(|record| record.issue.as_str()).unwrap_or_default()),
                calls: calls.iter().map(|row| call(row)).collect(),
                patch: diff_lines(patches.get(id).copied().unwrap_or_default()),
                gold: diff_lines(gold),
            }
        })
        .collect()
}

/// The first stage whose answer holds nothing of the gold patch; empty where none is lost.
fn lost_at(row: &InstanceRow) -> &'static str {
    let missed = row.stages.iter().find(|(_, stage)| stage.items.counts.hits == 0);
    match missed {
        Some((stage, _)) => stage,
        None if !row.applied => "not applied",
        None if row.resolved == Some(false) => "not resolved",
        None => "",
    }
}

fn state_words(row: Option<&InstanceRow>, lost: &str, tests: Option<&VerdictRow>) -> String {
    match (row, lost, tests.map(|row| row.outcome)) {
        (_, _, Some(TestOutcome::Resolved)) => return "resolved".to_owned(),
        (None, _, Some(TestOutcome::NotResolved)) => return "not resolved".to_owned(),
        (None, _, Some(TestOutcome::Unverifiable)) => return "unverifiable".to_owned(),
        _ => {}
    }
    match (row, lost) {
        (None, _) => "not evaluated".to_owned(),
        (Some(_), "") => "hit at every stage".to_owned(),
        (Some(_), "not applied" | "not resolved") => lost.to_owned(),
        (Some(_), lost) => format!("lost at {lost}"),
    }
}

fn figures(row: &InstanceRow) -> Vec<Vec<String>> {
    let stage = |(name, stage): (&'static str, &StageRow)| {
        let counts = stage.items.counts;
        let numbers = [counts.hits, counts.answered, counts.expected, stage.in_view];
        let mut cells = vec![name.to_owned()];
        cells.extend(numbers.map(|number| number.to_string()));
        cells.push(clean(stage.rejection.as_deref().unwrap_or_default()));
        cells
    };
    row.stages.iter().map(stage).collect()
}

fn reasons(calls: &[&TrajectoryRow]) -> String {
    let found: BTreeSet<String> = calls
        .iter()
        .filter_map(|row| match &row.outcome {
            CallOutcome::Rejected { reason, .. } => Some(clean(reason).replace('|', "/")),
            CallOutcome::Answer(_) => None,
        })
        .collect();
    found.into_iter().collect::<Vec<_>>().join("|")
}

/// The files that the file stage answered and those of the gold patch, in path order.
fn tree(calls: &[&TrajectoryRow], gold: &str) -> Vec<TreeFile> {
    let answered = calls.iter().find(|row| row.stage == "file" && row.sample == 0);
    let answered: BTreeSet<String> = answered
        .and_then(|row| match &row.outcome {
            CallOutcome::Answer(items) => serde_json::from_value(items.clone()).ok(),
            CallOutcome::Rejected { .. } => None,
        })
        .unwrap_or_default();
    let headers = gold.lines().filter_map(|line| line.strip_prefix("--- a/"));
    let gold: BTreeSet<String> = headers.map(ToOwned::to_owned).collect();
    answered
        .union(&gold)
        .map(|path| {
            let (mark, class) = match (answered.contains(path), gold.contains(path)) {
                (true, true) => ("● predicted and gold", "good"),
                (true, false) => ("○ predicted", "soft"),
                _ => ("✕ gold, missed", "bad"),
            };
            TreeFile { path: clean(path), mark, class }
        })
        .collect()
}

fn call(row: &TrajectoryRow) -> Call {
    let (outcome, class) = match &row.outcome {
        CallOutcome::Answer(items) => {
            let n = items.as_array().map_or(0, Vec::len);
            (format!("answered {n} {}", if n == 1 { "item" } else { "items" }), "good")
        }
        CallOutcome::Rejected { detail, .. } => (clean(detail), "bad"),
    };
    let name = match row.sample {
        0 => clean(&row.stage),
        TRUE_INPUTS.. => format!("{}, true inputs", clean(&row.stage)),
        sample => format!("{}, sample {sample}", clean(&row.stage)),
    };
    let messages = row.prompt.iter().flat_map(|prompt| &prompt.messages);
    let message = |message: &Message| PageMessage {
        role: match message.role {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
        },
        content: clean(&message.content),
    };
    Call {
        name,
        outcome,
        class,
        prompt: messages.map(message).collect(),
        completion: clean(&row.completion),
    }
}

fn diff_lines(patch: &str) -> Vec<DiffLine> {
    let class = |line: &str| match line.as_bytes().first() {
        Some(b'+') if !line.starts_with("+++") => "add",
        Some(b'-') if !line.starts_with("---") => "del",
        Some(b'@' | b'd' | b'i' | b'+' | b'-') => "hunk",
        _ => "same",
    };
    patch.lines().map(|line| DiffLine { class: class(line), text: clean(line) }).collect()
}
