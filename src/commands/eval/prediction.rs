//! Predictions that are verified: those of a run, of any tool's file, or the gold patches.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use crate::commands::output::note;
use crate::instance::Instance;
use crate::pipeline::verify::Prediction;
use crate::run::row::PredictionRow;
use crate::run::seed::request_hash;

/// Predictions by instance.
pub struct Predictions {
    /// The model that they name first.
    pub model: String,
    patches: BTreeMap<String, String>,
    is_gold: bool,
}

impl Predictions {
    /// The gold patches of the records.
    pub fn of_gold(instances: &[Instance]) -> Self {
        let patch = |instance: &Instance| {
            (instance.task().instance_id.clone(), instance.solution().patch.clone())
        };
        let patches = instances.iter().map(patch).collect();
        Self { model: "gold".to_owned(), patches, is_gold: true }
    }

    /// The predictions of a run.
    pub fn of_run(rows: Vec<PredictionRow>) -> Self {
        let model = rows.first().map(|row| row.model_name_or_path.clone());
        let patches = rows.into_iter().map(|row| (row.instance_id, row.model_patch)).collect();
        Self { model: model.unwrap_or_default(), patches, is_gold: false }
    }

    /// Reads a file as the tools of SWE-bench do: JSON lines, a JSON list, or a JSON object by
    /// instance.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let context = || format!("reading the predictions `{}`", path.display());
        let text = std::fs::read_to_string(path).with_context(context)?;
        Self::parse(&text).with_context(context)
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let whole = serde_json::from_str::<Value>(text);
        let values: Vec<(String, Value)> = match whole {
            Ok(Value::Array(rows)) => {
                (1..).zip(rows).map(|(at, row)| (format!("prediction {at}"), row)).collect()
            }
            Ok(Value::Object(rows)) if !rows.contains_key("instance_id") => {
                rows.into_iter().map(|(id, row)| (format!("`{id}`"), row)).collect()
            }
            _ => {
                let mut rows = Vec::new();
                for (at, line) in
                    (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty())
                {
                    let row = serde_json::from_str(line).with_context(|| format!("line {at}"))?;
                    rows.push((format!("line {at}"), row));
                }
                rows
            }
        };
        let mut model = None;
        let mut patches = BTreeMap::new();
        for (place, row) in values {
            let text = |field: &str| row.get(field).and_then(Value::as_str);
            let Some(id) = text("instance_id") else {
                bail!("{place}: a prediction with an `instance_id` was wanted")
            };
            let patch = match row.get("model_patch") {
                Some(Value::String(patch)) => patch.clone(),
                Some(Value::Null) => String::new(),
                _ => bail!("{place}: `{id}` has no `model_patch`"),
            };
            if model.is_none() {
                model = text("model_name_or_path").map(str::to_owned);
            }
            ensure!(
                patches.insert(id.to_owned(), patch).is_none(),
                "{place}: `{id}` is predicted twice"
            );
        }
        ensure!(!patches.is_empty(), "it holds no prediction");
        Ok(Self { model: model.unwrap_or_else(|| "unnamed".to_owned()), patches, is_gold: false })
    }

    /// The prediction for an instance.
    pub fn of(&self, instance: &str) -> Option<Prediction<'_>> {
        let patch = self.patches.get(instance)?;
        Some(if self.is_gold { Prediction::Gold } else { Prediction::Patch(patch.as_bytes()) })
    }

    /// The rows of `predictions.jsonl` for these instances.
    pub fn rows(&self, instances: &[Instance]) -> Vec<PredictionRow> {
        let row = |instance: &Instance| {
            let instance_id = instance.task().instance_id.clone();
            let model_patch = self.patches.get(&instance_id)?.clone();
            let model_name_or_path = self.model.clone();
            Some(PredictionRow { instance_id, model_name_or_path, model_patch })
        };
        instances.iter().filter_map(row).collect()
    }

    /// A short name for all of them.
    pub fn fingerprint(&self) -> anyhow::Result<String> {
        request_hash(&self.patches)
    }

    /// Says which predictions are for no selected instance.
    pub fn note_strangers(&self, instances: &[Instance]) {
        let is_known = |id: &String| instances.iter().any(|one| one.task().instance_id == *id);
        let strangers: Vec<&String> = self.patches.keys().filter(|id| !is_known(id)).collect();
        if let Some(first) = strangers.first() {
            note(&format!(
                "{} predictions are for no selected instance, the first for `{first}`",
                strangers.len()
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[track_caller]
    fn check(text: &str, expect: Expect) {
        expect.assert_eq(&match Predictions::parse(text) {
            Ok(read) => format!("{} {:?}", read.model, read.patches),
            Err(error) => format!("{error:#}"),
        });
    }

    #[test]
    fn all_forms_that_the_official_tools_take() {
        let row = r#"{"instance_id": "a", "model_name_or_path": "m", "model_patch": "p"}"#;
        let empty = r#"{"instance_id": "b", "model_patch": null}"#;
        let wanted = || expect![[r#"m {"a": "p", "b": ""}"#]];
        check(&format!("{row}\n\n{empty}\n"), wanted());
        check(&format!("[{row},\n{empty}]"), wanted());
        check(&format!("{{\"a\": {row}, \"b\": {empty}}}"), wanted());
        check(row, expect![[r#"m {"a": "p"}"#]]);
    }

    #[test]
    fn what_is_no_prediction_is_told() {
        check("", expect!["it holds no prediction"]);
        check("no\n", expect!["line 1: expected ident at line 1 column 2"]);
        check("[1]", expect!["prediction 1: a prediction with an `instance_id` was wanted"]);
        check(r#"{"instance_id": "a"}"#, expect!["line 1: `a` has no `model_patch`"]);
        let row = r#"{"instance_id": "a", "model_patch": "p"}"#;
        check(&format!("{row}\n{row}\n"), expect!["line 2: `a` is predicted twice"]);
    }
}
