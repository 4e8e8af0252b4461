//! Repositories that are empty, hostile, huge or somebody else's.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::machine::{Machine, RIGHT, check_said, commit_all, manifest, script, stderr, stdout};
use crate::server::Server;

/// `sorft locate` without a model: reading, outlining and ranking a repository.
fn locate(machine: &Machine, repo: &str, more: &[&str]) -> std::process::Output {
    let mut arguments =
        vec!["locate", repo, "--issue-text", "parse_duration is wrong", "--no-model"];
    arguments.extend(more);
    machine.sorft(&arguments)
}

#[test]
fn a_plain_folder_works_and_only_git_s_own_needs_git() {
    let machine = Machine::new();
    check_said(&locate(&machine, "repo", &[]), 0, &[]);
    let output = locate(&machine, "repo", &["--at", "v1"]);
    check_said(&output, 2, &["`repo` is not in a git repository, so it has no revision `v1`"]);
    let server = Server::start(script(vec![RIGHT]));
    let output = machine.fix(&server, &["--branch", "sorft/fix"]);
    check_said(&output, 2, &["`repo` is not in a git repository, so it has no branches", "hint:"]);
    assert_eq!(server.n_calls(), 0, "a destination that cannot be is told before any work");
}

#[test]
fn repositories_without_files_or_commits_say_so() {
    let machine = Machine::new();
    let folder = |name: &str| machine.home.path().join(name);
    fs::create_dir(folder("empty")).unwrap();
    let _empty = git2::Repository::init(folder("unborn")).unwrap();
    let _bare = git2::Repository::init_bare(folder("bare")).unwrap();
    for (repo, more, wanted) in [
        ("empty", &[][..], "`empty` holds no files"),
        ("unborn", &[], "`unborn` holds no files"),
        ("unborn", &["--at", "HEAD"], "the repository has no commit yet"),
        ("bare", &[], "the repository has no commit yet"),
    ] {
        check_said(&locate(&machine, repo, more), 2, &[wanted]);
    }
}

#[test]
fn a_bare_repository_is_read_at_its_head_and_written_to_by_branch() {
    let machine = Machine::new();
    let work = machine.commit_all();
    let bare = machine.home.path().join("bare.git");
    let bare = git2::build::RepoBuilder::new()
        .bare(true)
        .clone(work.path().to_str().unwrap(), &bare)
        .unwrap();
    let server = Server::start(script(vec![RIGHT]));
    let issue = crate::machine::demo_issue();
    let url = server.url();
    let fix = |more: &[&str]| {
        let mut arguments = vec!["fix", "bare.git", "--issue", &issue, "--endpoint", &url];
        arguments.extend(["--effort", "quick"].iter().chain(more));
        machine.sorft(&arguments)
    };
    check_said(
        &fix(&["--apply"]),
        2,
        &["`bare.git` has no work tree to write to", "--branch NAME"],
    );
    assert_eq!(server.n_calls(), 0);
    check_said(&fix(&["--branch", "sorft/fix"]), 0, &["committed to the branch `sorft/fix`"]);
    let commit = bare.find_branch("sorft/fix", git2::BranchType::Local).unwrap();
    let tree = commit.get().peel_to_tree().unwrap();
    let entry = tree.get_path(Path::new("timesheet/durations.py")).unwrap();
    let blob = bare.find_blob(entry.id()).unwrap();
    assert!(String::from_utf8_lossy(blob.content()).contains("seconds += int(amount)"));
    check_said(&fix(&["--branch", "sorft/fix"]), 2, &["exists already"]);
}

#[test]
fn a_revision_that_does_not_exist_is_named() {
    let machine = Machine::new();
    let _repository = machine.commit_all();
    let output = locate(&machine, "repo", &["--at", "v9"]);
    check_said(&output, 2, &["no commit is called `v9`", "hint: `git branch --all` and `git tag`"]);
}

/// Only root can give a repository away; whoever else runs this test tries the other half, where
/// the repository of root is read.
#[cfg(unix)]
#[test]
fn a_repository_of_another_user_is_refused_with_the_way_out() {
    let machine = Machine::new();
    let repository = machine.commit_all();
    if nix::unistd::geteuid().is_root() {
        let status = Command::new("chown").args(["-R", "12345"]).arg(machine.repo()).status();
        assert!(status.unwrap().success());
        let output = locate(&machine, "repo", &[]);
        check_said(&output, 2, &["belongs to another user", "safe.directory"]);
    }
    let root = repository.workdir().unwrap().to_str().unwrap().trim_end_matches('/');
    let config = format!("[safe]\n\tdirectory = {root}\n");
    fs::write(machine.home.path().join(".gitconfig"), config).unwrap();
    check_said(&locate(&machine, "repo", &[]), 0, &[]);
}

