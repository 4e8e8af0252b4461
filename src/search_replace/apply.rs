//! Edits applied to the texts they quote: all of them, or none with the reason.
//!
//! Every SEARCH refers to the base, so the order of edits does not matter. Lines that REPLACE
//! keeps retain their bytes; new lines take the ending of the line above them and the encoding of
//! the file. Nothing is written anywhere.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::diff::change::{FileChange, FileState};
use crate::diff::lines::diff_lines;
use crate::repo::path::RepoPath;
use crate::repo::snapshot::FileKind;
use crate::repo::text::{Ending, Piece, Text};
use crate::search_replace::base::{Base, BaseFile, BaseText};
use crate::search_replace::block::{Edit, Side};
use crate::search_replace::find::{Match, Place, Similar, find_places, find_similar};

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

/// What is to become of one base path.
struct Plan<'a> {
    base: BaseFile,
    is_deleted: bool,
    renamed_to: Option<&'a RepoPath>,
    is_executable: Option<bool>,
    replacements: Vec<(&'a Side, &'a Side)>,
}

impl<'a> Plan<'a> {
    fn new(base: BaseFile) -> Self {
        Self {
            base,
            is_deleted: false,
            renamed_to: None,
            is_executable: None,
            replacements: Vec::new(),
        }
    }

