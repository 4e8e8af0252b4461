//! Candidates that would win by changing the judge: tests, the runner's settings, its modules.

mod modules;
#[cfg(test)]
mod tests;

use crate::repo::change::{PathChange, PathChanges};
use crate::repo::path::RepoPath;
use crate::sandbox::guard::modules::shadowed_module;

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

/// Checks a candidate. `is_test` is the rule for test files, `has_file` knows the paths of the
/// snapshot, and `test_command` may name further files that are part of the judge.
pub fn check_candidate(
    changes: &PathChanges,
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
fn changed_section(path: &RepoPath, change: &PathChange) -> Option<String> {
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
