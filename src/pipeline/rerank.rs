//! Retrieval's first files, put in order with the model's help.
//!
//! A small model judges better than it chooses: how likely does the issue's title become, once the
//! file's path and symbols are known? That joins retrieval's score as a second opinion.

use std::cmp::Ordering;

use anyhow::Context as _;
use futures_util::future::try_join_all;
use minijinja::value::Value;
use serde_json::json;

use crate::index::retrieval::RankedFile;
use crate::pipeline::calls::Calls;
use crate::pipeline::progress::Progress;
use crate::prompt::{Message, Prompt, Role};
use crate::stage::Context;

/// Files that are judged: one short prompt each.
const N_FILES: usize = 10;
/// Symbols of a file that a prompt names.
const N_SYMBOLS: usize = 12;
/// What the likelihood counts beside the retrieval's score, both in standard deviations.
const WEIGHT: f64 = 0.5;
/// Characters of a title; a first line may be a whole paragraph.
const TITLE_CHARS: usize = 200;

/// The context with retrieval's first files in their new order.
///
/// # Errors
///
/// The engine cannot judge, or failed.
pub async fn rerank(calls: &Calls<'_>, context: &Context) -> anyhow::Result<Context> {
    let mut context = context.clone();
    let title = title_of(&context.issue);
    let n = context.ranking.files.len().min(N_FILES);
    if title.is_empty() || n < 2 {
        return Ok(context);
    }
    (calls.listener)(Progress::Reranking { n });
    let judged: Vec<RankedFile> = context.ranking.files.drain(..n).collect();
    let prompts = judged.iter().map(|file| prompt_of(&context, file));
    let prompts = prompts.collect::<anyhow::Result<Vec<Prompt>>>()?;
    let scores = (0..).zip(prompts.iter().zip(&judged)).map(|(number, (prompt, file))| {
        let details = json!({ "path": file.path, "retrieval": file.score });
        calls.judge(number, prompt, &title, details)
    });
    let likelihoods = standardized(&try_join_all(scores).await?);
    let retrieved = standardized(&judged.iter().map(|file| file.score).collect::<Vec<f64>>());
    let fused = retrieved.iter().zip(&likelihoods).map(|(score, other)| score + WEIGHT * other);
    let mut files: Vec<(f64, RankedFile)> = fused.zip(judged).collect();
    files.sort_by(|(left, _), (right, _)| right.partial_cmp(left).unwrap_or(Ordering::Equal));
    context.ranking.files.splice(..0, files.into_iter().map(|(_, file)| file));
    Ok(context)
}

/// The issue's first line with text, without the signs of a heading.
fn title_of(issue: &str) -> String {
    let line = issue.lines().map(|line| line.trim_start_matches('#').trim());
    let title = line.into_iter().find(|line| !line.is_empty()).unwrap_or_default();
    title.chars().take(TITLE_CHARS).collect()
}

fn prompt_of(context: &Context, file: &RankedFile) -> anyhow::Result<Prompt> {
    let symbols = context.index.outline(&file.path).map(|outline| {
        let names = outline.symbols.iter().map(|symbol| symbol.name.clone());
        names.filter(|name| !name.is_empty()).take(N_SYMBOLS).collect::<Vec<_>>()
    });
    let values = [
        ("path", Value::from(file.path.as_str())),
        ("symbols", Value::from(symbols.unwrap_or_default())),
    ];
    let text = context.templates.render("likelihood", &values).context("the likelihood prompt")?;
    Ok(Prompt { messages: vec![Message { role: Role::User, content: text }] })
}

/// The values in standard deviations from their mean; all 0 where they are equal.
fn standardized(values: &[f64]) -> Vec<f64> {
    let n = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / n;
    let deviation = (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n).sqrt();
    let scale = if deviation > 0.0 { deviation.recip() } else { 0.0 };
    values.iter().map(|value| (value - mean) * scale).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_title_is_the_first_line_with_text() {
        let rows = [
            ("\n\n# Totals are off\n\nbody", "Totals are off"),
            ("one\ntwo", "one"),
            (" \n##\n", ""),
        ];
        for (issue, title) in rows {
            assert_eq!(title_of(issue), title, "{issue:?}");
        }
        assert_eq!(title_of(&"é".repeat(300)).chars().count(), TITLE_CHARS);
    }

    #[test]
    fn values_of_any_scale_are_compared_in_deviations() {
        assert_eq!(standardized(&[1.0, 3.0]), [-1.0, 1.0]);
        assert_eq!(standardized(&[-300.0, -100.0]), [-1.0, 1.0]);
        assert_eq!(standardized(&[5.0, 5.0]), [0.0, 0.0]);
        assert!(standardized(&[]).is_empty());
    }
}
