//! The loss of chats that are not learnt.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::stage::StageKind;
use crate::train::decoder::Trainer;
use crate::train::decoder::batch::Batch;
use crate::train::sft::Sft;
use crate::train::sft::sequences::{Sequence, pack};
use crate::train::tuned::Tuned;

/// Mean losses of an answer's token, in nats.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeldOut {
    pub loss: f64,
    pub stages: BTreeMap<StageKind, f64>,
}

/// The losses of the held-out chats with the weights as they are.
pub(super) fn held_out_loss(trainer: &mut Trainer, sft: &Sft<'_>, tuned: &Tuned) -> HeldOut {
    let mut sums: BTreeMap<StageKind, (f64, usize)> = BTreeMap::new();
    for stage in StageKind::ALL {
        let of_stage: Vec<&Sequence> = sft.held_out.iter().filter(|s| s.stage == stage).collect();
        for group in pack(&of_stage, sft.options.pack_tokens) {
            let mut batch = Batch::default();
            for sequence in group {
                batch.push(&sequence.ids, sequence.first_learnt, 1.0);
            }
            let (sum, n) = sums.entry(stage).or_default();
            let (network, adapter) = tuned.over(sft.network);
            *sum += trainer.loss(network, adapter, &batch);
            *n += batch.targets.len();
        }
    }
    let (sum, n) = sums.values().fold((0.0, 0), |(sum, n), (s, m)| (sum + s, n + m));
    let mean = |(sum, n): (f64, usize)| sum / n.max(1) as f64;
    HeldOut {
        loss: mean((sum, n)),
        stages: sums.into_iter().map(|(stage, sums)| (stage, mean(sums))).collect(),
    }
}
