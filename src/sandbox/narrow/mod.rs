//! A test command for some test files in place of all: a translation of pytest's and unittest's
//! command lines, and of nothing else.
//!
//! What is not understood to the last word is not translated: a command that runs other tests than
//! it seems to would be a false judge.

mod pytest;
mod unittest;

use crate::repo::path::RepoPath;
use crate::sandbox::narrow::pytest::Pytest;
use crate::sandbox::narrow::unittest::Unittest;
use crate::sandbox::words::{join_words, split_words};

/// A command whose words are understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileCommand {
    /// All words up to the runner's own arguments.
    start: Vec<String>,
    arguments: Arguments,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Arguments {
    Pytest(Pytest),
    Unittest(Unittest),
}

/// What runs the tests of a [`FileCommand`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runner {
    Pytest,
    Unittest,
}

impl Runner {
    pub fn name(self) -> &'static str {
        match self {
            Self::Pytest => "pytest",
            Self::Unittest => "unittest",
        }
    }
}

/// Why a command is not translated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CannotNarrow {
    #[error("it is more than one plain command")]
    Shell,
    #[error("it calls neither pytest nor unittest")]
    OtherRunner,
    #[error("its argument `{0}` is not known here")]
    Argument(String),
}

impl FileCommand {
    /// Reads `[env] [NAME=VALUE …] [poetry run | …] pytest …` and `… python -m pytest|unittest …`.
    pub fn parse(command: &str) -> Result<Self, CannotNarrow> {
        let words = split_words(command).ok_or(CannotNarrow::Shell)?;
        let n_start = start_of(&words);
        let (start, rest) = words.split_at(n_start);
        let mut start = start.to_vec();
        if start.first().is_some_and(|word| is_assignment(word)) {
            // Quoted as a whole, it would be taken for a program.
            start.insert(0, "env".to_owned());
        }
        let program = rest.first().ok_or(CannotNarrow::OtherRunner)?;
        let name = program.rsplit('/').next().unwrap_or(program);
        let (runner, n_program) = match name {
            "pytest" | "py.test" => (Runner::Pytest, 1),
            _ if is_python(name) => module_of(rest).ok_or(CannotNarrow::OtherRunner)?,
            _ => return Err(CannotNarrow::OtherRunner),
        };
        let (program, arguments) = rest.split_at(n_program);
        start.extend(program.iter().cloned());
        let arguments = match runner {
            Runner::Pytest => Arguments::Pytest(Pytest::parse(arguments)?),
            Runner::Unittest => Arguments::Unittest(Unittest::parse(arguments)?),
        };
        Ok(Self { start, arguments })
    }

    pub fn runner(&self) -> Runner {
        match self.arguments {
            Arguments::Pytest(_) => Runner::Pytest,
            Arguments::Unittest(_) => Runner::Unittest,
        }
    }

    /// Whether the whole command runs the tests of a file; `has_file` knows the paths of the
    /// snapshot.
    pub fn covers(&self, path: &RepoPath, has_file: &dyn Fn(&str) -> bool) -> bool {
        match &self.arguments {
            Arguments::Pytest(pytest) => pytest.covers(path),
            Arguments::Unittest(unittest) => unittest.covers(path, has_file),
        }
    }

    /// The folder in which a new test file can be run; empty for the root.
    pub fn folder(&self) -> &str {
        match &self.arguments {
            Arguments::Pytest(_) => "",
            Arguments::Unittest(unittest) => unittest.folder(),
        }
    }

    /// The command for these files alone, which must not be none.
    pub fn for_files(&self, files: &[RepoPath]) -> String {
        match &self.arguments {
            Arguments::Pytest(pytest) => self.render(&pytest.for_files(files)),
            Arguments::Unittest(unittest) => {
                let runs = unittest.for_files(files);
                let runs: Vec<String> = runs.iter().map(|words| self.render(words)).collect();
                match &runs[..] {
                    [run] => run.clone(),
                    runs => {
                        // All run, and one that fails is not forgotten.
                        let runs = runs.iter().map(|run| format!("{run} || status=1; "));
                        format!("status=0; {}exit $status", runs.collect::<String>())
                    }
                }
            }
        }
    }

    /// The command for one file, with failures told as Python itself tells them.
    pub fn for_report(&self, file: &RepoPath) -> String {
        let command = self.for_files(std::slice::from_ref(file));
        match &self.arguments {
            Arguments::Pytest(_) => format!("{command} {}", pytest::REPORT),
            Arguments::Unittest(_) => command,
        }
    }

