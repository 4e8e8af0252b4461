//! Rewards of completions that others sampled, by the episodes that they answer.

pub mod completions;
pub mod protocol;
pub mod server;

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use rayon::prelude::*;
use serde::Serialize;

use crate::search_replace::fence::Ended;
use crate::stage::StageKind;
use crate::stage::episode::Episode;
use crate::stage::score::RewardOptions;
use crate::train::data::row::EpisodeRow;
use crate::train::scored::{RunTests, ScoredSample};

/// Episodes by their ids, and how their completions are rewarded.
pub struct Rewards {
    episodes: BTreeMap<String, Episode>,
    pub options: RewardOptions,
    /// What judges edits beside the rule.
    tests: Option<Box<dyn RunTests>>,
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
    /// Whether the instance's tests pass with the edit; absent where they were not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolved: Option<bool>,
}

/// Why a completion could not be judged.
#[derive(Debug, thiserror::Error)]
pub enum JudgeError {
    #[error(
        "there is no episode `{0}`\nhint: an id is `INSTANCE/STAGE`, of a row of the file of episodes that was named"
    )]
    UnknownEpisode(String),
    #[error("{0:#}")]
    Tests(anyhow::Error),
}

/// The id of an instance's episode of a stage.
pub fn episode_id(instance: &str, stage: StageKind) -> String {
    format!("{instance}/{}", stage.name())
}

impl Rewards {
    /// # Errors
    ///
    /// Two episodes have one id.
    pub fn new(
        rows: Vec<EpisodeRow>,
        options: RewardOptions,
        tests: Option<Box<dyn RunTests>>,
    ) -> anyhow::Result<Self> {
        let mut episodes = BTreeMap::new();
        for row in rows {
            let id = episode_id(&row.instance_id, row.stage);
            if episodes.insert(id.clone(), row.episode).is_some() {
                bail!("the episode `{id}` is there twice, and completions name it by its id");
            }
        }
        Ok(Self { episodes, options, tests })
    }

    pub fn n_episodes(&self) -> usize {
        self.episodes.len()
    }

    /// The stage of an episode.
    pub fn stage(&self, id: &str) -> Option<StageKind> {
        self.episodes.get(id).map(Episode::kind)
    }

    /// Judges completions, on all cores; in their order.
    pub fn judge(&self, questions: &[Question]) -> Result<Vec<Judged>, JudgeError> {
        questions.par_iter().map(|question| self.judge_one(question)).collect()
    }

    /// Judges a completion.
    pub fn judge_one(&self, question: &Question) -> Result<Judged, JudgeError> {
        let Question { id, completion, ended } = question;
        let episode =
            self.episodes.get(id).ok_or_else(|| JudgeError::UnknownEpisode(id.clone()))?;
        let mut judged = ScoredSample::new(episode, completion.clone(), *ended, &self.options);
        if let Some(tests) = &self.tests {
            let tested = judged.tested(episode, tests.as_ref());
            let context = || format!("running the tests of `{id}`");
            judged = tested.with_context(context).map_err(JudgeError::Tests)?;
        }
        Ok(Judged {
            reward: judged.reward,
            hit: judged.score.is_some_and(|score| 0 < score.hits),
            rejection: judged.rejection,
            resolved: judged.resolved,
        })
    }
}
