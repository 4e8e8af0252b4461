//! One run's folder: created, resumed, locked, read and finished here.

use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::run::RUN_VERSION;
use crate::run::line_log::{Durability, LineLog, read_rows};
use crate::run::row::{
    CandidateRow, PredictionRow, RunInfo, TimingRow, TrajectoryRow, stage_order,
};

const RUN_FILE: &str = "run.json";
const TRAJECTORY_FILE: &str = "trajectory.jsonl";
const CANDIDATES_FILE: &str = "candidates.jsonl";
const PREDICTIONS_FILE: &str = "predictions.jsonl";
const TIMINGS_FILE: &str = "timings.jsonl";
const METRICS_FILE: &str = "metrics.json";
const LOCK_FILE: &str = ".lock";

/// A run directory that this process writes; no other process can at the same time.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    info: RunInfo,
    trajectory: LineLog,
    candidates: LineLog,
    predictions: LineLog,
    timings: LineLog,
    /// Held, not read: the lock ends with the process, however it ends.
    _lock: File,
}

impl RunDir {
    /// Creates the folder, or resumes the run in it if that was asked to do the same.
    pub fn open(path: &Path, info: &RunInfo) -> anyhow::Result<Self> {
        create_folder(path).with_context(|| format!("creating `{}`", path.display()))?;
        refuse_other_folder(path)?;
        let lock = lock_folder(path)?;
        let run_file = path.join(RUN_FILE);
        if run_file.exists() {
            let begun: RunInfo = read_json(&run_file)?;
            refuse_other_run(path, &begun, info)?;
        } else {
            write_json(&run_file, info)?;
        }
        let log = |name: &str, durability| LineLog::open(path.join(name), durability);
        Ok(Self {
            path: path.to_owned(),
            info: info.clone(),
            trajectory: log(TRAJECTORY_FILE, Durability::Synced)?,
            candidates: log(CANDIDATES_FILE, Durability::Synced)?,
            predictions: log(PREDICTIONS_FILE, Durability::Synced)?,
            timings: log(TIMINGS_FILE, Durability::Buffered)?,
            _lock: lock,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn info(&self) -> &RunInfo {
        &self.info
    }

    pub fn append_call(&self, row: &TrajectoryRow) -> anyhow::Result<()> {
        self.trajectory.append(row)
    }

    pub fn append_candidate(&self, row: &CandidateRow) -> anyhow::Result<()> {
        self.candidates.append(row)
    }

    pub fn append_prediction(&self, row: &PredictionRow) -> anyhow::Result<()> {
        self.predictions.append(row)
    }

    pub fn append_timing(&self, row: &TimingRow) -> anyhow::Result<()> {
        self.timings.append(row)
    }

    /// The recorded completions of a request, by sample; a call is finished when there are as
    /// many as it asked for.
    pub fn calls_of(&self, request: &str) -> anyhow::Result<Vec<TrajectoryRow>> {
        let mut rows: Vec<TrajectoryRow> = self.trajectory.read(|head| head.request == request)?;
        rows.sort_by_key(|row| row.sample);
        rows.dedup_by_key(|row| row.sample);
        Ok(rows)
    }

    /// All recorded completions of an instance, in order, each once.
    pub fn calls_of_instance(&self, instance: &str) -> anyhow::Result<Vec<TrajectoryRow>> {
        let mut rows: Vec<TrajectoryRow> =
            self.trajectory.read(|head| head.instance == instance)?;
        let order = |row: &TrajectoryRow| (stage_order(&row.stage), row.stage.clone(), row.sample);
        rows.sort_by_key(order);
        rows.dedup_by_key(|row| (row.stage.clone(), row.sample));
        Ok(rows)
    }

    /// Whether an instance has its final patch, or its final lack of one.
    pub fn is_finished(&self, instance: &str) -> bool {
        self.predictions.any(|head| head.instance == instance)
    }

    /// Ends the run: puts all lines in order and writes `metrics.json`.
    pub fn finish(&self, metrics: &impl Serialize) -> anyhow::Result<()> {
        for log in [&self.trajectory, &self.candidates, &self.predictions] {
            log.sort()?;
        }
        write_json(&self.path.join(METRICS_FILE), metrics)
    }
}

/// What a run directory holds, read without disturbing a run that may be going on in it.
#[derive(Debug)]
pub struct RunRecord {
    pub info: RunInfo,
    pub trajectory: Vec<TrajectoryRow>,
    /// Best first within an instance.
    pub candidates: Vec<CandidateRow>,
    pub predictions: Vec<PredictionRow>,
    pub timings: Vec<TimingRow>,
    /// Absent while the run is not finished.
    pub metrics: Option<Value>,
}

impl RunRecord {
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let run_file = path.join(RUN_FILE);
        if !run_file.exists() {
            bail!(
                "`{}` is no run directory: it has no `{RUN_FILE}`\nhint: the runs of this machine are in the state folder that `sorft doctor` names",
                path.display()
            );
        }
        let info: RunInfo = read_json(&run_file)?;
        refuse_newer(path, info.version)?;
        let mut candidates: Vec<CandidateRow> = read_rows(&path.join(CANDIDATES_FILE))?;
        candidates.sort_by(|a, b| (&a.instance, a.rank).cmp(&(&b.instance, b.rank)));
        let metrics_file = path.join(METRICS_FILE);
        Ok(Self {
            info,
            trajectory: read_rows(&path.join(TRAJECTORY_FILE))?,
            candidates,
            predictions: read_rows(&path.join(PREDICTIONS_FILE))?,
            timings: read_rows(&path.join(TIMINGS_FILE))?,
            metrics: metrics_file.exists().then(|| read_json(&metrics_file)).transpose()?,
        })
    }
}

/// Makes a folder that only its owner reads, as its files are.
fn create_folder(path: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// A folder with files of something else is nobody's run, and stays as it is.
fn refuse_other_folder(path: &Path) -> anyhow::Result<()> {
    let is_run_or_empty = path.join(RUN_FILE).exists()
        || fs::read_dir(path)
            .with_context(|| format!("reading `{}`", path.display()))?
            .filter_map(Result::ok)
            .all(|entry| entry.file_name() == LOCK_FILE);
    if !is_run_or_empty {
        bail!(
            "`{}` holds files but no `{RUN_FILE}`: it is no run directory\nhint: name an empty or a new folder",
            path.display()
        );
    }
    Ok(())
}

fn lock_folder(path: &Path) -> anyhow::Result<File> {
    let lock_path = path.join(LOCK_FILE);
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&lock_path)
        .with_context(|| format!("opening `{}`", lock_path.display()))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => bail!(
            "another sorft process writes the run directory `{}`\nhint: wait for it, or name another folder with `--run-dir` (`--out` of `sorft eval`)",
            path.display()
        ),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("locking `{}`", lock_path.display()))
        }
    }
}

