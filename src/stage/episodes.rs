//! All episodes of one instance: each stage is given the truth of the stage before it, or what a
//! model answered there.

use crate::index::Index;
use crate::prompt::CountTokens;
use crate::repo::path::RepoPath;
use crate::search_replace::fence::Ended;
use crate::stage::budget::PromptError;
use crate::stage::episode::{Episode, Task, Truth};
use crate::stage::function::symbol::SymbolId;
use crate::stage::gold::Gold;
use crate::stage::profile::Stages;
use crate::stage::rejection::Rejection;
use crate::stage::{Context, Stage as _, StageKind};

/// The episodes of an instance, and the stages that have none.
#[derive(Debug, Clone, PartialEq)]
pub struct Episodes {
    pub episodes: Vec<Episode>,
    pub left_out: Vec<(StageKind, LeftOut)>,
}

/// Why an instance has no episode of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeftOut {
    /// The gold patch says nothing for it, or nothing that its prompt shows.
    EmptyTruth,
    NoPrompt(PromptError),
}

/// What the stages of an instance are given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inputs {
    pub files: Vec<RepoPath>,
    pub symbols: Vec<SymbolId>,
    pub lines: Vec<(RepoPath, u32)>,
}

impl Inputs {
    /// Each stage is given the truth of the stage before it.
    pub fn of_truth(stages: &Stages, index: &Index, gold: &Gold) -> Self {
        let lines = stages.line.truth(index, gold);
        Self {
            files: stages.file.truth(index, gold),
            symbols: stages.function.truth(index, gold),
            lines: lines.into_iter().map(|item| (item.path, item.line)).collect(),
        }
    }

    /// Takes what a completion of an episode names, for the stage behind it; edits are for none.
    pub fn take(
        &mut self,
        episode: &Episode,
        completion: &str,
        ended: Ended,
    ) -> Result<(), Rejection> {
        match &episode.task {
            Task::File(case) => self.files = case.items(completion, ended)?,
            Task::Function(case) => self.symbols = case.items(completion, ended)?,
            Task::Line(case) => {
                let items = case.items(completion, ended)?;
                self.lines = items.into_iter().map(|item| (item.path, item.line)).collect();
            }
            Task::Edit(_) => {}
        }
        Ok(())
    }
}

/// The episodes of one instance; each stage is given the truth of the stage before it, by the
/// first accepted gold patch.
pub fn episodes(
    stages: &Stages,
    context: &Context,
    truth: &Truth<'_>,
    counter: &dyn CountTokens,
) -> Episodes {
    let first = truth.golds.first().cloned().unwrap_or_default();
    let inputs = Inputs::of_truth(stages, &context.index, &first);
    episodes_of(stages, context, truth, &inputs, counter)
}

/// The episodes of one instance, with these inputs.
pub fn episodes_of(
    stages: &Stages,
    context: &Context,
    truth: &Truth<'_>,
    inputs: &Inputs,
    counter: &dyn CountTokens,
) -> Episodes {
    let Inputs { files, symbols, lines } = inputs;
    let mut found = Episodes { episodes: Vec::new(), left_out: Vec::new() };
    found.add(StageKind::File, Episode::new(&stages.file, context, &(), truth, counter));
    let function = Episode::new(&stages.function, context, files, truth, counter);
    found.add(StageKind::Function, function);
    found.add(StageKind::Line, Episode::new(&stages.line, context, symbols, truth, counter));
    found.add(StageKind::Edit, Episode::new(&stages.edit, context, lines, truth, counter));
    found
}

impl Episodes {
    fn add(&mut self, kind: StageKind, episode: Result<Option<Episode>, PromptError>) {
        match episode {
            Ok(Some(episode)) => self.episodes.push(episode),
            Ok(None) => self.left_out.push((kind, LeftOut::EmptyTruth)),
            Err(error) => self.left_out.push((kind, LeftOut::NoPrompt(error))),
        }
    }
}