#[test]
fn a_hostile_configuration_runs_nothing_and_is_named() {
    let machine = Machine::new();
    let path = machine.repo().join("sorft.yaml");
    let bomb = "a: &a [x,x,x,x,x,x,x,x]\n".to_owned()
        + &(0..9).map(|_| "b: [*a,*a,*a,*a,*a,*a,*a,*a]\n").collect::<String>();
    for (text, code, wanted) in [
        (
            "test: touch evil\nendpoint: [http://127.0.0.1:9]\nmodel: /etc/passwd\n",
            0,
            "`test`, `endpoint`, `model` of `repo/sorft.yaml` ignored",
        ),
        ("tset: x\n", 2, "unknown key `tset`; the nearest known key is `test`"),
        ("context_lines: [1]\n", 2, "`context_lines`: wanted a whole number"),
        (&bomb, 2, "repo/sorft.yaml"),
        ("\u{1b}[31m: x\n", 2, "control characters are not allowed"),
        ("- x\n", 2, "repo/sorft.yaml"),
    ] {
        fs::write(&path, text).unwrap();
        let output = locate(&machine, "repo", &[]);
        check_said(&output, code, &[wanted]);
        assert!(!stderr(&output).contains('\u{1b}'), "{}", stderr(&output));
    }
    assert!(!machine.repo().join("evil").exists() && !machine.home.path().join("evil").exists());
}

#[test]
fn a_hundred_thousand_files_are_read() {
    let machine = Machine::new();
    for folder in 0..200 {
        let folder = machine.repo().join(format!("many/p{folder}"));
        fs::create_dir_all(&folder).unwrap();
        for file in 0..500 {
            fs::write(folder.join(format!("m{file}.py")), "VALUE = 1\n").unwrap();
        }
    }
    let output = locate(&machine, "repo", &["--format", "json"]);
    check_said(&output, 0, &[]);
    assert!(stdout(&output).contains("timesheet/durations.py"), "{}", stdout(&output));
    let output = machine.sorft(&["index", "repo", "--format", "json"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["files"], 100_010, "{json}");
}

#[cfg(unix)]
#[test]
fn link_loops_and_links_out_of_the_repository_are_not_followed() {
    use std::os::unix::fs::symlink;
    let machine = Machine::new();
    let repo = machine.repo();
    fs::write(machine.home.path().join("secret.py"), "def parse_duration_secret(): 1\n").unwrap();
    symlink("..", repo.join("timesheet/up")).unwrap();
    symlink("self", repo.join("self")).unwrap();
    symlink("../secret.py", repo.join("secret.py")).unwrap();
    symlink("/", repo.join("everything")).unwrap();
    let output = locate(&machine, "repo", &[]);
    check_said(&output, 0, &[]);
    assert!(stdout(&output).contains("timesheet/durations.py"), "{}", stdout(&output));
    assert!(!stdout(&output).contains("secret"), "{}", stdout(&output));
    let output = locate(&machine, "repo", &["--in", "secret.py"]);
    check_said(&output, 2, &["`secret.py` is no text file of this repository"]);
}

#[test]
fn a_submodule_is_listed_and_not_read() {
    let machine = Machine::new();
    let outer = machine.commit_all();
    let inner = machine.repo().join("vendored");
    fs::create_dir(&inner).unwrap();
    fs::write(inner.join("inner.py"), "def parse_duration_inner(): return 1\n").unwrap();
    let inner = commit_all(&inner);
    let mut index = outer.index().unwrap();
    let id = inner.head().unwrap().target().unwrap();
    index
        .add(&git2::IndexEntry {
            ctime: git2::IndexTime::new(0, 0),
            mtime: git2::IndexTime::new(0, 0),
            dev: 0,
            ino: 0,
            mode: 0o160_000,
            uid: 0,
            gid: 0,
            file_size: 0,
            id,
            flags: 0,
            flags_extended: 0,
            path: b"vendored".to_vec(),
        })
        .unwrap();
    index.write().unwrap();
    let output = locate(&machine, "repo", &[]);
    check_said(&output, 0, &[]);
    assert!(!stdout(&output).contains("inner"), "{}", stdout(&output));
    let output = locate(&machine, "repo", &["--in", "vendored/inner.py"]);
    check_said(&output, 2, &["is no text file of this repository"]);
}

#[test]
fn binary_and_huge_files_are_stepped_over() {
    let machine = Machine::new();
    let repo = machine.repo();
    fs::write(repo.join("blob.py"), [0, 159, 146, 150].repeat(1000)).unwrap();
    fs::write(repo.join("huge.py"), "parse_duration = 1\n".repeat(50 << 20 >> 4)).unwrap();
    let output = locate(&machine, "repo", &[]);
    check_said(&output, 0, &[]);
    let places = stdout(&output);
    assert!(places.contains("timesheet/durations.py"), "{places}");
    assert!(!places.contains("huge.py") && !places.contains("blob.py"), "{places}");
    for file in ["huge.py", "blob.py"] {
        let output = locate(&machine, "repo", &["--in", file]);
        check_said(&output, 2, &["is no text file of this repository"]);
    }
}

/// A source in some encoding and with some line ends is mended, and nothing else in it changes.
#[track_caller]
fn check_encoding(encode: impl Fn(&str) -> Vec<u8>) {
    let machine = Machine::new();
    let path = machine.repo().join("timesheet/durations.py");
    let text = fs::read_to_string(&path).unwrap() + "# é";
    fs::write(&path, encode(&text)).unwrap();
    let server = Server::start(script(vec![RIGHT]));
    let output = machine.fix(&server, &["--apply"]);
    check_said(&output, 0, &["applied to 1 files"]);
    let mended = text.replace("seconds = int(amount)", "seconds += int(amount)");
    assert_eq!(fs::read(&path).unwrap(), encode(&mended));
}

#[test]
fn other_encodings_and_line_ends_are_kept() {
    check_encoding(|text| text.as_bytes().to_vec());
    check_encoding(|text| text.chars().map(|c| c as u8).collect());
    check_encoding(|text| text.replace('\n', "\r\n").into_bytes());
    check_encoding(|text| format!("\u{feff}{text}").into_bytes());
    let utf_16 = |text: &str| format!("\u{feff}{text}").encode_utf16().collect::<Vec<u16>>();
    check_encoding(|text| utf_16(text).into_iter().flat_map(u16::to_le_bytes).collect());
    check_encoding(|text| utf_16(text).into_iter().flat_map(u16::to_be_bytes).collect());
}

/// Nobody may write to the work tree: a user without rights, since root may do all.
#[cfg(unix)]
#[test]
fn a_read_only_work_tree_is_told_before_any_work() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    let machine = Machine::new();
    let server = Server::start(script(vec![RIGHT]));
    let read_only = |path: &Path| {
        fs::set_permissions(path, fs::Permissions::from_mode(0o555)).unwrap();
    };
    let everything = |path: &Path| {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    };
    everything(machine.home.path());
    for folder in ["state", "cache", "config"] {
        fs::create_dir(machine.home.path().join(folder)).unwrap();
        everything(&machine.home.path().join(folder));
    }
    read_only(&machine.repo());
    let original = assert_cmd::cargo::cargo_bin("sorft");
    let program = if nix::unistd::geteuid().is_root() {
        // The program must lie where that user can reach it.
        let copy = machine.home.path().join("sorft");
        fs::hard_link(&original, &copy).or_else(|_| fs::copy(&original, &copy).map(drop)).unwrap();
        copy
    } else {
        original
    };
    let mut program = Command::new(program);
    if nix::unistd::geteuid().is_root() {
        program.uid(65_534);
    }
    let issue = "parse_duration is wrong";
    let output = program
        .envs(machine.variables())
        .current_dir(machine.home.path())
        .args(["fix", "repo", "--issue-text", issue, "--endpoint", &server.url(), "--apply"])
        .output()
        .unwrap();
    check_said(&output, 2, &["`repo` cannot be written to", "--output FILE"]);
    assert_eq!(server.n_calls(), 0);
    everything(&machine.repo());
}

