//! `sorft eval` on a small benchmark: the oracle, runs with a server whose answers are known,
//! kills, parts, and records that are no use.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Output, Stdio};
use std::time::{Duration, Instant};

use assert_cmd::Command;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::server::{Script, Server};

const DEMO_PATCH: &str = "\
diff --git a/timesheet/durations.py b/timesheet/durations.py
--- a/timesheet/durations.py
+++ b/timesheet/durations.py
@@ -14,5 +14,5 @@
     seconds = 0
     for amount, unit in _PART.findall(text):
-        seconds = int(amount) * SECONDS_PER_UNIT[unit]
+        seconds += int(amount) * SECONDS_PER_UNIT[unit]
     return seconds
 
";

pub(crate) fn script() -> Script {
    Script {
        file: "```\ntimesheet/report.py\ntimesheet/durations.py\n```",
        function: "```\ntimesheet/durations.py\nfunction: parse_duration\n```",
        line: "```\ntimesheet/durations.py\nline: 16\n```",
        edits: vec![
            "```\n### timesheet/durations.py\n<<<<<<< SEARCH\n        seconds = int(amount) * SECONDS_PER_UNIT[unit]\n=======\n        seconds += int(amount) * SECONDS_PER_UNIT[unit]\n>>>>>>> REPLACE\n```\n",
        ],
        tests: Vec::new(),
    }
}

/// Repositories, a dataset, and folders of the user's that are nobody's.
pub(crate) struct Bench {
    home: TempDir,
    /// The demo's only commit.
    commit: String,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let demo = manifest().join("fixtures/demo/repo");
        let mut files = Vec::new();
        read_folder(&demo, &demo, &mut files);
        let commit = commit_files(&home.path().join("repos/me__demo"), &files);
        Self { home, commit }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub(crate) fn record(&self, id: &str) -> Value {
        let issue = fs::read_to_string(manifest().join("fixtures/demo/issue.md")).unwrap();
        json!({
            "instance_id": id, "repo": "me/demo", "base_commit": self.commit,
            "problem_statement": format!("{id}: {issue}"), "patch": DEMO_PATCH,
            "test_patch": "x", "FAIL_TO_PASS": "[]", "PASS_TO_PASS": [],
        })
    }

    pub(crate) fn write_records(&self, records: &[Value]) {
        let lines: String = records.iter().map(|record| format!("{record}\n")).collect();
        fs::write(self.path("data.jsonl"), lines).unwrap();
    }

    pub(crate) fn process(&self, arguments: &[&str]) -> Process {
        let mut command = Process::new(assert_cmd::cargo::cargo_bin("sorft"));
        for (name, folder) in [
            ("HOME", ""),
            ("XDG_CACHE_HOME", "cache"),
            ("XDG_STATE_HOME", "state"),
            ("XDG_CONFIG_HOME", "config"),
        ] {
            command.env(name, self.path(folder));
        }
        command.env("SORFT_OFFLINE", "1").env_remove("SORFT_API_KEY");
        command.current_dir(self.home.path()).args(arguments);
        command
    }

    pub(crate) fn sorft(&self, arguments: &[&str]) -> Output {
        Command::from_std(self.process(arguments)).output().unwrap()
    }

    pub(crate) fn run_arguments<'a>(url: &'a str, out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        let mut arguments = vec!["eval", "data.jsonl", "--repos", "repos", "--endpoint", url];
        arguments.extend(["--effort", "quick", "--samples", "3", "--out", out]);
        arguments.extend(more);
        arguments
    }

    /// What a run leaves, wall-clock values apart.
    fn results(&self, out: &str) -> Vec<(String, String)> {
        let names = [
            "run.json",
            "records.jsonl",
            "trajectory.jsonl",
            "candidates.jsonl",
            "instances.jsonl",
            "predictions.jsonl",
            "metrics.json",
        ];
        let read = |name: &str| fs::read_to_string(self.path(out).join(name)).unwrap();
        names.iter().map(|name| ((*name).to_owned(), read(name))).collect()
    }

    pub(crate) fn metrics(&self, out: &str) -> Value {
        serde_json::from_str(&fs::read_to_string(self.path(out).join("metrics.json")).unwrap())
            .unwrap()
    }
}

