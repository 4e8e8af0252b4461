//! Edits applied to the texts they quote: all of them, or none with the reason.
//!
//! Every SEARCH refers to the base, so the order of edits does not matter. Lines that REPLACE
//! keeps retain their bytes; new lines take the ending of the line above them and the encoding of
//! the file. Nothing is written anywhere.

mod placing;
mod plan;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::Range;

use crate::diff::change::FileChange;
use crate::repo::path::RepoPath;
use crate::repo::text::Text;
use crate::search_replace::apply::plan::Plan;
use crate::search_replace::base::{Base, BaseFile};
use crate::search_replace::block::Edit;
use crate::search_replace::find::Similar;

/// Which lines edits may refer to. Line ranges are 0-based and half-open.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// The lines that were shown, by path. `None`: all lines of all files.
    pub windows: Option<BTreeMap<RepoPath, Vec<Range<usize>>>>,
    /// The lines that the edits are about; they decide between several matches.
    pub preferred: BTreeMap<RepoPath, Vec<Range<usize>>>,
}

/// Why edits were not applied. Lines are counted from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyEditsError {
    /// `search not found`
    #[error("`{path}` has no such lines where they were shown: `{search}`{}", help(.unshown_line.as_ref(), .similar.as_ref()))]
    SearchNotFound {
        path: RepoPath,
        /// The first line that is not blank.
        search: String,
        /// A line of the file at which the text stands, but was not shown.
        unshown_line: Option<usize>,
        similar: Option<Similar>,
    },
    /// `search not found`
    #[error("`{path}` cannot be edited as text: {why}")]
    NotText { path: RepoPath, why: String },
    /// `ambiguous search`
    #[error("`{path}` has the wanted lines at lines {}", join(.lines))]
    AmbiguousSearch { path: RepoPath, lines: Vec<usize> },
    /// `overlapping edits`
    #[error("two edits of `{path}` want to change line {line}")]
    OverlappingEdits { path: RepoPath, line: usize },
    /// `no change`
    #[error("the edits leave every file as it is")]
    NoChange,
    /// `unknown path`
    #[error("the base has no file `{0}`")]
    UnknownPath(RepoPath),
    /// `malformed edit`
    #[error("`{path}`: {why}")]
    Malformed { path: RepoPath, why: Misuse },
    /// `not encodable`
    #[error("`{path}` is written in {encoding}, which has no `{character}`")]
    NotEncodable { path: RepoPath, character: char, encoding: &'static str },
}

/// An edit that is well written and makes no sense for its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Misuse {
    #[error("an empty SEARCH creates a file, but this one exists and has lines")]
    EmptySearch,
    #[error("a file or folder is already there")]
    PathTaken,
    #[error("a file stands where a folder is needed")]
    FileAsFolder,
    #[error("the file is deleted, renamed or created twice, or edited as well as deleted")]
    TwoFates,
    #[error("`\\ No newline at end of file` stands where the file does not end")]
    NotAtEnd,
    #[error("only regular files have a mode to change")]
    NoMode,
}

fn help(unshown_line: Option<&usize>, similar: Option<&Similar>) -> String {
    match (unshown_line, similar) {
        (Some(line), _) => format!("\nhint: they stand at line {line}, which was not shown"),
        (None, Some(similar)) => {
            format!("\nhint: most like them, at line {}:\n{}", similar.line, similar.text)
        }
        (None, None) => String::new(),
    }
}

fn join(lines: &[usize]) -> String {
    lines.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")
}

/// The changes that the edits make to the base, by path.
pub fn apply_edits(
    edits: &[Edit],
    base: &dyn Base,
    scope: &Scope,
) -> Result<Vec<FileChange>, ApplyEditsError> {
    let mut plans: BTreeMap<RepoPath, Plan<'_>> = BTreeMap::new();
    // Edits may stand under the new path of a file that the same answer renames.
    let base_path_of: BTreeMap<&RepoPath, &RepoPath> = edits
        .iter()
        .filter_map(|edit| match edit {
            Edit::Rename { from, to } => Some((to, from)),
            _ => None,
        })
        .collect();
    for edit in edits {
        let path = match edit {
            Edit::Replace { path, .. } | Edit::Delete { path } | Edit::SetMode { path, .. } => path,
            Edit::Rename { from, .. } => from,
        };
        let path = base_path_of.get(path).copied().unwrap_or(path);
        let plan = plans.entry(path.clone()).or_insert_with(|| Plan::new(base.file(path)));
        plan.take(edit, path)?;
    }
    let mut changes = BTreeMap::new();
    for (path, plan) in &plans {
        let change = plan.change(path, scope)?;
        if change.is_real() && changes.insert(change.path().clone(), change).is_some() {
            return Err(misuse(path, Misuse::PathTaken));
        }
    }
    check_new_paths(&changes, base)?;
    if changes.is_empty() {
        return Err(ApplyEditsError::NoChange);
    }
    Ok(changes.into_values().collect())
}

fn misuse(path: &RepoPath, why: Misuse) -> ApplyEditsError {
    ApplyEditsError::Malformed { path: path.clone(), why }
}

/// Created and renamed files must stand where nothing is, below folders only.
fn check_new_paths(
    changes: &BTreeMap<RepoPath, FileChange>,
    base: &dyn Base,
) -> Result<(), ApplyEditsError> {
    for (path, change) in changes {
        if change.before().is_some_and(|before| before.path == *path) {
            continue;
        }
        if !matches!(base.file(path), BaseFile::Absent) || base.is_folder(path) {
            return Err(misuse(path, Misuse::PathTaken));
        }
        let ends = path.as_str().match_indices('/').map(|(at, _)| at);
        for parent in ends.filter_map(|end| RepoPath::parse(&path.as_str()[..end]).ok()) {
            let is_created = changes.get(&parent).is_some_and(|other| other.after().is_some());
            if is_created || !matches!(base.file(&parent), BaseFile::Absent) {
                return Err(misuse(path, Misuse::FileAsFolder));
            }
        }
    }
    Ok(())
}

/// The windows of a file, sorted and joined where they touch.
pub fn windows_of(path: &RepoPath, text: &Text, scope: &Scope) -> Vec<Range<usize>> {
    let Some(windows) = &scope.windows else {
        let whole = 0..text.n_lines();
        return [whole].into();
    };
    let mut sorted = windows.get(path).cloned().unwrap_or_default();
    sorted.sort_by_key(|window| window.start);
    let mut joined: Vec<Range<usize>> = Vec::with_capacity(sorted.len());
    for window in sorted {
        match joined.last_mut() {
            Some(last) if window.start <= last.end => last.end = last.end.max(window.end),
            _ => joined.push(window),
        }
    }
    joined
}
