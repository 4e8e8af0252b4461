//! What the page shows, as plain values for its template.

mod chart;
mod instance;

use std::collections::BTreeSet;

use serde::Serialize;

use crate::report::evaluation::EvalReport;
use crate::report::failure::Failure;
use crate::report::page::Run;
use crate::report::page::content::chart::{Chart, charts};
use crate::report::page::content::instance::{Instance, instances};
use crate::report::table::Table;
use crate::report::tables::{DEFINITIONS, TESTS, named_tables};
use crate::report::verification::{TEST_DEFINITIONS, Verification};

#[derive(Serialize)]
pub(super) struct Page {
    title: String,
    subtitle: String,
    charts: Vec<Chart>,
    tables: Vec<PageTable>,
    definitions: String,
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

impl Page {
    pub(super) fn new(run: &Run<'_>) -> Self {
        let info = &run.record.info;
        let metrics = run.record.metrics.as_ref();
        let failed = metrics.and_then(|metrics| metrics.get("failed")).cloned();
        let failed: Vec<Failure> =
            failed.and_then(|failed| serde_json::from_value(failed).ok()).unwrap_or_default();
        let report = (!run.instances.is_empty()).then(|| {
            let report = EvalReport::new(&info.model, run.instances, None, failed.clone());
            EvalReport { verification: verification(run), ..report }
        });
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
            tables: match &report {
                Some(report) => page_tables(named_tables(report)),
                None => {
                    let tests = verification(run);
                    page_tables(tests.iter().map(|tests| (TESTS, tests.table())).collect())
                }
            },
            definitions: report.as_ref().map_or_else(String::new, |report| {
                let tests = report.verification.as_ref().map_or("", |_| TEST_DEFINITIONS);
                format!("{DEFINITIONS}{tests}")
            }),
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

/// What the tests say, with the reasons that the run's metrics give where they could not be run.
fn verification(run: &Run<'_>) -> Option<Verification> {
    let known = run.record.metrics.as_ref().and_then(|metrics| {
        serde_json::from_value(metrics.get("verification")?.get("not_run")?.clone()).ok()
    });
    let not_run: Vec<Failure> = known.unwrap_or_default();
    let mut instances: Vec<(&str, &str)> =
        run.instances.iter().map(|row| (row.instance.as_str(), row.repo.as_str())).collect();
    if instances.is_empty() {
        // Predictions of others, which were verified and nothing else.
        let records = run.records.iter();
        instances = records.map(|row| (row.instance.as_str(), row.repo.as_str())).collect();
    }
    (!run.verdicts.is_empty() || !not_run.is_empty())
        .then(|| Verification::new(&instances, run.verdicts, &not_run))
}

fn page_tables(tables: Vec<(&'static str, Table)>) -> Vec<PageTable> {
    tables
        .into_iter()
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

/// Text with its control characters, and those that turn its direction, made visible.
pub(super) fn clean(text: &str) -> String {
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