#[test]
fn two_processes_at_once_find_the_same_patch_and_keep_their_runs_apart() {
    let machine = Machine::new();
    let server = Server::start(script(vec![RIGHT]));
    let outputs: Vec<_> = std::thread::scope(|scope| {
        let start = || scope.spawn(|| machine.fix(&server, &[]));
        let running: Vec<_> = (0..4).map(|_| start()).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for output in &outputs {
        check_said(output, 0, &["UNVERIFIED:"]);
        assert_eq!(stdout(output), stdout(&outputs[0]));
    }
    assert_eq!(fs::read_dir(machine.home.path().join("state/sorft/runs")).unwrap().count(), 4);
    // One run has one writer.
    let lock = machine.home.path().join("run/.lock");
    fs::create_dir(lock.parent().unwrap()).unwrap();
    let held = fs::File::create(&lock).unwrap();
    held.lock().unwrap();
    let output = machine.fix(&server, &["--run-dir", "run"]);
    check_said(&output, 2, &["another sorft process writes the run directory `run`", "hint:"]);
}

#[test]
fn the_demo_is_its_own_root_inside_another_repository() {
    let machine = Machine::new();
    let demo = manifest().join("fixtures/demo/repo");
    let output = locate(&machine, demo.to_str().unwrap(), &[]);
    check_said(&output, 0, &[]);
    assert!(stdout(&output).starts_with("timesheet/durations.py"), "{}", stdout(&output));
}
