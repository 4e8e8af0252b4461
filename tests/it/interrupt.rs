//! Ctrl-C, wherever the program is: it ends with 130 and leaves nothing half-written.
#![cfg(unix)]

use std::fs;
use std::io::Read as _;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::machine::{Machine, RIGHT, demo_issue, script};
use crate::server::Server;

fn start(machine: &Machine, arguments: &[&str]) -> Child {
    Command::new(assert_cmd::cargo::cargo_bin("sorft"))
        .args(arguments)
        .envs(machine.variables())
        .current_dir(machine.home.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[track_caller]
fn check_interrupted(mut child: Child) {
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    let status = child.wait().unwrap();
    let mut words = String::new();
    child.stderr.take().unwrap().read_to_string(&mut words).unwrap();
    assert_eq!(status.code(), Some(130), "{words}");
    assert!(words.ends_with("interrupted\n"), "{words}");
    let mut result = String::new();
    child.stdout.take().unwrap().read_to_string(&mut result).unwrap();
    assert_eq!(result, "");
}

/// Waits for something that comes by itself.
#[track_caller]
fn wait_until(what: &str, is_there: impl Fn() -> bool) {
    for _ in 0..6000 {
        if is_there() {
            return;
        }
        sleep(Duration::from_millis(10));
    }
    panic!("a minute passed without {what}");
}

#[test]
fn a_model_call_is_interrupted_and_the_run_goes_on_later() {
    let machine = Machine::new();
    let silent = Server::start_silent();
    let (issue, url) = (demo_issue(), silent.url());
    let mut arguments = vec!["fix", "repo", "--issue", &issue, "--endpoint", &url];
    arguments.extend(["--effort", "quick", "--run-dir", "run"]);
    let child = start(&machine, &arguments);
    wait_until("a request", || silent.prompts().contains("Which of these files"));
    check_interrupted(child);
    let server = Server::start(script(vec![RIGHT]));
    let output = machine.fix(&server, &["--run-dir", "run"]);
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_test_run_is_interrupted_with_all_of_its_processes() {
    let machine = Machine::new();
    let server = Server::start(script(vec![RIGHT]));
    let (issue, url) = (demo_issue(), server.url());
    // The argument tells these processes from those of any other test.
    let mark = format!("86{}", std::process::id());
    let test = format!("sleep {mark} & sleep {mark}");
    let arguments = ["fix", "repo", "--issue", &issue, "--endpoint", &url, "--test", &test];
    let child = start(&machine, &arguments);
    let n_running = || {
        let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
        let lines = processes.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
        lines.filter(|line| *line == format!("sleep\0{mark}\0").into_bytes()).count()
    };
    wait_until("the test command", || n_running() == 2);
    check_interrupted(child);
    wait_until("the end of the test command", || n_running() == 0);
    let scratch = machine.home.path().join("cache/sorft/scratch");
    wait_until("the end of the scratch copy", || {
        fs::read_dir(&scratch).map_or(0, Iterator::count) == 0
    });
}

#[test]
fn what_cannot_be_told_to_stop_is_interrupted_too() {
    let machine = Machine::new();
    let pipe = machine.home.path().join("issue");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let child = start(&machine, &["locate", "repo", "--issue", "issue", "--no-model"]);
    // Opens once the program has opened the other end, which then waits for text.
    let writer = fs::File::options().write(true).open(&pipe).unwrap();
    check_interrupted(child);
    drop(writer);
}
