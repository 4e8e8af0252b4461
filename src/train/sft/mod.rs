//! Supervised fine-tuning: learning the answers of kept chats.

pub mod held_out;
pub mod metrics;
pub mod sequences;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::train::checkpoint::{self, Checkpoint, Learnt as _};
use crate::train::decoder::batch::Batch;
use crate::train::decoder::weight::BasePrecision;
use crate::train::decoder::{Activations, Gradients, Network, Trainer};
use crate::train::draw::order;
use crate::train::folder::{CHECKPOINTS, TrainFolder};
use crate::train::optimizer::{AdamW, Schedule, clip_factor, norm};
use crate::train::resume::{METRICS_FILE, Position, TIMINGS_FILE, best, resume};
use crate::train::sft::held_out::{HeldOut, held_out_loss};
use crate::train::sft::metrics::{StepMetrics, StepTiming};
use crate::train::sft::sequences::{Sequence, pack};
use crate::train::tuned::{Additions, Tuned};

/// How to train; what is not here is not to be chosen.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SftOptions {
    pub epochs: usize,
    /// Ends the run after so many updates, in the middle of an epoch; the schedule is that of a
    /// whole run of this length.
    pub max_steps: Option<usize>,
    /// Chats in an update.
    pub batch: usize,
    /// The highest rate of the schedule.
    pub rate: f64,
    /// The part of all updates that warms up.
    pub warm_up: f64,
    pub weight_decay: f64,
    /// The highest norm of the gradients.
    pub max_norm: f64,
    /// `None`: all weights are tuned.
    pub additions: Option<Additions>,
    /// What the base's projections are kept in.
    pub precision: BasePrecision,
    /// Tokens that go through the network at once.
    pub pack_tokens: usize,
    /// Updates from one checkpoint, with its held-out loss, to the next.
    pub save_every: usize,
    pub seed: u64,
}

/// Where a run is, beside its weights.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SftState {
    /// Updates done.
    pub step: usize,
    pub best: Option<Best>,
}

impl Position for SftState {
    fn step(&self) -> usize {
        self.step
    }
}

/// The checkpoint with the lowest held-out loss.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Best {
    pub step: usize,
    pub loss: f64,
}

/// What is trained, and on what.
pub struct Sft<'a> {
    pub network: &'a Network,
    /// What the adapter calls the model that it belongs to.
    pub base: &'a str,
    /// The model's files.
    pub path: &'a Path,
    pub sequences: &'a [Sequence],
    pub held_out: &'a [Sequence],
    pub options: &'a SftOptions,
}

impl Sft<'_> {
    /// Updates of the whole run.
    pub fn n_steps(&self) -> usize {
        let all = self.options.epochs.saturating_mul(self.steps_of_epoch());
        self.options.max_steps.map_or(all, |max| all.min(max))
    }

    fn steps_of_epoch(&self) -> usize {
        self.sequences.len().div_ceil(self.options.batch)
    }

    /// Trains to the end, from the newest checkpoint on; `events` hears of every update.
    pub fn run(
        &self,
        folder: &TrainFolder,
        activations: Activations,
        events: &dyn Fn(&StepMetrics, &StepTiming),
    ) -> anyhow::Result<SftState> {
        ensure!(!self.sequences.is_empty(), "there is no chat to learn");
        let mut run = Run::open(self, folder, activations)?;
        if run.at.state.step == 0 && !self.held_out.is_empty() {
            let loss = held_out_loss(&mut run.trainer, self, &run.at.weights);
            run.tell(&StepMetrics::before(loss), &StepTiming::default(), events)?;
        }
        while run.at.state.step < self.n_steps() {
            let began = Instant::now();
            let (mut metrics, n_tokens) = run.update()?;
            let step = run.at.state.step;
            let timing = StepTiming::new(step, n_tokens, began.elapsed());
            let is_saved = step.is_multiple_of(self.options.save_every) || step == self.n_steps();
            if is_saved && !self.held_out.is_empty() {
                metrics.held_out = Some(run.judge()?);
            }
            run.tell(&metrics, &timing, events)?;
            if is_saved {
                run.save()?;
            }
        }
        run.finish()
    }

    fn begin(&self) -> At {
        let SftOptions { additions, seed, .. } = self.options;
        let mut weights = Tuned::begin(self.network, additions.as_ref(), *seed);
        let optimizer = AdamW::of(&weights.tensors_mut());
        Checkpoint { weights, optimizer, beside: (), state: SftState::default() }
    }

    /// The chats of an update, counted from 0.
    fn chosen(&self, step: usize) -> Vec<&Sequence> {
        let order = order(self.sequences.len(), self.options.seed, step / self.steps_of_epoch());
        let first = step % self.steps_of_epoch() * self.options.batch;
        order.iter().skip(first).take(self.options.batch).map(|idx| &self.sequences[*idx]).collect()
    }
}

type At = Checkpoint<SftState, (), Tuned>;

/// A run at work.
struct Run<'a> {
    sft: &'a Sft<'a>,
    folder: &'a TrainFolder,
    checkpoints: PathBuf,
    at: At,
    trainer: Trainer,
    gradients: Gradients,
}

