//! `sorft apply`: a candidate of a run that has been, written into the files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use serde_json::json;

use crate::commands::Outcome;
use crate::commands::output::{Format, note, write_json, write_stdout};
use crate::commands::run_record::{candidate, find_run, is_accepted};
use crate::config::folder::Folders;
use crate::diff::change::{FileChange, FileState};
use crate::diff::patch::Patch;
use crate::pipeline::judge::by_path;
use crate::repo::blob::BlobId;
use crate::repo::change::FileContent;
use crate::repo::path::RepoPath;
use crate::repo::snapshot::FileKind;
use crate::run::directory::RunRecord;
use crate::run::row::CandidateRow;
use crate::write::apply::{read_files, recover, write_changes};

/// Write a candidate of a run into the files of its repository: all of them or none
///
/// Refuses where a file is not as the run found it, or has changes that are not committed.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sorft apply last
  sorft apply last 2                     the second candidate that `sorft show last` lists
  sorft apply 2026-01-31-101500 --repo ~/code/project")]
pub struct ApplyArgs {
    /// A run's folder, its name among your runs, or `last`
    pub run: String,
    /// Which candidate, counted from 1, the best first [default: the one that the run accepted]
    #[arg(value_name = "K")]
    pub candidate: Option<u32>,
    /// The repository to change [default: the one that the run was about]
    #[arg(long, value_name = "DIR")]
    pub repo: Option<PathBuf>,
    /// Form of the result
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// Runs `sorft apply`.
pub fn apply(args: &ApplyArgs, quiet: bool) -> anyhow::Result<Outcome> {
    let folders = Folders::find()?;
    for folder in recover(&folders.state)? {
        note(&format!(
            "a run that was killed while it wrote `{}` is rolled back",
            folder.display()
        ));
    }
    let path = find_run(&args.run, &folders)?;
    let record = RunRecord::read(&path)?;
    let row = chosen(&record, args.candidate)?;
    let root = root_of(&record, args.repo.as_deref())?;
    let changes = changes_of(row, &root)?;
    let by_path = by_path(&changes);
    write_changes(&root, &by_path, &folders.state)?;
    if !quiet {
        note(&format!("candidate {}: {}", row.rank, row.verdict));
    }
    let files: Vec<&RepoPath> = by_path.keys().collect();
    match args.format {
        Format::Json => write_json(&json!({
            "version": 1,
            "run": path,
            "candidate": row.rank,
            "verdict": row.verdict,
            "verified": row.verified,
            "repository": root,
            "files": files,
        }))?,
        Format::Text => {
            let files = files.iter().map(|file| format!("  {file}\n")).collect::<String>();
            let head = format!("applied candidate {} to `{}`:", row.rank, root.display());
            write_stdout(&format!("{head}\n{files}"))?;
        }
    }
    Ok(Outcome::Done)
}

/// The candidate that was asked for; without one, the one that the run accepted.
fn chosen(record: &RunRecord, rank: Option<u32>) -> anyhow::Result<&CandidateRow> {
    let row = candidate(record, rank.unwrap_or(1))?;
    ensure!(
        rank.is_some() || is_accepted(record),
        "the run accepted no candidate; the first: {}\n\
         hint: look at them with `sorft show`, and name one: `sorft apply RUN 1`",
        row.verdict
    );
    Ok(row)
}

/// The folder to change.
fn root_of(record: &RunRecord, named: Option<&Path>) -> anyhow::Result<PathBuf> {
    let known = record.info.repository.as_ref().map(|repository| repository.path.clone());
    let root = named.map(Path::to_owned).or(known).context(
        "the run does not say which repository it was about\nhint: name it with `--repo DIR`",
    )?;
    ensure!(
        root.is_dir(),
        "the repository `{}` is not there any more\nhint: name its place with `--repo DIR`",
        root.display()
    );
    Ok(root)
}

/// What the candidate's patch makes of the files as they are, which must be as the run found them.
fn changes_of(row: &CandidateRow, root: &Path) -> anyhow::Result<Vec<FileChange>> {
    let patch = Patch::parse(&row.patch_bytes())
        .with_context(|| format!("reading the patch of candidate {}", row.rank))?;
    let files = read_files(root, patch.base_paths())?;
    for (path, found) in &row.base {
        let now = files.get(path).map(|content| BlobId::of(&content.bytes).to_string());
        match now {
            Some(now) if now == *found => {}
            Some(_) => bail!(
                "`{path}` is not as the run found it, so nothing is changed\n\
                 hint: it changed since, or the run read another revision; `sorft show RUN {}` prints the patch",
                row.rank
            ),
            None => bail!("`{path}` is not there any more, so nothing is changed"),
        }
    }
    let state = |(path, content): (RepoPath, FileContent)| {
        let kind = if content.executable { FileKind::Executable } else { FileKind::Regular };
        (path.clone(), FileState { path, kind, bytes: content.bytes })
    };
    let base: BTreeMap<RepoPath, FileState> = files.into_iter().map(state).collect();
    Ok(patch.apply(&base)?)
}
