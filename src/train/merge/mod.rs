//! A base model and an adapter, written as one model: a Hugging Face folder or a GGUF file.

mod base;
mod config;
mod folder;
mod gguf;
pub mod precision;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use serde::Serialize;

use crate::model::local::adapter::AdapterWeights;
use crate::model::local::config::DecoderConfig;
use crate::model::local::load::{Parts, read_parts};
use crate::model::local::weights::Weights;
use crate::train::decoder::{Adapter, Network};
use crate::train::merge::base::Base;
use crate::train::merge::precision::Precision;

/// What a merge is asked for.
#[derive(Debug, Clone)]
pub struct MergeOptions {
    /// `NAME.gguf`: a GGUF file; else a folder.
    pub out: PathBuf,
    /// By default bf16 in a folder, f16 in a GGUF file.
    pub precision: Option<Precision>,
}

/// What a merge wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Merged {
    pub version: u32,
    pub out: PathBuf,
    pub form: &'static str,
    pub precision: &'static str,
    /// Tensors in all, and those of them that training changed.
    pub tensors: usize,
    pub merged: usize,
    pub bytes: u64,
    /// Whether the embedding serves as the output matrix, too.
    pub tied: bool,
}

/// Merges the adapter in a folder into the model at a path.
///
/// # Errors
///
/// The adapter is for another model, the result is there already, or it cannot be written; then
/// nothing of it is left.
pub fn merge(model: &Path, adapter: &Path, options: &MergeOptions) -> anyhow::Result<Merged> {
    let is_gguf = options.out.extension().is_some_and(|end| end == "gguf");
    let default = if is_gguf { Precision::F16 } else { Precision::Bf16 };
    let precision = options.precision.unwrap_or(default);
    let Parts { config, weights, tokenizer, .. } = read_parts(model)?;
    let mut network = Network::read(&config, &weights)?;
    let adapter = Adapter::read(adapter, &network)?;
    network.merge(&adapter);
    if is_gguf {
        let Weights::Gguf(base) = &weights else {
            bail!(
                "a GGUF file is made from a GGUF file, and `{}` is a folder\nhint: name a folder with `--out`; llama.cpp's own converter reads that",
                model.display()
            );
        };
        return gguf::write(base, &config, &network, &adapter, (&options.out, precision));
    }
    ensure!(
        precision.of_safetensors().is_some(),
        "safetensors have no {}\nhint: `--out NAME.gguf`, or `--precision bf16`",
        precision.name()
    );
    let of = Source { path: model, config: &config, weights: &weights, ends: tokenizer.ends() };
    write_folder(&of, &mut network, n_merged(&adapter), (&options.out, precision))
}

/// Writes a model of which all weights were tuned, as a folder in bfloat16.
///
/// # Errors
///
/// There is something at `out`, or it cannot be written; then nothing of it is left.
pub fn write_tuned(model: &Path, network: &mut Network, out: &Path) -> anyhow::Result<Merged> {
    let Parts { config, weights, tokenizer, .. } = read_parts(model)?;
    let of = Source { path: model, config: &config, weights: &weights, ends: tokenizer.ends() };
    let n_tensors = network.tensors().len();
    write_folder(&of, network, n_tensors, (out, Precision::Bf16))
}

/// The model that training began with.
struct Source<'a> {
    path: &'a Path,
    config: &'a DecoderConfig,
    weights: &'a Weights,
    ends: &'a [u32],
}

fn write_folder(
    source: &Source<'_>,
    network: &mut Network,
    n_changed: usize,
    (out, precision): (&Path, Precision),
) -> anyhow::Result<Merged> {
    // One matrix under two names needs no second copy; two that differ are kept apart.
    if network.output.as_ref().is_some_and(|output| *output == network.embedding) {
        network.output = None;
    }
    let base = match source.weights {
        Weights::Gguf(gguf) => Base::Gguf { gguf, config: source.config, ends: source.ends },
        Weights::Safetensors(_) => Base::Folder(source.path),
        Weights::InMemory(_) => bail!("weights in memory have no files to be written with"),
    };
    folder::write(&base, network, n_changed, (out, precision))
}

/// What an adapter says that it was made for, if it says anything.
pub fn base_of(adapter: &Path) -> anyhow::Result<Option<String>> {
    Ok(AdapterWeights::read(&adapter.into())?.base)
}

/// How many projections an adapter adds to.
fn n_merged(adapter: &Adapter) -> usize {
    adapter.layers.iter().flatten().flatten().count()
}

fn file_bytes(path: &Path) -> anyhow::Result<u64> {
    let metadata = path.metadata().with_context(|| format!("reading `{}`", path.display()))?;
    Ok(metadata.len())
}