fn refuse_newer(path: &Path, version: u32) -> anyhow::Result<()> {
    if RUN_VERSION < version {
        bail!(
            "`{}` was written by a newer sorft: version {version}, this program reads up to {RUN_VERSION}",
            path.display()
        );
    }
    Ok(())
}

/// A resumed run must mean the same, or its lines would mix two experiments.
fn refuse_other_run(path: &Path, begun: &RunInfo, asked: &RunInfo) -> anyhow::Result<()> {
    refuse_newer(path, begun.version)?;
    let mut differing = Vec::new();
    let mut compare = |name: &str, begun: &Value, asked: &Value| {
        if begun != asked {
            differing.push(format!("`{name}` was {begun}, is {asked}"));
        }
    };
    compare("command", &begun.command.clone().into(), &asked.command.clone().into());
    compare("model", &begun.model.clone().into(), &asked.model.clone().into());
    compare("seed", &begun.seed.into(), &asked.seed.into());
    // The commit is left out: the files are compared among the settings.
    let folder = |info: &RunInfo| {
        info.repository.as_ref().map(|repository| repository.path.display().to_string())
    };
    if let (Some(begun), Some(asked)) = (folder(begun), folder(asked)) {
        compare("repository", &begun.into(), &asked.into());
    }
    let nothing = serde_json::Map::new();
    let settings = |info: &RunInfo| info.settings.as_object().unwrap_or(&nothing).clone();
    let (begun_settings, asked_settings) = (settings(begun), settings(asked));
    let mut names: Vec<&String> = begun_settings.keys().chain(asked_settings.keys()).collect();
    names.sort();
    names.dedup();
    for name in names {
        let value = |settings: &serde_json::Map<String, Value>| {
            settings.get(name).cloned().unwrap_or_default()
        };
        compare(name, &value(&begun_settings), &value(&asked_settings));
    }
    if differing.is_empty() {
        return Ok(());
    }
    bail!(
        "`{}` holds a run with other settings: {}\nhint: use the same settings to resume it, or name another folder with `--run-dir` (`--out` of `sorft eval`)",
        path.display(),
        differing.join("; ")
    )
}

fn read_json<T: DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let bytes = fs::read(path).with_context(|| format!("reading `{}`", path.display()))?;
    serde_json::from_slice(&bytes).with_context(|| format!("reading `{}`", path.display()))
}

fn write_json(path: &Path, value: &impl Serialize) -> anyhow::Result<()> {
    let mut json = serde_json::to_vec_pretty(value)
        .with_context(|| format!("writing `{}`", path.display()))?;
    json.push(b'\n');
    write_whole(path, &json)
}

