//! A patch as git writes it, for many files: parsed, and applied to the bytes of a base tree.
//!
//! diffy reads the format; what it lets pass and git refuses (hunks behind stray text, paths out
//! of the tree) is refused here. Content of binary patches is noted, not read.

use std::collections::BTreeMap;

use diffy::Line;
use diffy::patch_set::{FileMode, FileOperation, FilePatch as ParsedFile, ParseOptions, PatchSet};

use crate::diff::change::{FileChange, FileState};
use crate::diff::lines::split_lines;
use crate::repo::path::{PathError, RepoPath};
use crate::repo::snapshot::FileKind;

/// The changes of a multi-file patch, in its order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Patch {
    pub files: Vec<FilePatch>,
}

/// What a patch says of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilePatch {
    pub operation: Operation,
    /// The kind of file that it makes, where it says so.
    pub new_kind: Option<FileKind>,
    pub body: Body,
}

/// What happens to the file as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    Modify(RepoPath),
    Create(RepoPath),
    Delete(RepoPath),
    Rename { from: RepoPath, to: RepoPath },
    Copy { from: RepoPath, to: RepoPath },
}

/// What happens to the content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// In the order of the file; none where only path or kind change, or the file is empty.
    Hunks(Vec<Hunk>),
    Binary,
}

/// A run of lines with its surroundings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hunk {
    /// The base line it starts at, 0-based, as the patch says.
    pub base_start: usize,
    pub lines: Vec<HunkLine>,
}

/// A line of a hunk, with its line end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HunkLine {
    Context(Vec<u8>),
    Delete(Vec<u8>),
    Insert(Vec<u8>),
}

/// Why a text is no patch.
#[derive(Debug, thiserror::Error)]
pub enum ParsePatchError {
    #[error("a patch was wanted, but no line starts with `diff --git ` or `--- `")]
    NoPatch,
    #[error("file {file_idx} of the patch cannot be read: {why}")]
    Syntax { file_idx: usize, why: diffy::patch_set::PatchSetParseError },
    #[error("the patch has {n_headers} hunks, of which {n_hunks} follow a file's header")]
    LostHunk { n_headers: usize, n_hunks: usize },
    #[error("the path `{0}` of the patch is not UTF-8")]
    PathNotUtf8(String),
    #[error(transparent)]
    Path(#[from] PathError),
}

/// Why a patch does not fit a base tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyPatchError {
    #[error("the patch changes `{0}`, which the base does not have")]
    NoSuchFile(RepoPath),
    #[error("the patch creates `{0}`, which the base has already")]
    FileExists(RepoPath),
    #[error("the patch changes `{0}` twice")]
    ChangedTwice(RepoPath),
    #[error("hunk {hunk_idx} for `{path}` does not fit at line {line} nor anywhere else")]
    HunkDoesNotFit { path: RepoPath, hunk_idx: usize, line: usize },
    #[error("the patch for `{0}` is binary, and binary patches are not applied")]
    Binary(RepoPath),
    #[error("the patch deletes `{0}`, but the file has more lines than it says")]
    NotAllDeleted(RepoPath),
}

impl Patch {
    /// Reads `git diff` output or plain unified diffs, with paths under `a/` and `b/` or without.
    /// A blank text is the empty patch.
    pub fn parse(text: &[u8]) -> Result<Self, ParsePatchError> {
        let mut files = Vec::new();
        if text.trim_ascii().is_empty() {
            return Ok(Self { files });
        }
        let starts_with = |prefix: &[u8]| {
            text.starts_with(prefix) || find(text, &[b"\n", prefix].concat()).is_some()
        };
        let options = match (starts_with(b"diff --git "), starts_with(b"--- ")) {
            (true, _) => ParseOptions::gitdiff(),
            (false, true) => ParseOptions::unidiff(),
            (false, false) => return Err(ParsePatchError::NoPatch),
        };
        for (idx, parsed) in PatchSet::parse_bytes(text, options).enumerate() {
            let parsed =
                parsed.map_err(|why| ParsePatchError::Syntax { file_idx: idx + 1, why })?;
            files.push(FilePatch::from_parsed(&parsed)?);
        }
        // Every line of a hunk has a sign before it, so each line that starts like a hunk is one.
        let n_headers = split_lines(text).iter().filter(|line| line.starts_with(b"@@ ")).count();
        let n_hunks: usize = files.iter().map(FilePatch::n_hunks).sum();
        if n_hunks != n_headers {
            return Err(ParsePatchError::LostHunk { n_headers, n_hunks });
        }
        Ok(Self { files })
    }

