//! The lines of an output file, in the reference's own format: its scorer reads ours, we read its.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

use crate::general::repoqa::context::CodeContext;
use crate::general::repoqa::{INSTRUCTION, TEMPLATE, Task, task_id};

pub const ROW_VERSION: u32 = 1;

/// A task with what was answered. The reference reads what it knows and lets the rest be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutputRow {
    pub version: u32,
    /// The task's id.
    pub instance: String,
    /// Who answered, adapter included.
    pub model: String,
    pub repo: String,
    pub name: String,
    pub language: String,
    pub path: String,
    pub position_ratio: f64,
    pub description: String,
    pub instruction: String,
    pub template: String,
    pub code_context: String,
    pub needle_token_start: usize,
    pub needle_token_end: usize,
    pub code_context_ntokens: usize,
    pub output: Vec<String>,
}

impl OutputRow {
    pub fn new(task: &Task, context: CodeContext, model: &str, answer: String) -> Self {
        Self {
            version: ROW_VERSION,
            instance: task.id.clone(),
            model: model.to_owned(),
            repo: task.repo.clone(),
            name: task.needle.name.clone(),
            language: task.language.clone(),
            path: task.needle.path.clone(),
            position_ratio: task.position_ratio,
            description: task.description(),
            instruction: INSTRUCTION.to_owned(),
            template: TEMPLATE.to_owned(),
            code_context: context.text,
            needle_token_start: context.needle_start,
            needle_token_end: context.needle_end,
            code_context_ntokens: context.n_tokens,
            output: vec![answer],
        }
    }

    pub fn answered(&self) -> Answered {
        Answered {
            language: self.language.clone(),
            repo: self.repo.clone(),
            name: self.name.clone(),
            output: self.output.clone(),
        }
    }
}

/// What of an output file is scored.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Answered {
    pub language: String,
    pub repo: String,
    pub name: String,
    /// The first is scored.
    pub output: Vec<String>,
}

impl Answered {
    /// Reads an output file, of the reference or of ours.
    pub fn read_all(path: &Path) -> anyhow::Result<Vec<Self>> {
        let file = File::open(path).with_context(|| format!("opening `{}`", path.display()))?;
        let mut all = Vec::new();
        for (idx, line) in BufReader::new(file).lines().enumerate() {
            let place = || format!("`{}`, line {}", path.display(), idx + 1);
            let line = line.with_context(place)?;
            if line.trim().is_empty() {
                continue;
            }
            let answered: Self = serde_json::from_str(&line).with_context(|| {
                format!(
                    "{}: no answer\nhint: wanted is `{{\"language\": …, \"repo\": …, \"name\": …, \"output\": [\"…\"]}}`, as RepoQA keeps them",
                    place()
                )
            })?;
            ensure!(!answered.output.is_empty(), "{}: `output` is empty", place());
            all.push(answered);
        }
        ensure!(!all.is_empty(), "`{}` holds no answer", path.display());
        Ok(all)
    }

    /// The id of the task that it answers.
    pub fn id(&self) -> String {
        task_id(&self.language, &self.repo, &self.name)
    }
}