    fn render(&self, arguments: &[String]) -> String {
        join_words(self.start.iter().chain(arguments).map(String::as_str))
    }
}

/// Programs that run another one in the project's environment.
const WRAPPERS: &[[&str; 2]] =
    &[["poetry", "run"], ["uv", "run"], ["pipenv", "run"], ["pdm", "run"]];

/// How many words stand before the program that runs the tests.
fn start_of(words: &[String]) -> usize {
    let mut at = usize::from(words.first().is_some_and(|word| word == "env"));
    while words.get(at).is_some_and(|word| is_assignment(word)) {
        at += 1;
    }
    let is_wrapped =
        WRAPPERS.iter().any(|wrapper| words[at..].starts_with(&wrapper.map(String::from)));
    if is_wrapped { at + 2 } else { at }
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric())
    })
}

fn is_python(name: &str) -> bool {
    let version = name.strip_prefix("python").or_else(|| name.strip_prefix("pypy"));
    version.is_some_and(|version| version.chars().all(|c| c == '.' || c.is_ascii_digit()))
}

/// The module that an interpreter runs, and how many words name it: `python -X dev -m pytest`.
fn module_of(words: &[String]) -> Option<(Runner, usize)> {
    let mut at = 1;
    loop {
        match words.get(at)?.as_str() {
            "-m" => break,
            "-W" | "-X" => at += 2,
            "-B" | "-E" | "-I" | "-O" | "-OO" | "-S" | "-s" | "-u" | "-b" | "-bb" => at += 1,
            _ => return None,
        }
    }
    match words.get(at + 1)?.as_str() {
        "pytest" => Some((Runner::Pytest, at + 2)),
        "unittest" => Some((Runner::Unittest, at + 2)),
        _ => None,
    }
}

/// A runner's arguments, taken apart.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Parts {
    /// Options with their values.
    options: Vec<String>,
    positional: Vec<String>,
}

/// What a runner's options are.
struct Options {
    /// One-letter options without a value, which may be joined.
    flags: &'static str,
    /// One-letter options with a value, joined or not.
    valued: &'static str,
    /// Long options with a value that stands in the next word.
    long_valued: &'static [&'static str],
    /// Long options without a value.
    long_flags: &'static [&'static str],
}

impl Options {
    fn parse(&self, arguments: &[String]) -> Result<Parts, CannotNarrow> {
        let mut parts = Parts::default();
        let mut rest = arguments.iter();
        while let Some(word) = rest.next() {
            let unknown = || CannotNarrow::Argument(word.clone());
            if !word.starts_with('-') {
                parts.positional.push(word.clone());
                continue;
            }
            parts.options.push(word.clone());
            let takes_next = match word.strip_prefix("--") {
                Some(long) if long.contains('=') => false,
                Some(long) if self.long_flags.contains(&long) => false,
                Some(long) if self.long_valued.contains(&long) => true,
                Some(_) => return Err(unknown()),
                None => {
                    let letters = &word[1..];
                    let first = letters.chars().next().ok_or_else(unknown)?;
                    match self.valued.contains(first) {
                        true => letters.len() == first.len_utf8(),
                        false if letters.chars().all(|c| self.flags.contains(c)) => false,
                        false => return Err(unknown()),
                    }
                }
            };
            if takes_next {
                parts.options.push(rest.next().ok_or_else(unknown)?.clone());
            }
        }
        Ok(parts)
    }
}

