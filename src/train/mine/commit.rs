//! One commit: an instance, or the reason why it is none.

use std::fmt;
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use crate::diff::change::{FileChange, FileState};
use crate::diff::render::render;
use crate::index::test_files::TestRule;
use crate::instance::mined::{MINED_VERSION, MinedRecord, Split, TextKind};
use crate::repo::commits::{Commit, History, TreeChange, TreeFile, TreeMemory};
use crate::repo::snapshot::{FileKind, MAX_FILE_BYTES};
use crate::search_replace::effect::changes_code;
use crate::stage::gold::{GoldFile, GoldStatus};
use crate::train::mine::MineOptions;
use crate::train::mine::evaluation::Evaluation;
use crate::train::mine::issues::Issues;
use crate::train::mine::message::{Claim, MessageRules, n_words};
use crate::train::mine::names::PatchNames;
use crate::train::mine::role::{Role, role};
use crate::train::mine::steps::steps;

/// Why a commit is no instance. Reports count these, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DropReason {
    /// The message names no issue that it closes, is no pull request's, and reads like no fix.
    NoFix,
    Revert,
    NoParent,
    /// No source file changes: tests, documentation, build scripts only.
    NoSource,
    TooManyFiles,
    TooManyLines,
    /// A file is too large, no text, or not in the repository.
    Unreadable,
    /// Nothing that exists is changed, or nothing but blanks and comments.
    EmptyTruth,
    ShortText,
    /// The text names what only the patch can have told.
    NamesSolution,
    /// The base tree holds a file that an evaluation asks for.
    EvaluationFile,
    /// The text or the change is mostly that of another instance.
    NearDuplicate,
    /// The repository would have more than its share.
    OverShare,
}

impl DropReason {
    /// The name that reports print.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoFix => "no fix",
            Self::Revert => "revert",
            Self::NoParent => "no parent",
            Self::NoSource => "no source file",
            Self::TooManyFiles => "too many files",
            Self::TooManyLines => "too many lines",
            Self::Unreadable => "unreadable",
            Self::EmptyTruth => "empty truth",
            Self::ShortText => "short text",
            Self::NamesSolution => "names the solution",
            Self::EvaluationFile => "evaluation file",
            Self::NearDuplicate => "near-duplicate",
            Self::OverShare => "over its share",
        }
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What became of a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Mined {
    Kept(Box<MinedRecord>),
    Dropped(DropReason),
}

/// Changed files of a commit that are looked at; what changes more is no fix of one problem.
const MAX_CHANGED_FILES: usize = 60;

/// What commits of one repository are judged by.
pub(super) struct Miner<'a> {
    pub(super) repo: &'a str,
    pub(super) history: &'a History,
    pub(super) options: &'a MineOptions,
    pub(super) rules: &'a MessageRules,
    pub(super) tests: &'a TestRule,
    pub(super) issues: &'a Issues,
    pub(super) evaluation: &'a Evaluation,
    pub(super) trees: Mutex<TreeMemory>,
}

/// A commit's files by their part in an instance.
#[derive(Default)]
struct Parts {
    solution: Vec<FileChange>,
    tests: Vec<FileChange>,
}

