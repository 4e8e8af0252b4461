//! What drawing a token asks of all logits: the greatest, and the sum of all weights.
//!
//! A vocabulary has some 150,000 tokens, and both are asked for every token drawn.

use crate::model::kernels::Isa;
use crate::model::kernels::lanes::{Kernel, LANES, Lanes, dispatch};

/// Logits that share an entry of [`maxima`].
pub const CHUNK: usize = 256;

/// Bits of a word of the allowed tokens.
const WORD: usize = 64;

/// A vocabulary's logits, and which of its tokens are allowed: all, or those of a set of bits.
#[derive(Debug, Clone, Copy)]
pub struct Choice<'a> {
    pub logits: &'a [f32],
    pub allowed: Option<&'a [u64]>,
}

impl Choice<'_> {
    /// The tokens of 64, from the one numbered `64 word` on, as bits.
    #[inline(always)]
    pub fn word(&self, word: usize) -> u64 {
        let n_left = self.logits.len().saturating_sub(word * WORD);
        let there = if n_left < WORD { (1 << n_left) - 1 } else { u64::MAX };
        match self.allowed {
            None => there,
            Some(words) => words.get(word).copied().unwrap_or(0) & there,
        }
    }

    /// Calls `on_words` with four lots of sixteen logits at a time; what is not allowed is minus
    /// infinity.
    #[inline(always)]
    fn for_each_word<L: Lanes>(
        &self,
        lanes: L,
        chunk: usize,
        mut on_words: impl FnMut([L::Floats; WORD / LANES]),
    ) {
        let first = chunk * CHUNK / WORD;
        for word in first..self.logits.len().div_ceil(WORD).min(first + CHUNK / WORD) {
            let bits = self.word(word);
            if bits == 0 {
                continue;
            }
            let all = &self.logits[word * WORD..];
            let mut own = [f32::NEG_INFINITY; WORD];
            let logits = match all.first_chunk::<WORD>() {
                Some(logits) if bits == u64::MAX => logits,
                _ => {
                    let mut rest = bits;
                    while rest != 0 {
                        let at = rest.trailing_zeros() as usize;
                        own[at] = all[at];
                        rest &= rest - 1;
                    }
                    &own
                }
            };
            let mut floats = [lanes.splat(0.0); WORD / LANES];
            for (floats, logits) in floats.iter_mut().zip(logits.as_chunks::<LANES>().0) {
                *floats = lanes.floats(logits);
            }
            on_words(floats);
        }
    }
}

/// The greatest allowed logit of every [`CHUNK`]; minus infinity where there is none, and for what
/// is no number.
pub fn maxima(isa: Isa, choice: Choice<'_>) -> Vec<f32> {
    let mut maxima = vec![f32::NEG_INFINITY; choice.logits.len().div_ceil(CHUNK)];
    dispatch(isa, Maxima { choice, maxima: &mut maxima });
    maxima
}

/// What a logit weighs: `exp((logit - max) / temperature)`, and nothing below `floor`.
#[derive(Debug, Clone, Copy)]
pub struct Weights {
    /// The greatest logit.
    pub max: f32,
    pub temperature: f32,
    pub floor: f32,
}

impl Weights {
    /// Those whose share is a token's probability.
    pub const fn plain(max: f32) -> Self {
        Self { max, temperature: 1.0, floor: f32::NEG_INFINITY }
    }
}

/// The sum of the weights of what is allowed, where `maxima` are those of the same choice.
pub fn sum_exp(isa: Isa, choice: Choice<'_>, maxima: &[f32], weights: Weights) -> f64 {
    dispatch(isa, SumExp { choice, maxima, weights })
}

struct Maxima<'a> {
    choice: Choice<'a>,
    maxima: &'a mut [f32],
}

impl Kernel for Maxima<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        for (chunk, max) in self.maxima.iter_mut().enumerate() {
            let lowest = lanes.splat(f32::NEG_INFINITY);
            let mut greatest = [lowest; WORD / LANES];
            self.choice.for_each_word(
                lanes,
                chunk,
                #[inline(always)]
                |floats| {
                    for (greatest, floats) in greatest.iter_mut().zip(floats) {
                        // In this order the second is taken where the first is no number.
                        *greatest = lanes.max(lanes.max(floats, lowest), *greatest);
                    }
                },
            );
            let [a, b, c, d] = greatest;
            *max = lanes.largest(lanes.max(lanes.max(a, b), lanes.max(c, d)));
        }
    }
}

struct SumExp<'a> {
    choice: Choice<'a>,
    maxima: &'a [f32],
    weights: Weights,
}

impl Kernel for SumExp<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) -> f64 {
        let Weights { max, temperature, floor } = self.weights;
        let inverse = lanes.splat(1.0 / temperature);
        // Below the second every weight is 0.
        let floor = floor.max(max - 87.0 * temperature);
        let max = lanes.splat(max);
        let mut total = 0.0;
        for (chunk, greatest) in self.maxima.iter().enumerate() {
            if *greatest < floor {
                continue;
            }
            let mut sums = [lanes.splat(0.0); WORD / LANES];
            self.choice.for_each_word(
                lanes,
                chunk,
                #[inline(always)]
                |floats| {
                    for (sum, floats) in sums.iter_mut().zip(floats) {
                        let weights = lanes.exp(lanes.mul(lanes.sub(floats, max), inverse));
                        *sum = lanes.add(*sum, lanes.zero_below(weights, floats, floor));
                    }
                },
            );
            let [a, b, c, d] = sums;
            total += f64::from(lanes.sum(lanes.add(lanes.add(a, b), lanes.add(c, d))));
        }
        total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logits(n: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 7919 + 13) % 4001) as f32 / 40.0 - 50.0).collect()
    }

    #[test]
    fn greatest_and_sum_are_those_of_the_definition() {
        for n in [1, 15, 64, 1000, 1024, 5000] {
            let mut logits = logits(n);
            logits[n / 2] = f32::NAN;
            logits[n / 3] = f32::NEG_INFINITY;
            let some: Vec<u64> = (0..n.div_ceil(64)).map(|i| 0x1234_5678_9abc_def1 << i).collect();
            let full = vec![u64::MAX; n.div_ceil(64)];
            for allowed in [None, Some(&some), Some(&full)] {
                let choice = Choice { logits: &logits, allowed: allowed.map(Vec::as_slice) };
                let own = logits.iter().enumerate().filter(|(i, logit)| {
                    choice.word(i / 64) >> (i % 64) & 1 == 1 && !logit.is_nan()
                });
                let own: Vec<f32> = own.map(|(_, logit)| *logit).collect();
                let max = own.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                // What is no number weighs next to nothing, for whatever it stands.
                let exact: f64 = own.iter().map(|x| f64::from(x - max).exp()).sum();
                let mut first = None;
                for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
                    let maxima = maxima(isa, choice);
                    assert_eq!(maxima.iter().copied().fold(f32::NEG_INFINITY, f32::max), max);
                    if max == f32::NEG_INFINITY {
                        continue;
                    }
                    let sum = sum_exp(isa, choice, &maxima, Weights::plain(max));
                    assert!((sum - exact).abs() < 1e-5 * exact, "{isa:?} {n}: {sum} {exact}");
                    assert_eq!(*first.get_or_insert(sum), sum, "{isa:?}");
                }
            }
        }
    }
}
