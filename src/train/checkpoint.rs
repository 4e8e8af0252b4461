//! All that a run needs to go on as if it had not been killed: weights, moments, and how far it is.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize_to_file};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::run::directory::write_whole;
use crate::train::decoder::peft::Precision;
use crate::train::decoder::{Adapter, Network};
use crate::train::optimizer::AdamW;

/// A checkpoint in memory.
pub struct Checkpoint<S, B = (), W = Adapter> {
    /// What is trained.
    pub weights: W,
    pub optimizer: AdamW,
    /// What else is trained.
    pub beside: B,
    /// What else the trainer must know.
    pub state: S,
}

/// What is trained, with files of its own in a checkpoint.
pub trait Learnt: Sized {
    /// In a fixed order.
    fn tensors_mut(&mut self) -> Vec<(String, &mut Vec<f32>)>;
    /// `base`: what the model is called that training began with.
    fn write(&mut self, folder: &Path, base: &str) -> anyhow::Result<()>;
    fn read(folder: &Path, network: &Network) -> anyhow::Result<Self>;
}

impl Learnt for Adapter {
    fn tensors_mut(&mut self) -> Vec<(String, &mut Vec<f32>)> {
        self.tensors_mut()
    }

    fn write(&mut self, folder: &Path, base: &str) -> anyhow::Result<()> {
        self.write(folder, Some(base), Precision::F32)
    }

    fn read(folder: &Path, network: &Network) -> anyhow::Result<Self> {
        Self::read(folder, network)
    }
}

/// What is trained beside it, with files of its own in a checkpoint.
pub trait Beside: Sized {
    fn write(&mut self, folder: &Path) -> anyhow::Result<()>;
    fn read(folder: &Path, network: &Network) -> anyhow::Result<Self>;
}

impl Beside for () {
    fn write(&mut self, _: &Path) -> anyhow::Result<()> {
        Ok(())
    }

    fn read(_: &Path, _: &Network) -> anyhow::Result<Self> {
        Ok(())
    }
}

const STATE_FILE: &str = "state.json";
const OPTIMIZER_FILE: &str = "optimizer.safetensors";
const PREFIX: &str = "step-";

#[derive(Serialize, Deserialize)]
struct Stored<S> {
    version: u32,
    n_updates: u64,
    state: S,
}

/// The checkpoints of a folder, by step.
pub fn list(folder: &Path) -> anyhow::Result<BTreeMap<usize, PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        entries => entries.with_context(|| format!("reading `{}`", folder.display()))?,
    };
    let mut found = BTreeMap::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(step) = name.strip_prefix(PREFIX).and_then(|step| step.parse().ok()) {
            found.insert(step, entry.path());
        }
    }
    Ok(found)
}

/// Removes all checkpoints of a folder but these.
pub fn keep_only(folder: &Path, steps: &[usize]) -> anyhow::Result<()> {
    for (step, path) in list(folder)? {
        if !steps.contains(&step) {
            fs::remove_dir_all(&path)
                .with_context(|| format!("removing the checkpoint `{}`", path.display()))?;
        }
    }
    Ok(())
}

impl<S: Serialize + DeserializeOwned, B: Beside, W: Learnt> Checkpoint<S, B, W> {
    /// Writes it beside the others; it has its name only when it is whole.
    pub fn write(&mut self, folder: &Path, step: usize, base: &str) -> anyhow::Result<()> {
        let path = folder.join(format!("{PREFIX}{step:06}"));
        let context = || {
            format!(
                "writing the checkpoint `{}`\nhint: the one before it is kept; free some space and run the same command again",
                path.display()
            )
        };
        fs::create_dir_all(folder).with_context(context)?;
        let unfinished = tempfile::tempdir_in(folder).with_context(context)?;
        self.weights.write(unfinished.path(), base).with_context(context)?;
        write_moments(&self.optimizer, &unfinished.path().join(OPTIMIZER_FILE))
            .with_context(context)?;
        self.beside.write(unfinished.path()).with_context(context)?;
        let stored = Stored { version: 1, n_updates: self.optimizer.n_updates, state: &self.state };
        let state = serde_json::to_vec_pretty(&stored)?;
        write_whole(&unfinished.path().join(STATE_FILE), &state).with_context(context)?;
        if path.exists() {
            fs::remove_dir_all(&path).with_context(context)?;
        }
        fs::rename(unfinished.keep(), &path).with_context(context)?;
        // The name is kept through a power cut, too.
        fs::File::open(folder).and_then(|folder| folder.sync_all()).with_context(context)
    }

    /// Reads one of a network's.
    pub fn read(path: &Path, network: &Network) -> anyhow::Result<Self> {
        let context = || {
            format!(
                "reading the checkpoint `{}`\nhint: delete it to go on from an earlier one, or the folder of the run to train anew",
                path.display()
            )
        };
        let text = fs::read_to_string(path.join(STATE_FILE)).with_context(context)?;
        let Stored { n_updates, state, .. }: Stored<S> =
            serde_json::from_str(&text).context(STATE_FILE).with_context(context)?;
        let mut weights = W::read(path, network).with_context(context)?;
        let mut optimizer = AdamW::of(&weights.tensors_mut());
        optimizer.n_updates = n_updates;
        read_moments(&mut optimizer, &path.join(OPTIMIZER_FILE)).with_context(context)?;
        let beside = B::read(path, network).with_context(context)?;
        Ok(Self { weights, optimizer, beside, state })
    }
}

/// Writes an optimizer's moments.
pub fn write_moments(optimizer: &AdamW, path: &Path) -> anyhow::Result<()> {
    let mut tensors = BTreeMap::new();
    for (idx, moments) in optimizer.moments.iter().enumerate() {
        for (order, numbers) in moments.iter().enumerate() {
            let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
            tensors.insert(moment_name(idx, order), (numbers.len(), bytes));
        }
    }
    let views = tensors
        .iter()
        .map(|(name, (length, bytes))| {
            Ok((name, TensorView::new(Dtype::F32, vec![*length], bytes)?))
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    serialize_to_file(views, None, path)?;
    fs::File::open(path)?.sync_all()?;
    Ok(())
}

/// Reads the moments of an optimizer of the same tensors.
pub fn read_moments(optimizer: &mut AdamW, path: &Path) -> anyhow::Result<()> {
    let bytes = fs::read(path).with_context(|| format!("reading `{}`", path.display()))?;
    let tensors = SafeTensors::deserialize(&bytes).context(OPTIMIZER_FILE)?;
    for (idx, moments) in optimizer.moments.iter_mut().enumerate() {
        for (order, numbers) in moments.iter_mut().enumerate() {
            let view = tensors.tensor(&moment_name(idx, order))?;
            let found = view.data();
            ensure!(
                found.len() == 4 * numbers.len(),
                "`{OPTIMIZER_FILE}` has {} bytes for {} numbers",
                found.len(),
                numbers.len()
            );
            let found = found.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
            numbers.iter_mut().zip(found).for_each(|(number, found)| *number = found);
        }
    }
    Ok(())
}

fn moment_name(tensor: usize, order: usize) -> String {
    format!("{tensor:04}.{order}")
}
