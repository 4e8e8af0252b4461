//! What remains of a run: shown, applied and replayed later.

use std::fs;

use serde_json::Value;

use crate::machine::{Machine, RIGHT, check_said, demo_issue, script, stderr, stdout};
use crate::server::Server;

/// A right edit among wrong ones: two candidates.
const OTHER: &str = "```\n### timesheet/durations.py\n<<<<<<< SEARCH\n    seconds = 0\n=======\n    seconds = 1\n>>>>>>> REPLACE\n```\n";

/// A machine on which `sorft fix` has found the demo's patch, and another one with fewer votes.
fn after_a_fix() -> Machine {
    let machine = Machine::new();
    let server = Server::start(script(vec![RIGHT, RIGHT, OTHER]));
    check_said(&machine.fix(&server, &[]), 0, &["UNVERIFIED:"]);
    machine
}

fn durations(machine: &Machine) -> String {
    fs::read_to_string(machine.repo().join("timesheet/durations.py")).unwrap()
}

#[test]
fn a_run_is_shown_in_words_and_as_json() {
    let machine = after_a_fix();
    let output = machine.sorft(&["show", "last"]);
    check_said(&output, 0, &[]);
    let text = stdout(&output);
    let repo = machine.repo().canonicalize().unwrap().display().to_string();
    for wanted in [
        &format!("repository  {repo}"),
        "places      timesheet/durations.py:17",
        "verdict     UNVERIFIED:",
        "answers     file 1, function 1, line 1, edit ",
        "candidate 1 (sample 0,",
        "+        seconds += int(amount)",
        "candidate 2 (sample 2,",
        "+    seconds = 1",
    ] {
        assert!(text.contains(wanted), "wanted {wanted:?} in {text}");
    }
    let output = machine.sorft(&["show", "last", "--format", "json"]);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&json["accepted"], &json["verified"]), (&true.into(), &false.into()));
    assert_eq!(json["repository"]["path"], repo);
    assert_eq!(json["places"]["line_sets"][0]["lines"][0][1], 17);
    assert_eq!(json["candidates"].as_array().unwrap().len(), 2);
    assert_eq!(json["calls"]["file"]["n"], 1);
    assert!(0 < json["usage"]["completion_tokens"].as_u64().unwrap(), "{json}");
    // The patch alone, for other programs.
    let patch = stdout(&machine.sorft(&["show", "last", "2"]));
    assert!(patch.starts_with("diff --git a/timesheet/durations.py"), "{patch}");
    check_said(&machine.sorft(&["show", "last", "9"]), 2, &["candidate 9", "from 1 to 2"]);
}

#[test]
fn a_candidate_is_applied_later_and_the_accepted_one_if_none_is_named() {
    let machine = after_a_fix();
    let output = machine.sorft(&["apply", "last", "2"]);
    check_said(&output, 0, &["candidate 2: UNVERIFIED: 3 of 9 samples agree"]);
    assert!(stdout(&output).starts_with("applied candidate 2 to `"), "{}", stdout(&output));
    assert!(durations(&machine).contains("    seconds = 1\n"), "{}", durations(&machine));
    // The first one is for the file as it was.
    let before = durations(&machine);
    let output = machine.sorft(&["apply", "last"]);
    check_said(&output, 2, &["`timesheet/durations.py` is not as the run found it", "hint:"]);
    assert_eq!(durations(&machine), before);
    let text = before.replace("    seconds = 1\n", "    seconds = 0\n");
    fs::write(machine.repo().join("timesheet/durations.py"), text).unwrap();
    let output = machine.sorft(&["apply", "last", "--format", "json"]);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["files"][0], "timesheet/durations.py");
    assert!(durations(&machine).contains("seconds += int(amount)"), "{}", durations(&machine));
}

#[test]
fn changes_that_are_not_committed_are_not_overwritten() {
    let machine = Machine::new();
    let _repository = machine.commit_all();
    let path = machine.repo().join("timesheet/durations.py");
    let mine = fs::read_to_string(&path).unwrap() + "# mine\n";
    fs::write(&path, &mine).unwrap();
    let server = Server::start(script(vec![RIGHT]));
    for destination in [&["--apply"][..], &["--branch", "sorft/fix"]] {
        let output = machine.fix(&server, destination);
        // What was found is not lost: the run is named, and the patch is in it.
        check_said(&output, 2, &["changes that are not committed", "run: ", "hint:"]);
        assert!(stdout(&machine.sorft(&["show", "last", "1"])).contains("+        seconds +="));
        let output = machine.sorft(&["apply", "last"]);
        check_said(&output, 2, &["changes that are not committed"]);
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), mine);
}

