//! Candidates that would win by changing the judge: tests, the runner's settings, its modules.

use crate::repo::change::{FileChange, FileChanges};
use crate::repo::path::RepoPath;

/// Why a candidate is refused before any test runs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the candidate changes the test file `{0}`")]
    TestFile(RepoPath),
    #[error("the candidate changes `{0}`, which configures the test runner")]
    RunnerSettings(RepoPath),
    #[error("the candidate changes {section} of `{path}`, which configures the test runner")]
    RunnerSection { path: RepoPath, section: String },
    #[error("the candidate creates `{path}`, which takes the place of the module `{module}`")]
    ShadowedModule { path: RepoPath, module: String },
}

/// Files that are nothing but settings of a test runner, or run before tests do.
const SETTINGS_FILES: &[&str] = &[
    "pytest.ini",
    ".pytest.ini",
    "tox.ini",
    "conftest.py",
    "noxfile.py",
    ".coveragerc",
    "nose.cfg",
    "phpunit.xml",
    "phpunit.xml.dist",
    ".rspec",
    ".mocharc.js",
    ".mocharc.json",
    ".mocharc.yml",
    ".mocharc.cjs",
    "nextest.toml",
];

/// Starts of such names where any ending may follow.
const SETTINGS_STARTS: &[&str] = &[
    "jest.config.",
    "jest.setup.",
    "vitest.config.",
    "vitest.setup.",
    "karma.conf.",
    "playwright.config.",
];

/// Files of many purposes, and the words that mark their sections for tests.
const SETTINGS_SECTIONS: &[(&str, &[&str])] = &[
    (
        "setup.cfg",
        &[
            "tool:pytest",
            "pytest",
            "tox",
            "testenv",
            "coverage",
            "unittest",
            "aliases",
            "nosetests",
        ],
    ),
    (
        "pyproject.toml",
        &["tool.pytest", "tool.tox", "tool.coverage", "tool.nox", "tool.hatch.envs", "tool.poe"],
    ),
    ("Cargo.toml", &["test", "profile.test", "profile.dev"]),
];

/// Keys of `package.json` that decide what `npm test` does.
const PACKAGE_KEYS: &[&str] = &["scripts", "jest", "mocha", "ava", "c8", "nyc", "vitest"];

/// Modules that Python runs at every start.
const START_MODULES: &[&str] = &["sitecustomize", "usercustomize"];

/// Checks a candidate. `is_test` is the rule for test files, `has_file` knows the paths of the
/// snapshot, and `test_command` may name further files that are part of the judge.
pub fn check_candidate(
    changes: &FileChanges,
    test_command: &str,
    is_test: &dyn Fn(&RepoPath) -> bool,
    has_file: &dyn Fn(&str) -> bool,
) -> Result<(), Refusal> {
    for (path, change) in changes {
        if is_test(path) {
            return Err(Refusal::TestFile(path.clone()));
        }
        if is_runner_settings(path, test_command) {
            return Err(Refusal::RunnerSettings(path.clone()));
        }
        if let Some(section) = changed_section(path, change) {
            return Err(Refusal::RunnerSection { path: path.clone(), section });
        }
        if change.before.is_none()
            && let Some(module) = shadowed_module(path, has_file)
        {
            return Err(Refusal::ShadowedModule { path: path.clone(), module });
        }
    }
    Ok(())
}

fn is_runner_settings(path: &RepoPath, test_command: &str) -> bool {
    let name = path.file_name();
    let words = || test_command.split(|c: char| c.is_whitespace() || ";|&()=".contains(c));
    let is_named = words().any(|word| word.trim_start_matches("./") == path.as_str());
    let is_makefile = matches!(name, "Makefile" | "makefile" | "GNUmakefile")
        && words().any(|word| matches!(word, "make" | "gmake"));
    SETTINGS_FILES.contains(&name)
        || SETTINGS_STARTS.iter().any(|start| name.starts_with(start))
        || is_named
        || is_makefile
}

