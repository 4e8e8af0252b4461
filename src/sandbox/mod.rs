//! Runs commands of a repository where they can do no harm.
//!
//! A command sees a scratch copy of the snapshot at the repository's own path, the programs of
//! the machine, and nothing of the user's: no home, no keys, no network, an environment of a few
//! variables. Time, memory, processes, written bytes and output are limited, and nothing that it
//! started outlives it. One rule decides what enforces this: bubblewrap where it works, else our
//! own namespaces, else Landlock with seccomp, else nothing runs unless the user insists.
//!
//! The protection is set up by a process of its own (`sorft __sandbox`), because namespaces
//! cannot be entered by a program with several threads.

pub mod guard;
pub mod interpreter;
pub mod narrow;
pub mod proposal;
pub mod runner;
pub mod scratch;
pub mod verdict;
pub mod words;

mod execute;
mod ignored;
mod plan;
mod visible;

#[cfg(target_os = "linux")]
mod bubblewrap;
#[cfg(target_os = "linux")]
mod confine;
#[cfg(target_os = "linux")]
mod kernel;
#[cfg(target_os = "linux")]
mod namespace;
#[cfg(target_os = "linux")]
mod process;
#[cfg(target_os = "linux")]
mod supervise;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use crate::sandbox::execute::execute;
use crate::sandbox::interpreter::Interpreters;
use crate::sandbox::plan::Plan;
use crate::sandbox::scratch::ScratchCopy;

/// The hidden subcommand that sets up a protection from the inside.
pub const HELPER_COMMAND: &str = "__sandbox";

/// What a command may use at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    pub seconds: u64,
    /// Resident bytes of all processes together, and writable bytes of each.
    pub memory_bytes: u64,
    pub processes: u64,
    /// Bytes written to disk, in one file or in all.
    pub disk_bytes: u64,
    pub output_bytes: u64,
}

/// What keeps a command from doing harm, strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protection {
    /// The `bwrap` program.
    Bubblewrap,
    /// Namespaces that sorft sets up itself.
    Namespaces,
    /// Access rules of the kernel; the scratch copy is not at the repository's own path.
    Landlock,
    /// Nothing: the user insisted.
    Unprotected,
}

impl std::fmt::Display for Protection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Bubblewrap => "bubblewrap",
            Self::Namespaces => "namespaces",
            Self::Landlock => "landlock",
            Self::Unprotected => "none",
        })
    }
}

/// What a sandbox is made from.
#[derive(Debug, Clone)]
pub struct SandboxOptions {
    /// The sorft program, which sets up the protection in a process of its own.
    pub helper: PathBuf,
    pub limits: Limits,
    /// The user's environment; a command sees a short list of it.
    pub environment: BTreeMap<String, String>,
    /// Variables that a command sees besides that list.
    pub extra_variables: Vec<String>,
    /// Folders outside the repository that a command may read besides programs and libraries.
    pub extra_folders: Vec<PathBuf>,
}

/// What a command may do besides changing its scratch copy.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// Talk to the internet; services of this machine that listen on a port can be reached too.
    pub network: bool,
    /// A folder that it may write, seen at its own path.
    pub writable: Option<PathBuf>,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// With this exit status.
    Exited(i32),
    /// By this signal.
    Signalled(i32),
    TimedOut,
    TooMuchMemory,
    TooManyProcesses,
    TooMuchDisk,
    TooMuchOutput,
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exited(status) => write!(f, "exit status {status}"),
            Self::Signalled(signal) => write!(f, "killed by signal {signal}"),
            Self::TimedOut => f.write_str("stopped at the time limit"),
            Self::TooMuchMemory => f.write_str("stopped at the memory limit"),
            Self::TooManyProcesses => f.write_str("stopped at the limit of processes"),
            Self::TooMuchDisk => f.write_str("stopped at the limit of written bytes"),
            Self::TooMuchOutput => f.write_str("stopped at the limit of output"),
        }
    }
}

