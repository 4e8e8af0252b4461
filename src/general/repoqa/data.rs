//! RepoQA's data file: repositories by language, each with its files and needles.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::marker::PhantomData;
use std::path::Path;

use anyhow::{Context as _, ensure};
use flate2::bufread::MultiGzDecoder;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use sha2::{Digest, Sha256};

use crate::general::repoqa::Task;
use crate::run::seed::render_hex;

/// All of a data file.
#[derive(Debug)]
pub struct Dataset {
    /// By language, in the file's order.
    languages: InOrder<Vec<Repository>>,
    /// Tells one file from another.
    pub fingerprint: String,
}

#[derive(Debug, Deserialize)]
pub struct Repository {
    /// `owner/name`.
    pub repo: String,
    /// The text of each file.
    pub content: BTreeMap<String, String>,
    /// The files that each file depends on.
    #[serde(default)]
    dependency: InOrder<Vec<String>>,
    /// The functions to be found; absent where none were chosen yet.
    #[serde(default)]
    pub needles: Option<Vec<Needle>>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Needle {
    pub name: String,
    pub path: String,
    /// From 0; the end is behind the last line.
    pub start_line: usize,
    pub end_line: usize,
    /// Bytes in name; the reference counts characters by them, and so do we.
    pub start_byte: usize,
    pub end_byte: usize,
    pub description: String,
}

/// A map whose order is kept, since prompts depend on it.
#[derive(Debug)]
struct InOrder<T>(Vec<(String, T)>);

impl<T> Default for InOrder<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for InOrder<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
            type Value = InOrder<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(InOrder(entries))
            }
        }
        deserializer.deserialize_map(Entries(PhantomData))
    }
}

/// More than any release inflates to.
const MAX_BYTES: u64 = 4 << 30;

/// The first bytes of a gzip file.
const GZIP: [u8; 2] = [0x1f, 0x8b];

impl Dataset {
    /// Reads a data file, plain or gzipped.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let context = || format!("reading `{}`", path.display());
        let mut file = BufReader::new(File::open(path).with_context(context)?);
        let mut json = Vec::new();
        match file.fill_buf().with_context(context)?.starts_with(&GZIP) {
            true => MultiGzDecoder::new(file).take(MAX_BYTES).read_to_end(&mut json),
            false => file.take(MAX_BYTES).read_to_end(&mut json),
        }
        .with_context(context)?;
        Self::parse(&json).with_context(|| {
            format!(
                "`{}` is no data file of RepoQA\n\
                 hint: wanted is `{{\"python\": [{{\"repo\": …, \"content\": …, \"needles\": …}}]}}`, plain or gzipped",
                path.display()
            )
        })
    }

    pub(super) fn parse(json: &[u8]) -> anyhow::Result<Self> {
        let languages = serde_json::from_slice(json)?;
        let dataset = Self { languages, fingerprint: render_hex(&Sha256::digest(json)) };
        ensure!(!dataset.tasks().0.is_empty(), "it holds no needle");
        Ok(dataset)
    }

    /// All tasks in the file's order, and the ids of those that were left out because another
    /// has the same id.
    pub fn tasks(&self) -> (Vec<Task>, Vec<String>) {
        let (mut tasks, mut seen, mut left_out) = (Vec::new(), BTreeSet::new(), Vec::new());
        for (language, repositories) in &self.languages.0 {
            for (idx, repository) in repositories.iter().enumerate() {
                for task in Task::of_repository(language, idx, repository) {
                    match seen.insert(task.id.clone()) {
                        true => tasks.push(task),
                        false => left_out.push(task.id),
                    }
                }
            }
        }
        (tasks, left_out)
    }

    pub fn languages(&self) -> impl Iterator<Item = &str> {
        self.languages.0.iter().map(|(name, _)| name.as_str())
    }

    /// The repositories of a language.
    pub fn of_language(&self, language: &str) -> &[Repository] {
        let found = self.languages.0.iter().find(|(name, _)| name == language);
        found.map_or(&[], |(_, repositories)| repositories)
    }
}

