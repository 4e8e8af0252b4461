//! Benchmark records: an issue, the commit it was written for, and what solved it.
//!
//! The format is SWE-bench's, as JSON lines or one JSON array; the only code that knows its field
//! names. [`Task`] is all that prompts and retrieval may see; what would give the solution away is
//! behind [`Instance::solution`].

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Deserializer};

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    task: Task,
    solution: Solution,
}

/// What is known when the issue is filed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    pub instance_id: String,
    /// `owner/name`.
    pub repo: String,
    pub base_commit: String,
    pub issue: String,
}

/// What became known later: for truth and for judging, never for a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Solution {
    /// The gold patch, in git's format.
    pub patch: String,
    /// The change of test files that came with it.
    pub test_patch: String,
    /// What was said in the issue's discussion.
    pub hints: String,
    /// Tests that the gold patch makes pass.
    pub fail_to_pass: Vec<String>,
    /// Tests that pass before and after.
    pub pass_to_pass: Vec<String>,
    pub version: String,
    pub environment_setup_commit: String,
    /// A shell script that runs the tests, where the record has one.
    pub eval_script: String,
}

/// Why a record is no instance.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("record {number}: {source}")]
    NotARecord { number: usize, source: serde_json::Error },
    #[error("the list of records: {0}")]
    NotAList(serde_json::Error),
    #[error("record {number}: `{id}` has an empty `{field}`")]
    Empty { number: usize, id: String, field: &'static str },
    #[error("record {number}: `{id}` is there twice")]
    Twice { number: usize, id: String },
}

impl Instance {
    pub fn task(&self) -> &Task {
        &self.task
    }

    pub fn solution(&self) -> &Solution {
        &self.solution
    }
}

/// Reads the records of a file: JSON lines, or one JSON array.
pub fn read_instances(path: &Path) -> anyhow::Result<Vec<Instance>> {
    let shown = path.display();
    let bytes = fs::read(path).with_context(|| format!("reading the dataset `{shown}`"))?;
    if bytes.starts_with(b"PAR1") {
        anyhow::bail!(
            "`{shown}` is a Parquet file; JSON lines or a JSON array were wanted\n\
             hint: python -c 'import pandas, sys; pandas.read_parquet(sys.argv[1])\
             .to_json(sys.argv[2], orient=\"records\", lines=True)' IN.parquet OUT.jsonl"
        );
    }
    let text = String::from_utf8(bytes)
        .with_context(|| format!("reading the dataset `{shown}`: it is not UTF-8"))?;
    parse_instances(&text).with_context(|| format!("reading the dataset `{shown}`"))
}

/// Parses records, in their order; each id once.
pub fn parse_instances(text: &str) -> Result<Vec<Instance>, RecordError> {
    let text = text.trim_start_matches('\u{feff}');
    let records = if text.trim_start().starts_with('[') {
        serde_json::from_str(text).map_err(RecordError::NotAList)?
    } else {
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        lines
            .map(|(index, line)| {
                serde_json::from_str(line)
                    .map_err(|source| RecordError::NotARecord { number: index + 1, source })
            })
            .collect::<Result<Vec<Record>, _>>()?
    };
    let mut seen = BTreeSet::new();
    let mut instances = Vec::with_capacity(records.len());
    for (index, record) in records.into_iter().enumerate() {
        let number = index + 1;
        let id = record.instance_id.clone();
        let empty = [
            ("instance_id", id.is_empty()),
            ("repo", record.repo.is_empty()),
            ("base_commit", record.base_commit.is_empty()),
        ];
        if let Some((field, _)) = empty.into_iter().find(|(_, is_empty)| *is_empty) {
            return Err(RecordError::Empty { number, id, field });
        }
        if !seen.insert(id.clone()) {
            return Err(RecordError::Twice { number, id });
        }
        instances.push(record.into());
    }
    Ok(instances)
}