impl<'a> Run<'a> {
    /// Begins, or goes on from the newest checkpoint.
    fn open(
        sft: &'a Sft<'a>,
        folder: &'a TrainFolder,
        activations: Activations,
    ) -> anyhow::Result<Self> {
        let checkpoints = folder.path().join(CHECKPOINTS);
        let found = resume::<SftState, (), Tuned, StepMetrics, StepTiming>(folder, sft.network)?;
        let at = found.unwrap_or_else(|| sft.begin());
        let gradients = at.weights.gradients();
        let trainer = Trainer::new(activations);
        let run = Self { sft, folder, checkpoints, at, trainer, gradients };
        // Its loss now tells, not after hours.
        run.best()?;
        Ok(run)
    }

    /// The weights of the best checkpoint, where that is not the newest.
    fn best(&self) -> anyhow::Result<Option<Tuned>> {
        let state = &self.at.state;
        let Some(Best { step, .. }) = state.best.filter(|best| best.step != state.step) else {
            return Ok(None);
        };
        best(&self.checkpoints, step, self.sft.network).map(Some)
    }

    /// One update, of which every learnt token has the same weight; gives its tokens, too.
    fn update(&mut self) -> anyhow::Result<(StepMetrics, usize)> {
        let Self { sft, at: Checkpoint { weights, optimizer, state, .. }, .. } = self;
        let chosen = sft.chosen(state.step);
        let n_learnt: usize = chosen.iter().map(|sequence| sequence.n_learnt()).sum();
        let n_tokens: usize = chosen.iter().map(|sequence| sequence.ids.len()).sum();
        self.gradients.clear();
        let mut loss = 0.0;
        for group in pack(&chosen, sft.options.pack_tokens) {
            let mut batch = Batch::default();
            for sequence in group {
                batch.push(&sequence.ids, sequence.first_learnt, 1.0 / n_learnt as f32);
            }
            let (network, adapter) = weights.over(sft.network);
            loss += self.trainer.step(network, adapter, &batch, &mut self.gradients);
        }
        let SftOptions { rate, warm_up, max_norm, weight_decay, .. } = *sft.options;
        let gradients = self.gradients.tensors_mut();
        let norm = norm(&gradients);
        let rate = Schedule { peak: rate, warm_up, floor: 0.0 }.rate(state.step, sft.n_steps());
        state.step += 1;
        if !loss.is_finite() || !norm.is_finite() {
            let of = chosen.iter().map(|s| format!("{} {}", s.instance_id, s.stage.name()));
            bail!(
                "step {}: the loss is {loss} and its gradient's norm {norm}; the last checkpoint is as it was\nhint: a lower `--rate` and another folder; the step's chats: {}",
                state.step,
                of.collect::<Vec<_>>().join(", ")
            );
        }
        let factor = clip_factor(norm, max_norm);
        optimizer.update(weights.tensors_mut(), gradients, factor, (rate, weight_decay));
        let metrics = StepMetrics {
            version: 1,
            step: state.step,
            epoch: state.step as f64 / sft.steps_of_epoch() as f64,
            loss: Some(loss),
            learnt_tokens: n_learnt,
            rate,
            norm: Some(norm),
            held_out: None,
        };
        Ok((metrics, n_tokens))
    }

    /// The held-out loss, and whether it is the lowest.
    fn judge(&mut self) -> anyhow::Result<HeldOut> {
        let held_out = held_out_loss(&mut self.trainer, self.sft, &self.at.weights);
        let (loss, state) = (held_out.loss, &mut self.at.state);
        ensure!(
            loss.is_finite(),
            "the held-out loss is {loss} after step {}; the last checkpoint is as it was\nhint: a lower `--rate` and another folder",
            state.step
        );
        if state.best.is_none_or(|best| loss < best.loss) {
            state.best = Some(Best { step: state.step, loss });
        }
        Ok(held_out)
    }

    fn tell(
        &self,
        metrics: &StepMetrics,
        timing: &StepTiming,
        events: &dyn Fn(&StepMetrics, &StepTiming),
    ) -> anyhow::Result<()> {
        self.folder.log(METRICS_FILE, metrics)?;
        if 0 < timing.step {
            self.folder.log(TIMINGS_FILE, timing)?;
        }
        events(metrics, timing);
        Ok(())
    }

    /// Keeps the newest checkpoint, and the best one.
    fn save(&mut self) -> anyhow::Result<()> {
        self.at.weights.check().with_context(|| {
            format!(
                "step {}; the last checkpoint is as it was\nhint: a lower `--rate` and another folder",
                self.at.state.step
            )
        })?;
        let (newest, best) = (self.at.state.step, self.at.state.best.map(|best| best.step));
        self.at.write(&self.checkpoints, newest, self.sft.base)?;
        checkpoint::keep_only(&self.checkpoints, &[newest, best.unwrap_or(newest)])
    }

    /// Writes the best checkpoint's adapter or model.
    fn finish(mut self) -> anyhow::Result<SftState> {
        if let Some(best) = self.best()? {
            self.at.weights = best;
        }
        self.at.weights.finish(self.folder.path(), (self.sft.path, self.sft.base))?;
        Ok(self.at.state)
    }
}
