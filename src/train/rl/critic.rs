//! What tells the value of a completion so far: a head on hidden states, and perhaps an adapter
//! that makes these states its own.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, ensure};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::run::directory::write_whole;
use crate::train::checkpoint::{Beside, read_moments, write_moments};
use crate::train::decoder::peft::Precision;
use crate::train::decoder::top::{Loss, Top};
use crate::train::decoder::{Adapter, Network};
use crate::train::optimizer::AdamW;

/// A linear function of the last hidden state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ValueHead {
    /// (hidden)
    pub weight: Vec<f32>,
    /// One number; a tensor like others to the optimizer.
    pub bias: Vec<f32>,
}

/// A critic and its optimizer.
#[derive(Debug, Clone, PartialEq)]
pub struct Critic {
    /// `None`: it reads the policy's hidden states.
    pub adapter: Option<Adapter>,
    pub head: ValueHead,
    pub optimizer: AdamW,
}

impl ValueHead {
    /// Small random weights, of the standard deviation 1/(hidden + 1) as `OpenRLHF` has them.
    pub fn new(width: usize, seed: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        // A uniform number within ±√3 has the standard deviation 1.
        let bound = 3.0_f32.sqrt() / (width as f32 + 1.0);
        let weight = (0..width).map(|_| random.random_range(-bound..bound)).collect();
        Self { weight, bias: vec![0.0] }
    }

    #[must_use]
    pub fn zeros_like(&self) -> Self {
        Self { weight: vec![0.0; self.weight.len()], bias: vec![0.0] }
    }

    /// The value of each target's hidden state.
    pub fn values(&self, top: &Top<'_>) -> Vec<f64> {
        let rows = top.hidden.chunks_exact(top.width);
        rows.map(|row| self.value(row)).collect()
    }

    fn value(&self, row: &[f32]) -> f64 {
        let product: f32 = row.iter().zip(&self.weight).map(|(x, weight)| x * weight).sum();
        f64::from(product + self.bias[0])
    }

    /// The weighted sum of losses of the targets' values; adds the head's gradients, and writes
    /// those of the hidden states where `reaches_below`.
    pub fn learn(
        &self,
        top: &mut Top<'_>,
        loss: impl Fn(usize, f64) -> Loss,
        gradients: &mut Self,
        reaches_below: bool,
    ) -> f64 {
        let width = top.width;
        let mut sum = 0.0;
        for (idx, row) in top.hidden.chunks_exact(width).enumerate() {
            let weight = f64::from(top.targets[idx].weight);
            let Loss { value, slope } = loss(idx, self.value(row));
            sum += weight * value;
            let slope = (weight * slope) as f32;
            gradients.bias[0] += slope;
            gradients.weight.iter_mut().zip(row).for_each(|(sum, x)| *sum += slope * x);
            if let (true, Some(d_hidden)) = (reaches_below, &mut top.d_hidden) {
                let d_row = &mut d_hidden[idx * width..][..width];
                d_row.iter_mut().zip(&self.weight).for_each(|(d, weight)| *d = slope * weight);
            }
        }
        sum
    }

    pub fn tensors_mut(&mut self) -> [(String, &mut Vec<f32>); 2] {
        [("weight".to_owned(), &mut self.weight), ("bias".to_owned(), &mut self.bias)]
    }
}

impl Critic {
    pub fn new(adapter: Option<Adapter>, head: ValueHead) -> Self {
        let mut critic = Self { adapter, head, optimizer: AdamW::new([]) };
        critic.optimizer = AdamW::new(critic.lengths());
        critic
    }

    fn lengths(&mut self) -> Vec<usize> {
        let adapter = self.adapter.iter_mut().flat_map(Adapter::tensors_mut);
        adapter.chain(self.head.tensors_mut()).map(|(_, tensor)| tensor.len()).collect()
    }
}

const FOLDER: &str = "critic";
const HEAD_FILE: &str = "head.json";
const OPTIMIZER_FILE: &str = "optimizer.safetensors";
const ADAPTER_FOLDER: &str = "adapter";

#[derive(Serialize, Deserialize)]
struct StoredHead {
    n_updates: u64,
    head: ValueHead,
}

impl Beside for Option<Critic> {
    fn write(&mut self, folder: &Path) -> anyhow::Result<()> {
        let Some(critic) = self else { return Ok(()) };
        let folder = folder.join(FOLDER);
        fs::create_dir_all(&folder)?;
        if let Some(adapter) = &mut critic.adapter {
            adapter.write(&folder.join(ADAPTER_FOLDER), None, Precision::F32)?;
        }
        write_moments(&critic.optimizer, &folder.join(OPTIMIZER_FILE))?;
        let (head, n_updates) = (critic.head.clone(), critic.optimizer.n_updates);
        let text = serde_json::to_vec(&StoredHead { n_updates, head })?;
        write_whole(&folder.join(HEAD_FILE), &text)?;
        Ok(())
    }

    fn read(folder: &Path, network: &Network) -> anyhow::Result<Self> {
        let folder = folder.join(FOLDER);
        if !folder.exists() {
            return Ok(None);
        }
        let text = fs::read_to_string(folder.join(HEAD_FILE)).context(HEAD_FILE)?;
        let StoredHead { n_updates, head } = serde_json::from_str(&text).context(HEAD_FILE)?;
        let (found, wanted) = (head.weight.len(), network.shape.hidden);
        ensure!(found == wanted, "`{HEAD_FILE}` is for {found} numbers, the model has {wanted}");
        let adapter_folder = folder.join(ADAPTER_FOLDER);
        let adapter = match adapter_folder.exists() {
            true => Some(Adapter::read(&adapter_folder, network)?),
            false => None,
        };
        let mut critic = Critic::new(adapter, head);
        read_moments(&mut critic.optimizer, &folder.join(OPTIMIZER_FILE))?;
        critic.optimizer.n_updates = n_updates;
        Ok(Some(critic))
    }
}
