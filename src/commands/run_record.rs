//! RUN, the same on every command that looks at a run that has been.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, bail, ensure};

use crate::commands::run_folder::INSTANCE;
use crate::config::folder::Folders;
use crate::run::directory::RunRecord;
use crate::run::row::CandidateRow;

/// The folder of a run: `last`, a folder, or a name among the runs of this user.
///
/// `last` is the newest of those that `--run-dir` did not put elsewhere.
pub fn find_run(run: &str, folders: &Folders) -> anyhow::Result<PathBuf> {
    let runs = folders.runs();
    if run == "last" {
        let newest = runs_by_age(&runs)?.pop();
        return newest.with_context(|| {
            format!(
                "there is no last run: `{}` holds none\nhint: `sorft fix` makes one; a run of `--run-dir DIR` is named by its folder",
                runs.display()
            )
        });
    }
    if Path::new(run).is_dir() {
        return Ok(PathBuf::from(run));
    }
    let is_name = !run.is_empty() && !run.contains(['/', '\\']) && run != "..";
    if is_name && runs.join(run).is_dir() {
        return Ok(runs.join(run));
    }
    let newest = runs_by_age(&runs)?;
    let names = newest.iter().rev().take(3).filter_map(|path| path.file_name());
    let names: Vec<String> = names.map(|name| format!("`{}`", name.display())).collect();
    let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    bail!(
        "there is no run `{run}`: a run's folder, the name of one in `{}`, or `last` was wanted\n\
         hint: the newest are: {known}",
        runs.display()
    )
}

/// The runs in a folder, the oldest first.
fn runs_by_age(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("reading `{}`", folder.display())),
    };
    let began = |path: &Path| {
        let facts = path.join("run.json").metadata().ok()?;
        Some(facts.modified().unwrap_or(SystemTime::UNIX_EPOCH))
    };
    let paths = entries.filter_map(Result::ok).map(|entry| entry.path());
    let mut runs: Vec<_> = paths.filter_map(|path| Some((began(&path)?, path))).collect();
    runs.sort();
    Ok(runs.into_iter().map(|(_, path)| path).collect())
}

/// Whether the run handed over the first of its candidates.
pub fn is_accepted(record: &RunRecord) -> bool {
    let accepted = record.metrics.as_ref().and_then(|metrics| metrics.get("accepted"));
    accepted.and_then(serde_json::Value::as_bool).unwrap_or(false)
}

/// The candidate of that rank.
pub fn candidate(record: &RunRecord, rank: u32) -> anyhow::Result<&CandidateRow> {
    let candidates = record.candidates.iter().filter(|row| row.instance == INSTANCE);
    let found = candidates.clone().find(|row| row.rank == rank);
    ensure!(
        record.metrics.is_some(),
        "the run is not finished, so its candidates are not known\n\
         hint: the same command with `--run-dir` and this folder finishes it without repeating a call"
    );
    found.with_context(|| match candidates.count() {
        0 => "the run has no candidate: no sample gave a usable edit".to_owned(),
        n => format!("there is no candidate {rank}: the run has those from 1 to {n}"),
    })
}
