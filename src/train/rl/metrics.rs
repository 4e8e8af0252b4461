//! What is logged of every step: what depends on the seed alone, and, apart from it, time.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::stage::StageKind;
use crate::train::folder::OfStep;
use crate::train::rl::actor::Asked;
use crate::train::rl::arithmetic::explained_variance;
use crate::train::rl::credit::divergence;
use crate::train::rl::group::{Group, Track};
use crate::train::scored::ScoredSample;

/// A line of `metrics.jsonl`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RlMetrics {
    pub version: u32,
    /// Steps done.
    pub step: usize,
    /// Of the completions that this step learnt from; absent before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overall: Option<Measured>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub stages: BTreeMap<StageKind, Measured>,
    /// Prompts of several completions that all earned the same.
    pub uniform_prompts: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update: Option<Update>,
    /// Where a checkpoint was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_out: Option<BTreeMap<StageKind, HeldOutStage>>,
}

/// Greedy answers to the held-out prompts of a stage.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct HeldOutStage {
    pub prompts: usize,
    pub reward: f64,
    pub hit: f64,
    /// The answer to the first prompt, and what it earned.
    pub example: String,
    pub example_reward: f64,
}

impl HeldOutStage {
    pub(super) fn of(samples: &[ScoredSample]) -> Self {
        let n = samples.len().max(1) as f64;
        let is_hit = |s: &&ScoredSample| s.score.is_some_and(|score| 0 < score.hits);
        let first = samples.first();
        Self {
            prompts: samples.len(),
            reward: samples.iter().map(|sample| sample.reward).sum::<f64>() / n,
            hit: samples.iter().filter(is_hit).count() as f64 / n,
            example: first.map(|sample| sample.completion.clone()).unwrap_or_default(),
            example_reward: first.map_or(0.0, |sample| sample.reward),
        }
    }
}

/// What completions were like.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    pub completions: usize,
    pub reward: f64,
    /// The share that names an item of the truth.
    pub hit: f64,
    /// Items of a usable answer.
    pub items: f64,
    pub response_tokens: f64,
    pub thought_tokens: f64,
    /// Why answers could not be used.
    pub rejections: BTreeMap<String, usize>,
    /// Divergence from the model before reinforcement, of a token, in nats (estimator k1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kl: Option<f64>,
    /// Of a token's distribution, in nats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entropy: Option<f64>,
    /// How far a token's log-probability in the engine is from the trainer's, in nats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine_kl: Option<f64>,
}

/// What the step changed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Update {
    /// Absent where the critic learnt alone, or nothing was to be learnt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyUpdate>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub critic: Option<CriticUpdate>,
}

/// Of several passes, the last one's.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PolicyUpdate {
    pub rate: f64,
    pub loss: f64,
    /// The share of tokens whose ratio was clipped.
    pub clip_fraction: f64,
    /// The norm of the gradients before it was cut.
    pub norm: f64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CriticUpdate {
    pub rate: f64,
    pub value_loss: f64,
    pub norm: f64,
    /// The part of the returns' variance that the values explained.
    pub explained_variance: f64,
}

impl Measured {
    fn of(tracks: &[&Track]) -> Self {
        let n = tracks.len().max(1) as f64;
        let mean = |of: &dyn Fn(&Track) -> f64| tracks.iter().map(|t| of(t)).sum::<f64>() / n;
        let scores = tracks.iter().filter_map(|track| track.acted.judged.score);
        let answered: Vec<usize> = scores.clone().map(|score| score.answered).collect();
        let mut rejections = BTreeMap::new();
        for reason in tracks.iter().filter_map(|track| track.acted.judged.rejection.as_ref()) {
            *rejections.entry(reason.clone()).or_default() += 1;
        }
        // Groups that teach nothing are not looked at.
        let seen = tracks.iter().copied().filter(|track| !track.old.is_empty());
        let n_seen: usize = seen.clone().map(Track::n_drawn).sum();
        let mean_of_tokens = |sum: f64| (0 < n_seen).then(|| sum / n_seen as f64);
        let own = |track: &Track| track.old.iter().map(|old| old.logprob).sum::<f64>();
        Self {
            completions: tracks.len(),
            reward: mean(&Track::reward),
            hit: scores.filter(|score| 0 < score.hits).count() as f64 / n,
            items: answered.iter().sum::<usize>() as f64 / answered.len().max(1) as f64,
            response_tokens: mean(&|track| track.n_tokens() as f64),
            thought_tokens: mean(&|track| track.acted.thought_tokens as f64),
            rejections,
            kl: mean_of_tokens(seen.clone().flat_map(divergence).sum()),
            entropy: mean_of_tokens(seen.clone().flat_map(|t| &t.old).map(|p| p.entropy).sum()),
            engine_kl: mean_of_tokens(seen.map(|t| t.acted.engine_logprob - own(t)).sum()),
        }
    }
}

impl RlMetrics {
    pub(super) fn of(step: usize, groups: &[Group], asked: &[Asked]) -> Self {
        let tracks = |stage: Option<StageKind>| -> Vec<&Track> {
            let of_stage =
                |group: &&Group| stage.is_none_or(|stage| asked[group.prompt].stage == stage);
            groups.iter().filter(of_stage).flat_map(|group| &group.tracks).collect()
        };
        let stages = StageKind::ALL.map(|stage| (stage, tracks(Some(stage))));
        let stages = stages.into_iter().filter(|(_, tracks)| !tracks.is_empty());
        Self {
            version: 1,
            step,
            overall: Some(Measured::of(&tracks(None))),
            stages: stages.map(|(stage, tracks)| (stage, Measured::of(&tracks))).collect(),
            uniform_prompts: groups.iter().filter(|group| group.is_uniform()).count(),
            update: None,
            held_out: None,
        }
    }
}

impl CriticUpdate {
    /// Of the values before the update.
    pub(super) fn explained(groups: &[Group]) -> f64 {
        let tracks = groups.iter().flat_map(|group| &group.tracks);
        let all = |of: fn(&Track) -> &Vec<f64>| -> Vec<f64> {
            tracks.clone().flat_map(|track| of(track).iter().copied()).collect()
        };
        explained_variance(&all(|track| &track.values), &all(|track| &track.returns))
    }
}

impl OfStep for RlMetrics {
    fn step(&self) -> usize {
        self.step
    }
}

/// A line of `timings.jsonl`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RlTiming {
    pub step: usize,
    /// Tokens that the engine wrote.
    pub written_tokens: usize,
    pub writing_seconds: f64,
    /// Rows that went forward and back through the trained network.
    pub learnt_rows: usize,
    pub learning_seconds: f64,
    /// Of the process so far.
    pub peak_memory_bytes: Option<u64>,
}

impl OfStep for RlTiming {
    fn step(&self) -> usize {
        self.step
    }
}
