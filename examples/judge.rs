//! Answers questions about a model's logits, for the scripts in `checks/`.
//!
//!     judge MODEL < questions
//!
//! A question is a line of JSON: `text` or `ids`, and `greedy`, the number of tokens to go on
//! with, or `score: true` for the log-probabilities of the text's tokens. The answer is a line
//! with the `ids`, and `tokens` and `leads`, or `logprobs`.
#![expect(clippy::print_stdout, reason = "the answers")]

use std::io::BufRead as _;
use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;
use sorft::model::local::judge::Judge;
use sorft::model::local::load::LocalOptions;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    text: Option<String>,
    ids: Option<Vec<u32>>,
    #[serde(default)]
    greedy: usize,
    #[serde(default)]
    score: bool,
}

fn main() -> anyhow::Result<()> {
    let model = std::env::args_os().nth(1).context("wanted the path of a model")?;
    let judge = Judge::load(Path::new(&model), &LocalOptions::default())?;
    for line in std::io::stdin().lock().lines() {
        let question: Question = serde_json::from_str(&line?).context("a question")?;
        let ids = match (question.ids, question.text) {
            (Some(ids), None) => ids,
            (None, Some(text)) => judge.encode(&text)?,
            _ => anyhow::bail!("a question has either `text` or `ids`"),
        };
        let logprobs = if question.score { judge.logprobs(&ids)? } else { Vec::new() };
        // Without tokens to go on with, nothing is computed: a text may be asked for its ids alone.
        let best = match question.greedy {
            0 => Vec::new(),
            n_tokens => judge.greedy(&ids, n_tokens)?,
        };
        let (tokens, leads): (Vec<u32>, Vec<f32>) =
            best.iter().map(|best| (best.token, best.lead)).unzip();
        let answer = serde_json::json!({
            "ids": ids, "tokens": tokens, "leads": leads, "logprobs": logprobs,
        });
        println!("{answer}");
    }
    Ok(())
}
