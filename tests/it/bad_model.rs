//! Models that are damaged, and servers that are not there.

use std::fs;

use crate::machine::{Machine, RIGHT, check_said, demo_issue, script};
use crate::server::{Script, Server};

fn fix(machine: &Machine, model: &str) -> std::process::Output {
    machine.sorft(&["fix", "repo", "--issue", &demo_issue(), "--model", model])
}

#[test]
fn a_damaged_model_file_is_named_with_what_is_wrong() {
    let machine = Machine::new();
    let write = |name: &str, bytes: &[u8]| {
        fs::write(machine.home.path().join(name), bytes).unwrap();
    };
    let head = |n_tensors: u64, n_values: u64| {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(3_u32.to_le_bytes());
        bytes.extend(n_tensors.to_le_bytes());
        bytes.extend(n_values.to_le_bytes());
        bytes
    };
    write("cut.gguf", b"GGUF\x03\0\0\0\x01");
    write("liar.gguf", &head(u64::MAX, u64::MAX));
    write("nothing.gguf", &head(0, 0));
    write("other.gguf", b"<!doctype html><html>Sign in</html>");
    write("empty.gguf", b"");
    for model in ["cut.gguf", "liar.gguf", "nothing.gguf", "other.gguf", "empty.gguf"] {
        let output = fix(&machine, model);
        check_said(&output, 2, &["error: loading the model", model]);
    }
    check_said(&fix(&machine, "./missing.gguf"), 2, &["missing.gguf"]);
    check_said(&fix(&machine, "gpt-7"), 2, &["sorft model list"]);
}

#[test]
fn a_server_that_is_down_is_named_and_finished_calls_are_kept() {
    let machine = Machine::new();
    let issue = demo_issue();
    let mut arguments = vec!["fix", "repo", "--issue", &issue, "--effort", "quick"];
    arguments.extend(["--endpoint", "http://127.0.0.1:9"]);
    let output = machine.sorft(&arguments);
    check_said(&output, 2, &["`http://127.0.0.1:9` is not reached", "hint:"]);
    let failing = Server::start(script(Vec::new()));
    let output = machine.fix(&failing, &["--run-dir", "run"]);
    check_said(&output, 2, &["error: asking `tiny` for the edit stage", "out of order"]);
    let rows = fs::read_to_string(machine.home.path().join("run/trajectory.jsonl")).unwrap();
    assert_eq!(rows.lines().count(), 3);
}

#[test]
fn a_key_goes_to_the_servers_that_it_was_configured_for_and_no_other() {
    let machine = Machine::new();
    let (own, other) = (Server::start(script(vec![RIGHT])), Server::start(script(vec![RIGHT])));
    let folder = machine.home.path().join("config/sorft");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("key"), "sekret\n").unwrap();
    let settings = format!("endpoint: [\"{}\"]\napi_key_file: key\n", own.url());
    fs::write(folder.join("sorft.yaml"), settings).unwrap();
    let issue = demo_issue();
    let arguments = ["fix", "repo", "--issue", &issue, "--effort", "quick"];
    check_said(&machine.sorft(&arguments), 0, &[]);
    assert!(own.keys().iter().all(|key| key.as_deref() == Some("Bearer sekret")));
    let url = other.url();
    let elsewhere = [&arguments[..], &["--endpoint", &url]].concat();
    check_said(&machine.sorft(&elsewhere), 0, &["`api_key_file` is not sent"]);
    assert!(!other.keys().is_empty() && other.keys().iter().all(Option::is_none));
    let mut command = machine.command();
    let output = command.args(&elsewhere).env("SORFT_API_KEY", "mine").output().unwrap();
    check_said(&output, 0, &[]);
    assert!(other.keys().iter().any(|key| key.as_deref() == Some("Bearer mine")));
}

#[test]
fn a_file_without_listed_symbols_can_be_edited_too() {
    let machine = Machine::new();
    let edit = "```\n### README.md\n<<<<<<< SEARCH\n# timesheet\n=======\n# Timesheet\n>>>>>>> REPLACE\n```\n";
    let answers = Script {
        file: "```\nREADME.md\n```",
        function: "none of them",
        line: "```\nREADME.md\nline: 1\n```",
        edits: vec![edit],
        tests: Vec::new(),
    };
    let server = Server::start(answers);
    let output = machine.fix(&server, &["--in", "README.md"]);
    check_said(&output, 0, &["UNVERIFIED"]);
}
