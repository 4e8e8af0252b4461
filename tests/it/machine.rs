//! A machine with the demo repository and nothing else: home, caches and settings of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use assert_cmd::Command;
use tempfile::TempDir;

use crate::server::{Script, Server};

/// The edit that mends the demo.
pub(crate) const RIGHT: &str = "```\n### timesheet/durations.py\n<<<<<<< SEARCH\n        seconds = int(amount) * SECONDS_PER_UNIT[unit]\n=======\n        seconds += int(amount) * SECONDS_PER_UNIT[unit]\n>>>>>>> REPLACE\n```\n";

/// A model that finds the right place, and gives these edits in turn.
pub(crate) fn script(edits: Vec<&'static str>) -> Script {
    Script {
        file: "```\ntimesheet/durations.py\n```",
        function: "```\ntimesheet/durations.py\nfunction: parse_duration\n```",
        line: "```\ntimesheet/durations.py\nline: 17\n```",
        edits,
        tests: Vec::new(),
    }
}

/// A copy of the demo, and folders of the user's that are nobody's.
pub(crate) struct Machine {
    pub(crate) home: TempDir,
}

impl Machine {
    pub(crate) fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        copy_folder(&manifest().join("fixtures/demo/repo"), &home.path().join("repo"));
        Self { home }
    }

    pub(crate) fn repo(&self) -> PathBuf {
        self.home.path().join("repo")
    }

    /// The variables that keep a process to this machine.
    pub(crate) fn variables(&self) -> Vec<(&'static str, PathBuf)> {
        let home = self.home.path();
        vec![
            ("HOME", home.to_owned()),
            ("XDG_CACHE_HOME", home.join("cache")),
            ("XDG_STATE_HOME", home.join("state")),
            ("XDG_CONFIG_HOME", home.join("config")),
            ("SORFT_OFFLINE", PathBuf::from("1")),
        ]
    }

    /// Runs `sorft` in the folder above the repository.
    pub(crate) fn sorft(&self, arguments: &[&str]) -> Output {
        self.command().args(arguments).output().unwrap()
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::cargo_bin("sorft").unwrap();
        command.envs(self.variables()).env_remove("SORFT_API_KEY").current_dir(self.home.path());
        command
    }

    /// `sorft fix` of the demo's issue with a server.
    pub(crate) fn fix(&self, server: &Server, more: &[&str]) -> Output {
        let (issue, url) = (demo_issue(), server.url());
        let mut arguments =
            vec!["fix", "repo", "--issue", &issue, "--endpoint", &url, "--effort", "quick"];
        arguments.extend(more);
        self.sorft(&arguments)
    }

    /// Makes the demo a git repository with one commit, and gives it.
    pub(crate) fn commit_all(&self) -> git2::Repository {
        commit_all(&self.repo())
    }
}

/// Makes a folder a git repository with one commit of all that is in it.
pub(crate) fn commit_all(folder: &Path) -> git2::Repository {
    let repository = git2::Repository::init(folder).unwrap();
    let mut index = repository.index().unwrap();
    index.add_all(["*"], git2::IndexAddOption::DEFAULT, None).unwrap();
    index.write().unwrap();
    {
        let tree = repository.find_tree(index.write_tree().unwrap()).unwrap();
        let author = git2::Signature::now("a", "a@example.com").unwrap();
        repository.commit(Some("HEAD"), &author, &author, "base", &tree, &[]).unwrap();
    }
    repository
}

pub(crate) fn manifest() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The path of the demo's issue.
pub(crate) fn demo_issue() -> String {
    manifest().join("fixtures/demo/issue.md").to_str().unwrap().to_owned()
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The program ended with this code and said all of these.
#[track_caller]
pub(crate) fn check_said(output: &Output, code: i32, wanted: &[&str]) {
    let words = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{words}");
    for wanted in wanted {
        assert!(words.contains(wanted), "wanted {wanted:?} in {words}");
    }
}
