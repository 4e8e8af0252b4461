//! Episodes for training: up to four of an instance, each given the truth of the stage before it
//! among distractors, or what a model answered there.

mod answer;
mod distractors;
pub mod on_policy;
pub mod row;

use serde::{Deserialize, Serialize};

use crate::diff::change::FileChange;
use crate::instance::Instance;
use crate::prompt::CountTokens;
use crate::stage::episode::{Episode, Expect, Truth};
use crate::stage::episodes::{LeftOut, episodes_of};
use crate::stage::gold::Gold;
use crate::stage::line::LineShorthand;
use crate::stage::profile::{Profile, Stages};
use crate::stage::{Context, StageKind};
use crate::train::data::answer::true_answer;
use crate::train::data::distractors::{fill_up, true_inputs};
use crate::train::data::on_policy::OnPolicy;
use crate::train::data::row::{EPISODE_ROW_VERSION, EpisodeRow};

/// How episodes are made.
#[derive(Debug, Clone, Serialize)]
pub struct DataOptions {
    pub stages: Stages,
    pub distractors: Distractors,
    /// Evaluation counts as missed what no prompt shows; training does not ask for it.
    pub expect: Expect,
    pub seed: u64,
}

/// What stands among the true inputs of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Distractors {
    /// Files that the function stage is given: the true ones, then retrieval's.
    pub n_files: usize,
    /// Symbols that the line stage is given.
    pub n_symbols: usize,
}

impl Distractors {
    fn halved(self) -> Self {
        Self { n_files: self.n_files / 2, n_symbols: self.n_symbols / 2 }
    }

    pub const NONE: Self = Self { n_files: 0, n_symbols: 0 };
    /// As many as the pipeline passes on.
    pub const PIPELINE: Self = Self { n_files: 3, n_symbols: 8 };
}

/// A profile's limits as training has them: naming a whole symbol is no answer to which lines.
pub fn training_stages(profile: Profile) -> Stages {
    let mut stages = profile.stages();
    stages.line.shorthand = LineShorthand::Reject;
    stages
}

/// The episodes of one instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Built {
    pub version: u32,
    pub instance: String,
    pub episodes: Vec<EpisodeRow>,
    /// The stages without one, and why.
    pub left_out: Vec<(StageKind, Missing)>,
}

/// Why an instance has no episode of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// The gold patch says nothing for it, or nothing that its prompt shows.
    EmptyTruth,
    /// Nothing can be shown, or not within the budget.
    NoPrompt,
}

impl Missing {
    pub fn name(self) -> &'static str {
        match self {
            Self::EmptyTruth => "empty truth",
            Self::NoPrompt => "no prompt",
        }
    }
}

/// Makes the episodes of an instance from its context, and its gold patch as applied.
pub fn build(
    instance: &Instance,
    context: &Context,
    changes: &[FileChange],
    gold: &Gold,
    (options, on_policy): (&DataOptions, Option<&OnPolicy>),
    counter: &dyn CountTokens,
) -> Built {
    let task = instance.task();
    let golds = [gold.clone()];
    let truth = Truth { instance_id: &task.instance_id, golds: &golds, expect: options.expect };
    let given = |distractors: Distractors| {
        let id = &task.instance_id;
        let inputs = match on_policy {
            Some(answers) => {
                let mut inputs = answers.inputs(id);
                fill_up(&mut inputs, context, distractors);
                inputs
            }
            None => true_inputs(id, context, gold, &options.stages, (distractors, options.seed)),
        };
        episodes_of(&options.stages, context, &truth, &inputs, counter)
    };
    let mut found = given(options.distractors);
    // What crowds the truth out of a prompt teaches nothing, so then there is less of it.
    for distractors in [options.distractors.halved(), Distractors::NONE] {
        let is_crowded = |(_, why): &(StageKind, LeftOut)| matches!(why, LeftOut::EmptyTruth);
        if !found.left_out.iter().any(is_crowded) {
            break;
        }
        for episode in given(distractors).episodes {
            let n_before = found.left_out.len();
            found.left_out.retain(|left| left.0 != episode.kind() || !is_crowded(left));
            if found.left_out.len() < n_before {
                found.episodes.push(episode);
            }
        }
    }
    found.episodes.sort_by_key(Episode::kind);
    let row = |episode: Episode| EpisodeRow {
        version: EPISODE_ROW_VERSION,
        instance_id: task.instance_id.clone(),
        stage: episode.kind(),
        repo: task.repo.clone(),
        text_kind: task.text_kind,
        split: task.split,
        answer: true_answer(&episode, gold, changes, counter),
        episode,
    };
    let missing = |left_out: &LeftOut| match left_out {
        LeftOut::EmptyTruth => Missing::EmptyTruth,
        LeftOut::NoPrompt(_) => Missing::NoPrompt,
    };
    Built {
        version: EPISODE_ROW_VERSION,
        instance: task.instance_id.clone(),
        episodes: found.episodes.into_iter().map(row).collect(),
        left_out: found.left_out.iter().map(|(stage, why)| (*stage, missing(why))).collect(),
    }
}
