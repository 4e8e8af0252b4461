//! From rewards to advantages: which tokens did better than was to be expected.

use crate::stage::StageKind;
use crate::train::rl::actor::Asked;
use crate::train::rl::arithmetic::{advantages, group_advantages, k1, leave_one_out, whiten};
use crate::train::rl::group::{Group, Track};
use crate::train::rl::options::{Algorithm, RlOptions, Whiten};

/// Gives every token its advantage, and what its value should have been.
pub fn assign(groups: &mut [Group], asked: &[Asked], options: &RlOptions) {
    match options.algorithm {
        Algorithm::Ppo => {
            for track in groups.iter_mut().flat_map(|group| &mut group.tracks) {
                expect(track, options);
            }
            whiten_all(groups, asked, options.whiten);
        }
        Algorithm::Grpo => {
            for group in groups {
                let each = group_advantages(&group.rewards());
                spread(group, &each);
            }
        }
        Algorithm::Rloo => {
            for group in groups {
                let totals: Vec<f64> = group
                    .tracks
                    .iter()
                    .map(|track| track.reward() - options.kl * divergence(track).sum::<f64>())
                    .collect();
                let each = leave_one_out(&totals);
                spread(group, &each);
            }
        }
    }
}

/// How far each token is from the reference.
pub fn divergence(track: &Track) -> impl Iterator<Item = f64> + '_ {
    track.old.iter().zip(&track.reference).map(|(old, reference)| k1(old.logprob, *reference))
}

/// The reward stands at the last drawn token; every drawn token pays for its divergence.
fn expect(track: &mut Track, options: &RlOptions) {
    let mut rewards: Vec<f64> = divergence(track).map(|kl| -options.kl * kl).collect();
    let reward = track.reward();
    if let Some(last) = rewards.last_mut() {
        *last += reward;
    }
    track.advantages = advantages(&rewards, &track.values, options.gamma, options.lambda);
    let sums = track.advantages.iter().zip(&track.values);
    track.returns = sums.map(|(advantage, value)| advantage + value).collect();
}

fn spread(group: &mut Group, advantages: &[f64]) {
    for (track, advantage) in group.tracks.iter_mut().zip(advantages) {
        track.advantages = vec![*advantage; track.n_drawn()];
    }
}

fn whiten_all(groups: &mut [Group], asked: &[Asked], over: Whiten) {
    let parts: Vec<Option<StageKind>> = match over {
        Whiten::Batch => vec![None],
        Whiten::Stage => StageKind::ALL.map(Some).into(),
    };
    for part in parts {
        let of_part =
            |group: &&mut Group| part.is_none_or(|stage| asked[group.prompt].stage == stage);
        let mut numbers: Vec<&mut f64> = groups
            .iter_mut()
            .filter(of_part)
            .flat_map(|group| &mut group.tracks)
            .flat_map(|track| &mut track.advantages)
            .collect();
        whiten(&mut numbers);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompt::Prompt;
    use crate::train::decoder::top::Predicted;
    use crate::train::rl::actor::Acted;
    use crate::train::rl::options::tests::options;
    use crate::train::scored::ScoredSample;

    /// Two tokens, which diverge by 0.5 and by 0; the critic expected 0.25 and 0.5.
    fn track(reward: f64) -> Track {
        let judged = ScoredSample {
            completion: String::new(),
            rejection: None,
            score: None,
            resolved: None,
            reward,
        };
        let old = |logprob| Predicted { logprob, entropy: 0.0 };
        Track {
            old: vec![old(-1.0), old(-2.0)],
            reference: vec![-1.5, -2.0],
            values: vec![0.25, 0.5],
            ..Track::new(Acted {
                tokens: vec![1, 2],
                is_drawn: vec![true, true],
                allowed: Vec::new(),
                engine_logprob: 0.0,
                judged,
                thought_tokens: 0,
            })
        }
    }

    fn groups() -> (Vec<Group>, Vec<Asked>) {
        let asked = |stage| Asked {
            name: String::new(),
            stage,
            prompt: Prompt { messages: Vec::new() },
            ids: vec![1],
            grammar: None,
            max_tokens: 2,
        };
        let group = |prompt, rewards: [f64; 2]| Group { prompt, tracks: rewards.map(track).into() };
        let groups = vec![group(0, [1.0, 0.0]), group(1, [10.0, 10.0])];
        (groups, vec![asked(StageKind::File), asked(StageKind::Line)])
    }

    #[track_caller]
    fn check(found: &[f64], wanted: &[f64]) {
        let is_near = found.len() == wanted.len()
            && found.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-3);
        assert!(is_near, "{found:?}, wanted {wanted:?}");
    }

    #[test]
    fn the_reward_comes_last_divergence_costs_and_stages_are_whitened_apart() {
        let (mut groups, asked) = groups();
        assign(&mut groups, &asked, &RlOptions { kl: 0.2, ..options(Algorithm::Ppo) });
        // Rewards −0.1 and 1, so returns 0.9 and 1; for the second −0.1 and 0.
        let tracks = &groups[0].tracks;
        check(&tracks[0].returns, &[0.9, 1.0]);
        check(&tracks[1].returns, &[-0.1, 0.0]);
        // Advantages 0.65, 0.5, −0.35, −0.5 have the mean 0.075 and the deviation 0.5056.
        check(&tracks[0].advantages, &[1.1373, 0.8406]);
        check(&tracks[1].advantages, &[-0.8406, -1.1373]);
        // The other stage's are 9.65 and 9.5, twice: their own mean and deviation.
        check(&groups[1].tracks[0].advantages, &[1.0, -1.0]);
        let whiten = Whiten::Batch;
        assign(&mut groups, &asked, &RlOptions { kl: 0.2, whiten, ..options(Algorithm::Ppo) });
        assert!(groups[0].tracks[0].advantages[0] < 0.0 && 0.9 < groups[1].tracks[0].advantages[0]);
    }

    #[test]
    fn completions_of_a_prompt_are_compared_with_each_other() {
        let (mut groups, asked) = groups();
        assign(&mut groups, &asked, &options(Algorithm::Grpo));
        check(&groups[0].tracks[0].advantages, &[1.0, 1.0]);
        check(&groups[1].tracks[0].advantages, &[0.0, 0.0]);
        groups[0].tracks[1].reference = vec![-4.0, -2.0];
        assign(&mut groups, &asked, &RlOptions { kl: 0.2, ..options(Algorithm::Rloo) });
        // 1 − 0.2 · 0.5 against 0 − 0.2 · 3.
        check(&groups[0].tracks[0].advantages, &[1.5, 1.5]);
        check(&groups[0].tracks[1].advantages, &[-1.5, -1.5]);
    }
}
