//! `sorft triage`: on an issue, on a log, and as a hook.

use std::fs;

use serde_json::Value;

use crate::machine::{Machine, check_said, demo_issue, stderr, stdout};

const LOG: &str = "\
.....F.
======================================================================
FAIL: test_hours_and_minutes (tests.test_durations.ParseDurationTest)
----------------------------------------------------------------------
Traceback (most recent call last):
  File \"/somewhere/else/tests/test_durations.py\", line 17, in test_hours_and_minutes
    self.assertEqual(parse_duration(\"1h30m\"), 5400)
AssertionError: 1800 != 5400

Ran 13 tests in 0.001s
FAILED (failures=1)
";

/// Stages a change of a file of the demo.
fn stage(machine: &Machine, path: &str, from: &str, to: &str) {
    let repository = git2::Repository::open(machine.repo()).unwrap();
    let file = machine.repo().join(path);
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(&file, text.replacen(from, to, 1)).unwrap();
    let mut index = repository.index().unwrap();
    index.add_path(std::path::Path::new(path)).unwrap();
    index.write().unwrap();
}

#[test]
fn a_failing_log_leads_to_what_the_failing_test_calls() {
    let machine = Machine::new();
    let arguments = ["triage", "repo", "--log", "-", "--format", "json"];
    let output = machine.command().args(arguments).write_stdin(LOG).output().unwrap();
    check_said(&output, 0, &[]);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["places"]["symbols"][0]["name"], "parse_duration", "{json:#}");
    assert_eq!(json["places"]["files"][0]["path"], "timesheet/durations.py");
    let output = machine.command().args(["triage", "repo", "--log", "-"]).write_stdin("").output();
    check_said(&output.unwrap(), 2, &["the log is empty"]);
    check_said(
        &machine.sorft(&["triage", "repo", "--log", "no.log"]),
        2,
        &["opening the log `no.log`"],
    );
}

#[test]
fn an_issue_is_told_for_people_machines_code_hosts_and_workflows() {
    let machine = Machine::new();
    let issue = demo_issue();
    let run = |format: &str| {
        let output = machine.sorft(&["triage", "repo", "--issue", &issue, "--format", format]);
        check_said(&output, 0, &[]);
        stdout(&output)
    };
    assert!(run("text").contains("function: parse_duration"));
    let sarif: Value = serde_json::from_str(&run("sarif")).unwrap();
    assert_eq!(sarif["version"], "2.1.0");
    assert!(!sarif["runs"][0]["results"].as_array().unwrap().is_empty());
    assert!(run("github").starts_with("::notice file=timesheet/"), "{}", run("github"));
}

#[test]
fn a_staged_change_of_the_right_place_passes_and_of_another_is_refused() {
    let machine = Machine::new();
    machine.commit_all();
    let issue = demo_issue();
    let check = |code, wanted: &str| {
        let output = machine.sorft(&["triage", "repo", "--staged", "--strict", "--issue", &issue]);
        check_said(&output, code, &[]);
        assert!(stdout(&output).contains(wanted), "{}", stdout(&output));
    };
    check(0, "");
    stage(&machine, "README.md", "#", "##");
    check(0, "in no source file that was there before");
    stage(&machine, "timesheet/durations.py", "    seconds = 0", "    seconds = 1");
    check(0, "goes where the issue points");
}

#[test]
fn a_commit_for_which_no_issue_is_known_passes_without_a_word() {
    let machine = Machine::new();
    machine.commit_all();
    stage(&machine, "timesheet/durations.py", "    seconds = 0", "    seconds = 1");
    let message = machine.home.path().join("message");
    fs::write(&message, "Mend it\n").unwrap();
    let message = message.to_str().unwrap();
    let arguments = ["triage", "repo", "--staged", "--strict", "--commit-msg", message];
    let output = machine.sorft(&arguments);
    check_said(&output, 0, &[]);
    assert_eq!((stdout(&output).as_str(), stderr(&output).as_str()), ("", ""));
    // A reference, and the user's command that prints the issue; asked once, then kept.
    fs::write(message, "Mend it (#12)\n").unwrap();
    let asked = machine.home.path().join("asked");
    let script = machine.home.path().join("issue.sh");
    let text = format!("echo $1 >> {}; cat {}\n", asked.display(), demo_issue());
    fs::write(&script, text).unwrap();
    fs::create_dir_all(machine.home.path().join("config/sorft")).unwrap();
    let settings = format!("issue_command: sh {} {{number}}\n", script.display());
    fs::write(machine.home.path().join("config/sorft/sorft.yaml"), settings).unwrap();
    for _ in 0..2 {
        let output = machine.sorft(&arguments);
        check_said(&output, 0, &[]);
        assert!(stdout(&output).contains("goes where the issue points"), "{}", stdout(&output));
    }
    assert_eq!(fs::read_to_string(&asked).unwrap(), "12\n");
}

#[test]
fn an_issue_file_outside_the_repository_is_not_read() {
    let machine = Machine::new();
    machine.commit_all();
    stage(&machine, "timesheet/durations.py", "    seconds = 0", "    seconds = 1");
    fs::write(machine.home.path().join("secret.md"), "parse_duration is wrong\n").unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink("../secret.md", machine.repo().join("link.md")).unwrap();
    for file in ["../secret.md", "link.md"] {
        fs::write(machine.repo().join("sorft.yaml"), format!("issue_file: {file}\n")).unwrap();
        let output = machine.sorft(&["triage", "repo", "--staged"]);
        check_said(&output, 2, &[]);
        assert_eq!(stdout(&output), "");
    }
    fs::write(machine.repo().join("sorft.yaml"), "issue_file: ISSUE.md\n").unwrap();
    fs::write(machine.repo().join("ISSUE.md"), "parse_duration is wrong\n").unwrap();
    let output = machine.sorft(&["triage", "repo", "--staged"]);
    assert!(stdout(&output).contains("goes where the issue points"), "{}", stdout(&output));
}
