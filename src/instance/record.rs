//! A record as it is written, and what makes it unusable.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::instance::mined::{Split, TextKind};
use crate::instance::{Instance, Solution, Task};

/// Why a record is no instance.
#[derive(Debug, thiserror::Error)]
pub(super) enum RecordError {
    #[error("wanted a record")]
    NotARecord(#[from] serde_json::Error),
    #[error("`{id}` has an empty `{field}`")]
    Empty { id: String, field: &'static str },
}

/// Reads one record.
pub(super) fn parse_record(value: Value) -> Result<Instance, RecordError> {
    let record: Record = serde_json::from_value(value)?;
    let required = [
        ("instance_id", &record.instance_id),
        ("repo", &record.repo),
        ("base_commit", &record.base_commit),
        ("problem_statement", &record.problem_statement),
    ];
    match required.iter().find(|(_, text)| text.trim().is_empty()) {
        Some((field, _)) => Err(RecordError::Empty { id: record.instance_id.clone(), field }),
        None => Ok(record.into()),
    }
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
    text_kind: Option<TextKind>,
    #[serde(default)]
    split: Option<Split>,
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
    eval_type: Option<String>,
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
                text_kind: record.text_kind,
                split: record.split,
            },
            solution: Solution {
                patch: record.patch.unwrap_or_default(),
                test_patch: record.test_patch.unwrap_or_default(),
                hints: record.hints_text.unwrap_or_default(),
                fail_to_pass: record.fail_to_pass,
                pass_to_pass: record.pass_to_pass,
                version: record.version.unwrap_or_default(),
                environment_setup_commit: record.environment_setup_commit.unwrap_or_default(),
                eval_type: record.eval_type.unwrap_or_default(),
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
