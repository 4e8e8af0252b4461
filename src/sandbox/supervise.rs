//! The process that stands above a command: starts it, watches its limits, ends what it leaves.
//!
//! In a process namespace it is the first process, so that its end is the end of all others.

use std::fs;
use std::io::{self, BufRead, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::sys::statvfs::statvfs;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, SysconfVar, getuid, sysconf};

use crate::sandbox::confine;
use crate::sandbox::execute::Report;
use crate::sandbox::interpreter::{Interpreters, PIPE_VARIABLE};
use crate::sandbox::kernel::{before_program, drop_capabilities, fork_process};
use crate::sandbox::namespace::{enter_view, leave_namespaces};
use crate::sandbox::plan::{Confinement, Plan};
use crate::sandbox::process::{count_own_processes, end_descendants, read_usage};
use crate::sandbox::{End, Limits};

/// Sets up namespaces, then supervises.
pub(super) const NAMESPACE_STEP: &str = "namespaces";
/// Supervises, in namespaces that are set up already or in none.
pub(super) const SUPERVISE_STEP: &str = "supervise";

/// How often limits are checked. A fork bomb doubles in less; what it starts meanwhile dies with it.
const TICK: Duration = Duration::from_millis(20);

/// Does one step of the helper; its stderr carries a report or the reason for there being none.
pub(super) fn enter(step: &str) -> ExitCode {
    let outcome = read_plan().and_then(|plan| match step {
        NAMESPACE_STEP => run_in_namespaces(&plan),
        SUPERVISE_STEP => supervise(&plan),
        _ => anyhow::bail!("no step `{step}`"),
    });
    let message = match outcome {
        Ok(None) => return ExitCode::SUCCESS,
        Ok(Some(report)) => serde_json::to_string(&report).unwrap_or_default(),
        Err(error) => format!("{error:#}"),
    };
    // The reader may be gone; there is nobody else to tell.
    drop(writeln!(io::stderr(), "{message}"));
    ExitCode::SUCCESS
}

fn read_plan() -> anyhow::Result<Plan> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).context("reading the plan")?;
    serde_json::from_str(&line).context("reading the plan")
}

/// `None` in the process that stays outside; its child reports.
fn run_in_namespaces(plan: &Plan) -> anyhow::Result<Option<Report>> {
    leave_namespaces(plan)?;
    if let Some(child) = fork_process().context("starting the namespace's first process")? {
        // Whatever becomes of it, the report is its own.
        while waitpid(child, None) == Err(nix::errno::Errno::EINTR) {}
        return Ok(None);
    }
    prctl::set_pdeathsig(Signal::SIGKILL).context("binding to the parent's life")?;
    enter_view(plan)?;
    supervise(plan)
}

fn supervise(plan: &Plan) -> anyhow::Result<Option<Report>> {
    // The command goes before its supervisor when the machine runs out of memory.
    drop(fs::write("/proc/self/oom_score_adj", "900"));
    let is_first = Pid::this().as_raw() == 1;
    if is_first && plan.confinement != Confinement::Nothing {
        drop_capabilities().context("giving up capabilities")?;
    }
    if !is_first {
        prctl::set_child_subreaper(true).context("adopting orphans")?;
    }
    prctl::set_dumpable(false).context("closing this process to others")?;
    limit_resources(&plan.limits).context("limiting resources")?;
    if plan.confinement == Confinement::Files {
        // Without a process namespace, whoever starts processes faster than they can be ended
        // gets away: the kernel itself must hold their number, which it does not for root.
        anyhow::ensure!(
            !getuid().is_root(),
            "it cannot hold the number of processes of the user root: run sorft as another user"
        );
        let limit = count_own_processes() + plan.limits.processes + 1;
        setrlimit(Resource::RLIMIT_NPROC, limit, limit).context("limiting processes")?;
    }
    let (mut output, writer) = io::pipe().context("creating a pipe")?;
    let (mut told, teller) = io::pipe().context("creating a pipe")?;
    let mut child = start(plan, writer, teller)?;
    let end = watch(plan, &mut child, &mut output);
    let interpreters = read_told(&mut told);
    if !is_first {
        end_descendants(Pid::from_raw(child.id().cast_signed()));
    }
    Ok(Some(Report { end: end?, interpreters: interpreters? }))
}

