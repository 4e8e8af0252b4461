//! Our own namespaces: user, mount, process, network, IPC and host name.
//!
//! The user keeps the same number inside and has no capability once the view is built. What the
//! plan does not name does not exist inside; what it names for reading cannot be remounted.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::Context;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{chdir, getgid, getuid, pivot_root, sethostname};

use crate::sandbox::kernel::{restrict_mounts, start_loopback};
use crate::sandbox::plan::{Content, MACHINE_SETTINGS, Mount, Plan};

/// Leaves the user's namespaces. The process namespace holds for children only.
pub(super) fn leave_namespaces(plan: &Plan) -> anyhow::Result<()> {
    let (user, group) = (getuid(), getgid());
    let network = if plan.network { CloneFlags::empty() } else { CloneFlags::CLONE_NEWNET };
    unshare(
        CloneFlags::CLONE_NEWUSER
            | CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWPID
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWUTS
            | network,
    )
    .context("this kernel or container lets no user make namespaces (`user.max_user_namespaces`, `kernel.unprivileged_userns_clone` and `kernel.apparmor_restrict_unprivileged_userns` of `sysctl` decide)")?;
    write_kernel_file("/proc/self/setgroups", "deny")?;
    write_kernel_file("/proc/self/uid_map", &format!("{user} {user} 1"))?;
    write_kernel_file("/proc/self/gid_map", &format!("{group} {group} 1"))
}

/// Builds the view of a plan and moves into it. Runs as the first process of its namespace.
pub(super) fn enter_view(plan: &Plan) -> anyhow::Result<()> {
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .context("detaching from the machine's mounts")?;
    let root = &plan.new_root;
    mount_memory(root, "size=16m,mode=755").context("mounting the new root")?;
    for (link, target) in &plan.links {
        let link = inside(root, link);
        make_folder(link.parent().unwrap_or(root))?;
        symlink(target, &link).with_context(|| format!("linking `{}`", link.display()))?;
    }
    for folder in ["run", "var", "tmp", "proc", "dev"] {
        make_folder(&root.join(folder))?;
    }
    mount_processes(&root.join("proc"))?;
    mount_devices(&root.join("dev"), plan.limits.memory_bytes / 4)?;
    for mount in &plan.mounts {
        show(mount, root)?;
    }
    // Children without a namespace of users cannot become root in one of their own.
    drop(write_kernel_file(root.join("proc/sys/user/max_user_namespaces"), "0"));
    cover_kernel_files(&root.join("proc"))?;
    chdir(root).context("entering the new root")?;
    pivot_root(".", ".").context("changing the root")?;
    umount2(".", MntFlags::MNT_DETACH).context("leaving the old root")?;
    chdir("/").context("entering the new root")?;
    let read_only = MsFlags::MS_REMOUNT
        | MsFlags::MS_BIND
        | MsFlags::MS_RDONLY
        | MsFlags::MS_NOSUID
        | MsFlags::MS_NODEV;
    mount(none, "/", none, read_only, none).context("closing the new root")?;
    sethostname("sandbox").context("naming the host")?;
    if plan.network { Ok(()) } else { start_loopback().context("starting the loopback device") }
}

fn mount_memory(target: &Path, options: &str) -> anyhow::Result<()> {
    make_folder(target)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), target, Some("tmpfs"), flags, Some(options))
        .with_context(|| format!("mounting memory on `{}`", target.display()))
}

fn mount_processes(target: &Path) -> anyhow::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let none: Option<&str> = None;
    mount(Some("proc"), target, Some("proc"), flags, none).context("mounting `/proc`")
}

/// Makes the machine's own settings read-only.
fn cover_kernel_files(processes: &Path) -> anyhow::Result<()> {
    for name in MACHINE_SETTINGS {
        let path = processes.join(name);
        if path.exists() {
            bind_path(&path, &path)?;
            restrict_mounts(&path, true)
                .with_context(|| format!("closing `{}`", path.display()))?;
        }
    }
    Ok(())
}

fn mount_devices(target: &Path, shared_memory_bytes: u64) -> anyhow::Result<()> {
    mount_memory(target, "size=1m,mode=755")?;
    for name in ["null", "zero", "full", "random", "urandom", "tty"] {
        let device = Path::new("/dev").join(name);
        if device.exists() {
            let target = target.join(name);
            File::create(&target).with_context(|| format!("creating `{}`", target.display()))?;
            bind_path(&device, &target)?;
        }
    }
    for (name, to) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ] {
        symlink(to, target.join(name)).with_context(|| format!("linking `/dev/{name}`"))?;
    }
    mount_memory(&target.join("shm"), &format!("size={shared_memory_bytes},mode=1777"))?;
    let terminals = target.join("pts");
    make_folder(&terminals)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    let options = Some("newinstance,ptmxmode=0666,mode=620");
    mount(Some("devpts"), &terminals, Some("devpts"), flags, options).context("mounting terminals")
}

fn show(mount: &Mount, root: &Path) -> anyhow::Result<()> {
    let target = inside(root, &mount.target);
    if mount.content == Content::Empty {
        return mount_memory(&target, "size=1m,mode=755");
    }
    if mount.source.is_dir() {
        make_folder(&target)?;
    } else {
        make_folder(target.parent().unwrap_or(root))?;
        if !target.exists() {
            File::create(&target).with_context(|| format!("creating `{}`", target.display()))?;
        }
    }
    // A link on the way would lead the mount elsewhere.
    let full = target.canonicalize().with_context(|| format!("finding `{}`", target.display()))?;
    anyhow::ensure!(full == target, "`{}` leads to `{}`", target.display(), full.display());
    bind_path(&mount.source, &target)?;
    restrict_mounts(&target, mount.content == Content::ReadOnly)
        .with_context(|| format!("closing `{}`", target.display()))
}

fn bind_path(source: &Path, target: &Path) -> anyhow::Result<()> {
    let none: Option<&str> = None;
    mount(Some(source), target, none, MsFlags::MS_BIND | MsFlags::MS_REC, none)
        .with_context(|| format!("mounting `{}` on `{}`", source.display(), target.display()))
}

fn make_folder(path: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(path).with_context(|| format!("creating `{}`", path.display()))
}

fn inside(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

fn write_kernel_file(path: impl AsRef<Path>, text: &str) -> anyhow::Result<()> {
    let path = path.as_ref();
    let mut file = OpenOptions::new().write(true).open(path);
    file.as_mut()
        .map_err(|error| std::io::Error::new(error.kind(), error.to_string()))
        .and_then(|file| file.write_all(text.as_bytes()))
        .with_context(|| format!("writing `{text}` to `{}`", path.display()))
}
