//! The official harness of SWE-bench: predictions are handed to it, its report is read back.
//!
//! It needs Docker and the Python package `swebench`; both are asked for before it is started.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;
use tokio::process::Command;

use crate::run::RUN_VERSION;
use crate::run::verdict_row::{TestOutcome, TestsRow, VerdictRow};

/// What the harness calls itself in verdicts.
pub const HARNESS: &str = "docker";

/// How the harness is run.
#[derive(Debug, Clone)]
pub struct HarnessOptions {
    /// A Python in which the package is installed.
    pub python: PathBuf,
    /// The records, as JSON, JSON lines or Parquet, which the file's name must tell.
    pub dataset: PathBuf,
    /// In it the harness writes its logs and its report.
    pub folder: PathBuf,
    /// Inside that folder.
    pub predictions: PathBuf,
    pub instances: Vec<String>,
    /// Names the logs and the report; the same name resumes.
    pub run_id: String,
    pub jobs: usize,
    pub seconds: u64,
}

/// What the report of the harness says, as far as it is needed; version 2 of its format.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct HarnessReport {
    pub schema_version: u32,
    #[serde(default)]
    resolved_ids: BTreeSet<String>,
    #[serde(default)]
    unresolved_ids: BTreeSet<String>,
    #[serde(default)]
    empty_patch_ids: BTreeSet<String>,
    #[serde(default)]
    error_ids: BTreeSet<String>,
    /// Guesses of the harness why an instance failed that was no fault of the patch.
    #[serde(default)]
    failure_reasons: BTreeMap<String, String>,
}

impl HarnessReport {
    pub fn parse(json: &[u8]) -> anyhow::Result<Self> {
        let report: Self = serde_json::from_slice(json)
            .context("a report of `swebench.harness.run_evaluation` was wanted")?;
        ensure!(
            report.schema_version == 2,
            "its `schema_version` is {}, and 2 is what this program reads",
            report.schema_version
        );
        Ok(report)
    }

    /// The verdict on an instance; `Err` is why there is none.
    pub fn verdict(&self, instance: &str) -> Result<(TestOutcome, String), String> {
        let why = |words: &str| match self.failure_reasons.get(instance) {
            Some(reason) => format!("{words} ({reason})"),
            None => words.to_owned(),
        };
        if self.resolved_ids.contains(instance) {
            Ok((TestOutcome::Resolved, String::new()))
        } else if self.unresolved_ids.contains(instance) {
            Ok((TestOutcome::NotResolved, why("the harness says so")))
        } else if self.empty_patch_ids.contains(instance) {
            Ok((TestOutcome::NotResolved, "the prediction is empty".to_owned()))
        } else if self.error_ids.contains(instance) {
            Err(why("the harness could not run it; `logs/run_evaluation` says more"))
        } else {
            Err("the harness does not speak of it".to_owned())
        }
    }

    /// A row of `verdicts.jsonl`.
    pub fn row(&self, instance: &str, repo: &str, patch: String) -> Result<VerdictRow, String> {
        let (outcome, reason) = self.verdict(instance)?;
        Ok(VerdictRow {
            version: RUN_VERSION,
            instance: instance.to_owned(),
            repo: repo.to_owned(),
            outcome,
            reason,
            fail_to_pass: TestsRow::default(),
            pass_to_pass: TestsRow::default(),
            failing: Vec::new(),
            judge: HARNESS.to_owned(),
            patch,
            protection: HARNESS.to_owned(),
        })
    }
}

