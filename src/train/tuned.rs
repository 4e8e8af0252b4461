//! What is tuned: additions to a network that stays as it is, or all of its weights.

use std::path::Path;

use anyhow::ensure;
use serde::Serialize;

use crate::model::local::adapter::Site;
use crate::train::checkpoint::Learnt;
use crate::train::decoder::peft::Precision;
use crate::train::decoder::{Adapter, Gradients, Network};
use crate::train::folder::{ADAPTER, MODEL};
use crate::train::merge::write_tuned;

/// What is tuned.
#[derive(Debug, Clone, PartialEq)]
pub enum Tuned {
    Adapter(Adapter),
    Full(Box<Network>),
}

/// Low-rank additions to projections (LoRA).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Additions {
    pub rank: usize,
    /// Additions are scaled by alpha / rank.
    pub alpha: f64,
    /// Which projections of each layer get some.
    pub projections: Vec<Site>,
}

impl Additions {
    /// An adapter that changes nothing yet.
    pub fn fresh(&self, network: &Network, seed: u64) -> Adapter {
        Adapter::fresh(network, self.rank, self.alpha, seed).only(&self.projections)
    }
}

const WEIGHTS_FILE: &str = "weights.safetensors";

impl Tuned {
    /// Additions that change nothing yet, or, without any, a copy of the network.
    pub fn begin(network: &Network, additions: Option<&Additions>, seed: u64) -> Self {
        match additions {
            Some(additions) => Self::Adapter(additions.fresh(network, seed)),
            None => Self::Full(Box::new(network.clone())),
        }
    }

    /// Writes what a run leaves in its folder: `adapter` with numbers of 16 bits, or `model`.
    /// `path` and `base` are the files and the name of the model that training began with.
    pub fn finish(&mut self, folder: &Path, (path, base): (&Path, &str)) -> anyhow::Result<()> {
        match self {
            Self::Adapter(adapter) => {
                adapter.write(&folder.join(ADAPTER), Some(base), Precision::F16)
            }
            Self::Full(network) => {
                // It has its name once it is whole, so what is there is the same.
                let model = folder.join(MODEL);
                if !model.exists() {
                    write_tuned(path, network, &model)?;
                }
                Ok(())
            }
        }
    }

    /// What is computed with: itself, or `base` with additions.
    pub fn over<'a>(&'a self, base: &'a Network) -> (&'a Network, Option<&'a Adapter>) {
        match self {
            Self::Adapter(adapter) => (base, Some(adapter)),
            Self::Full(network) => (network, None),
        }
    }

    /// Gradients of 0.
    pub fn gradients(&self) -> Gradients {
        match self {
            Self::Adapter(adapter) => Gradients::Adapter(adapter.zeros_like()),
            Self::Full(network) => Gradients::Full(Box::new(network.zeros_like())),
        }
    }

    /// Names the first tensor that holds what cannot be stored.
    pub fn check(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Adapter(adapter) => adapter.check_finite(),
            Self::Full(network) => {
                for tensor in network.tensors() {
                    let is_finite = tensor.numbers.iter().all(|number| number.is_finite());
                    ensure!(is_finite, "`{}` has grown beyond all numbers", tensor.name);
                }
                Ok(())
            }
        }
    }
}

impl Learnt for Tuned {
    fn tensors_mut(&mut self) -> Vec<(String, &mut Vec<f32>)> {
        match self {
            Self::Adapter(adapter) => adapter.tensors_mut(),
            Self::Full(network) => network.tensors_mut(),
        }
    }

    fn write(&mut self, folder: &Path, base: &str) -> anyhow::Result<()> {
        match self {
            Self::Adapter(adapter) => Learnt::write(adapter, folder, base),
            Self::Full(network) => network.write_floats(&folder.join(WEIGHTS_FILE)),
        }
    }

    /// A folder has the file of one kind alone.
    fn read(folder: &Path, network: &Network) -> anyhow::Result<Self> {
        let weights = folder.join(WEIGHTS_FILE);
        if !weights.exists() {
            return Ok(Self::Adapter(Adapter::read(folder, network)?));
        }
        let mut network = network.clone();
        network.take_floats(&weights)?;
        Ok(Self::Full(Box::new(network)))
    }
}