/// A record as it is written. Unknown fields are passed over: datasets carry many.
#[derive(Debug, Deserialize)]
#[serde(expecting = "a record")]
struct Record {
    instance_id: String,
    repo: String,
    base_commit: String,
    problem_statement: String,
    #[serde(default)]
    patch: Option<String>,
    #[serde(default)]
    test_patch: Option<String>,
    #[serde(default)]
    hints_text: Option<String>,
    #[serde(default, rename = "FAIL_TO_PASS", deserialize_with = "list_or_text")]
    fail_to_pass: Vec<String>,
    #[serde(default, rename = "PASS_TO_PASS", deserialize_with = "list_or_text")]
    pass_to_pass: Vec<String>,
    #[serde(default)]
    version: Option<String>,
    #[serde(default)]
    environment_setup_commit: Option<String>,
    #[serde(default)]
    eval_script: Option<String>,
}

impl From<Record> for Instance {
    fn from(record: Record) -> Self {
        Self {
            task: Task {
                instance_id: record.instance_id,
                repo: record.repo,
                base_commit: record.base_commit,
                issue: record.problem_statement,
            },
            solution: Solution {
                patch: record.patch.unwrap_or_default(),
                test_patch: record.test_patch.unwrap_or_default(),
                hints: record.hints_text.unwrap_or_default(),
                fail_to_pass: record.fail_to_pass,
                pass_to_pass: record.pass_to_pass,
                version: record.version.unwrap_or_default(),
                environment_setup_commit: record.environment_setup_commit.unwrap_or_default(),
                eval_script: record.eval_script.unwrap_or_default(),
            },
        }
    }
}

/// A list, or the JSON text of one: the published files have both.
fn list_or_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    use serde::de::Error;
    let wanted = "a list of texts, or the JSON text of one";
    match serde_json::Value::deserialize(deserializer)? {
        serde_json::Value::Null => Ok(Vec::new()),
        serde_json::Value::String(text) if text.trim().is_empty() => Ok(Vec::new()),
        serde_json::Value::String(text) => serde_json::from_str(&text)
            .map_err(|error| Error::custom(format!("wanted {wanted}: {error}"))),
        value => Vec::deserialize(value)
            .map_err(|error| Error::custom(format!("wanted {wanted}: {error}"))),
    }
}

/// Finds the repository `owner/name` below a folder: as `owner__name`, `owner+name`,
/// `owner/name` or `name`, each with or without `.git` behind it, bare or with a work tree, or one
/// level down in a folder `repo`.
pub fn find_repository(folder: &Path, repo: &str) -> anyhow::Result<PathBuf> {
    let is_plain = |part: &str| {
        !part.starts_with('.') && !part.is_empty() && !part.contains(['\\', '\0', ':'])
    };
    let parts = repo.split('/').collect::<Vec<_>>();
    let [owner, name] = parts[..] else {
        anyhow::bail!("`{repo}` is no repository; `owner/name` was wanted");
    };
    if !is_plain(owner) || !is_plain(name) {
        anyhow::bail!("`{repo}` is no repository; `owner/name` was wanted");
    }
    let names = [
        format!("{owner}__{name}"),
        format!("{owner}+{name}"),
        format!("{owner}/{name}"),
        name.to_owned(),
    ];
    for name in &names {
        for ending in ["", ".git"] {
            let found = folder.join(format!("{name}{ending}"));
            for candidate in [found.join("repo"), found.join("repo.git"), found] {
                if is_repository(&candidate) {
                    return Ok(candidate);
                }
            }
        }
    }
    anyhow::bail!(
        "`{}` holds no git repository for `{repo}`; looked for {}\n\
         hint: git clone --mirror https://github.com/{repo} {}",
        folder.display(),
        names.each_ref().map(|name| format!("`{name}`")).join(", "),
        folder.join(&names[0]).display(),
    )
}

