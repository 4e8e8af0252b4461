//! What of the machine a command may see: programs and libraries, never keys or settings.
//!
//! Programs that lie under the user's home (pyenv, rustup, a virtual environment elsewhere) are
//! followed from `PATH` and from the words of the command to the folders that they need.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use crate::sandbox::plan::{Content, Mount};
use crate::sandbox::{SandboxOptions, is_inside};

/// The visible part of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Visible {
    /// Folders of the machine itself.
    pub(super) system: Vec<Mount>,
    /// Tool chains elsewhere.
    pub(super) tools: Vec<Mount>,
    pub(super) links: Vec<(PathBuf, PathBuf)>,
    /// The folders of `PATH` that are visible inside.
    path: Vec<String>,
    /// Variables that tell tool chains where they are.
    variables: BTreeMap<String, String>,
}

/// Folders of the machine itself.
const SYSTEM_FOLDERS: &[&str] = &[
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/opt",
    "/nix/store",
    "/gnu/store",
    "/run/current-system",
];

/// What programs need of `/etc`; it also holds keys and passwords.
const SYSTEM_FILES: &[&str] = &[
    "alternatives",
    "ca-certificates",
    "ca-certificates.conf",
    "group",
    "hosts",
    "host.conf",
    "inputrc",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "locale.alias",
    "locale.conf",
    "magic",
    "mime.types",
    "nsswitch.conf",
    "os-release",
    "passwd",
    "pki/tls/certs",
    "protocols",
    "services",
    "shells",
    "ssl/certs",
    "ssl/openssl.cnf",
    "timezone",
    "fonts",
    "python3",
    "java",
    "maven",
    "php",
];

/// Tool chains that live in a home: the folder, the variable that moves it, and the parts of it
/// that hold programs, libraries and sources.
const TOOL_CHAINS: &[(&str, &str, &[&str])] = &[
    (".local", "PYTHONUSERBASE", &["bin", "lib"]),
    (".cargo", "CARGO_HOME", &["bin", "registry", "git"]),
    (".rustup", "RUSTUP_HOME", &["toolchains", "settings.toml"]),
    ("go", "GOPATH", &["bin", "pkg"]),
    (".m2", "", &["repository"]),
    (".gem", "", &["ruby", "specs"]),
];

/// Parts of an installation prefix.
const PREFIX_PARTS: &[&str] = &[
    "bin",
    "sbin",
    "lib",
    "lib64",
    "libexec",
    "include",
    "share",
    "shims",
    "versions",
    "plugins",
    "pyenv.d",
    "rbenv.d",
    "conda-meta",
    "completions",
    "pyvenv.cfg",
    "version",
    "jre",
    "conf",
];

/// What shows that a folder is an installation prefix, and not just a folder with a `bin`.
const PREFIX_MARKS: &[&str] = &[
    "pyvenv.cfg",
    "conda-meta",
    "versions",
    "shims",
    "lib/node_modules",
    "lib/ruby",
    "lib/jvm",
    "lib/modules",
    "pkg/tool",
];

/// Folders that are never shown, whoever names them.
const SECRET_FOLDERS: &[&str] = &[
    ".ssh",
    ".gnupg",
    ".aws",
    ".azure",
    ".config",
    ".docker",
    ".kube",
    ".password-store",
    ".mozilla",
    "keyrings",
];

/// Folders of the machine of which only what is listed above is shown.
const MACHINE_FOLDERS: [&str; 7] = ["/etc", "/var", "/run", "/proc", "/sys", "/dev", "/boot"];

/// Programs that a command may start without naming them.
const COMMON_PROGRAMS: &[&str] =
    &["python3", "python", "pytest", "node", "cargo", "go", "ruby", "java", "php"];

/// Variables of the user's that are harmless and shape how programs behave.
const KEPT_VARIABLES: &[&str] = &["LANG", "LC_ALL", "LC_CTYPE", "TZ", "CI"];

impl Visible {
    /// Follows what a command needs. `root` is the repository, which is shown otherwise.
    pub(super) fn find(options: &SandboxOptions, command: &str, root: &Path) -> Self {
        let mut search = Search::new(options, root);
        search.add_tool_chains();
        search.add_search_path();
        for word in command.split(|c: char| c.is_whitespace() || ";|&()<>='\"`".contains(c)) {
            search.add_program(word, 0);
        }
        for program in COMMON_PROGRAMS {
            search.add_program(program, 0);
        }
        for name in [".venv", "venv", "env"] {
            search.add_virtual_environment(&root.join(name), 0);
        }
        for folder in &options.extra_folders {
            search.add(folder);
        }
        search.finish()
    }

