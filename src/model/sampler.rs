//! Draws one token from logits.
//!
//! Everything here depends on the logits, the settings and (seed, sample, position) alone: no
//! generator is carried from token to token, so a resumed, reordered or batched run draws the
//! same.

use rand::RngCore as _;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use crate::model::Sampling;

/// Draws the tokens of one sample.
#[derive(Debug, Clone)]
pub struct Sampler {
    temperature: f32,
    top_p: f64,
    top_k: usize,
    min_p: f64,
    generator: ChaCha8Rng,
}

/// A drawn token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Drawn {
    pub token: u32,
    /// Its log-probability among the tokens allowed, before temperature and cuts.
    pub logprob: f64,
}

/// A token that may be drawn, and its probability up to a common factor.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    token: u32,
    weight: f64,
}

impl Sampler {
    pub fn new(sampling: &Sampling, seed: u64, sample: usize) -> Self {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        generator.set_stream(sample as u64);
        Self {
            temperature: sampling.temperature as f32,
            top_p: sampling.top_p,
            top_k: sampling.top_k,
            min_p: sampling.min_p,
            generator,
        }
    }

    /// Draws the token at `position` of the completion. Tokens whose logit is negative infinity
    /// are not allowed; `None` where none is.
    pub fn draw(&self, logits: &[f32], position: usize) -> Option<Drawn> {
        let (best, max) = greatest(logits)?;
        let total: f64 = logits.chunks(1024).map(|chunk| f64::from(sum_exp(chunk, max, 1.0))).sum();
        let token =
            if self.temperature > 0.0 { self.draw_by_weight(logits, max, position) } else { best };
        let logprob = f64::from(logits[token as usize] - max) - total.ln();
        Some(Drawn { token, logprob })
    }

    fn draw_by_weight(&self, logits: &[f32], max: f32, position: usize) -> u32 {
        // Below this a token's weight is under 1e-9 of the best one's: with any vocabulary all
        // such tokens together are drawn less than once in 1,000 tokens, and cutting them saves
        // most of the work.
        let floor = max - 20.8 * self.temperature;
        let mut candidates: Vec<Candidate> = logits
            .iter()
            .zip(0_u32..)
            .filter(|&(&logit, _)| logit >= floor)
            .map(|(&logit, token)| {
                let weight = (f64::from(logit - max) / f64::from(self.temperature)).exp();
                Candidate { token, weight }
            })
            .collect();
        // The heaviest first, ties by the lowest id.
        candidates.sort_by(|a, b| b.weight.total_cmp(&a.weight).then(a.token.cmp(&b.token)));
        if self.top_k > 0 {
            candidates.truncate(self.top_k);
        }
        if self.min_p > 0.0 {
            candidates.retain(|candidate| candidate.weight >= self.min_p);
        }
        if self.top_p < 1.0 {
            let total: f64 = candidates.iter().map(|candidate| candidate.weight).sum();
            let mut reached = 0.0;
            let kept = candidates.iter().position(|candidate| {
                reached += candidate.weight;
                reached >= self.top_p * total
            });
            candidates.truncate(kept.map_or(candidates.len(), |last| last + 1));
        }
        let total: f64 = candidates.iter().map(|candidate| candidate.weight).sum();
        let mut left = self.uniform(position) * total;
        let drawn = candidates.iter().find(|candidate| {
            left -= candidate.weight;
            left < 0.0
        });
        // Rounding may leave a crumb: then it is the last one's.
        drawn.or(candidates.last()).expect("the best token is never cut").token
    }

    /// The random number in `[0, 1)` that belongs to a position.
    fn uniform(&self, position: usize) -> f64 {
        let mut generator = self.generator.clone();
        generator.set_word_pos(2 * position as u128);
        (generator.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Log-probability of one token, all being allowed.
pub fn logprob_of(logits: &[f32], token: u32) -> Option<f64> {
    let (_, max) = greatest(logits)?;
    let total: f64 = logits.chunks(1024).map(|chunk| f64::from(sum_exp(chunk, max, 1.0))).sum();
    Some(f64::from(*logits.get(token as usize)? - max) - total.ln())
}

/// The greatest logit and the lowest id that has it; `None` where all are negative infinity.
fn greatest(logits: &[f32]) -> Option<(u32, f32)> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if max == f32::NEG_INFINITY {
        return None;
    }
    let token = logits.iter().position(|&logit| logit >= max)?;
    Some((token as u32, max))
}

/// `Σ exp((logit - max) / temperature)`, in eight partial sums.
fn sum_exp(logits: &[f32], max: f32, scale: f32) -> f32 {
    let mut lanes = [0.0_f32; 8];
    let chunks = logits.chunks_exact(8);
    let rest: f32 = chunks.remainder().iter().map(|&logit| exp((logit - max) * scale)).sum();
    for chunk in chunks {
        for (lane, &logit) in lanes.iter_mut().zip(chunk) {
            *lane += exp((logit - max) * scale);
        }
    }
    lanes.iter().sum::<f32>() + rest
}

/// `e^x` for `x <= 0`, to about one part in 10 million: a vocabulary has some 150,000 tokens, and
/// the standard library's exponential is not vectorized.
fn exp(x: f32) -> f32 {
    // Below this the result is no normal number; the sum does not feel it.
    let x = x.max(-87.0);
    let n = (x * std::f32::consts::LOG2_E).round_ties_even();
    let r = (x - n * 0.693_145_75) - n * 1.428_606_8e-6;
    let series = 1.0 / 720.0;
    let series = series * r + 1.0 / 120.0;
    let series = series * r + 1.0 / 24.0;
    let series = series * r + 1.0 / 6.0;
    let series = series * r + 0.5;
    let series = series * r + 1.0;
    let series = series * r + 1.0;
    series * f32::from_bits(((n as i32 + 127) << 23) as u32)
}
