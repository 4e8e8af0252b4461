//! A run as one HTML file that opens offline.
//!
//! Issues and completions are untrusted: every value is escaped, and the page's own policy allows
//! no script and no style but the two that are named by their hashes, and no request at all.

mod content;
pub mod training;

use std::collections::BTreeMap;

use anyhow::Context as _;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value};
use sha2::{Digest, Sha256};

use crate::report::page::content::Page;
use crate::run::directory::RunRecord;
use crate::run::instance_row::InstanceRow;
use crate::run::record_row::RecordRow;
use crate::run::verdict_row::VerdictRow;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
const PAGE: &str = include_str!("page.html");

/// What is known of a run; a run that is no evaluation has neither instances nor records.
pub struct Run<'a> {
    pub record: &'a RunRecord,
    pub instances: &'a [InstanceRow],
    pub records: &'a [RecordRow],
    /// What the records' tests say, where they were run.
    pub verdicts: &'a [VerdictRow],
}

/// The page of a run, whole or unfinished.
pub fn render_page(run: &Run<'_>) -> anyhow::Result<String> {
    render(PAGE, serde_json::to_value(Page::new(run)).context("collecting the page")?)
}

/// A template with its values, and the style and script whose hashes its policy names.
fn render(page: &str, mut values: serde_json::Value) -> anyhow::Result<String> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.add_template("page", page).context("reading the page's template")?;
    if let Some(values) = values.as_object_mut() {
        let mut set = |name: &str, text: String| drop(values.insert(name.to_owned(), text.into()));
        set("style_hash", source_hash(STYLE));
        set("script_hash", source_hash(SCRIPT));
        set("style", STYLE.to_owned());
        set("script", SCRIPT.to_owned());
    }
    let template = environment.get_template("page").context("reading the page's template")?;
    template.render(to_value(values)).context("rendering the page")
}

/// JSON as a template's value.
fn to_value(json: serde_json::Value) -> Value {
    use serde_json::Value as Json;
    match json {
        Json::Null => Value::from(()),
        Json::Bool(holds) => Value::from(holds),
        Json::Number(number) => match number.as_u64() {
            Some(number) => Value::from(number),
            None => Value::from(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::from(text),
        Json::Array(items) => items.into_iter().map(to_value).collect(),
        Json::Object(fields) => {
            let fields = fields.into_iter().map(|(name, value)| (name, to_value(value)));
            Value::from(fields.collect::<BTreeMap<String, Value>>())
        }
    }
}

/// SHA-256 in base64, as a content security policy names a source.
fn source_hash(source: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in Sha256::digest(source).chunks(3) {
        let bytes = [0, 1, 2].map(|at| u32::from(chunk.get(at).copied().unwrap_or(0)));
        let bits = bytes[0] << 16 | bytes[1] << 8 | bytes[2];
        for digit in 0..4 {
            let is_padding = chunk.len() < digit;
            let value = bits >> (18 - 6 * digit) & 63;
            text.push(if is_padding { '=' } else { char::from(DIGITS[value as usize]) });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::prompt::counts::Counts;
    use crate::prompt::{Message, Prompt, Role};
    use crate::report::evaluation::tests::{instance, items};
    use crate::run::row::{CallOutcome, PredictionRow, RunInfo, TrajectoryRow};

    #[test]
    fn a_hash_is_what_browsers_compute() {
        assert_eq!(source_hash(""), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
    }

    #[test]
    fn nothing_untrusted_becomes_markup() {
        let hostile = "</pre></script><script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{ 7 * 7 }}\u{202e}\u{1b}";
        let message = Message { role: Role::User, content: hostile.to_owned() };
        let call = TrajectoryRow {
            version: 1,
            instance: hostile.to_owned(),
            stage: "file".to_owned(),
            sample: 0,
            request: "r".to_owned(),
            prompt: Some(Prompt { messages: vec![message] }),
            counts: Counts::default(),
            completion: hostile.to_owned(),
            completion_hex: None,
            finish: "stop".to_owned(),
            logprob: None,
            usage: Value::Null,
            outcome: CallOutcome::Rejected {
                reason: hostile.to_owned(),
                detail: hostile.to_owned(),
            },
            details: Value::Null,
        };
        let prediction = PredictionRow {
            instance_id: hostile.to_owned(),
            model_name_or_path: hostile.to_owned(),
            model_patch: hostile.to_owned(),
        };
        let record = RunRecord {
            info: RunInfo::new("eval", hostile, 1, Value::Null),
            trajectory: vec![call],
            candidates: Vec::new(),
            predictions: vec![prediction],
            timings: Vec::new(),
            metrics: None,
        };
        let records = [RecordRow::new([hostile, hostile, hostile, hostile, hostile])];
        let instances = [instance(hostile, hostile, items(1, 1, &[Some(1)]), true)];
        let page = render_page(&Run {
            record: &record,
            instances: &instances,
            records: &records,
            verdicts: &[],
        })
        .unwrap();
        assert_eq!(page.matches("<script").count(), 1);
        assert_eq!(page.matches("<img").count(), 0);
        assert!(!page.contains("onerror=alert(1)>") && !page.contains("\u{202e}"));
        assert!(page.contains("{{ 7 * 7 }}") && page.contains("\\u{1b}"));
        assert!(page.contains("&lt;script&gt;alert(1)"));
    }
}
