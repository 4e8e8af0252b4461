//! What an evaluated instance counts: its recorded completions, compared with the gold patch.

pub mod listed;

use std::collections::BTreeMap;

use anyhow::Context as _;
use rand::SeedableRng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use crate::pipeline::calls::{Calls, Draw};
use crate::pipeline::case::AppliedGold;
use crate::pipeline::evaluate::listed::{Listed, line_item};
use crate::pipeline::repair::Solution;
use crate::prompt::CountTokens;
use crate::repo::path::RepoPath;
use crate::run::RUN_VERSION;
use crate::run::instance_row::{
    Counts, InstanceRow, ItemsRow, PerStage, StageRow, TRUE_INPUTS, TokensRow,
};
use crate::run::row::{CallOutcome, TrajectoryRow};
use crate::run::seed::call_seed;
use crate::search_replace::effect::changes_code;
use crate::search_replace::fence::Ended;
use crate::stage::edit::items::EditItem;
use crate::stage::profile::Stages;
use crate::stage::score::Score;
use crate::stage::{Context, Stage};

/// Retrieval's first so many, at most, in place of an answer.
const MAX_COPIED: usize = 5;

/// An instance, and what its completions are compared with.
pub struct Judged<'a> {
    pub instance: &'a str,
    pub repo: &'a str,
    pub context: &'a Context,
    /// `None` where the record has no gold patch: then no stage is compared.
    pub gold: Option<&'a AppliedGold>,
    pub stages: &'a Stages,
    pub counter: &'a dyn CountTokens,
    pub run_seed: u64,
}

