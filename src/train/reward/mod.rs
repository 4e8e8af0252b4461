//! Rewards of completions that others sampled, by the episodes that they answer.

pub mod completions;
pub mod protocol;
pub mod server;

use std::collections::BTreeMap;

use anyhow::bail;
use rayon::prelude::*;
use serde::Serialize;

use crate::search_replace::fence::Ended;
use crate::stage::StageKind;
use crate::stage::episode::Episode;
use crate::stage::score::RewardOptions;
use crate::train::data::row::EpisodeRow;
use crate::train::scored::ScoredSample;

/// Episodes by their ids, and how their completions are rewarded.
#[derive(Debug)]
pub struct Rewards {
    episodes: BTreeMap<String, Episode>,
    pub options: RewardOptions,
}

/// A completion to be rewarded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The episode's id: `INSTANCE/STAGE`.
    pub id: String,
    pub completion: String,
    pub ended: Ended,
}

/// What a completion earns.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Judged {
    pub reward: f64,
    /// Whether it names an item of the truth.
    pub hit: bool,
    /// Why it cannot be used; absent where it can.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejection: Option<String>,
}

/// An id that belongs to no episode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no episode `{0}`\nhint: an id is `INSTANCE/STAGE`, of a row of the file of episodes that was named"
)]
pub struct UnknownEpisode(pub String);

/// The id of an instance's episode of a stage.
pub fn episode_id(instance: &str, stage: StageKind) -> String {
    format!("{instance}/{}", stage.name())
}

impl Rewards {
    /// # Errors
    ///
    /// Two episodes have one id.
    pub fn new(rows: Vec<EpisodeRow>, options: RewardOptions) -> anyhow::Result<Self> {
        let mut episodes = BTreeMap::new();
        for row in rows {
            let id = episode_id(&row.instance_id, row.stage);
            if episodes.insert(id.clone(), row.episode).is_some() {
                bail!("the episode `{id}` is there twice, and completions name it by its id");
            }
        }
        Ok(Self { episodes, options })
    }

    pub fn n_episodes(&self) -> usize {
        self.episodes.len()
    }

    /// The stage of an episode.
    pub fn stage(&self, id: &str) -> Option<StageKind> {
        self.episodes.get(id).map(Episode::kind)
    }

    /// Judges completions, on all cores; in their order.
    pub fn judge(&self, questions: &[Question]) -> Result<Vec<Judged>, UnknownEpisode> {
        questions.par_iter().map(|question| self.judge_one(question)).collect()
    }

    /// Judges a completion.
    pub fn judge_one(&self, question: &Question) -> Result<Judged, UnknownEpisode> {
        let Question { id, completion, ended } = question;
        let episode = self.episodes.get(id).ok_or_else(|| UnknownEpisode(id.clone()))?;
        let judged = ScoredSample::new(episode, completion.clone(), *ended, &self.options);
        Ok(Judged {
            reward: judged.reward,
            hit: judged.score.is_some_and(|score| 0 < score.hits),
            rejection: judged.rejection,
        })
    }
}
