//! Which completions are worth imitating.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use anyhow::bail;
use serde::{Deserialize, Serialize};

use crate::search_replace::fence::Ended;
use crate::stage::episode::Episode;
use crate::stage::score::{Grade, RewardOptions, Score};

/// How many of the good completions of an episode are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// Every one with a hit, as the paper does; rewards long lists.
    Paper,
    /// So many with the highest reward, the shorter of equals.
    Best(usize),
}

impl FromStr for Keep {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        if text == "paper" {
            return Ok(Self::Paper);
        }
        match text.strip_prefix("best:").and_then(|n| n.parse().ok()) {
            Some(n) if 0 < n => Ok(Self::Best(n)),
            _ => bail!("wanted `paper` or `best:2`, found `{text}`"),
        }
    }
}

/// A completion that is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    /// Its number among the samples of its episode.
    pub sample: usize,
    pub completion: String,
    pub score: Score,
    pub reward: f64,
}

/// Why completions are not kept, besides rejections, which carry their own names.
const NOT_ENDED: &str = "did not end";
const REPEATED: &str = "repeated";
const INVENTED: &str = "invented item";
const NO_HIT: &str = "no hit";
const NOT_BEST: &str = "not among the best";

/// Judges the completions of one episode; gives the kept ones, and counts the others by reason.
pub fn keep(
    episode: &Episode,
    completions: &[(String, Ended)],
    rule: Keep,
) -> (Vec<Kept>, BTreeMap<String, usize>) {
    let (mut good, mut seen) = (Vec::new(), BTreeSet::new());
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    for (sample, (completion, ended)) in completions.iter().enumerate() {
        let outcome = match seen.insert(completion.as_str()) {
            true => judge(episode, completion, *ended),
            false => Err(REPEATED),
        };
        match outcome {
            Ok((score, reward)) => {
                good.push(Kept { sample, completion: completion.clone(), score, reward });
            }
            Err(reason) => *reasons.entry(reason.to_owned()).or_default() += 1,
        }
    }
    if let Keep::Best(n) = rule {
        good.sort_by(|a, b| {
            let length = a.completion.len().cmp(&b.completion.len());
            b.reward.total_cmp(&a.reward).then(length).then(a.sample.cmp(&b.sample))
        });
        if n < good.len() {
            *reasons.entry(NOT_BEST.to_owned()).or_default() += good.len() - n;
            good.truncate(n);
        }
        good.sort_by_key(|kept| kept.sample);
    }
    (good, reasons)
}

fn judge(episode: &Episode, completion: &str, ended: Ended) -> Result<(Score, f64), &'static str> {
    if ended != Ended::ByItself {
        return Err(NOT_ENDED);
    }
    let grades = episode.grades(completion, ended).map_err(|rejection| rejection.reason.name())?;
    let reward = |grade: &Grade| RewardOptions::PAPER.reward_of(grade);
    let best = grades.iter().max_by(|a, b| reward(a).total_cmp(&reward(b)));
    let best = best.ok_or(NO_HIT)?;
    if 0 < best.invented {
        return Err(INVENTED);
    }
    match episode.is_hit(completion, ended) {
        Ok(true) => Ok((best.score, reward(best))),
        _ => Err(NO_HIT),
    }
}
