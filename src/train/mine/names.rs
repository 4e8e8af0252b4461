//! Names that only a patch knows: a text that says one was written by someone who had the answer.

use std::collections::BTreeSet;

use crate::diff::change::{FileChange, FileState};
use crate::stage::gold::GoldFile;

/// The names of a patch, and the lines it touches.
#[derive(Debug, Default)]
pub(super) struct PatchNames {
    /// Identifiers of added lines that no changed file had before.
    new_names: BTreeSet<String>,
    /// Of these, what the added lines define.
    new_symbols: BTreeSet<String>,
    /// Added and removed lines, without white space around them.
    lines: BTreeSet<String>,
}

/// Shorter lines (`else:`, `pass`) are said by people too.
const MIN_QUOTED_CHARS: usize = 8;

impl PatchNames {
    /// Of the changes that are the solution; `bystanders` are changed files that are not.
    pub(super) fn new(solution: &[FileChange], bystanders: &[FileChange]) -> Self {
        let mut known = BTreeSet::new();
        for before in solution.iter().chain(bystanders).filter_map(FileChange::before) {
            known.extend(identifiers(&text_of(before)).map(ToOwned::to_owned));
        }
        let mut names = Self::default();
        for file in solution.iter().filter_map(GoldFile::of_change) {
            let is_new = |name: &&str| !known.contains(*name);
            for change in &file.changes {
                for line in file.inserted(change) {
                    let new = identifiers(line).filter(is_new);
                    names.new_names.extend(new.map(ToOwned::to_owned));
                    let symbol = defined_name(line).filter(is_new);
                    names.new_symbols.extend(symbol.map(ToOwned::to_owned));
                    names.add_line(line);
                }
                for idx in change.base.clone() {
                    if let Some(base) = &file.base {
                        names.add_line(base.line(idx));
                    }
                }
            }
        }
        names
    }

    fn add_line(&mut self, line: &str) {
        if MIN_QUOTED_CHARS <= line.trim().chars().count() {
            self.lines.insert(line.trim().to_owned());
        }
    }

    /// Whether a line of a message repeats a line of the patch.
    pub(super) fn has_line(&self, line: &str) -> bool {
        let line = line.trim();
        let bare = line.trim_start_matches(['>', '+', '-']).trim().trim_matches('`').trim();
        self.lines.contains(line) || self.lines.contains(bare)
    }

    /// Symbols that the patch defines and the base does not.
    pub(super) fn symbols(&self) -> impl Iterator<Item = &str> {
        self.new_symbols.iter().map(String::as_str)
    }

    /// A name in the text that only the patch can have told: a symbol that it defines, or any
    /// name of its added lines that is no plain word.
    pub(super) fn leak<'a>(&self, text: &'a str) -> Option<&'a str> {
        let in_code: BTreeSet<&str> =
            text.split('`').skip(1).step_by(2).flat_map(identifiers).collect();
        identifiers(text).find(|name| {
            self.new_symbols.contains(*name)
                || self.new_names.contains(*name) && (is_code(name) || in_code.contains(name))
        })
    }
}

/// Whether no one would write it as a word: `snake_case`, `camelCase`, `x2`.
fn is_code(name: &str) -> bool {
    let inner = name.chars().skip(1);
    name.contains(|c: char| c == '_' || c.is_ascii_digit())
        || inner.clone().any(char::is_uppercase) && inner.clone().any(char::is_lowercase)
}

/// Names of two characters and more.
pub(super) fn identifiers(text: &str) -> impl Iterator<Item = &str> {
    let is_part = |c: char| c == '_' || c.is_alphanumeric();
    text.split(move |c| !is_part(c))
        .filter(|name| 1 < name.len() && !name.starts_with(|c: char| c.is_ascii_digit()))
}

/// What a line of code defines, as far as its first words tell.
fn defined_name(line: &str) -> Option<&str> {
    const BEFORE: &[&str] = &["async", "pub", "export", "static", "public", "private", "protected"];
    const KEYWORDS: &[&str] = &[
        "def",
        "class",
        "func",
        "fn",
        "function",
        "type",
        "struct",
        "enum",
        "trait",
        "interface",
        "const",
        "let",
        "var",
    ];
    let mut words = line.split_whitespace().skip_while(|word| BEFORE.contains(word));
    let first = words.next()?;
    if KEYWORDS.contains(&first) {
        return identifiers(words.next()?).next();
    }
    // `NAME = …` and `NAME: T = …`, at the margin.
    let is_assigned = matches!(words.next(), Some("=")) || first.ends_with(':');
    let at_margin = line.starts_with(first) && is_assigned;
    let name = first.trim_end_matches(':');
    (at_margin && identifiers(name).next() == Some(name)).then_some(name)
}

fn text_of(state: &FileState) -> String {
    String::from_utf8_lossy(&state.bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::path::RepoPath;
    use crate::repo::snapshot::FileKind;

    fn state(text: &str) -> FileState {
        let path = RepoPath::parse("a.py").unwrap();
        FileState { path, kind: FileKind::Regular, bytes: text.into() }
    }

    fn names() -> PatchNames {
        let before = state("import os\n\ndef load(path):\n    return open(path)\n");
        let after = state(
            "import os\n\nLIMIT = 3\n\ndef load(path):\n    # keep the encoding of utf8_sig\n    return open_text(path, mode)\n\ndef recover(x):\n    pass\n",
        );
        PatchNames::new(&[FileChange::Changed { before, after }], &[])
    }

    #[test]
    fn a_text_may_name_what_was_there_and_no_more() {
        let names = names();
        for (text, wanted) in [
            ("load fails on a path", None),
            ("keep the encoding of the file", None),
            ("the mode of a file is lost", None),
            ("the `mode` of a file is lost", Some("mode")),
            ("use open_text() instead", Some("open_text")),
            ("There is no way to recover from it", Some("recover")),
            ("LIMIT is too small", Some("LIMIT")),
        ] {
            assert_eq!(names.leak(text), wanted, "{text}");
        }
        assert_eq!(names.symbols().collect::<Vec<_>>(), ["LIMIT", "recover"]);
    }

    #[test]
    fn lines_of_the_patch_are_known_as_people_quote_them() {
        let names = names();
        assert!(names.has_line("    return open(path)"));
        assert!(names.has_line("> `return open(path)`"));
        assert!(names.has_line("+return open_text(path, mode)"));
        assert!(!names.has_line("pass"));
        assert!(!names.has_line("import os"));
    }
}