/// Whether a path is a folder, or in it; `.` is the root.
fn is_below(path: &str, folder: &str) -> bool {
    let folder = folder.trim_start_matches("./").trim_end_matches('/');
    matches!(folder, "" | ".")
        || path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RepoPath {
        RepoPath::parse(text).unwrap()
    }

    #[track_caller]
    fn check(command: &str, files: &[&str], expected: &str) {
        let files: Vec<RepoPath> = files.iter().map(|file| path(file)).collect();
        let narrowed = FileCommand::parse(command).map(|command| command.for_files(&files));
        let narrowed = narrowed.unwrap_or_else(|error| format!("no: {error}"));
        assert_eq!(narrowed, expected, "{command}");
    }

    #[test]
    fn pytest_is_given_the_files_in_place_of_its_folders() {
        let file = &["tests/test_a.py"];
        for (command, narrowed) in [
            ("pytest", "pytest tests/test_a.py"),
            ("pytest -q tests", "pytest -q tests/test_a.py"),
            ("pytest tests -q --tb=no", "pytest -q --tb=no tests/test_a.py"),
            (
                "python3 -m pytest -x -k 'a or b' .",
                "python3 -m pytest -x -k 'a or b' tests/test_a.py",
            ),
            (
                "A='b c' python -W error -m pytest",
                "env 'A=b c' python -W error -m pytest tests/test_a.py",
            ),
            (
                "env PYTHONPATH=src pytest -n 4 -p no:randomly",
                "env PYTHONPATH=src pytest -n 4 -p no:randomly tests/test_a.py",
            ),
            (
                "poetry run pytest -rA --maxfail 2",
                "poetry run pytest -rA --maxfail 2 tests/test_a.py",
            ),
            ("pytest tests/test_a.py::test_x tests/test_b.py", "pytest tests/test_a.py::test_x"),
        ] {
            check(command, file, narrowed);
        }
    }

    #[test]
    fn unittest_is_given_the_files_or_their_names_as_patterns() {
        let files = &["tests/test_a.py", "tests/more/test_b.py"];
        for (command, narrowed) in [
            ("python -m unittest", "python -m unittest tests/test_a.py tests/more/test_b.py"),
            (
                "python -m unittest -v discover",
                "python -m unittest -v tests/test_a.py tests/more/test_b.py",
            ),
            (
                "python -m unittest discover -s tests -q",
                "status=0; python -m unittest discover -q -s tests -p test_a.py || status=1; \
                 python -m unittest discover -q -s tests -p test_b.py || status=1; exit $status",
            ),
            (
                "python -m unittest discover tests 'test_*.py' .",
                "status=0; python -m unittest discover -s tests -t . -p test_a.py || status=1; \
                 python -m unittest discover -s tests -t . -p test_b.py || status=1; exit $status",
            ),
            (
                "python -m unittest tests.test_a.T.test_x tests.test_c",
                "python -m unittest tests.test_a.T.test_x tests/more/test_b.py",
            ),
        ] {
            check(command, files, narrowed);
        }
        check(
            "python -m unittest discover -s tests",
            &["tests/test_a.py"],
            "python -m unittest discover -s tests -p test_a.py",
        );
    }

    #[test]
    fn what_is_not_understood_is_not_translated() {
        for (command, why) in [
            ("make test", "no: it calls neither pytest nor unittest"),
            ("tox -e py39", "no: it calls neither pytest nor unittest"),
            ("cargo test", "no: it calls neither pytest nor unittest"),
            ("python runtests.py", "no: it calls neither pytest nor unittest"),
            ("env", "no: it calls neither pytest nor unittest"),
            ("pytest | tail", "no: it is more than one plain command"),
            ("cd src && pytest", "no: it is more than one plain command"),
            ("pytest --unheard-of tests", "no: its argument `--unheard-of` is not known here"),
            ("pytest --pyargs a", "no: its argument `--pyargs` is not known here"),
            ("python -m unittest -z", "no: its argument `-z` is not known here"),
        ] {
            check(command, &["tests/test_a.py"], why);
        }
    }

    #[test]
    fn a_command_covers_the_files_that_it_would_run() {
        let has_file = |name: &str| matches!(name, "tests/__init__.py");
        for (command, file, covered) in [
            ("pytest", "tests/test_a.py", true),
            ("pytest", "tests/helpers.py", false),
            ("pytest tests/unit", "tests/test_a.py", false),
            ("pytest tests/test_a.py::test_x", "tests/test_a.py", true),
            ("python -m unittest", "tests/test_a.py", true),
            ("python -m unittest", "more/test_a.py", false),
            ("python -m unittest", "test_a.py", true),
            ("python -m unittest discover -s tests", "tests/test_a.py", true),
            ("python -m unittest discover -s tests", "tests/deep/test_a.py", false),
            ("python -m unittest discover -s tests -p '*_check.py'", "tests/a_check.py", true),
            ("python -m unittest discover -s tests -p '*_check.py'", "tests/test_a.py", false),
            ("python -m unittest tests.test_a", "tests/test_a.py", true),
            ("python -m unittest tests.test_b", "tests/test_a.py", false),
        ] {
            let command = FileCommand::parse(command).unwrap();
            assert_eq!(command.covers(&path(file), &has_file), covered, "{command:?} {file}");
        }
    }
}
