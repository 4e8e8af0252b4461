//! Reinforcement learning: completions earn rewards, and what earned more than expected becomes
//! likelier (PPO as in the paper; GRPO and RLOO).
//!
//! The network holds everything that was learnt before, and is the reference from which the policy
//! is to stay near. Trained is a fresh adapter on it, or a copy of all its weights.

pub mod actor;
pub mod arithmetic;
pub mod credit;
pub mod critic;
pub mod group;
pub mod learner;
pub mod metrics;
pub mod options;
pub mod pack;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

use crate::run::memory::peak_memory_bytes;
use crate::run::seed::call_seed;
use crate::stage::StageKind;
use crate::train::checkpoint::{self, Checkpoint, Learnt as _};
use crate::train::decoder::peft::Precision;
use crate::train::decoder::{Activations, Adapter, Network};
use crate::train::draw::order;
use crate::train::folder::{ADDITION, BEST, CHECKPOINTS, TrainFolder};
use crate::train::optimizer::AdamW;
use crate::train::resume::{AGAIN, METRICS_FILE, Position, TIMINGS_FILE, best, resume};
use crate::train::rl::actor::{Actor, Asked, Manner};
use crate::train::rl::critic::{Critic, ValueHead};
use crate::train::rl::group::{Group, Track};
use crate::train::rl::learner::Learner;
use crate::train::rl::metrics::{HeldOutStage, RlMetrics, RlTiming};
use crate::train::rl::options::{Algorithm, CriticKind, RlOptions};
use crate::train::scored::ScoredSample;
use crate::train::tuned::Tuned;

/// What is trained, and on what.
pub struct Rl<'a> {
    /// With what was learnt before merged into it.
    pub network: &'a Network,
    /// What the finished adapter calls the model that it belongs to.
    pub base: &'a str,
    /// The model's files.
    pub path: &'a Path,
    pub actor: &'a Actor<'a>,
    pub asked: &'a [Asked],
    /// Of `asked`, the prompts that are learnt from; the others are held out.
    pub n_learnt: usize,
    pub options: &'a RlOptions,
}

/// Where a run is, beside its weights.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct RlState {
    /// Steps done.
    pub step: usize,
    #[serde(default)]
    pub best: Option<Best>,
}

/// The checkpoint with the highest held-out reward, all stages counting the same.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Best {
    pub step: usize,
    pub reward: f64,
}

impl Position for RlState {
    fn step(&self) -> usize {
        self.step
    }
}

type At = Checkpoint<RlState, Option<Critic>, Tuned>;

impl Rl<'_> {
    /// Trains to the end, from the newest checkpoint on; `events` hears of every step.
    pub fn run(
        &self,
        folder: &TrainFolder,
        activations: Activations,
        events: &dyn Fn(&RlMetrics, &RlTiming),
    ) -> anyhow::Result<RlState> {
        ensure!(0 < self.n_learnt, "there is no prompt to learn from");
        let found =
            resume::<RlState, Option<Critic>, Tuned, RlMetrics, RlTiming>(folder, self.network)?;
        let at = found.unwrap_or_else(|| self.begin());
        let critic = at.beside.as_ref().map(|critic| critic.adapter.is_some());
        let wanted = (self.options.algorithm == Algorithm::Ppo)
            .then_some(self.options.critic == CriticKind::Adapter);
        ensure!(
            critic == wanted,
            "the newest checkpoint in `{}` lacks files of its critic\n{AGAIN}",
            folder.path().display()
        );
        let silent = self.actor.silent(self.network);
        let learner =
            Learner::new(self.network, self.asked, self.options, (activations, silent), &at);
        let mut run = Run { rl: self, checkpoints: folder.path().join(CHECKPOINTS), at, learner };
        if run.at.state.step == 0 {
            let held_out = run.judge()?;
            let before = RlMetrics { version: 1, held_out, ..RlMetrics::default() };
            folder.log(METRICS_FILE, &before)?;
            events(&before, &RlTiming::default());
        }
        while run.at.state.step < self.options.steps {
            let (mut metrics, timing) =
                run.step().with_context(|| format!("in step {}", run.at.state.step + 1))?;
            let step = run.at.state.step;
            let is_saved =
                step.is_multiple_of(self.options.save_every) || step == self.options.steps;
            if is_saved {
                metrics.held_out = run.judge()?;
                run.compare(metrics.held_out.as_ref());
            }
            folder.log(METRICS_FILE, &metrics)?;
            folder.log(TIMINGS_FILE, &timing)?;
            events(&metrics, &timing);
            if is_saved {
                run.save()?;
            }
        }
        let state = run.at.state;
        if let Some(Best { step, .. }) = state.best.filter(|best| best.step != state.step) {
            self.finish(best(&run.checkpoints, step, self.network)?, &folder.path().join(BEST))?;
        }
        self.finish(run.at.weights, folder.path())?;
        Ok(state)
    }

    /// Writes a policy with what was learnt before, and, where that is an adapter, by itself.
    fn finish(&self, policy: Tuned, folder: &Path) -> anyhow::Result<()> {
        let mut whole = match policy {
            Tuned::Adapter(mut policy) => {
                if self.actor.has_adapter_before() {
                    policy.write(&folder.join(ADDITION), Some(self.base), Precision::F16)?;
                }
                Tuned::Adapter(self.actor.whole(&policy))
            }
            full @ Tuned::Full(_) => full,
        };
        whole.finish(folder, (self.path, self.base))
    }

    fn begin(&self) -> At {
        let RlOptions { full, additions, seed, .. } = self.options;
        let of = |what: &str| call_seed(*seed, what, "", 0);
        let mut weights = Tuned::begin(self.network, (!*full).then_some(additions), of("policy"));
        let critic = (self.options.algorithm == Algorithm::Ppo).then(|| {
            let own = match self.options.critic {
                CriticKind::Adapter => Some(additions.fresh(self.network, of("critic"))),
                CriticKind::Shared => None,
            };
            Critic::new(own, ValueHead::new(self.network.shape.hidden, of("value")))
        });
        let optimizer = AdamW::of(&weights.tensors_mut());
        Checkpoint { weights, optimizer, beside: critic, state: RlState::default() }
    }

    /// The prompts of a step, counted from 0, each with its seed.
    fn chosen(&self, step: usize) -> Vec<(usize, u64)> {
        let n = self.options.prompts;
        let at = |place: usize| {
            let (epoch, place) = (place / self.n_learnt, place % self.n_learnt);
            order(self.n_learnt, self.options.seed, epoch)[place]
        };
        let seed = |place: usize| call_seed(self.options.seed, "rollout", "", place as u64);
        (step * n..(step + 1) * n).map(|place| (at(place), seed(place))).collect()
    }
}

