//! One step's updates: what the policy and the critic learn from a step's completions.

use anyhow::bail;

use crate::train::checkpoint::Checkpoint;
use crate::train::decoder::top::{Loss, Predicted, Top};
use crate::train::decoder::{Activations, Adapter, Gradients, Network, Trainer};
use crate::train::optimizer::{Schedule, clip_factor, norm};
use crate::train::rl::actor::Asked;
use crate::train::rl::arithmetic::{k3, policy_loss, value_loss};
use crate::train::rl::credit::assign;
use crate::train::rl::critic::{Critic, ValueHead};
use crate::train::rl::group::{Group, Masks, Track, batch, hand_out, in_order, packs};
use crate::train::rl::metrics::{CriticUpdate, Update};
use crate::train::rl::options::{Algorithm, RATE_FLOOR, RlOptions};
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
        Self { network, asked, options, silent, trainer, policy: zeros(&at.adapter), critic }
    }

    /// Learns from groups, and tells how many rows went through the network forward and back.
    pub(super) fn learn(
        &mut self,
        at: &mut At,
        groups: &mut [Group],
    ) -> anyhow::Result<(Update, usize)> {
        // Where completions are compared with each other, equal ones teach nothing.
        if self.options.algorithm != Algorithm::Ppo {
            groups.sort_by_key(Group::is_uniform);
        }
        let n_taught = match self.options.algorithm {
            Algorithm::Ppo => groups.len(),
            _ => groups.partition_point(|group| !group.is_uniform()),
        };
        let taught = &mut groups[..n_taught];
        let RlState { step } = at.state;
        let schedule =
            |peak: f64| Schedule { peak, warm_up: self.options.warm_up, floor: RATE_FLOOR };
        let steps = self.options.steps;
        let rate = schedule(self.options.rate).rate(step, steps);
        let critic_rate = schedule(self.options.critic_rate).rate(step, steps);
        let mut update = Update { rate, ..Update::default() };
        if taught.is_empty() {
            return Ok((update, 0));
        }
        self.survey(at, taught);
        assign(taught, self.asked, self.options);
        if at.beside.is_some() {
            let explained_variance = CriticUpdate::explained(taught);
            let rate = critic_rate;
            update.critic =
                Some(CriticUpdate { rate, explained_variance, ..CriticUpdate::default() });
        }
        let is_policy_taught = at.beside.is_none() || self.options.critic_first <= step;
        let mut n_rows = 0;
        for _ in 0..self.options.passes {
            n_rows += self.pass(at, taught, is_policy_taught, &mut update)?;
        }
        Ok((update, n_rows))
    }

    /// What policy, reference and critic say of every token before the updates.
    fn survey(&mut self, at: &At, groups: &mut [Group]) {
        let (network, asked) = (self.network, self.asked);
        let critic = at.beside.as_ref();
        let shared = critic.filter(|critic| critic.adapter.is_none());
        for pack in packs(groups, asked, self.options.pack_tokens) {
            let groups = &mut groups[pack];
            let batch = batch(groups, asked, |_| 1.0);
            let masks = Masks::new(groups, &self.silent);
            let mask = |idx: usize, logits: &mut [f32]| masks.apply(idx, logits);
            let logprobs = |top: Top<'_>| top.predict(&|_, _| Loss::default(), &mask).1;
            let (old, values) = self.trainer.look(network, Some(&at.adapter), &batch, |top| {
                let values = shared.map(|critic| critic.head.values(&top));
                (logprobs(top), values)
            });
            hand_out(groups, old, |track, old| track.old = old);
            let reference = self.trainer.look(network, None, &batch, logprobs);
            hand_out(groups, reference, |track, reference| {
                track.reference = reference.iter().map(|predicted| predicted.logprob).collect();
            });
            let values = match critic {
                Some(Critic { adapter: Some(adapter), head, .. }) => {
                    let values = |top: Top<'_>| head.values(&top);
                    Some(self.trainer.look(network, Some(adapter), &batch, values))
                }
                _ => values,
            };
            if let Some(values) = values {
                hand_out(groups, values, |track, values| track.values = values);
            }
        }
    }

    /// One update of what is taught; gives the rows that went forward and back.
    fn pass(
        &mut self,
        at: &mut At,
        groups: &[Group],
        is_policy_taught: bool,
        update: &mut Update,
    ) -> anyhow::Result<usize> {
        self.policy.clear();
        if let Some(CriticGradients { adapter, head }) = &mut self.critic {
            adapter.iter_mut().for_each(Gradients::clear);
            head.tensors_mut().into_iter().for_each(|(_, tensor)| tensor.fill(0.0));
        }
        let tracks = groups.iter().flat_map(|group| &group.tracks);
        let n_tracks = tracks.clone().count() as f64;
        let n_tokens: usize = tracks.map(Track::n_drawn).sum();
        let n_tokens = n_tokens.max(1) as f64;
        // GRPO's mean is one over completions, that of the others one over tokens.
        let algorithm = self.options.algorithm;
        let weight = |track: &Track| match algorithm {
            Algorithm::Grpo => 1.0 / (n_tracks * track.n_drawn().max(1) as f64),
            Algorithm::Ppo | Algorithm::Rloo => 1.0 / n_tokens,
        };
        let (mut policy_sum, mut value_sum, mut n_clipped, mut n_rows) = (0.0, 0.0, 0, 0);
        for pack in packs(groups, self.asked, self.options.pack_tokens) {
            let groups = &groups[pack];
            let batch = batch(groups, self.asked, weight);
            let policy = PolicyLoss::new(groups, self.options);
            let values = ValueLoss::new(groups, self.options.value_clip);
            let masks = Masks::new(groups, &self.silent);
            let critic = at.beside.as_ref().zip(self.critic.as_mut());
            let mut shared = None;
            if let Some((critic, gradients)) = critic {
                match (&critic.adapter, &mut gradients.adapter) {
                    (Some(adapter), Some(below)) => {
                        let head = |mut top: Top<'_>| {
                            let loss = |idx, value| values.at(idx, value);
                            critic.head.learn(&mut top, loss, &mut gradients.head, true)
                        };
                        let adapter = Some(adapter);
                        value_sum += self.trainer.learn(self.network, adapter, &batch, head, below);
                        n_rows += batch.ids.len();
                    }
                    _ => shared = Some((&critic.head, &mut gradients.head)),
                }
            }
            let mut head = |top: &mut Top<'_>| {
                let loss = |idx, value| values.at(idx, value);
                let (head, gradients) = shared.take()?;
                Some(head.learn(top, loss, gradients, false))
            };
            if is_policy_taught {
                let learnt = |mut top: Top<'_>| {
                    let value_sum = head(&mut top).unwrap_or(0.0);
                    let loss = |idx, predicted| policy.at(idx, predicted).0;
                    (top.predict(&loss, &|idx, logits| masks.apply(idx, logits)), value_sum)
                };
                let adapter = Some(&at.adapter);
                let ((sum, predicted), more) =
                    self.trainer.learn(self.network, adapter, &batch, learnt, &mut self.policy);
                policy_sum += sum;
                value_sum += more;
                let is_clipped = |(idx, predicted): (usize, Predicted)| policy.at(idx, predicted).1;
                n_clipped += predicted.into_iter().enumerate().filter(|p| is_clipped(*p)).count();
                n_rows += batch.ids.len();
            } else {
                let adapter = Some(&at.adapter);
                let more = |mut top: Top<'_>| head(&mut top).unwrap_or(0.0);
                value_sum += self.trainer.look(self.network, adapter, &batch, more);
            }
        }
        if is_policy_taught {
            update.policy_loss = policy_sum;
            update.clip_fraction = n_clipped as f64 / n_tokens;
            update.norm = self.update_policy(at, update.rate)?;
        }
        if let Some(critic) = &mut update.critic {
            critic.value_loss = value_sum;
            critic.norm = self.update_critic(at, critic.rate)?;
        }
        Ok(n_rows)
    }

    fn update_policy(&mut self, at: &mut At, rate: f64) -> anyhow::Result<f64> {
        let gradients = self.policy.tensors_mut();
        let norm = norm(&gradients);
        check(norm, "policy", at.state.step)?;
        let factor = clip_factor(norm, self.options.max_norm);
        let Checkpoint { adapter, optimizer, .. } = at;
        optimizer.update(adapter.tensors_mut(), gradients, factor, (rate, 0.0));
        Ok(norm)
    }

    fn update_critic(&mut self, at: &mut At, rate: f64) -> anyhow::Result<f64> {
        let (Some(critic), Some(gradients)) = (&mut at.beside, &mut self.critic) else {
            return Ok(0.0);
        };
        let below = gradients.adapter.iter_mut().flat_map(Gradients::tensors_mut);
        let gradients: Vec<_> = below.chain(gradients.head.tensors_mut()).collect();
        let norm = norm(&gradients);
        check(norm, "critic", at.state.step)?;
        let factor = clip_factor(norm, self.options.max_norm);
        let Critic { adapter, head, optimizer } = critic;
        let below = adapter.iter_mut().flat_map(Adapter::tensors_mut);
        let tensors = below.chain(head.tensors_mut()).collect();
        optimizer.update(tensors, gradients, factor, (rate, 0.0));
        Ok(norm)
    }
}