/// What one command did.
#[derive(Debug, Clone, PartialEq)]
pub struct Execution {
    pub protection: Protection,
    pub end: End,
    /// stdout and stderr as they came, at most `Limits::output_bytes`.
    pub output: Vec<u8>,
    pub interpreters: Interpreters,
    /// Wall clock.
    pub seconds: f64,
}

/// A protection that works on this machine.
#[derive(Debug, Clone)]
pub struct Sandbox {
    options: SandboxOptions,
    protection: Protection,
}

/// Whether a protection works here, and why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    pub protection: Protection,
    pub outcome: Result<(), String>,
}

impl Sandbox {
    /// The strongest protection that works here; an error where none does.
    pub async fn choose(options: SandboxOptions) -> anyhow::Result<Self> {
        let mut failures = Vec::new();
        for protection in PROTECTIONS {
            match Self::with_protection(options.clone(), protection).await {
                Ok(sandbox) => return Ok(sandbox),
                Err(error) => failures.push(format!("{protection}: {error:#}")),
            }
        }
        bail!(
            "tests cannot run here without putting your files at risk: {}\nhint: install bubblewrap, or run without protection by `--unsafe-no-sandbox`",
            failures.join("; ")
        )
    }

    /// This protection, or the reason why it does not work here.
    pub async fn with_protection(
        options: SandboxOptions,
        protection: Protection,
    ) -> anyhow::Result<Self> {
        let sandbox = Self { options, protection };
        let new_root = tempfile::tempdir().context("creating a folder for a trial")?;
        let plan = Plan::of_probe(&sandbox.options, protection, new_root.path());
        let probe = execute(&sandbox.options, protection, &plan).await?;
        if probe.end != End::Exited(0) {
            bail!("a trial ended with {}: {}", probe.end, String::from_utf8_lossy(&probe.output));
        }
        Ok(sandbox)
    }

    /// Which protections work here.
    pub async fn probe(options: &SandboxOptions) -> Vec<Probe> {
        let mut probes = Vec::new();
        for protection in PROTECTIONS {
            let outcome = Self::with_protection(options.clone(), protection).await;
            let outcome = outcome.map(drop).map_err(|error| format!("{error:#}"));
            probes.push(Probe { protection, outcome });
        }
        probes
    }

    pub fn protection(&self) -> Protection {
        self.protection
    }

    /// The same protection with some options changed.
    #[must_use]
    pub fn with_options(&self, change: impl FnOnce(&mut SandboxOptions)) -> Self {
        let mut changed = self.clone();
        change(&mut changed.options);
        changed
    }

    /// Runs a shell command in a scratch copy, which it may change. Dropping the future ends the
    /// command and all that it started.
    pub async fn run(&self, command: &str, scratch: &ScratchCopy) -> anyhow::Result<Execution> {
        self.run_with(command, scratch, &Access::default()).await
    }

    /// The same for a command that may do more.
    pub async fn run_with(
        &self,
        command: &str,
        scratch: &ScratchCopy,
        access: &Access,
    ) -> anyhow::Result<Execution> {
        let plan = Plan::of_command(&self.options, self.protection, (command, access), scratch);
        execute(&self.options, self.protection, &plan).await
    }
}

const PROTECTIONS: [Protection; 3] =
    [Protection::Bubblewrap, Protection::Namespaces, Protection::Landlock];

/// Does the work of `sorft __sandbox STEP`; `None` where the arguments (behind the program's name)
/// ask for something else.
///
/// Must be called before the program starts a thread.
pub fn enter(mut arguments: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    arguments.next().filter(|command| command == HELPER_COMMAND)?;
    Some(enter_step(&arguments.next()?.into_string().ok()?))
}

#[cfg(target_os = "linux")]
fn enter_step(step: &str) -> ExitCode {
    supervise::enter(step)
}

#[cfg(not(target_os = "linux"))]
fn enter_step(_step: &str) -> ExitCode {
    ExitCode::from(2)
}

/// Whether a path is inside one of these folders, or is one of them.
fn is_inside(path: &Path, folders: &[PathBuf]) -> bool {
    folders.iter().any(|folder| path.starts_with(folder))
}
