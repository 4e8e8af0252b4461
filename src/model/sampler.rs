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
    idx: usize,
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

    /// Draws the token at `position` of the completion, out of `allowed` (ascending ids; `None`
    /// is all of them). `None` where nothing is allowed or no logit is a number.
    pub fn draw(&self, logits: &[f32], allowed: Option<&[u32]>, position: usize) -> Option<Drawn> {
        let gathered: Vec<f32>;
        let own = match allowed {
            None => logits,
            Some(ids) => {
                gathered = ids.iter().map_while(|&id| logits.get(id as usize).copied()).collect();
                &gathered
            }
        };
        let (best, max) = greatest(own)?;
        let idx =
            if self.temperature > 0.0 { self.draw_by_weight(own, max, position) } else { best };
        let token = allowed.map_or(idx as u32, |ids| ids[idx]);
        Some(Drawn { token, logprob: f64::from(own[idx] - max) - log_total(own, max) })
    }

    /// The likeliest tokens out of `allowed`, at most `n`, the likeliest first.
    pub fn likeliest(logits: &[f32], allowed: Option<&[u32]>, n: usize) -> Vec<Drawn> {
        let id_of = |idx: usize| allowed.map_or(idx as u32, |ids| ids[idx]);
        let gathered: Vec<f32>;
        let own = match allowed {
            None => logits,
            Some(ids) => {
                gathered = ids.iter().map_while(|&id| logits.get(id as usize).copied()).collect();
                &gathered
            }
        };
        let Some((_, max)) = greatest(own) else { return Vec::new() };
        let mut best: Vec<usize> = Vec::with_capacity(n + 1);
        for (idx, &logit) in own.iter().enumerate() {
            if best.len() < n || best.last().is_some_and(|&last| own[last] < logit) {
                let at = best.partition_point(|&other| logit <= own[other]);
                best.insert(at, idx);
                best.truncate(n);
            }
        }
        let total = log_total(own, max);
        let drawn =
            |idx: usize| Drawn { token: id_of(idx), logprob: f64::from(own[idx] - max) - total };
        best.into_iter().map(drawn).collect()
    }

    /// The index of the logit drawn.
    fn draw_by_weight(&self, logits: &[f32], max: f32, position: usize) -> usize {
        // Below this a token's weight is under 1e-9 of the best one's: with any vocabulary all
        // such tokens together are drawn less than once in 1,000 tokens, and cutting them saves
        // most of the work.
        let floor = max - 20.8 * self.temperature;
        let mut candidates: Vec<Candidate> = logits
            .iter()
            .enumerate()
            .filter(|&(_, &logit)| logit >= floor)
            .map(|(idx, &logit)| {
                let weight = (f64::from(logit - max) / f64::from(self.temperature)).exp();
                Candidate { idx, weight }
            })
            .collect();
        // The heaviest first, ties by the lowest id.
        candidates.sort_by(|a, b| b.weight.total_cmp(&a.weight).then(a.idx.cmp(&b.idx)));
        if self.top_k > 0 {
            candidates.truncate(self.top_k);
        }
        if self.min_p > 0.0 {
            // The best one's weight is 1.
            candidates.retain(|candidate| candidate.weight >= self.min_p.min(1.0));
        }
        if self.top_p < 1.0 {
            let total: f64 = candidates.iter().map(|candidate| candidate.weight).sum();
            let mut reached = 0.0;
            let last = candidates.iter().position(|candidate| {
                reached += candidate.weight;
                reached >= self.top_p * total
            });
            candidates.truncate(last.map_or(candidates.len(), |last| last + 1));
        }
        let total: f64 = candidates.iter().map(|candidate| candidate.weight).sum();
        let mut left = self.uniform(position) * total;
        let drawn = candidates.iter().find(|candidate| {
            left -= candidate.weight;
            left < 0.0
        });
        // Rounding may leave a crumb: then it is the last one's.
        drawn.or(candidates.last()).expect("the best token is never cut").idx
    }

    /// The random number in `[0, 1)` that belongs to a position.
    fn uniform(&self, position: usize) -> f64 {
        let mut generator = self.generator.clone();
        generator.set_word_pos(2 * position as u128);
        (generator.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Log-probability of one token, all being allowed; `None` where there is no such token.
pub fn logprob_of(logits: &[f32], token: u32) -> Option<f64> {
    let (_, max) = greatest(logits)?;
    Some(f64::from(*logits.get(token as usize)? - max) - log_total(logits, max))
}

/// The greatest logit and the lowest index that has it; `None` where none is a number.
fn greatest(logits: &[f32]) -> Option<(usize, f32)> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if max == f32::NEG_INFINITY {
        return None;
    }
    Some((logits.iter().position(|&logit| logit >= max)?, max))
}

/// `log Σ exp(logit - max)`.
fn log_total(logits: &[f32], max: f32) -> f64 {
    logits.chunks(1024).map(|chunk| f64::from(sum_exp(chunk, max))).sum::<f64>().ln()
}

/// `Σ exp(logit - max)`, in eight partial sums.
fn sum_exp(logits: &[f32], max: f32) -> f32 {
    let mut lanes = [0.0_f32; 8];
    let chunks = logits.chunks_exact(8);
    let rest: f32 = chunks.remainder().iter().map(|&logit| exp(logit - max)).sum();
    for chunk in chunks {
        for (lane, &logit) in lanes.iter_mut().zip(chunk) {
            *lane += exp(logit - max);
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

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn sampling(temperature: f64) -> Sampling {
        Sampling {
            n: 1,
            temperature,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            max_tokens: 100,
            stop: Vec::new(),
            variety: Variety::Independent,
        }
    }

    /// How often each of four tokens is drawn in 1,000 positions.
    #[track_caller]
    fn check(sampling: &Sampling, allowed: Option<&[u32]>, expect: Expect) {
        // Probabilities 0.4, 0.3, 0.2, 0.1.
        let logits = [0.4_f32, 0.3, 0.2, 0.1].map(f32::ln);
        let sampler = Sampler::new(sampling, 7, 0);
        let mut counts = [0; 4];
        for position in 0..1_000 {
            counts[sampler.draw(&logits, allowed, position).unwrap().token as usize] += 1;
        }
        expect.assert_eq(&format!("{counts:?}"));
    }

    #[test]
    fn tokens_come_as_often_as_their_probability() {
        check(&sampling(1.0), None, expect!["[407, 301, 192, 100]"]);
        check(&sampling(0.5), None, expect!["[557, 276, 139, 28]"]);
    }

    #[test]
    fn cuts_leave_the_likeliest() {
        check(&Sampling { top_k: 2, ..sampling(1.0) }, None, expect!["[592, 408, 0, 0]"]);
        check(&Sampling { top_p: 0.65, ..sampling(1.0) }, None, expect!["[592, 408, 0, 0]"]);
        check(&Sampling { min_p: 0.5, ..sampling(1.0) }, None, expect!["[592, 408, 0, 0]"]);
        check(&Sampling { top_p: 0.0, ..sampling(1.0) }, None, expect!["[1000, 0, 0, 0]"]);
    }

    #[test]
    fn only_allowed_tokens_are_drawn() {
        check(&sampling(1.0), Some(&[1, 3]), expect!["[0, 761, 0, 239]"]);
        let sampler = Sampler::new(&sampling(1.0), 0, 0);
        assert_eq!(sampler.draw(&[0.0, 1.0], Some(&[]), 0), None);
        assert_eq!(sampler.draw(&[f32::NEG_INFINITY; 2], None, 0), None);
        assert_eq!(sampler.draw(&[f32::NAN; 2], None, 0), None);
    }

    #[test]
    fn greedy_ties_go_to_the_lowest_id() {
        let sampler = Sampler::new(&sampling(0.0), 0, 0);
        assert_eq!(sampler.draw(&[1.0, 3.0, 3.0], None, 0).unwrap().token, 1);
        assert_eq!(sampler.draw(&[1.0, 3.0, 3.0], Some(&[0, 2]), 0).unwrap().token, 2);
    }

    #[test]
    fn draws_depend_on_seed_sample_and_position_alone() {
        let logits = [0.0_f32; 64];
        let draw = |seed, sample, position| {
            Sampler::new(&sampling(1.0), seed, sample).draw(&logits, None, position).unwrap().token
        };
        let drawn: Vec<u32> = (0..6).map(|position| draw(1, 0, position)).collect();
        let again: Vec<u32> = (0..6).rev().map(|position| draw(1, 0, position)).collect();
        assert_eq!(drawn, again.into_iter().rev().collect::<Vec<_>>());
        assert_ne!(drawn, (0..6).map(|position| draw(1, 1, position)).collect::<Vec<_>>());
        assert_ne!(drawn, (0..6).map(|position| draw(2, 0, position)).collect::<Vec<_>>());
    }

    #[test]
    fn log_probability_is_of_the_allowed_before_temperature() {
        let logits = [0.4_f32, 0.3, 0.2, 0.1].map(f32::ln);
        let sampler = Sampler::new(&sampling(0.0), 0, 0);
        let all = sampler.draw(&logits, None, 0).unwrap();
        assert!((all.logprob - 0.4_f64.ln()).abs() < 1e-6);
        let some = sampler.draw(&logits, Some(&[1, 3]), 0).unwrap();
        assert!((some.logprob - 0.75_f64.ln()).abs() < 1e-6);
        assert!((logprob_of(&logits, 2).unwrap() - 0.2_f64.ln()).abs() < 1e-6);
        assert_eq!(logprob_of(&logits, 4), None);
    }

    #[test]
    fn own_exponential_is_close_to_the_exact_one() {
        for step in 0..8_000 {
            let x = -0.01 * step as f32;
            let (exact, own) = (f64::from(x).exp(), f64::from(exp(x)));
            assert!((own - exact).abs() <= 4e-7 * exact, "{x}: {own} for {exact}");
        }
    }
}
