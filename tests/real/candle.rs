//! The local decoder beside candle's own, on the same file.

use std::fs::File;

use candle_core::quantized::gguf_file::Content;
use candle_core::{Device, Tensor};
use candle_transformers::models::quantized_llama::ModelWeights;
use sorft::model::local::gpu::Gpu;
use sorft::model::local::judge::Judge;
use sorft::model::local::load::{Loaded, LocalOptions};

use crate::model::small_model;

const N_TOKENS: usize = 12;
/// Both round activations to 8 bits, in blocks of their own: near ties may go either way.
const MAX_GAP: f32 = 0.3;

#[test]
fn greedy_tokens_are_candles_but_for_near_ties() {
    let path = small_model();
    let judge = Judge::load(&path, &LocalOptions::default()).unwrap();
    let texts = [
        "def mean(values):\n    total = 0\n    for value in values:\n        total +=",
        "The capital of France is",
        "impl Iterator for Countdown {\n    type Item = u32;\n\n    fn next(&mut self) -> Option<",
    ];
    for text in texts {
        let ids = judge.encode(text).unwrap();
        let ours: Vec<u32> =
            judge.greedy(&ids, N_TOKENS).unwrap().iter().map(|best| best.token).collect();
        let mut file = File::open(&path).unwrap();
        let content = Content::read(&mut file).unwrap();
        let mut candle = ModelWeights::from_gguf(content, &mut file, &Device::Cpu).unwrap();
        let (mut next, mut position) = (ids, 0);
        for (step, token) in ours.iter().enumerate() {
            let input = Tensor::new(next.as_slice(), &Device::Cpu).unwrap().unsqueeze(0).unwrap();
            let logits = candle.forward(&input, position).unwrap().flatten_all().unwrap();
            let logits: Vec<f32> = logits.to_vec1().unwrap();
            let best = logits.iter().copied().fold(f32::MIN, f32::max);
            let gap = best - logits[*token as usize];
            assert!(gap <= MAX_GAP, "{text:?}, token {step}: {gap} below candle's best");
            if 0.0 < gap {
                // From here on the two read different texts.
                break;
            }
            position += next.len();
            next = vec![*token];
        }
    }
}

#[test]
fn the_arithmetic_of_gpus_gives_the_same_tokens_but_for_near_ties() {
    let path = small_model();
    let options = LocalOptions::default();
    let cpu = Judge::load(&path, &options).unwrap();
    let ops = |config: &_, team| Gpu::new(config, Device::Cpu, team);
    let gpu = Judge::over(Loaded::read_for(&path, &options, ops).unwrap());
    for text in ["def mean(values):\n    total = 0\n", "The capital of France is"] {
        let ids = cpu.encode(text).unwrap();
        let ours = cpu.greedy(&ids, N_TOKENS).unwrap();
        let theirs = gpu.greedy(&ids, N_TOKENS).unwrap();
        let differing = ours.iter().zip(&theirs).find(|(ours, theirs)| ours.token != theirs.token);
        if let Some((ours, theirs)) = differing {
            let lead = ours.lead.min(theirs.lead);
            assert!(lead <= MAX_GAP, "{text:?}: {lead} before the next best");
        }
    }
}
