//! `--verify tests`: edits that pass the tests of their record earn 1, whatever gold says.

use std::fs;
use std::process::Output;

use serde_json::{Value, json};

use crate::eval::{Bench, check_code, commit_files, text};

/// Code that a shell reads as Python does.
const CODE: &str = "answer=41\n";
/// Tests as pytest tells of them.
const RUNNER: &str = "\
. ./code.py
status=0
report() {
    if \"$2\"; then echo \"PASSED t.sh::$1\"; else echo \"FAILED t.sh::$1 - wrong\"; status=1; fi
}
. ./t.sh
exit $status
";
const TEST_PATCH: &str = "\
diff --git a/t.sh b/t.sh
--- a/t.sh
+++ b/t.sh
@@ -1 +1,2 @@
-report answer true
+is_right() { test \"$answer\" = 42; }
+report answer is_right
";
const PATCH: &str = "\
diff --git a/code.py b/code.py
--- a/code.py
+++ b/code.py
@@ -1 +1 @@
-answer=41
+answer=42
";
const RECIPES: &str = "\
version: 1
recipes:
  - repo: me/answer
    install: ['echo installing']
    test: sh run.sh
";
const VERIFY: [&str; 8] = [
    "--verify",
    "tests",
    "--records",
    "data.jsonl",
    "--repos",
    "repos",
    "--recipes",
    "recipes.yaml",
];

fn bench() -> Bench {
    let bench = Bench::new();
    let file =
        |name: &str, content: &str| (name.to_owned(), content.as_bytes().to_vec(), 0o100_644);
    let files =
        [file("code.py", CODE), file("run.sh", RUNNER), file("t.sh", "report answer true\n")];
    let commit = commit_files(&bench.path("repos/me__answer"), &files);
    bench.write_records(&[json!({
        "instance_id": "me__answer-1", "repo": "me/answer", "base_commit": commit,
        "problem_statement": "The answer in code.py is wrong", "patch": PATCH,
        "test_patch": TEST_PATCH, "version": "1.0",
        "FAIL_TO_PASS": ["t.sh::answer"], "PASS_TO_PASS": [],
    })]);
    fs::write(bench.path("recipes.yaml"), RECIPES).unwrap();
    let data = ["train", "data", "data.jsonl", "--repos", "repos", "--out", "e.jsonl"];
    check_code(&bench.sorft(&data), 0);
    bench
}

fn edit(code: &str) -> String {
    format!("```\n### code.py\n<<<<<<< SEARCH\nanswer=41\n=======\n{code}\n>>>>>>> REPLACE\n```\n")
}

fn score(bench: &Bench, more: &[&str]) -> Output {
    let completions = [
        ("edit", edit("answer=42 # as wanted")),
        ("edit", edit("answer=43")),
        ("edit", "none".to_owned()),
        ("file", "```\ncode.py\n```\n".to_owned()),
    ];
    let line = |(stage, completion): &(&str, String)| {
        format!("{}\n", json!({ "id": format!("me__answer-1/{stage}"), "completion": completion }))
    };
    fs::write(bench.path("c.jsonl"), completions.iter().map(line).collect::<String>()).unwrap();
    let arguments = ["reward", "score", "e.jsonl", "c.jsonl", "--format", "json"];
    bench.sorft(&[&arguments[..], more].concat())
}

/// Reward and what the tests said, of each completion.
fn rewards(output: &Output) -> Vec<(f64, Value)> {
    check_code(output, 0);
    let scored: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = scored["rows"].as_array().unwrap();
    rows.iter().map(|row| (row["reward"].as_f64().unwrap(), row["resolved"].clone())).collect()
}

#[test]
fn an_edit_that_passes_the_tests_earns_all_and_others_what_the_rule_gives() {
    let bench = bench();
    let by_rule = rewards(&score(&bench, &[]));
    let half = (0.5, Value::Null);
    assert_eq!(by_rule, [half.clone(), half, (0.0, Value::Null), (1.0, Value::Null)]);
    let output = score(&bench, &VERIFY);
    let said = text(&output.stderr);
    assert!(said.contains("tests judge the edits of 1 of 1 instances"), "{said}");
    let by_tests = rewards(&output);
    let wanted = [(1.0, json!(true)), (0.5, json!(false)), (0.0, Value::Null), (1.0, Value::Null)];
    assert_eq!(by_tests, wanted);
}

#[test]
fn tests_that_cannot_judge_are_told_of() {
    let bench = bench();
    let refused = |more: &[&str], wanted: &str| {
        let output = score(&bench, more);
        check_code(&output, 2);
        let said = text(&output.stderr);
        assert!(said.contains(wanted), "wanted {wanted:?} in {said}");
    };
    refused(&VERIFY[..2], "--records <FILE>");
    fs::write(bench.path("recipes.yaml"), RECIPES.replace("me/answer", "me/other")).unwrap();
    refused(&VERIFY, "running the tests of `me__answer-1` with its gold patch");
    fs::write(bench.path("recipes.yaml"), RECIPES.replace("sh run.sh", "true")).unwrap();
    refused(&VERIFY, "the tests of none of 1 records tell right from wrong here");
    bench.write_records(&[bench.record("me__demo-1")]);
    refused(&VERIFY, "holds the record of none of 1 instances with an edit episode");
    let episodes = fs::read_to_string(bench.path("e.jsonl")).unwrap();
    let files: String = episodes.lines().filter(|row| row.contains("\"stage\":\"file\"")).collect();
    fs::write(bench.path("e.jsonl"), files).unwrap();
    refused(&VERIFY, "no episode is of the edit stage");
}
