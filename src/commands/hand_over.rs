//! What `sorft fix` gives back: a patch, as the user asked for it, and the verdict in words.

use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use serde::Serialize;
use serde_json::json;

use crate::commands::Outcome;
use crate::commands::fix::{FixArgs, PatchFormat};
use crate::commands::output::{write_json, write_stdout_bytes};
use crate::commands::progress::ProgressView;
use crate::model::Usage;
use crate::pipeline::judge::by_path;
use crate::pipeline::places::{Places, render_lines};
use crate::pipeline::repair::Solution;
use crate::repo::blob::BlobId;
use crate::write::apply::{check_writable, write_changes};
use crate::write::branch::{check_branch, write_branch};

/// What a finished run has to show.
pub struct Handed<'a> {
    pub run: &'a Path,
    pub solution: &'a Solution,
    pub usage: Usage,
    /// How the tests were kept from doing harm, where there were tests.
    pub protection: Option<String>,
    pub began: Instant,
    /// The commit that was read, where it was one.
    pub base: Option<BlobId>,
    /// The folder that keeps the journal of files being written.
    pub state: &'a Path,
}

/// The JSON form of a fix.
#[derive(Serialize)]
struct FixReport<'a> {
    version: u32,
    /// The git-style patch; `null` where there is none that is acceptable.
    patch: Option<String>,
    verified: bool,
    verdict: &'a str,
    places: &'a Places,
    candidates: Vec<serde_json::Value>,
    n_samples: u32,
    usage: Usage,
    protection: Option<&'a str>,
    seconds: f64,
    run: String,
}

/// Refuses a place for the patch that cannot take it, before anything is worked out.
pub fn check_destination(args: &FixArgs, base: Option<BlobId>) -> anyhow::Result<()> {
    let root = &args.repository.repo;
    if args.apply {
        check_writable(root)?;
    }
    if let Some(name) = &args.branch {
        check_branch(root, name, base)?;
    }
    if let Some(path) = &args.output {
        ensure!(
            !path.is_dir(),
            "`--output {0}`: `{0}` is a folder; a file was wanted",
            path.display()
        );
        if !is_special(path) {
            let folder = folder_of(path);
            tempfile::tempfile_in(folder).map(drop).with_context(|| {
                format!("`--output {}`: nothing can be written there", path.display())
            })?;
        }
    }
    Ok(())
}

/// Gives the patch to the user, and the verdict to stderr.
pub fn hand_over(
    args: &FixArgs,
    handed: &Handed<'_>,
    view: &ProgressView,
) -> anyhow::Result<Outcome> {
    let solution = handed.solution;
    let patch = solution.accepted_patch();
    view.tell(&solution.verdict.words);
    if let Some(protection) = &handed.protection {
        view.say(&format!("tests ran in a sandbox: {protection}"));
    }
    if patch.is_none() {
        view.say(&format!("it would look at: {}", render_places(&solution.places)));
    }
    // First of all: whatever goes wrong below, the patch can be had from there.
    view.say(&format!("run: {}", handed.run.display()));
    if args.format == PatchFormat::Json {
        write_json(&report(handed, patch.as_deref()))?;
    }
    if let Some(patch) = &patch {
        match &args.output {
            Some(path) => write_file(path, patch)?,
            None if args.format == PatchFormat::Diff && !args.apply && args.branch.is_none() => {
                write_stdout_bytes(patch)?;
            }
            None => {}
        }
    }
    if patch.is_some() {
        write_to_repository(args, handed, view)?;
    }
    Ok(if patch.is_some() { Outcome::Done } else { Outcome::Missed })
}

/// `--apply` and `--branch`.
fn write_to_repository(
    args: &FixArgs,
    handed: &Handed<'_>,
    view: &ProgressView,
) -> anyhow::Result<()> {
    let Some(best) = handed.solution.candidates.first() else { return Ok(()) };
    let (root, changes) = (&args.repository.repo, by_path(&best.changes));
    if args.apply {
        write_changes(root, &changes, handed.state)?;
        view.say(&format!("applied to {} files", changes.len()));
    }
    if let Some(name) = &args.branch {
        let message = format!("Resolve an issue\n\n{}\n", handed.solution.verdict.words);
        let commit = write_branch(root, name, handed.base, &changes, &message)?;
        view.say(&format!("committed to the branch `{name}`: {commit}"));
    }
    Ok(())
}

fn report<'a>(handed: &'a Handed<'_>, patch: Option<&[u8]>) -> FixReport<'a> {
    let solution = handed.solution;
    let candidates = solution.candidates.iter().map(|candidate| {
        json!({
            "sample": candidate.sample,
            "votes": candidate.votes,
            "mean_logprob": candidate.mean_logprob(),
            "verdict": candidate.verdict_words(solution.n_samples),
            "patch": String::from_utf8_lossy(&candidate.patch()),
        })
    });
    FixReport {
        version: 1,
        patch: patch.map(|patch| String::from_utf8_lossy(patch).into_owned()),
        verified: solution.verdict.verified,
        verdict: &solution.verdict.words,
        places: &solution.places,
        candidates: candidates.collect(),
        n_samples: solution.n_samples,
        usage: handed.usage,
        protection: handed.protection.as_deref(),
        seconds: handed.began.elapsed().as_secs_f64(),
        run: handed.run.display().to_string(),
    }
}

/// The narrowest places that are known.
pub fn render_places(places: &Places) -> String {
    let lines = places.line_sets.first().map(|set| render_lines(&set.lines));
    let symbols = || places.symbols.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let files = || places.files.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    lines.unwrap_or_else(|| if places.symbols.is_empty() { files() } else { symbols() })
}

/// Writes the whole file or leaves the old one.
fn write_file(path: &Path, patch: &[u8]) -> anyhow::Result<()> {
    let context = || format!("writing the patch to `{}`", path.display());
    // A terminal, a pipe or a device is written to; in its place, a file would be of no use.
    if is_special(path) {
        return std::fs::write(path, patch).with_context(context);
    }
    let mut file = tempfile::NamedTempFile::new_in(folder_of(path)).with_context(context)?;
    file.write_all(patch).with_context(context)?;
    file.persist(path).with_context(context)?;
    Ok(())
}

/// Whether something other than a file has the name.
fn is_special(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir())
}

fn folder_of(path: &Path) -> &Path {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}
