//! Draws one token from logits.
//!
//! Everything here depends on the logits, the settings and (seed, sample, position) alone: no
//! generator is carried from token to token, so a resumed, reordered or batched run draws the
//! same.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use rand::RngCore as _;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use crate::model::Sampling;
use crate::model::kernels::Isa;
use crate::model::kernels::choice::{CHUNK, Choice, Weights, maxima, sum_exp};
use crate::model::token_trie::TokenSet;

/// Draws the tokens of one sample.
#[derive(Debug, Clone)]
pub struct Sampler {
    isa: Isa,
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

/// A token that may be drawn, and its probability up to a common factor. The heaviest is the
/// greatest, and of those the one with the lowest id.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    token: usize,
    weight: f64,
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        self.weight.total_cmp(&other.weight).then(other.token.cmp(&self.token))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Candidate {}

/// How far below the best logit, in temperatures, a token may still be drawn: its weight there is
/// 1e-9 of the best one's, and with any vocabulary all tokens below are drawn less than once in
/// 1,000 tokens.
const REACH: f32 = 20.8;

/// The reach in which most drawn tokens are.
const FIRST_REACH: f32 = 5.0;

/// The tokens that may be drawn, the heaviest first. Few are wanted of what may be thousands, so
/// they are looked for in steps, each twice as far below the best as the one before.
struct Heaviest<'a> {
    choice: Choice<'a>,
    maxima: &'a [f32],
    max: f32,
    temperature: f32,
    /// Tokens below this are never drawn.
    floor: f32,
    reach: f32,
    /// The tokens found that have not been given.
    found: BinaryHeap<Candidate>,
    /// Those at or above this have been looked for.
    looked: f32,
}

impl<'a> Heaviest<'a> {
    fn new(
        choice: Choice<'a>,
        maxima: &'a [f32],
        (max, temperature): (f32, f32),
        floor: f32,
    ) -> Self {
        let (reach, looked) = (FIRST_REACH, f32::INFINITY);
        Self { choice, maxima, max, temperature, floor, reach, found: BinaryHeap::new(), looked }
    }

    /// Gives no more.
    fn end(&mut self) {
        self.found.clear();
        self.looked = f32::NEG_INFINITY;
    }
}

impl Iterator for Heaviest<'_> {
    type Item = Candidate;

    fn next(&mut self) -> Option<Candidate> {
        while self.found.is_empty() && self.floor < self.looked {
            let floor = (self.max - self.reach * self.temperature).max(self.floor);
            let is_new = |token: &usize| self.choice.logits[*token] < self.looked;
            let weigh = |token: usize| {
                let below = f64::from(self.choice.logits[token] - self.max);
                Candidate { token, weight: (below / f64::from(self.temperature)).exp() }
            };
            let new = at_least(self.choice, self.maxima, floor).filter(is_new).map(weigh);
            self.found = BinaryHeap::from(new.collect::<Vec<_>>());
            self.looked = floor;
            self.reach *= 2.0;
        }
        self.found.pop()
    }
}

impl Sampler {
    /// Draws sample `sample` of a request; `isa` changes nothing but the time that it takes.
    pub fn new(sampling: &Sampling, (seed, sample): (u64, usize), isa: Isa) -> Self {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        generator.set_stream(sample as u64);
        Self {
            isa,
            temperature: sampling.temperature as f32,
            top_p: sampling.top_p,
            top_k: sampling.top_k,
            min_p: sampling.min_p,
            generator,
        }
    }

    /// Draws the token at `position` of the completion, out of `allowed` (`None` is all of them).
    /// `None` where nothing is allowed or no logit is a number.
    pub fn draw(
        &self,
        logits: &[f32],
        allowed: Option<&TokenSet>,
        position: usize,
    ) -> Option<Drawn> {
        let choice = Choice { logits, allowed: allowed.map(TokenSet::words) };
        let maxima = maxima(self.isa, choice);
        let max = greatest(&maxima)?;
        let token = if self.temperature > 0.0 {
            self.draw_by_weight(choice, &maxima, position)
        } else {
            at_least(choice, &maxima, max).next()?
        };
        let logprob = f64::from(logits[token] - max)
            - sum_exp(self.isa, choice, &maxima, Weights::plain(max)).ln();
        Some(Drawn { token: token as u32, logprob })
    }

