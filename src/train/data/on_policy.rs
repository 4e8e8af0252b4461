//! Inputs from a model's own answers: what a stage meets when the stages run as a chain.

use std::collections::BTreeMap;

use anyhow::Context as _;

use crate::search_replace::fence::Ended;
use crate::stage::StageKind;
use crate::stage::episode::Episode;
use crate::stage::episodes::Inputs;
use crate::train::data::row::EpisodeRow;
use crate::train::scored::ScoredRow;

/// What a model's answers name, by instance.
#[derive(Debug, Default)]
pub struct OnPolicy {
    inputs: BTreeMap<String, Inputs>,
    /// Answers that could be used, and all, by stage.
    pub counts: BTreeMap<StageKind, [usize; 2]>,
}

impl OnPolicy {
    /// From judged answers, the first sample of each, to these episodes.
    ///
    /// # Errors
    ///
    /// An answer is to none of the episodes.
    pub fn new(episodes: &[EpisodeRow], answers: &[ScoredRow]) -> anyhow::Result<Self> {
        let by_name: BTreeMap<(&str, StageKind), &Episode> = episodes
            .iter()
            .map(|row| ((row.instance_id.as_str(), row.stage), &row.episode))
            .collect();
        let mut found = Self::default();
        for answer in answers {
            let name = (answer.instance.as_str(), answer.stage);
            let episode = by_name.get(&name).with_context(|| {
                format!(
                    "the answer of `{}`, {} stage, is to no episode of the file\n\
                     hint: name the episodes that `sorft eval episodes` was given",
                    answer.instance,
                    answer.stage.name()
                )
            })?;
            let inputs = found.inputs.entry(answer.instance.clone()).or_default();
            let [n_used, n] = found.counts.entry(answer.stage).or_default();
            *n += 1;
            let first = answer.samples.first().filter(|sample| sample.rejection.is_none());
            if let Some(sample) = first {
                let named = inputs.take(episode, &sample.completion, Ended::ByItself);
                *n_used += usize::from(named.is_ok());
            }
        }
        Ok(found)
    }

    /// What the stages of an instance are given: nothing where no answer can be used.
    pub fn inputs(&self, instance: &str) -> Inputs {
        self.inputs.get(instance).cloned().unwrap_or_default()
    }
}
