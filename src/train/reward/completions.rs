//! Files of completions that wait for their rewards.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use crate::search_replace::fence::Ended;
use crate::train::reward::Question;

/// A line of such a file.
#[derive(Debug, Deserialize)]
struct CompletionRow {
    id: String,
    completion: String,
    /// Whether the model ended its turn by itself.
    #[serde(default = "yes")]
    ended: bool,
}

fn yes() -> bool {
    true
}

const HINT: &str = r#"hint: a line is {"id": "INSTANCE/STAGE", "completion": "TEXT"}, and has "ended": false where the model was cut off"#;

/// Reads JSON lines of `id`, `completion` and perhaps `ended`.
///
/// # Errors
///
/// It cannot be read, or a line is none; it is named.
pub fn read_completions(path: &Path) -> anyhow::Result<Vec<Question>> {
    let file = File::open(path).with_context(|| format!("opening `{}`", path.display()))?;
    let mut questions = Vec::new();
    for (idx, line) in BufReader::new(file).lines().enumerate() {
        let place = || format!("`{}`, line {}", path.display(), idx + 1);
        let line = line.with_context(place)?;
        if line.trim().is_empty() {
            continue;
        }
        let row: CompletionRow = serde_json::from_str(&line)
            .with_context(|| format!("{}: no completion\n{HINT}", place()))?;
        questions.push(row.into());
    }
    ensure!(!questions.is_empty(), "`{}` holds no completion\n{HINT}", path.display());
    Ok(questions)
}

impl From<CompletionRow> for Question {
    fn from(row: CompletionRow) -> Self {
        let ended = if row.ended { Ended::ByItself } else { Ended::CutOff };
        Self { id: row.id, completion: row.completion, ended }
    }
}
