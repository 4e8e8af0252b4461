//! Tests as judges: the user's command, on the unchanged code first, then on candidates.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, bail};

use crate::diff::change::{FileChange, FileState};
use crate::index::Index;
use crate::repo::change::{FileContent, PathChange, PathChanges};
use crate::repo::snapshot::FileKind;
use crate::sandbox::guard::check_candidate;
use crate::sandbox::scratch::ScratchCopy;
use crate::sandbox::verdict::{Outcome, Reading, Verdict, compare, read_outcome};
use crate::sandbox::{Execution, Sandbox};

/// Runs one test command on scratch copies of one snapshot.
pub struct Judge {
    options: JudgeOptions,
    index: Arc<Index>,
    baseline: Outcome,
    /// What the command printed on the unchanged code.
    baseline_output: String,
}

/// What a judge is made from.
pub struct JudgeOptions {
    pub sandbox: Sandbox,
    /// The folder that the snapshot was read from; the scratch copy stands at its place.
    pub root: PathBuf,
    /// Where scratch copies are made: in the first folder that takes one.
    pub scratch: Vec<PathBuf>,
    /// A shell command.
    pub command: String,
    /// Accept candidates that change tests or the runner's configuration.
    pub allow_test_edits: bool,
}

impl Judge {
    /// Runs the command on the unchanged code.
    ///
    /// # Errors
    ///
    /// The command cannot start at all: no candidate could be judged by it.
    pub async fn open(index: Arc<Index>, options: JudgeOptions) -> anyhow::Result<Self> {
        let execution = run(&options, &index, &[]).await?;
        let baseline = read_outcome(&execution);
        let baseline_output = String::from_utf8_lossy(&execution.output).into_owned();
        if let Reading::CannotStart(why) = &baseline.reading {
            bail!(
                "the tests cannot start on the unchanged code, so they cannot judge a patch: {why}\n\
                 hint: run `{}` yourself; the sandbox has no network, no home folder, the interpreter on your PATH, and few of your variables: write those that it needs into the command, such as `env PYTHONPATH=src …`",
                options.command
            );
        }
        Ok(Self { options, index, baseline, baseline_output })
    }

    /// Whether the tests pass on the unchanged code; then they can only show what a patch breaks.
    pub fn baseline_passes(&self) -> bool {
        match &self.baseline.reading {
            Reading::Tests(summary) => summary.failed == 0,
            Reading::StatusOnly { succeeded } => *succeeded,
            Reading::CannotStart(_) | Reading::NoResult(_) => false,
        }
    }

    /// What the command says of the unchanged code, in words.
    pub fn describe_baseline(&self) -> String {
        let command = &self.options.command;
        let outcome = match &self.baseline.reading {
            Reading::Tests(summary) => format!("{} pass, {} fail", summary.passed, summary.failed),
            Reading::StatusOnly { succeeded: true } => "the command succeeds".to_owned(),
            Reading::StatusOnly { succeeded: false } => "the command fails".to_owned(),
            Reading::CannotStart(why) | Reading::NoResult(why) => format!("no result: {why}"),
        };
        let limits =
            if self.baseline_passes() { "; they can only show what a patch breaks" } else { "" };
        format!("`{command}` on the unchanged code: {outcome}{limits}")
    }

    pub fn baseline_output(&self) -> &str {
        &self.baseline_output
    }

    pub fn command(&self) -> &str {
        &self.options.command
    }

    pub fn protection(&self) -> String {
        self.options.sandbox.protection().to_string()
    }

    /// Why the tests may not judge a candidate: it changes what they are.
    pub fn refuses(&self, changes: &[FileChange]) -> Option<String> {
        if self.options.allow_test_edits {
            return None;
        }
        let is_test = |path: &_| self.index.is_test(path);
        let files = self.index.snapshot().files();
        let has_file = |path: &str| files.keys().any(|known| known.as_str() == path);
        let refusal =
            check_candidate(&by_path(changes), &self.options.command, &is_test, &has_file);
        refusal.err().map(|refusal| refusal.to_string())
    }

    /// Runs the command with a candidate's changes.
    pub async fn judge(&self, changes: &[FileChange]) -> anyhow::Result<Verdict> {
        let execution = run(&self.options, &self.index, changes).await?;
        Ok(compare(&self.baseline, &read_outcome(&execution)))
    }
}

/// Runs the command of the options on a scratch copy with these changes.
async fn run(
    options: &JudgeOptions,
    index: &Arc<Index>,
    changes: &[FileChange],
) -> anyhow::Result<Execution> {
    let (index, changes) = (Arc::clone(index), by_path(changes));
    let (root, scratch) = (options.root.clone(), options.scratch.clone());
    let copy = tokio::task::spawn_blocking(move || {
        ScratchCopy::create_in_first(index.snapshot(), &root, &changes, &scratch)
    })
    .await
    .context("making a scratch copy")??;
    let command = &options.command;
    options.sandbox.run(command, &copy).await.with_context(|| format!("running `{command}`"))
}

/// The changes by path; a rename is a deletion and a creation.
pub fn by_path(changes: &[FileChange]) -> PathChanges {
    let mut by_path = PathChanges::new();
    for change in changes {
        for (state, is_after) in [(change.before(), false), (change.after(), true)] {
            let Some(state) = state else { continue };
            let nothing = || PathChange { before: None, after: None };
            let entry = by_path.entry(state.path.clone()).or_insert_with(nothing);
            let side = if is_after { &mut entry.after } else { &mut entry.before };
            *side = Some(content_of(state));
        }
    }
    by_path
}

fn content_of(state: &FileState) -> FileContent {
    FileContent { bytes: state.bytes.clone(), executable: state.kind == FileKind::Executable }
}
