//! How sure a mean is, from the instances that it was taken over.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

const N_RESAMPLES: usize = 2000;

/// A mean and its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    pub mean: f64,
    pub low: f64,
    pub high: f64,
}

/// The mean of the values with the interval that the middle 95 % of means of resamples span
/// (percentile bootstrap). Without values all three are 0. The same values give the same interval.
pub fn estimate_mean(values: &[f64]) -> Estimate {
    if values.is_empty() {
        return Estimate { mean: 0.0, low: 0.0, high: 0.0 };
    }
    let first = values[0];
    if values.iter().all(|value| *value == first) {
        return Estimate { mean: first, low: first, high: first };
    }
    let n = values.len();
    let mean = values.iter().sum::<f64>() / n as f64;
    let mut generator = ChaCha8Rng::seed_from_u64(n as u64);
    let mut means = (0..N_RESAMPLES)
        .map(|_| (0..n).map(|_| values[generator.random_range(0..n)]).sum::<f64>() / n as f64)
        .collect::<Vec<_>>();
    means.sort_by(f64::total_cmp);
    let at = |share: f64| means[(share * (N_RESAMPLES - 1) as f64).round() as usize];
    Estimate { mean, low: at(0.025), high: at(0.975) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_holds_the_mean_and_narrows_with_more_values() {
        let few = estimate_mean(&[0.0, 1.0, 1.0, 1.0]);
        let many = estimate_mean(&[0.0, 1.0, 1.0, 1.0].repeat(100));
        for estimate in [few, many] {
            assert!((estimate.mean - 0.75).abs() < 1e-12);
            assert!(estimate.low <= estimate.mean && estimate.mean <= estimate.high);
        }
        assert!(many.high - many.low < 0.5 * (few.high - few.low));
        assert_eq!(few, estimate_mean(&[0.0, 1.0, 1.0, 1.0]));
    }

    #[test]
    fn equal_values_leave_no_doubt_and_none_give_zero() {
        let certain = estimate_mean(&[1.0; 5]);
        assert_eq!((certain.low, certain.high), (1.0, 1.0));
        assert_eq!(estimate_mean(&[]), Estimate { mean: 0.0, low: 0.0, high: 0.0 });
    }
}
