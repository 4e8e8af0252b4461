//! Computes a loss and its gradients, for the script in `checks/` that compares them.
//!
//!     gradients MODEL ADAPTER|- OUT < tokens
//!
//! Each line of JSON is a sequence: `ids`, and `first`, the first token that is learnt. All
//! sequences are packed into one step. Writes the gradients to the safetensors file OUT, of the
//! adapter or, with `-`, of all weights, and prints the mean loss of a learnt token.
#![expect(clippy::print_stdout, reason = "the answer")]

use std::collections::BTreeMap;
use std::io::BufRead as _;
use std::path::Path;

use anyhow::Context as _;
use safetensors::tensor::{Dtype, TensorView, serialize_to_file};
use serde::Deserialize;
use sorft::model::local::load::read_parts;
use sorft::train::decoder::batch::Batch;
use sorft::train::decoder::{Activations, Adapter, Gradients, Network, Trainer};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sequence {
    ids: Vec<u32>,
    first: usize,
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, adapter, out] = &arguments[..] else {
        anyhow::bail!("wanted MODEL ADAPTER|- OUT");
    };
    let parts = read_parts(Path::new(model))?;
    let network = Network::read(&parts.config, &parts.weights)?;
    let mut sequences = Vec::new();
    for line in std::io::stdin().lock().lines() {
        sequences.push(serde_json::from_str::<Sequence>(&line?).context("a sequence")?);
    }
    let n_learnt: usize = sequences.iter().map(|s| s.ids.len() - s.first.max(1)).sum();
    let mut batch = Batch::default();
    for sequence in &sequences {
        batch.push(&sequence.ids, sequence.first, 1.0 / n_learnt as f32);
    }
    let adapter = match adapter.as_str() {
        "-" => None,
        folder => Some(Adapter::read(Path::new(folder), &network)?),
    };
    let mut gradients = match &adapter {
        None => Gradients::Full(Box::new(network.zeros_like())),
        Some(adapter) => Gradients::Adapter(adapter.zeros_like()),
    };
    let mut trainer = Trainer::new(Activations::Keep);
    let loss = trainer.step(&network, adapter.as_ref(), &batch, &mut gradients);
    let tensors: BTreeMap<String, Vec<u8>> = gradients
        .tensors_mut()
        .into_iter()
        .map(|(name, numbers)| (name, numbers.iter().flat_map(|n| n.to_le_bytes()).collect()))
        .collect();
    let views = tensors
        .iter()
        .map(|(name, bytes)| Ok((name, TensorView::new(Dtype::F32, vec![bytes.len() / 4], bytes)?)))
        .collect::<anyhow::Result<Vec<_>>>()?;
    serialize_to_file(views, None, Path::new(out))?;
    println!("{loss}");
    Ok(())
}
