//! The options of `sorft fix`, one by one.

use std::fs;

use serde_json::Value;

use crate::machine::{Machine, RIGHT, check_said, demo_issue, script, stdout};
use crate::server::Server;

#[test]
fn places_that_the_user_knows_are_not_asked_for() {
    let machine = Machine::new();
    for (place, questions) in [
        ("timesheet/durations.py", &["Which of these symbols", "Which lines"][..]),
        ("./timesheet/durations.py:parse_duration", &["Which lines"]),
        ("timesheet/durations.py:17", &[]),
        ("timesheet/durations.py:15-18", &[]),
    ] {
        let server = Server::start(script(vec![RIGHT]));
        let output = machine.fix(&server, &["--in", place]);
        check_said(&output, 0, &["UNVERIFIED:"]);
        let prompts = server.prompts();
        for question in ["Which of these files", "Which of these symbols", "Which lines"] {
            assert_eq!(prompts.contains(question), questions.contains(&question), "{place}");
        }
    }
}

#[test]
fn a_limit_of_time_ends_a_call_that_is_under_way() {
    let machine = Machine::new();
    let silent = Server::start_silent();
    let output = machine.fix(&silent, &["--max-time", "1"]);
    check_said(
        &output,
        1,
        &["no patch: the time was up before any edit", "it would look at: timesheet/"],
    );
}

#[test]
fn a_plan_tells_the_most_tokens_and_asks_for_no_edit() {
    let machine = Machine::new();
    let server = Server::start(script(vec![RIGHT]));
    let output = machine.fix(&server, &["--plan"]);
    check_said(&output, 0, &[]);
    let plan = stdout(&output);
    assert!(plan.starts_with("model tiny\n") && plan.contains(" prompt tokens and "), "{plan}");
    let output = machine.fix(&server, &["--plan", "--format", "json"]);
    let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(0 < plan["most_prompt_tokens"].as_u64().unwrap(), "{plan}");
    assert!(!server.prompts().contains("Which of these files"));
    assert!(!machine.home.path().join("state/sorft/runs").exists(), "a plan is no run");
}

#[test]
fn the_patch_goes_where_it_is_wanted() {
    let machine = Machine::new();
    let repository = machine.commit_all();
    let server = Server::start(script(vec![RIGHT]));
    let output = machine.fix(&server, &["--output", "fix.patch", "--branch", "sorft/fix"]);
    check_said(&output, 0, &["committed to the branch `sorft/fix`"]);
    assert_eq!(stdout(&output), "");
    let patch = fs::read_to_string(machine.home.path().join("fix.patch")).unwrap();
    assert!(patch.starts_with("diff --git a/timesheet/durations.py"), "{patch}");
    let statuses = repository.statuses(None).unwrap();
    assert!(statuses.is_empty(), "the work tree is as it was");
    let output = machine.fix(&server, &["--format", "json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["patch"], &report["verified"]), (&patch.into(), &false.into()));
    let run = report["run"].as_str().unwrap();
    assert!(fs::metadata(format!("{run}/run.json")).is_ok(), "{run}");
    assert!(0.0 < report["seconds"].as_f64().unwrap());
}

#[test]
fn without_a_terminal_nothing_moves_and_quiet_leaves_errors_and_the_verdict() {
    let machine = Machine::new();
    let server = Server::start(script(vec![RIGHT]));
    let output = machine.fix(&server, &[]);
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(!words.contains(['\r', '\u{1b}']), "{words:?}");
    let output = machine.fix(&server, &["--quiet"]);
    check_said(&output, 0, &["UNVERIFIED:"]);
    assert_eq!(String::from_utf8(output.stderr).unwrap().lines().count(), 1, "the verdict alone");
    let (issue, url) = (demo_issue(), server.url());
    let arguments = ["-q", "fix", "nowhere", "--issue", &issue, "--endpoint", &url];
    check_said(&machine.sorft(&arguments), 2, &["error: "]);
}
