//! `sorft eval verify` and `--verify`: records whose tests are shell scripts, so that nothing is
//! installed from anywhere.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use serde_json::{Value, json};

use crate::eval::{Bench, check_code, commit_files, script, text};
use crate::server::Server;

/// What is to be mended: 41 should be 42.
const CODE: &str = "answer=41\n";
const WRONG_TESTS: &str = "report answer true\n";
/// Tests as pytest tells of them.
const RUNNER: &str = "\
status=0
report() {
    if \"$2\"; then echo \"PASSED $file::$1\"; else echo \"FAILED $file::$1 - wrong\"; status=1; fi
}
for file in \"$@\"; do . \"./code.sh\"; . \"./$file\"; done
exit $status
";

fn patch_of_code(line: &str) -> String {
    format!(
        "diff --git a/code.sh b/code.sh\n--- a/code.sh\n+++ b/code.sh\n@@ -1 +1 @@\n-answer=41\n+{line}\n"
    )
}

const TEST_PATCH: &str = "\
diff --git a/tests/a.sh b/tests/a.sh
--- a/tests/a.sh
+++ b/tests/a.sh
@@ -1 +1,3 @@
-report answer true
+is_right() { test \"$answer\" = 42; }
+report answer is_right
+report kept true
";

const RECIPES: &str = "\
version: 1
recipes:
  - repo: me/shell
    install: ['echo installing', 'echo made > /dev/null']
    prepare: ['test -f code.sh']
    test: sh run.sh
";

struct Shell {
    bench: Bench,
    commit: String,
}

impl Shell {
    fn new() -> Self {
        let bench = Bench::new();
        let file =
            |name: &str, content: &str| (name.to_owned(), content.as_bytes().to_vec(), 0o100_644);
        let files =
            [file("code.sh", CODE), file("run.sh", RUNNER), file("tests/a.sh", WRONG_TESTS)];
        let commit = commit_files(&bench.path("repos/me__shell"), &files);
        fs::write(bench.path("recipes.yaml"), RECIPES).unwrap();
        Self { bench, commit }
    }

    fn record(&self, id: &str) -> Value {
        json!({
            "instance_id": id, "repo": "me/shell", "base_commit": self.commit,
            "problem_statement": "The answer is wrong", "patch": patch_of_code("answer=42"),
            "test_patch": TEST_PATCH, "version": "1.0", "eval_type": "pass_and_fail",
            "FAIL_TO_PASS": ["tests/a.sh::answer"], "PASS_TO_PASS": "[\"tests/a.sh::kept\"]",
        })
    }

    /// Writes a record and a prediction for each of these patches, and verifies them.
    fn verify(&self, patches: &[(&str, String)], more: &[&str]) -> Output {
        let records: Vec<Value> = patches.iter().map(|(id, _)| self.record(id)).collect();
        self.bench.write_records(&records);
        self.write_predictions(patches);
        self.verify_written(&[&["--predictions", "preds.jsonl", "--out", "out"], more].concat())
    }

    fn write_predictions(&self, patches: &[(&str, String)]) {
        let line = |(id, patch): &(&str, String)| {
            let row = json!({
                "instance_id": id, "model_name_or_path": "tiny", "model_patch": patch,
            });
            format!("{row}\n")
        };
        fs::write(self.bench.path("preds.jsonl"), patches.iter().map(line).collect::<String>())
            .unwrap();
    }

    fn verify_written(&self, more: &[&str]) -> Output {
        let mut arguments = vec!["eval", "verify", "data.jsonl", "--repos", "repos"];
        arguments.extend(["--recipes", "recipes.yaml"]);
        arguments.extend(more);
        self.bench.sorft(&arguments)
    }

    fn verdicts(&self) -> Vec<Value> {
        let lines = fs::read_to_string(self.bench.path("out/verdicts.jsonl")).unwrap();
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Outcome and reason of each verdict.
    fn outcomes(&self) -> Vec<(String, String)> {
        let field = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
        self.verdicts().iter().map(|row| (field(row, "outcome"), field(row, "reason"))).collect()
    }
}

#[track_caller]
fn check_said(output: &Output, code: i32, wanted: &[&str]) {
    check_code(output, code);
    let said = text(&output.stderr);
    for wanted in wanted {
        assert!(said.contains(wanted), "wanted {wanted:?} in {said}");
    }
}

fn owned(outcome: &str, reason: &str) -> (String, String) {
    (outcome.to_owned(), reason.to_owned())
}

#[test]
fn gold_verifies_and_an_empty_or_a_wrong_patch_does_not() {
    let shell = Shell::new();
    shell.bench.write_records(&[shell.record("me__shell-1"), shell.record("me__shell-2")]);
    let gold = shell.verify_written(&["--gold", "--out", "gold"]);
    check_code(&gold, 0);
    assert!(text(&gold.stdout).contains("gold: 2 of 2 tested predictions resolved, of 2 in all"));
    let settings = "diff --git a/conftest.py b/conftest.py\nnew file mode 100644\n--- /dev/null\n+++ b/conftest.py\n@@ -0,0 +1 @@\n+pass\n";
    let own_tests = format!(
        "{}diff --git a/tests/a.sh b/tests/a.sh\n--- a/tests/a.sh\n+++ b/tests/a.sh\n@@ -1 +1 @@\n-report answer true\n+report kept true\n",
        patch_of_code("answer=43")
    );
    let output = shell.verify(
        &[
            ("me__shell-1", patch_of_code("answer=42")),
            ("me__shell-2", String::new()),
            ("me__shell-3", patch_of_code("answer=40")),
            ("me__shell-4", patch_of_code("answer=42").replace("-answer=41", "-answer=1")),
            ("me__shell-5", settings.to_owned()),
            ("me__shell-6", own_tests),
        ],
        &["--format", "json"],
    );
    check_code(&output, 0);
    let wrong = "1 of 1 tests to mend and 0 of 1 to keep fail: `tests/a.sh::answer`";
    let outcomes = shell.outcomes();
    assert_eq!(outcomes[0], owned("resolved", ""));
    assert_eq!(outcomes[1], owned("not_resolved", "the prediction is empty"));
    assert_eq!(outcomes[2], owned("not_resolved", wrong));
    assert!(outcomes[3].1.starts_with("the prediction does not apply"), "{outcomes:?}");
    assert!(outcomes[4].1.contains("`conftest.py`, which configures"), "{outcomes:?}");
    // The record's own tests are put back.
    assert_eq!(outcomes[5], owned("not_resolved", wrong));
    let metrics: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(metrics, shell.bench.metrics("out"));
    let all = &metrics["all"];
    assert_eq!((&all["resolved"], &all["not_resolved"]), (&json!(1), &json!(5)));
    let log = fs::read_to_string(shell.bench.path("out/logs/me__shell-3.prediction.log")).unwrap();
    assert!(log.contains("FAILED tests/a.sh::answer - wrong"), "{log}");
}

#[test]
fn a_patch_that_hangs_prints_without_end_or_deletes_its_checkout_is_not_resolved() {
    let shell = Shell::new();
    let output = shell.verify(
        &[
            ("me__shell-1", patch_of_code("sleep 1000")),
            ("me__shell-2", patch_of_code("yes PASSED tests/a.sh::answer")),
            ("me__shell-3", patch_of_code("rm -rf ./* .[a-z]*")),
            ("me__shell-4", patch_of_code("echo PASSED tests/a.sh::answer; kill -9 $$")),
            ("me__shell-5", patch_of_code("echo PASSED tests/a.sh::answer; exit 7")),
            ("me__shell-6", patch_of_code("answer=42")),
        ],
        &["--test-timeout", "3"],
    );
    check_code(&output, 0);
    let outcomes = shell.outcomes();
    for (idx, wanted) in [
        (0, "stopped at the time limit"),
        (1, "stopped at the limit"),
        (2, "no test ran"),
        (3, "no test failed, but the command did (exit status 137)"),
        (4, "no test failed, but the command did (exit status 7)"),
    ] {
        assert_eq!(outcomes[idx].0, "not_resolved", "{outcomes:?}");
        assert!(outcomes[idx].1.contains(wanted), "{wanted} in {outcomes:?}");
    }
    assert_eq!(outcomes[5], owned("resolved", ""));
}

#[test]
fn what_not_even_gold_mends_is_unverifiable_and_not_failed() {
    let shell = Shell::new();
    let mut no_use = shell.record("me__shell-1");
    no_use["patch"] = patch_of_code("answer=40").into();
    let mut never_broken = shell.record("me__shell-2");
    never_broken["FAIL_TO_PASS"] = json!(["tests/a.sh::kept"]);
    shell.bench.write_records(&[no_use, never_broken, shell.record("me__shell-3")]);
    let output = shell.verify_written(&["--gold", "--out", "out"]);
    check_said(
        &output,
        1,
        &[
            "unverifiable: me__shell-1: with the gold patch: 1 of 1 tests to mend",
            "unverifiable: me__shell-2: 1 of 1 tests to mend pass without the gold patch",
        ],
    );
    let all = &shell.bench.metrics("out")["all"];
    assert_eq!(
        (&all["resolved"], &all["not_resolved"], &all["unverifiable"]),
        (&json!(1), &json!(0), &json!(2))
    );
    assert_eq!(all["resolved_of_tested"]["mean"], json!(1.0));
}

const MORE_RECIPES: &str = "\
# More of them.
  - repo: me/shell
    versions: ['2.0']
    install: ['echo building', 'echo no compiler >&2; false', 'echo never']
    test: sh run.sh
  - repo: me/shell
    versions: ['3.0']
    python: '3.99'
    test: sh run.sh
";

#[test]
fn what_cannot_be_run_is_named_and_the_rest_goes_on() {
    let shell = Shell::new();
    let of_version = |id: &str, version: &str| {
        let mut record = shell.record(id);
        record["version"] = version.into();
        record
    };
    let mut other = shell.record("me__shell-5");
    other["eval_type"] = "fail_only".into();
    shell.bench.write_records(&[
        shell.record("me__shell-1"),
        of_version("me__shell-2", "2.0"),
        of_version("me__shell-3", "3.0"),
        of_version("me__shell-4", "4.0"),
        other,
        shell.record("me__shell-6"),
    ]);
    let recipes =
        RECIPES.replace("    install", "    versions: ['1.0']\n    install") + MORE_RECIPES;
    fs::write(shell.bench.path("recipes.yaml"), &recipes).unwrap();
    let gold = shell.verify_written(&["--gold", "--out", "out"]);
    check_said(
        &gold,
        1,
        &[
            "me__shell-2: the install of the recipe for `me/shell` failed (exit status 1); its last lines",
            "building; no compiler",
            "me__shell-3: Python 3.99 was wanted and not found",
            "`uv python install 3.99` obtains it",
            "me__shell-4: the recipes have none for version `4.0` of `me/shell`, only for 1.0, 2.0, 3.0",
            "me__shell-5: its tests are graded as `fail_only`",
        ],
    );
    assert!(!text(&gold.stderr).contains("never"));
    let metrics = shell.bench.metrics("out");
    assert_eq!((&metrics["all"]["resolved"], &metrics["all"]["not_run"]), (&json!(2), &json!(4)));
    // What could not be run is tried again.
    fs::write(shell.bench.path("recipes.yaml"), recipes.replace("; false", "")).unwrap();
    check_code(&shell.verify_written(&["--gold", "--out", "out"]), 1);
    assert_eq!(shell.bench.metrics("out")["all"]["resolved"], json!(3));
}

#[test]
fn verdicts_are_kept_and_other_recipes_do_not_mix_with_them() {
    let shell = Shell::new();
    let timings = || fs::read_to_string(shell.bench.path("out/timings.jsonl")).unwrap();
    let patches = [("me__shell-1", patch_of_code("answer=42")), ("me__shell-2", String::new())];
    check_code(&shell.verify(&patches, &["--limit", "1", "--only", "me__shell-1"]), 0);
    let other = shell.verify(&patches, &[]);
    check_said(&other, 2, &["holds a run with other settings: `instances`"]);
    fs::remove_dir_all(shell.bench.path("out")).unwrap();
    check_code(&shell.verify(&patches, &[]), 0);
    let (first, n_timed) = (shell.verdicts(), timings().lines().count());
    check_code(&shell.verify(&patches, &[]), 0);
    assert_eq!((shell.verdicts(), timings().lines().count()), (first, n_timed));
    fs::write(shell.bench.path("recipes.yaml"), RECIPES.replace("sh run.sh", "sh ./run.sh"))
        .unwrap();
    let other = shell.verify(&patches, &[]);
    check_said(&other, 2, &["`me__shell-1` has a verdict already, by another recipe"]);
}

#[test]
fn an_environment_is_made_once_and_a_half_made_one_never_used() {
    let shell = Shell::new();
    shell.bench.write_records(&[shell.record("me__shell-1"), shell.record("me__shell-2")]);
    check_code(&shell.verify_written(&["--gold", "--out", "one", "--test-jobs", "2"]), 0);
    let environments = shell.bench.path("cache/sorft/environments");
    let made: Vec<_> = fs::read_dir(&environments)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    assert_eq!(made.len(), 1, "{made:?}");
    let log = made[0].join("install.log");
    assert_eq!(fs::read_to_string(&log).unwrap(), "installing\n");
    // One that is whole is left alone.
    fs::write(&log, "as it was\n").unwrap();
    check_code(&shell.verify_written(&["--gold", "--out", "two"]), 0);
    assert_eq!(fs::read_to_string(&log).unwrap(), "as it was\n");
    // A killed install leaves no marker.
    fs::remove_file(made[0].join("ready.json")).unwrap();
    fs::write(made[0].join("venv/junk"), "half").unwrap();
    check_code(&shell.verify_written(&["--gold", "--out", "three"]), 0);
    assert_eq!(fs::read_to_string(&log).unwrap(), "installing\n");
    assert!(!made[0].join("venv/junk").exists() && made[0].join("ready.json").exists());
}

#[test]
fn an_install_sees_the_tree_if_the_recipe_says_so_and_nothing_of_the_user() {
    let shell = Shell::new();
    shell.bench.write_records(&[shell.record("me__shell-1")]);
    let secret = shell.bench.path(".ssh");
    fs::create_dir_all(&secret).unwrap();
    fs::write(secret.join("id_rsa"), "key").unwrap();
    let recipes = |tree: bool| {
        format!(
            "version: 1\nrecipes:\n  - repo: me/shell\n    tree: {tree}\n    install:\n      - test ! -e {}\n      - 'test -z \"$SECRET_TOKEN\"'\n      - test {} -f code.sh\n    test: sh run.sh\n",
            secret.join("id_rsa").display(),
            if tree { "" } else { "!" },
        )
    };
    for tree in [true, false] {
        fs::write(shell.bench.path("recipes.yaml"), recipes(tree)).unwrap();
        let out = format!("out-{tree}");
        let arguments = [
            "eval",
            "verify",
            "data.jsonl",
            "--repos",
            "repos",
            "--recipes",
            "recipes.yaml",
            "--gold",
            "--out",
            &out,
        ];
        let output = shell.bench.process(&arguments).env("SECRET_TOKEN", "hush").output().unwrap();
        check_code(&output, 0);
    }
}

#[test]
fn mistakes_in_use_are_told_before_any_work() {
    let shell = Shell::new();
    shell.bench.write_records(&[shell.record("me__shell-1")]);
    let check = |more: &[&str], wanted: &str| {
        let mut arguments = vec!["eval", "verify", "data.jsonl", "--repos", "repos"];
        arguments.extend(more);
        check_said(&shell.bench.sorft(&arguments), 2, &[wanted]);
    };
    check(&["--gold", "--out", "out"], "`--verify local` needs recipes");
    check(&["--gold", "--recipes", "none.yaml"], "reading the recipes `none.yaml`");
    check(&["--recipes", "recipes.yaml"], "--predictions");
    check(&["--gold", "--recipes", "recipes.yaml"], "name one with `--out DIR`");
    fs::write(shell.bench.path("preds.jsonl"), "[1]\n").unwrap();
    check(
        &["--predictions", "preds.jsonl", "--recipes", "recipes.yaml", "--out", "out"],
        "prediction 1: a prediction with an `instance_id` was wanted",
    );
    fs::write(shell.bench.path("recipes.yaml"), "version: 1\nrecipes:\n  - repo: a/b\n").unwrap();
    check(&["--gold", "--recipes", "recipes.yaml"], "missing field `test`");
    let oracle = shell.bench.sorft(&[
        "eval",
        "data.jsonl",
        "--repos",
        "repos",
        "--oracle",
        "--verify",
        "docker",
    ]);
    check_said(&oracle, 2, &["`--verify` runs tests with the predictions of a model"]);
}

const DEMO_CHECK: &str = "\
diff --git a/check.py b/check.py
new file mode 100644
--- /dev/null
+++ b/check.py
@@ -0,0 +1,5 @@
+import sys
+from timesheet.durations import parse_duration
+works = parse_duration('1h30m') == 5400
+print('PASSED' if works else 'FAILED', 'check.py::sum')
+sys.exit(not works)
";

#[test]
fn a_run_verifies_its_predictions_and_shows_them() {
    let bench = Bench::new();
    let demo = |id: &str| {
        let mut record = bench.record(id);
        record["test_patch"] = DEMO_CHECK.into();
        record["FAIL_TO_PASS"] = json!(["check.py::sum"]);
        record
    };
    let mut unknown = demo("me__demo-2");
    unknown["version"] = "9".into();
    bench.write_records(&[demo("me__demo-1"), unknown]);
    let recipes =
        "version: 1\nrecipes:\n  - repo: me/demo\n    versions: ['']\n    test: python3\n";
    fs::write(bench.path("recipes.yaml"), recipes).unwrap();
    let server = Server::start(script());
    let url = server.url();
    let verify = ["--verify", "local", "--recipes", "recipes.yaml"];
    let output = bench.sorft(&Bench::run_arguments(&url, "whole", &verify));
    check_said(&output, 1, &["tests not run: me__demo-2: the recipes have none for version `9`"]);
    let metrics = bench.metrics("whole");
    assert_eq!(metrics["all"]["resolved"]["mean"], json!(1.0));
    assert_eq!(metrics["all"]["n_tested"], json!(1));
    assert_eq!(metrics["verification"]["all"]["not_run"], json!(1));
    assert!(text(&output.stdout).contains("Tests of the records"));
    // Verifying a finished run gives the same figures.
    check_code(&bench.sorft(&Bench::run_arguments(&url, "later", &[])), 0);
    assert_eq!(bench.metrics("later")["all"]["resolved"], Value::Null);
    let later = ["eval", "verify", "data.jsonl", "--repos", "repos", "--recipes", "recipes.yaml"];
    let later = bench.sorft(&[&later[..], &["--predictions", "later"]].concat());
    check_code(&later, 1);
    assert_eq!(bench.metrics("later"), metrics);
    // So do parts that are joined.
    for part in ["1/2", "2/2"] {
        let out = format!("part-{}", &part[..1]);
        let more = [&verify[..], &["--shard", part]].concat();
        bench.sorft(&Bench::run_arguments(&url, &out, &more));
    }
    check_code(&bench.sorft(&["eval", "merge", "joined", "part-1", "part-2"]), 0);
    assert_eq!(bench.metrics("joined"), metrics);
    check_code(&bench.sorft(&["report", "whole"]), 0);
    let page = fs::read_to_string(bench.path("whole/report.html")).unwrap();
    for wanted in ["Tests: resolved (1 of 1 tests mended, 0 of 0 kept)", "Tests of the records"] {
        assert!(page.contains(wanted), "{wanted}");
    }
}

/// A Python that plays the official harness: `says` answers the question what is installed.
fn write_harness(bench: &Bench, says: &str) {
    let program = format!(
        "#!/bin/sh\nif [ \"$1\" = -c ]; then {says}; exit; fi\n\
         [ \"$1 $2\" = '-m swebench.harness.run_evaluation' ] || exit 9\n\
         echo \"$@\" > called\n\
         while [ $# -gt 0 ]; do case $1 in --run_id) id=$2;; --report_dir) dir=$2;; esac; shift; done\n\
         cat > \"$dir/tiny.$id.json\" <<'END'\n\
         {{\"resolved_ids\": [\"me__shell-1\"], \"unresolved_ids\": [\"me__shell-2\"],\
          \"empty_patch_ids\": [\"me__shell-3\"], \"error_ids\": [\"me__shell-4\"],\
          \"total_instances\": 4, \"schema_version\": 2}}\nEND\n"
    );
    let path = bench.path("python");
    fs::write(&path, program).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn the_official_harness_is_asked_and_its_report_read_back() {
    let shell = Shell::new();
    let patches = [
        ("me__shell-1", patch_of_code("answer=42")),
        ("me__shell-2", patch_of_code("answer=40")),
        ("me__shell-3", String::new()),
        ("me__shell-4", patch_of_code("answer=43")),
    ];
    let docker = ["--verify", "docker", "--harness-python", "./python"];
    let python = shell.bench.path("python").to_str().unwrap().to_owned();
    let docker = [docker[0], docker[1], docker[2], python.as_str()];
    for (says, wanted) in [
        ("echo no swebench >&2; exit 1", "has no package `swebench`"),
        (
            "echo 'no docker: refused' >&2; exit 1",
            "Docker does not answer, and `--verify docker` needs it: refused",
        ),
    ] {
        write_harness(&shell.bench, says);
        check_said(&shell.verify(&patches, &docker), 2, &[wanted, "--verify local"]);
    }
    write_harness(&shell.bench, "exit 0");
    let output = shell.verify(&patches, &docker);
    check_said(&output, 1, &["tests not run: me__shell-4: the harness could not run it"]);
    assert_eq!(
        shell.outcomes(),
        [
            owned("resolved", ""),
            owned("not_resolved", "the harness says so"),
            owned("not_resolved", "the prediction is empty"),
        ]
    );
    let called = fs::read_to_string(shell.bench.path("out/called")).unwrap();
    for wanted in
        ["data.jsonl --predictions_path", "out/predictions.jsonl", "me__shell-1 me__shell-2"]
    {
        assert!(called.contains(wanted), "{wanted} in {called}");
    }
    // Only what has no verdict is asked again.
    check_code(&shell.verify(&patches, &docker), 1);
    let called = fs::read_to_string(shell.bench.path("out/called")).unwrap();
    assert!(called.trim_end().ends_with("--instance_ids me__shell-4"), "{called}");
}