/// The first section for tests that differs between the two states of a file.
fn changed_section(path: &RepoPath, change: &FileChange) -> Option<String> {
    let text = |content: &Option<crate::repo::change::FileContent>| {
        content
            .as_ref()
            .map(|content| String::from_utf8_lossy(&content.bytes).into_owned())
            .unwrap_or_default()
    };
    let (before, after) = (text(&change.before), text(&change.after));
    if path.file_name() == "package.json" {
        let parse =
            |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap_or_default();
        let (before, after) = (parse(&before), parse(&after));
        let changed = PACKAGE_KEYS.iter().find(|key| before.get(**key) != after.get(**key))?;
        return Some(format!("`{changed}`"));
    }
    let (_, marks) = SETTINGS_SECTIONS.iter().find(|(name, _)| *name == path.file_name())?;
    let sections = |text: &str| {
        let mut sections: Vec<String> = Vec::new();
        let mut is_inside = false;
        for line in text.lines() {
            let header = line.trim().trim_matches(['[', ']', ' ', '"']);
            if line.trim_start().starts_with('[') {
                is_inside = marks.iter().any(|mark| {
                    header.strip_prefix(mark).is_some_and(|rest| {
                        rest.is_empty() || rest.starts_with(['.', ':', ']', '-'])
                    })
                });
            }
            if is_inside {
                sections.push(line.trim().to_owned());
            }
        }
        sections.retain(|line| !line.is_empty());
        sections
    };
    let (before, after) = (sections(&before), sections(&after));
    let is_header = |line: &&String| line.starts_with('[');
    let header = after.iter().chain(&before).find(is_header)?;
    (before != after).then(|| format!("the section `{header}`"))
}

/// The module of the standard library or of the test runner that a new file stands before.
fn shadowed_module(path: &RepoPath, has_file: &dyn Fn(&str) -> bool) -> Option<String> {
    if matches!(path.extension(), Some("pth" | "egg-link")) {
        return Some("site".to_owned());
    }
    let stem = path.file_name().strip_suffix(".py").or_else(|| {
        let is_compiled = matches!(path.extension(), Some("pyc" | "so" | "pyd"));
        is_compiled.then(|| path.file_name().split('.').next().unwrap_or_default())
    })?;
    let (module, folder) = if stem == "__init__" {
        let parent = path.parent()?;
        parent.rsplit_once('/').map_or((parent, ""), |(folder, module)| (module, folder))
    } else {
        (stem, path.parent().unwrap_or_default())
    };
    if START_MODULES.contains(&module) {
        return Some(module.to_owned());
    }
    // A module inside a package is found under the package's name only.
    let is_in_package = !folder.is_empty() && has_file(&format!("{folder}/__init__.py"));
    (!is_in_package && STANDARD_MODULES.binary_search(&module).is_ok()).then(|| module.to_owned())
}