impl Judged<'_> {
    /// Asks every stage but the first once more, with the truth of the stage before it as input.
    pub async fn ask_with_true_inputs(
        &self,
        calls: &Calls<'_>,
    ) -> anyhow::Result<PerStage<StageRow>> {
        let mut rows = PerStage::default();
        let Some(gold) = self.gold else { return Ok(rows) };
        let (index, gold) = (&self.context.index, &gold.gold);
        let Stages { file, function, line, edit } = self.stages;
        let files = file.truth(index, gold);
        let symbols = function.truth(index, gold);
        let lines: Vec<(RepoPath, u32)> =
            line.truth(index, gold).into_iter().map(|item| (item.path, item.line)).collect();
        rows.function = self.ask_one(calls, function, &files).await?;
        rows.line = self.ask_one(calls, line, &symbols).await?;
        rows.edit = self.ask_one(calls, edit, &lines).await?;
        Ok(rows)
    }

    async fn ask_one<S: Stage>(
        &self,
        calls: &Calls<'_>,
        stage: &S,
        input: &S::Input,
    ) -> anyhow::Result<Option<StageRow>> {
        let truth = self.truth(stage);
        if truth.is_empty() {
            return Ok(None);
        }
        let Ok((prompt, shown)) = stage.prompt(self.context, input, self.counter) else {
            // What changes in files that cannot be read cannot be asked for.
            return Ok(Some(missed(stage, &truth)));
        };
        let draw = Draw { call: TRUE_INPUTS, first_sample: TRUE_INPUTS, ..Draw::GREEDY };
        let mut samples = calls.ask(stage, &prompt, &shown, draw).await?;
        let sample = samples.pop().context("the engine gave no completion")?;
        let in_view = truth.iter().filter(|item| stage.is_in_view(&shown, item)).count();
        Ok(Some(match sample.outcome {
            Ok(answer) => {
                let grade = stage.grade_answer(&answer, &truth);
                let items = ItemsRow { counts: counts(grade.score), places: Vec::new() };
                StageRow { items, in_view, invented: grade.invented, rejection: None }
            }
            Err(rejection) => {
                let rejection = Some(rejection.reason.name().to_owned());
                StageRow { in_view, rejection, ..missed(stage, &truth) }
            }
        }))
    }

    /// Compares the recorded completions and the solution that came of them.
    pub fn row(
        &self,
        solution: &Solution,
        calls: &[TrajectoryRow],
        true_inputs: PerStage<StageRow>,
    ) -> anyhow::Result<InstanceRow> {
        let chain = || calls.iter().filter(|row| row.sample < TRUE_INPUTS);
        let Stages { file, function, line, edit } = self.stages;
        let places = &solution.places;
        let chosen = places.line_sets.first().map(|set| set.lines.clone()).unwrap_or_default();
        let first = |stage: &str| chain().find(|row| row.stage == stage && row.sample == 0);
        let mut row = InstanceRow {
            version: RUN_VERSION,
            instance: self.instance.to_owned(),
            repo: self.repo.to_owned(),
            stages: PerStage::default(),
            true_inputs,
            joined: PerStage::default(),
            copied: PerStage::default(),
            shuffled: PerStage::default(),
            applied_first: solution
                .candidates
                .iter()
                .any(|candidate| candidate.sample == 0 && changes_code(&candidate.changes)),
            applied: solution.verdict.accepted
                && solution.candidates.first().is_some_and(|best| changes_code(&best.changes)),
            n_completions: chain().count(),
            rejections: rejections(chain()),
            n_candidates: solution.candidates.len(),
            verdict: solution.verdict.words.clone(),
            tokens: tokens(chain()),
            resolved: None,
        };
        self.compare_list(&mut row, file, &(), &places.files, first("file"))?;
        self.compare_list(&mut row, function, &places.files, &places.symbols, first("function"))?;
        let lines: Vec<_> = chosen.iter().map(|(path, line)| line_item(path, *line)).collect();
        self.compare_list(&mut row, line, &places.symbols, &lines, first("line"))?;
        if let Some(call) = first("edit") {
            let truth: Vec<EditItem> = self.truth(edit);
            row.stages.edit = self.stage_row(edit, &chosen, call, &truth)?.map(|(row, _)| row);
        }
        Ok(row)
    }

    /// Fills in what a localization stage counts.
    fn compare_list<S: Listed>(
        &self,
        row: &mut InstanceRow,
        stage: &S,
        input: &S::Input,
        joined: &[S::Item],
        call: Option<&TrajectoryRow>,
    ) -> anyhow::Result<()> {
        let truth = self.truth(stage);
        if truth.is_empty() {
            return Ok(());
        }
        let name = S::KIND.name();
        row.joined.set(name, compare::<S>(stage, joined, &truth));
        let copies = (1..=MAX_COPIED).map(|k| compare(stage, &S::copied(self.context, k), &truth));
        row.copied.set(name, copies.collect());
        let Some(call) = call else { return Ok(()) };
        let Some((mut found, shown)) = self.stage_row(stage, input, call, &truth)? else {
            return Ok(());
        };
        let answered: Vec<S::Item> = recorded_items::<S>(call)?;
        found.items.places = places_of::<S>(&answered, &truth);
        if let Some(shown) = shown {
            let n = found.items.counts.answered.max(1);
            let seed = call_seed(self.run_seed, self.instance, &format!("shuffled {name}"), 0);
            let mut generator = ChaCha8Rng::seed_from_u64(seed);
            let candidates = S::candidates(&shown);
            let drawn: Vec<S::Item> =
                candidates.choose_multiple(&mut generator, n).cloned().collect();
            row.shuffled.set(name, compare(stage, &drawn, &truth));
        }
        row.stages.set(name, found);
        Ok(())
    }

    /// A recorded completion compared with the truth; and what its prompt showed, if that prompt
    /// can be built again from the input.
    fn stage_row<S: Stage>(
        &self,
        stage: &S,
        input: &S::Input,
        call: &TrajectoryRow,
        truth: &[S::Item],
    ) -> anyhow::Result<Option<(StageRow, Option<S::Shown>)>> {
        if truth.is_empty() {
            return Ok(None);
        }
        let mut row = missed(stage, truth);
        match &call.outcome {
            CallOutcome::Answer(_) => {
                let items = recorded_items::<S>(call)?;
                row.items.counts = counts(stage.score(&items, truth));
            }
            CallOutcome::Rejected { reason, .. } => row.rejection = Some(reason.clone()),
        }
        let built = stage.prompt(self.context, input, self.counter).ok();
        let built = built.filter(|(prompt, _)| call.prompt.as_ref() == Some(prompt));
        let Some((_, shown)) = built else { return Ok(Some((row, None))) };
        row.in_view = truth.iter().filter(|item| stage.is_in_view(&shown, item)).count();
        let ended = if call.finish == "length" { Ended::CutOff } else { Ended::ByItself };
        let text = String::from_utf8_lossy(&call.completion_bytes()).into_owned();
        if let Ok(answer) = stage.parse(&shown, &text, ended) {
            let grade = stage.grade_answer(&answer, truth);
            row.items.counts = counts(grade.score);
            row.invented = grade.invented;
        }
        Ok(Some((row, Some(shown))))
    }

    fn truth<S: Stage>(&self, stage: &S) -> Vec<S::Item> {
        let Some(gold) = self.gold else { return Vec::new() };
        let mut truth = stage.truth(&self.context.index, &gold.gold);
        // The edit stage gives both units of its items; those that scores take are meant.
        truth.retain(|item| 0 < stage.score(&[], std::slice::from_ref(item)).expected);
        truth
    }
}

