//! The way from `PATH` and from a command's words to the folders that they need.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use crate::sandbox::plan::{Content, Mount};
use crate::sandbox::visible::Visible;
use crate::sandbox::visible::folders::{
    MACHINE_FOLDERS, PREFIX_MARKS, PREFIX_PARTS, PROGRAM_FOLDERS, SECRET_FOLDERS, SYSTEM_FILES,
    SYSTEM_FOLDERS, TOOL_CHAINS,
};
use crate::sandbox::{SandboxOptions, is_inside};

pub(super) struct Search<'a> {
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
    pub(super) fn new(options: &'a SandboxOptions, root: &'a Path) -> Self {
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
        let home = home.filter(|home| home.is_absolute());
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

    pub(super) fn add_tool_chains(&mut self) {
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

    pub(super) fn add_search_path(&mut self) {
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
    pub(super) fn add_program(&mut self, word: &str, depth: usize) {
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
    pub(super) fn add_virtual_environment(&mut self, prefix: &Path, depth: usize) {
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

    pub(super) fn add(&mut self, path: &Path) {
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
        let in_home = self.private_home().is_some_and(|home| path.starts_with(home));
        let of_repository = self.root != Path::new("/") && path.starts_with(self.root);
        let of_link = self.links.iter().any(|(link, _)| path.starts_with(link));
        of_repository || (!in_home && (is_inside(path, &self.system) || of_link))
    }

    /// The home, where it is the user's own and not a folder of the machine.
    fn private_home(&self) -> Option<&Path> {
        let home = self.home.as_deref()?;
        let is_of_machine =
            PROGRAM_FOLDERS.iter().any(|folder| Path::new(folder).starts_with(home));
        (!is_of_machine).then_some(home)
    }

    fn found_folders(&self) -> Vec<PathBuf> {
        self.found.iter().cloned().collect()
    }

    pub(super) fn finish(self) -> Visible {
        let etc = SYSTEM_FILES.iter().map(|name| Path::new("/etc").join(name));
        let mut system: Vec<Mount> = self.system.iter().map(Mount::read_only).collect();
        system.extend(etc.filter(|path| path.exists()).map(Mount::read_only));
        if let Some(home) = self.private_home().filter(|home| is_inside(home, &self.system)) {
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
