//! The code of a prompt, which is all that edits may refer to.

use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::repo::path::RepoPath;
use crate::repo::snapshot::FileKind;
use crate::repo::text::Text;
use crate::search_replace::apply::Scope;
use crate::search_replace::base::{Base, BaseFile, BaseText};
use crate::stage::known::Known;

/// The code of a prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EditShown {
    pub files: Vec<ShownCode>,
    /// Lines around the chosen ones without room.
    pub left_out: usize,
    /// Folders above the shown files, without `/` at the end; the root is empty.
    pub folders: Vec<String>,
    /// Characters of a marker: seven, or more where the code holds such lines.
    pub marker_length: usize,
    /// All paths of the snapshot.
    pub known: Known,
}

/// The code of a file in a prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShownCode {
    pub path: RepoPath,
    /// Lines of the whole file.
    pub n_lines: u32,
    /// In file order, apart from each other.
    pub windows: Vec<Window>,
    /// The lines that the stage before chose.
    pub chosen: Vec<u32>,
}

/// A run of shown lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// 1-based.
    pub first: u32,
    pub lines: Vec<String>,
}

impl ShownCode {
    /// The text of a line of the file, where it is shown.
    pub(super) fn line(&self, number: u32) -> Option<&str> {
        self.windows.iter().find_map(|window| {
            let idx = number.checked_sub(window.first)?;
            window.lines.get(idx as usize).map(String::as_str)
        })
    }

    /// The runs of chosen lines that are shown, without blank lines at their ends, and grown
    /// until they stand once.
    pub(super) fn chosen_runs(&self) -> Vec<Vec<&str>> {
        let is_chosen = |number: u32| self.chosen.contains(&number);
        let mut runs: Vec<Vec<&str>> = Vec::new();
        for window in &self.windows {
            let lines: Vec<&str> = window.lines.iter().map(String::as_str).collect();
            let is_wanted = |at: &usize| is_chosen(window.first + *at as u32);
            let mut at = 0;
            while let Some(start) = (at..lines.len()).find(is_wanted) {
                let end = (start..lines.len()).find(|at| !is_wanted(at)).unwrap_or(lines.len());
                at = end;
                let has_text = |at: &usize| !lines[*at].trim().is_empty();
                let (first, last) =
                    ((start..end).find(has_text), (start..end).rev().find(has_text));
                let (Some(mut first), Some(mut last)) = (first, last) else { continue };
                while self.n_occurrences(&lines[first..=last]) != 1 && 0 < first {
                    first -= 1;
                }
                while self.n_occurrences(&lines[first..=last]) != 1 && last + 1 < lines.len() {
                    last += 1;
                }
                let run = lines[first..=last].to_vec();
                if self.n_occurrences(&run) == 1 && !runs.contains(&run) {
                    runs.push(run);
                }
            }
        }
        runs
    }

    /// How often a run of lines stands in the windows.
    fn n_occurrences(&self, run: &[&str]) -> usize {
        let stands = |lines: &&[String]| lines.iter().eq(run.iter());
        let windows = self.windows.iter().flat_map(|window| window.lines.windows(run.len()));
        windows.filter(stands).count()
    }
}

impl EditShown {
    /// The lines that edits may refer to.
    pub(crate) fn scope(&self) -> Scope {
        let windows = |file: &ShownCode| -> Vec<Range<usize>> {
            let range = |window: &Window| {
                let first = window.first as usize - 1;
                first..first + window.lines.len()
            };
            file.windows.iter().map(range).collect()
        };
        let chosen = |file: &ShownCode| -> Vec<Range<usize>> {
            file.chosen.iter().map(|line| *line as usize - 1..*line as usize).collect()
        };
        let files = || self.files.iter();
        Scope {
            windows: Some(files().map(|file| (file.path.clone(), windows(file))).collect()),
            preferred: files().map(|file| (file.path.clone(), chosen(file))).collect(),
        }
    }
}

/// All folders above a path, the root last.
pub(super) fn folders_above(path: &str) -> impl Iterator<Item = &str> {
    let slashes = path.rmatch_indices('/').map(|(at, _)| at);
    slashes.chain([0]).map(|end| &path[..end])
}

/// The shown files, with blank lines for those that were not shown; edits cannot refer to them.
pub(super) struct ShownBase<'a>(pub(super) &'a EditShown);

impl Base for ShownBase<'_> {
    fn file(&self, path: &RepoPath) -> BaseFile {
        let Some(file) = self.0.files.iter().find(|file| file.path == *path) else {
            let why = "it was not shown".to_owned();
            return if self.0.known.contains(path.as_str()) {
                BaseFile::Unreadable { kind: FileKind::Regular, why }
            } else {
                BaseFile::Absent
            };
        };
        let mut content = String::new();
        let mut number = 1;
        for window in &file.windows {
            while number < window.first {
                content.push('\n');
                number += 1;
            }
            for line in &window.lines {
                content += line;
                content.push('\n');
                number += 1;
            }
        }
        while number <= file.n_lines {
            content.push('\n');
            number += 1;
        }
        BaseFile::Text(BaseText {
            text: Arc::new(Text::from_content(&content)),
            kind: FileKind::Regular,
        })
    }

    fn is_folder(&self, path: &RepoPath) -> bool {
        let is_below = |folder: &str| {
            folder
                .strip_prefix(path.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.0.folders.iter().any(|folder| is_below(folder))
    }
}