/// Top-level modules of Python's standard library and of its test runners, in order.
const STANDARD_MODULES: &[&str] = &[
    "__future__",
    "_pytest",
    "abc",
    "aifc",
    "antigravity",
    "argparse",
    "array",
    "ast",
    "asynchat",
    "asyncio",
    "asyncore",
    "atexit",
    "audioop",
    "base64",
    "bdb",
    "binascii",
    "bisect",
    "builtins",
    "bz2",
    "cProfile",
    "calendar",
    "cgi",
    "cgitb",
    "chunk",
    "cmath",
    "cmd",
    "code",
    "codecs",
    "codeop",
    "collections",
    "colorsys",
    "compileall",
    "concurrent",
    "configparser",
    "contextlib",
    "contextvars",
    "copy",
    "copyreg",
    "coverage",
    "crypt",
    "csv",
    "ctypes",
    "curses",
    "dataclasses",
    "datetime",
    "dbm",
    "decimal",
    "difflib",
    "dis",
    "distutils",
    "doctest",
    "email",
    "encodings",
    "ensurepip",
    "enum",
    "errno",
    "faulthandler",
    "fcntl",
    "filecmp",
    "fileinput",
    "fnmatch",
    "fractions",
    "ftplib",
    "functools",
    "gc",
    "genericpath",
    "getopt",
    "getpass",
    "gettext",
    "glob",
    "graphlib",
    "grp",
    "gzip",
    "hashlib",
    "heapq",
    "hmac",
    "html",
    "http",
    "hypothesis",
    "idlelib",
    "imaplib",
    "imghdr",
    "imp",
    "importlib",
    "inspect",
    "io",
    "ipaddress",
    "itertools",
    "json",
    "keyword",
    "lib2to3",
    "linecache",
    "locale",
    "logging",
    "lzma",
    "mailbox",
    "mailcap",
    "marshal",
    "math",
    "mimetypes",
    "mmap",
    "modulefinder",
    "msilib",
    "msvcrt",
    "multiprocessing",
    "netrc",
    "nis",
    "nntplib",
    "nose",
    "nt",
    "ntpath",
    "nturl2path",
    "numbers",
    "opcode",
    "operator",
    "optparse",
    "os",
    "ossaudiodev",
    "pathlib",
    "pdb",
    "pickle",
    "pickletools",
    "pipes",
    "pkgutil",
    "platform",
    "plistlib",
    "pluggy",
    "poplib",
    "posix",
    "posixpath",
    "pprint",
    "profile",
    "pstats",
    "pty",
    "pwd",
    "py_compile",
    "pyclbr",
    "pydoc",
    "pydoc_data",
    "pyexpat",
    "pytest",
    "queue",
    "quopri",
    "random",
    "re",
    "readline",
    "reprlib",
    "resource",
    "rlcompleter",
    "runpy",
    "sched",
    "secrets",
    "select",
    "selectors",
    "shelve",
    "shlex",
    "shutil",
    "signal",
    "site",
    "smtpd",
    "smtplib",
    "sndhdr",
    "socket",
    "socketserver",
    "spwd",
    "sqlite3",
    "sre_compile",
    "sre_constants",
    "sre_parse",
    "ssl",
    "stat",
    "statistics",
    "string",
    "stringprep",
    "struct",
    "subprocess",
    "sunau",
    "symtable",
    "sys",
    "sysconfig",
    "syslog",
    "tabnanny",
    "tarfile",
    "telnetlib",
    "tempfile",
    "termios",
    "textwrap",
    "this",
    "threading",
    "time",
    "timeit",
    "tkinter",
    "token",
    "tokenize",
    "tomllib",
    "tox",
    "trace",
    "traceback",
    "tracemalloc",
    "tty",
    "turtle",
    "turtledemo",
    "types",
    "typing",
    "unicodedata",
    "unittest",
    "urllib",
    "uu",
    "uuid",
    "venv",
    "warnings",
    "wave",
    "weakref",
    "webbrowser",
    "winreg",
    "winsound",
    "wsgiref",
    "xdrlib",
    "xml",
    "xmlrpc",
    "zipapp",
    "zipfile",
    "zipimport",
    "zlib",
    "zoneinfo",
];

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::repo::change::FileContent;

    #[track_caller]
    fn check(path: &str, before: Option<&str>, after: Option<&str>, expect: Expect) {
        let content = |text: Option<&str>| {
            text.map(|text| FileContent { bytes: text.into(), executable: false })
        };
        let change = FileChange { before: content(before), after: content(after) };
        let changes = FileChanges::from([(RepoPath::parse(path).unwrap(), change)]);
        let is_test = |path: &RepoPath| path.as_str().starts_with("tests/");
        let has_file = |path: &str| path == "pkg/__init__.py";
        let outcome =
            check_candidate(&changes, "make check && ./run_tests.sh -q", &is_test, &has_file);
        expect
            .assert_eq(&outcome.map_or_else(|refusal| refusal.to_string(), |()| "fine".to_owned()));
    }

    #[test]
    fn modules_are_in_order() {
        assert!(STANDARD_MODULES.is_sorted());
    }

    #[test]
    fn product_code_may_change() {
        check("pkg/io.py", None, Some("x"), expect!["fine"]);
        check("pkg/core.py", Some("a"), Some("b"), expect!["fine"]);
        check("json.py", Some("a"), Some("b"), expect!["fine"]);
        check(
            "setup.cfg",
            Some("[metadata]\nname = a\n[tool:pytest]\nx = 1\n"),
            Some("[metadata]\nname = b\n[tool:pytest]\nx = 1\n"),
            expect!["fine"],
        );
        check(
            "package.json",
            Some(r#"{"scripts":{"test":"jest"},"version":"1"}"#),
            Some(r#"{"scripts":{"test":"jest"},"version":"2"}"#),
            expect!["fine"],
        );
    }

    #[test]
    fn tests_and_the_runners_settings_may_not() {
        check(
            "tests/test_a.py",
            Some("a"),
            None,
            expect!["the candidate changes the test file `tests/test_a.py`"],
        );
        check(
            "pkg/conftest.py",
            None,
            Some("x"),
            expect!["the candidate changes `pkg/conftest.py`, which configures the test runner"],
        );
        check(
            "Makefile",
            Some("a"),
            Some("b"),
            expect!["the candidate changes `Makefile`, which configures the test runner"],
        );
        check(
            "run_tests.sh",
            Some("a"),
            Some("b"),
            expect!["the candidate changes `run_tests.sh`, which configures the test runner"],
        );
        check(
            "setup.cfg",
            Some("[metadata]\nname = a\n"),
            Some("[metadata]\nname = a\n[tool:pytest]\naddopts = -k nothing\n"),
            expect![
                "the candidate changes the section `[tool:pytest]` of `setup.cfg`, which configures the test runner"
            ],
        );
        check(
            "pyproject.toml",
            Some("[tool.pytest.ini_options]\naddopts = '-q'\n"),
            Some("[tool.pytest.ini_options]\naddopts = '-q --co'\n"),
            expect![
                "the candidate changes the section `[tool.pytest.ini_options]` of `pyproject.toml`, which configures the test runner"
            ],
        );
        check(
            "package.json",
            Some(r#"{"scripts":{"test":"jest"}}"#),
            Some(r#"{"scripts":{"test":"true"}}"#),
            expect![
                "the candidate changes `scripts` of `package.json`, which configures the test runner"
            ],
        );
    }

    #[test]
    fn a_new_file_may_not_take_the_place_of_a_module() {
        check(
            "sitecustomize.py",
            None,
            Some("x"),
            expect![
                "the candidate creates `sitecustomize.py`, which takes the place of the module `sitecustomize`"
            ],
        );
        check(
            "pkg/sitecustomize.py",
            None,
            Some("x"),
            expect![
                "the candidate creates `pkg/sitecustomize.py`, which takes the place of the module `sitecustomize`"
            ],
        );
        check(
            "unittest/__init__.py",
            None,
            Some("x"),
            expect![
                "the candidate creates `unittest/__init__.py`, which takes the place of the module `unittest`"
            ],
        );
        check(
            "src/json.py",
            None,
            Some("x"),
            expect![
                "the candidate creates `src/json.py`, which takes the place of the module `json`"
            ],
        );
        check(
            "pytest.py",
            None,
            Some("x"),
            expect![
                "the candidate creates `pytest.py`, which takes the place of the module `pytest`"
            ],
        );
        check(
            "a.pth",
            None,
            Some("import os"),
            expect!["the candidate creates `a.pth`, which takes the place of the module `site`"],
        );
    }
}
