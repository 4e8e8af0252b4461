//! How completions of an episode did: the same judgement for evaluation and for rewards.

use serde::{Deserialize, Serialize};

use crate::search_replace::fence::Ended;
use crate::stage::StageKind;
use crate::stage::episode::Episode;
use crate::stage::score::{Grade, RewardOptions, Score};
use crate::train::data::row::EpisodeRow;
use crate::train::rows::Row;
use crate::train::sample::SampleOptions;

/// The version of the rows that this program writes.
pub const SCORED_VERSION: u32 = 1;

/// An episode's completions, judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScoredRow {
    pub version: u32,
    pub instance: String,
    pub stage: StageKind,
    /// `owner/name`.
    pub repo: String,
    /// Who answered, adapter included, and whether it was held to the grammar.
    pub model: String,
    pub constrained: bool,
    pub samples: Vec<ScoredSample>,
}

/// One completion, judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScoredSample {
    pub completion: String,
    /// Why it cannot be used; absent where it can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejection: Option<String>,
    /// Compared with the gold patch that it is nearest to; nothing where it was rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<Score>,
    /// Whether the instance's tests pass with the edit; absent where they were not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved: Option<bool>,
    pub reward: f64,
}

/// Instances' own tests, run with the edits of an answer.
pub trait RunTests: Send + Sync {
    /// Whether all tests pass that should, with the edits of this completion of an edit episode;
    /// `None` where the instance has no tests that tell.
    ///
    /// # Errors
    ///
    /// The tests could not be run.
    fn all_pass(&self, episode: &Episode, completion: &str) -> anyhow::Result<Option<bool>>;
}

/// What is said of a completion whose turn did not end.
pub const NOT_ENDED: &str = "did not end";

impl ScoredRow {
    /// Judges the completions of an episode.
    pub fn new(
        row: &EpisodeRow,
        options: &SampleOptions,
        completions: Vec<(String, Ended)>,
        reward: &RewardOptions,
    ) -> Self {
        let judge =
            |(completion, ended)| ScoredSample::new(&row.episode, completion, ended, reward);
        Self {
            version: SCORED_VERSION,
            instance: row.instance_id.clone(),
            stage: row.stage,
            repo: row.repo.clone(),
            model: options.teacher.clone(),
            constrained: options.constrained,
            samples: completions.into_iter().map(judge).collect(),
        }
    }
}

impl ScoredSample {
    /// Judges a completion of an episode.
    pub fn new(
        episode: &Episode,
        completion: String,
        ended: Ended,
        options: &RewardOptions,
    ) -> Self {
        let (rejection, score, reward) = match episode.grades(&completion, ended) {
            Err(rejection) => (Some(rejection.reason.name().to_owned()), None, 0.0),
            Ok(_) if ended != Ended::ByItself => (Some(NOT_ENDED.to_owned()), None, 0.0),
            Ok(grades) => {
                let best = best_of(&grades, options);
                let reward = best.map_or(0.0, |grade| options.reward_of(grade));
                (None, best.map(|grade| grade.score), reward)
            }
        };
        Self { completion, rejection, score, resolved: None, reward }
    }

    /// A fix is not unique: an edit with which all of its instance's tests pass earns 1, whatever
    /// the gold patch says; any other keeps what the rule gave it.
    pub fn tested(mut self, episode: &Episode, tests: &dyn RunTests) -> anyhow::Result<Self> {
        if self.rejection.is_none() && episode.kind() == StageKind::Edit {
            self.resolved = tests.all_pass(episode, &self.completion)?;
        }
        if self.resolved == Some(true) {
            self.reward = 1.0;
        }
        Ok(self)
    }
}

fn best_of<'a>(grades: &'a [Grade], reward: &RewardOptions) -> Option<&'a Grade> {
    grades.iter().max_by(|a, b| reward.reward_of(a).total_cmp(&reward.reward_of(b)))
}

impl Row for ScoredRow {
    const NAME: &'static str = "judged episode";
    const MADE_BY: &'static str = "sorft eval episodes";
    const VERSION: u32 = SCORED_VERSION;

    fn version(&self) -> u32 {
        self.version
    }
}
