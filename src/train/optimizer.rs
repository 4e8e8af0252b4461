//! `AdamW` and the schedule of its rate, over flat tensors.

use std::f64::consts::PI;

/// `AdamW` (Loshchilov and Hutter, arXiv 1711.05101) with its two moments of every number.
#[derive(Debug, Clone, PartialEq)]
pub struct AdamW {
    /// First and second moments, by tensor.
    pub moments: Vec<[Vec<f32>; 2]>,
    /// Updates so far.
    pub n_updates: u64,
}

const BETAS: [f64; 2] = [0.9, 0.95];
const EPSILON: f64 = 1e-8;

impl AdamW {
    /// An optimizer of tensors of these lengths.
    pub fn new(lengths: impl IntoIterator<Item = usize>) -> Self {
        let moments = lengths.into_iter().map(|length| [vec![0.0; length], vec![0.0; length]]);
        Self { moments: moments.collect(), n_updates: 0 }
    }

    /// An optimizer of these tensors.
    pub fn of(tensors: &[(String, &mut Vec<f32>)]) -> Self {
        Self::new(tensors.iter().map(|(_, tensor)| tensor.len()))
    }

    /// One update of every tensor; gradients are multiplied by `factor` first.
    ///
    /// # Panics
    ///
    /// The tensors are not those that the optimizer was made for.
    pub fn update(
        &mut self,
        tensors: Vec<(String, &mut Vec<f32>)>,
        gradients: Vec<(String, &mut Vec<f32>)>,
        factor: f64,
        (rate, weight_decay): (f64, f64),
    ) {
        self.n_updates += 1;
        let corrections = BETAS.map(|beta| 1.0 - beta.powf(self.n_updates as f64));
        let step = (rate / corrections[0]) as f32;
        let root_correction = (1.0 / corrections[1].sqrt()) as f32;
        let keep = (1.0 - rate * weight_decay) as f32;
        let [beta_1, beta_2] = BETAS.map(|beta| beta as f32);
        let factor = factor as f32;
        let n_tensors = (tensors.len(), gradients.len());
        let wanted = (self.moments.len(), self.moments.len());
        assert!(n_tensors == wanted, "the tensors of this optimizer, each with a gradient");
        for (((_, tensor), (_, gradient)), [first, second]) in
            tensors.into_iter().zip(gradients).zip(&mut self.moments)
        {
            let lengths = (tensor.len(), gradient.len());
            assert!(lengths == (first.len(), first.len()), "a tensor of this optimizer");
            let moments = first.iter_mut().zip(second);
            for ((weight, gradient), (first, second)) in
                tensor.iter_mut().zip(gradient).zip(moments)
            {
                let gradient = *gradient * factor;
                *first = beta_1 * *first + (1.0 - beta_1) * gradient;
                *second = beta_2 * *second + (1.0 - beta_2) * gradient * gradient;
                let size = second.sqrt() * root_correction + EPSILON as f32;
                *weight = *weight * keep - step * *first / size;
            }
        }
    }
}

/// The Euclidean norm of all gradients together.
pub fn norm(gradients: &[(String, &mut Vec<f32>)]) -> f64 {
    let square = |numbers: &Vec<f32>| numbers.iter().map(|n| f64::from(*n).powi(2)).sum::<f64>();
    gradients.iter().map(|(_, numbers)| square(numbers)).sum::<f64>().sqrt()
}

/// What gradients of that norm are multiplied by, so that it is at most `max_norm`.
pub fn clip_factor(norm: f64, max_norm: f64) -> f64 {
    if max_norm < norm { max_norm / norm } else { 1.0 }
}

/// A linear warm-up, then a cosine down to a part of the peak.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    pub peak: f64,
    /// The part of all steps that warms up.
    pub warm_up: f64,
    /// The part of the peak at the end.
    pub floor: f64,
}

impl Schedule {
    /// The rate of step `step` of `n_steps`, counted from 0.
    pub fn rate(&self, step: usize, n_steps: usize) -> f64 {
        let n_warm_up = (self.warm_up * n_steps as f64).ceil() as usize;
        if step < n_warm_up {
            return self.peak * (step + 1) as f64 / n_warm_up as f64;
        }
        let done = (step - n_warm_up) as f64 / (n_steps - n_warm_up).max(1) as f64;
        self.peak * (self.floor + (1.0 - self.floor) * (1.0 + (PI * done).cos()) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(tensor: &mut Vec<f32>) -> Vec<(String, &mut Vec<f32>)> {
        vec![("w".to_owned(), tensor)]
    }

    #[test]
    fn the_first_updates_are_those_computed_by_hand() {
        let mut optimizer = AdamW::new([2]);
        let (mut weights, mut gradients) = (vec![1.0, -1.0], vec![0.5, -2.0]);
        // The first step has the size of the rate, whatever the gradient's size.
        optimizer.update(named(&mut weights), named(&mut gradients), 1.0, (0.1, 0.0));
        assert!((weights[0] - 0.9).abs() < 1e-6 && (weights[1] + 0.9).abs() < 1e-6, "{weights:?}");
        // m = 0.9·0.05 + 0.1·1 = 0.145, v = 0.95·0.0125 + 0.05·1 = 0.061875;
        // m̂ = m / 0.19, v̂ = v / 0.0975.
        gradients = vec![2.0, 0.0];
        optimizer.update(named(&mut weights), named(&mut gradients), 0.5, (0.1, 0.0));
        let wanted = 0.9 - 0.1 * (0.145 / 0.19) / (0.061_875_f64 / 0.0975).sqrt();
        assert!((f64::from(weights[0]) - wanted).abs() < 1e-6, "{weights:?}, wanted {wanted}");
    }

    #[test]
    fn decay_pulls_weights_towards_zero_by_the_rate() {
        let mut optimizer = AdamW::new([1]);
        let (mut weights, mut gradients) = (vec![2.0], vec![0.0]);
        optimizer.update(named(&mut weights), named(&mut gradients), 1.0, (0.1, 0.5));
        assert!((weights[0] - 1.9).abs() < 1e-6, "{weights:?}");
    }

    #[test]
    fn the_rate_warms_up_and_falls_to_its_floor() {
        let schedule = Schedule { peak: 2.0, warm_up: 0.1, floor: 0.1 };
        let rates: Vec<f64> = (0..100).map(|step| schedule.rate(step, 100)).collect();
        assert!((rates[0] - 0.2).abs() < 1e-9 && (rates[9] - 2.0).abs() < 1e-9, "{rates:?}");
        assert!((rates[10] - 2.0).abs() < 1e-9 && (rates[55] - 1.1).abs() < 1e-9, "{rates:?}");
        assert!((0.2..0.21).contains(&rates[99]), "{rates:?}");
        assert_eq!(Schedule { warm_up: 0.0, ..schedule }.rate(0, 1), 2.0);
    }

    #[test]
    fn gradients_are_clipped_by_their_common_norm() {
        let (mut a, mut b) = (vec![3.0], vec![0.0, 4.0]);
        let gradients = vec![("a".to_owned(), &mut a), ("b".to_owned(), &mut b)];
        assert_eq!(norm(&gradients), 5.0);
        assert_eq!(clip_factor(5.0, 1.0), 0.2);
        assert_eq!(clip_factor(0.5, 1.0), 1.0);
    }
}