    /// The likeliest tokens out of `allowed`, at most `n`, the likeliest first.
    pub fn likeliest(&self, logits: &[f32], allowed: Option<&TokenSet>, n: usize) -> Vec<Drawn> {
        let choice = Choice { logits, allowed: allowed.map(TokenSet::words) };
        let maxima = maxima(self.isa, choice);
        let Some(max) = greatest(&maxima) else { return Vec::new() };
        let mut best: Vec<usize> = Vec::with_capacity(n + 1);
        for (chunk, &greatest) in maxima.iter().enumerate() {
            if best.len() == n && best.last().is_none_or(|&last| greatest <= logits[last]) {
                continue;
            }
            for token in at_least_in(choice, chunk, f32::MIN) {
                let logit = logits[token];
                if best.len() < n || best.last().is_some_and(|&last| logits[last] < logit) {
                    let at = best.partition_point(|&other| logit <= logits[other]);
                    best.insert(at, token);
                    best.truncate(n);
                }
            }
        }
        let total = sum_exp(self.isa, choice, &maxima, Weights::plain(max)).ln();
        let drawn = |token: usize| Drawn {
            token: token as u32,
            logprob: f64::from(logits[token] - max) - total,
        };
        best.into_iter().map(drawn).collect()
    }

    /// The token drawn.
    fn draw_by_weight(&self, choice: Choice<'_>, maxima: &[f32], position: usize) -> usize {
        let max = greatest(maxima).expect("there is something to draw");
        let mut reach = REACH;
        if self.min_p > 0.0 {
            // The best one's weight is 1.
            reach = reach.min(-self.min_p.min(1.0).ln() as f32);
        }
        let temperature = self.temperature;
        let floor = max - reach * temperature;
        let mut heaviest = Heaviest::new(choice, maxima, (max, temperature), floor);
        let mut taken: Vec<Candidate> = Vec::new();
        let total = if self.top_k > 0 {
            taken.extend(heaviest.by_ref().take(self.top_k));
            heaviest.end();
            taken.iter().map(|candidate| candidate.weight).sum()
        } else {
            sum_exp(self.isa, choice, maxima, Weights { max, temperature, floor })
        };
        let mut rest = taken.into_iter().chain(heaviest);
        if self.top_p >= 1.0 {
            return pick(rest, self.uniform(position) * total);
        }
        let mut kept = Vec::new();
        let mut reached = 0.0;
        for candidate in &mut rest {
            reached += candidate.weight;
            kept.push(candidate);
            if reached >= self.top_p * total {
                break;
            }
        }
        pick(kept, self.uniform(position) * reached)
    }