fn check(norm: f64, whose: &str, step: usize) -> anyhow::Result<()> {
    if !norm.is_finite() {
        bail!(
            "step {}: the norm of the {whose}'s gradients is {norm}; the last checkpoint is as it was\nhint: a lower `--rate` and another folder",
            step + 1
        );
    }
    Ok(())
}

/// The policy's loss of a batch's targets.
struct PolicyLoss {
    old: Vec<f64>,
    reference: Vec<f64>,
    advantages: Vec<f64>,
    clip: f64,
    /// What divergence costs here; PPO and RLOO have it in the reward.
    kl: f64,
}

impl PolicyLoss {
    fn new(groups: &[Group], options: &RlOptions) -> Self {
        let tracks = groups.iter().flat_map(|group| &group.tracks);
        Self {
            old: tracks.flat_map(|track| &track.old).map(|old| old.logprob).collect(),
            reference: in_order(groups, |track| &track.reference),
            advantages: in_order(groups, |track| &track.advantages),
            clip: options.clip,
            kl: if options.algorithm == Algorithm::Grpo { options.kl } else { 0.0 },
        }
    }

    /// The loss of a target, and whether its ratio was clipped.
    fn at(&self, idx: usize, predicted: Predicted) -> (Loss, bool) {
        let logprob = predicted.logprob;
        let (loss, is_clipped) =
            policy_loss(logprob, self.old[idx], self.advantages[idx], self.clip);
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
    fn new(groups: &[Group], clip: f64) -> Self {
        let old = in_order(groups, |track| &track.values);
        Self { old, returns: in_order(groups, |track| &track.returns), clip }
    }

    fn at(&self, idx: usize, value: f64) -> Loss {
        value_loss(value, self.old[idx], self.returns[idx], self.clip)
    }
}