/// Writes the whole file or leaves the old one.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let context = || format!("writing `{}`", path.display());
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).with_context(context)?;
    file.write_all(bytes).with_context(context)?;
    file.as_file().sync_all().with_context(context)?;
    file.persist(path).with_context(context)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::json;

    use super::*;
    use crate::prompt::counts::Counts;
    use crate::run::row::CallOutcome;

    fn info(seed: u64) -> RunInfo {
        RunInfo::new("fix", "tiny", seed, json!({"effort": "quick"}))
    }

    fn call(instance: &str, sample: u64, request: &str, bytes: &[u8]) -> TrajectoryRow {
        let (completion, completion_hex) = TrajectoryRow::completion_fields(bytes);
        TrajectoryRow {
            version: RUN_VERSION,
            instance: instance.to_owned(),
            stage: "edit".to_owned(),
            sample,
            request: request.to_owned(),
            prompt: None,
            counts: Counts::default(),
            completion,
            completion_hex,
            finish: "stop".to_owned(),
            logprob: Some(-1.25),
            usage: json!({"completion_tokens": 3}),
            outcome: CallOutcome::Rejected {
                reason: "no answer".to_owned(),
                detail: "no fenced block".to_owned(),
            },
            details: Value::Null,
        }
    }

    /// The message of a failure, with the folder's name left out.
    #[track_caller]
    fn check_error<T: std::fmt::Debug>(result: anyhow::Result<T>, folder: &Path, expect: Expect) {
        let message = format!("{:#}", result.unwrap_err());
        expect.assert_eq(&message.replace(folder.to_str().unwrap(), "FOLDER"));
    }

    #[test]
    fn a_resumed_run_finds_its_finished_calls() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunDir::open(folder.path(), &info(1)).unwrap();
        let not_text = call("a", 1, "r1", b"ab\xff");
        run.append_call(&not_text).unwrap();
        run.append_call(&call("a", 0, "r1", b"zero")).unwrap();
        run.append_prediction(&PredictionRow {
            instance_id: "a".to_owned(),
            model_name_or_path: "tiny".to_owned(),
            model_patch: String::new(),
        })
        .unwrap();
        drop(run);
        let resumed = RunDir::open(folder.path(), &info(1)).unwrap();
        let calls = resumed.calls_of("r1").unwrap();
        assert_eq!(calls.iter().map(|row| row.sample).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(calls[1].completion_bytes(), b"ab\xff");
        assert!(resumed.calls_of("r2").unwrap().is_empty());
        assert!(resumed.is_finished("a") && !resumed.is_finished("b"));
    }

    #[test]
    fn two_processes_cannot_write_one_run() {
        let folder = tempfile::tempdir().unwrap();
        let _first = RunDir::open(folder.path(), &info(1)).unwrap();
        check_error(
            RunDir::open(folder.path(), &info(1)),
            folder.path(),
            expect![[r#"
            another sorft process writes the run directory `FOLDER`
            hint: wait for it, or name another folder with `--run-dir` (`--out` of `sorft eval`)"#]],
        );
    }

    #[test]
    fn other_settings_do_not_resume_a_run() {
        let folder = tempfile::tempdir().unwrap();
        drop(RunDir::open(folder.path(), &info(1)).unwrap());
        let asked = RunInfo { settings: json!({"effort": "max", "n": 3}), ..info(2) };
        check_error(
            RunDir::open(folder.path(), &asked),
            folder.path(),
            expect![[r#"
            `FOLDER` holds a run with other settings: `seed` was 1, is 2; `effort` was "quick", is "max"; `n` was null, is 3
            hint: use the same settings to resume it, or name another folder with `--run-dir` (`--out` of `sorft eval`)"#]],
        );
    }

    #[test]
    fn a_folder_with_other_files_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("thesis.txt"), "mine").unwrap();
        check_error(
            RunDir::open(folder.path(), &info(1)),
            folder.path(),
            expect![[r#"
            `FOLDER` holds files but no `run.json`: it is no run directory
            hint: name an empty or a new folder"#]],
        );
        check_error(
            RunRecord::read(folder.path()),
            folder.path(),
            expect![[r#"
            `FOLDER` is no run directory: it has no `run.json`
            hint: the runs of this machine are in the state folder that `sorft doctor` names"#]],
        );
    }

    #[test]
    fn a_finished_run_reads_back_whole() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunDir::open(folder.path(), &info(1)).unwrap();
        run.append_call(&call("b", 0, "r", b"x")).unwrap();
        run.append_call(&call("a", 0, "r", b"x")).unwrap();
        run.finish(&json!({"version": 1, "applied": 1.0})).unwrap();
        let record = RunRecord::read(folder.path()).unwrap();
        assert_eq!(record.info, info(1));
        assert_eq!(record.trajectory, [call("a", 0, "r", b"x"), call("b", 0, "r", b"x")]);
        assert_eq!(record.metrics, Some(json!({"version": 1, "applied": 1.0})));
    }
}