/// Runs the harness and reads its report. What it says goes to this process's stderr.
pub async fn run_harness(options: &HarnessOptions) -> anyhow::Result<HarnessReport> {
    let ending = options.dataset.extension().and_then(|ending| ending.to_str());
    ensure!(
        matches!(ending, Some("json" | "jsonl" | "parquet")),
        "the harness tells the format of a dataset by its name, and `{}` ends in none of `.json`, `.jsonl`, `.parquet`",
        options.dataset.display()
    );
    check_harness(&options.python).await?;
    let absolute =
        |path: &Path| path.canonicalize().with_context(|| format!("finding `{}`", path.display()));
    let folder = absolute(&options.folder)?;
    let mut command = Command::new(&options.python);
    command
        .args(["-m", "swebench.harness.run_evaluation", "--dataset_name"])
        .arg(absolute(&options.dataset)?)
        .arg("--predictions_path")
        .arg(absolute(&options.predictions)?)
        .args(["--run_id", &options.run_id, "--max_workers", &options.jobs.to_string()])
        .args(["--timeout", &options.seconds.to_string(), "--report_dir"])
        .arg(&folder)
        .arg("--instance_ids")
        .args(&options.instances);
    command.current_dir(&folder).stdin(Stdio::null()).stdout(std::io::stderr()).kill_on_drop(true);
    let status = command.status().await.with_context(|| start_context(&options.python))?;
    ensure!(status.success(), "the harness ended with {status}; its words are above");
    let ending = format!(".{}.json", options.run_id);
    let entries = std::fs::read_dir(&folder);
    let entries = entries.with_context(|| format!("reading `{}`", folder.display()))?;
    let report = entries
        .filter_map(Result::ok)
        .find(|entry| entry.file_name().to_string_lossy().ends_with(&ending))
        .map(|entry| entry.path());
    let report = report.with_context(|| {
        format!("the harness left no report `*{ending}` in `{}`", folder.display())
    })?;
    let context = || format!("reading the harness's report `{}`", report.display());
    HarnessReport::parse(&std::fs::read(&report).with_context(context)?).with_context(context)
}

/// Asks whether the package is there and Docker answers.
async fn check_harness(python: &Path) -> anyhow::Result<()> {
    const ASK: &str = "\
import importlib.util, sys
if importlib.util.find_spec('swebench') is None:
    sys.exit('no swebench')
import docker
try:
    docker.from_env().ping()
except Exception as error:
    sys.exit('no docker: %s' % error)
";
    let mut command = Command::new(python);
    command.args(["-c", ASK]).stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.with_context(|| start_context(python))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.trim().lines().last().unwrap_or_default();
    let shown = python.display();
    if said == "no swebench" {
        bail!(
            "`{shown}` has no package `swebench`, which `--verify docker` runs\n\
             hint: `{shown} -m pip install swebench`, or name another Python by `--harness-python`; `--verify local` needs neither"
        );
    }
    match said.strip_prefix("no docker: ") {
        Some(why) => bail!(
            "Docker does not answer, and `--verify docker` needs it: {why}\n\
             hint: start Docker, or use `--verify local`, which needs none"
        ),
        None => bail!("`{shown}` cannot run the harness: {said}"),
    }
}

fn start_context(python: &Path) -> String {
    format!("starting `{}`\nhint: name a Python by `--harness-python`", python.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_tells_every_instance_once() {
        let report = HarnessReport::parse(
            br#"{"total_instances": 5, "resolved_ids": ["a"], "unresolved_ids": ["b", "c"],
                "empty_patch_ids": ["d"], "error_ids": ["e"], "incomplete_ids": ["f"],
                "failure_reasons": {"c": "no network"}, "schema_version": 2}"#,
        )
        .unwrap();
        assert_eq!(report.verdict("a"), Ok((TestOutcome::Resolved, String::new())));
        let not = |why: &str| Ok((TestOutcome::NotResolved, why.to_owned()));
        assert_eq!(report.verdict("b"), not("the harness says so"));
        assert_eq!(report.verdict("c"), not("the harness says so (no network)"));
        assert_eq!(report.verdict("d"), not("the prediction is empty"));
        assert!(report.verdict("e").unwrap_err().contains("could not run it"));
        assert!(report.verdict("f").unwrap_err().contains("does not speak"));
    }

    #[test]
    fn another_format_is_refused() {
        let error = HarnessReport::parse(br#"{"schema_version": 3}"#).unwrap_err();
        assert_eq!(
            error.to_string(),
            "its `schema_version` is 3, and 2 is what this program reads"
        );
        assert!(HarnessReport::parse(b"[]").is_err());
    }
}
