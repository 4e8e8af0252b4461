//! Files of records: JSON lines, one JSON array, or Parquet.
//!
//! A record that cannot be used is left out with a line that says which and why; the rest counts.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, ensure};
use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::Value;

use crate::instance::Instance;
use crate::instance::record::parse_record;

/// The records of a file.
#[derive(Debug, Default)]
pub struct Dataset {
    /// In the file's order; each id once.
    pub instances: Vec<Instance>,
    /// What was left out.
    pub problems: Vec<Problem>,
}

/// A record that was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where it stands: `line 3` or `record 3`.
    pub place: String,
    pub why: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.why)
    }
}

/// Reads the records of a file; what it holds is told by its content, not by its name.
///
/// # Errors
///
/// The file cannot be read as a whole, or holds no usable record.
pub fn read_dataset(path: &Path) -> anyhow::Result<Dataset> {
    let shown = path.display();
    let context = || format!("reading the dataset `{shown}`");
    let bytes = fs::read(path).with_context(context)?;
    let dataset = if bytes.starts_with(b"PAR1") {
        drop(bytes);
        read_parquet(path).with_context(context)?
    } else {
        let text = String::from_utf8(bytes).with_context(|| format!("{}: no UTF-8", context()))?;
        parse_dataset(&text).with_context(context)?
    };
    let first =
        dataset.problems.first().map_or_else(|| "it is empty".to_owned(), Problem::to_string);
    ensure!(
        !dataset.instances.is_empty(),
        "the dataset `{shown}` holds no usable record: {first}\n\
         hint: records of SWE-bench as JSON lines, as a JSON array or as Parquet are wanted"
    );
    Ok(dataset)
}

/// Parses JSON lines or a JSON array.
pub fn parse_dataset(text: &str) -> anyhow::Result<Dataset> {
    let text = text.trim_start_matches('\u{feff}');
    let mut dataset = Reading::default();
    if text.trim_start().starts_with('[') {
        let records: Vec<Value> = serde_json::from_str(text).context("as a list of records")?;
        for (number, record) in (1..).zip(records) {
            dataset.add(format!("record {number}"), Ok(record));
        }
    } else {
        let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
        for (number, line) in lines {
            let record = serde_json::from_str(line);
            dataset.add(format!("line {number}"), record.map_err(anyhow::Error::from));
        }
    }
    Ok(dataset.read)
}

fn read_parquet(path: &Path) -> anyhow::Result<Dataset> {
    let reader = SerializedFileReader::new(File::open(path)?).context("as a Parquet file")?;
    let rows = reader.get_row_iter(None).context("as a Parquet file")?;
    let mut dataset = Reading::default();
    for (number, row) in (1..).zip(rows) {
        let record = row.map(|row| row.to_json_value()).map_err(anyhow::Error::from);
        dataset.add(format!("record {number}"), record);
    }
    Ok(dataset.read)
}

/// A dataset while it is read.
#[derive(Default)]
struct Reading {
    read: Dataset,
    /// Where each id stands.
    places: BTreeMap<String, String>,
}