fn manifest() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read_folder(root: &Path, folder: &Path, files: &mut Vec<(String, Vec<u8>, i32)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_folder(root, &path, files);
        } else {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            files.push((name, fs::read(&path).unwrap(), 0o100_644));
        }
    }
}

/// A bare repository with one commit of these files (path, bytes, mode); the commit's name.
pub(crate) fn commit_files(folder: &Path, files: &[(String, Vec<u8>, i32)]) -> String {
    let repository = git2::Repository::init_bare(folder).unwrap();
    let mut index = git2::Index::new().unwrap();
    for (path, bytes, mode) in files {
        let id = repository.blob(bytes).unwrap();
        let zero = git2::IndexTime::new(0, 0);
        let entry = git2::IndexEntry {
            ctime: zero,
            mtime: zero,
            dev: 0,
            ino: 0,
            mode: *mode as u32,
            uid: 0,
            gid: 0,
            file_size: 0,
            id,
            flags: 0,
            flags_extended: 0,
            path: path.clone().into_bytes(),
        };
        index.add(&entry).unwrap();
    }
    let tree = repository.find_tree(index.write_tree_to(&repository).unwrap()).unwrap();
    let who = git2::Signature::new("a", "a@example.org", &git2::Time::new(0, 0)).unwrap();
    repository.commit(Some("HEAD"), &who, &who, "base", &tree, &[]).unwrap().to_string()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[track_caller]
pub(crate) fn check_code(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
}

const ODD_PATCH: &str = "\
diff --git a/created/deep/new_file.py b/created/deep/new_file.py
new file mode 100755
--- /dev/null
+++ b/created/deep/new_file.py
@@ -0,0 +1,2 @@
+x = 1
+y = 2
\\ No newline at end of file
diff --git a/dos.py b/dos.py
--- a/dos.py
+++ b/dos.py
@@ -1,3 +1,3 @@
 one = 1\r
-two = 2\r
+two = 22\r
 three = 3\r
diff --git a/gone.py b/gone.py
deleted file mode 100644
--- a/gone.py
+++ /dev/null
@@ -1 +0,0 @@
-gone = True
diff --git a/old_name.py b/new_name.py
similarity index 60%
rename from old_name.py
rename to new_name.py
--- a/old_name.py
+++ b/new_name.py
@@ -1,2 +1,2 @@
 def same():
-    return 1
+    return 2
diff --git a/run.sh b/run.sh
old mode 100644
new mode 100755
diff --git a/twins.py b/twins.py
--- a/twins.py
+++ b/twins.py
@@ -1,3 +1,4 @@
+import os
 def a():
     x = 1
     return x
@@ -5,3 +6,3 @@
 def b():
-    x = 1
+    x = 2
     return x
@@ -9,3 +10,3 @@
 def c():
-    x = 1
+    x = 3
     return x
\\ No newline at end of file
";

#[test]
fn the_oracle_loses_nothing_of_odd_patches() {
    let bench = Bench::new();
    let file =
        |name: &str, content: &str| (name.to_owned(), content.as_bytes().to_vec(), 0o100_644);
    let function = |name: &str| format!("def {name}():\n    x = 1\n    return x\n");
    let twins = format!("{}\n{}\n{}", function("a"), function("b"), function("c").trim_end());
    let odd = commit_files(
        &bench.path("repos/me+odd/repo"),
        &[
            file("dos.py", "one = 1\r\ntwo = 2\r\nthree = 3\r\n"),
            file("gone.py", "gone = True\n"),
            file("old_name.py", "def same():\n    return 1\n"),
            file("run.sh", "echo run\n"),
            file("twins.py", &twins),
        ],
    );
    let mut record = bench.record("me__odd-1");
    record["repo"] = "me/odd".into();
    record["base_commit"] = odd.into();
    record["patch"] = ODD_PATCH.into();
    bench.write_records(&[bench.record("me__demo-1"), record]);
    let output =
        bench.sorft(&["eval", "data.jsonl", "--repos", "repos", "--oracle", "--out", "out"]);
    check_code(&output, 0);
    let metrics = bench.metrics("out");
    assert_eq!(metrics["tree_identical"], json!(1.0), "{metrics:#}");
    assert_eq!(metrics["n_instances"], json!(2));
    for stage in ["file", "function", "line", "edit"] {
        assert_eq!(metrics["ceilings"][0]["stages"][stage]["exact"], json!(1.0), "{stage}");
    }
    // Constrained answers edit shown files and create files beside them; whole-file operations
    // are understood, and not offered.
    let losses = metrics["losses"].as_array().unwrap();
    assert_eq!(losses.len(), 1, "{losses:#?}");
    assert_eq!(
        (&losses[0]["instance"], &losses[0]["reason"]),
        (&json!("me__odd-1"), &json!("not in the grammar"))
    );
    let predictions = fs::read_to_string(bench.path("out/predictions.jsonl")).unwrap();
    assert!(predictions.contains("rename from old_name.py"), "{predictions}");
    assert!(text(&output.stdout).contains("tree identical"));
}

#[test]
fn a_run_counts_what_its_completions_hit() {
    let bench = Bench::new();
    bench.write_records(&[bench.record("me__demo-1"), bench.record("me__demo-2")]);
    let server = Server::start(script());
    let url = server.url();
    let output =
        bench.sorft(&Bench::run_arguments(&url, "out", &["--true-inputs", "--price", "1/2"]));
    check_code(&output, 0);
    let metrics = bench.metrics("out");
    let all = &metrics["all"];
    let model = |stage: &str| all["stages"][stage][0].clone();
    // Of two files answered the second is right.
    assert_eq!(model("file")["name"], "model");
    assert_eq!(model("file")["precision"]["mean"], json!(0.5));
    assert_eq!(model("file")["any_at"]["1"]["mean"], json!(0.0));
    assert_eq!(model("file")["any_at"]["3"]["mean"], json!(1.0));
    assert_eq!(model("function")["hit"]["mean"], json!(1.0));
    // The line before the changed one.
    assert_eq!(model("line")["hit"]["mean"], json!(0.0));
    assert_eq!(model("edit")["f3"]["mean"], json!(1.0));
    assert_eq!(all["stages"]["edit"][1]["name"], "model, true inputs");
    assert_eq!(
        (&all["applied_first"]["mean"], &all["applied"]["mean"]),
        (&json!(1.0), &json!(1.0))
    );
    assert!(all["dollars"].as_f64().unwrap() > 0.0);
    let predictions = fs::read_to_string(bench.path("out/predictions.jsonl")).unwrap();
    let first: Value = serde_json::from_str(predictions.lines().next().unwrap()).unwrap();
    assert_eq!(first["instance_id"], "me__demo-1");
    assert_eq!(first["model_name_or_path"], "tiny");
    assert!(first["model_patch"].as_str().unwrap().starts_with("diff --git"));
    let shown = text(&output.stdout);
    for term in ["copy retrieval, k = 5", "shuffled candidates", "applied@1", "Definitions"] {
        assert!(shown.contains(term), "{term} in {shown}");
    }
    // The gold patch reaches no prompt.
    assert!(!server.prompts().contains("seconds += int(amount)"));
}

#[test]
fn a_killed_run_ends_with_the_bytes_of_an_unbroken_one() {
    let bench = Bench::new();
    let records: Vec<Value> = (1..=6).map(|n| bench.record(&format!("me__demo-{n}"))).collect();
    bench.write_records(&records);
    let server = Server::start(script());
    let url = server.url();
    check_code(&bench.sorft(&Bench::run_arguments(&url, "whole", &["--jobs", "1"])), 0);
    let n_whole = server.n_calls();
    // Killed again and again, each time a few calls further; what was finished is not asked again.
    let arguments = Bench::run_arguments(&url, "broken", &["--jobs", "3"]);
    let mut n_kills = 0;
    for step in [1, 4, 2, 7, 3] {
        let wanted = server.n_calls() + step;
        let mut child =
            bench.process(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let until = Instant::now() + Duration::from_secs(60);
        while server.n_calls() < wanted && Instant::now() < until {
            if child.try_wait().unwrap().is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        if child.try_wait().unwrap().is_none() {
            n_kills += 1;
        }
        drop(child.kill());
        child.wait().unwrap();
    }
    assert!(3 <= n_kills, "{n_kills} kills");
    check_code(&bench.sorft(&arguments), 0);
    for (whole, broken) in bench.results("whole").iter().zip(&bench.results("broken")) {
        assert_eq!(whole, broken);
    }
    // A finished run asks nothing more.
    let n_before = server.n_calls();
    assert!(n_before < 3 * n_whole, "{n_before} calls, {n_whole} of an unbroken run");
    check_code(&bench.sorft(&arguments), 0);
    assert_eq!(server.n_calls(), n_before);
}

#[test]
fn parts_join_to_the_whole_and_runs_compare() {
    let bench = Bench::new();
    let records: Vec<Value> = (1..=5).map(|n| bench.record(&format!("me__demo-{n}"))).collect();
    bench.write_records(&records);
    let server = Server::start(script());
    let url = server.url();
    check_code(&bench.sorft(&Bench::run_arguments(&url, "whole", &[])), 0);
    check_code(&bench.sorft(&Bench::run_arguments(&url, "p1", &["--shard", "1/2"])), 0);
    let early = bench.sorft(&["eval", "merge", "joined", "p1", "whole"]);
    check_code(&early, 2);
    assert!(text(&early.stderr).contains("is in `p1` and in `whole`"), "{}", text(&early.stderr));
    check_code(&bench.sorft(&Bench::run_arguments(&url, "p2", &["--shard", "2/2"])), 0);
    check_code(&bench.sorft(&["eval", "merge", "joined", "p2", "p1"]), 0);
    for (whole, joined) in bench.results("whole").iter().zip(&bench.results("joined")) {
        assert_eq!(whole, joined);
    }
    let compared = bench.sorft(&["eval", "compare", "p1", "whole", "--format", "json"]);
    check_code(&compared, 0);
    let compared: Value = serde_json::from_slice(&compared.stdout).unwrap();
    assert_eq!(
        (&compared["n_common"], &compared["only_second"]),
        (&json!(3), &json!(["me__demo-2", "me__demo-4"]))
    );
    assert_eq!(compared["measures"][0]["mcnemar"]["p"], json!(1.0));
}

#[test]
fn parts_of_an_oracle_join_to_the_whole() {
    let bench = Bench::new();
    let mut records: Vec<Value> = (1..=4).map(|n| bench.record(&format!("me__demo-{n}"))).collect();
    records[1]["repo"] = "you/else".into();
    bench.write_records(&records);
    let oracle = |out: &str, code: i32, more: &[&str]| {
        let arguments = ["eval", "data.jsonl", "--repos", "repos", "--oracle", "--out", out];
        check_code(&bench.sorft(&[&arguments, more].concat()), code);
    };
    oracle("whole", 1, &[]);
    oracle("p1", 0, &["--shard", "1/2"]);
    oracle("p2", 1, &["--shard", "2/2"]);
    check_code(&bench.sorft(&["eval", "merge", "joined", "p2", "p1"]), 0);
    assert_eq!(bench.metrics("joined")["n_instances"], json!(3));
    assert_eq!(bench.metrics("joined")["failed"][0]["instance"], json!("me__demo-2"));
    for (whole, joined) in bench.results("whole").iter().zip(&bench.results("joined")) {
        assert_eq!(whole, joined);
    }
    let server = Server::start(script());
    let only = ["--only", "me__demo-1"];
    check_code(&bench.sorft(&Bench::run_arguments(&server.url(), "run", &only)), 0);
    let mixed = bench.sorft(&["eval", "merge", "mixed", "p1", "run"]);
    check_code(&mixed, 2);
    assert!(text(&mixed.stderr).contains("evaluations with other settings"));
}

#[test]
fn records_that_are_no_use_are_named_and_the_rest_goes_on() {
    let bench = Bench::new();
    let mut no_commit = bench.record("me__demo-2");
    no_commit["base_commit"] = "0123456789012345678901234567890123456789".into();
    let mut no_repository = bench.record("you__demo-3");
    no_repository["repo"] = "you/else".into();
    let mut other_patch = bench.record("me__demo-5");
    other_patch["patch"] = DEMO_PATCH.replace("seconds = 0", "seconds = 1").into();
    let mut no_patch = bench.record("me__demo-4");
    no_patch["patch"] = "".into();
    bench.write_records(&[
        bench.record("me__demo-1"),
        no_commit,
        no_repository,
        no_patch,
        other_patch,
    ]);
    let mut file = fs::OpenOptions::new().append(true).open(bench.path("data.jsonl")).unwrap();
    writeln!(file, "{{\"instance_id\": \"cut").unwrap();
    writeln!(file, "{}", bench.record("me__demo-1")).unwrap();
    writeln!(file, "{}", bench.record("me__demo-6")).unwrap();
    drop(file);
    let server = Server::start(script());
    let url = server.url();
    for what in ["--retrieval", "--oracle", ""] {
        let output = match what {
            "" => bench.sorft(&Bench::run_arguments(&url, "out", &[])),
            what => bench.sorft(&["eval", "data.jsonl", "--repos", "repos", what]),
        };
        check_code(&output, 1);
        let said = text(&output.stderr);
        for wanted in [
            "line 6: EOF while parsing a string",
            "line 7: `me__demo-1` is there twice; the one in line 1 counts",
            "me__demo-2: opening",
            "no commit is called `0123456789012345678901234567890123456789`",
            "you__demo-3: `repos` holds no git repository for `you/else`",
            "me__demo-5: the gold patch and its base commit",
        ] {
            assert!(said.contains(wanted), "{what}: {wanted} in {said}");
        }
        // A record without a gold patch can be predicted for, not compared with.
        assert_eq!(
            said.contains("me__demo-4: the record has no gold patch"),
            !what.is_empty(),
            "{said}"
        );
    }
    let metrics = bench.metrics("out");
    assert_eq!(
        (&metrics["n_instances"], metrics["failed"].as_array().unwrap().len()),
        (&json!(3), 3)
    );
    assert_eq!(metrics["all"]["stages"]["file"][0]["n"], json!(2));
}

#[test]
fn a_run_says_what_it_cannot_do() {
    let bench = Bench::new();
    bench.write_records(&[bench.record("me__demo-1"), bench.record("me__demo-2")]);
    let server = Server::start(script());
    let url = server.url();
    let check = |arguments: &[&str], wanted: &str| {
        let output = bench.sorft(arguments);
        check_code(&output, 2);
        let said = text(&output.stderr);
        assert!(said.contains(wanted), "{wanted} in {said}");
    };
    check(&["eval", "data.jsonl", "--repos", "repos", "--endpoint", &url], "`--out DIR`");
    check(
        &["eval", "none.jsonl", "--repos", "repos", "--oracle"],
        "reading the dataset `none.jsonl`",
    );
    check(
        &["eval", "data.jsonl", "--repos", "repos", "--oracle", "--only", "me__demo-11"],
        "the nearest is `me__demo-1`",
    );
    fs::write(bench.path("taken"), "mine").unwrap();
    check(&Bench::run_arguments(&url, "taken", &[]), "creating `taken`");
    check_code(&bench.sorft(&Bench::run_arguments(&url, "out", &["--limit", "1"])), 0);
    check(
        &Bench::run_arguments(&url, "out", &["--limit", "2"]),
        "holds a run with other settings: `instances`",
    );
    let run = bench.path("out/run.json");
    let newer = fs::read_to_string(&run).unwrap().replace("\"version\": 1", "\"version\": 9");
    fs::write(&run, newer).unwrap();
    check(&["eval", "compare", "out", "out"], "was written by a newer sorft");
    check(&["eval", "merge", "joined", "taken"], "`taken` is no run directory");
    // A server that fails in the last stage loses no instance in silence.
    let failing = Server::start(Script { edits: Vec::new(), ..script() });
    let url = failing.url();
    let output = bench.sorft(&Bench::run_arguments(&url, "failing", &[]));
    check_code(&output, 1);
    assert!(text(&output.stderr).contains("me__demo-2: asking `tiny` for the edit stage"));
}
