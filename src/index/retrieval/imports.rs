//! What a file imports, as written, and which file that is.
//!
//! Python's modules, and quoted relative paths of the languages that import files.

use std::collections::BTreeMap;

use crate::repo::path::RepoPath;

/// More imports than this are read from no file.
const MAX_IMPORTS: usize = 500;

/// The imported modules and files of a text, as written; for `from a import b` both `a` and `a.b`.
/// Each once, in order of the text.
pub(in crate::index) fn read_imports(text: &str, extension: &str) -> Vec<String> {
    let mut found = Vec::new();
    match extension {
        "py" | "pyi" => read_python(text, &mut found),
        "js" | "jsx" | "mjs" | "cjs" | "ts" | "tsx" | "vue" | "c" | "h" | "cc" | "cpp" | "hpp"
        | "php" | "rb" => read_quoted(text, &mut found),
        _ => {}
    }
    let mut seen = std::collections::BTreeSet::new();
    found.retain(|module| seen.insert(module.clone()));
    found.truncate(MAX_IMPORTS);
    found
}

fn read_python(text: &str, found: &mut Vec<String>) {
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let line = line.trim_start();
        if let Some(modules) = line.strip_prefix("import ") {
            for module in modules.split(',') {
                let module = module.split_whitespace().next().unwrap_or_default();
                if is_module(module) {
                    found.push(module.to_owned());
                }
            }
        } else if let Some((module, names)) =
            line.strip_prefix("from ").and_then(|rest| rest.split_once(" import "))
        {
            let module = module.trim();
            if !is_module(module) {
                continue;
            }
            found.push(module.to_owned());
            let mut names = names.split('#').next().unwrap_or_default().to_owned();
            if names.trim_start().starts_with('(') {
                while !names.contains(')') && names.len() < 4096 {
                    let Some(next) = lines.next() else { break };
                    names.push_str(next.split('#').next().unwrap_or_default());
                }
            }
            for name in names.split([',', '(', ')']) {
                let name = name.split_whitespace().next().unwrap_or_default();
                if name.chars().all(|c| c == '_' || c.is_alphanumeric()) && !name.is_empty() {
                    let dot = if module.ends_with('.') { "" } else { "." };
                    found.push(format!("{module}{dot}{name}"));
                }
            }
        }
    }
}

fn is_module(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c == '.' || c == '_' || c.is_alphanumeric())
}

/// Relative paths in quotes on lines that import.
fn read_quoted(text: &str, found: &mut Vec<String>) {
    for line in text.lines() {
        let imports = ["import", "require", "export", "#include", "include", "} from"]
            .iter()
            .any(|word| line.contains(word));
        if !imports {
            continue;
        }
        for quote in ['"', '\''] {
            if let Some(path) = line.split(quote).nth(1)
                && (path.starts_with("./")
                    || path.starts_with("../")
                    || line.starts_with("#include"))
            {
                found.push(path.to_owned());
            }
        }
    }
}

/// Finds the file behind a dotted or relative name.
#[derive(Debug)]
pub(in crate::index) struct Modules {
    /// Dotted names of Python files, with and without their leading folders: `src.pkg.mod` is also
    /// `pkg.mod`. A name that means several files means none of them.
    files: BTreeMap<String, Option<u32>>,
    paths: BTreeMap<String, u32>,
}

/// Folders that hold packages and are no part of a module's name.
const SOURCE_FOLDERS: &[&str] = &["src", "lib", "python"];

impl Modules {
    pub(in crate::index) fn new<'a>(paths: impl Iterator<Item = &'a RepoPath>) -> Self {
        let mut files = BTreeMap::new();
        let mut by_path = BTreeMap::new();
        for (number, path) in paths.enumerate() {
            let number = number as u32;
            by_path.insert(path.as_str().to_owned(), number);
            let Some(stem) = path.as_str().strip_suffix(".py") else { continue };
            let mut module = stem.strip_suffix("/__init__").unwrap_or(stem).replace('/', ".");
            loop {
                files.entry(module.clone()).and_modify(|file| *file = None).or_insert(Some(number));
                let Some((folder, rest)) = module.split_once('.') else { break };
                // Anything under a folder that is no package can be imported from there.
                if !SOURCE_FOLDERS.contains(&folder) && !module.contains("src.") {
                    break;
                }
                module = rest.to_owned();
            }
        }
        Self { files, paths: by_path }
    }

    /// The file of the longest leading part of a dotted name, and the rest of the name.
    pub(in crate::index) fn resolve<'a>(&self, dotted: &'a str) -> Option<(u32, &'a str)> {
        let mut module = dotted;
        loop {
            if let Some(Some(file)) = self.files.get(module) {
                return Some((*file, dotted[module.len()..].trim_start_matches('.')));
            }
            module = module.rsplit_once('.')?.0;
        }
    }

    /// The file that an import, as written in a file, means; the longest leading part that exists.
    pub(in crate::index) fn resolve_import(
        &self,
        importer: &RepoPath,
        import: &str,
    ) -> Option<u32> {
        if import.contains('/') || (import.contains('.') && importer.extension() != Some("py")) {
            return self.resolve_relative_path(importer, import);
        }
        let dots = import.bytes().take_while(|byte| *byte == b'.').count();
        if dots == 0 {
            return self.resolve(import).map(|(file, _)| file);
        }
        let mut folder = importer.parent().unwrap_or_default();
        for _ in 1..dots {
            folder = folder.rsplit_once('/').map_or("", |(parent, _)| parent);
        }
        let mut path = join(folder, &import[dots..].replace('.', "/"));
        loop {
            for candidate in [format!("{path}.py"), join(&path, "__init__.py")] {
                if let Some(file) = self.paths.get(&candidate) {
                    return Some(*file);
                }
            }
            if path.len() <= folder.len() {
                return None;
            }
            path = path.rsplit_once('/').map_or(String::new(), |(parent, _)| parent.to_owned());
        }
    }

    fn resolve_relative_path(&self, importer: &RepoPath, import: &str) -> Option<u32> {
        let mut folder = importer.parent().unwrap_or_default();
        let mut rest = import;
        loop {
            if let Some(tail) = rest.strip_prefix("./") {
                rest = tail;
            } else if let Some(tail) = rest.strip_prefix("../") {
                folder = folder.rsplit_once('/').map_or("", |(parent, _)| parent);
                rest = tail;
            } else {
                break;
            }
        }
        let path = join(folder, rest);
        const ENDINGS: &[&str] = &[
            "",
            ".ts",
            ".tsx",
            ".js",
            ".jsx",
            ".mjs",
            ".rb",
            "/index.ts",
            "/index.tsx",
            "/index.js",
        ];
        ENDINGS.iter().find_map(|ending| self.paths.get(&format!("{path}{ending}")).copied())
    }
}

fn join(folder: &str, name: &str) -> String {
    match (folder, name) {
        ("", name) => name.to_owned(),
        (folder, "") => folder.to_owned(),
        (folder, name) => format!("{folder}/{name}"),
    }
}
