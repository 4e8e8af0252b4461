//! What is logged of every update: what depends on the seed alone, and, apart from it, time.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::train::folder::OfStep;
use crate::train::sft::held_out::HeldOut;

/// A line of `metrics.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepMetrics {
    pub version: u32,
    /// Updates done.
    pub step: usize,
    /// Passes over the chats.
    pub epoch: f64,
    /// The mean loss of a learnt token before the update, in nats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
    pub learnt_tokens: usize,
    pub rate: f64,
    /// The norm of the gradients before it was cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub norm: Option<f64>,
    /// After the update, where a checkpoint was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_out: Option<HeldOut>,
}

impl StepMetrics {
    /// What holds before the first update.
    pub(super) fn before(held_out: HeldOut) -> Self {
        Self {
            version: 1,
            step: 0,
            epoch: 0.0,
            loss: None,
            learnt_tokens: 0,
            rate: 0.0,
            norm: None,
            held_out: Some(held_out),
        }
    }
}

impl OfStep for StepMetrics {
    fn step(&self) -> usize {
        self.step
    }
}

/// A line of `timings.jsonl`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StepTiming {
    pub step: usize,
    pub tokens: usize,
    pub seconds: f64,
}

impl StepTiming {
    pub(super) fn new(step: usize, tokens: usize, time: Duration) -> Self {
        Self { step, tokens, seconds: time.as_secs_f64() }
    }
}

impl OfStep for StepTiming {
    fn step(&self) -> usize {
        self.step
    }
}
