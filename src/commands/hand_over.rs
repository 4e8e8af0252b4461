//! What `sorft fix` gives back: a patch, as the user asked for it, and the verdict in words.

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use serde::Serialize;
use serde_json::json;

use crate::commands::Outcome;
use crate::commands::fix::{FixArgs, PatchFormat};
use crate::commands::output::{
    escape_controls, note, write_json, write_stdout, write_stdout_bytes,
};
use crate::commands::progress::ProgressView;
use crate::diff::change::FileChange;
use crate::diff::render::render;
use crate::model::Usage;
use crate::pipeline::judge::by_path;
use crate::pipeline::judge::judgement::Reproduced;
use crate::pipeline::places::{Places, render_lines};
use crate::pipeline::repair::Solution;
use crate::pipeline::reproduce::{Reproduction, Reproductions};
use crate::repo::blob::BlobId;
use crate::repo::change::PathChanges;
use crate::run::row::CandidateRow;
use crate::write::apply::{check_writable, write_changes};
use crate::write::branch::{check_branch, write_branch};

/// What a finished run has to show.
pub struct Handed<'a> {
    pub run: &'a Path,
    pub solution: &'a Solution,
    /// The tests that the model wrote, where it was asked to.
    pub reproductions: Option<&'a Reproductions>,
    pub usage: Usage,
    /// How the tests were kept from doing harm, where there were tests.
    pub protection: Option<String>,
    pub began: Instant,
    /// The commit that was read, where it was one.
    pub base: Option<BlobId>,
    /// The folder that keeps the journal of files being written.
    pub state: &'a Path,
}

impl Handed<'_> {
    /// What is handed over, if anything: the candidate's changes, and where that was asked for the
    /// test that shows them right.
    fn changes(&self, with_reproduction: bool) -> Option<Vec<FileChange>> {
        let best = self.solution.accepted()?;
        let mut changes = best.changes.clone();
        if with_reproduction && self.is_reproduced() {
            let chosen = self.reproductions.and_then(|found| found.chosen.as_ref());
            changes.extend(chosen.map(Reproduction::as_change));
        }
        Some(changes)
    }

    /// Whether the first candidate makes the reproduction test pass.
    fn is_reproduced(&self) -> bool {
        let best = self.solution.candidates.first();
        let tests = best.and_then(|candidate| candidate.tests.as_ref());
        tests.is_some_and(|tests| tests.reproduction == Some(Reproduced::Passes))
    }
}

/// What became of the model's tests, and where the one that judged is.
fn describe(found: &Reproductions, handed: &Handed<'_>, with_reproduction: bool) -> String {
    let Some(chosen) = &found.chosen else {
        return format!("reproduction: {}", found.describe());
    };
    let (outcome, place) = match (handed.is_reproduced(), with_reproduction) {
        (true, true) => ("passes with the patch", "part of the patch"),
        (true, false) => ("passes with the patch", "no part of it; `--with-reproduction` adds it"),
        (false, true) => ("does not pass", "and so no part of a patch"),
        (false, false) => ("does not pass", "no part of a patch"),
    };
    format!(
        "reproduction: `{}` {outcome}, {place}; kept in {}",
        chosen.path,
        handed.run.join("reproduction").display()
    )
}

/// The JSON form of a fix.
#[derive(Serialize)]
struct FixReport<'a> {
    version: u32,
    /// The git-style patch; `null` where there is none that is acceptable. Bytes that are no UTF-8
    /// are shown as U+FFFD.
    patch: Option<String>,
    /// The patch's bytes where they are no UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_hex: Option<String>,
    /// The files that `--apply` wrote.
    applied: Vec<String>,
    /// The branch and the commit that `--branch` made.
    branch: Option<Branch>,
    verified: bool,
    /// Whether the model's own test of the issue failed before and passes with the patch.
    #[serde(skip_serializing_if = "Option::is_none")]
    reproduced: Option<bool>,
    /// The tests that the model wrote, what became of each, and the one that judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    reproduction: Option<&'a Reproductions>,
    verdict: &'a str,
    places: &'a Places,
    candidates: Vec<serde_json::Value>,
    n_samples: u32,
    usage: Usage,
    protection: Option<&'a str>,
    seconds: f64,
    run: String,
}