impl Repository {
    /// The files, each behind those that it depends on, with their texts.
    pub fn ordered_files(&self) -> anyhow::Result<Vec<(&str, &str)>> {
        let file = |path: &str| {
            let (path, text) = self.content.get_key_value(path).with_context(|| {
                format!("`{}`: `{path}` is a dependency without content", self.repo)
            })?;
            Ok((path.as_str(), text.as_str()))
        };
        self.in_order().into_iter().map(file).collect()
    }

    /// Depth first, in the order of the map; written without recursion, since chains may be long.
    fn in_order(&self) -> Vec<&str> {
        let graph: BTreeMap<&str, &[String]> =
            self.dependency.0.iter().map(|(path, needs)| (path.as_str(), &needs[..])).collect();
        let (mut order, mut seen) = (Vec::new(), BTreeSet::new());
        for (root, _) in &self.dependency.0 {
            let mut open: Vec<(&str, usize)> = Vec::new();
            if seen.insert(root.as_str()) {
                open.push((root, 0));
            }
            while let Some((path, next)) = open.last_mut() {
                match graph.get(path).and_then(|needs| needs.get(*next)) {
                    Some(need) => {
                        *next += 1;
                        if seen.insert(need) {
                            open.push((need, 0));
                        }
                    }
                    None => {
                        order.push(*path);
                        open.pop();
                    }
                }
            }
        }
        order
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write;

    use super::*;

    pub(in crate::general::repoqa) const DATA: &str = r##"{
        "python": [
            {"repo": "a/none", "content": {}},
            {"repo": "a/x", "commit_sha": "1",
             "content": {"a.py": "import b\n\ndef first():\n    return 1\n\nlast = 2\n",
                         "b.py": "def second(x):\n    # doubles\n    return 2 * x\n",
                         "c.py": "c = 1\n"},
             "dependency": {"a.py": ["b.py"], "b.py": ["a.py"], "c.py": []},
             "needles": [
                {"name": "first", "path": "a.py", "start_line": 2, "end_line": 4,
                 "start_byte": 10, "end_byte": 35, "global_start_line": 0,
                 "description": "\n1. gives one"},
                {"name": "second", "path": "b.py", "start_line": 0, "end_line": 3,
                 "start_byte": 0, "end_byte": 45, "description": "\n1. doubles"}]}],
        "rust": []}"##;

    #[test]
    fn needles_become_tasks_spread_over_the_context() {
        let dataset = Dataset::parse(DATA.as_bytes()).unwrap();
        let (tasks, left_out) = dataset.tasks();
        let found: Vec<(&str, usize, f64)> = tasks
            .iter()
            .map(|task| (task.id.as_str(), task.repository_idx, task.position_ratio))
            .collect();
        assert_eq!(found, [("python::a/x::first", 1, 0.25), ("python::a/x::second", 1, 0.75)]);
        assert!(left_out.is_empty());
    }

    #[test]
    fn a_file_stands_behind_what_it_needs_and_a_circle_is_cut_where_it_was_entered() {
        let dataset = Dataset::parse(DATA.as_bytes()).unwrap();
        let repository = &dataset.of_language("python")[1];
        let paths: Vec<&str> =
            repository.ordered_files().unwrap().into_iter().map(|(path, _)| path).collect();
        assert_eq!(paths, ["b.py", "a.py", "c.py"]);
    }

    #[test]
    fn a_gzipped_file_is_the_same_and_something_else_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.json.gz");
        let file = File::create(&path).unwrap();
        let mut writer = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
        writer.write_all(DATA.as_bytes()).unwrap();
        writer.finish().unwrap();
        assert_eq!(Dataset::read(&path).unwrap().tasks().0.len(), 2);
        for text in ["", "{", "[]", "{\"python\": [{\"repo\": \"a\", \"content\": {}}]}"] {
            std::fs::write(&path, text).unwrap();
            let message = format!("{:#}", Dataset::read(&path).unwrap_err());
            assert!(message.contains("no data file of RepoQA\nhint: wanted"), "{message}");
        }
    }
}
