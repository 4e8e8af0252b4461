//! Localization: from the issue to files, symbols and lines.
//!
//! Each stage's answer is joined with retrieval's ranking, so that a weak model costs precision
//! and not the right place; a stage without a usable answer leaves the ranking alone.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fmt::Display;

use anyhow::Context as _;

use crate::index::outline::SymbolKind;
use crate::pipeline::calls::{Calls, Draw, Sample};
use crate::pipeline::places::{LineSet, Places, code_of, id_of, named_symbols, render_lines};
use crate::pipeline::progress::{Progress, Topic};
use crate::pipeline::rerank::rerank;
use crate::pipeline::settings::Settings;
use crate::prompt::Prompt;
use crate::repo::path::RepoPath;
use crate::stage::function::symbol::SymbolId;
use crate::stage::line::shown::{LineShown, ShownLines};
use crate::stage::profile::Stages;
use crate::stage::{Context, Stage, StageKind};

/// Runs the first three stages, besides those that `given` answers.
pub async fn locate(
    calls: &Calls<'_>,
    context: &Context,
    stages: &Stages,
    settings: &Settings,
    given: Places,
) -> anyhow::Result<Places> {
    let mut places = given;
    let reranked;
    let context = if settings.rerank {
        reranked = rerank(calls, context).await?;
        &reranked
    } else {
        context
    };
    if places.files.is_empty() && places.symbols.is_empty() && places.line_sets.is_empty() {
        places.files = locate_files(calls, context, stages, settings).await?;
    }
    if places.symbols.is_empty() && places.line_sets.is_empty() {
        places.symbols = locate_symbols(calls, context, stages, settings, &places.files).await?;
    }
    if places.line_sets.is_empty() {
        places.line_sets = locate_lines(calls, context, stages, settings, &places.symbols).await?;
        places.named = code_of(context, &named_symbols(context), settings.reserve_places);
        places.reserve = code_of(context, &places.symbols, settings.reserve_places);
    }
    Ok(places)
}

async fn locate_files(
    calls: &Calls<'_>,
    context: &Context,
    stages: &Stages,
    settings: &Settings,
) -> anyhow::Result<Vec<RepoPath>> {
    let ranked: Vec<RepoPath> =
        context.ranking.files.iter().map(|file| file.path.clone()).collect();
    let answered = match ask_once(calls, context, &stages.file, &()).await?.outcome {
        Ok(answer) => answer.paths,
        Err(rejection) => {
            let why = format!("retrieval's ranking stands in: {rejection}");
            (calls.listener)(Progress::FellBack { topic: Topic::Stage(StageKind::File), why });
            Vec::new()
        }
    };
    let files = join_rankings((&answered, settings.answer_weight), &ranked, settings.max_files);
    let summary = join(files.iter());
    (calls.listener)(Progress::Answered { topic: Topic::Stage(StageKind::File), summary });
    Ok(files)
}

async fn locate_symbols(
    calls: &Calls<'_>,
    context: &Context,
    stages: &Stages,
    settings: &Settings,
    files: &Vec<RepoPath>,
) -> anyhow::Result<Vec<SymbolId>> {
    let kind = StageKind::Function;
    let ranked: Vec<SymbolId> = ranked_symbols(context, files);
    let answered = match ask_once(calls, context, &stages.function, files).await?.outcome {
        Ok(answer) => answer.symbols,
        Err(rejection) => {
            let why = format!("retrieval's ranking stands in: {rejection}");
            (calls.listener)(Progress::FellBack { topic: Topic::Stage(kind), why });
            Vec::new()
        }
    };
    let mut symbols =
        join_rankings((&answered, settings.answer_weight), &ranked, settings.max_symbols);
    if symbols.is_empty() {
        // Files without listed symbols, a README or a script: all of their lines.
        let module = |path: &RepoPath| SymbolId {
            path: path.clone(),
            kind: SymbolKind::Module,
            name: String::new(),
        };
        symbols = files.iter().map(module).collect();
    }
    let summary = join(symbols.iter());
    (calls.listener)(Progress::Answered { topic: Topic::Stage(kind), summary });
    Ok(symbols)
}

