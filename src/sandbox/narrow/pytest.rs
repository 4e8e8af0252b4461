//! pytest: paths are positional, and a test is named by `path::name`.

use crate::repo::path::RepoPath;
use crate::sandbox::narrow::{CannotNarrow, Options, is_below};

/// Failures as Python's own tracebacks, and a line for each test that failed.
pub(super) const REPORT: &str = "--tb=native --show-capture=no -rfE";

const OPTIONS: Options = Options {
    flags: "qvxslh",
    valued: "kmncoprW",
    long_valued: &[
        "rootdir",
        "confcutdir",
        "ignore",
        "ignore-glob",
        "deselect",
        "basetemp",
        "maxfail",
        "durations",
        "durations-min",
        "tb",
        "junitxml",
        "junit-xml",
        "import-mode",
        "log-level",
        "log-cli-level",
        "override-ini",
        "capture",
        "color",
        "numprocesses",
        "dist",
        "timeout",
        "timeout-method",
        "reruns",
        "cov-report",
        "cov-config",
        "randomly-seed",
        "verbosity",
        "show-capture",
        "hypothesis-seed",
        "hypothesis-profile",
    ],
    long_flags: &[
        "verbose",
        "quiet",
        "exitfirst",
        "lf",
        "last-failed",
        "ff",
        "failed-first",
        "nf",
        "sw",
        "stepwise",
        "strict",
        "strict-markers",
        "strict-config",
        "no-header",
        "no-summary",
        "showlocals",
        "disable-warnings",
        "disable-pytest-warnings",
        "full-trace",
        "no-cov",
        "cache-clear",
        "continue-on-collection-errors",
        "doctest-modules",
        "runxfail",
        "runslow",
    ],
};

/// pytest's arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pytest {
    options: Vec<String>,
    /// Files, folders and single tests; none: the whole repository.
    places: Vec<String>,
}

impl Pytest {
    pub(super) fn parse(arguments: &[String]) -> Result<Self, CannotNarrow> {
        let parts = OPTIONS.parse(arguments)?;
        Ok(Self { options: parts.options, places: parts.positional })
    }

    pub(super) fn covers(&self, path: &RepoPath) -> bool {
        let is_inside = |place: &String| is_below(path.as_str(), file_of(place));
        let name = path.file_name();
        let is_named = self.places.iter().any(|place| file_of(place) == path.as_str());
        let is_test = name
            .strip_suffix(".py")
            .is_some_and(|stem| stem.starts_with("test_") || stem.ends_with("_test"));
        is_named || is_test && (self.places.is_empty() || self.places.iter().any(is_inside))
    }

    pub(super) fn for_files(&self, files: &[RepoPath]) -> Vec<String> {
        let mut words = self.options.clone();
        for file in files {
            let is_test_of =
                |place: &&String| place.contains("::") && file_of(place) == file.as_str();
            let single: Vec<&String> = self.places.iter().filter(is_test_of).collect();
            match single.is_empty() {
                true => words.push(file.as_str().to_owned()),
                false => words.extend(single.into_iter().cloned()),
            }
        }
        words
    }
}

fn file_of(place: &str) -> &str {
    let file = place.split("::").next().unwrap_or(place);
    file.strip_prefix("./").unwrap_or(file)
}
