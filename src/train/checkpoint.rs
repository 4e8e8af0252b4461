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
pub struct Checkpoint<S> {
    pub adapter: Adapter,
    pub optimizer: AdamW,
    /// What else the trainer must know.
    pub state: S,
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

impl<S: Serialize + DeserializeOwned> Checkpoint<S> {
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
        self.adapter.write(unfinished.path(), Some(base), Precision::F32).with_context(context)?;
        self.write_optimizer(&unfinished.path().join(OPTIMIZER_FILE)).with_context(context)?;
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
        let mut adapter = Adapter::read(path, network).with_context(context)?;
        let lengths: Vec<usize> = adapter.tensors_mut().iter().map(|(_, t)| t.len()).collect();
        let mut optimizer = AdamW::new(lengths);
        optimizer.n_updates = n_updates;
        let bytes = fs::read(path.join(OPTIMIZER_FILE)).with_context(context)?;
        let tensors =
            SafeTensors::deserialize(&bytes).context(OPTIMIZER_FILE).with_context(context)?;
        for (idx, moments) in optimizer.moments.iter_mut().enumerate() {
            for (order, numbers) in moments.iter_mut().enumerate() {
                let view = tensors.tensor(&moment_name(idx, order)).with_context(context)?;
                let found = view.data();
                ensure!(
                    found.len() == 4 * numbers.len(),
                    "{}: `{OPTIMIZER_FILE}` has {} bytes for {} numbers",
                    context(),
                    found.len(),
                    numbers.len()
                );
                let found = found.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
                numbers.iter_mut().zip(found).for_each(|(number, found)| *number = found);
            }
        }
        Ok(Self { adapter, optimizer, state })
    }

    fn write_optimizer(&self, path: &Path) -> anyhow::Result<()> {
        let mut tensors = BTreeMap::new();
        for (idx, moments) in self.optimizer.moments.iter().enumerate() {
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
}

fn moment_name(tensor: usize, order: usize) -> String {
    format!("{tensor:04}.{order}")
}
