//! The lines of an output file, in the reference's own format, and the answers that others gave.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::general::livecodebench::data::Problem;
use crate::general::livecodebench::extract_code;
use crate::general::livecodebench::grade::Grade;

pub const ROW_VERSION: u32 = 1;

/// How far a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    Answered,
    Graded,
}

/// A problem with its answers, and with what the tests say of them once they are graded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProblemRow {
    pub version: u32,
    /// The problem's id.
    pub instance: String,
    pub stage: Step,
    /// Who answered, adapter included; nothing for given answers.
    pub model: Option<String>,
    pub question_title: String,
    pub question_content: String,
    pub platform: String,
    pub question_id: String,
    pub contest_id: String,
    pub contest_date: String,
    pub starter_code: String,
    pub difficulty: String,
    pub output_list: Vec<String>,
    pub code_list: Vec<String>,
    /// Empty until they are graded, as what follows.
    pub graded_list: Vec<bool>,
    #[serde(rename = "pass@1")]
    pub pass_at_1: f64,
    pub grades: Vec<Grade>,
}

impl ProblemRow {
    pub fn new(problem: &Problem, model: Option<&str>, answers: Answers) -> Self {
        Self {
            version: ROW_VERSION,
            instance: problem.question_id.clone(),
            stage: Step::Answered,
            model: model.map(ToOwned::to_owned),
            question_title: problem.question_title.clone(),
            question_content: problem.question_content.clone(),
            platform: problem.platform.clone(),
            question_id: problem.question_id.clone(),
            contest_id: problem.contest_id.clone(),
            contest_date: problem.contest_date.clone(),
            starter_code: problem.starter_code.clone(),
            difficulty: problem.difficulty.clone(),
            output_list: answers.outputs,
            code_list: answers.codes,
            graded_list: Vec::new(),
            pass_at_1: 0.0,
            grades: Vec::new(),
        }
    }

    /// The same with what the tests say of each program.
    #[must_use]
    pub fn graded(mut self, grades: Vec<Grade>) -> Self {
        self.graded_list = grades.iter().map(Grade::is_right).collect();
        self.pass_at_1 = self.n_right() as f64 / grades.len().max(1) as f64;
        self.grades = grades;
        self.stage = Step::Graded;
        self
    }

    pub fn n_right(&self) -> usize {
        self.graded_list.iter().filter(|is_right| **is_right).count()
    }
}

/// The answers to one problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answers {
    pub outputs: Vec<String>,
    /// The program in each.
    pub codes: Vec<String>,
}

impl Answers {
    pub fn of_outputs(outputs: Vec<String>) -> Self {
        let codes = outputs.iter().map(|output| extract_code(output)).collect();
        Self { outputs, codes }
    }

    /// Reads a file of answers, by problem.
    ///
    /// As the reference's custom evaluator takes them: a list of maps with `question_id` and
    /// `code_list`, or a list of lists of programs in order of the problems' ids. Also maps with
    /// `output_list` alone, as the reference keeps raw answers, and JSON lines, as ours do.
    pub fn read_all(path: &Path, problems: &[Problem]) -> anyhow::Result<BTreeMap<String, Self>> {
        let context = || {
            format!(
                "`{}` holds no answers of LiveCodeBench\nhint: wanted is `[{{\"question_id\": …, \"code_list\": [\"…\"]}}]`, or `output_list` for raw answers",
                path.display()
            )
        };
        let text =
            fs::read_to_string(path).with_context(|| format!("reading `{}`", path.display()))?;
        let entries: Vec<Value> = match text.trim_start().starts_with('[') {
            true => serde_json::from_str(&text).with_context(context)?,
            false => {
                let lines = text.lines().filter(|line| !line.trim().is_empty());
                lines.map(serde_json::from_str).collect::<Result<_, _>>().with_context(context)?
            }
        };
        ensure!(!entries.is_empty(), "`{}` holds no answers", path.display());
        let mut answers = BTreeMap::new();
        if entries.iter().all(Value::is_array) {
            ensure!(
                entries.len() == problems.len(),
                "`{}` has answers to {} problems, the data has {}\nhint: lists without ids must be for all problems, in order of their ids",
                path.display(),
                entries.len(),
                problems.len()
            );
            for (problem, codes) in problems.iter().zip(entries) {
                let codes: Vec<String> = serde_json::from_value(codes).with_context(context)?;
                let one = Self { outputs: codes.clone(), codes };
                answers.insert(problem.question_id.clone(), one);
            }
            return Ok(answers);
        }
        for entry in entries {
            let given: Given = serde_json::from_value(entry).with_context(context)?;
            let (id, one) = given.answers().with_context(context)?;
            if answers.insert(id.clone(), one).is_some() {
                bail!("`{}` has answers to `{id}` twice", path.display());
            }
        }
        Ok(answers)
    }
}

/// One problem's answers in a file.
#[derive(Deserialize)]
struct Given {
    /// A text, or a number that stands for it.
    question_id: Value,
    #[serde(default)]
    code_list: Option<Vec<String>>,
    #[serde(default)]
    output_list: Option<Vec<String>>,
}

impl Given {
    fn answers(self) -> anyhow::Result<(String, Answers)> {
        let id = match self.question_id {
            Value::String(id) => id,
            Value::Number(id) => id.to_string(),
            other => bail!("`question_id` is `{other}`"),
        };
        let answers = match (self.code_list, self.output_list) {
            (Some(codes), Some(outputs)) => Answers { outputs, codes },
            (Some(codes), None) => Answers { outputs: codes.clone(), codes },
            (None, Some(outputs)) => Answers::of_outputs(outputs),
            (None, None) => bail!("`{id}` has neither `code_list` nor `output_list`"),
        };
        Ok((id, answers))
    }
}
