//! Tests as judges in `sorft fix`: which run first, the model's own, and what is held against whom.

use std::fs;
use std::process::Output;

use serde_json::Value;

use crate::machine::{Machine, RIGHT, check_said, demo_issue, script, stderr, stdout};
use crate::server::{Script, Server};

/// It passes all tests but the one of the issue: the first part counts, in place of the last.
const HALF: &str = "```\n### timesheet/durations.py\n<<<<<<< SEARCH\n        seconds = int(amount) * SECONDS_PER_UNIT[unit]\n=======\n        seconds = seconds or int(amount) * SECONDS_PER_UNIT[unit]\n>>>>>>> REPLACE\n```\n";

/// For ever, where a duration has two parts.
const HANGS: &str = "```\n### timesheet/durations.py\n<<<<<<< SEARCH\n        seconds = int(amount) * SECONDS_PER_UNIT[unit]\n=======\n        while seconds:\n            pass\n        seconds = int(amount) * SECONDS_PER_UNIT[unit]\n>>>>>>> REPLACE\n```\n";

/// It ends the interpreter, where a duration has two parts.
const CRASHES: &str = "```\n### timesheet/durations.py\n<<<<<<< SEARCH\n        seconds = int(amount) * SECONDS_PER_UNIT[unit]\n=======\n        if seconds:\n            __import__(\"os\").abort()\n        seconds = int(amount) * SECONDS_PER_UNIT[unit]\n>>>>>>> REPLACE\n```\n";

macro_rules! test_file {
    ($body:literal) => {
        concat!(
            "```python\nimport unittest\nfrom timesheet import parse_duration\n\n\n",
            "class IssueTest(unittest.TestCase):\n    def test_issue(self):\n        ",
            $body,
            "\n```\n"
        )
    };
}

const RIGHT_TEST: &str = test_file!("self.assertEqual(parse_duration(\"1h30m\"), 5400)");
/// Each fails on the unchanged code for another reason than the issue's, or not at all.
const SLIP: &str = test_file!("self.assertEqual(parse_duration(hours), 5400)");
const BAD_CALL: &str = test_file!("self.assertEqual(parse_duration(5400), 5400)");
const PASSES: &str = test_file!("self.assertEqual(parse_duration(\"45m\"), 2700)");
const NO_MODULE: &str = "```python\nimport nosuchmodule\nfrom timesheet import parse_duration\n\ndef test_x():\n    assert parse_duration\n```\n";
const NO_PYTHON: &str = "```python\ndef test_x(:\n```\n";

/// The demo without the test that shows its fault: its other twelve pass.
fn machine() -> Machine {
    let machine = Machine::new();
    let path = machine.repo().join("tests/test_durations.py");
    let text = fs::read_to_string(&path).unwrap();
    let test = "    def test_hours_and_minutes(self):\n        self.assertEqual(parse_duration(\"1h30m\"), 5400)\n\n";
    assert!(text.contains(test));
    fs::write(&path, text.replace(test, "")).unwrap();
    machine
}

fn server(edits: Vec<&'static str>, tests: Vec<&'static str>) -> Server {
    Server::start(Script { tests, ..script(edits) })
}

/// `sorft fix` where the place is known, so that as many edits are asked for as there are.
fn fix(machine: &Machine, server: &Server, more: &[&str]) -> Output {
    machine.fix(server, &[&["--in", PLACE], more].concat())
}

const PLACE: &str = "timesheet/durations.py:17";
const JUDGES: [&str; 3] = ["--reproduce", "--test", "python3 -m unittest"];

fn reproduce(machine: &Machine, server: &Server, more: &[&str]) -> Output {
    fix(machine, server, &[&JUDGES[..], more].concat())
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", stderr(output)))
}

