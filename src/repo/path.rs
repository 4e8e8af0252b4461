//! Paths inside a repository, parsed once and safe from then on.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A path relative to the snapshot's root, with `/` between components.
///
/// Whatever wrote it (a model, a patch, a dataset), it cannot leave the root, reach into `.git`,
/// or carry control characters: those texts do not parse.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RepoPath(Arc<str>);

/// Why a text is no [`RepoPath`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    #[error("the path is empty")]
    Empty,
    #[error("`{0}` is absolute; paths are relative to the repository's root")]
    Absolute(String),
    #[error("`{0}` has an empty, `.` or `..` component")]
    NotPlain(String),
    #[error("`{0}` reaches into git's own folder")]
    GitFolder(String),
    #[error("`{}` holds a backslash, a control character or a drive prefix", .0.escape_default())]
    Forbidden(String),
    #[error("the path has {0} bytes, more than 4,096")]
    TooLong(usize),
}

/// Characters of a text that is no path which its error keeps.
const MOST_QUOTED: usize = 120;

impl RepoPath {
    /// Parses a path as git writes it: relative, `/` between components.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        // Messages and records quote it, and whoever wrote it may have written on and on.
        let owned = || text.chars().take(MOST_QUOTED).collect();
        if text.is_empty() {
            return Err(PathError::Empty);
        }
        if 4096 < text.len() {
            return Err(PathError::TooLong(text.len()));
        }
        if text.starts_with('/') {
            return Err(PathError::Absolute(owned()));
        }
        let is_drive =
            text.as_bytes().get(1) == Some(&b':') && text.as_bytes()[0].is_ascii_alphabetic();
        if is_drive || text.contains(|c: char| c == '\\' || is_hidden_control(c)) {
            return Err(PathError::Forbidden(owned()));
        }
        for part in text.split('/') {
            if matches!(part, "" | "." | "..") {
                return Err(PathError::NotPlain(owned()));
            }
            if is_git_folder(part) {
                return Err(PathError::GitFolder(owned()));
            }
        }
        Ok(Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last component.
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// The path of the folder that holds the file; `None` at the root.
    pub fn parent(&self) -> Option<&str> {
        self.0.rsplit_once('/').map(|(parent, _)| parent)
    }

    /// The text behind the last dot of the file name, where a name stands before that dot.
    pub fn extension(&self) -> Option<&str> {
        self.file_name().rsplit_once('.').filter(|(stem, _)| !stem.is_empty()).map(|(_, end)| end)
    }

    /// The components from the root down.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/')
    }
}

/// Controls, and the characters that make a shown path differ from the path that is meant.
fn is_hidden_control(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// `.git` as any file system may spell it: in any case, as `git~1`, with trailing dots or spaces
/// (Windows), or with an alternate data stream.
fn is_git_folder(part: &str) -> bool {
    let name = part.split(':').next().unwrap_or(part).trim_end_matches(['.', ' ']);
    name.eq_ignore_ascii_case(".git") || name.eq_ignore_ascii_case("git~1")
}

impl fmt::Display for RepoPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RepoPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl TryFrom<String> for RepoPath {
    type Error = PathError;
    fn try_from(text: String) -> Result<Self, PathError> {
        Self::parse(&text)
    }
}

impl From<RepoPath> for String {
    fn from(path: RepoPath) -> Self {
        path.as_str().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_paths_parse() {
        for text in [
            "a.py",
            "src/a b.py",
            ".github/x.yml",
            "a/.gitignore",
            "é/ü.py",
            "ab:c.txt",
            "...",
            "a/git~10",
        ] {
            assert_eq!(RepoPath::parse(text).map(|path| path.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn paths_that_leave_the_repository_or_hide_do_not_parse() {
        let hostile = [
            "",
            "/etc/passwd",
            "../x",
            "a/../../x",
            "a//b",
            "./a",
            "a/",
            ".git/config",
            "a/.GIT/hooks/x",
            "git~1/config",
            ".git./config",
            ".git /config",
            ".git::$INDEX_ALLOCATION/x",
            "C:/x",
            "a\\b",
            "a\0b",
            "a\nb",
            "a\u{1b}[31m",
            "a\u{202e}b",
        ];
        for text in hostile {
            assert!(RepoPath::parse(text).is_err(), "{text:?} must not parse");
        }
    }

    #[test]
    fn the_error_of_a_long_text_is_short() {
        let error = RepoPath::parse(&"\u{89}".repeat(2000)).unwrap_err();
        assert!(error.to_string().len() < 2000, "{error}");
    }

    #[test]
    fn parts_of_a_path() {
        let path = RepoPath::parse("src/pkg/.mod.tar.gz").unwrap();
        assert_eq!(
            (path.file_name(), path.parent(), path.extension()),
            (".mod.tar.gz", Some("src/pkg"), Some("gz"))
        );
        assert_eq!(RepoPath::parse(".bashrc").unwrap().extension(), None);
    }
}
