//! One step's updates: what the policy and the critic learn from a step's completions.

use anyhow::bail;

use crate::train::checkpoint::{Checkpoint, Learnt as _};
use crate::train::decoder::batch::Batch;
use crate::train::decoder::top::{Loss, Predicted, Top};
use crate::train::decoder::{Activations, Adapter, Gradients, Network, Trainer};
use crate::train::optimizer::{Schedule, clip_factor, norm};
use crate::train::rl::actor::Asked;
use crate::train::rl::arithmetic::{k3, policy_loss, value_loss};
use crate::train::rl::credit::assign;
use crate::train::rl::critic::{Critic, ValueHead};
use crate::train::rl::group::{Group, Track};
use crate::train::rl::metrics::{CriticUpdate, PolicyUpdate, Update};
use crate::train::rl::options::{Algorithm, RATE_FLOOR, RlOptions};
use crate::train::rl::pack::{Masks, Pack, packs};
use crate::train::rl::{At, RlState};

/// The trained network at work, with its gradients.
pub struct Learner<'a> {
    network: &'a Network,
    asked: &'a [Asked],
    options: &'a RlOptions,
    /// Tokens that the engine never writes.
    silent: Vec<u32>,
    trainer: Trainer,
    policy: Gradients,
    critic: Option<CriticGradients>,
}

/// What a pass's packs add up to.
#[derive(Default)]
struct Sums {
    policy: f64,
    value: f64,
    n_clipped: usize,
    n_rows: usize,
}

struct CriticGradients {
    adapter: Option<Gradients>,
    head: ValueHead,
}

impl<'a> Learner<'a> {
    pub(super) fn new(
        network: &'a Network,
        asked: &'a [Asked],
        options: &'a RlOptions,
        (activations, silent): (Activations, Vec<u32>),
        at: &At,
    ) -> Self {
        let zeros = |adapter: &Adapter| Gradients::Adapter(adapter.zeros_like());
        let critic = at.beside.as_ref().map(|critic| CriticGradients {
            adapter: critic.adapter.as_ref().map(zeros),
            head: critic.head.zeros_like(),
        });
        let trainer = Trainer::new(activations);
        let policy = at.weights.gradients();
        Self { network, asked, options, silent, trainer, policy, critic }
    }

    /// Learns from groups, and tells how many rows went through the network forward and back.
    pub(super) fn learn(
        &mut self,
        at: &mut At,
        groups: &mut [Group],
    ) -> anyhow::Result<(Update, usize)> {
        // Where completions are compared with each other, equal ones are left out: computing them
        // would serve the pull to the reference alone.
        if self.options.algorithm != Algorithm::Ppo {
            groups.sort_by_key(Group::is_uniform);
        }
        let n_taught = match self.options.algorithm {
            Algorithm::Ppo => groups.len(),
            _ => groups.partition_point(|group| !group.is_uniform()),
        };
        let taught = &mut groups[..n_taught];
        let mut update = Update::default();
        if taught.is_empty() {
            return Ok((update, 0));
        }
        self.survey(at, taught)?;
        assign(taught, self.asked, self.options);
        let RlOptions { steps, rate, critic_rate, critic_first, warm_up, .. } = *self.options;
        let RlState { step, .. } = at.state;
        let scheduled = |peak: f64, from: usize| {
            Schedule { peak, warm_up, floor: RATE_FLOOR }.rate(step - from, steps - from)
        };
        if at.beside.is_some() {
            let explained_variance = CriticUpdate::explained(taught);
            let rate = scheduled(critic_rate, 0);
            let critic = CriticUpdate { rate, explained_variance, ..CriticUpdate::default() };
            update.critic = Some(critic);
        }
        // The policy's rates are those of the steps in which it learns.
        let from = if at.beside.is_some() { critic_first } else { 0 };
        if from <= step {
            update.policy =
                Some(PolicyUpdate { rate: scheduled(rate, from), ..PolicyUpdate::default() });
        }
        let mut n_rows = 0;
        for _ in 0..self.options.passes {
            n_rows += self.pass(at, taught, &mut update)?;
        }
        Ok((update, n_rows))
    }