#[test]
fn a_right_reproduction_decides_between_candidates_that_both_pass_the_tests() {
    let machine = machine();
    let tests = vec![SLIP, RIGHT_TEST, BAD_CALL, PASSES, NO_MODULE, NO_PYTHON];
    let server = server(vec![HALF, HALF, RIGHT], tests);
    // By votes, the wrong one is ahead.
    let output = fix(&machine, &server, &["--test", "python3 -m unittest"]);
    check_said(&output, 0, &["UNVERIFIED: 12 tests pass, as before; 6 of 9 samples agree"]);
    assert!(stdout(&output).contains("seconds or int(amount)"), "{}", stdout(&output));
    let output = reproduce(&machine, &server, &["--run-dir", "run"]);
    check_said(
        &output,
        0,
        &[
            "sample 0: not kept: it fails by a mistake of its own, NameError",
            "sample 1: kept, it fails with AssertionError: 1800 != 5400",
            "sample 2: not kept: it fails with an exception that the issue does not name, AttributeError",
            "sample 3: not kept: it does not fail on the unchanged code",
            "sample 4: not kept: it does not start: ModuleNotFoundError: No module named 'nosuchmodule'",
            "sample 5: not kept: it is no Python from line 1 on",
            "  |         self.assertEqual(parse_duration(\"1h30m\"), 5400)",
            "tests      first: tests/test_durations.py (imports timesheet/durations.py, names parse_duration)",
            "UNVERIFIED: 12 tests pass, as before; the reproduction test still fails",
            "reproduced: the reproduction test failed and passes now; 12 tests pass, as before",
            "passes with the patch, no part of it; `--with-reproduction` adds it",
        ],
    );
    let patch = stdout(&output);
    assert!(patch.contains("+        seconds += int(amount)"), "{patch}");
    assert!(!patch.contains("test_reproduction"), "the test is no part of the patch: {patch}");
    let names = |folder: &str| -> Vec<String> {
        let entries = fs::read_dir(machine.home.path().join(folder)).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    assert!(names("repo/tests").iter().all(|name| !name.contains("reproduction")));
    let kept = names("run/reproduction/tests");
    assert!(kept.len() == 1 && kept[0].starts_with("test_reproduction_"), "{kept:?}");
    // No prompt of an edit tells of it.
    assert!(!server.prompts().contains("test_reproduction"));
    let shown = stdout(&machine.sorft(&["show", "run"]));
    assert!(shown.contains("reproduce 6"), "{shown}");
    assert!(shown.contains("reproduced  tests/test_reproduction_"), "{shown}");
}

#[test]
fn the_reproduction_joins_the_patch_where_that_is_asked_for() {
    let machine = machine();
    let server = server(vec![RIGHT], vec![RIGHT_TEST, SLIP]);
    let output = reproduce(&machine, &server, &["--with-reproduction", "--format", "json"]);
    check_said(&output, 0, &["passes with the patch, part of the patch"]);
    let report = json(&output);
    let patch = report["patch"].as_str().unwrap();
    assert!(patch.contains("+++ b/tests/test_reproduction_"), "{patch}");
    assert!(patch.contains("+++ b/timesheet/durations.py"), "{patch}");
    assert_eq!((&report["reproduced"], &report["verified"]), (&true.into(), &false.into()));
    let reproduction = &report["reproduction"];
    assert_eq!(reproduction["chosen"]["agree"], 3);
    assert_eq!(reproduction["n_samples"], 6);
    assert_eq!(reproduction["tests"].as_array().unwrap().len(), 2);
    let tests = &report["candidates"][0]["tests"];
    assert_eq!(tests["level"], "reproduced");
    assert_eq!(tests["reproduction"]["outcome"], "passes");
    assert_eq!(tests["chosen"]["tests"][0]["path"], "tests/test_durations.py");
    let output = reproduce(&machine, &server, &["--with-reproduction", "--apply"]);
    check_said(&output, 0, &["applied to 2 files"]);
}

#[test]
fn a_candidate_that_hangs_or_crashes_ranks_last() {
    let machine = machine();
    let server = server(vec![HANGS, CRASHES, HALF], vec![RIGHT_TEST]);
    let limit = ["--test-timeout", "5", "--format", "json"];
    let report = json(&reproduce(&machine, &server, &limit));
    let verdicts: Vec<&str> = report["candidates"]
        .as_array()
        .unwrap()
        .iter()
        .map(|candidate| candidate["verdict"].as_str().unwrap())
        .collect();
    assert_eq!(verdicts.len(), 3, "{verdicts:?}");
    assert!(verdicts[0].ends_with("the reproduction test still fails"), "{verdicts:?}");
    assert!(verdicts[1..].iter().all(|words| words.starts_with("no result: ")), "{verdicts:?}");
    let hangs = "no result: the reproduction: stopped at the time limit";
    assert!(verdicts.contains(&hangs), "{verdicts:?}");
}

#[test]
fn a_resumed_run_asks_for_no_reproduction_twice() {
    let machine = machine();
    let tests = vec![SLIP, RIGHT_TEST];
    let failing = server(Vec::new(), tests.clone());
    let output = reproduce(&machine, &failing, &["--run-dir", "run"]);
    check_said(&output, 2, &["for the edit stage", "add `--run-dir run` to go on"]);
    assert_eq!(failing.n_calls(), 6);
    let willing = server(vec![RIGHT], tests);
    let output = reproduce(&machine, &willing, &["--run-dir", "run"]);
    check_said(&output, 0, &["reproduced: the reproduction test failed and passes now"]);
    assert!(!willing.prompts().contains("Write a new test file"), "it is asked for again");
    assert_eq!(willing.n_calls(), 1);
    // The record replays without anyone who could be asked.
    let issue = demo_issue();
    let replay = ["fix", "repo", "--issue", &issue, "--model", "scripted:run", "--effort", "quick"];
    let replayed = machine.sorft(&[&replay, &JUDGES[..], &["--in", PLACE]].concat());
    check_said(&replayed, 0, &[]);
    assert_eq!(stdout(&replayed), stdout(&output));
}

#[test]
fn without_a_test_that_fails_as_the_issue_says_the_votes_decide() {
    let machine = machine();
    let server = server(vec![RIGHT], vec![SLIP, PASSES]);
    let output = reproduce(&machine, &server, &[]);
    check_said(
        &output,
        0,
        &[
            "reproduce  none of 6 samples fails as the issue says",
            "UNVERIFIED: 12 tests pass, as before; 9 of 9 samples agree",
        ],
    );
}

#[test]
fn a_candidate_may_not_edit_the_reproduction() {
    let machine = machine();
    let first = server(vec![RIGHT], vec![RIGHT_TEST]);
    let report = json(&reproduce(&machine, &first, &["--format", "json"]));
    let path = report["reproduction"]["chosen"]["path"].as_str().unwrap();
    let edit = format!(
        "```\n### {path}\n<<<<<<< SEARCH\n=======\nimport unittest\n>>>>>>> REPLACE\n```\n"
    );
    let second = server(vec![edit.leak()], vec![RIGHT_TEST]);
    let output = reproduce(&machine, &second, &["--allow-test-edits"]);
    check_said(&output, 1, &["the candidate changes `tests/test_reproduction_"]);
}

#[test]
fn what_failed_before_is_not_held_against_a_candidate() {
    let machine = machine();
    let other = "import unittest\n\n\nclass T(unittest.TestCase):\n    def test_zone(self):\n        self.fail(\"no such zone here\")\n";
    fs::write(machine.repo().join("tests/test_zone.py"), other).unwrap();
    let right = server(vec![RIGHT], vec![RIGHT_TEST]);
    for test in ["python3 -m unittest", "python3 -m unittest -v"] {
        let output = fix(&machine, &right, &["--test", test]);
        check_said(
            &output,
            0,
            &[
                "12 pass, 1 fail",
                "UNVERIFIED: 12 tests pass, as before; 1 that does not look at the change still fails; 9 of 9",
            ],
        );
    }
    check_said(&reproduce(&machine, &right, &[]), 0, &["reproduced: ", "still fails"]);
    // One that does look at the change is: so the demo with its own test.
    let machine = Machine::new();
    let half = server(vec![HALF], vec![SLIP]);
    let output = fix(&machine, &half, &["--test", "python3 -m unittest"]);
    check_said(&output, 1, &["no patch: the best candidate UNVERIFIED: 1 test still fails"]);
}

#[test]
fn tests_that_look_at_the_change_judge_alone_where_the_time_is_up() {
    let machine = Machine::new();
    let slow = "import time\nimport unittest\n\n\nclass T(unittest.TestCase):\n    def test_slow(self):\n        time.sleep(30)\n";
    fs::write(machine.repo().join("tests/test_slow.py"), slow).unwrap();
    let right = server(vec![RIGHT], Vec::new());
    let output = fix(&machine, &right, &["--test", "python3 -m unittest", "--test-budget", "2"]);
    check_said(
        &output,
        0,
        &[
            "on the unchanged code: no result: stopped at the time limit",
            "tests      first: tests/test_durations.py",
            "1 that failed now passes (of the 1 test file that looks at the change; no other was run)",
        ],
    );
}

#[test]
fn a_command_that_never_ends_judges_nobody() {
    const FOR_EVER: &str = "import time\nimport unittest\n\n\nclass T(unittest.TestCase):\n    def test_slow(self):\n        time.sleep(300)\n";
    let limit = ["--test-timeout", "3"];
    let right = server(vec![HALF, RIGHT], vec![RIGHT_TEST]);
    // Tests that look at the change stand in for it.
    let machine = Machine::new();
    fs::write(machine.repo().join("tests/test_slow.py"), FOR_EVER).unwrap();
    let output = fix(&machine, &right, &[&["--test", "python3 -m unittest"], &limit[..]].concat());
    check_said(
        &output,
        0,
        &[
            "no result: stopped at the time limit; it is run for no candidate",
            "1 that failed now passes (of the 1 test file that looks at the change; no other was run)",
        ],
    );
    // So does the reproduction, where these do not end either.
    fs::write(
        machine.repo().join("tests/test_durations.py"),
        FOR_EVER.replace("class", "from timesheet import parse_duration\n\n\nclass"),
    )
    .unwrap();
    check_said(
        &reproduce(&machine, &right, &limit),
        0,
        &[
            "they give no result of their own",
            "reproduced: the reproduction test failed and passes now; no other test was run: the whole command has no result on the unchanged code, and no tests were chosen",
        ],
    );
}

#[test]
fn a_reproduction_without_a_way_to_run_it_is_refused_before_any_work() {
    let machine = Machine::new();
    let server = server(vec![RIGHT], vec![RIGHT_TEST]);
    let output = fix(&machine, &server, &["--reproduce"]);
    check_said(&output, 2, &["`--reproduce` needs a test command", "sorft doctor"]);
    let output = fix(&machine, &server, &["--reproduce", "--test", "python3 -m unittest; false"]);
    check_said(&output, 2, &["needs a test command that can run one file", "plain command"]);
    let output = fix(&machine, &server, &["--with-reproduction"]);
    check_said(&output, 2, &["`--with-reproduction` adds the test that `--reproduce` asks for"]);
    assert_eq!(server.n_calls(), 0);
}