/// What `--branch` made.
#[derive(Serialize)]
struct Branch {
    name: String,
    commit: String,
}

/// What was written to the repository.
#[derive(Default)]
struct Written {
    applied: Vec<String>,
    branch: Option<Branch>,
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
    let changes = handed.changes(args.test.with_reproduction);
    let patch = changes.as_deref().map(render);
    view.tell(&solution.verdict.words);
    if let Some(protection) = &handed.protection {
        view.say(&format!("tests ran in a sandbox: {protection}"));
    }
    if let Some(found) = handed.reproductions {
        view.say(&describe(found, handed, args.test.with_reproduction));
    }
    if patch.is_none() {
        view.say(&format!("it would look at: {}", render_places(&solution.places)));
    }
    // First of all: whatever goes wrong below, the patch can be had from there.
    view.say(&format!("run: {}", handed.run.display()));
    if let Some(patch) = &patch {
        match &args.output {
            Some(path) => write_file(path, patch)?,
            None if args.format == PatchFormat::Diff && !args.apply && args.branch.is_none() => {
                write_patch(patch)?;
            }
            None => {}
        }
    }
    let written = match &changes {
        Some(changes) => write_to_repository(args, handed, &by_path(changes), view)?,
        None => Written::default(),
    };
    if args.format == PatchFormat::Json {
        write_json(&report(handed, patch.as_deref(), written))?;
    }
    Ok(if patch.is_some() { Outcome::Done } else { Outcome::Missed })
}

/// `--apply` and `--branch`.
fn write_to_repository(
    args: &FixArgs,
    handed: &Handed<'_>,
    changes: &PathChanges,
    view: &ProgressView,
) -> anyhow::Result<Written> {
    let mut written = Written::default();
    let root = &args.repository.repo;
    if args.apply {
        write_changes(root, changes, handed.state)?;
        view.say(&format!("applied to {} files", changes.len()));
        written.applied = changes.keys().map(ToString::to_string).collect();
    }
    if let Some(name) = &args.branch {
        let message = format!("Resolve an issue\n\n{}\n", handed.solution.verdict.words);
        let commit = write_branch(root, name, handed.base, changes, &message)?;
        view.say(&format!("committed to the branch `{name}`: {commit}"));
        written.branch = Some(Branch { name: name.clone(), commit });
    }
    Ok(written)
}

/// A patch on stdout: as it is, but for control characters where a terminal would obey them.
pub fn write_patch(patch: &[u8]) -> anyhow::Result<()> {
    if std::io::stdout().is_terminal() {
        let text = String::from_utf8_lossy(patch);
        let plain = text.replace('\r', "");
        let shown = escape_controls(&plain);
        if shown != plain {
            note(
                "control characters of the patch are shown escaped; a file or a pipe gets it as it is",
            );
            return write_stdout(&shown);
        }
    }
    write_stdout_bytes(patch)
}

fn report<'a>(handed: &'a Handed<'_>, patch: Option<&[u8]>, written: Written) -> FixReport<'a> {
    let solution = handed.solution;
    let candidates = solution.candidates.iter().map(|candidate| {
        json!({
            "sample": candidate.sample,
            "votes": candidate.votes,
            "mean_logprob": candidate.mean_logprob(),
            "verdict": candidate.verdict_words(solution.n_samples),
            "tests": candidate.tests,
            "patch": String::from_utf8_lossy(&candidate.patch()),
            "patch_hex": CandidateRow::patch_fields(&candidate.patch()).1,
        })
    });
    let patch = patch.map(CandidateRow::patch_fields);
    let (patch, patch_hex) = patch.map_or((None, None), |(text, hex)| (Some(text), hex));
    FixReport {
        version: 1,
        patch,
        patch_hex,
        applied: written.applied,
        branch: written.branch,
        verified: solution.verdict.verified,
        reproduced: handed.reproductions.map(|_| handed.is_reproduced()),
        reproduction: handed.reproductions,
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