    /// What policy, reference and critic say of every token before the updates.
    ///
    /// The policy is asked again in the first update: where nothing needs its word before, and no
    /// further update follows, that one is enough.
    fn survey(&mut self, at: &At, groups: &mut [Group]) -> anyhow::Result<()> {
        let (network, asked) = (self.network, self.asked);
        let critic = at.beside.as_ref();
        let shared = critic.filter(|critic| critic.adapter.is_none());
        let is_policy_asked = self.options.algorithm != Algorithm::Grpo || 1 < self.options.passes;
        for pack in packs(groups, asked, self.options.pack_tokens) {
            let batch = pack.batch(groups, asked, |_| 1.0);
            let masks = Masks::new(&pack, groups, &self.silent);
            let mask = |idx: usize, logits: &mut [f32]| masks.apply(idx, logits);
            let logprobs = |top: Top<'_>| top.predict(&|_, _| Loss::default(), &mask).1;
            let own = is_policy_asked.then(|| {
                let (network, adapter) = at.weights.over(network);
                self.trainer.look(network, adapter, &batch, |top| {
                    let values = shared.map(|critic| critic.head.values(&top));
                    (logprobs(top), values)
                })
            });
            let (old, values) = own.unzip();
            let reference = self.trainer.look(network, None, &batch, logprobs);
            let values = match critic {
                Some(Critic { adapter: Some(adapter), head, .. }) => {
                    let values = |top: Top<'_>| head.values(&top);
                    Some(self.trainer.look(network, Some(adapter), &batch, values))
                }
                _ => values.flatten(),
            };
            let logprobs =
                old.iter().flatten().chain(&reference).map(|predicted| predicted.logprob);
            let numbers = logprobs.chain(values.iter().flatten().copied());
            for number in numbers {
                check(number, "a log-probability or value", at.state.step)?;
            }
            if let Some(old) = old {
                pack.hand_out(groups, old, |track, old| track.old = old);
            }
            pack.hand_out(groups, reference, |track, reference| {
                track.reference = reference.iter().map(|predicted| predicted.logprob).collect();
            });
            if let Some(values) = values {
                pack.hand_out(groups, values, |track, values| track.values = values);
            }
        }
        Ok(())
    }

    /// One update of what is taught; gives the rows that were computed for it.
    fn pass(
        &mut self,
        at: &mut At,
        groups: &mut [Group],
        update: &mut Update,
    ) -> anyhow::Result<usize> {
        self.policy.clear();
        if let Some(CriticGradients { adapter, head }) = &mut self.critic {
            adapter.iter_mut().for_each(Gradients::clear);
            head.tensors_mut().into_iter().for_each(|(_, tensor)| tensor.fill(0.0));
        }
        let tracks = groups.iter().flat_map(|group| &group.tracks);
        let n_tracks = tracks.clone().count() as f64;
        let n_drawn = tracks.map(Track::n_drawn).sum::<usize>().max(1) as f64;
        // GRPO's mean is one over completions, that of the others one over tokens.
        let algorithm = self.options.algorithm;
        let weight = |track: &Track| match algorithm {
            Algorithm::Grpo => 1.0 / (n_tracks * track.n_drawn().max(1) as f64),
            Algorithm::Ppo | Algorithm::Rloo => 1.0 / n_drawn,
        };
        let mut sums = Sums::default();
        for pack in packs(groups, self.asked, self.options.pack_tokens) {
            let batch = pack.batch(groups, self.asked, weight);
            self.learn_pack(at, groups, (&pack, &batch), update.policy.is_some(), &mut sums)?;
        }
        if let Some(policy) = &mut update.policy {
            policy.loss = sums.policy;
            policy.clip_fraction = sums.n_clipped as f64 / n_drawn;
            policy.norm = self.update_policy(at, policy.rate)?;
        }
        if let Some(critic) = &mut update.critic {
            critic.value_loss = sums.value;
            critic.norm = self.update_critic(at, critic.rate)?;
        }
        Ok(sums.n_rows)
    }

