//! Rejection sampling: completions of a teacher, of which those stay that are right.

pub mod facts;
pub mod keep;
pub mod row;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{Completion, Finish, Generate, Request, Sampling, Variety};
use crate::prompt::{CountTokens, Message, Role};
use crate::run::seed::call_seed;
use crate::search_replace::fence::Ended;
use crate::stage::StageKind;
use crate::train::data::row::EpisodeRow;
use crate::train::sample::facts::reasoning;
use crate::train::sample::keep::{Keep, Kept, keep};
use crate::train::sample::row::{SFT_VERSION, SftRow};

/// How completions are drawn and chosen.
#[derive(Debug, Clone, Serialize)]
pub struct SampleOptions {
    /// What rows call the teacher.
    pub teacher: String,
    pub keep: Keep,
    /// Completions of each episode.
    pub n: usize,
    /// 0 is greedy.
    pub temperature: f64,
    pub top_p: f64,
    /// Whether the engine is held to the grammar of valid answers.
    pub constrained: bool,
    pub seed: u64,
}

/// What an episode gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sampled {
    pub version: u32,
    pub instance: String,
    pub stage: StageKind,
    pub kept: Vec<SftRow>,
    /// Completions that were not kept, by reason.
    pub reasons: BTreeMap<String, usize>,
}

/// The reason where there is no completion to judge.
const NO_TRUE_ANSWER: &str = "no true answer";

/// The true answer, behind a true sentence where the prompt asks for reasoning.
pub fn from_template(
    row: &EpisodeRow,
    options: &SampleOptions,
    counter: &dyn CountTokens,
) -> Sampled {
    let Some(answer) = &row.answer else {
        let reasons = BTreeMap::from([(NO_TRUE_ANSWER.to_owned(), 1)]);
        return sampled(row, options, Vec::new(), reasons);
    };
    let (_, reasoning_tokens) = row.episode.completion_tokens();
    let before = match reasoning_tokens {
        0 => None,
        _ => reasoning(row.stage, &row.episode.prompt, answer, counter),
    };
    let completion = before.unwrap_or_default() + answer;
    let (kept, reasons) = keep(&row.episode, &[(completion, Ended::ByItself)], options.keep);
    sampled(row, options, kept, reasons)
}

/// Completions of an engine, of which those are kept that are right.
pub async fn from_engine(
    row: &EpisodeRow,
    options: &SampleOptions,
    engine: &dyn Generate,
) -> anyhow::Result<Sampled> {
    let completions = complete(row, options, engine).await?;
    let (kept, reasons) = keep(&row.episode, &completions, options.keep);
    Ok(sampled(row, options, kept, reasons))
}

/// Completions of an engine, each with how it ended.
pub async fn complete(
    row: &EpisodeRow,
    options: &SampleOptions,
    engine: &dyn Generate,
) -> anyhow::Result<Vec<(String, Ended)>> {
    let (max_tokens, _) = row.episode.completion_tokens();
    let request = Request {
        prompt: row.episode.prompt.clone(),
        sampling: Sampling {
            n: options.n,
            temperature: options.temperature,
            top_p: options.top_p,
            top_k: 0,
            min_p: 0.0,
            max_tokens,
            stop: Vec::new(),
            variety: Variety::Independent,
        },
        grammar: options.constrained.then(|| row.episode.grammar()),
        seed: call_seed(options.seed, &row.instance_id, row.stage.name(), 0),
        stage: row.stage.name(),
    };
    let completions = engine.generate(&request, &|_| {}).await?;
    let ended = |completion: &Completion| match completion.finish {
        Finish::Stop => Ended::ByItself,
        Finish::Length => Ended::CutOff,
    };
    Ok(completions.iter().map(|c| (c.text().into_owned(), ended(c))).collect())
}

fn sampled(
    row: &EpisodeRow,
    options: &SampleOptions,
    kept: Vec<Kept>,
    reasons: BTreeMap<String, usize>,
) -> Sampled {
    let sft_row = |kept: Kept| {
        let mut messages = row.episode.prompt.messages.clone();
        messages.push(Message { role: Role::Assistant, content: kept.completion });
        SftRow {
            version: SFT_VERSION,
            instance_id: row.instance_id.clone(),
            stage: row.stage,
            sample: kept.sample,
            repo: row.repo.clone(),
            text_kind: row.text_kind,
            split: row.split,
            teacher: options.teacher.clone(),
            score: kept.score,
            reward: kept.reward,
            messages,
        }
    };
    Sampled {
        version: SFT_VERSION,
        instance: row.instance_id.clone(),
        stage: row.stage,
        kept: kept.into_iter().map(sft_row).collect(),
        reasons,
    }
}