    /// The random number in `[0, 1)` that belongs to a position.
    fn uniform(&self, position: usize) -> f64 {
        let mut generator = self.generator.clone();
        generator.set_word_pos(2 * position as u128);
        (generator.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// The first of `candidates` with which their weights exceed `left`.
fn pick(candidates: impl IntoIterator<Item = Candidate>, mut left: f64) -> usize {
    let mut last = None;
    for candidate in candidates {
        last = Some(candidate.token);
        left -= candidate.weight;
        if left < 0.0 {
            break;
        }
    }
    // Rounding may leave a crumb: then it is the last one's.
    last.expect("the best token is never cut")
}

/// Log-probability of one token, all being allowed; `None` where there is no such token.
pub fn logprob_of(isa: Isa, logits: &[f32], token: u32) -> Option<f64> {
    let choice = Choice { logits, allowed: None };
    let maxima = maxima(isa, choice);
    let max = greatest(&maxima)?;
    let own = *logits.get(token as usize)? - max;
    Some(f64::from(own) - sum_exp(isa, choice, &maxima, Weights::plain(max)).ln())
}

/// The greatest of all; `None` where none is a number.
fn greatest(maxima: &[f32]) -> Option<f32> {
    let max = maxima.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    (max != f32::NEG_INFINITY).then_some(max)
}

/// The allowed tokens, in rising order, whose logits are not below `floor`.
fn at_least<'a>(
    choice: Choice<'a>,
    maxima: &'a [f32],
    floor: f32,
) -> impl Iterator<Item = usize> + 'a {
    let chunks = maxima.iter().enumerate().filter(move |(_, max)| **max >= floor);
    chunks.flat_map(move |(chunk, _)| at_least_in(choice, chunk, floor))
}

/// Those of one chunk.
fn at_least_in(choice: Choice<'_>, chunk: usize, floor: f32) -> impl Iterator<Item = usize> {
    let first = chunk * CHUNK;
    let logits = choice.logits[first..].iter().take(CHUNK).enumerate();
    logits.filter_map(move |(at, logit)| {
        let token = first + at;
        let is_allowed = || choice.word(token / 64) >> (token % 64) & 1 == 1;
        (*logit >= floor && is_allowed()).then_some(token)
    })
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::model::Variety;

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

    fn sampler(sampling: &Sampling, seed: u64, sample: usize) -> Sampler {
        Sampler::new(sampling, (seed, sample), Isa::best())
    }

    fn set(tokens: &[u32]) -> TokenSet {
        let mut set = TokenSet::empty(4);
        set.extend(tokens);
        set
    }

    /// How often each of four tokens is drawn in 1,000 positions.
    #[track_caller]
    fn check(sampling: &Sampling, allowed: Option<&[u32]>, expect: Expect) {
        let allowed = allowed.map(set);
        // Probabilities 0.4, 0.3, 0.2, 0.1.
        let logits = [0.4_f32, 0.3, 0.2, 0.1].map(f32::ln);
        let sampler = sampler(sampling, 7, 0);
        let mut counts = [0; 4];
        for position in 0..1_000 {
            counts[sampler.draw(&logits, allowed.as_ref(), position).unwrap().token as usize] += 1;
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
        check(&Sampling { min_p: 0.6, ..sampling(1.0) }, None, expect!["[592, 408, 0, 0]"]);
        check(&Sampling { top_p: 0.0, ..sampling(1.0) }, None, expect!["[1000, 0, 0, 0]"]);
    }

    #[test]
    fn only_allowed_tokens_are_drawn() {
        check(&sampling(1.0), Some(&[1, 3]), expect!["[0, 761, 0, 239]"]);
        let sampler = sampler(&sampling(1.0), 0, 0);
        assert_eq!(sampler.draw(&[0.0, 1.0], Some(&set(&[])), 0), None);
        assert_eq!(sampler.draw(&[f32::NEG_INFINITY; 2], None, 0), None);
        assert_eq!(sampler.draw(&[f32::NAN; 2], None, 0), None);
    }

    #[test]
    fn the_likeliest_come_in_order_with_their_probabilities() {
        let logits: Vec<f32> = [0.4_f32, 0.1, 0.2, 0.3].map(f32::ln).into();
        let sampler = Sampler::new(&sampling(0.0), (0, 0), Isa::best());
        let likeliest = sampler.likeliest(&logits, None, 3);
        let shown: Vec<String> = likeliest
            .iter()
            .map(|drawn| format!("{} {:.2}", drawn.token, drawn.logprob.exp()))
            .collect();
        assert_eq!(shown, ["0 0.40", "3 0.30", "2 0.20"]);
        let mut many = vec![0.0; 5_000];
        many[4_000] = 3.0;
        many[4_001] = 2.0;
        let tokens = sampler.likeliest(&many, None, 3).into_iter().map(|drawn| drawn.token);
        assert_eq!(tokens.collect::<Vec<_>>(), [4_000, 4_001, 0]);
        assert!(sampler.likeliest(&[f32::NEG_INFINITY; 2], None, 3).is_empty());
    }

    #[test]
    fn greedy_ties_go_to_the_lowest_id() {
        let sampler = sampler(&sampling(0.0), 0, 0);
        assert_eq!(sampler.draw(&[1.0, 3.0, 3.0], None, 0).unwrap().token, 1);
        assert_eq!(sampler.draw(&[1.0, 3.0, 3.0], Some(&set(&[0, 2])), 0).unwrap().token, 2);
    }

    #[test]
    fn draws_depend_on_seed_sample_and_position_alone() {
        let logits = [0.0_f32; 64];
        let draw = |seed, sample, position| {
            sampler(&sampling(1.0), seed, sample).draw(&logits, None, position).unwrap().token
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
        let sampler = sampler(&sampling(0.0), 0, 0);
        let all = sampler.draw(&logits, None, 0).unwrap();
        assert!((all.logprob - 0.4_f64.ln()).abs() < 1e-6);
        let some = sampler.draw(&logits, Some(&set(&[1, 3])), 0).unwrap();
        assert!((some.logprob - 0.75_f64.ln()).abs() < 1e-6);
        assert!((logprob_of(Isa::best(), &logits, 2).unwrap() - 0.2_f64.ln()).abs() < 1e-6);
        assert_eq!(logprob_of(Isa::best(), &logits, 4), None);
    }
}
