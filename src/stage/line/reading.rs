//! An answer while it is read: the file that its lines are about, and what they name.

use crate::index::outline::{LineSpan, SymbolKind};
use crate::repo::path::RepoPath;
use crate::stage::answer::{NamedPath, parse_path};
use crate::stage::line::LineAnswer;
use crate::stage::line::shown::{LineShown, ShownLines};
use crate::stage::rejection::Reason;

/// An answer while it is read.
pub(super) struct Reading<'a> {
    shown: &'a LineShown,
    about: About<'a>,
    pub(super) answer: LineAnswer,
}

/// Which file the lines of an answer are about.
enum About<'a> {
    Shown(&'a ShownLines),
    /// A file of the repository that is not in the prompt.
    Unseen,
    Nowhere,
}

impl<'a> Reading<'a> {
    pub(super) fn new(shown: &'a LineShown) -> Self {
        // An answer about a single file may leave its path away.
        let about = match &shown.files[..] {
            [file] => About::Shown(file),
            _ => About::Nowhere,
        };
        Self { shown, about, answer: LineAnswer { lines: Vec::new(), invented: 0, unseen: 0 } }
    }

    pub(super) fn path(&mut self, line: &str) -> Option<Reason> {
        let shown = self.shown;
        let file_at = |path: &RepoPath| shown.files.iter().find(|file| file.path == *path);
        let exists =
            |path: &RepoPath| file_at(path).is_some() || shown.known.contains(path.as_str());
        let (about, problem) = match parse_path(line, exists) {
            NamedPath::Existing(path) => (file_at(&path).map_or(About::Unseen, About::Shown), None),
            NamedPath::Invented(_) => (About::Nowhere, Some(Reason::UnknownPath)),
            NamedPath::Unsafe(_) => (About::Nowhere, Some(Reason::UnsafePath)),
        };
        self.about = about;
        self.answer.invented += usize::from(problem.is_some());
        problem
    }

    pub(super) fn symbol(&mut self, kind: SymbolKind, name: &str) -> Option<Reason> {
        let About::Shown(file) = self.about else { return Some(self.nowhere(1)) };
        let is_meant = |(other, shown, _): &&(SymbolKind, String, Vec<LineSpan>)| {
            *other == kind && shown == name
        };
        let Some((_, _, spans)) = file.symbols.iter().find(is_meant) else {
            self.answer.invented += 1;
            return Some(Reason::UnknownSymbol);
        };
        for span in spans {
            self.push_shown(file, span.first, span.last);
        }
        None
    }

    pub(super) fn lines(&mut self, first: u32, last: u32) -> Option<Reason> {
        let n_named = (last - first) as usize + 1;
        let About::Shown(file) = self.about else { return Some(self.nowhere(n_named)) };
        let first_real = first.max(1);
        let last_real = last.min(file.n_lines);
        let n_real = (last_real + 1).saturating_sub(first_real) as usize;
        let n_shown = self.push_shown(file, first_real, last_real);
        self.answer.invented += n_named - n_real;
        self.answer.unseen += n_real - n_shown;
        (n_shown == 0).then_some(Reason::LineOutOfView)
    }

    fn nowhere(&mut self, n_named: usize) -> Reason {
        if matches!(self.about, About::Unseen) {
            self.answer.unseen += n_named;
            return Reason::LineOutOfView;
        }
        self.answer.invented += n_named;
        Reason::UnknownPath
    }

    /// Adds the shown lines of a run, each once; gives how many of the run are shown.
    fn push_shown(&mut self, file: &ShownLines, first: u32, last: u32) -> usize {
        let mut n_shown = 0;
        for window in &file.windows {
            for line in first.max(window.first)..=last.min(window.last) {
                n_shown += 1;
                let is_known =
                    |(path, other): &(RepoPath, u32)| *other == line && *path == file.path;
                if !self.answer.lines.iter().any(is_known) {
                    self.answer.lines.push((file.path.clone(), line));
                }
            }
        }
        n_shown
    }
}