    /// The variables that a command sees.
    pub(super) fn environment(
        &self,
        options: &SandboxOptions,
        working_folder: &Path,
        temporary: &Path,
        moves: bool,
    ) -> Vec<(String, String)> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let mut variables = self.variables.clone();
        let mut set = |name: &str, value: String| variables.insert(name.to_owned(), value);
        set("PATH", self.path.join(":"));
        set("HOME", text(&temporary.join("home")));
        set("TMPDIR", text(temporary));
        set("USER", "sorft".to_owned());
        set("LOGNAME", "sorft".to_owned());
        set("TERM", "dumb".to_owned());
        set("LANG", "C.UTF-8".to_owned());
        set("CARGO_NET_OFFLINE", "true".to_owned());
        set("GOPROXY", "off".to_owned());
        set("GOFLAGS", "-mod=mod".to_owned());
        set("PIP_NO_INDEX", "1".to_owned());
        if !moves {
            // The copy is elsewhere, so an installed package would not be found in it.
            let source = working_folder.join("src");
            set("PYTHONPATH", format!("{}:{}", text(working_folder), text(&source)));
        }
        let kept = KEPT_VARIABLES.iter().copied();
        for name in kept.chain(options.extra_variables.iter().map(String::as_str)) {
            if let Some(value) = options.environment.get(name) {
                variables.insert(name.to_owned(), value.clone());
            }
        }
        variables.into_iter().collect()
    }
}

struct Search<'a> {
    environment: &'a BTreeMap<String, String>,
    home: Option<PathBuf>,
    root: &'a Path,
    system: Vec<PathBuf>,
    links: Vec<(PathBuf, PathBuf)>,
    found: BTreeSet<PathBuf>,
    path: Vec<String>,
    variables: BTreeMap<String, String>,
}

impl<'a> Search<'a> {
    fn new(options: &'a SandboxOptions, root: &'a Path) -> Self {
        let (mut system, mut links) = (Vec::new(), Vec::new());
        for folder in SYSTEM_FOLDERS {
            let folder = PathBuf::from(folder);
            if let Ok(target) = fs::read_link(&folder) {
                links.push((folder, target));
            } else if folder.is_dir() {
                system.push(folder);
            }
        }
        let home = options.environment.get("HOME").map(PathBuf::from);
        Self {
            environment: &options.environment,
            home: home.map(|home| home.canonicalize().unwrap_or(home)),
            root,
            system,
            links,
            found: BTreeSet::new(),
            path: Vec::new(),
            variables: BTreeMap::new(),
        }
    }

    fn add_tool_chains(&mut self) {
        for (folder, variable, parts) in TOOL_CHAINS {
            let named = self.environment.get(*variable).filter(|_| !variable.is_empty());
            let Some(folder) = named
                .map(PathBuf::from)
                .or_else(|| self.home.as_ref().map(|home| home.join(folder)))
                .filter(|folder| folder.is_absolute() && folder.is_dir())
            else {
                continue;
            };
            for part in *parts {
                self.add(&folder.join(part));
            }
            if !variable.is_empty() {
                self.variables
                    .insert((*variable).to_owned(), folder.to_string_lossy().into_owned());
            }
        }
        if let Some(root) = self.environment.get("PYENV_ROOT") {
            self.variables.insert("PYENV_ROOT".to_owned(), root.clone());
        }
        if let Some(version) = self.environment.get("PYENV_VERSION") {
            self.variables.insert("PYENV_VERSION".to_owned(), version.clone());
        }
    }

    fn add_search_path(&mut self) {
        let path = self.environment.get("PATH").cloned().unwrap_or_default();
        for entry in path.split(':').chain(["/usr/local/bin", "/usr/bin", "/bin"]) {
            let folder = Path::new(entry);
            if !folder.is_absolute() || !folder.is_dir() || self.path.iter().any(|p| p == entry) {
                continue;
            }
            if !self.is_shown(folder) {
                self.add_prefix_of(folder);
            }
            if self.is_shown(folder) || is_inside(folder, &self.found_folders()) {
                self.path.push(entry.to_owned());
            }
        }
    }

    /// Follows a program through its links and its interpreter.
    fn add_program(&mut self, word: &str, depth: usize) {
        if word.is_empty() || 4 < depth {
            return;
        }
        let program = if word.contains('/') {
            Some(self.root.join(word))
        } else {
            let folders = self.path.iter().map(|folder| Path::new(folder).join(word));
            folders.into_iter().find(|program| program.is_file())
        };
        let Some(mut program) = program.filter(|program| is_program(program)) else { return };
        for _ in 0..16 {
            if let Some(folder) = program.parent().filter(|folder| !self.is_shown(folder)) {
                self.add_prefix_of(folder);
            }
            if let Some(prefix) = program.parent().and_then(Path::parent) {
                self.add_virtual_environment(prefix, depth);
            }
            let Ok(target) = fs::read_link(&program) else { break };
            program = plain(&program.parent().unwrap_or(Path::new("/")).join(target));
        }
        // A folder on the way may be a link itself.
        if let Ok(full) = program.canonicalize()
            && let Some(folder) = full.parent().filter(|folder| !self.is_shown(folder))
        {
            self.add_prefix_of(folder);
        }
        for word in interpreter(&program) {
            self.add_program(&word, depth + 1);
        }
    }

