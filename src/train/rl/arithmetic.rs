//! The arithmetic of reinforcement learning, over plain slices.

use crate::train::decoder::top::Loss;

/// Advantages of the tokens of one completion, by generalized advantage estimation
/// (Schulman et al., arXiv 1506.02438), and the returns that values are taught.
///
/// `values[t]` is what is expected before token `t`; behind the last token nothing is.
pub fn advantages(rewards: &[f64], values: &[f64], gamma: f64, lambda: f64) -> Vec<f64> {
    let mut advantages = vec![0.0; rewards.len()];
    let (mut next_value, mut next_advantage) = (0.0, 0.0);
    for at in (0..rewards.len()).rev() {
        let error = rewards[at] + gamma * next_value - values[at];
        next_advantage = error + gamma * lambda * next_advantage;
        next_value = values[at];
        advantages[at] = next_advantage;
    }
    advantages
}

/// Shifts and scales to mean 0 and standard deviation 1; equal numbers become 0.
pub fn whiten(numbers: &mut [&mut f64]) {
    let n = numbers.len().max(1) as f64;
    let mean = numbers.iter().map(|x| **x).sum::<f64>() / n;
    let variance = numbers.iter().map(|x| (**x - mean).powi(2)).sum::<f64>() / n;
    let scale = 1.0 / (variance + 1e-8).sqrt();
    numbers.iter_mut().for_each(|x| **x = (**x - mean) * scale);
}

/// How the rewards of one prompt's completions compare with each other (GRPO: Shao et al.,
/// arXiv 2402.03300): their distance from the mean in standard deviations.
pub fn group_advantages(rewards: &[f64]) -> Vec<f64> {
    let mut advantages = rewards.to_vec();
    whiten(&mut advantages.iter_mut().collect::<Vec<_>>());
    advantages
}

/// Each reward less the mean of the others' (RLOO: Ahmadian et al., arXiv 2402.14740); 0 for a
/// single one.
pub fn leave_one_out(rewards: &[f64]) -> Vec<f64> {
    let sum: f64 = rewards.iter().sum();
    let n_others = rewards.len().saturating_sub(1);
    if n_others == 0 {
        return vec![0.0; rewards.len()];
    }
    rewards.iter().map(|reward| reward - (sum - reward) / n_others as f64).collect()
}

/// The clipped loss of a policy (PPO: Schulman et al., arXiv 1707.06347) by the log-probability
/// of a token, and whether it was clipped.
pub fn policy_loss(logprob: f64, old: f64, advantage: f64, clip: f64) -> (Loss, bool) {
    let ratio = (logprob - old).exp();
    let within = ratio.clamp(1.0 - clip, 1.0 + clip);
    let (plain, clipped) = (ratio * advantage, within * advantage);
    if clipped < plain {
        (Loss { value: -clipped, slope: 0.0 }, true)
    } else {
        (Loss { value: -plain, slope: -plain }, false)
    }
}

/// Half of the larger squared error of a value and of the value kept near its old one.
pub fn value_loss(value: f64, old: f64, target: f64, clip: f64) -> Loss {
    let near = value.clamp(old - clip, old + clip);
    let (plain, clipped) = ((value - target).powi(2), (near - target).powi(2));
    if plain < clipped {
        // The value has left the clip's range, and has no influence on what counts.
        Loss { value: 0.5 * clipped, slope: 0.0 }
    } else {
        Loss { value: 0.5 * plain, slope: value - target }
    }
}

/// How far a token's log-probability is from the reference's: `k1` is what the mean of tells the
/// divergence, and may be negative (Schulman, "Approximating KL divergence").
pub fn k1(logprob: f64, reference: f64) -> f64 {
    logprob - reference
}

/// The estimator that is never negative, with its slope by the log-probability.
pub fn k3(logprob: f64, reference: f64) -> Loss {
    let log_ratio = reference - logprob;
    Loss { value: log_ratio.exp_m1() - log_ratio, slope: 1.0 - log_ratio.exp() }
}