    /// The paths that must be there for [`Self::apply`], or must not, in order.
    pub fn base_paths(&self) -> impl Iterator<Item = &RepoPath> {
        self.files
            .iter()
            .flat_map(|file| match &file.operation {
                Operation::Modify(path) | Operation::Create(path) | Operation::Delete(path) => {
                    [Some(path), None]
                }
                Operation::Rename { from, to } | Operation::Copy { from, to } => {
                    [Some(from), Some(to)]
                }
            })
            .flatten()
    }

    /// The changes that the patch makes to the base files given, by new path.
    ///
    /// A hunk goes where the patch says; where its lines do not stand there, to the nearest place
    /// where all of them do, as `git apply` does it. Context lines are never skipped over.
    pub fn apply(
        &self,
        base: &BTreeMap<RepoPath, FileState>,
    ) -> Result<Vec<FileChange>, ApplyPatchError> {
        let mut changes: BTreeMap<RepoPath, FileChange> = BTreeMap::new();
        let existing = |path: &RepoPath| {
            base.get(path).ok_or_else(|| ApplyPatchError::NoSuchFile(path.clone()))
        };
        for file in &self.files {
            let change = match &file.operation {
                Operation::Modify(path) => {
                    let before = existing(path)?;
                    FileChange::Changed {
                        before: before.clone(),
                        after: file.applied(before, path)?,
                    }
                }
                Operation::Delete(path) => {
                    let before = existing(path)?;
                    if !file.applied(before, path)?.bytes.is_empty() {
                        return Err(ApplyPatchError::NotAllDeleted(path.clone()));
                    }
                    FileChange::Deleted(before.clone())
                }
                Operation::Create(path) => {
                    if base.contains_key(path) && !self.removes(path) {
                        return Err(ApplyPatchError::FileExists(path.clone()));
                    }
                    let nothing = FileState {
                        path: path.clone(),
                        kind: FileKind::Regular,
                        bytes: Vec::new(),
                    };
                    FileChange::Created(file.applied(&nothing, path)?)
                }
                Operation::Rename { from, to } | Operation::Copy { from, to } => {
                    let before = existing(from)?;
                    if base.contains_key(to) && !self.removes(to) {
                        return Err(ApplyPatchError::FileExists(to.clone()));
                    }
                    let after = file.applied(before, to)?;
                    if matches!(file.operation, Operation::Copy { .. }) {
                        FileChange::Created(after)
                    } else {
                        FileChange::Changed { before: before.clone(), after }
                    }
                }
            };
            if !change.is_real() {
                continue;
            }
            // A file that changes its type is deleted and created anew.
            let path = change.path().clone();
            let change = match (changes.remove(&path), change) {
                (None, change) => change,
                (Some(FileChange::Deleted(before)), FileChange::Created(after)) => {
                    FileChange::Changed { before, after }
                }
                _ => return Err(ApplyPatchError::ChangedTwice(path)),
            };
            changes.insert(path, change);
        }
        Ok(changes.into_values().collect())
    }

    fn removes(&self, path: &RepoPath) -> bool {
        self.files.iter().any(|file| match &file.operation {
            Operation::Delete(gone) | Operation::Rename { from: gone, .. } => gone == path,
            _ => false,
        })
    }
}