    /// Shows a virtual environment and the Python that it was made from.
    fn add_virtual_environment(&mut self, prefix: &Path, depth: usize) {
        let Ok(settings) = fs::read_to_string(prefix.join("pyvenv.cfg")) else { return };
        if 4 < depth {
            return;
        }
        if !self.is_shown(prefix) {
            for part in PREFIX_PARTS {
                self.add(&prefix.join(part));
            }
        }
        let home = settings.lines().find_map(|line| {
            let (name, value) = line.split_once('=')?;
            (name.trim() == "home").then(|| value.trim().to_owned())
        });
        if let Some(home) = home {
            for program in ["python3", "python"] {
                self.add_program(&format!("{home}/{program}"), depth + 1);
            }
        }
    }

    /// Shows a folder of programs, and the installation that it belongs to.
    fn add_prefix_of(&mut self, folder: &Path) {
        self.add(folder);
        let Some(prefix) = folder.parent() else { return };
        let is_home = self.home.as_deref().is_some_and(|home| home.starts_with(prefix));
        if is_home || prefix.file_name().is_some_and(|name| name == ".local") || !is_prefix(prefix)
        {
            return;
        }
        for part in PREFIX_PARTS {
            self.add(&prefix.join(part));
        }
    }

    fn add(&mut self, path: &Path) {
        let is_secret = |component: Component<'_>| {
            SECRET_FOLDERS.iter().any(|secret| component.as_os_str() == *secret)
        };
        let is_of_machine = is_inside(path, &MACHINE_FOLDERS.map(PathBuf::from));
        let holds_home = self.home.as_deref().is_some_and(|home| home.starts_with(path));
        let is_above = self.root != Path::new("/") && self.root.starts_with(path);
        if !path.is_absolute()
            || is_of_machine
            || holds_home
            || is_above
            || path.components().any(is_secret)
            || !path.exists()
        {
            return;
        }
        if !self.is_shown(path) {
            self.found.insert(path.to_owned());
        }
    }

    /// Whether a path is visible without being added: of the system, or of the repository.
    fn is_shown(&self, path: &Path) -> bool {
        let in_home = self.home.as_deref().is_some_and(|home| path.starts_with(home));
        let of_repository = self.root != Path::new("/") && path.starts_with(self.root);
        let of_link = self.links.iter().any(|(link, _)| path.starts_with(link));
        of_repository || (!in_home && (is_inside(path, &self.system) || of_link))
    }

    fn found_folders(&self) -> Vec<PathBuf> {
        self.found.iter().cloned().collect()
    }

    fn finish(self) -> Visible {
        let etc = SYSTEM_FILES.iter().map(|name| Path::new("/etc").join(name));
        let mut system: Vec<Mount> = self.system.iter().map(Mount::read_only).collect();
        system.extend(etc.filter(|path| path.exists()).map(Mount::read_only));
        if let Some(home) = self.home.filter(|home| is_inside(home, &self.system)) {
            system.push(Mount { content: Content::Empty, ..Mount::read_only(home) });
        }
        let mut tools: Vec<Mount> = Vec::new();
        for path in self.found {
            if tools.last().is_none_or(|last| !path.starts_with(&last.target)) {
                tools.push(Mount::read_only(path));
            }
        }
        Visible { system, tools, links: self.links, path: self.path, variables: self.variables }
    }
}

/// A file that can be started, and not just one that a command names.
fn is_program(path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        path.metadata()
            .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    }
    #[cfg(not(unix))]
    path.is_file()
}

/// Whether a folder looks like the prefix of an interpreter's installation.
fn is_prefix(folder: &Path) -> bool {
    PREFIX_MARKS.iter().any(|mark| folder.join(mark).exists())
        || fs::read_dir(folder.join("lib")).is_ok_and(|entries| {
            entries
                .filter_map(Result::ok)
                .any(|entry| entry.file_name().to_string_lossy().starts_with("python"))
        })
}

/// The words of a script's first line that may name its interpreter.
fn interpreter(program: &Path) -> Vec<String> {
    let mut start = Vec::new();
    let Ok(file) = fs::File::open(program) else { return Vec::new() };
    if file.take(512).read_to_end(&mut start).is_err() || !start.starts_with(b"#!") {
        return Vec::new();
    }
    let line = start[2..].split(|byte| *byte == b'\n').next().unwrap_or_default();
    let words = String::from_utf8_lossy(line);
    words.split_whitespace().filter(|word| !word.starts_with('-')).map(str::to_owned).collect()
}

