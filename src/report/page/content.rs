//! What the page shows, as plain values for its template.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::prompt::{Message, Role};
use crate::report::evaluation::{EvalReport, NamedFigures};
use crate::report::failure::Failure;
use crate::report::page::Run;
use crate::report::tables::{DEFINITIONS, named_tables};
use crate::run::instance_row::{InstanceRow, StageRow, TRUE_INPUTS};
use crate::run::record_row::RecordRow;
use crate::run::row::{CallOutcome, CandidateRow, TrajectoryRow};

#[derive(Serialize)]
pub(super) struct Page {
    title: String,
    subtitle: String,
    charts: Vec<Chart>,
    tables: Vec<PageTable>,
    definitions: &'static str,
    failed: Vec<Failure>,
    repos: BTreeSet<String>,
    losts: BTreeSet<&'static str>,
    reasons: BTreeSet<String>,
    instances: Vec<Instance>,
}

#[derive(Serialize)]
struct PageTable {
    title: &'static str,
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

#[derive(Serialize)]
struct Chart {
    title: String,
    label: String,
    height: usize,
    bars: Vec<Bar>,
}

/// A horizontal bar, in the units of the drawing.
#[derive(Serialize)]
struct Bar {
    name: String,
    class: &'static str,
    y: usize,
    text_y: usize,
    middle: usize,
    width: f64,
    whisker: bool,
    low: f64,
    high: f64,
    value_x: f64,
    value: String,
}

#[derive(Serialize)]
struct Instance {
    id: String,
    repo: String,
    lost: &'static str,
    state: String,
    class: &'static str,
    /// Divided by `|`, for the filter.
    reasons: String,
    verdict: String,
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

impl Page {
    pub(super) fn new(run: &Run<'_>) -> Self {
        let info = &run.record.info;
        let metrics = run.record.metrics.as_ref();
        let failed = metrics.and_then(|metrics| metrics.get("failed")).cloned();
        let failed: Vec<Failure> =
            failed.and_then(|failed| serde_json::from_value(failed).ok()).unwrap_or_default();
        let report = (!run.instances.is_empty())
            .then(|| EvalReport::new(&info.model, run.instances, None, failed.clone()));
        let instances = instances(run);
        let state = if metrics.is_some() { "finished" } else { "not finished" };
        Self {
            title: clean(&format!("sorft {}: {}", info.command, info.model)),
            subtitle: clean(&format!(
                "{} · seed {} · {} instances · {state}",
                info.program,
                info.seed,
                instances.len()
            )),
            charts: report.iter().flat_map(charts).collect(),
            tables: report.iter().flat_map(page_tables).collect(),
            definitions: if report.is_some() { DEFINITIONS } else { "" },
            failed: failed
                .into_iter()
                .map(|one| Failure { instance: clean(&one.instance), reason: clean(&one.reason) })
                .collect(),
            repos: instances.iter().map(|one| one.repo.clone()).filter(|r| !r.is_empty()).collect(),
            losts: instances.iter().map(|one| one.lost).filter(|lost| !lost.is_empty()).collect(),
            reasons: instances
                .iter()
                .flat_map(|one| one.reasons.split('|').map(ToOwned::to_owned))
                .filter(|reason| !reason.is_empty())
                .collect(),
            instances,
        }
    }
}

fn page_tables(report: &EvalReport) -> Vec<PageTable> {
    let tables = named_tables(report).into_iter();
    tables
        .map(|(title, table)| PageTable {
            title,
            head: table.head.iter().map(|cell| clean(cell)).collect(),
            rows: table
                .rows
                .iter()
                .map(|row| row.iter().map(|cell| clean(cell)).collect())
                .collect(),
        })
        .collect()
}

/// The hits of each localization stage, beside those of the baselines; then the rejections.
fn charts(report: &EvalReport) -> Vec<Chart> {
    let mut charts = Vec::new();
    for (stage, title) in
        [("file", "File hits"), ("function", "Function hits"), ("line", "Line hits")]
    {
        let Some(rows) = report.all.stages.get(stage).filter(|rows| !rows.is_empty()) else {
            continue;
        };
        let bars = rows.iter().enumerate().map(|(at, row)| hit_bar(at, row));
        charts.push(chart(format!("{title}, percent with 95 % intervals"), bars.collect()));
    }
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    for (stage, counts) in report.all.rejections.iter() {
        for (reason, n) in counts {
            *reasons.entry(format!("{stage}: {reason}")).or_default() += n;
        }
    }
    let most = reasons.values().copied().max().unwrap_or(0).max(1);
    let bars = reasons.iter().enumerate().map(|(at, (reason, n))| {
        let share = *n as f64 / most as f64;
        Bar { value: n.to_string(), ..bar(at, &clean(reason), "bar", share) }
    });
    let bars: Vec<Bar> = bars.collect();
    if !bars.is_empty() {
        charts.push(chart("Rejected completions".to_owned(), bars));
    }
    charts
}

fn chart(title: String, bars: Vec<Bar>) -> Chart {
    let label = bars.iter().map(|bar| format!("{} {}", bar.name, bar.value));
    let label = format!("{title}: {}", label.collect::<Vec<_>>().join(", "));
    Chart { title, label, height: 22 * bars.len() + 8, bars }
}

const BAR_LEFT: f64 = 200.0;
const BAR_WIDTH: f64 = 320.0;

fn hit_bar(at: usize, row: &NamedFigures) -> Bar {
    let hit = row.figures.hit;
    let class = if row.name.starts_with("model") { "bar" } else { "bar2" };
    let (low, high) = (BAR_LEFT + BAR_WIDTH * hit.low, BAR_LEFT + BAR_WIDTH * hit.high);
    Bar {
        whisker: true,
        low,
        high,
        value_x: high.max(BAR_LEFT) + 8.0,
        value: format!("{:.1} (n = {})", 100.0 * hit.mean, row.figures.n),
        ..bar(at, &row.name, class, hit.mean)
    }
}

fn bar(at: usize, name: &str, class: &'static str, share: f64) -> Bar {
    let y = 22 * at + 4;
    let width = BAR_WIDTH * share;
    Bar {
        name: name.to_owned(),
        class,
        y,
        text_y: y + 12,
        middle: y + 7,
        width,
        whisker: false,
        low: 0.0,
        high: 0.0,
        value_x: BAR_LEFT + width + 8.0,
        value: String::new(),
    }
}

fn instances(run: &Run<'_>) -> Vec<Instance> {
    let record = run.record;
    let mut ids: BTreeSet<&str> = BTreeSet::new();
    ids.extend(record.trajectory.iter().map(|row| row.instance.as_str()));
    ids.extend(record.predictions.iter().map(|row| row.instance_id.as_str()));
    let rows: BTreeMap<&str, &InstanceRow> =
        run.instances.iter().map(|row| (row.instance.as_str(), row)).collect();
    let records: BTreeMap<&str, &RecordRow> =
        run.records.iter().map(|row| (row.instance.as_str(), row)).collect();
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
            let is_good = row.is_some() && lost.is_empty();
            Instance {
                id: clean(id),
                repo: clean(known.map(|record| record.repo.as_str()).unwrap_or_default()),
                lost,
                state: state_words(row, lost),
                class: if is_good { "good" } else { "bad" },
                reasons: reasons(calls),
                verdict: clean(verdict.unwrap_or_default()),
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

fn state_words(row: Option<&InstanceRow>, lost: &str) -> String {
    match (row, lost) {
        (None, _) => "not evaluated".to_owned(),
        (Some(row), "") if row.resolved == Some(true) => "resolved".to_owned(),
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

/// Text with its control characters, and those that turn its direction, made visible.
fn clean(text: &str) -> String {
    let mut cleaned = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => cleaned.push(c),
            // A Windows line end is no news to a reader.
            '\r' => {}
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => cleaned.extend(c.escape_unicode()),
            c if c.is_control() => cleaned.extend(c.escape_unicode()),
            c => cleaned.push(c),
        }
    }
    cleaned
}
