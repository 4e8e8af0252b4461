//! The run directory of an evaluation: that of a run, and a row for each instance.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::run::directory::{RunDir, write_whole};
use crate::run::line_log::{Durability, LineLog, read_rows};
use crate::run::record_row::RecordRow;
use crate::run::row::RunInfo;

const INSTANCES_FILE: &str = "instances.jsonl";
const RECORDS_FILE: &str = "records.jsonl";

/// A run directory with `instances.jsonl`.
#[derive(Debug)]
pub struct EvalDir {
    run: RunDir,
    instances: LineLog,
}

impl EvalDir {
    /// Creates the folder, or resumes the evaluation in it if that was asked to do the same.
    pub fn open(path: &Path, info: &RunInfo) -> anyhow::Result<Self> {
        let run = RunDir::open(path, info)?;
        let instances = LineLog::open(path.join(INSTANCES_FILE), Durability::Synced)?;
        Ok(Self { run, instances })
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

    /// Puts the rows in order.
    pub fn sort(&self) -> anyhow::Result<()> {
        self.instances.sort()
    }

    /// All rows, each instance once, in the file's order.
    pub fn instances<T: DeserializeOwned>(&self) -> anyhow::Result<Vec<T>> {
        self.instances.read(|_| true)
    }

    /// Ends the evaluation: puts all rows in order and writes `metrics.json`.
    pub fn finish(&self, metrics: &impl Serialize) -> anyhow::Result<()> {
        self.sort()?;
        self.run.finish(metrics)
    }
}

/// The rows of an evaluation that another process may be writing.
pub fn read_instances<T: DeserializeOwned>(path: &Path) -> anyhow::Result<Vec<T>> {
    read_rows(&path.join(INSTANCES_FILE))
}

/// What is evaluated, as [`EvalDir::write_records`] was given it; nothing where it was not.
pub fn read_records(path: &Path) -> anyhow::Result<Vec<RecordRow>> {
    read_rows(&path.join(RECORDS_FILE))
}