impl Reading {
    fn add(&mut self, place: String, record: anyhow::Result<Value>) {
        let problem = match record.and_then(|record| Ok(parse_record(record)?)) {
            Ok(instance) => {
                let id = instance.task().instance_id.clone();
                match self.places.get(&id) {
                    None => {
                        self.places.insert(id, place);
                        self.read.instances.push(instance);
                        return;
                    }
                    Some(first) => format!("`{id}` is there twice; the one in {first} counts"),
                }
            }
            Err(error) => format!("{error:#}"),
        };
        self.read.problems.push(Problem { place, why: problem });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use expect_test::{Expect, expect};
    use parquet::data_type::{ByteArray, ByteArrayType};
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;

    use super::*;

    fn shown(dataset: &Dataset) -> String {
        let instance = |instance: &Instance| {
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
        };
        let problems = dataset.problems.iter().map(|problem| format!("{problem}\n"));
        dataset.instances.iter().map(instance).chain(problems).collect()
    }

    #[track_caller]
    fn check(text: &str, expect: Expect) {
        expect.assert_eq(&match parse_dataset(text) {
            Ok(dataset) => shown(&dataset),
            Err(error) => format!("{error:#}\n"),
        });
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
                line 1: wanted a record: wanted a list of texts, or the JSON text of one: expected value at line 1 column 1
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
    fn a_broken_record_is_named_and_the_rest_counts() {
        let other = PLAIN.replace("o__n-1", "o__n-2");
        check(
            &format!("{PLAIN}}}\n{{\"instance_id\": \"x\"}}\nno record\n{PLAIN}}}\n{other}}}\n"),
            expect![[r#"
                o__n-1 o/n@1a "Broken": [] []
                o__n-2 o/n@1a "Broken": [] []
                line 2: wanted a record: missing field `repo`
                line 3: expected ident at line 1 column 2
                line 4: `o__n-1` is there twice; the one in line 1 counts
            "#]],
        );
        check(
            &format!("{}}}", PLAIN.replace("1a", "")),
            expect![[r#"
                line 1: `o__n-1` has an empty `base_commit`
            "#]],
        );
        check(
            &format!("[1, {PLAIN}}}]"),
            expect![[r#"
                o__n-1 o/n@1a "Broken": [] []
                record 1: wanted a record: invalid type: integer `1`, expected a record
            "#]],
        );
        check(
            "[{\"instance_id\": ",
            expect![[r#"
                as a list of records: EOF while parsing a value at line 1 column 17
            "#]],
        );
    }

    #[test]
    fn a_file_without_a_usable_record_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.jsonl");
        for (bytes, wanted) in [
            (&b""[..], "it is empty"),
            (b"no record\n", "line 1: expected ident"),
            (b"PAR1 and no more", "as a Parquet file"),
            (b"\xff\xfe", "no UTF-8"),
        ] {
            fs::write(&path, bytes).unwrap();
            let message = format!("{:#}", read_dataset(&path).unwrap_err());
            assert!(message.contains(wanted), "{message}");
        }
    }

    #[test]
    fn parquet_gives_what_json_gives() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records");
        let schema = "message schema {
            REQUIRED BYTE_ARRAY instance_id (UTF8);
            REQUIRED BYTE_ARRAY repo (UTF8);
            REQUIRED BYTE_ARRAY base_commit (UTF8);
            REQUIRED BYTE_ARRAY problem_statement (UTF8);
            REQUIRED BYTE_ARRAY PASS_TO_PASS (UTF8);
            REQUIRED GROUP FAIL_TO_PASS (LIST) { REPEATED GROUP list { REQUIRED BYTE_ARRAY element (UTF8); } }
        }";
        let schema = Arc::new(parse_message_type(schema).unwrap());
        let file = File::create(&path).unwrap();
        let mut writer = SerializedFileWriter::new(file, schema, Arc::default()).unwrap();
        let mut group = writer.next_row_group().unwrap();
        let mut columns = vec![
            (vec!["o__n-1", "o__n-1"], vec![]),
            (vec!["o/n", "o/n"], vec![]),
            (vec!["1a", "2b"], vec![]),
            (vec!["Broken", "Again"], vec![]),
            (vec!["[\"c\"]", "[]"], vec![]),
            (vec!["a", "b"], vec![0_i16, 1, 0]),
        ]
        .into_iter();
        while let Some(mut column) = group.next_column().unwrap() {
            let (texts, levels) = columns.next().unwrap();
            let values: Vec<ByteArray> = texts.into_iter().map(ByteArray::from).collect();
            let definitions = [1, 1, 0];
            let (definitions, repetitions) = match levels.is_empty() {
                true => (None, None),
                false => (Some(&definitions[..]), Some(&levels[..])),
            };
            let typed = column.typed::<ByteArrayType>();
            typed.write_batch(&values, definitions, repetitions).unwrap();
            column.close().unwrap();
        }
        group.close().unwrap();
        writer.close().unwrap();
        expect![[r#"
            o__n-1 o/n@1a "Broken": ["a", "b"] ["c"]
            record 2: `o__n-1` is there twice; the one in record 1 counts
        "#]]
        .assert_eq(&shown(&read_dataset(&path).unwrap()));
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
        let instances = parse_dataset(&record).unwrap().instances;
        assert!(!format!("{:?}", instances[0].task()).contains(canary));
        assert!(format!("{:?}", instances[0].solution()).contains(canary));
    }
}