/// `teller` is for interpreters to tell of themselves.
fn start(plan: &Plan, writer: io::PipeWriter, teller: io::PipeWriter) -> anyhow::Result<Child> {
    let mut restrictions = confine::prepare(plan)?;
    // An interpreter that finds the pipe full goes on.
    stop_blocking(&teller)?;
    let teller = fs::File::from(OwnedFd::from(teller));
    let inode = teller.metadata().context("reading a pipe's state")?.ino();
    let descriptor = format!("{}:{inode}", teller.as_raw_fd());
    let mut command = Command::new("/bin/sh");
    command
        .arg("-c")
        .arg(&plan.command)
        .current_dir(&plan.working_folder)
        .env_clear()
        .envs(plan.environment.iter().map(|(name, value)| (name, value)))
        .env(PIPE_VARIABLE, descriptor)
        .stdin(Stdio::null())
        .stdout(writer.try_clone().context("copying a pipe")?)
        .stderr(writer);
    before_program(&mut command, move || {
        fcntl(&teller, FcntlArg::F_SETFD(FdFlag::empty()))?;
        restrictions.apply()
    });
    command.spawn().context("starting `/bin/sh`")
}

fn limit_resources(limits: &Limits) -> nix::Result<()> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    setrlimit(Resource::RLIMIT_FSIZE, limits.disk_bytes, limits.disk_bytes)?;
    // Address space would also count what runtimes reserve and never use.
    setrlimit(Resource::RLIMIT_DATA, limits.memory_bytes, limits.memory_bytes)
}

/// What interpreters told so far; those that are still running have no more to say.
fn read_told(told: &mut io::PipeReader) -> anyhow::Result<Interpreters> {
    stop_blocking(&*told)?;
    let mut bytes = Vec::new();
    match told.read_to_end(&mut bytes) {
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
            Err(error).context("reading what interpreters told")
        }
        _ => Ok(Interpreters::of(&bytes)),
    }
}

fn stop_blocking(pipe: impl AsFd) -> anyhow::Result<()> {
    let flags = fcntl(&pipe, FcntlArg::F_GETFL).context("reading a pipe's state")?;
    let flags = OFlag::from_bits_retain(flags) | OFlag::O_NONBLOCK;
    fcntl(&pipe, FcntlArg::F_SETFL(flags)).context("setting a pipe's state")?;
    Ok(())
}

/// Copies output and checks limits until the command ends or goes too far.
fn watch(plan: &Plan, child: &mut Child, output: &mut io::PipeReader) -> anyhow::Result<End> {
    stop_blocking(&*output)?;
    let started = Instant::now();
    let mut meter = Meter::new(plan)?;
    let mut copied = 0;
    loop {
        wait_for_events(output)?;
        if let Some(end) = copy_output(output, &mut copied, plan.limits.output_bytes)? {
            return Ok(end);
        }
        if let Some(end) = reap(child)? {
            // What the command wrote last is in the pipe; what it left running is not waited for.
            return Ok(copy_output(output, &mut copied, plan.limits.output_bytes)?.unwrap_or(end));
        }
        if Duration::from_secs(plan.limits.seconds) <= started.elapsed() {
            return Ok(End::TimedOut);
        }
        if let Some(end) = meter.check(plan) {
            return Ok(end);
        }
    }
}

/// Sleeps until there is output or a tick has passed; fails when sorft is gone.
fn wait_for_events(output: &io::PipeReader) -> anyhow::Result<()> {
    let stdin = io::stdin();
    let mut events = [
        PollFd::new(output.as_fd(), PollFlags::POLLIN),
        PollFd::new(stdin.as_fd(), PollFlags::POLLIN),
    ];
    let timeout = PollTimeout::try_from(TICK).unwrap_or(PollTimeout::ZERO);
    match poll(&mut events, timeout) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => {}
        Err(error) => return Err(error).context("waiting for output"),
    }
    let gone = |event: &PollFd| event.revents().is_some_and(|found| !found.is_empty());
    anyhow::ensure!(!gone(&events[1]), "the process that asked for this run is gone");
    if gone(&events[0])
        && !events[0].revents().unwrap_or(PollFlags::empty()).contains(PollFlags::POLLIN)
    {
        // All writers closed it, but the command may go on.
        std::thread::sleep(TICK);
    }
    Ok(())
}