impl Miner<'_> {
    pub(super) fn mine(&self, commit: &Commit) -> Mined {
        match self.record(commit) {
            Ok(record) => Mined::Kept(Box::new(record)),
            Err(reason) => Mined::Dropped(reason),
        }
    }

    fn record(&self, commit: &Commit) -> Result<MinedRecord, DropReason> {
        let message = &commit.message;
        if MessageRules::is_revert(message) {
            return Err(DropReason::Revert);
        }
        let claim = self.rules.claim(message).ok_or(DropReason::NoFix)?;
        let base = *commit.parents.first().ok_or(DropReason::NoParent)?;
        let parts = self.parts(commit)?;
        if n_changed_lines(&parts.solution)? > self.options.max_lines {
            return Err(DropReason::TooManyLines);
        }
        let names = PatchNames::new(&parts.solution, &parts.tests);
        let (text, text_kind) = self.text(message, &claim, &parts, &names)?;
        if self.evaluation.is_in_tree(self.history, base, &self.trees) {
            return Err(DropReason::EvaluationFile);
        }
        let patch = |changes: &[FileChange]| {
            String::from_utf8(render(changes)).map_err(|_| DropReason::Unreadable)
        };
        let id = commit.id.to_string();
        Ok(MinedRecord {
            mined_version: MINED_VERSION,
            instance_id: format!("{}-{}", self.repo.replace('/', "__"), &id[..12]),
            repo: self.repo.to_owned(),
            base_commit: base.to_string(),
            commit: id,
            created_at: jiff::Timestamp::from_second(commit.time)
                .map_err(|_| DropReason::Unreadable)?
                .to_string(),
            problem_statement: text,
            text_kind,
            split: Split::Train,
            patch: patch(&parts.solution)?,
            test_patch: patch(&parts.tests)?,
        })
    }

    /// Reads the files that count.
    fn parts(&self, commit: &Commit) -> Result<Parts, DropReason> {
        let changes = self.history.changes(commit, MAX_CHANGED_FILES);
        let changes = changes.map_err(|_| DropReason::Unreadable)?;
        let changes = changes.ok_or(DropReason::TooManyFiles)?;
        let of_role = |wanted: Role| {
            let has_role = move |change: &&TreeChange| {
                let file = change.before.as_ref().or(change.after.as_ref());
                file.is_some_and(|file| role(&file.path, self.tests) == wanted)
            };
            changes.iter().filter(has_role)
        };
        let n_sources = of_role(Role::Source).count();
        if n_sources == 0 {
            return Err(DropReason::NoSource);
        }
        if self.options.max_files < n_sources {
            return Err(DropReason::TooManyFiles);
        }
        let read = |change: &TreeChange| self.file_change(change).ok_or(DropReason::Unreadable);
        Ok(Parts {
            solution: of_role(Role::Source).map(read).collect::<Result<_, _>>()?,
            // A test that is no text (an image, an archive) is left out.
            tests: of_role(Role::Test).filter_map(|change| self.file_change(change)).collect(),
        })
    }

    fn file_change(&self, change: &TreeChange) -> Option<FileChange> {
        let read = |file: &TreeFile| {
            let bytes = match file.kind {
                FileKind::Regular | FileKind::Executable => self.history.read(file.blob).ok()?,
                FileKind::Symlink | FileKind::Submodule => return None,
            };
            let is_text = (bytes.len() as u64) <= MAX_FILE_BYTES
                && std::str::from_utf8(&bytes).is_ok_and(|text| !text.contains('\0'));
            is_text.then(|| FileState { path: file.path.clone(), kind: file.kind, bytes })
        };
        Some(match (&change.before, &change.after) {
            (Some(before), Some(after)) => {
                FileChange::Changed { before: read(before)?, after: read(after)? }
            }
            (Some(before), None) => FileChange::Deleted(read(before)?),
            (None, Some(after)) => FileChange::Created(read(after)?),
            (None, None) => return None,
        })
    }

    /// The problem statement: the issue where it is at hand, else what the message tells.
    fn text(
        &self,
        message: &str,
        claim: &Claim,
        parts: &Parts,
        names: &PatchNames,
    ) -> Result<(String, TextKind), DropReason> {
        let min_words = self.options.min_words;
        if let Claim::Closes(numbers) = claim
            && let Some(issue) = self.issues.find(self.repo, numbers)
        {
            return match n_words(issue) < min_words {
                true => Err(DropReason::ShortText),
                false => Ok((issue.to_owned(), TextKind::Issue)),
            };
        }
        let text = self.rules.problem(message, &|line| names.has_line(line));
        if n_words(&text) < min_words {
            return Err(DropReason::ShortText);
        }
        if names.leak(&text).is_some() {
            return Err(DropReason::NamesSolution);
        }
        let test =
            self.options.repro_from_tests.then(|| steps(&parts.tests, &parts.solution, names));
        match test.flatten() {
            None => Ok((text, TextKind::Message)),
            Some(test) => {
                let text = format!("{text}\n\nSteps to reproduce:\n```\n{test}\n```");
                Ok((text, TextKind::MessageAndTest))
            }
        }
    }
}

/// Added and removed lines.
///
/// # Errors
///
/// There is nothing to localize: all files are new, or only blanks and comments change.
fn n_changed_lines(solution: &[FileChange]) -> Result<usize, DropReason> {
    let files: Vec<GoldFile> = solution.iter().filter_map(GoldFile::of_change).collect();
    let can_be_localized = files.iter().any(|file| {
        file.status != GoldStatus::Created
            && file.changes.iter().any(|change| {
                let has_text = |line: &str| !line.trim().is_empty();
                file.inserted(change).iter().any(|line| has_text(line))
                    || file
                        .base
                        .iter()
                        .any(|base| change.base.clone().any(|idx| has_text(base.line(idx))))
            })
    });
    if !can_be_localized || !changes_code(solution) {
        return Err(DropReason::EmptyTruth);
    }
    let changes = files.iter().flat_map(|file| &file.changes);
    Ok(changes.map(|change| change.base.len() + change.new.len()).sum())
}