#[test]
fn a_run_that_is_not_there_or_not_finished_is_told() {
    let machine = Machine::new();
    check_said(&machine.sorft(&["show", "last"]), 2, &["there is no last run", "hint:"]);
    check_said(&machine.sorft(&["show", "nope"]), 2, &["there is no run `nope`", "none"]);
    check_said(&machine.sorft(&["show", "repo"]), 2, &["`repo` is no run directory"]);
    let failing = Server::start(script(Vec::new()));
    assert_eq!(machine.fix(&failing, &["--run-dir", "run"]).status.code(), Some(2));
    let output = machine.sorft(&["show", "run"]);
    assert!(stdout(&output).contains("not finished; the same command with `--run-dir run`"));
    check_said(&machine.sorft(&["apply", "run"]), 2, &["the run is not finished", "hint:"]);
    let unwilling = Server::start(script(vec!["I cannot help with that."]));
    assert_eq!(machine.fix(&unwilling, &[]).status.code(), Some(1));
    check_said(&machine.sorft(&["apply", "last"]), 2, &["the run has no candidate"]);
}

#[test]
fn a_candidate_that_was_not_accepted_must_be_named() {
    let machine = Machine::new();
    let server = Server::start(script(vec![RIGHT]));
    let output = machine.fix(&server, &["--min-votes", "100"]);
    check_said(&output, 1, &["no patch: "]);
    let output = machine.sorft(&["apply", "last"]);
    check_said(&output, 2, &["the run accepted no candidate", "sorft apply RUN 1"]);
    check_said(&machine.sorft(&["apply", "last", "1"]), 0, &[]);
    assert!(durations(&machine).contains("seconds += int(amount)"));
}

#[test]
fn a_moved_repository_is_named_with_repo() {
    let machine = after_a_fix();
    fs::rename(machine.repo(), machine.home.path().join("moved")).unwrap();
    let output = machine.sorft(&["apply", "last"]);
    check_said(&output, 2, &["is not there any more", "--repo DIR"]);
    check_said(&machine.sorft(&["apply", "last", "--repo", "moved"]), 0, &[]);
}

#[test]
fn a_patch_of_a_latin_1_file_is_kept_to_the_byte() {
    let machine = Machine::new();
    let path = machine.repo().join("timesheet/durations.py");
    let latin = |text: &str| text.chars().map(|c| c as u8).collect::<Vec<u8>>();
    let text = fs::read_to_string(&path).unwrap() + "# café\n";
    fs::write(&path, latin(&text)).unwrap();
    let server = Server::start(script(vec![
        "```\n### timesheet/durations.py\n<<<<<<< SEARCH\n# café\n=======\n# thé\nsix = 6\n>>>>>>> REPLACE\n```\n",
    ]));
    let output = machine.fix(&server, &["--in", "timesheet/durations.py"]);
    check_said(&output, 0, &["UNVERIFIED:"]);
    check_said(&machine.sorft(&["apply", "last"]), 0, &[]);
    assert_eq!(fs::read(&path).unwrap(), latin(&text.replace("# café\n", "# thé\nsix = 6\n")));
}

#[test]
fn a_replay_builds_the_prompts_of_the_run_and_asks_nobody() {
    let machine = Machine::new();
    let server = Server::start(script(vec![RIGHT, OTHER]));
    let first = machine.fix(&server, &["--run-dir", "run"]);
    check_said(&first, 0, &[]);
    drop(server);
    let again = |model: &str, run: &str| {
        let (issue, effort) = (demo_issue(), ["--effort", "quick"]);
        let mut arguments =
            vec!["fix", "repo", "--issue", &issue, "--model", model, "--run-dir", run];
        arguments.extend(effort);
        machine.sorft(&arguments)
    };
    let replayed = again("scripted:run", "again");
    assert_eq!(stdout(&replayed), stdout(&first), "{}", stderr(&replayed));
    let read = |run: &str, file: &str| {
        fs::read_to_string(machine.home.path().join(run).join(file)).unwrap()
    };
    for file in ["trajectory.jsonl", "candidates.jsonl", "predictions.jsonl", "metrics.json"] {
        assert_eq!(read("run", file), read("again", file), "{file}");
    }
    // A run killed within a line replays that far, and says what it lacks.
    let trajectory = read("run", "trajectory.jsonl");
    let n_kept = trajectory.len() - 10;
    fs::write(machine.home.path().join("run/trajectory.jsonl"), &trajectory[..n_kept]).unwrap();
    let cut = again("scripted:run", "cut");
    check_said(&cut, 2, &["for the edit stage", "completions of call"]);
    check_said(&again("scripted:nowhere", "x"), 2, &["there is no run `nowhere`"]);
}