/// A run at work.
struct Run<'a> {
    rl: &'a Rl<'a>,
    checkpoints: PathBuf,
    at: At,
    learner: Learner<'a>,
}

impl Run<'_> {
    fn step(&mut self) -> anyhow::Result<(RlMetrics, RlTiming)> {
        let Rl { actor, asked, options, .. } = *self.rl;
        let began = Instant::now();
        actor.become_policy(&self.at.weights)?;
        let chosen = self.rl.chosen(self.at.state.step);
        let manner = Manner { samples: options.samples, temperature: 1.0, is_learnt: true };
        let acted = actor.act(&chosen, asked, manner)?;
        let groups = chosen.iter().zip(acted).map(|((prompt, _), acted)| Group {
            prompt: *prompt,
            tracks: acted.into_iter().map(Track::new).collect(),
        });
        let mut groups: Vec<Group> = groups.collect();
        let writing_seconds = began.elapsed().as_secs_f64();

        let began = Instant::now();
        let (update, learnt_rows) = self.learner.learn(&mut self.at, &mut groups)?;
        self.at.state.step += 1;
        let mut metrics = RlMetrics::of(self.at.state.step, &groups, asked);
        metrics.update = Some(update);
        let written = groups.iter().flat_map(|group| &group.tracks).map(Track::n_tokens);
        let timing = RlTiming {
            step: self.at.state.step,
            written_tokens: written.sum(),
            writing_seconds,
            learnt_rows,
            learning_seconds: began.elapsed().as_secs_f64(),
            peak_memory_bytes: peak_memory_bytes(),
        };
        Ok((metrics, timing))
    }

    /// Greedy answers to the held-out prompts.
    fn judge(&self) -> anyhow::Result<Option<BTreeMap<StageKind, HeldOutStage>>> {
        let Rl { actor, asked, n_learnt, .. } = *self.rl;
        if n_learnt == asked.len() {
            return Ok(None);
        }
        actor.become_policy(&self.at.weights)?;
        let prompts: Vec<(usize, u64)> = (n_learnt..asked.len()).map(|idx| (idx, 0)).collect();
        let acted = actor.act(
            &prompts,
            asked,
            Manner { samples: 1, temperature: 0.0, is_learnt: false },
        )?;
        let mut samples: BTreeMap<StageKind, Vec<ScoredSample>> = BTreeMap::new();
        for ((idx, _), acted) in prompts.iter().zip(acted) {
            let of_stage = samples.entry(asked[*idx].stage).or_default();
            of_stage.extend(acted.into_iter().map(|acted| acted.judged));
        }
        let stages = samples.iter().map(|(stage, samples)| (*stage, HeldOutStage::of(samples)));
        Ok(Some(stages.collect()))
    }

    /// Remembers the step if no saved one before it earned as much.
    fn compare(&mut self, held_out: Option<&BTreeMap<StageKind, HeldOutStage>>) {
        let Some(stages) = held_out.filter(|stages| !stages.is_empty()) else { return };
        let reward = stages.values().map(|stage| stage.reward).sum::<f64>() / stages.len() as f64;
        let RlState { step, best } = &mut self.at.state;
        if best.is_none_or(|best| best.reward < reward) {
            *best = Some(Best { step: *step, reward });
        }
    }

    /// Keeps the newest checkpoint, and the best one.
    fn save(&mut self) -> anyhow::Result<()> {
        let step = self.at.state.step;
        let critic = self.at.beside.as_mut().and_then(|critic| critic.adapter.as_mut());
        let is_usable = critic.map_or(Ok(()), Adapter::check_finite);
        is_usable.and_then(|()| self.at.weights.check()).with_context(|| {
            format!(
                "step {step}; the last checkpoint is as it was\nhint: a lower `--rate` and another folder"
            )
        })?;
        self.at.write(&self.checkpoints, step, self.rl.base)?;
        let best = self.at.state.best.map_or(step, |best| best.step);
        checkpoint::keep_only(&self.checkpoints, &[step, best])
    }
}
