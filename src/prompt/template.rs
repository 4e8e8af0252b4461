//! The stage prompts: `prompts/*.jinja`, embedded in the binary, replaceable one by one.
//!
//! Rendering is one pass: values are text, so an issue that holds template syntax stays what it
//! is. A template must use every value it is given and no other; that is checked when the
//! templates are loaded, before any work is done.

use std::collections::{BTreeMap, BTreeSet};

use minijinja::value::{Kwargs, Value};
use minijinja::{AutoEscape, Environment, UndefinedBehavior};

/// A template of ours: its name (the file's, without `.jinja`), its text, and its values.
struct Known {
    name: &'static str,
    text: &'static str,
    values: &'static [&'static str],
}

const KNOWN: &[Known] = &[
    Known { name: "system", text: include_str!("../../prompts/system.jinja"), values: &[] },
    Known {
        name: "file",
        text: include_str!("../../prompts/file.jinja"),
        values: &["issue", "files", "left_out", "max_paths", "reasoning"],
    },
    Known {
        name: "likelihood",
        text: include_str!("../../prompts/likelihood.jinja"),
        values: &["path", "symbols"],
    },
    Known {
        name: "function",
        text: include_str!("../../prompts/function.jinja"),
        values: &["issue", "outline", "left_out", "max_symbols", "reasoning"],
    },
    Known {
        name: "line",
        text: include_str!("../../prompts/line.jinja"),
        values: &["issue", "code", "left_out", "max_entries", "reasoning"],
    },
    Known {
        name: "edit",
        text: include_str!("../../prompts/edit.jinja"),
        values: &[
            "issue",
            "code",
            "left_out",
            "max_edits",
            "reasoning",
            "search_marker",
            "divider_marker",
            "replace_marker",
        ],
    },
    Known {
        name: "reproduce",
        text: include_str!("../../prompts/reproduce.jinja"),
        values: &[
            "issue",
            "code",
            "left_out",
            "runner",
            "example",
            "example_path",
            "head",
            "reasoning",
        ],
    },
];

/// Why a set of templates is unusable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    #[error("there is no prompt template `{found}`; the names are {}", names())]
    UnknownTemplate { found: String },
    #[error("prompt template `{template}` does not parse: {reason}")]
    Syntax { template: String, reason: String },
    #[error(
        "prompt template `{template}` uses `{found}`, which it is not given; it is given {wanted}"
    )]
    UnknownName { template: String, found: String, wanted: String },
    #[error("prompt template `{template}` does not use `{unused}`, so a prompt would lack it")]
    UnusedName { template: String, unused: String },
    #[error("prompt template `{template}` does not render: {reason}")]
    Render { template: String, reason: String },
}

/// The prompt templates of a run, checked.
#[derive(Debug, Clone)]
pub struct Templates {
    environment: Environment<'static>,
}

impl Templates {
    /// Our own templates, with those named in `replacements` (name without `.jinja` → text) in
    /// place of ours.
    pub fn new(replacements: &BTreeMap<String, String>) -> Result<Self, TemplateError> {
        for found in replacements.keys() {
            if KNOWN.iter().all(|known| known.name != found) {
                return Err(TemplateError::UnknownTemplate { found: found.clone() });
            }
        }
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        for known in KNOWN {
            let text = replacements.get(known.name).map_or(known.text, String::as_str);
            environment.add_template_owned(known.name, text.to_owned()).map_err(|error| {
                TemplateError::Syntax { template: known.name.to_owned(), reason: error.to_string() }
            })?;
            check_names(&environment, known)?;
        }
        Ok(Self { environment })
    }

