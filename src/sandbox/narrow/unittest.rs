//! unittest: files and names are positional; `discover` knows one folder and one pattern.

use globset::Glob;

use crate::repo::path::RepoPath;
use crate::sandbox::narrow::{CannotNarrow, Options, Parts, is_below};

const OPTIONS: Options = Options {
    flags: "vqfbc",
    valued: "kspt",
    long_valued: &["start-directory", "pattern", "top-level-directory", "durations"],
    long_flags: &["verbose", "quiet", "locals", "failfast", "catch", "buffer"],
};

/// The files that are discovered where no pattern is named.
const PATTERN: &str = "test*.py";

/// unittest's arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unittest {
    options: Vec<String>,
    tests: Tests,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Tests {
    /// Modules, files, classes, tests.
    Named(Vec<String>),
    Discovered {
        start: String,
        pattern: String,
        top: Option<String>,
    },
}

impl Unittest {
    pub(super) fn parse(arguments: &[String]) -> Result<Self, CannotNarrow> {
        let Parts { options: words, mut positional } = OPTIONS.parse(arguments)?;
        let is_discovery = positional.first().is_some_and(|word| word == "discover");
        if is_discovery {
            positional.remove(0);
        }
        let (mut start, mut pattern, mut top) = (None, None, None);
        let mut options = Vec::new();
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let place = match word.split('=').next().unwrap_or(&word) {
                "-s" | "--start-directory" => &mut start,
                "-p" | "--pattern" => &mut pattern,
                "-t" | "--top-level-directory" => &mut top,
                "-k" | "--durations" if !word.contains('=') => {
                    options.push(word);
                    options.extend(words.next());
                    continue;
                }
                _ if word.len() > 2 && ["-s", "-p", "-t"].iter().any(|o| word.starts_with(o)) => {
                    return Err(CannotNarrow::Argument(word));
                }
                _ => {
                    options.push(word);
                    continue;
                }
            };
            *place = match word.split_once('=') {
                Some((_, value)) => Some(value.to_owned()),
                None => words.next(),
            };
        }
        if !is_discovery {
            if let Some(word) = start.or(pattern).or(top) {
                return Err(CannotNarrow::Argument(word));
            }
            if !positional.is_empty() {
                return Ok(Self { options, tests: Tests::Named(positional) });
            }
            let (start, pattern) = (".".to_owned(), PATTERN.to_owned());
            return Ok(Self { options, tests: Tests::Discovered { start, pattern, top: None } });
        }
        let mut positional = positional.into_iter();
        let start = start.or_else(|| positional.next()).unwrap_or_else(|| ".".to_owned());
        let pattern = pattern.or_else(|| positional.next()).unwrap_or_else(|| PATTERN.to_owned());
        let top = top.or_else(|| positional.next());
        match positional.next() {
            Some(word) => Err(CannotNarrow::Argument(word)),
            None => Ok(Self { options, tests: Tests::Discovered { start, pattern, top } }),
        }
    }

    pub(super) fn covers(&self, path: &RepoPath, has_file: &dyn Fn(&str) -> bool) -> bool {
        match &self.tests {
            Tests::Named(names) => {
                let module = module_of(path);
                let is_it = |name: &String| {
                    name == path.as_str()
                        || name
                            .strip_prefix(&module)
                            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
                };
                names.iter().any(is_it)
            }
            Tests::Discovered { start, pattern, .. } => {
                let is_match = Glob::new(pattern)
                    .is_ok_and(|glob| glob.compile_matcher().is_match(path.file_name()));
                let start = plain_folder(start);
                let mut folder = path.parent().unwrap_or_default();
                // Discovery goes into packages only.
                while folder != start {
                    if folder.is_empty() || !has_file(&format!("{folder}/__init__.py")) {
                        return false;
                    }
                    folder = folder.rsplit_once('/').map_or("", |(parent, _)| parent);
                }
                is_match && is_below(path.as_str(), start)
            }
        }
    }

    pub(super) fn folder(&self) -> &str {
        match &self.tests {
            Tests::Named(_) => "",
            Tests::Discovered { start, .. } => plain_folder(start),
        }
    }

    /// The arguments of one run or several.
    pub(super) fn for_files(&self, files: &[RepoPath]) -> Vec<Vec<String>> {
        let named: &[String] = match &self.tests {
            Tests::Named(names) => names,
            Tests::Discovered { start, top, .. }
                if plain_folder(start).is_empty() && top.is_none() =>
            {
                &[]
            }
            Tests::Discovered { start, top, .. } => {
                let mut names: Vec<&str> = Vec::new();
                for file in files {
                    if !names.contains(&file.file_name()) {
                        names.push(file.file_name());
                    }
                }
                let run = |name: &str| {
                    let mut words = vec!["discover".to_owned()];
                    words.extend(self.options.iter().cloned());
                    words.extend(["-s".to_owned(), start.clone()]);
                    words.extend(top.iter().flat_map(|top| ["-t".to_owned(), top.clone()]));
                    words.extend(["-p".to_owned(), name.to_owned()]);
                    words
                };
                return names.into_iter().map(run).collect();
            }
        };
        let mut words = self.options.clone();
        for file in files {
            let module = module_of(file);
            let is_inside = |name: &&String| {
                name.strip_prefix(&module).is_some_and(|rest| rest.starts_with('.'))
                    && name.as_str() != file.as_str()
            };
            let single: Vec<&String> = named.iter().filter(is_inside).collect();
            match single.is_empty() {
                true => words.push(file.as_str().to_owned()),
                false => words.extend(single.into_iter().cloned()),
            }
        }
        vec![words]
    }
}

fn module_of(path: &RepoPath) -> String {
    path.as_str().trim_end_matches(".py").replace('/', ".")
}

fn plain_folder(folder: &str) -> &str {
    let folder = folder.trim_end_matches('/');
    let folder = folder.strip_prefix("./").unwrap_or(folder);
    if folder == "." { "" } else { folder }
}
