//! The run directory of one `fix` or `locate`.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::json;

use crate::commands::Interrupted;
use crate::commands::output::note;
use crate::commands::repository::RepositoryArgs;
use crate::commands::settings::Surroundings;
use crate::commands::work::Work;
use crate::diff::change::FileChange;
use crate::model::{EngineInfo, Usage};
use crate::pipeline::candidate::Candidate;
use crate::pipeline::repair::Solution;
use crate::pipeline::reproduce::{Reproduction, Reproductions};
use crate::repo::blob::BlobId;
use crate::run::RUN_VERSION;
use crate::run::directory::RunDir;
use crate::run::row::{CandidateRow, PredictionRow, RunInfo, RunRepository};
use crate::run::seed::request_hash;

/// The one instance of a run that is no benchmark.
pub const INSTANCE: &str = "issue";

/// Opens the folder that `--run-dir` names, or a new one named for the moment.
pub fn open_run(
    surroundings: &Surroundings,
    command: &str,
    engine: &EngineInfo,
    work: &Work,
    repository: &RepositoryArgs,
) -> anyhow::Result<RunDir> {
    let Work { settings, stages, writer, context } = work;
    let path = match &surroundings.config().run_dir {
        Some(path) => path.clone(),
        None => new_run_folder(surroundings)?,
    };
    // What the files say is part of what was asked: a run on other files is another run.
    let files: Vec<(&str, String)> = (context.index.snapshot().files().iter())
        .map(|(path, entry)| (path.as_str(), entry.blob.to_string()))
        .collect();
    let mut asked = json!({
        "engine": engine,
        "settings": settings,
        "stages": stages,
        "issue": request_hash(&context.issue)?,
        "snapshot": request_hash(&files)?,
    });
    if 0 < settings.reproduction_samples {
        asked["reproduction"] = serde_json::to_value(writer)?;
    }
    let folder = &repository.repo;
    let folder =
        folder.canonicalize().with_context(|| format!("finding `{}`", folder.display()))?;
    let repository = RunRepository {
        path: folder,
        revision: repository.at.clone(),
        commit: context.index.snapshot().base_commit().map(|commit| commit.to_string()),
    };
    let info = RunInfo::new(command, &engine.name, settings.seed, asked);
    RunDir::open(&path, &RunInfo { repository: Some(repository), ..info })
}

fn new_run_folder(surroundings: &Surroundings) -> anyhow::Result<PathBuf> {
    let moment = jiff::Zoned::now().strftime("%Y-%m-%d-%H%M%S").to_string();
    let runs = surroundings.folders.runs();
    std::fs::create_dir_all(&runs).with_context(|| format!("creating `{}`", runs.display()))?;
    for attempt in 1.. {
        let name = if attempt == 1 { moment.clone() } else { format!("{moment}-{attempt}") };
        let path = runs.join(name);
        match std::fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(error).with_context(|| format!("creating `{}`", path.display()));
            }
        }
    }
    unreachable!("numbers do not end")
}

/// An error in the middle of a run, with what takes it up again. An interrupt stays what it is.
pub fn with_resume_hint(error: anyhow::Error, run: &Path) -> anyhow::Error {
    if error.is::<Interrupted>() {
        note(&format!("finished calls are kept: add `--run-dir {}` to go on", run.display()));
        return error;
    }
    anyhow::anyhow!(
        "{error:#}\nhint: finished calls are kept: add `--run-dir {}` to go on",
        run.display()
    )
}

/// Writes what a finished run decided.
pub fn record(
    run: &RunDir,
    engine: &EngineInfo,
    (solution, reproductions): (&Solution, Option<&Reproductions>),
    usage: Usage,
) -> anyhow::Result<()> {
    if let Some(test) = reproductions.and_then(|found| found.chosen.as_ref()) {
        keep_reproduction(run, test)?;
    }
    if !run.is_finished(INSTANCE) {
        for (rank, candidate) in (1..).zip(&solution.candidates) {
            run.append_candidate(&candidate_row(INSTANCE, rank, candidate, solution))?;
        }
        let patch = solution.accepted_patch().unwrap_or_default();
        run.append_prediction(&PredictionRow {
            instance_id: INSTANCE.to_owned(),
            model_name_or_path: engine.name.clone(),
            model_patch: String::from_utf8_lossy(&patch).into_owned(),
        })?;
    }
    let mut metrics = json!({
        "version": RUN_VERSION,
        "accepted": solution.verdict.accepted,
        "verified": solution.verdict.verified,
        "verdict": solution.verdict.words,
        "n_samples": solution.n_samples,
        "n_candidates": solution.candidates.len(),
        "places": solution.places,
        "usage": usage,
    });
    if let Some(found) = reproductions {
        metrics["reproduction"] = serde_json::to_value(found)?;
    }
    run.finish(&metrics)
}

/// Keeps the test as a file, so that it can be run and looked at.
fn keep_reproduction(run: &RunDir, test: &Reproduction) -> anyhow::Result<()> {
    let path = run.path().join("reproduction").join(test.path.as_str());
    let context = || format!("keeping the reproduction test in `{}`", path.display());
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(context)?;
    }
    std::fs::write(&path, &test.text).with_context(context)
}

/// A candidate as `candidates.jsonl` keeps it.
pub fn candidate_row(
    instance: &str,
    rank: u32,
    candidate: &Candidate,
    solution: &Solution,
) -> CandidateRow {
    let is_chosen = rank == 1 && solution.verdict.accepted;
    let (patch, patch_hex) = CandidateRow::patch_fields(&candidate.patch());
    let before = candidate.changes.iter().filter_map(FileChange::before);
    let base = before.map(|state| (state.path.clone(), BlobId::of(&state.bytes).to_string()));
    CandidateRow {
        version: RUN_VERSION,
        instance: instance.to_owned(),
        sample: candidate.sample,
        rank,
        votes: candidate.votes,
        mean_logprob: candidate.mean_logprob(),
        patch,
        patch_hex,
        base: base.collect(),
        verdict: candidate.verdict_words(solution.n_samples),
        verified: is_chosen && solution.verdict.verified,
        details: json!({ "tests": candidate.tests, "refusal": candidate.refusal }),
    }
}