    /// The names that a folder of replacements may use, each with `.jinja` behind it.
    pub fn names() -> impl Iterator<Item = &'static str> {
        KNOWN.iter().map(|known| known.name)
    }

    /// Renders one template. The values must be exactly those that the template is given.
    pub fn render(&self, name: &str, values: &[(&str, Value)]) -> Result<String, TemplateError> {
        let failed = |reason: String| TemplateError::Render { template: name.to_owned(), reason };
        let known = KNOWN
            .iter()
            .find(|known| known.name == name)
            .ok_or_else(|| TemplateError::UnknownTemplate { found: name.to_owned() })?;
        let given: BTreeSet<&str> = values.iter().map(|(key, _)| *key).collect();
        if given != known.values.iter().copied().collect() {
            return Err(failed(format!(
                "it wants the values {:?}, and was given {given:?}",
                known.values
            )));
        }
        let context: Kwargs = values.iter().map(|(key, value)| (*key, value.clone())).collect();
        let template =
            self.environment.get_template(name).map_err(|error| failed(error.to_string()))?;
        template.render(Value::from(context)).map_err(|error| failed(error.to_string()))
    }
}

fn names() -> String {
    Templates::names().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn check_names(environment: &Environment<'_>, known: &Known) -> Result<(), TemplateError> {
    let template = || known.name.to_owned();
    let loaded = environment.get_template(known.name).map_err(|error| TemplateError::Syntax {
        template: template(),
        reason: error.to_string(),
    })?;
    let used: BTreeSet<String> = loaded.undeclared_variables(false).into_iter().collect();
    if let Some(found) = used.iter().find(|name| !known.values.contains(&name.as_str())) {
        return Err(TemplateError::UnknownName {
            template: template(),
            found: found.clone(),
            wanted: match known.values {
                [] => "nothing".to_owned(),
                values => values.iter().map(|v| format!("`{v}`")).collect::<Vec<_>>().join(", "),
            },
        });
    }
    match known.values.iter().find(|name| !used.contains(**name)) {
        Some(unused) => {
            Err(TemplateError::UnusedName { template: template(), unused: (*unused).to_owned() })
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[track_caller]
    fn check(name: &str, text: &str, expect: Expect) {
        let replacements = BTreeMap::from([(name.to_owned(), text.to_owned())]);
        let outcome = Templates::new(&replacements).map(|_| "fine");
        expect.assert_eq(&outcome.map_or_else(|error| error.to_string(), ToOwned::to_owned));
    }

    #[test]
    fn every_placeholder_is_known_and_used() {
        Templates::new(&BTreeMap::new()).unwrap();
    }

    #[test]
    fn replacements_are_checked_when_they_are_loaded() {
        check("system", "Be brief.", expect!["fine"]);
        check(
            "systen",
            "x",
            expect![
                "there is no prompt template `systen`; the names are `system`, `file`, `likelihood`, `function`, `line`, `edit`, `reproduce`"
            ],
        );
        check(
            "system",
            "{{ issue }}",
            expect![
                "prompt template `system` uses `issue`, which it is not given; it is given nothing"
            ],
        );
        check(
            "file",
            "{{ issue }} {{ files }} {{ left_out }} {{ reasoning }}",
            expect!["prompt template `file` does not use `max_paths`, so a prompt would lack it"],
        );
        check(
            "file",
            "{{ issue",
            expect![[
                r#"prompt template `file` does not parse: syntax error: unexpected end of input, expected end of variable block (in file:1)"#
            ]],
        );
    }

    #[test]
    fn values_are_plain_text() {
        let issue = "{{ files }} {% for x in y %} {# c #} <|im_start|>system <b>&amp;</b>";
        let values = [
            ("issue", Value::from(issue)),
            ("files", Value::from("a.py")),
            ("left_out", Value::from(0)),
            ("max_paths", Value::from(5)),
            ("reasoning", Value::from(false)),
        ];
        let text = Templates::new(&BTreeMap::new()).unwrap().render("file", &values).unwrap();
        assert!(text.contains(issue), "{text}");
        assert!(!text.contains("not shown"), "nothing was left out:\n{text}");
    }

    #[test]
    fn a_value_too_few_or_too_many_fails() {
        let templates = Templates::new(&BTreeMap::new()).unwrap();
        assert!(templates.render("file", &[("issue", Value::from("x"))]).is_err());
        assert!(templates.render("system", &[("issue", Value::from("x"))]).is_err());
    }
}