fn copy_output(
    output: &mut io::PipeReader,
    copied: &mut u64,
    limit: u64,
) -> anyhow::Result<Option<End>> {
    let mut buffer = vec![0; 64 * 1024];
    // Bounded, so that a command that writes without pause is checked for its other limits.
    for _ in 0..64 {
        let n_bytes = match output.read(&mut buffer) {
            Ok(0) => return Ok(None),
            Ok(n_bytes) => n_bytes,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error).context("reading output"),
        };
        let room = usize::try_from(limit - *copied).unwrap_or(usize::MAX).min(n_bytes);
        let mut stdout = io::stdout().lock();
        stdout
            .write_all(&buffer[..room])
            .and_then(|()| stdout.flush())
            .context("passing output on")?;
        *copied += room as u64;
        if room < n_bytes {
            return Ok(Some(End::TooMuchOutput));
        }
    }
    Ok(None)
}

/// Collects ended processes, also orphans; tells how the command itself ended.
fn reap(child: &Child) -> anyhow::Result<Option<End>> {
    loop {
        match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, status)) if pid.as_raw() == child.id().cast_signed() => {
                return Ok(Some(End::Exited(status)));
            }
            Ok(WaitStatus::Signaled(pid, signal, _))
                if pid.as_raw() == child.id().cast_signed() =>
            {
                return Ok(Some(End::Signalled(signal as i32)));
            }
            Ok(WaitStatus::StillAlive) | Err(nix::errno::Errno::ECHILD) => return Ok(None),
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error).context("waiting for the command"),
        }
    }
}

/// Measures what a command uses.
struct Meter {
    page_bytes: u64,
    /// Free bytes of each measured folder's file system when the command started.
    free_at_start: Vec<u64>,
    last: Instant,
}

impl Meter {
    fn new(plan: &Plan) -> anyhow::Result<Self> {
        let page_bytes = sysconf(SysconfVar::PAGE_SIZE).context("asking for the page size")?;
        let free = plan.measured.iter().map(|folder| free_bytes(folder));
        Ok(Self {
            page_bytes: page_bytes.and_then(|bytes| bytes.try_into().ok()).unwrap_or(4096),
            free_at_start: free.collect::<anyhow::Result<_>>()?,
            last: Instant::now(),
        })
    }

    fn check(&mut self, plan: &Plan) -> Option<End> {
        if self.last.elapsed() < TICK {
            return None;
        }
        let usage = read_usage(Pid::this(), self.page_bytes);
        if plan.limits.processes < usage.tasks {
            return Some(End::TooManyProcesses);
        }
        if plan.limits.memory_bytes < usage.resident_bytes {
            return Some(End::TooMuchMemory);
        }
        // Free space is quick to read, but others use it too: only where it shrank are the
        // folders themselves measured.
        let shrank = plan.measured.iter().zip(&self.free_at_start).any(|(folder, free)| {
            free_bytes(folder).is_ok_and(|now| plan.limits.disk_bytes < free.saturating_sub(now))
        });
        let allowed = plan.initial_bytes.saturating_mul(2) + plan.limits.disk_bytes;
        if shrank && allowed < plan.measured.iter().map(|folder| used_bytes(folder)).sum() {
            return Some(End::TooMuchDisk);
        }
        self.last = Instant::now();
        None
    }
}

fn free_bytes(folder: &Path) -> anyhow::Result<u64> {
    let stat = statvfs(folder)
        .with_context(|| format!("asking for the room of `{}`", folder.display()))?;
    Ok(stat.blocks_free() * stat.fragment_size())
}

/// Bytes on disk below a folder, links not followed.
fn used_bytes(folder: &Path) -> u64 {
    let (mut sum, mut next) = (0, vec![folder.to_owned()]);
    while let Some(folder) = next.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.filter_map(Result::ok) {
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                next.push(entry.path());
            }
            sum += metadata.blocks() * 512;
        }
    }
    sum
}
