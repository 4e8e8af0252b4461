//! LiveCodeBench's data files: a problem a line, with tests of which most are hidden.
//!
//! The files of a release have gigabytes, nearly all of it tests: problems are kept, and the tests
//! of one are read when its answers are judged.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::general::livecodebench::hidden::reveal;
use crate::run::seed::render_hex;

/// A problem without its tests.
#[derive(Debug, Clone)]
pub struct Problem {
    pub question_id: String,
    pub question_title: String,
    pub question_content: String,
    pub platform: String,
    pub contest_id: String,
    /// A time in the form of ISO 8601, without zone.
    pub contest_date: String,
    /// Code that answers must begin with; empty where they are whole programs.
    pub starter_code: String,
    pub difficulty: String,
    /// The method that tests call; nothing where they write to stdin.
    pub function: Option<String>,
    place: Place,
}

/// Where a line lies.
#[derive(Debug, Clone)]
struct Place {
    path: PathBuf,
    offset: u64,
    length: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Test {
    pub input: String,
    pub output: String,
}

/// What is read of a line at first.
#[derive(Deserialize)]
struct Record {
    question_id: String,
    #[serde(default)]
    question_title: String,
    question_content: String,
    #[serde(default)]
    platform: String,
    #[serde(default)]
    contest_id: String,
    contest_date: String,
    #[serde(default)]
    starter_code: String,
    #[serde(default)]
    difficulty: String,
    /// A map, as the text of its JSON.
    #[serde(default)]
    metadata: String,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    func_name: Option<String>,
}

/// What is read of a line for its tests.
#[derive(Deserialize)]
struct RecordTests {
    /// A list, as the text of its JSON.
    public_test_cases: String,
    /// The same, or that hidden.
    private_test_cases: String,
}

/// All of the data files.
#[derive(Debug)]
pub struct Problems {
    /// In order of their ids, as the reference has them.
    pub problems: Vec<Problem>,
    /// Ids that were there before; the first counts.
    pub repeated: Vec<String>,
    /// Tells these files from others.
    pub fingerprint: String,
}

impl Problems {
    /// Reads data files, JSON lines.
    pub fn read(paths: &[PathBuf]) -> anyhow::Result<Self> {
        let (mut by_id, mut repeated) = (BTreeMap::new(), Vec::new());
        let mut hash = Sha256::new();
        for path in paths {
            let file = File::open(path).with_context(|| format!("opening `{}`", path.display()))?;
            let (mut file, mut line, mut offset) = (BufReader::new(file), Vec::new(), 0);
            for line_idx in 1.. {
                line.clear();
                let place = || format!("`{}`, line {line_idx}", path.display());
                let length = file.read_until(b'\n', &mut line).with_context(place)? as u64;
                if length == 0 {
                    break;
                }
                hash.update(&line);
                if !line.trim_ascii().is_empty() {
                    let problem = parse(&line, Place { path: path.clone(), offset, length });
                    let problem = problem.with_context(|| {
                        format!(
                            "{}: no problem of LiveCodeBench\nhint: wanted are the files `test.jsonl`, `test2.jsonl`, … of a release of `code_generation_lite`",
                            place()
                        )
                    })?;
                    if by_id.contains_key(&problem.question_id) {
                        repeated.push(problem.question_id);
                    } else {
                        by_id.insert(problem.question_id.clone(), problem);
                    }
                }
                offset += length;
            }
        }
        ensure!(
            !by_id.is_empty(),
            "the data files hold no problem\nhint: wanted are its JSON lines, a problem each, such as `test.jsonl`"
        );
        let fingerprint = render_hex(&hash.finalize());
        Ok(Self { problems: by_id.into_values().collect(), repeated, fingerprint })
    }
}

fn parse(line: &[u8], place: Place) -> anyhow::Result<Problem> {
    let record: Record = serde_json::from_slice(line)?;
    let metadata = match record.metadata.as_str() {
        "" => Metadata { func_name: None },
        text => serde_json::from_str(text).context("its `metadata`")?,
    };
    Ok(Problem {
        question_id: record.question_id,
        question_title: record.question_title,
        question_content: record.question_content,
        platform: record.platform,
        contest_id: record.contest_id,
        contest_date: record.contest_date,
        starter_code: record.starter_code,
        difficulty: record.difficulty,
        function: metadata.func_name,
        place,
    })
}

impl Problem {
    /// The public tests, then the private ones.
    pub fn read_tests(&self) -> anyhow::Result<Vec<Test>> {
        let Place { path, offset, length } = &self.place;
        let context = || format!("the tests of `{}` in `{}`", self.question_id, path.display());
        let line = read_at(path, *offset, *length).with_context(context)?;
        parse_tests(&line).with_context(context)
    }
}

fn read_at(path: &Path, offset: u64, length: u64) -> anyhow::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut line = Vec::new();
    file.take(length).read_to_end(&mut line)?;
    Ok(line)
}

