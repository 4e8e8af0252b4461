//! Disks that are full: what was there stays, what was found is kept, and the message says so.
#![cfg(unix)]

use std::fs;
use std::process::{Command, Output};

use sorft::repo::change::PathChanges;
use sorft::repo::snapshot::{MAX_FILE_BYTES, Snapshot, SnapshotOptions};
use sorft::sandbox::scratch::ScratchCopy;

use crate::machine::{Machine, RIGHT, check_said, demo_issue, script, stderr, stdout};
use crate::server::Server;

/// Runs `sorft` where no file may grow beyond so many KiB: writing more fails half-way, as on a
/// disk that becomes full.
fn sorft_with_room(machine: &Machine, kib: u32, arguments: &[&str]) -> Output {
    // Without the trap, the signal of the limit would end the program.
    let script = format!("trap '' XFSZ; ulimit -f {kib}; exec \"$0\" \"$@\"");
    Command::new("bash")
        .args(["-c", &script])
        .arg(assert_cmd::cargo::cargo_bin("sorft"))
        .args(arguments)
        .envs(machine.variables())
        .current_dir(machine.home.path())
        .output()
        .unwrap()
}

#[test]
fn a_full_disk_of_the_cache_does_no_harm() {
    let machine = Machine::new();
    let arguments = ["locate", "repo", "--issue", &demo_issue(), "--no-model"];
    let output = sorft_with_room(&machine, 0, &arguments);
    check_said(&output, 0, &[]);
    assert!(stdout(&output).contains("timesheet/durations.py"), "{}", stdout(&output));
}

/// Where nothing can be created, as on a read-only disk or in `/proc`.
#[test]
fn a_cache_that_takes_no_copy_gives_way_to_the_temporary_folder() {
    let machine = Machine::new();
    fs::write(machine.home.path().join("cache"), "a file").unwrap();
    let server = Server::start(script(vec![RIGHT]));
    let output = machine.fix(&server, &["--test", "python3 -m unittest"]);
    check_said(&output, 0, &["verified"]);
}

#[test]
fn without_room_for_a_copy_the_settings_that_name_a_folder_are_told() {
    let machine = Machine::new();
    let file = machine.home.path().join("file");
    fs::write(&file, "a file").unwrap();
    let options = SnapshotOptions { revision: None, max_file_bytes: MAX_FILE_BYTES, cache: None };
    let snapshot = Snapshot::open(&machine.repo(), &options).unwrap();
    let folders = [file.join("a"), file.join("b")];
    let copy =
        ScratchCopy::create_in_first(&snapshot, &machine.repo(), &PathChanges::new(), &folders);
    let error = format!("{:#}", copy.unwrap_err());
    for wanted in ["file/a`", "file/b`", "hint: free some space", "`SORFT_CACHE_DIR`"] {
        assert!(error.contains(wanted), "{wanted} in {error}");
    }
}

#[test]
fn a_full_disk_of_the_run_keeps_finished_work() {
    let machine = Machine::new();
    let server = Server::start(script(vec![RIGHT]));
    let (issue, url) = (demo_issue(), server.url());
    let mut arguments = vec!["fix", "repo", "--issue", &issue, "--endpoint", &url];
    arguments.extend(["--effort", "quick", "--run-dir", "run"]);
    let output = sorft_with_room(&machine, 12, &arguments);
    check_said(&output, 2, &["trajectory.jsonl`", "finished work is kept; free some space"]);
    let trajectory = fs::read_to_string(machine.home.path().join("run/trajectory.jsonl")).unwrap();
    assert!(trajectory.is_empty() || trajectory.ends_with('\n'), "no half lines");
    let n_before = server.n_calls();
    check_said(&machine.sorft(&arguments), 0, &["UNVERIFIED:"]);
    assert!(!trajectory.is_empty(), "the limit leaves room for a call");
    assert!(n_before < server.n_calls());
    assert_eq!(server.prompts().matches("Which of these files").count(), 1, "asked once in all");
}

#[test]
fn a_full_disk_leaves_the_files_as_they_were() {
    let machine = Machine::new();
    let path = machine.repo().join("timesheet/durations.py");
    // Larger than the limit below.
    let text = fs::read_to_string(&path).unwrap() + &"# filler\n".repeat(4000);
    fs::write(&path, &text).unwrap();
    let server = Server::start(script(vec![RIGHT]));
    let (issue, url) = (demo_issue(), server.url());
    let mut arguments = vec!["fix", "repo", "--issue", &issue, "--endpoint", &url];
    arguments.extend(["--effort", "quick", "--in", "timesheet/durations.py:17"]);
    check_said(&machine.sorft(&arguments), 0, &[]);
    let output = sorft_with_room(&machine, 16, &["apply", "last"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    let left: Vec<_> = fs::read_dir(path.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("sorft"))
        .collect();
    assert_eq!(left, [""; 0]);
    check_said(&machine.sorft(&["apply", "last"]), 0, &[]);
}

#[cfg(target_os = "linux")]
#[test]
fn an_output_that_takes_nothing_is_an_error_and_no_device_is_replaced() {
    use std::os::unix::fs::FileTypeExt;
    let machine = Machine::new();
    let server = Server::start(script(vec![RIGHT]));
    let output = machine.fix(&server, &["--output", "/dev/full"]);
    check_said(&output, 2, &["writing the patch to `/dev/full`", "run: "]);
    assert!(fs::metadata("/dev/full").unwrap().file_type().is_char_device());
    for (place, wanted) in
        [("nowhere/fix.patch", "nothing can be written there"), ("repo", "`repo` is a folder")]
    {
        let n_before = server.n_calls();
        check_said(&machine.fix(&server, &["--output", place]), 2, &[wanted]);
        assert_eq!(server.n_calls(), n_before);
    }
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = Command::new(assert_cmd::cargo::cargo_bin("sorft"));
    let command = command.args(["model", "list"]).envs(machine.variables()).stdout(full);
    let output = command.stderr(std::process::Stdio::piped()).output().unwrap();
    check_said(&output, 2, &["writing to stdout"]);
}