/// Whether a folder is a work tree's root or a bare repository.
fn is_repository(folder: &Path) -> bool {
    folder.join(".git").exists()
        || (folder.join("HEAD").is_file() && folder.join("objects").is_dir())
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[track_caller]
    fn check(text: &str, expect: Expect) {
        let shown = match parse_instances(text) {
            Ok(instances) => instances
                .iter()
                .map(|instance| {
                    let (task, solution) = (instance.task(), instance.solution());
                    format!(
                        "{} {}@{} {:?}: {:?} {:?}\n",
                        task.instance_id,
                        task.repo,
                        task.base_commit,
                        task.issue,
                        solution.fail_to_pass,
                        solution.pass_to_pass
                    )
                })
                .collect(),
            Err(error) => format!("{error}\n"),
        };
        expect.assert_eq(&shown);
    }

    const PLAIN: &str =
        r#"{"instance_id":"o__n-1","repo":"o/n","base_commit":"1a","problem_statement":"Broken""#;

    #[test]
    fn lists_are_lists_or_json_text() {
        check(
            &format!(
                "{PLAIN}, \"FAIL_TO_PASS\": [\"a\", \"b\"], \"PASS_TO_PASS\": \"[\\\"c\\\"]\"}}\n\n"
            ),
            expect![[r#"
                o__n-1 o/n@1a "Broken": ["a", "b"] ["c"]
            "#]],
        );
        check(
            &format!("{PLAIN}, \"FAIL_TO_PASS\": \"\", \"PASS_TO_PASS\": null}}"),
            expect![[r#"
            o__n-1 o/n@1a "Broken": [] []
        "#]],
        );
        check(
            &format!("{PLAIN}, \"FAIL_TO_PASS\": \"a, b\"}}"),
            expect![[r#"
            record 1: wanted a list of texts, or the JSON text of one: expected value at line 1 column 1
        "#]],
        );
    }

    #[test]
    fn arrays_and_unknown_fields_are_read() {
        check(
            &format!("[{PLAIN}, \"extra\": {{\"a\": 1}}, \"hints_text\": null}}]"),
            expect![[r#"
            o__n-1 o/n@1a "Broken": [] []
        "#]],
        );
        check("", expect![]);
        check("[]", expect![]);
    }

    #[test]
    fn broken_records_are_named() {
        check(
            &format!("{PLAIN}}}\n{{\"instance_id\": \"x\"}}\n"),
            expect![[r#"
            record 2: missing field `repo` at line 1 column 20
        "#]],
        );
        check(
            &format!("{PLAIN}}}\n{PLAIN}}}\n"),
            expect![[r#"
            record 2: `o__n-1` is there twice
        "#]],
        );
        check(
            &PLAIN.replace("1a", "").replace("\"Broken\"", "\"Broken\"}"),
            expect![[r#"
            record 1: `o__n-1` has an empty `base_commit`
        "#]],
        );
        check(
            "[1]",
            expect![[r#"
                the list of records: invalid type: integer `1`, expected a record at line 1 column 2
            "#]],
        );
    }

    #[test]
    fn nothing_but_the_issue_reaches_a_task() {
        let canary = "CANARY";
        let record = format!(
            "{PLAIN}, \"patch\": \"{canary}\", \"test_patch\": \"{canary}\", \
             \"hints_text\": \"{canary}\", \"FAIL_TO_PASS\": [\"{canary}\"], \
             \"PASS_TO_PASS\": [\"{canary}\"], \"version\": \"{canary}\", \
             \"eval_script\": \"{canary}\", \"environment_setup_commit\": \"{canary}\"}}"
        );
        let instances = parse_instances(&record).unwrap();
        assert!(!format!("{:?}", instances[0].task()).contains(canary));
        assert!(format!("{:?}", instances[0].solution()).contains(canary));
    }

    #[test]
    fn repositories_are_found_under_the_usual_names() {
        for name in ["o__n", "o+n/repo", "o/n", "o/n.git", "n", "o__n.git"] {
            let folder = tempfile::tempdir().unwrap();
            let bare = folder.path().join(name);
            fs::create_dir_all(bare.join("objects")).unwrap();
            fs::write(bare.join("HEAD"), "ref: refs/heads/main\n").unwrap();
            assert_eq!(find_repository(folder.path(), "o/n").unwrap(), bare);
        }
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("o__n/.git")).unwrap();
        assert_eq!(find_repository(folder.path(), "o/n").unwrap(), folder.path().join("o__n"));
        for repo in ["o/m", "../n", "o", "o/../n", "o/n/m", ".git/n"] {
            assert!(find_repository(folder.path(), repo).is_err(), "{repo}");
        }
    }
}
