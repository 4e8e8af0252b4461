//! How a policy is reinforced.

use serde::Serialize;

use crate::train::decoder::weight::BasePrecision;
use crate::train::tuned::Additions;

/// How rewards become advantages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// A critic tells what was to be expected (the paper's)
    Ppo,
    /// The completions of one prompt are compared, in standard deviations
    Grpo,
    /// The completions of one prompt are compared, each with the mean of the others
    Rloo,
}

/// What tells the value of what is written so far, in PPO.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum CriticKind {
    /// A head on the policy's hidden states, which it does not change
    Shared,
    /// A network of its own: the same model with another adapter, and a head
    Adapter,
}

/// Over what advantages are whitened, in PPO.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Whiten {
    /// The tokens of each stage by themselves: stages differ in how hard they are
    Stage,
    /// All tokens of a step
    Batch,
}

/// How to train; what is not here is not to be chosen.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RlOptions {
    pub algorithm: Algorithm,
    pub critic: CriticKind,
    pub whiten: Whiten,
    /// Prompts of a step.
    pub prompts: usize,
    /// Completions of each prompt.
    pub samples: usize,
    pub steps: usize,
    /// Updates from the completions of one step.
    pub passes: usize,
    /// Steps at the beginning in which the critic alone learns.
    pub critic_first: usize,
    /// The highest rates of the schedules, the policy's and the critic's.
    pub rate: f64,
    pub critic_rate: f64,
    /// The part of all steps that warms up.
    pub warm_up: f64,
    /// The highest norm of the gradients.
    pub max_norm: f64,
    /// What a nat of divergence from the model before reinforcement costs.
    pub kl: f64,
    pub clip: f64,
    pub value_clip: f64,
    pub gamma: f64,
    pub lambda: f64,
    /// Whether all weights of the policy are trained, and not an adapter.
    pub full: bool,
    /// The adapters, the policy's and the critic's.
    pub additions: Additions,
    /// What the base's projections are kept in.
    pub precision: BasePrecision,
    /// Tokens that go through the network at once.
    pub pack_tokens: usize,
    /// Steps from one checkpoint, with its held-out rewards, to the next.
    pub save_every: usize,
    pub seed: u64,
}

/// The part of the highest rate that is left at the end.
pub const RATE_FLOOR: f64 = 0.1;

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::local::adapter::Site;

    /// For a tiny model and a toy task.
    pub(in crate::train::rl) fn options(algorithm: Algorithm) -> RlOptions {
        RlOptions {
            algorithm,
            critic: CriticKind::Shared,
            whiten: Whiten::Stage,
            prompts: 4,
            samples: 8,
            steps: 40,
            passes: 1,
            critic_first: 2,
            rate: 3e-2,
            critic_rate: 1e-2,
            warm_up: 0.03,
            max_norm: 1.0,
            kl: 0.01,
            clip: 0.2,
            value_clip: 0.2,
            gamma: 1.0,
            lambda: 1.0,
            full: false,
            additions: Additions { rank: 4, alpha: 8.0, projections: Site::ALL.to_vec() },
            precision: BasePrecision::F32,
            pack_tokens: 256,
            save_every: 10,
            seed: 3,
        }
    }
}