    fn take(&mut self, edit: &'a Edit, path: &RepoPath) -> Result<(), ApplyEditsError> {
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

    fn change(&self, path: &RepoPath, scope: &Scope) -> Result<FileChange, ApplyEditsError> {
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

/// Base lines that the edited file keeps, or one that it gets.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Lines {
    Kept(Range<usize>),
    New(String),
}

/// What the parts say of the last line of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Newline,
    NoNewline,
}

/// A replacement with the base lines that it replaces.
struct Placed {
    base: Range<usize>,
    lines: Vec<Lines>,
    end: Option<End>,
}

impl Placed {
    fn find(
        path: &RepoPath,
        text: &Text,
        windows: &[Range<usize>],
        scope: &Scope,
        (search, replace): (&Side, &Side),
    ) -> Result<Self, ApplyEditsError> {
        let is_blank = search.lines.iter().all(|line| line.trim().is_empty());
        let place = if text.n_lines() == 0 && is_blank {
            Place { first: 0, by: Match::Exact }
        } else if search.lines.is_empty() {
            return Err(misuse(path, Misuse::EmptySearch));
        } else {
            find_place(path, text, windows, scope, &search.lines)?
        };
        let n_base = if text.n_lines() == 0 { 0 } else { search.lines.len() };
        let base = place.first..place.first + n_base;

        let is_at_end = base.end == text.n_lines();
        let ends_bare = !base.is_empty() && text.ending(base.end - 1) == Ending::None;
        let end = match (search.no_newline, replace.no_newline) {
            (_, true) if !is_at_end => return Err(misuse(path, Misuse::NotAtEnd)),
            (true, _) if !is_at_end || !ends_bare => return Err(misuse(path, Misuse::NotAtEnd)),
            (_, true) => Some(End::NoNewline),
            (true, false) => Some(End::Newline),
            (false, false) => None,
        };

        let new_line = |line: &String| {
            let adjusted = place.by.adjusted(line).map(Lines::New);
            adjusted.ok_or_else(|| not_found(path, text, windows, &search.lines))
        };
        let mut lines = Vec::with_capacity(replace.lines.len());
        let mut at = 0;
        for change in diff_lines(&search.lines[..n_base], &replace.lines) {
            lines.push(Lines::Kept(base.start + at..base.start + change.base.start));
            for line in &replace.lines[change.new] {
                lines.push(new_line(line)?);
            }
            at = change.base.end;
        }
        lines.push(Lines::Kept(base.start + at..base.end));
        Ok(Self { base, lines, end })
    }
}

/// The one place that is meant.
fn find_place(
    path: &RepoPath,
    text: &Text,
    windows: &[Range<usize>],
    scope: &Scope,
    search: &[String],
) -> Result<Place, ApplyEditsError> {
    let places = find_places(text, windows, search);
    let lines: Vec<usize> = places.iter().map(|place| place.first + 1).collect();
    let mut preferred = places.clone();
    if 1 < places.len() {
        let wanted = scope.preferred.get(path).map_or(&[][..], Vec::as_slice);
        preferred.retain(|place| {
            let end = place.first + search.len();
            wanted.iter().any(|lines| lines.start < end && place.first < lines.end)
        });
    }
    match (places.is_empty(), <[Place; 1]>::try_from(preferred)) {
        (true, _) => Err(not_found(path, text, windows, search)),
        (false, Ok([place])) => Ok(place),
        (false, Err(_)) => Err(ApplyEditsError::AmbiguousSearch { path: path.clone(), lines }),
    }
}

fn not_found(
    path: &RepoPath,
    text: &Text,
    windows: &[Range<usize>],
    search: &[String],
) -> ApplyEditsError {
    let everywhere = 0..text.n_lines();
    let mut elsewhere = find_places(text, std::slice::from_ref(&everywhere), search);
    elsewhere.retain(|place| {
        let end = place.first + search.len();
        !windows.iter().any(|window| window.start <= place.first && end <= window.end)
    });
    let first = search.iter().find(|line| !line.trim().is_empty()).or(search.first());
    ApplyEditsError::SearchNotFound {
        path: path.clone(),
        search: first.map(|line| line.trim().to_owned()).unwrap_or_default(),
        unshown_line: elsewhere.first().map(|place| place.first + 1),
        similar: find_similar(text, windows, search),
    }
}

/// The lines with the endings that they get. Runs of kept lines are not empty.
fn with_endings<'a>(text: &'a Text, lines: &'a [Lines], end: Option<End>) -> Vec<Piece<'a>> {
    let mut above = match text.n_lines() {
        0 => Ending::Lf,
        _ if text.ending(0) == Ending::None => Ending::Lf,
        _ => text.ending(0),
    };
    let mut pieces = Vec::with_capacity(lines.len() + 1);
    for (idx, part) in lines.iter().enumerate() {
        // Of kept lines, only the last one may have to end in another way than it did.
        if let Lines::Kept(run) = part
            && 1 < run.len()
        {
            above = text.ending(run.end - 2);
        }
        let natural = match part {
            Lines::Kept(run) => text.ending(run.end - 1),
            Lines::New(_) => above,
        };
        let terminated = if natural == Ending::None { above } else { natural };
        let ending = match end {
            _ if idx + 1 < lines.len() => terminated,
            Some(End::NoNewline) => Ending::None,
            Some(End::Newline) => terminated,
            None => natural,
        };
        match part {
            Lines::Kept(run) if ending == natural => pieces.push(Piece::Kept(run.clone())),
            Lines::Kept(run) => {
                pieces.push(Piece::Kept(run.start..run.end - 1));
                pieces.push(Piece::New(text.line(run.end - 1), ending));
            }
            Lines::New(line) => pieces.push(Piece::New(line, ending)),
        }
        if ending != Ending::None {
            above = ending;
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    use super::*;
    use crate::repo::fixture::files;
    use crate::repo::snapshot::Snapshot;
    use crate::search_replace::block::parse_completion;
    use crate::search_replace::fence::Ended;

    fn repo_path(text: &str) -> RepoPath {
        RepoPath::parse(text).unwrap()
    }

    /// One run of lines of `a.py`.
    fn lines_of_a(lines: Range<usize>) -> BTreeMap<RepoPath, Vec<Range<usize>>> {
        BTreeMap::from([(repo_path("a.py"), std::iter::once(lines).collect())])
    }

    fn edit_of(path: &str, search: &str, replace: &str) -> String {
        format!("### {path}\n<<<<<<< SEARCH\n{search}=======\n{replace}>>>>>>> REPLACE\n")
    }

    /// Applies the edits of an answer's block and describes the outcome.
    fn outcome(base: BTreeMap<RepoPath, Vec<u8>>, block: &str, scope: &Scope) -> String {
        let edits = parse_completion(&format!("```\n{block}```"), Ended::ByItself).unwrap();
        let describe = |change: &FileChange| {
            let path = change.before().map(|before| before.path.as_str());
            let moved = path.filter(|&path| path != change.path().as_str());
            let from = moved.map_or(String::new(), |path| format!(" from {path}"));
            let kind = change.after().map_or(String::new(), |after| match after.kind {
                FileKind::Executable => " executable".to_owned(),
                _ => String::new(),
            });
            let text = change.after().map_or("deleted".to_owned(), |after| {
                format!("{:?}", after.bytes.escape_ascii().to_string().replace("\\n", "\n"))
            });
            format!("{}{from}{kind}: {text}", change.path())
        };
        match apply_edits(&edits, &Snapshot::from_files(base), scope) {
            Ok(changes) => changes.iter().map(describe).collect::<Vec<_>>().join("\n"),
            Err(why) => why.to_string(),
        }
    }

    #[track_caller]
    fn check(base: &str, block: &str, expect: Expect) {
        expect.assert_eq(&outcome(files(base), block, &Scope::default()));
    }

    /// One file `a.py` of these bytes.
    #[track_caller]
    fn check_bytes(base: &[u8], block: &str, expect: Expect) {
        let base = BTreeMap::from([(repo_path("a.py"), base.to_vec())]);
        expect.assert_eq(&outcome(base, block, &Scope::default()));
    }

    const TWICE: &str = "//- /a.py\ndef f():\n    x = 1\n\ndef g():\n    x = 1\n";

    #[test]
    fn edits_refer_to_the_base_in_any_order() {
        let block = edit_of("a.py", "    x = 1\n\n", "    x = 2\n\n")
            + &edit_of("a.py", "def f():\n", "def h():\n");
        check(TWICE, &block, expect![[r#"a.py: "def h():\n    x = 2\n\ndef g():\n    x = 1\n""#]]);
    }

    #[test]
    fn one_of_several_places_is_changed_or_none() {
        let block = edit_of("a.py", "    x = 1\n", "    x = 2\n");
        check(TWICE, &block, expect!["`a.py` has the wanted lines at lines 2, 5"]);
        let preferring = |lines: Range<usize>| {
            let preferred = lines_of_a(lines);
            outcome(files(TWICE), &block, &Scope { windows: None, preferred })
        };
        expect![[r#"a.py: "def f():\n    x = 1\n\ndef g():\n    x = 2\n""#]]
            .assert_eq(&preferring(3..5));
        expect!["`a.py` has the wanted lines at lines 2, 5"].assert_eq(&preferring(0..5));
        let showing = |lines: &[Range<usize>]| {
            let windows = Some(BTreeMap::from([(repo_path("a.py"), lines.to_vec())]));
            outcome(files(TWICE), &block, &Scope { windows, preferred: BTreeMap::new() })
        };
        expect![[r#"a.py: "def f():\n    x = 1\n\ndef g():\n    x = 2\n""#]]
            .assert_eq(&showing(&[3..4, 4..5]));
        expect![[r#"a.py: "def f():\n    x = 2\n\ndef g():\n    x = 1\n""#]]
            .assert_eq(&showing(&[2..4, 0..2]));
    }

    #[test]
    fn text_outside_the_windows_is_not_found() {
        let block = edit_of("a.py", "def g():\n", "def h():\n");
        let windows = Some(lines_of_a(0..2));
        let scope = Scope { windows, preferred: BTreeMap::new() };
        expect![[r"
            `a.py` has no such lines where they were shown: `def g():`
            hint: they stand at line 4, which was not shown"]]
        .assert_eq(&outcome(files(TWICE), &block, &scope));
    }

    #[test]
    fn a_file_that_was_not_shown_is_not_edited() {
        let scope = Scope { windows: Some(lines_of_a(0..2)), preferred: BTreeMap::new() };
        let base = files("//- /a.py\nx\n//- /b.py\ny\n");
        let block = edit_of("b.py", "y\n", "z\n");
        expect![[r"
            `b.py` has no such lines where they were shown: `y`
            hint: they stand at line 1, which was not shown"]]
        .assert_eq(&outcome(base, &block, &scope));
    }

    #[test]
    fn files_of_any_language_are_edited() {
        let base = "//- /a.js\nlet x = {\n//- /Makefile\nall:\n\techo\n";
        let block = edit_of("a.js", "let x = {\n", "let x = {}\n")
            + &edit_of("Makefile", "all:\n", "none:\n")
            + &edit_of("new.css", "", "a { b: c }\n");
        check(
            base,
            &block,
            expect![[r#"
            Makefile: "none:\n\\techo\n"
            a.js: "let x = {}\n"
            new.css: "a { b: c }\n""#]],
        );
    }

    #[test]
    fn an_empty_replace_deletes_the_lines() {
        check(
            TWICE,
            &edit_of("a.py", "\ndef g():\n    x = 1\n", ""),
            expect![[r#"a.py: "def f():\n    x = 1\n""#]],
        );
    }

    #[test]
    fn an_edit_of_the_first_line_adds_nothing_above() {
        check(
            TWICE,
            &edit_of("a.py", "def f():\n", "def e():\n"),
            expect![[r#"a.py: "def e():\n    x = 1\n\ndef g():\n    x = 1\n""#]],
        );
        let failing =
            edit_of("a.py", "def f():\n", "def e():\n") + &edit_of("a.py", "no\n", "yes\n");
        check(TWICE, &failing, expect!["`a.py` has no such lines where they were shown: `no`"]);
    }

    #[test]
    fn white_space_at_line_ends_is_forgiven() {
        check(
            "//- /a.py\nif x:  \n    a  \n    b\n",
            &edit_of("a.py", "if x:\n    a\n    b \n", "if x:\n    a\n    c\n"),
            expect![[r#"a.py: "if x:  \n    a  \n    c\n""#]],
        );
    }

    #[test]
    fn a_uniform_indent_is_forgiven() {
        let base = "//- /a.py\nclass A:\n    def f(self):\n\n        return 1\n";
        check(
            base,
            &edit_of("a.py", "def f(self):\n\n    return 1\n", "def f(self):\n\n    return 2\n"),
            expect![[r#"a.py: "class A:\n    def f(self):\n\n        return 2\n""#]],
        );
        check(
            base,
            &edit_of(
                "a.py",
                "      class A:\n          def f(self):\n",
                "      class A:\n\n          def g(self):\n",
            ),
            expect![[r#"a.py: "class A:\n\n    def g(self):\n\n        return 1\n""#]],
        );
        check(
            base,
            &edit_of("a.py", "    class A:\n", "  class B:\n"),
            expect![[r"
                `a.py` has no such lines where they were shown: `class A:`
                hint: most like them, at line 1:
                class A:"]],
        );
        check(
            "//- /a.py\nif x:\n\ta\n",
            &edit_of("a.py", "a\n", "b\n"),
            expect![[r#"a.py: "if x:\n\\tb\n""#]],
        );
        check(
            "//- /a.py\nif x:\n\ta\n",
            &edit_of("a.py", "    a\n", "    b\n"),
            expect![[r"
            `a.py` has no such lines where they were shown: `a`
            hint: most like them, at line 2:
            	a"]],
        );
    }

    #[test]
    fn search_texts_that_are_not_there_are_explained() {
        check(
            "//- /a.py\ndef f(x):\n\n    return x + 1\n\nprint(f(1))\n",
            &edit_of("a.py", "def f(x):\n    return x + 1\n", "def f(x):\n    return x\n"),
            expect![[r"
                `a.py` has no such lines where they were shown: `def f(x):`
                hint: most like them, at line 1:
                def f(x):
            "]],
        );
        check(
            TWICE,
            &edit_of("a.py", "x = 1\ndef\n", "y\n"),
            expect![[r"
            `a.py` has no such lines where they were shown: `x = 1`
            hint: most like them, at line 2:
                x = 1
        "]],
        );
        check(
            TWICE,
            &edit_of("a.py", "...\n", "y\n"),
            expect!["`a.py` has no such lines where they were shown: `...`"],
        );
        check(
            TWICE,
            &edit_of("a.py", "", "y\n"),
            expect!["`a.py`: an empty SEARCH creates a file, but this one exists and has lines"],
        );
    }

    #[test]
    fn files_are_created_filled_deleted_renamed_and_made_executable() {
        let base = "//- /a.py\nx\n//- /b.py\ny\nz\n//- /empty.py\n//- /run.sh\n#!/bin/sh\n";
        let block = edit_of("new/pkg.py", "", "import os\n\nx\n")
            + &edit_of("new/__init__.py", "", "")
            + &edit_of("new/blank.py", "\n", "1\n\\ No newline at end of file\n")
            + &edit_of("empty.py", "", "full\n")
            + "### delete a.py\n### rename b.py -> c.py\n"
            + "<<<<<<< SEARCH\ny\n=======\nY\n>>>>>>> REPLACE\n"
            + &edit_of("c.py", "z\n", "Z\n")
            + "### mode 755 run.sh\n";
        check(
            base,
            &block,
            expect![[r##"
            a.py: deleted
            c.py from b.py: "Y\nZ\n"
            empty.py: "full\n"
            new/__init__.py: ""
            new/blank.py: "1"
            new/pkg.py: "import os\n\nx\n"
            run.sh executable: "#!/bin/sh\n""##]],
        );
    }

    #[test]
    fn paths_that_do_not_fit_are_refused() {
        let base = "//- /a.py\nx\n//- /d/b.py\ny\n//- /d-2.py\n\n";
        check(base, &edit_of("z.py", "x\n", "y\n"), expect!["the base has no file `z.py`"]);
        check(base, "### delete z.py\n", expect!["the base has no file `z.py`"]);
        check(base, "### mode 755 z.py\n", expect!["the base has no file `z.py`"]);
        check(
            base,
            "### rename a.py -> d/b.py\n",
            expect!["`d/b.py`: a file or folder is already there"],
        );
        check(base, "### rename a.py -> d\n", expect!["`d`: a file or folder is already there"]);
        check(base, &edit_of("d", "", "y\n"), expect!["`d`: a file or folder is already there"]);
        check(
            base,
            &edit_of("a.py/b.py", "", "y\n"),
            expect!["`a.py/b.py`: a file stands where a folder is needed"],
        );
        check(
            base,
            "### delete a.py\n### rename a.py -> b.py\n",
            expect![
                "`a.py`: the file is deleted, renamed or created twice, or edited as well as deleted"
            ],
        );
        let twice = edit_of("n.py", "", "1\n") + &edit_of("n.py", "", "2\n");
        check(
            base,
            &twice,
            expect![
                "`n.py`: the file is deleted, renamed or created twice, or edited as well as deleted"
            ],
        );
        let below = edit_of("n", "", "1\n") + &edit_of("n/m", "", "2\n");
        check(base, &below, expect!["`n/m`: a file stands where a folder is needed"]);
        check_bytes(
            b"\0binary",
            &edit_of("a.py", "x\n", "y\n"),
            expect![
                "`a.py` cannot be edited as text: `a.py` is not a text: it is binary (a NUL byte at offset 0)"
            ],
        );
    }

    #[test]
    fn overlapping_edits_and_no_change_are_refused() {
        let base = "//- /a.py\n1\n2\n3\n";
        let block = edit_of("a.py", "1\n2\n", "a\n") + &edit_of("a.py", "2\n3\n", "b\n");
        check(base, &block, expect!["two edits of `a.py` want to change line 2"]);
        let same = edit_of("a.py", "2\n", "b\n") + &edit_of("a.py", "2\n", "b\n");
        check(base, &same, expect!["two edits of `a.py` want to change line 2"]);
        let touching = edit_of("a.py", "1\n", "a\n") + &edit_of("a.py", "2\n", "b\n");
        check(base, &touching, expect![[r#"a.py: "a\nb\n3\n""#]]);
        check(base, &edit_of("a.py", "2\n", "2\n"), expect!["the edits leave every file as it is"]);
        check(base, "### mode 644 a.py\n", expect!["the edits leave every file as it is"]);
    }

    #[test]
    fn line_ends_and_encodings_are_kept() {
        check_bytes(
            b"a\r\nb\r\nc\n",
            &edit_of("a.py", "b\n", "B\nX\n"),
            expect![[r#"a.py: "a\\r\nB\\r\nX\\r\nc\n""#]],
        );
        check_bytes(
            b"a\r\nb\r\n",
            &edit_of("a.py", "a\n", "0\na\n"),
            expect![[r#"a.py: "0\\r\na\\r\nb\\r\n""#]],
        );
        check_bytes(
            b"# caf\xe9\nx\n",
            &edit_of("a.py", "# caf\u{e9}\nx\n", "# caf\u{e9}\n\u{fc}\n"),
            expect![[r##"a.py: "# caf\\xe9\n\\xfc\n""##]],
        );
        check_bytes(
            b"# caf\xe9\nx\n",
            &edit_of("a.py", "x\n", "\u{4e2d}\n"),
            expect!["`a.py` is written in windows-1252, which has no `中`"],
        );
        check_bytes(
            b"\xef\xbb\xbfa\nb\n",
            &edit_of("a.py", "a\n", "c\n"),
            expect![[r#"a.py: "\\xef\\xbb\\xbfc\nb\n""#]],
        );
        check_bytes(
            b"\xff\xfea\0\r\0\n\0b\0",
            &edit_of("a.py", "a\n", "a\n\u{e9}\n"),
            expect![[r#"a.py: "\\xff\\xfea\\x00\\r\\x00\n\\x00\\xe9\\x00\\r\\x00\n\\x00b\\x00""#]],
        );
    }

    #[test]
    fn the_last_newline_is_what_the_edit_says() {
        let mark = "\\ No newline at end of file\n";
        check_bytes(b"a\nb", &edit_of("a.py", "a\n", "A\n"), expect![[r#"a.py: "A\nb""#]]);
        check_bytes(b"a\nb", &edit_of("a.py", "b\n", "b\nc\n"), expect![[r#"a.py: "a\nb\nc\n""#]]);
        check_bytes(b"a\nb", &edit_of("a.py", "a\nb\n", "A\nb\n"), expect![[r#"a.py: "A\nb""#]]);
        check_bytes(
            b"a\nb\n",
            &edit_of("a.py", "b\n", &format!("b\n{mark}")),
            expect![[r#"a.py: "a\nb""#]],
        );
        check_bytes(
            b"a\nb",
            &edit_of("a.py", &format!("b\n{mark}"), "b\n"),
            expect![[r#"a.py: "a\nb\n""#]],
        );
        check_bytes(
            b"a\nb\n",
            &edit_of("a.py", "a\n", &format!("c\n{mark}")),
            expect![[r"`a.py`: `\ No newline at end of file` stands where the file does not end"]],
        );
    }

    #[test]
    fn a_path_is_text_and_never_run() {
        let path = "a.py' if not __import__('os').system('touch x') else 'b";
        check(
            "//- /a.py\nx\n",
            &edit_of(path, "x\n", "y\n"),
            expect![
                "the base has no file `a.py' if not __import__('os').system('touch x') else 'b`"
            ],
        );
    }

    fn any_text() -> impl Strategy<Value = String> {
        prop::collection::vec(
            prop_oneof!["[ab]{0,2}", Just("\t".to_owned()), Just("  a".to_owned())],
            0..8,
        )
        .prop_map(|lines| lines.join("\n"))
    }

    proptest! {
        #[test]
        fn accepted_edits_touch_the_named_files_alone_and_inside_the_windows(
            base in any_text(),
            parts in prop::collection::vec((0..3_usize, any_text(), any_text()), 1..4),
            window in (0..4_usize, 0..8_usize),
        ) {
            let names = ["a.py", "b.py", "new.py"];
            let side = |text: &str| Side {
                lines: text.split('\n').map(str::to_owned).collect(),
                no_newline: false,
            };
            let edits: Vec<Edit> = parts
                .iter()
                .map(|(name, search, replace)| Edit::Replace {
                    path: repo_path(names[*name]),
                    search: side(search),
                    replace: side(replace),
                })
                .collect();
            let bytes = base.as_bytes().to_vec();
            let snapshot = Snapshot::from_files(
                names[..2].iter().map(|name| (repo_path(name), bytes.clone())).collect(),
            );
            let range = window.0..window.0 + window.1;
            let scope = Scope { windows: Some(lines_of_a(range.clone())), preferred: BTreeMap::new() };
            let Ok(changes) = apply_edits(&edits, &snapshot, &scope) else { return Ok(()) };
            for change in changes {
                prop_assert!(parts.iter().any(|(name, ..)| names[*name] == change.path().as_str()));
                let FileChange::Changed { before, after } = change else { continue };
                if before.bytes.is_empty() {
                    continue;
                }
                prop_assert_eq!(before.path.as_str(), "a.py");
                let text = Text::decode(&before.bytes).unwrap();
                let n_behind = text.n_lines().saturating_sub(range.end);
                let kept_behind: Vec<&str> = text.lines().skip(range.end).collect();
                let new = Text::decode(&after.bytes).unwrap();
                let new_lines: Vec<&str> = new.lines().collect();
                prop_assert!(new_lines.ends_with(&kept_behind[..n_behind]));
                let above: Vec<&str> = text.lines().take(range.start).collect();
                prop_assert!(new_lines.starts_with(&above));
            }
        }
    }
}