impl FilePatch {
    fn from_parsed(parsed: &ParsedFile<'_, [u8]>) -> Result<Self, ParsePatchError> {
        let operation = match parsed.operation() {
            FileOperation::Delete(path) => Operation::Delete(prefixed_path(path)?),
            FileOperation::Create(path) => Operation::Create(prefixed_path(path)?),
            // Without `diff.noprefix` the two sides differ by their first letter.
            FileOperation::Modify { original, modified } if original == modified => {
                Operation::Modify(repo_path(original)?)
            }
            FileOperation::Modify { original, modified } => {
                let (from, to) = (prefixed_path(original)?, prefixed_path(modified)?);
                if from == to { Operation::Modify(to) } else { Operation::Rename { from, to } }
            }
            FileOperation::Rename { from, to } => {
                Operation::Rename { from: repo_path(from)?, to: repo_path(to)? }
            }
            FileOperation::Copy { from, to } => {
                Operation::Copy { from: repo_path(from)?, to: repo_path(to)? }
            }
        };
        let body = match parsed.patch().as_text() {
            None => Body::Binary,
            Some(text) => Body::Hunks(text.hunks().iter().map(Hunk::from_parsed).collect()),
        };
        let new_kind = parsed.new_mode().map(|mode| match mode {
            FileMode::Regular => FileKind::Regular,
            FileMode::Executable => FileKind::Executable,
            FileMode::Symlink => FileKind::Symlink,
            FileMode::Gitlink => FileKind::Submodule,
        });
        Ok(Self { operation, new_kind, body })
    }

    fn n_hunks(&self) -> usize {
        match &self.body {
            Body::Hunks(hunks) => hunks.len(),
            Body::Binary => 0,
        }
    }

    /// The file that this patch makes of `before`, at `path`.
    fn applied(&self, before: &FileState, path: &RepoPath) -> Result<FileState, ApplyPatchError> {
        let Body::Hunks(hunks) = &self.body else {
            return Err(ApplyPatchError::Binary(path.clone()));
        };
        let base = split_lines(&before.bytes);
        let mut bytes = Vec::with_capacity(before.bytes.len() + 256);
        let mut done = 0;
        // How far the hunks before this one stood from where the patch said.
        let mut drift = 0_isize;
        for (hunk_idx, hunk) in hunks.iter().enumerate() {
            let wanted = hunk.base_start.saturating_add_signed(drift);
            let start = hunk.find(&base, done, wanted).ok_or_else(|| {
                let line = hunk.base_start + 1;
                ApplyPatchError::HunkDoesNotFit { path: path.clone(), hunk_idx: hunk_idx + 1, line }
            })?;
            drift = start as isize - hunk.base_start as isize;
            bytes.extend(base[done..start].concat());
            bytes.extend(hunk.new_lines().flatten());
            done = start + hunk.base_lines().count();
        }
        bytes.extend(base[done..].concat());
        let kind = self.new_kind.unwrap_or(before.kind);
        Ok(FileState { path: path.clone(), kind, bytes })
    }
}

impl Hunk {
    fn from_parsed(parsed: &diffy::Hunk<'_, [u8]>) -> Self {
        let range = parsed.old_range();
        // An empty range names the line before the place.
        let base_start =
            if range.is_empty() { range.start() } else { range.start().saturating_sub(1) };
        let lines = parsed.lines().iter().map(|line| match line {
            Line::Context(bytes) => HunkLine::Context(bytes.to_vec()),
            Line::Delete(bytes) => HunkLine::Delete(bytes.to_vec()),
            Line::Insert(bytes) => HunkLine::Insert(bytes.to_vec()),
        });
        Self { base_start, lines: lines.collect() }
    }

    fn base_lines(&self) -> impl Iterator<Item = &[u8]> {
        self.lines.iter().filter_map(|line| match line {
            HunkLine::Context(bytes) | HunkLine::Delete(bytes) => Some(bytes.as_slice()),
            HunkLine::Insert(_) => None,
        })
    }

    fn new_lines(&self) -> impl Iterator<Item = &[u8]> {
        self.lines.iter().filter_map(|line| match line {
            HunkLine::Context(bytes) | HunkLine::Insert(bytes) => Some(bytes.as_slice()),
            HunkLine::Delete(_) => None,
        })
    }