/// A path without `.` and `..`, taken by its text.
fn plain(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut plain, component| {
        match component {
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir => {}
            other => plain.push(other),
        }
        plain
    })
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::sandbox::Limits;

    /// A home with a version manager, a virtual environment elsewhere, keys and settings.
    fn home() -> tempfile::TempDir {
        let home = tempfile::tempdir().unwrap();
        let at = |path: &str| home.path().join(path);
        for folder in [
            ".ssh",
            ".aws",
            ".config/x",
            ".pyenv/shims",
            ".pyenv/libexec",
            ".pyenv/versions/3.11/bin",
            ".pyenv/versions/3.11/lib/python3.11",
            "venvs/a/bin",
            ".cargo/bin",
            ".cargo/registry",
            "bin",
            "work/repo",
            ".local/bin",
            ".local/share/keyrings",
        ] {
            fs::create_dir_all(at(folder)).unwrap();
        }
        fs::write(at(".ssh/id_rsa"), "key").unwrap();
        fs::write(at(".cargo/credentials.toml"), "key").unwrap();
        fs::write(at(".pyenv/versions/3.11/bin/python3.11"), "").unwrap();
        fs::write(at(".pyenv/shims/python3"), "#!/usr/bin/env bash\n").unwrap();
        symlink(at(".pyenv/versions/3.11/bin/python3.11"), at("venvs/a/bin/python3")).unwrap();
        fs::write(at("venvs/a/bin/pytest"), format!("#!{}\n", at("venvs/a/bin/python3").display()))
            .unwrap();
        fs::write(
            at("venvs/a/pyvenv.cfg"),
            format!("home = {}\n", at(".pyenv/versions/3.11/bin").display()),
        )
        .unwrap();
        for program in
            [".pyenv/versions/3.11/bin/python3.11", ".pyenv/shims/python3", "venvs/a/bin/pytest"]
        {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(at(program), fs::Permissions::from_mode(0o755)).unwrap();
        }
        home
    }

    fn shown(path: &str, command: &str) -> Vec<String> {
        let home = home();
        let text = home.path().canonicalize().unwrap().to_str().unwrap().to_owned();
        let options = SandboxOptions {
            helper: PathBuf::new(),
            limits: Limits {
                seconds: 1,
                memory_bytes: 1,
                processes: 1,
                disk_bytes: 1,
                output_bytes: 1,
            },
            environment: BTreeMap::from([
                ("HOME".to_owned(), text.clone()),
                ("PATH".to_owned(), path.replace('~', &text)),
            ]),
            extra_variables: Vec::new(),
            extra_folders: vec![Path::new(&text).join(".ssh"), PathBuf::from(&text)],
        };
        let root = Path::new(&text).join("work/repo");
        let visible = Visible::find(&options, &command.replace('~', &text), &root);
        let of_home =
            |mount: &Mount| Some(format!("~{}", mount.target.to_str()?.strip_prefix(&text)?));
        visible.tools.iter().filter_map(of_home).collect()
    }

    #[test]
    fn a_version_manager_is_shown_without_the_rest_of_the_home() {
        assert_eq!(
            shown("~/.pyenv/shims:/usr/bin", "true"),
            [
                "~/.cargo/bin",
                "~/.cargo/registry",
                "~/.local/bin",
                "~/.pyenv/libexec",
                "~/.pyenv/shims",
                "~/.pyenv/versions"
            ]
        );
    }

    #[test]
    fn a_virtual_environment_elsewhere_brings_the_python_it_was_made_from() {
        let found = shown("/usr/bin", "~/venvs/a/bin/pytest -q");
        for wanted in [
            "~/venvs/a/bin",
            "~/venvs/a/pyvenv.cfg",
            "~/.pyenv/versions/3.11/lib",
            "~/.pyenv/versions/3.11/bin",
        ] {
            assert!(found.iter().any(|path| path == wanted), "{wanted} in {found:?}");
        }
    }

    #[test]
    fn keys_settings_and_the_home_itself_are_never_shown() {
        for command in ["~/.ssh/id_rsa", "~/.aws/x", "cat ~/.cargo/credentials.toml"] {
            let found = shown("~:~/bin:~/.ssh:~/.config/x:~/.pyenv/shims:~/.local/bin", command);
            assert!(found.iter().any(|path| path == "~/bin"), "{found:?}");
            let bad = |path: &String| {
                *path == "~"
                    || ["ssh", "aws", "config", "credentials", "share"]
                        .iter()
                        .any(|secret| path.contains(secret))
            };
            assert!(!found.iter().any(bad), "{found:?}");
        }
    }
}
