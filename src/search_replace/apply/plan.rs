//! What is to become of one base path: the edits that name it, taken together.

use std::sync::Arc;

use crate::diff::change::{FileChange, FileState};
use crate::repo::path::RepoPath;
use crate::repo::snapshot::FileKind;
use crate::repo::text::{Piece, Text};
use crate::search_replace::apply::placing::{Lines, Placed, with_endings};
use crate::search_replace::apply::{ApplyEditsError, Misuse, Scope, misuse, windows_of};
use crate::search_replace::base::{BaseFile, BaseText};
use crate::search_replace::block::{Edit, Side};

/// What is to become of one base path.
pub(super) struct Plan<'a> {
    base: BaseFile,
    is_deleted: bool,
    renamed_to: Option<&'a RepoPath>,
    is_executable: Option<bool>,
    replacements: Vec<(&'a Side, &'a Side)>,
}

impl<'a> Plan<'a> {
    pub(super) fn new(base: BaseFile) -> Self {
        Self {
            base,
            is_deleted: false,
            renamed_to: None,
            is_executable: None,
            replacements: Vec::new(),
        }
    }

    pub(super) fn take(&mut self, edit: &'a Edit, path: &RepoPath) -> Result<(), ApplyEditsError> {
        let is_second = match edit {
            Edit::Replace { search, replace, .. } => {
                self.replacements.push((search, replace));
                self.is_deleted
            }
            Edit::Delete { .. } => {
                let is_second =
                    self.is_deleted || self.renamed_to.is_some() || !self.replacements.is_empty();
                self.is_deleted = true;
                is_second
            }
            Edit::Rename { to, .. } => {
                let is_second = self.is_deleted || self.renamed_to.is_some();
                self.renamed_to = Some(to);
                is_second
            }
            Edit::SetMode { is_executable, .. } => {
                let is_second = self.is_deleted || self.is_executable.is_some();
                self.is_executable = Some(*is_executable);
                is_second
            }
        };
        if is_second { Err(misuse(path, Misuse::TwoFates)) } else { Ok(()) }
    }

    pub(super) fn change(
        &self,
        path: &RepoPath,
        scope: &Scope,
    ) -> Result<FileChange, ApplyEditsError> {
        let (text, kind) = match &self.base {
            BaseFile::Absent => return self.creation(path),
            BaseFile::Text(BaseText { text, kind }) => (Arc::clone(text), *kind),
            BaseFile::Unreadable { why, .. } => {
                return Err(ApplyEditsError::NotText { path: path.clone(), why: why.clone() });
            }
        };
        let bytes = assembled(path, &text, [Piece::Kept(0..text.n_lines())])?;
        let before = FileState { path: path.clone(), kind, bytes };
        if self.is_deleted {
            return Ok(FileChange::Deleted(before));
        }
        let new_path = self.renamed_to.unwrap_or(path).clone();
        let bytes = if self.replacements.is_empty() {
            before.bytes.clone()
        } else {
            self.edited(path, &text, scope)?
        };
        let after = FileState { path: new_path, kind: self.kind(path, kind)?, bytes };
        Ok(FileChange::Changed { before, after })
    }

    fn kind(&self, path: &RepoPath, kind: FileKind) -> Result<FileKind, ApplyEditsError> {
        match (kind, self.is_executable) {
            (kind, None) => Ok(kind),
            (FileKind::Regular | FileKind::Executable, Some(true)) => Ok(FileKind::Executable),
            (FileKind::Regular | FileKind::Executable, Some(false)) => Ok(FileKind::Regular),
            (FileKind::Symlink | FileKind::Submodule, Some(_)) => Err(misuse(path, Misuse::NoMode)),
        }
    }

    /// The new file that an empty SEARCH makes; a blank one is taken as empty.
    fn creation(&self, path: &RepoPath) -> Result<FileChange, ApplyEditsError> {
        let unknown = || Err(ApplyEditsError::UnknownPath(path.clone()));
        let Some((search, replace)) = self.replacements.first() else { return unknown() };
        let is_empty = search.lines.iter().all(|line| line.trim().is_empty());
        if self.is_deleted || self.renamed_to.is_some() || !is_empty {
            return unknown();
        }
        if self.replacements.len() != 1 {
            return Err(misuse(path, Misuse::TwoFates));
        }
        let mut content = replace.lines.join("\n");
        if !replace.lines.is_empty() && !replace.no_newline {
            content.push('\n');
        }
        let kind = self.kind(path, FileKind::Regular)?;
        Ok(FileChange::Created(FileState { path: path.clone(), kind, bytes: content.into_bytes() }))
    }

    /// The bytes of the file with all replacements made.
    fn edited(
        &self,
        path: &RepoPath,
        text: &Text,
        scope: &Scope,
    ) -> Result<Vec<u8>, ApplyEditsError> {
        let windows = windows_of(path, text, scope);
        let mut placed = Vec::with_capacity(self.replacements.len());
        for &(search, replace) in &self.replacements {
            placed.push(Placed::find(path, text, &windows, scope, (search, replace))?);
        }
        placed.sort_by_key(|placed| placed.base.start);
        for pair in placed.windows(2) {
            let overlaps = pair[1].base.start < pair[0].base.end;
            if overlaps || pair[1].base == pair[0].base {
                let line = pair[1].base.start + 1;
                return Err(ApplyEditsError::OverlappingEdits { path: path.clone(), line });
            }
        }
        let mut lines = Vec::new();
        let (mut at, mut end) = (0, None);
        for placed in placed {
            lines.push(Lines::Kept(at..placed.base.start));
            lines.extend(placed.lines);
            at = placed.base.end;
            end = placed.end;
        }
        lines.push(Lines::Kept(at..text.n_lines()));
        lines.retain(|lines| !matches!(lines, Lines::Kept(run) if run.is_empty()));
        assembled(path, text, with_endings(text, &lines, end))
    }
}

fn assembled<'a>(
    path: &RepoPath,
    text: &Text,
    pieces: impl IntoIterator<Item = Piece<'a>>,
) -> Result<Vec<u8>, ApplyEditsError> {
    text.assemble(pieces).map_err(|why| ApplyEditsError::NotEncodable {
        path: path.clone(),
        character: why.character,
        encoding: why.encoding,
    })
}