/// The items that a recorded answer named.
fn recorded_items<S: Stage>(call: &TrajectoryRow) -> anyhow::Result<Vec<S::Item>> {
    match &call.outcome {
        CallOutcome::Answer(items) => serde_json::from_value(items.clone())
            .with_context(|| format!("reading the recorded answer of the {} stage", call.stage)),
        CallOutcome::Rejected { .. } => Ok(Vec::new()),
    }
}

fn missed<S: Stage>(stage: &S, truth: &[S::Item]) -> StageRow {
    let counts = counts(stage.score(&[], truth));
    StageRow { items: ItemsRow { counts, places: Vec::new() }, ..StageRow::default() }
}

fn counts(score: Score) -> Counts {
    Counts { hits: score.hits, answered: score.answered, expected: score.expected }
}

fn compare<S: Listed>(stage: &S, answered: &[S::Item], truth: &[S::Item]) -> ItemsRow {
    ItemsRow {
        counts: counts(stage.score(answered, truth)),
        places: places_of::<S>(answered, truth),
    }
}

/// The place of each item of the truth in a list, best first.
fn places_of<S: Listed>(answered: &[S::Item], truth: &[S::Item]) -> Vec<Option<usize>> {
    let place = |expected: &S::Item| {
        answered.iter().position(|item| S::is_hit(item, expected)).map(|at| at + 1)
    };
    let mut places: Vec<Option<usize>> = truth.iter().map(place).collect();
    places.sort_by_key(|place| place.unwrap_or(usize::MAX));
    places
}

fn rejections<'a>(
    calls: impl Iterator<Item = &'a TrajectoryRow>,
) -> PerStage<BTreeMap<String, usize>> {
    let mut found: PerStage<BTreeMap<String, usize>> = PerStage::default();
    for call in calls {
        if let (CallOutcome::Rejected { reason, .. }, Some(slot)) =
            (&call.outcome, found.slot(&call.stage))
        {
            *slot.get_or_insert_default().entry(reason.clone()).or_default() += 1;
        }
    }
    found
}

fn tokens<'a>(calls: impl Iterator<Item = &'a TrajectoryRow>) -> PerStage<TokensRow> {
    let mut found: PerStage<TokensRow> = PerStage::default();
    for call in calls {
        let of = |name: &str| call.usage.get(name).and_then(serde_json::Value::as_u64);
        let Some(slot) = found.slot(&call.stage) else { continue };
        let tokens = slot.get_or_insert_default();
        // The first completion of a call carries its prompt.
        if call.prompt.is_some() {
            tokens.prompt += of("prompt_tokens").unwrap_or(0) as usize;
        }
        tokens.completion += of("completion_tokens").unwrap_or(0) as usize;
    }
    found
}
