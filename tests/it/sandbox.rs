//! Attacks on the sandbox, each under every protection that works on this machine.
//!
//! bubblewrap is tried where it is installed; our own namespaces and Landlock must work wherever
//! these tests run, and `both_ways_without_bubblewrap_work_here` says so where they do not.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use sorft::repo::change::{FileContent, PathChange, PathChanges};
use sorft::repo::path::RepoPath;
use sorft::repo::snapshot::{MAX_FILE_BYTES, Snapshot, SnapshotOptions};
use sorft::sandbox::interpreter::Interpreters;
use sorft::sandbox::scratch::ScratchCopy;
use sorft::sandbox::{Access, End, Execution, Limits, Protection, Sandbox, SandboxOptions};

const SECRET: &str = "hunter2-of-this-test";

/// A user's home with keys and a repository in it.
struct Machine {
    home: tempfile::TempDir,
    limits: Limits,
}

impl Machine {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let repo = home.path().join("work/repo");
        fs::create_dir_all(home.path().join(".ssh")).unwrap();
        fs::write(home.path().join(".ssh/id_rsa"), SECRET).unwrap();
        fs::create_dir_all(repo.join(".venv/lib")).unwrap();
        fs::create_dir_all(repo.join(".git")).unwrap();
        fs::create_dir_all(repo.join("pkg")).unwrap();
        git2::Repository::init(&repo).unwrap();
        fs::write(repo.join(".gitignore"), ".venv\n.env\nbuilt.txt\n").unwrap();
        fs::write(repo.join(".venv/lib/installed.txt"), "installed").unwrap();
        fs::write(repo.join(".env"), SECRET).unwrap();
        fs::write(repo.join("built.txt"), "built").unwrap();
        fs::write(repo.join("pkg/code.txt"), "original").unwrap();
        fs::write(repo.join("run.sh"), "#!/bin/sh\necho ran\n").unwrap();
        fs::set_permissions(repo.join("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
        symlink(home.path().join(".ssh"), repo.join("way_out")).unwrap();
        let limits = Limits {
            seconds: 20,
            memory_bytes: 512 << 20,
            processes: 100,
            disk_bytes: 64 << 20,
            output_bytes: 1 << 20,
        };
        Self { home, limits }
    }

    fn repo(&self) -> PathBuf {
        self.home.path().canonicalize().unwrap().join("work/repo")
    }

    fn options(&self) -> SandboxOptions {
        let path = std::env::vars().find(|(name, _)| name == "PATH").unwrap().1;
        let tools = self.home.path().join("tools/bin");
        let home = self.home.path().to_str().unwrap();
        SandboxOptions {
            helper: env!("CARGO_BIN_EXE_sorft").into(),
            limits: self.limits,
            environment: BTreeMap::from([
                ("PATH".to_owned(), format!("{}:{path}", tools.display())),
                ("HOME".to_owned(), home.to_owned()),
                ("SORFT_API_KEY".to_owned(), SECRET.to_owned()),
                ("AWS_SECRET_ACCESS_KEY".to_owned(), SECRET.to_owned()),
            ]),
            extra_variables: Vec::new(),
            extra_folders: Vec::new(),
        }
    }

    fn scratch(&self, changes: &PathChanges) -> ScratchCopy {
        let options =
            SnapshotOptions { revision: None, max_file_bytes: MAX_FILE_BYTES, cache: None };
        let snapshot = Snapshot::open(&self.repo(), &options).unwrap();
        ScratchCopy::create(&snapshot, &self.repo(), changes, &self.home.path().join("scratch"))
            .unwrap()
    }

    fn run(&self, protection: Protection, command: &str) -> Execution {
        self.run_changed(protection, command, &PathChanges::new())
    }

    fn run_changed(
        &self,
        protection: Protection,
        command: &str,
        changes: &PathChanges,
    ) -> Execution {
        let scratch = self.scratch(changes);
        block_on(async {
            let sandbox = Sandbox::with_protection(self.options(), protection).await.unwrap();
            sandbox.run(command, &scratch).await.unwrap()
        })
    }

    /// The command's output and end under a protection, in one text.
    fn outcome(&self, protection: Protection, command: &str) -> String {
        let execution = self.run(protection, command);
        format!("{}\n{}", String::from_utf8_lossy(&execution.output), execution.end)
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// The protections that work here.
fn protections() -> Vec<Protection> {
    let machine = Machine::new();
    let probes = block_on(Sandbox::probe(&machine.options()));
    probes.into_iter().filter(|probe| probe.outcome.is_ok()).map(|probe| probe.protection).collect()
}

/// Those among them that show the copy at the repository's own path.
fn moving_protections() -> Vec<Protection> {
    protections().into_iter().filter(|protection| *protection != Protection::Landlock).collect()
}

#[test]
fn our_own_namespaces_work_here() {
    block_on(Sandbox::with_protection(Machine::new().options(), Protection::Namespaces)).unwrap();
}

#[test]
fn what_a_protection_lacks_is_told_in_words() {
    let why = |options, protection| {
        let sandbox = block_on(Sandbox::with_protection(options, protection));
        format!("{:#}", sandbox.unwrap_err())
    };
    let mut options = Machine::new().options();
    options.environment.insert("PATH".to_owned(), "/nowhere".to_owned());
    let words = why(options, Protection::Bubblewrap);
    assert_eq!(words, "there is no `bwrap` program on `PATH`: install the package `bubblewrap`");
    if nix::unistd::getuid().is_root() {
        let words = why(Machine::new().options(), Protection::Landlock);
        assert_eq!(
            words,
            "it cannot hold the number of processes of the user root: run sorft as another user"
        );
    }
}

/// Landlock is for those who are not root, and so are namespaces that a normal user makes: all
/// attacks are tried a second time by a user without any right.
#[test]
fn the_attacks_fail_for_an_ordinary_user_too() {
    if !nix::unistd::getuid().is_root() {
        block_on(Sandbox::with_protection(Machine::new().options(), Protection::Landlock)).unwrap();
        return;
    }
    let nobody = 65_534;
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        // Under Landlock the user's processes are counted together: no other test may run while the
        // fork bomb takes all that there may be.
        .args(["sandbox::", "--test-threads=1"])
        .uid(nobody)
        .gid(nobody)
        .env("HOME", "/nonexistent")
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .current_dir("/")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("sandbox::keys_and_environment_cannot_be_read ... ok"), "{text}");
}

#[test]
fn a_command_sees_the_copy_at_the_repositorys_own_path() {
    let machine = Machine::new();
    let changes = PathChanges::from([(
        RepoPath::parse("pkg/code.txt").unwrap(),
        PathChange {
            before: None,
            after: Some(FileContent { bytes: b"candidate".to_vec(), executable: false }),
        },
    )]);
    let command = format!("cat {}/pkg/code.txt && ./run.sh", machine.repo().display());
    for protection in moving_protections() {
        let execution = machine.run_changed(protection, &command, &changes);
        let output = String::from_utf8_lossy(&execution.output).into_owned();
        assert_eq!(
            (output.as_str(), execution.end),
            ("candidateran\n", End::Exited(0)),
            "{protection}"
        );
    }
    for protection in protections() {
        let execution = machine.run_changed(protection, "cat pkg/code.txt", &changes);
        assert_eq!(execution.output, b"candidate", "{protection}");
    }
}

#[test]
fn ignored_folders_are_read_only_beside_the_copy() {
    let machine = Machine::new();
    let command = "cat .venv/lib/installed.txt built.txt; echo bad > .venv/lib/installed.txt; \
                   echo bad > built.txt; echo bad > pkg/code.txt; ls -A";
    for protection in moving_protections() {
        let outcome = machine.outcome(protection, command);
        assert!(outcome.starts_with("installedbuilt"), "{protection}: {outcome}");
        assert!(!outcome.lines().any(|line| line == ".env"), "{protection}: {outcome}");
        let content = |name: &str| fs::read_to_string(machine.repo().join(name)).unwrap();
        assert_eq!(content(".venv/lib/installed.txt"), "installed", "{protection}");
        assert_eq!(content("built.txt"), "built", "{protection}");
        assert_eq!(content("pkg/code.txt"), "original", "{protection}");
    }
}

#[test]
fn keys_and_environment_cannot_be_read() {
    let machine = Machine::new();
    let ssh = machine.home.path().join(".ssh/id_rsa");
    let command = format!(
        "cat {0}; cat way_out/id_rsa; env; cat /proc/*/environ; cat .env; cat {1}/.env; ls -laR {2}; \
         cat /etc/shadow; echo finished",
        ssh.display(),
        machine.repo().display(),
        machine.home.path().display(),
    );
    assert!(machine.outcome(Protection::Unprotected, &command).contains(SECRET));
    for protection in protections() {
        let outcome = machine.outcome(protection, &command);
        assert!(outcome.contains("finished\n"), "{protection}: {outcome}");
        assert!(!outcome.contains(SECRET), "{protection}: {outcome}");
        assert!(!outcome.contains("root:"), "{protection}: {outcome}");
    }
}

#[test]
fn nothing_outside_the_copy_can_be_written() {
    let machine = Machine::new();
    let targets = [
        machine.home.path().join("planted"),
        machine.home.path().join(".ssh/authorized_keys"),
        machine.repo().join("way_out/planted"),
        machine.repo().join("planted"),
        machine.repo().join(".git/hooks/planted"),
        std::env::temp_dir().join("sorft-planted-by-a-test"),
        PathBuf::from("/usr/local/sorft-planted-by-a-test"),
        PathBuf::from("/dev/shm/sorft-planted-by-a-test"),
    ];
    let command: String = targets
        .iter()
        .map(|path| {
            format!("mkdir -p {}; echo x > {}; ", path.parent().unwrap().display(), path.display())
        })
        .chain(["echo x > /proc/sys/kernel/domainname; mount -t tmpfs none /usr; true".to_owned()])
        .collect();
    let domain = fs::read_to_string("/proc/sys/kernel/domainname").unwrap();
    for protection in protections() {
        let outcome = machine.outcome(protection, &command);
        let planted: Vec<&PathBuf> = targets.iter().filter(|path| path.exists()).collect();
        assert!(planted.is_empty(), "{protection} planted {planted:?}: {outcome}");
        let now = fs::read_to_string("/proc/sys/kernel/domainname").unwrap();
        assert_eq!(now, domain, "{protection}");
    }
}

#[test]
fn the_kernels_own_settings_cannot_be_written() {
    let machine = Machine::new();
    // Written back as it is: without protection, root succeeds and nothing changes.
    let command = "p=/proc/sys/kernel/core_pattern; cat $p > /dev/null; v=$(cat $p); \
                   (printf %s \"$v\" > $p) 2>/dev/null && echo written; unshare -Ur id 2>&1 && echo nested; true";
    for protection in protections() {
        let outcome = machine.outcome(protection, command);
        assert!(!outcome.contains("written"), "{protection}: {outcome}");
        assert!(!outcome.contains("nested"), "{protection}: {outcome}");
    }
}

#[test]
fn no_socket_reaches_the_machine() {
    let machine = Machine::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let command = format!(
        "python3 -c \"import socket; socket.create_connection(('127.0.0.1', {port}), 2); print('through')\""
    );
    assert!(machine.outcome(Protection::Unprotected, &command).contains("through"));
    for protection in protections() {
        let outcome = machine.outcome(protection, &command);
        assert!(outcome.contains("Error"), "{protection}: {outcome}");
        assert!(!outcome.contains("through"), "{protection}: {outcome}");
    }
}

/// An install gets out and fills its own folder; everything else stays as closed as for tests.
#[test]
fn an_install_reaches_the_network_and_one_folder_and_nothing_of_the_users() {
    let machine = Machine::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let target = machine.home.path().canonicalize().unwrap().join("target");
    fs::create_dir_all(&target).unwrap();
    let command = format!(
        "python3 -c \"
import socket
socket.create_connection(('127.0.0.1', {port}), 2); print('through')
try: socket.socket(socket.AF_UNIX); print('named')
except OSError: print('no named socket')
\"
        echo made > {target}/made; echo bad > {target}/../planted; cat {ssh}; echo \"<$PIP_NO_INDEX>\"; env",
        target = target.display(),
        ssh = machine.home.path().join(".ssh/id_rsa").display(),
    );
    let access = Access { network: true, writable: Some(target.clone()) };
    let mut options = machine.options();
    let plain = ("PIP_INDEX_URL", "https://index.example/simple");
    let secret = ("HTTPS_PROXY", "https://me:hunter2-of-this-test@proxy.example");
    for (name, value) in [plain, secret] {
        options.environment.insert(name.to_owned(), value.to_owned());
    }
    for protection in protections() {
        let scratch = machine.scratch(&PathChanges::new());
        let execution = block_on(async {
            let sandbox = Sandbox::with_protection(options.clone(), protection).await.unwrap();
            sandbox.run_with(&command, &scratch, &access).await.unwrap()
        });
        let output = String::from_utf8_lossy(&execution.output);
        for wanted in ["through", "no named socket", "<>", "PIP_INDEX_URL=https://index.example"] {
            assert!(output.contains(wanted), "{protection}: {wanted} in {output}");
        }
        assert!(!output.contains(SECRET), "{protection}: {output}");
        assert_eq!(fs::read_to_string(target.join("made")).unwrap(), "made\n", "{protection}");
        assert!(!machine.home.path().join("planted").exists(), "{protection}");
        fs::remove_file(target.join("made")).unwrap();
    }
}

#[test]
fn tests_may_talk_to_themselves() {
    let machine = Machine::new();
    let command = "python3 -c \"import socket, threading, os, pty
server = socket.create_server(('127.0.0.1', 0))
threading.Thread(target=lambda: server.accept()[0].sendall(b'hello')).start()
print(socket.create_connection(server.getsockname()).recv(5), os.ttyname(pty.openpty()[1]))
import multiprocessing; multiprocessing.Lock()
\"";
    for protection in moving_protections() {
        let outcome = machine.outcome(protection, command);
        assert!(outcome.contains("b'hello' /dev/pts/"), "{protection}: {outcome}");
        assert!(outcome.ends_with("exit status 0"), "{protection}: {outcome}");
    }
}

#[test]
fn a_fork_bomb_is_stopped_and_leaves_nothing() {
    let machine = Machine::new();
    let marker = "sorft-test-fork-bomb";
    // Two to the power of ten processes at most, should nothing stop it.
    let command = format!(
        "f() {{ [ $1 -gt 0 ] || {{ sleep 10; : {marker}; exit; }}; f $(($1-1)) & f $(($1-1)) & wait; }}; f 10"
    );
    for protection in protections() {
        let execution = machine.run(protection, &command);
        let output = String::from_utf8_lossy(&execution.output);
        // Where the kernel holds the number, starting one more fails.
        let is_stopped = execution.end == End::TooManyProcesses || output.contains("annot fork");
        assert!(is_stopped, "{protection}: {} {output}", execution.end);
        assert_no_process_with(marker);
    }
}

#[test]
fn memory_is_limited_for_one_process_and_for_all() {
    let machine = Machine::new();
    let one = "python3 -c \"bytearray(10 << 30)\"";
    let many = "for i in 1 2 3 4 5 6 7 8 9; do \
                python3 -c \"import time; x = bytearray(b'x') * (100 << 20); time.sleep(15)\" & done; wait";
    for protection in protections() {
        let outcome = machine.outcome(protection, one);
        assert!(outcome.contains("MemoryError"), "{protection}: {outcome}");
        assert_eq!(machine.run(protection, many).end, End::TooMuchMemory, "{protection}");
    }
}

#[test]
fn output_and_files_are_limited() {
    let machine = Machine::new();
    let many_files = "i=0; while [ $i -lt 100 ]; do \
                      dd if=/dev/urandom of=big.$i bs=1M count=8 2>/dev/null; sync big.$i; i=$((i+1)); done";
    for protection in protections() {
        let endless = machine.run(protection, "yes");
        assert_eq!(endless.end, End::TooMuchOutput, "{protection}");
        assert_eq!(endless.output.len() as u64, machine.limits.output_bytes, "{protection}");
        let one_file = machine.outcome(protection, "exec dd if=/dev/zero of=big bs=1M count=10000");
        let is_stopped = one_file.ends_with("killed by signal 25")
            || one_file.ends_with(&End::TooMuchDisk.to_string());
        assert!(is_stopped, "{protection}: {one_file}");
        assert_eq!(machine.run(protection, many_files).end, End::TooMuchDisk, "{protection}");
    }
}

#[test]
fn a_daemon_does_not_outlive_its_run() {
    let machine = Machine::new();
    for protection in protections() {
        let marker = format!("sorft-test-daemon-{protection}");
        let command = format!(
            "setsid sh -c 'setsid sleep 60; : {marker}' </dev/null >/dev/null 2>&1 & echo started"
        );
        let outcome = machine.outcome(protection, &command);
        assert!(outcome.starts_with("started\n"), "{protection}: {outcome}");
        assert_no_process_with(&marker);
    }
}

#[test]
fn a_run_ends_at_its_time_limit_or_when_nobody_waits_for_it() {
    let mut machine = Machine::new();
    machine.limits.seconds = 1;
    for protection in protections() {
        let marker = format!("sorft-test-sleeper-{protection}");
        let command = format!("sh -c 'sleep 60; : {marker}'; true");
        assert_eq!(machine.run(protection, &command).end, End::TimedOut, "{protection}");
        assert_no_process_with(&marker);
        let scratch = machine.scratch(&PathChanges::new());
        block_on(async {
            let mut options = machine.options();
            options.limits.seconds = 60;
            let sandbox = Sandbox::with_protection(options, protection).await.unwrap();
            let begun = tokio::time::timeout(
                std::time::Duration::from_millis(300),
                sandbox.run(&command, &scratch),
            );
            assert!(begun.await.is_err(), "{protection} ended before it was dropped");
        });
        assert_no_process_with(&marker);
    }
}

#[test]
fn a_tool_chain_in_the_home_works_though_the_home_is_hidden() {
    let machine = Machine::new();
    let tools = machine.home.path().join("tools");
    for folder in ["bin", "lib/python3.11", "versions"] {
        fs::create_dir_all(tools.join(folder)).unwrap();
    }
    fs::write(
        tools.join("versions/tool"),
        format!("#!/bin/sh\ncat {}/lib/python3.11/x\n", tools.display()),
    )
    .unwrap();
    fs::write(tools.join("lib/python3.11/x"), "library").unwrap();
    fs::write(tools.join("token"), SECRET).unwrap();
    fs::set_permissions(tools.join("versions/tool"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("../versions/tool", tools.join("bin/tool")).unwrap();
    for protection in protections() {
        let outcome = machine.outcome(protection, &format!("tool; cat {}/token", tools.display()));
        assert!(outcome.starts_with("library"), "{protection}: {outcome}");
        assert!(!outcome.contains(SECRET), "{protection}: {outcome}");
    }
}

#[test]
fn the_report_cannot_be_forged() {
    let machine = Machine::new();
    let command = "python3 -c \"
import os, glob
for fd in glob.glob('/proc/1/fd/*') + glob.glob('/proc/%d/fd/*' % os.getppid()):
    try: open(fd, 'w').write('{\\\"end\\\":{\\\"exited\\\":0}}\\n')
    except OSError: pass
\"; exit 3";
    for protection in protections() {
        assert_eq!(machine.run(protection, command).end, End::Exited(3), "{protection}");
    }
}

#[test]
fn an_interpreter_that_is_ended_from_within_does_not_pass_for_one_that_ended() {
    let machine = Machine::new();
    for (code, ended) in [
        ("print(1)", 1),
        ("import sys; sys.exit(1)", 1),
        ("raise ValueError", 1),
        ("import os; os._exit(0)", 0),
        ("import os; os.execv('/bin/true', ['true'])", 0),
        ("import atexit, os; atexit._run_exitfuncs(); os._exit(0)", 0),
        ("import os; os.fork() or os._exit(0)", 1),
    ] {
        for protection in protections() {
            let run = machine.run(protection, &format!("python3 -c \"{code}\""));
            let Interpreters { started, ended: found } = run.interpreters;
            let output = String::from_utf8_lossy(&run.output);
            assert_eq!((started, found), (1, ended), "{protection}: {code}: {output}");
        }
    }
    for protection in protections() {
        let run = machine.run(protection, "true");
        assert_eq!(run.interpreters, Interpreters::default(), "{protection}");
    }
}

/// Fails where a process of the machine has this text in its command line. What was killed may
/// take a moment to go.
#[track_caller]
fn assert_no_process_with(marker: &str) {
    let is_alive = || {
        fs::read_dir("/proc").unwrap().filter_map(Result::ok).any(|entry| {
            fs::read(entry.path().join("cmdline"))
                .is_ok_and(|line| String::from_utf8_lossy(&line).contains(marker))
        })
    };
    let gone = (0..200).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        !is_alive()
    });
    assert!(gone, "a process with `{marker}` is still alive");
}

#[test]
fn a_copy_is_removed_and_a_path_of_the_machine_is_not_needed() {
    let machine = Machine::new();
    drop(machine.scratch(&PathChanges::new()));
    let left = fs::read_dir(machine.home.path().join("scratch")).unwrap().count();
    assert_eq!(left, 0);
    assert!(Path::new(env!("CARGO_BIN_EXE_sorft")).exists());
}