async fn locate_lines(
    calls: &Calls<'_>,
    context: &Context,
    stages: &Stages,
    settings: &Settings,
    symbols: &Vec<SymbolId>,
) -> anyhow::Result<Vec<LineSet>> {
    let kind = StageKind::Line;
    let (prompt, shown) = stages
        .line
        .prompt(context, symbols, calls.counter())
        .context("building the line prompt")?;
    let mut samples = Vec::new();
    for draw in draws(settings, settings.location_samples, 0) {
        announce(calls, Topic::Stage(kind), &prompt, draw.n);
        samples.extend(calls.ask(&stages.line, &prompt, &shown, draw).await?);
    }
    let answers = samples.into_iter().filter_map(|sample| sample.outcome.ok());
    let answers = answers.map(|answer| match settings.keeps_to_symbols {
        true => answer.lines.into_iter().filter(|line| is_in_symbol(&shown, line)).collect(),
        false => answer.lines,
    });
    let mut sets = count_votes(answers);
    if sets.is_empty() {
        let why = "no usable answer; the chosen symbols stand in".to_owned();
        (calls.listener)(Progress::FellBack { topic: Topic::Stage(kind), why });
        sets = code_of(context, symbols, 1);
    }
    if sets.is_empty() {
        sets.push(LineSet { lines: lines_of_symbols(&shown), votes: 0 });
    }
    let summary = render_lines(&sets[0].lines);
    (calls.listener)(Progress::Answered { topic: Topic::Stage(kind), summary });
    Ok(sets)
}

/// The distinct sets of lines, most votes first; of equal votes the earlier sample's first.
fn count_votes(answers: impl Iterator<Item = Vec<(RepoPath, u32)>>) -> Vec<LineSet> {
    let mut sets: Vec<(BTreeSet<(RepoPath, u32)>, LineSet)> = Vec::new();
    for lines in answers.filter(|lines| !lines.is_empty()) {
        let distinct: BTreeSet<(RepoPath, u32)> = lines.iter().cloned().collect();
        match sets.iter_mut().find(|(known, _)| *known == distinct) {
            Some((_, set)) => set.votes += 1,
            None => sets.push((distinct, LineSet { lines, votes: 1 })),
        }
    }
    let mut sets: Vec<LineSet> = sets.into_iter().map(|(_, set)| set).collect();
    sets.sort_by_key(|set| Reverse(set.votes));
    sets
}

/// Whether a line lies in one of the chosen symbols, and not among the imports beside them.
fn is_in_symbol(shown: &LineShown, (path, line): &(RepoPath, u32)) -> bool {
    let files = shown.files.iter().filter(|file| file.path == *path);
    let mut spans = files.flat_map(|file| &file.symbols).flat_map(|(_, _, spans)| spans);
    spans.any(|span| span.first <= *line && *line <= span.last)
}

/// All shown lines of the chosen symbols.
fn lines_of_symbols(shown: &LineShown) -> Vec<(RepoPath, u32)> {
    let lines_of = |file: &ShownLines| -> Vec<(RepoPath, u32)> {
        let spans = file.symbols.iter().flat_map(|(_, _, spans)| spans);
        spans
            .flat_map(|span| span.first..=span.last)
            .map(|line| (file.path.clone(), line))
            .collect()
    };
    shown.files.iter().flat_map(lines_of).collect()
}

/// One greedy completion of a stage.
async fn ask_once<S: Stage>(
    calls: &Calls<'_>,
    context: &Context,
    stage: &S,
    input: &S::Input,
) -> anyhow::Result<Sample<S::Answer>> {
    let (prompt, shown) = stage
        .prompt(context, input, calls.counter())
        .with_context(|| format!("building the {} prompt", S::KIND.name()))?;
    announce(calls, Topic::Stage(S::KIND), &prompt, 1);
    let mut samples = calls.ask(stage, &prompt, &shown, Draw::GREEDY).await?;
    samples.pop().context("the engine gave no completion")
}

