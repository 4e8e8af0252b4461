//! The run directory of an evaluation: that of a run, a row for each instance, and one for what
//! its tests say.

use std::path::Path;
use std::sync::OnceLock;

use anyhow::Context as _;
use serde::Serialize;

use crate::run::directory::{RunDir, write_whole};
use crate::run::instance_row::InstanceRow;
use crate::run::line_log::{Durability, LineLog, read_rows};
use crate::run::oracle_row::OracleRow;
use crate::run::record_row::RecordRow;
use crate::run::row::RunInfo;
use crate::run::verdict_row::{VerdictRow, enter_verdicts};

const INSTANCES_FILE: &str = "instances.jsonl";
const RECORDS_FILE: &str = "records.jsonl";
const VERDICTS_FILE: &str = "verdicts.jsonl";

/// A run directory with `instances.jsonl`.
#[derive(Debug)]
pub struct EvalDir {
    run: RunDir,
    instances: LineLog,
    /// Made with the first verdict: most evaluations have none.
    verdicts: OnceLock<LineLog>,
}

impl EvalDir {
    /// Creates the folder, or resumes the evaluation in it if that was asked to do the same.
    pub fn open(path: &Path, info: &RunInfo) -> anyhow::Result<Self> {
        let run = RunDir::open(path, info)?;
        let instances = LineLog::open(path.join(INSTANCES_FILE), Durability::Synced)?;
        let dir = Self { run, instances, verdicts: OnceLock::new() };
        if path.join(VERDICTS_FILE).exists() {
            dir.verdict_log()?;
        }
        Ok(dir)
    }

    pub fn run(&self) -> &RunDir {
        &self.run
    }

    /// Writes what is evaluated, in order of the instances.
    pub fn write_records(&self, records: &[RecordRow]) -> anyhow::Result<()> {
        let mut records: Vec<&RecordRow> = records.iter().collect();
        records.sort_by(|a, b| a.instance.cmp(&b.instance));
        let mut lines = Vec::new();
        for record in records {
            serde_json::to_writer(&mut lines, record)?;
            lines.push(b'\n');
        }
        write_whole(&self.run.path().join(RECORDS_FILE), &lines)
    }

    /// Appends what an instance counts; it must come before the instance's prediction, which says
    /// that the instance is finished.
    pub fn append_instance(&self, row: &impl Serialize) -> anyhow::Result<()> {
        self.instances.append(row)
    }

    /// Appends what the tests say of an instance's prediction.
    pub fn append_verdict(&self, row: &VerdictRow) -> anyhow::Result<()> {
        self.verdict_log()?.append(row)
    }

    /// What the tests said so far.
    pub fn verdicts(&self) -> anyhow::Result<Vec<VerdictRow>> {
        self.verdicts.get().map_or_else(|| Ok(Vec::new()), |log| log.read(|_| true))
    }

    fn verdict_log(&self) -> anyhow::Result<&LineLog> {
        if self.verdicts.get().is_none() {
            let path = self.run.path().join(VERDICTS_FILE);
            let log = LineLog::open(path, Durability::Synced)?;
            // Another thread may have been faster; its handle serves.
            drop(self.verdicts.set(log));
        }
        self.verdicts.get().context("the log of verdicts was just opened")
    }

    /// Puts the rows in order.
    pub fn sort(&self) -> anyhow::Result<()> {
        self.instances.sort()?;
        self.verdicts.get().map_or(Ok(()), LineLog::sort)
    }

    /// All rows, each instance once, in the file's order, with what the tests say of them.
    pub fn instances(&self) -> anyhow::Result<Vec<InstanceRow>> {
        let mut rows = self.instances.read(|_| true)?;
        enter_verdicts(&mut rows, &self.verdicts()?);
        Ok(rows)
    }

    /// Ends the evaluation: puts all rows in order and writes `metrics.json`.
    pub fn finish(&self, metrics: &impl Serialize) -> anyhow::Result<()> {
        self.sort()?;
        self.run.finish(metrics)
    }
}

/// The rows of an evaluation that another process may be writing, with what the tests say of them.
pub fn read_instances(path: &Path) -> anyhow::Result<Vec<InstanceRow>> {
    let mut rows = read_rows(&path.join(INSTANCES_FILE))?;
    enter_verdicts(&mut rows, &read_verdicts(path)?);
    Ok(rows)
}

/// The rows of an oracle's folder, each instance once, in the file's order.
pub fn read_oracle_rows(path: &Path) -> anyhow::Result<Vec<OracleRow>> {
    read_rows(&path.join(INSTANCES_FILE))
}

/// What the tests say of an evaluation's predictions; nothing where they were not run.
pub fn read_verdicts(path: &Path) -> anyhow::Result<Vec<VerdictRow>> {
    read_rows(&path.join(VERDICTS_FILE))
}

/// What is evaluated, as [`EvalDir::write_records`] was given it; nothing where it was not.
pub fn read_records(path: &Path) -> anyhow::Result<Vec<RecordRow>> {
    read_rows(&path.join(RECORDS_FILE))
}
