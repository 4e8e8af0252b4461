//! The rows of a run directory's files.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::prompt::Prompt;
use crate::prompt::counts::Counts;
use crate::repo::path::RepoPath;
use crate::run::RUN_VERSION;
use crate::run::seed::{parse_hex, render_hex};

/// `run.json`: what a run was asked to do. Two runs of the same information may share a directory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunInfo {
    pub version: u32,
    /// The version of the program that began the run.
    pub program: String,
    /// The subcommand.
    pub command: String,
    /// The model, as `predictions.jsonl` names it.
    pub model: String,
    pub seed: u64,
    /// What the run reads; absent where that is many repositories.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<RunRepository>,
    /// Every setting that shapes the outcome; never a key.
    pub settings: Value,
}

/// The files that a run is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRepository {
    /// The folder, whole.
    pub path: PathBuf,
    /// The revision that was read, as the user named it; absent for the files on disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// The commit that was read, or that the files stood on; absent without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
}

impl RunInfo {
    pub fn new(command: &str, model: &str, seed: u64, settings: Value) -> Self {
        let program = concat!("sorft ", env!("CARGO_PKG_VERSION")).to_owned();
        let (command, model) = (command.to_owned(), model.to_owned());
        Self { version: RUN_VERSION, program, command, model, seed, repository: None, settings }
    }
}

/// `trajectory.jsonl`: one completion of one model call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrajectoryRow {
    pub version: u32,
    pub instance: String,
    /// `file`, `function`, `line`, `edit`, or the name of another kind of call.
    pub stage: String,
    /// Counts the completions of a stage over all of its calls.
    pub sample: u64,
    /// The name of the request (`request_hash`): completions of one call share it.
    pub request: String,
    /// The messages; absent in all but the first completion of a call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<Prompt>,
    /// What the texts cost that were weighed for this prompt and for none before it, so that a
    /// replay trims as this run did; with the prompt.
    #[serde(default, skip_serializing_if = "Counts::is_empty")]
    pub counts: Counts,
    /// The completion as text; bytes that are no UTF-8 are shown as U+FFFD.
    pub completion: String,
    /// The completion's bytes where they are no UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_hex: Option<String>,
    /// Why it ended: `stop` or `length`.
    pub finish: String,
    /// Rounded by `rounded_logprob`, as everything that is computed from it must be.
    pub logprob: Option<f64>,
    /// Counts of tokens, by name.
    pub usage: Value,
    pub outcome: CallOutcome,
    /// What a stage wants to keep besides, such as what its prompt showed.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub details: Value,
}

impl TrajectoryRow {
    /// The completion's bytes, as the engine gave them.
    pub fn completion_bytes(&self) -> Vec<u8> {
        bytes_of(&self.completion, self.completion_hex.as_deref())
    }

    /// The fields `completion` and `completion_hex` for a completion's bytes.
    pub fn completion_fields(bytes: &[u8]) -> (String, Option<String>) {
        fields_of(bytes)
    }
}

fn bytes_of(text: &str, hex: Option<&str>) -> Vec<u8> {
    hex.and_then(parse_hex).unwrap_or_else(|| text.as_bytes().to_vec())
}

/// Bytes as text, and as hexadecimal digits where they are no UTF-8.
fn fields_of(bytes: &[u8]) -> (String, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (text.to_owned(), None),
        Err(_) => (String::from_utf8_lossy(bytes).into_owned(), Some(render_hex(bytes))),
    }
}

/// A log-probability as rows carry it: six decimals, which JSON gives back exactly, so that a
/// resumed run computes with the numbers of the run it resumes.
pub fn rounded_logprob(logprob: f64) -> f64 {
    (logprob * 1e6).round() / 1e6
}

/// What became of a completion.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallOutcome {
    /// The parsed answer, in the stage's own form.
    Answer(Value),
    /// Why it is unusable.
    Rejected {
        /// The rejection's name in the closed list of stages.
        reason: String,
        /// What was wanted and what was found.
        detail: String,
    },
}

/// `candidates.jsonl`: one distinct patch that was considered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CandidateRow {
    pub version: u32,
    pub instance: String,
    /// The sample of the edit stage that first gave it.
    pub sample: u64,
    /// Best first, from 1.
    pub rank: u32,
    /// Samples that gave it.
    pub votes: u32,
    pub mean_logprob: Option<f64>,
    /// The git-style patch; bytes that are no UTF-8 are shown as U+FFFD.
    pub patch: String,
    /// The patch's bytes where they are no UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patch_hex: Option<String>,
    /// The blob ids of the files that the patch changes, as they were.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub base: BTreeMap<RepoPath, String>,
    /// The judgement in words, as the user sees it.
    pub verdict: String,
    /// Whether tests confirmed it.
    pub verified: bool,
    /// Checks, test counts, places: what explains the verdict.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub details: Value,
}

impl CandidateRow {
    /// The patch's bytes: a file may be in any encoding.
    pub fn patch_bytes(&self) -> Vec<u8> {
        bytes_of(&self.patch, self.patch_hex.as_deref())
    }

    /// The fields `patch` and `patch_hex` for a patch's bytes.
    pub fn patch_fields(bytes: &[u8]) -> (String, Option<String>) {
        fields_of(bytes)
    }
}

/// `predictions.jsonl`: the final patch, in the form that SWE-bench's tools read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PredictionRow {
    pub instance_id: String,
    pub model_name_or_path: String,
    /// Empty where no acceptable patch was found.
    pub model_patch: String,
}

/// `timings.jsonl`: how long something took; the only file with wall-clock values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TimingRow {
    pub instance: String,
    pub stage: String,
    /// What was measured: `prompt`, `decode`, `tests`, ….
    pub event: String,
    pub seconds: f64,
    /// When it ended, in UTC (RFC 3339).
    pub at: String,
}

impl TimingRow {
    /// Something that took so long and ends now.
    pub fn ending_now(instance: &str, stage: &str, event: &str, took: Duration) -> Self {
        Self {
            instance: instance.to_owned(),
            stage: stage.to_owned(),
            event: event.to_owned(),
            seconds: took.as_secs_f64(),
            at: jiff::Timestamp::now().to_string(),
        }
    }
}

/// The fields that order and find the rows of every file.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct RowHead {
    #[serde(alias = "instance_id")]
    pub(crate) instance: String,
    #[serde(default)]
    pub(crate) stage: String,
    #[serde(default)]
    pub(crate) sample: u64,
    #[serde(default)]
    pub(crate) request: String,
    #[serde(default)]
    pub(crate) version: u32,
}

impl RowHead {
    /// (instance, stage in the order of the pipeline, sample).
    pub(crate) fn order(&self) -> (&str, usize, &str, u64) {
        (&self.instance, stage_order(&self.stage), &self.stage, self.sample)
    }
}

/// Stages as the pipeline runs them; other calls come behind, by name.
const STAGE_ORDER: [&str; 4] = ["file", "function", "line", "edit"];

/// Where a stage stands in that order.
pub(crate) fn stage_order(stage: &str) -> usize {
    STAGE_ORDER.iter().position(|known| *known == stage).unwrap_or(STAGE_ORDER.len())
}
