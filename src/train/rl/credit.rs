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
