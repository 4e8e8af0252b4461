//! The arguments that make the `bwrap` program build what a plan says.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::sandbox::HELPER_COMMAND;
use crate::sandbox::plan::{Content, MACHINE_SETTINGS, Plan};
use crate::sandbox::supervise::SUPERVISE_STEP;

/// Where the supervisor's program is inside.
const HELPER_INSIDE: &str = "/run/sorft";

/// The `bwrap` program of this machine.
pub(super) fn find_program(environment: &BTreeMap<String, String>) -> anyhow::Result<PathBuf> {
    let path = environment.get("PATH").map_or("/usr/bin:/bin", String::as_str);
    path.split(':')
        .filter(|folder| folder.starts_with('/'))
        .map(|folder| Path::new(folder).join("bwrap"))
        .find(|program| program.is_file())
        .context("there is no `bwrap` program on `PATH`: install the package `bubblewrap`")
}

/// Everything behind `bwrap`.
pub(super) fn render_arguments(plan: &Plan, helper: &Path) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = [
        "--unshare-user",
        "--unshare-pid",
        "--unshare-ipc",
        "--unshare-uts",
        "--unshare-cgroup-try",
        "--hostname",
        "sandbox",
        "--die-with-parent",
        "--new-session",
        "--as-pid-1",
        "--cap-drop",
        "ALL",
        "--dev",
        "/dev",
        "--proc",
        "/proc",
        "--tmpfs",
        "/run",
        "--dir",
        "/var",
    ]
    .map(OsString::from)
    .into();
    let mut add = |words: &[&dyn AsRef<std::ffi::OsStr>]| {
        arguments.extend(words.iter().map(|word| word.as_ref().to_owned()));
    };
    if !plan.network {
        add(&[&"--unshare-net"]);
    }
    for name in MACHINE_SETTINGS {
        let path = Path::new("/proc").join(name);
        if path.exists() {
            add(&[&"--ro-bind", &path, &path]);
        }
    }
    for (link, target) in &plan.links {
        add(&[&"--symlink", target, link]);
    }
    for mount in &plan.mounts {
        match mount.content {
            Content::ReadOnly => add(&[&"--ro-bind", &mount.source, &mount.target]),
            Content::Writable => add(&[&"--bind", &mount.source, &mount.target]),
            Content::Empty => add(&[&"--tmpfs", &mount.target]),
        }
    }
    add(&[&"--ro-bind", &helper, &HELPER_INSIDE, &"--remount-ro", &"/", &"--chdir", &"/"]);
    add(&[&"--", &HELPER_INSIDE, &HELPER_COMMAND, &SUPERVISE_STEP]);
    arguments
}