    /// Adds the gradients of a pack.
    fn learn_pack(
        &mut self,
        at: &At,
        groups: &mut [Group],
        (pack, batch): (&Pack, &Batch),
        is_policy_taught: bool,
        sums: &mut Sums,
    ) -> anyhow::Result<()> {
        let policy = PolicyLoss::new(pack, groups, self.options);
        let values = ValueLoss::new(pack, groups, self.options.value_clip);
        let masks = Masks::new(pack, groups, &self.silent);
        let value_loss = |idx, value| values.at(idx, value);
        let mut shared = None;
        if let (Some(critic), Some(gradients)) = (&at.beside, &mut self.critic) {
            match (&critic.adapter, &mut gradients.adapter) {
                (Some(adapter), Some(below)) => {
                    let head = |mut top: Top<'_>| {
                        critic.head.learn(&mut top, value_loss, &mut gradients.head, true)
                    };
                    sums.value +=
                        self.trainer.learn(self.network, Some(adapter), batch, head, below);
                    sums.n_rows += batch.ids.len();
                }
                _ => shared = Some((&critic.head, &mut gradients.head)),
            }
        }
        let is_shared = shared.is_some();
        let head = |top: &mut Top<'_>| match shared {
            Some((head, gradients)) => head.learn(top, value_loss, gradients, false),
            None => 0.0,
        };
        if is_policy_taught {
            let learnt = |mut top: Top<'_>| {
                let value = head(&mut top);
                let loss = |idx, predicted| policy.at(idx, predicted).0;
                (top.predict(&loss, &|idx, logits| masks.apply(idx, logits)), value)
            };
            let (network, adapter) = at.weights.over(self.network);
            let ((loss, predicted), value) =
                self.trainer.learn(network, adapter, batch, learnt, &mut self.policy);
            sums.policy += loss;
            sums.value += value;
            let is_clipped =
                |(idx, predicted): &(usize, &Predicted)| policy.at(*idx, **predicted).1;
            sums.n_clipped += predicted.iter().enumerate().filter(is_clipped).count();
            sums.n_rows += batch.ids.len();
            if policy.old.is_none() {
                for predicted in &predicted {
                    check(predicted.logprob, "a log-probability", at.state.step)?;
                }
                pack.hand_out(groups, predicted, |track, old| track.old = old);
            }
        } else if is_shared {
            let (network, adapter) = at.weights.over(self.network);
            sums.value += self.trainer.look(network, adapter, batch, |mut top| head(&mut top));
            sums.n_rows += batch.ids.len();
        }
        Ok(())
    }

    fn update_policy(&mut self, at: &mut At, rate: f64) -> anyhow::Result<f64> {
        let gradients = self.policy.tensors_mut();
        let norm = norm(&gradients);
        check(norm, "the norm of the policy's gradients", at.state.step)?;
        let factor = clip_factor(norm, self.options.max_norm);
        let Checkpoint { weights, optimizer, .. } = at;
        optimizer.update(weights.tensors_mut(), gradients, factor, (rate, 0.0));
        Ok(norm)
    }

    fn update_critic(&mut self, at: &mut At, rate: f64) -> anyhow::Result<f64> {
        let (Some(critic), Some(gradients)) = (&mut at.beside, &mut self.critic) else {
            return Ok(0.0);
        };
        let below = gradients.adapter.iter_mut().flat_map(Gradients::tensors_mut);
        let gradients: Vec<_> = below.chain(gradients.head.tensors_mut()).collect();
        let norm = norm(&gradients);
        check(norm, "the norm of the critic's gradients", at.state.step)?;
        let factor = clip_factor(norm, self.options.max_norm);
        let Critic { adapter, head, optimizer } = critic;
        let below = adapter.iter_mut().flat_map(Adapter::tensors_mut);
        let tensors = below.chain(head.tensors_mut()).collect();
        optimizer.update(tensors, gradients, factor, (rate, 0.0));
        Ok(norm)
    }
}

fn check(number: f64, what: &str, step: usize) -> anyhow::Result<()> {
    if !number.is_finite() {
        bail!(
            "step {}: {what} is {number}; the last checkpoint is as it was\nhint: a lower `--rate` and another folder",
            step + 1
        );
    }
    Ok(())
}

/// The policy's loss of a batch's targets.
struct PolicyLoss {
    /// What the policy said before; `None`: this is the first update, and it says the same.
    old: Option<Vec<f64>>,
    reference: Vec<f64>,
    advantages: Vec<f64>,
    clip: f64,
    /// What divergence costs here; PPO and RLOO have it in the reward.
    kl: f64,
}

impl PolicyLoss {
    fn new(pack: &Pack, groups: &[Group], options: &RlOptions) -> Self {
        let is_known = pack.tracks(groups).all(|track| track.old.len() == track.n_drawn());
        let old = pack.tracks(groups).flat_map(|track| &track.old).map(|old| old.logprob);
        Self {
            old: is_known.then(|| old.collect()),
            reference: pack.in_order(groups, |track| &track.reference),
            advantages: pack.in_order(groups, |track| &track.advantages),
            clip: options.clip,
            kl: if options.algorithm == Algorithm::Grpo { options.kl } else { 0.0 },
        }
    }

    /// The loss of a target, and whether its ratio was clipped.
    fn at(&self, idx: usize, predicted: Predicted) -> (Loss, bool) {
        let logprob = predicted.logprob;
        let old = self.old.as_ref().map_or(logprob, |old| old[idx]);
        let (loss, is_clipped) = policy_loss(logprob, old, self.advantages[idx], self.clip);
        let kl = k3(logprob, self.reference[idx]);
        let value = loss.value + self.kl * kl.value;
        (Loss { value, slope: loss.slope + self.kl * kl.slope }, is_clipped)
    }
}

/// The critic's loss of a batch's targets.
struct ValueLoss {
    old: Vec<f64>,
    returns: Vec<f64>,
    clip: f64,
}

impl ValueLoss {
    fn new(pack: &Pack, groups: &[Group], clip: f64) -> Self {
        let old = pack.in_order(groups, |track| &track.values);
        Self { old, returns: pack.in_order(groups, |track| &track.returns), clip }
    }

    fn at(&self, idx: usize, value: f64) -> Loss {
        value_loss(value, self.old[idx], self.returns[idx], self.clip)
    }
}