    /// The base line at which the hunk fits: the wanted one, else the nearest behind `done`.
    fn find(&self, base: &[&[u8]], done: usize, wanted: usize) -> Option<usize> {
        let wanted_lines: Vec<&[u8]> = self.base_lines().collect();
        let last = base.len().checked_sub(wanted_lines.len()).filter(|&last| done <= last)?;
        let fits = |start: usize| base[start..start + wanted_lines.len()] == wanted_lines[..];
        if (done..=last).contains(&wanted) && fits(wanted) {
            return Some(wanted);
        }
        // A hunk that starts on the first line, or has no context behind it, says that it stands
        // at that end of the file; it fits nowhere else.
        let is_at_start = self.base_start == 0;
        let is_at_end = !matches!(self.lines.last(), Some(HunkLine::Context(_)));
        let may_be = |start: usize| {
            (!is_at_start || start == 0) && (!is_at_end || start == last) && fits(start)
        };
        (done..=last).filter(|&start| may_be(start)).min_by_key(|&start| start.abs_diff(wanted))
    }
}

/// A path behind the first letter that git puts before it (`a/`, `b/`, or that of
/// `diff.mnemonicPrefix`); a path without one is taken as it is.
fn prefixed_path(bytes: &[u8]) -> Result<RepoPath, ParsePatchError> {
    match bytes {
        [b'a' | b'b' | b'c' | b'i' | b'o' | b'w', b'/', rest @ ..] => repo_path(rest),
        _ => repo_path(bytes),
    }
}