/// The part of the targets' variance that the values explain; 0 where there is none to explain.
pub fn explained_variance(values: &[f64], targets: &[f64]) -> f64 {
    let variance = |numbers: &mut dyn Iterator<Item = f64>| {
        let numbers: Vec<f64> = numbers.collect();
        let n = numbers.len().max(1) as f64;
        let mean = numbers.iter().sum::<f64>() / n;
        numbers.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n
    };
    let of_targets = variance(&mut targets.iter().copied());
    let of_errors = variance(&mut targets.iter().zip(values).map(|(target, value)| target - value));
    if of_targets < 1e-12 { 0.0 } else { 1.0 - of_errors / of_targets }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn near(found: &[f64], wanted: &[f64]) {
        let is_near = found.len() == wanted.len()
            && found.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-4);
        assert!(is_near, "{found:?}, wanted {wanted:?}");
    }

    #[test]
    fn advantages_are_those_computed_by_hand() {
        // Errors from the end: 1 − 0.5 = 0.5; 0.5 − 0.2 = 0.3; 0.2 − 0.4 = −0.2.
        let (rewards, values) = ([0.0, 0.0, 1.0], [0.4, 0.2, 0.5]);
        near(&advantages(&rewards, &values, 1.0, 0.5), &[0.075, 0.55, 0.5]);
        // With λ = 1 and γ = 1 an advantage is what was earned from there on, less the value.
        near(&advantages(&[-0.1, 0.0, 1.0], &values, 1.0, 1.0), &[0.5, 0.8, 0.5]);
        near(&advantages(&rewards, &values, 0.9, 0.0), &[-0.22, 0.25, 0.5]);
        near(&advantages(&[], &[], 1.0, 1.0), &[]);
    }

    #[test]
    fn groups_are_compared_within_themselves() {
        near(&group_advantages(&[1.0, 0.0, 0.0, 1.0]), &[1.0, -1.0, -1.0, 1.0]);
        near(&group_advantages(&[0.3, 0.3, 0.3]), &[0.0, 0.0, 0.0]);
        near(&leave_one_out(&[1.0, 0.0, 0.5]), &[0.75, -0.75, 0.0]);
        near(&leave_one_out(&[0.7]), &[0.0]);
    }

    #[test]
    fn numbers_are_whitened_to_mean_0_and_deviation_1() {
        let mut numbers = [1.0, 3.0, 5.0];
        whiten(&mut numbers.iter_mut().collect::<Vec<_>>());
        let deviation = (8.0_f64 / 3.0).sqrt();
        near(&numbers, &[-2.0 / deviation, 0.0, 2.0 / deviation]);
    }

    #[test]
    fn policies_are_clipped_on_the_side_that_would_gain() {
        let at = |ratio: f64, advantage| policy_loss(ratio.ln(), 0.0, advantage, 0.2);
        // ratio, advantage, loss, slope, clipped
        let rows = [
            (1.0, 2.0, -2.0, -2.0, false),
            (1.5, 2.0, -2.4, 0.0, true),
            (0.5, 2.0, -1.0, -1.0, false),
            (0.5, -2.0, 1.6, 0.0, true),
            (1.5, -2.0, 3.0, 3.0, false),
        ];
        for (ratio, advantage, value, slope, is_clipped) in rows {
            let (loss, clipped) = at(ratio, advantage);
            near(&[loss.value, loss.slope], &[value, slope]);
            assert_eq!(clipped, is_clipped, "ratio {ratio}, advantage {advantage}");
        }
    }

    #[test]
    fn values_are_clipped_to_the_larger_error() {
        // value, old, target, loss, slope
        let rows = [
            (0.5, 0.5, 1.0, 0.125, -0.5),
            // Near the target, but far from the old value: the clipped error counts.
            (0.9, 0.5, 1.0, 0.045, 0.0),
            (0.1, 0.5, 1.0, 0.405, -0.9),
        ];
        for (value, old, target, loss, slope) in rows {
            let found = value_loss(value, old, target, 0.2);
            near(&[found.value, found.slope], &[loss, slope]);
        }
    }

    #[test]
    fn slopes_are_those_of_the_losses() {
        let step = 1e-6;
        for logprob in [-3.0, -1.2, -0.1] {
            let slope = (k3(logprob + step, -1.0).value - k3(logprob - step, -1.0).value) / step;
            near(&[k3(logprob, -1.0).slope], &[slope / 2.0]);
            let loss = |at| policy_loss(at, -1.1, 0.7, 10.0).0;
            let slope = (loss(logprob + step).value - loss(logprob - step).value) / step;
            near(&[loss(logprob).slope], &[slope / 2.0]);
        }
        near(&[k3(-1.0, -1.0).value, k1(-1.0, -1.5)], &[0.0, 0.5]);
    }

    #[test]
    fn explained_variance_is_one_for_the_truth_and_zero_for_a_constant() {
        let targets = [0.0, 1.0, 2.0];
        let of = |values| explained_variance(values, &targets);
        near(&[of(&targets), of(&[5.0, 5.0, 5.0]), of(&[1.0, 2.0, 3.0])], &[1.0, 0.0, 1.0]);
        near(&[explained_variance(&[1.0, 2.0], &[3.0, 3.0])], &[0.0]);
    }
}