fn parse_tests(line: &[u8]) -> anyhow::Result<Vec<Test>> {
    let record: RecordTests = serde_json::from_slice(line)?;
    let mut tests: Vec<Test> =
        serde_json::from_str(&record.public_test_cases).context("its `public_test_cases`")?;
    let private: Vec<Test> = match serde_json::from_str(&record.private_test_cases) {
        Ok(private) => private,
        Err(_) => {
            let text = reveal(&record.private_test_cases).context("its `private_test_cases`")?;
            serde_json::from_str(&text).context("its revealed `private_test_cases`")?
        }
    };
    tests.extend(private);
    Ok(tests)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::{Value, json};

    use super::*;
    use crate::general::livecodebench::hidden::tests::hide;

    fn record(id: &str, private: &str) -> Value {
        let tests = json!([{ "input": "1", "output": "2", "testtype": "stdin" }]).to_string();
        json!({
            "question_title": "t", "question_content": "c", "platform": "atcoder",
            "question_id": id, "contest_id": "abc", "contest_date": "2024-01-06T00:00:00",
            "starter_code": "", "difficulty": "easy", "public_test_cases": tests,
            "private_test_cases": private, "metadata": "{\"func_name\": \"f\"}",
        })
    }

    #[test]
    fn problems_are_read_in_order_and_their_tests_later() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["a.jsonl", "b.jsonl"].map(|name| folder.path().join(name));
        let more = json!([{ "input": "ö", "output": "4" }]).to_string();
        fs::write(&paths[0], format!("{}\n\n{}", record("b", &hide(&more)), record("c", "[]")))
            .unwrap();
        fs::write(&paths[1], format!("{}\n{}\n", record("a", &more), record("b", "[]"))).unwrap();
        let read = Problems::read(&paths).unwrap();
        let ids: Vec<&str> = read.problems.iter().map(|one| one.question_id.as_str()).collect();
        assert_eq!(ids, ["a", "b", "c"]);
        assert_eq!(read.repeated, ["b"]);
        assert_eq!(read.problems[0].function.as_deref(), Some("f"));
        let outputs = |idx: usize| -> Vec<String> {
            let tests = read.problems[idx].read_tests().unwrap();
            tests.into_iter().map(|test| test.output).collect()
        };
        assert_eq!([outputs(0), outputs(1)], [["2", "4"], ["2", "4"]]);
        assert_eq!(outputs(2), ["2"]);
    }

    #[test]
    fn what_is_no_problem_or_no_test_is_told_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        let read = |text: String| {
            fs::write(&path, text).unwrap();
            Problems::read(std::slice::from_ref(&path))
        };
        let message = format!("{:#}", read(format!("{}\n{{}}\n", record("a", "[]"))).unwrap_err());
        assert!(message.contains("line 2: no problem of LiveCodeBench\nhint"), "{message}");
        assert!(read("\n".to_owned()).is_err());
        let problems = read(record("a", "gone").to_string()).unwrap().problems;
        let message = format!("{:#}", problems[0].read_tests().unwrap_err());
        assert!(message.contains("tests of `a`") && message.contains("base64"), "{message}");
    }
}