/// The numbers of the first call and of the first completion on a set of lines, of which there
/// are three calls and twice `n` completions at most.
pub(crate) fn first_of_set(set: u64, n: usize) -> (u64, u64) {
    (3 * set, 2 * set * n as u64)
}

/// The greedy completion, then the samples, as calls that share their prompt.
pub(crate) fn draws(settings: &Settings, n: usize, set: u64) -> Vec<Draw> {
    let (call, first_sample) = first_of_set(set, n);
    let greedy = Draw { call, first_sample, ..Draw::GREEDY };
    let sampled = Draw {
        call: call + 1,
        first_sample: greedy.first_sample + 1,
        n: n.saturating_sub(1),
        temperature: settings.temperature,
        top_p: settings.top_p,
        ..greedy
    };
    [greedy, sampled].into_iter().filter(|draw| 0 < draw.n).collect()
}

pub(crate) fn announce(calls: &Calls<'_>, topic: Topic, prompt: &Prompt, n: usize) {
    let counter = calls.counter();
    let prompt_tokens = prompt.messages.iter().map(|message| counter.count(&message.content)).sum();
    (calls.listener)(Progress::Asking { topic, prompt_tokens, n });
}

/// Joins two rankings by the sum of the reciprocals of a thing's ranks in them, those of the first
/// with its weight; equal sums in the order of the first ranking, then of the second.
fn join_rankings<T: Clone + Ord>(
    (first, weight): (&[T], f64),
    second: &[T],
    most: usize,
) -> Vec<T> {
    let reciprocal = |ranking: &[T], thing: &T| {
        ranking.iter().position(|other| other == thing).map_or(0.0, |at| 1.0 / (at + 1) as f64)
    };
    let mut seen = BTreeSet::new();
    let mut joined: Vec<(f64, &T)> = first
        .iter()
        .chain(second)
        .filter(|thing| seen.insert(*thing))
        .map(|thing| (weight.mul_add(reciprocal(first, thing), reciprocal(second, thing)), thing))
        .collect();
    joined.sort_by(|a, b| b.0.total_cmp(&a.0));
    joined.into_iter().take(most).map(|(_, thing)| thing.clone()).collect()
}

/// Retrieval's symbols in the chosen files, best first.
fn ranked_symbols(context: &Context, files: &[RepoPath]) -> Vec<SymbolId> {
    let chosen = context.ranking.files.iter().filter(|file| files.contains(&file.path));
    let mut symbols: Vec<_> = chosen.flat_map(|file| &file.symbols).collect();
    symbols.sort_by(|a, b| b.score.total_cmp(&a.score));
    symbols.into_iter().map(id_of).collect()
}

fn join(things: impl Iterator<Item = impl Display>) -> String {
    things.map(|thing| thing.to_string()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RepoPath {
        RepoPath::parse(text).unwrap()
    }

    #[test]
    fn what_both_rankings_name_comes_first_and_neither_is_lost() {
        assert_eq!(join_rankings((&['b', 'x'], 1.0), &['a', 'b', 'c'], 3), ['b', 'a', 'x']);
        assert_eq!(join_rankings((&['x'], 1.0), &['a', 'b', 'c'], 3), ['x', 'a', 'b']);
        assert_eq!(join_rankings((&['x'], 0.5), &['a', 'b', 'c'], 3), ['a', 'x', 'b']);
        assert_eq!(join_rankings((&[], 1.0), &['a', 'b', 'c'], 2), ['a', 'b']);
    }

    #[test]
    fn equal_sets_of_lines_are_one_answer_with_more_votes() {
        let at = |line| (path("a.py"), line);
        let sets =
            count_votes([vec![at(9)], vec![], vec![at(2), at(1)], vec![at(1), at(2)]].into_iter());
        assert_eq!(
            sets,
            [
                LineSet { lines: vec![at(2), at(1)], votes: 2 },
                LineSet { lines: vec![at(9)], votes: 1 },
            ]
        );
    }
}