fn repo_path(bytes: &[u8]) -> Result<RepoPath, ParsePatchError> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| ParsePatchError::PathNotUtf8(bytes.escape_ascii().to_string()))?;
    Ok(RepoPath::parse(text)?)
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn base() -> BTreeMap<RepoPath, FileState> {
        let texts = [("a.py", "1\n2\n3\n4\n5\n6\n"), ("b.py", "x\n"), ("\u{e9}.py", "end")];
        let states = texts.map(|(path, text)| {
            let path = RepoPath::parse(path).unwrap();
            (path.clone(), FileState { path, kind: FileKind::Regular, bytes: text.into() })
        });
        states.into()
    }

    #[track_caller]
    fn check(patch: &str, expect: Expect) {
        let describe = |state: Option<&FileState>| {
            state.map_or("nothing".to_owned(), |FileState { path, kind, bytes }| {
                format!("{path} {kind:?} {:?}", String::from_utf8_lossy(bytes))
            })
        };
        let text = match Patch::parse(patch.as_bytes()) {
            Err(why) => format!("no patch: {why}"),
            Ok(patch) => match patch.apply(&base()) {
                Err(why) => format!("not applied: {why}"),
                Ok(changes) => changes
                    .iter()
                    .map(|c| format!("{} => {}", describe(c.before()), describe(c.after())))
                    .collect::<Vec<_>>()
                    .join("\n"),
            },
        };
        expect.assert_eq(&text);
    }

    #[test]
    fn git_patches_of_several_files_apply() {
        check(
            "From: someone\n\ndiff --git a/a.py b/a.py\nindex 1..2 100644\n--- a/a.py\n+++ b/a.py\n@@ -2,2 +2,2 @@ def f\n 2\n-3\n+three\ndiff --git a/b.py b/c d.py\nsimilarity index 100%\nrename from b.py\nrename to c d.py\ndiff --git \"a/\\303\\251.py\" \"b/\\303\\251.py\"\nold mode 100644\nnew mode 100755\n--- \"a/\\303\\251.py\"\n+++ \"b/\\303\\251.py\"\n@@ -1 +1 @@\n-end\n\\ No newline at end of file\n+END\ndiff --git a/new/__init__.py b/new/__init__.py\nnew file mode 100644\nindex 0..e69de29\n",
            expect![[r#"
                a.py Regular "1\n2\n3\n4\n5\n6\n" => a.py Regular "1\n2\nthree\n4\n5\n6\n"
                b.py Regular "x\n" => c d.py Regular "x\n"
                nothing => new/__init__.py Regular ""
                é.py Regular "end" => é.py Executable "END\n""#]],
        );
    }

    #[test]
    fn plain_unified_diffs_apply() {
        check(
            "--- a/b.py\n+++ b/b.py\n@@ -1 +1 @@\n-x\n+y\n",
            expect![[r#"b.py Regular "x\n" => b.py Regular "y\n""#]],
        );
        check(
            "--- b.py\n+++ b.py\n@@ -1 +1,2 @@\n x\n+y\n",
            expect![[r#"b.py Regular "x\n" => b.py Regular "x\ny\n""#]],
        );
        check(
            "--- /dev/null\n+++ b/n.py\n@@ -0,0 +1 @@\n+y\n",
            expect![[r#"nothing => n.py Regular "y\n""#]],
        );
        check(
            "--- a/b.py\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n",
            expect![[r#"b.py Regular "x\n" => nothing"#]],
        );
        check(" \n", expect![[""]]);
    }

    #[test]
    fn hunks_move_but_do_not_bend() {
        check(
            "--- a/a.py\n+++ b/a.py\n@@ -1,3 +1,3 @@\n 4\n-5\n+five\n 6\n",
            expect!["not applied: hunk 1 for `a.py` does not fit at line 1 nor anywhere else"],
        );
        check(
            "--- a/a.py\n+++ b/a.py\n@@ -2,3 +2,3 @@\n 4\n-5\n+five\n 6\n",
            expect![[
                r#"a.py Regular "1\n2\n3\n4\n5\n6\n" => a.py Regular "1\n2\n3\n4\nfive\n6\n""#
            ]],
        );
        check(
            "--- a/a.py\n+++ b/a.py\n@@ -4,3 +4,3 @@\n 4\n-V\n+five\n 6\n",
            expect!["not applied: hunk 1 for `a.py` does not fit at line 4 nor anywhere else"],
        );
    }

    #[test]
    fn patches_that_do_not_fit_are_refused() {
        check(
            "hello\n",
            expect![
                "no patch: a patch was wanted, but no line starts with `diff --git ` or `--- `"
            ],
        );
        check(
            "--- a/z.py\n+++ b/z.py\n@@ -1 +1 @@\n-x\n+y\n",
            expect!["not applied: the patch changes `z.py`, which the base does not have"],
        );
        check(
            "--- /dev/null\n+++ b/b.py\n@@ -0,0 +1 @@\n+y\n",
            expect!["not applied: the patch creates `b.py`, which the base has already"],
        );
        check(
            "--- a/../b.py\n+++ b/../b.py\n@@ -1 +1 @@\n-x\n+y\n",
            expect!["no patch: `../b.py` has an empty, `.` or `..` component"],
        );
        check(
            "--- a/a.py\n+++ /dev/null\n@@ -1 +0,0 @@\n-1\n",
            expect![
                "not applied: the patch deletes `a.py`, but the file has more lines than it says"
            ],
        );
        check(
            "--- a/b.py\n+++ b/b.py\n@@ -1 +1,3 @@\n-x\n+y\n",
            expect![
                "no patch: file 1 of the patch cannot be read: error parsing patches: error parsing patch at byte 22: hunk header does not match hunk"
            ],
        );
        check(
            "diff --git a/a.py b/a.py\n--- a/a.py\n+++ b/a.py\n@@ -1 +1 @@\n-1\n+y\njunk\n@@ -6 +6 @@\n-6\n+z\n",
            expect!["no patch: the patch has 2 hunks, of which 1 follow a file's header"],
        );
        check(
            "diff --git a/b.py b/b.py\nindex 1..2 100644\nBinary files a/b.py and b/b.py differ\n",
            expect![
                "not applied: the patch for `b.py` is binary, and binary patches are not applied"
            ],
        );
    }
}
