//! How fast a model runs on this machine.
//!
//! Steps go straight to the network: what is timed is the network and the drawing of tokens, as a
//! request would have them, without waiting for requests.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::ensure;
use serde::Serialize;

use crate::model::local::config::DecoderConfig;
use crate::model::local::decoder::{Batch, Ops, SequenceRows};
use crate::model::local::gpu::Gpu;
use crate::model::local::gpu::choice::Chosen;
use crate::model::local::load::{Loaded, LocalOptions, PREFILL_ROWS};
use crate::model::sampler::Sampler;
use crate::model::{Sampling, Variety};

/// What is measured.
#[derive(Debug, Clone)]
pub struct BenchPlan {
    /// Lengths of prompts.
    pub prefill: Vec<usize>,
    /// How many sequences grow at once, from a prompt that they share.
    pub batches: Vec<usize>,
    /// Tokens of that prompt.
    pub n_prompt: usize,
    /// Tokens that each sequence grows by.
    pub n_decoded: usize,
    /// How often each figure is measured; the best counts.
    pub n_repeats: usize,
}

/// The figures of one model.
#[derive(Debug, Clone, Serialize)]
pub struct BenchReport {
    pub model: String,
    /// The instructions that computed.
    pub isa: &'static str,
    pub n_threads: usize,
    pub device: String,
    pub load_seconds: f64,
    pub prefill: Vec<Figure>,
    /// By how many sequences grew at once.
    pub decode: Vec<Figure>,
}

/// Tokens per second at one size.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Figure {
    pub size: usize,
    pub tokens_per_second: f64,
}

/// Loads a model and measures it; `tell` hears what is under way.
pub fn bench(
    path: &Path,
    options: &LocalOptions,
    plan: &BenchPlan,
    tell: &dyn Fn(&str),
) -> anyhow::Result<BenchReport> {
    let device = options.device.find()?;
    let name = device.to_string();
    match device {
        Chosen::Cpu => measure(|| Loaded::read(path, options), name, plan, tell),
        Chosen::Gpu(device) => {
            let ops = |config: &DecoderConfig, team| Gpu::new(config, device, team);
            measure(|| Loaded::read_for(path, options, ops), name, plan, tell)
        }
    }
}

fn measure<O: Ops>(
    load: impl FnOnce() -> anyhow::Result<Loaded<O>>,
    device: String,
    plan: &BenchPlan,
    tell: &dyn Fn(&str),
) -> anyhow::Result<BenchReport> {
    tell("loading");
    let started = Instant::now();
    let loaded = load()?;
    let load_seconds = started.elapsed().as_secs_f64();
    let longest = plan.prefill.iter().copied().max().unwrap_or(0);
    let longest = longest.max(plan.n_prompt + plan.n_decoded);
    ensure!(
        longest <= loaded.info.context_length,
        "{longest} tokens do not fit into the context of {}",
        loaded.info.context_length
    );
    ensure!(0 < plan.n_repeats, "nothing is measured zero times");
    // Once for the caches, the page tables and the processor's clock.
    loaded.prefill(&loaded.prompt(64)?)?;
    let best = |run: &dyn Fn() -> anyhow::Result<f64>| -> anyhow::Result<f64> {
        let mut best = 0.0_f64;
        for _ in 0..plan.n_repeats {
            best = best.max(run()?);
        }
        Ok(best)
    };
    let mut prefill = Vec::new();
    for &size in &plan.prefill {
        tell(&format!("prompt of {size} tokens"));
        let run = || {
            let ids = loaded.prompt(size)?;
            let started = Instant::now();
            loaded.prefill(&ids)?;
            Ok(size as f64 / started.elapsed().as_secs_f64())
        };
        prefill.push(Figure { size, tokens_per_second: best(&run)? });
    }
    let mut decode = Vec::new();
    if !plan.batches.is_empty() {
        let prompt = Arc::new(loaded.prefill(&loaded.prompt(plan.n_prompt)?)?.0);
        for &size in &plan.batches {
            tell(&format!("{size} sequences from a prompt of {} tokens", plan.n_prompt));
            let run = || loaded.decode(&prompt, plan.n_prompt, size, plan.n_decoded);
            decode.push(Figure { size, tokens_per_second: best(&run)? });
        }
    }
    Ok(BenchReport {
        model: loaded.info.name.clone(),
        isa: loaded.decoder.ops().isa().name(),
        n_threads: loaded.n_threads,
        device,
        load_seconds,
        prefill,
        decode,
    })
}

impl<O: Ops> Loaded<O> {
    /// A prompt of source code.
    fn prompt(&self, n_tokens: usize) -> anyhow::Result<Vec<u32>> {
        let text = self.tokenizer.encode(include_str!("scheduler/running.rs"))?;
        Ok(text.into_iter().cycle().take(n_tokens).collect())
    }

    /// Computes a prompt, and the logits after it.
    fn prefill(&self, ids: &[u32]) -> anyhow::Result<(O::Segment, Vec<f32>)> {
        let n_tokens = ids.len();
        let mut own = self.decoder.ops().new_segment()?;
        let mut logits = Vec::new();
        for (idx, ids) in ids.chunks(PREFILL_ROWS).enumerate() {
            let start = idx * PREFILL_ROWS;
            let is_last = start + ids.len() == n_tokens;
            let last = [ids.len() - 1];
            let wanted = if is_last { &last[..] } else { &[] };
            let sequences =
                vec![SequenceRows { n_rows: ids.len(), start, shared: &[], own: &mut own }];
            logits = self.decoder.forward(Batch { ids, sequences, wanted })?.to_vec();
        }
        Ok((own, logits))
    }

    /// Tokens per second of `n` sequences that go on after a prompt. Its last token is computed
    /// again for each, as their first step.
    fn decode(
        &self,
        prompt: &Arc<O::Segment>,
        n_prompt: usize,
        n: usize,
        n_steps: usize,
    ) -> anyhow::Result<f64> {
        let (decoder, ops) = (&self.decoder, self.decoder.ops());
        let n_vocab = decoder.config.n_vocab;
        let sampling = Sampling {
            n,
            temperature: if n == 1 { 0.0 } else { 0.8 },
            top_p: 0.95,
            top_k: 0,
            min_p: 0.0,
            max_tokens: n_steps,
            stop: Vec::new(),
            variety: Variety::Independent,
        };
        let samplers: Vec<Sampler> =
            (0..n).map(|idx| Sampler::new(&sampling, (1, idx), ops.isa())).collect();
        let mut owns = Vec::with_capacity(n);
        for _ in 0..n {
            owns.push(ops.branch(prompt, n_prompt)?);
        }
        let shared = [Arc::clone(prompt)];
        let mut ids = vec![0; n];
        let wanted: Vec<usize> = (0..n).collect();
        let started = Instant::now();
        for step in 0..n_steps {
            let sequences = owns.iter_mut().map(|own| {
                let n_shared = usize::from(0 < ops.segment_start(own));
                SequenceRows { n_rows: 1, start: n_prompt + step, shared: &shared[..n_shared], own }
            });
            let sequences = sequences.collect();
            let logits = decoder.forward(Batch { ids: &ids, sequences, wanted: &wanted })?;
            let rows = logits.chunks_exact(n_vocab).zip(&samplers).zip(&mut ids);
            ops.for_each(rows.collect(), |((logits, sampler), id)| {
                let drawn = sampler.draw(logits, None, step).expect("the logits are numbers");
                *id = drawn.token;
            });
        }
        Ok((n * n_steps) as f64 / started.elapsed().as_secs_f64())
    }
}
