//! What of the machine a command may see: programs and libraries, never keys or settings.
//!
//! Programs that lie under the user's home (pyenv, rustup, a virtual environment elsewhere) are
//! followed from `PATH` and from the words of the command to the folders that they need.

mod folders;
mod search;
#[cfg(test)]
#[cfg(unix)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::sandbox::SandboxOptions;
use crate::sandbox::plan::Mount;
use crate::sandbox::visible::search::Search;

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
