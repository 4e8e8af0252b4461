//! What a sandbox shall look like from the inside, decided before anything is entered.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::sandbox::scratch::ScratchCopy;
use crate::sandbox::visible::Visible;
use crate::sandbox::{Access, Limits, Protection, SandboxOptions};

/// All that the helper process needs to know; it travels as JSON through the helper's stdin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Plan {
    /// For `/bin/sh -c`.
    pub(super) command: String,
    /// As the command sees it.
    pub(super) working_folder: PathBuf,
    pub(super) environment: Vec<(String, String)>,
    /// In the order in which they are mounted.
    pub(super) mounts: Vec<Mount>,
    /// Symbolic links of the root folder: where, and what they say.
    pub(super) links: Vec<(PathBuf, PathBuf)>,
    /// An empty folder on which the new root is built.
    pub(super) new_root: PathBuf,
    /// Folders whose growth counts, as the command's supervisor sees them.
    pub(super) measured: Vec<PathBuf>,
    /// Bytes that they hold before the command starts.
    pub(super) initial_bytes: u64,
    pub(super) limits: Limits,
    pub(super) confinement: Confinement,
    /// Whether the command may talk to the internet.
    pub(super) network: bool,
}

/// A file or folder that is visible inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mount {
    pub(super) source: PathBuf,
    pub(super) target: PathBuf,
    pub(super) content: Content,
}

/// What is seen at a mount's target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Content {
    /// The source, for reading.
    ReadOnly,
    /// The source, for writing too.
    Writable,
    /// An empty folder: what a mount before this one showed there is hidden.
    Empty,
}

impl Mount {
    /// Visible at its own path, for reading.
    pub(super) fn read_only(path: impl Into<PathBuf>) -> Self {
        let source = path.into();
        Self { target: source.clone(), source, content: Content::ReadOnly }
    }
}

/// What is taken from a command's process before its program starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Confinement {
    /// Namespaces hide what must be hidden: capabilities and dangerous system calls go.
    SystemCalls,
    /// Files outside the mounts and all sockets go too.
    Files,
    /// Nothing.
    Nothing,
}

/// Parts of `/proc` that speak to the whole machine: a user with root's number may write them
/// without any capability.
pub(super) const MACHINE_SETTINGS: [&str; 7] =
    ["sys", "sysrq-trigger", "irq", "bus", "fs", "acpi", "scsi"];

/// Where temporary files of a command are, under namespaces.
const TEMPORARY: &str = "/tmp";

/// Where the module is that every Python loads, under namespaces.
const PYTHON: &str = "/run/sorft-python";

impl Plan {
    /// The plan for a command, with what it may do, in a scratch copy.
    pub(super) fn of_command(
        options: &SandboxOptions,
        protection: Protection,
        (command, access): (&str, &Access),
        scratch: &ScratchCopy,
    ) -> Self {
        let visible = Visible::find(options, command, scratch.root());
        let moves = matches!(protection, Protection::Bubblewrap | Protection::Namespaces);
        let (working_folder, temporary) = if moves {
            (scratch.root().to_owned(), PathBuf::from(TEMPORARY))
        } else {
            (scratch.tree(), scratch.temporary())
        };
        let python = if moves { PathBuf::from(PYTHON) } else { scratch.python() };
        let mut environment = visible.environment(options, &working_folder, &temporary, moves);
        put_first(&mut environment, "PYTHONPATH", &python);
        if access.network {
            open_network(options, &mut environment);
        }
        // What lies under the temporary folder of the machine must come behind the mount on it.
        let mut mounts = visible.system;
        let writable = |source: PathBuf, target: &Path| Mount {
            source,
            target: target.to_owned(),
            content: Content::Writable,
        };
        mounts.push(writable(scratch.temporary(), &temporary));
        mounts.extend(visible.tools);
        if access.network {
            let names = Path::new(NAME_SERVERS);
            mounts.extend(names.exists().then(|| Mount::read_only(names)));
        }
        mounts.push(writable(scratch.tree(), &working_folder));
        mounts.extend(access.writable.iter().map(|folder| writable(folder.clone(), folder)));
        mounts.push(Mount { source: scratch.python(), target: python, content: Content::ReadOnly });
        if moves {
            mounts.extend(scratch.ignored().iter().cloned());
        }
        let mut measured = if moves {
            vec![working_folder.clone(), temporary]
        } else {
            vec![scratch.tree(), scratch.temporary()]
        };
        measured.extend(access.writable.clone());
        Self {
            command: command.to_owned(),
            environment,
            working_folder,
            mounts,
            links: visible.links,
            new_root: scratch.new_root(),
            measured,
            initial_bytes: scratch.bytes(),
            limits: options.limits,
            confinement: confinement(protection),
            network: access.network,
        }
    }

    /// The plan that shows whether a protection works.
    pub(super) fn of_probe(
        options: &SandboxOptions,
        protection: Protection,
        new_root: &Path,
    ) -> Self {
        let visible = Visible::find(options, "true", Path::new("/"));
        Self {
            command: "exit 0".to_owned(),
            working_folder: PathBuf::from("/"),
            environment: Vec::new(),
            mounts: [visible.system, visible.tools].concat(),
            links: visible.links,
            new_root: new_root.to_owned(),
            measured: Vec::new(),
            initial_bytes: 0,
            limits: Limits { seconds: 10, ..options.limits },
            confinement: confinement(protection),
            network: false,
        }
    }
}

/// How names of hosts are resolved.
const NAME_SERVERS: &str = "/etc/resolv.conf";

/// Variables that tell how to get out and where packages are.
const NETWORK_VARIABLES: &[&str] = &[
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "PIP_CERT",
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_TRUSTED_HOST",
    "PIP_DEFAULT_TIMEOUT",
    "UV_INDEX_URL",
    "UV_DEFAULT_INDEX",
];

/// Lets package managers out. An address with a user's name in it may hold a password, and what
/// is installed could send it elsewhere: the user names its variable or it stays behind.
fn open_network(options: &SandboxOptions, environment: &mut Vec<(String, String)>) {
    const CLOSED: [&str; 3] = ["PIP_NO_INDEX", "GOPROXY", "CARGO_NET_OFFLINE"];
    environment.retain(|(name, _)| !CLOSED.contains(&name.as_str()));
    for name in NETWORK_VARIABLES {
        let is_set = environment.iter().any(|(known, _)| known == name);
        if let Some(value) = options.environment.get(*name).filter(|value| !value.contains('@'))
            && !is_set
        {
            environment.push(((*name).to_owned(), value.clone()));
        }
    }
}

/// Makes a folder the first of those that a variable names.
fn put_first(environment: &mut Vec<(String, String)>, name: &str, folder: &Path) {
    let folder = folder.to_string_lossy().into_owned();
    match environment.iter_mut().find(|(known, _)| known == name) {
        Some((_, value)) if !value.is_empty() => *value = format!("{folder}:{value}"),
        Some((_, value)) => *value = folder,
        None => environment.push((name.to_owned(), folder)),
    }
}

fn confinement(protection: Protection) -> Confinement {
    match protection {
        Protection::Bubblewrap | Protection::Namespaces => Confinement::SystemCalls,
        Protection::Landlock => Confinement::Files,
        Protection::Unprotected => Confinement::Nothing,
    }
}
