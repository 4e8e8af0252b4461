//! Localization: from the issue to files, symbols and lines.
//!
//! Each stage's answer is joined with retrieval's ranking, so that a weak model costs precision
//! and not the right place; a stage without a usable answer leaves the ranking alone.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::index::outline::{LineSpan, Symbol, SymbolKind};
use crate::index::retrieval::RankedSymbol;
use crate::pipeline::calls::{Calls, Draw, Sample};
use crate::pipeline::progress::Progress;
use crate::pipeline::settings::Settings;
use crate::prompt::Prompt;
use crate::repo::path::RepoPath;
use crate::repo::text::Text;
use crate::stage::function::SymbolId;
use crate::stage::line::{LineShown, ShownLines};
use crate::stage::profile::Stages;
use crate::stage::{Context, Stage, StageKind};

/// Where the change belongs, as far as it is known; what the user gave skips its stage.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Places {
    /// The most important first.
    pub files: Vec<RepoPath>,
    pub symbols: Vec<SymbolId>,
    /// Distinct answers of the line stage, the one with most votes first.
    pub line_sets: Vec<LineSet>,
    /// Symbols whose name the issue says, as retrieval ranks them: where tests can judge, edits
    /// are tried on these first.
    pub named: Vec<LineSet>,
    /// The chosen symbols, the most important first: tried one by one where tests can judge and
    /// no edit before them holds, since a small model chooses lines worse than it edits.
    pub reserve: Vec<LineSet>,
}

impl Places {
    /// Where edits are tried, one after the other: without tests the line stage's answers alone,
    /// since edits elsewhere would only blur the vote.
    pub fn to_try(&self, is_judged: bool) -> Vec<&LineSet> {
        if !is_judged {
            return self.line_sets.iter().collect();
        }
        let mut seen = BTreeSet::new();
        let all = self.named.iter().chain(&self.line_sets).chain(&self.reserve);
        all.filter(|set| seen.insert(&set.lines)).collect()
    }
}

/// One answer of the line stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineSet {
    /// 1-based.
    pub lines: Vec<(RepoPath, u32)>,
    pub votes: u32,
}

/// Runs the first three stages, besides those that `given` answers.
pub async fn locate(
    calls: &Calls<'_>,
    context: &Context,
    stages: &Stages,
    settings: &Settings,
    given: Places,
) -> anyhow::Result<Places> {
    let mut places = given;
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

/// Symbols whose name the issue says, as retrieval ranks them.
fn named_symbols(context: &Context) -> Vec<SymbolId> {
    let said: BTreeSet<&str> =
        context.issue.split(|c: char| c != '_' && !c.is_alphanumeric()).collect();
    // Plain words are too often names of something else.
    let is_said = |name: &str| name.contains(|c: char| !c.is_lowercase()) && said.contains(name);
    let ranked = context.ranking.symbols.iter().map(id_of);
    ranked.filter(|symbol| is_said(symbol.name.rsplit('.').next().unwrap_or_default())).collect()
}

/// The code of functions and variables as sets of lines that a model can rewrite at once; classes
/// and modules are more than that.
fn code_of(context: &Context, symbols: &[SymbolId], most: usize) -> Vec<LineSet> {
    let is_small =
        |symbol: &&SymbolId| matches!(symbol.kind, SymbolKind::Function | SymbolKind::Variable);
    let mut sets = Vec::new();
    for symbol in symbols.iter().filter(is_small) {
        let outline = context.index.outline(&symbol.path);
        let (Some(outline), Ok(text)) = (outline, context.index.snapshot().read_text(&symbol.path))
        else {
            continue;
        };
        let is_it = |other: &&Symbol| other.kind == symbol.kind && other.name == symbol.name;
        let found = outline.symbols.iter().filter(is_it);
        for place in found.flat_map(|symbol| &symbol.places) {
            for span in cut_code(&text, place.span) {
                let lines = span.first..=span.last;
                let lines = lines.map(|line| (symbol.path.clone(), line)).collect();
                sets.push(LineSet { lines, votes: 0 });
            }
        }
        if most <= sets.len() {
            break;
        }
    }
    sets.truncate(most);
    sets
}

/// Lines of code that a small model rewrites at once.
const REWRITTEN_LINES: u32 = 24;

/// Cuts a span into runs of at most [`REWRITTEN_LINES`], each ending before the least indented of
/// its last lines.
fn cut_code(text: &Text, span: LineSpan) -> Vec<LineSpan> {
    let mut runs = Vec::new();
    let mut first = span.first;
    while first <= span.last {
        let full = first + REWRITTEN_LINES;
        let next = if span.last < full {
            span.last + 1
        } else {
            let indent = |number: &u32| {
                let line = text.line(*number as usize - 1);
                let n_blank = line.len() - line.trim_start().len();
                // A blank line is a good place whatever stands in it.
                if line.trim().is_empty() { 0 } else { n_blank }
            };
            (first + REWRITTEN_LINES / 2..=full).rev().min_by_key(indent).unwrap_or(full)
        };
        runs.push(LineSpan { first, last: next - 1 });
        first = next;
    }
    runs
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
            (calls.listener)(Progress::FellBack { stage: StageKind::File, why });
            Vec::new()
        }
    };
    let files = join_rankings(&answered, &ranked, settings.max_files);
    let summary = join(files.iter());
    (calls.listener)(Progress::Answered { stage: StageKind::File, summary });
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
            (calls.listener)(Progress::FellBack { stage: kind, why });
            Vec::new()
        }
    };
    let symbols = join_rankings(&answered, &ranked, settings.max_symbols);
    let summary = join(symbols.iter());
    (calls.listener)(Progress::Answered { stage: kind, summary });
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
        announce(calls, kind, &prompt, draw.n);
        samples.extend(calls.ask(&stages.line, &prompt, &shown, draw).await?);
    }
    let answers = samples.into_iter().filter_map(|sample| sample.outcome.ok());
    let sets = count_votes(answers.map(|answer| answer.lines));
    let Some(first) = sets.first() else {
        let why = "no usable answer; the chosen symbols stand in as a whole".to_owned();
        (calls.listener)(Progress::FellBack { stage: kind, why });
        return Ok(vec![LineSet { lines: lines_of_symbols(&shown), votes: 0 }]);
    };
    let summary = render_lines(&first.lines);
    (calls.listener)(Progress::Answered { stage: kind, summary });
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
    announce(calls, S::KIND, &prompt, 1);
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

pub(crate) fn announce(calls: &Calls<'_>, stage: StageKind, prompt: &Prompt, n: usize) {
    let counter = calls.counter();
    let prompt_tokens = prompt.messages.iter().map(|message| counter.count(&message.content)).sum();
    (calls.listener)(Progress::Asking { stage, prompt_tokens, n });
}

/// Joins two rankings by the sum of the reciprocals of a thing's ranks in them; equal sums in the
/// order of the first ranking, then of the second.
fn join_rankings<T: Clone + Ord>(first: &[T], second: &[T], most: usize) -> Vec<T> {
    let reciprocal = |ranking: &[T], thing: &T| {
        ranking.iter().position(|other| other == thing).map_or(0.0, |at| 1.0 / (at + 1) as f64)
    };
    let mut seen = BTreeSet::new();
    let mut joined: Vec<(f64, &T)> = first
        .iter()
        .chain(second)
        .filter(|thing| seen.insert(*thing))
        .map(|thing| (reciprocal(first, thing) + reciprocal(second, thing), thing))
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

fn id_of(symbol: &RankedSymbol) -> SymbolId {
    SymbolId { path: symbol.path.clone(), kind: symbol.kind, name: symbol.name.clone() }
}

fn join(things: impl Iterator<Item = impl Display>) -> String {
    things.map(|thing| thing.to_string()).collect::<Vec<_>>().join(", ")
}

/// Lines as `path:3-5,9`, files divided by blanks.
pub fn render_lines(lines: &[(RepoPath, u32)]) -> String {
    let mut by_file: BTreeMap<&RepoPath, BTreeSet<u32>> = BTreeMap::new();
    for (path, line) in lines {
        by_file.entry(path).or_default().insert(*line);
    }
    let render_file = |(path, lines): (&RepoPath, BTreeSet<u32>)| {
        let mut runs: Vec<(u32, u32)> = Vec::new();
        for line in lines {
            match runs.last_mut() {
                Some(run) if run.1 + 1 == line => run.1 = line,
                _ => runs.push((line, line)),
            }
        }
        let run = |(first, last): &(u32, u32)| match first == last {
            true => first.to_string(),
            false => format!("{first}-{last}"),
        };
        format!("{path}:{}", runs.iter().map(run).collect::<Vec<_>>().join(","))
    };
    by_file.into_iter().map(render_file).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RepoPath {
        RepoPath::parse(text).unwrap()
    }

    #[test]
    fn what_both_rankings_name_comes_first_and_neither_is_lost() {
        assert_eq!(join_rankings(&['b', 'x'], &['a', 'b', 'c'], 3), ['b', 'a', 'x']);
        assert_eq!(join_rankings(&[], &['a', 'b', 'c'], 2), ['a', 'b']);
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

    #[test]
    fn long_code_is_cut_where_it_is_least_indented() {
        let mut code = "def f():\n".to_owned();
        for block in 0..5 {
            code += &format!("    if x == {block}:\n{}", "        y()\n".repeat(9));
        }
        let text = Text::decode(code.as_bytes()).unwrap();
        let runs = cut_code(&text, LineSpan { first: 1, last: 51 });
        let runs: Vec<(u32, u32)> = runs.iter().map(|run| (run.first, run.last)).collect();
        assert_eq!(runs, [(1, 21), (22, 41), (42, 51)]);
    }

    #[test]
    fn without_tests_only_answers_are_tried() {
        let set = |line| LineSet { lines: vec![(path("a.py"), line)], votes: 0 };
        let places = Places {
            line_sets: vec![set(1)],
            named: vec![set(2)],
            reserve: vec![set(2), set(3)],
            ..Places::default()
        };
        assert_eq!(places.to_try(false), [&set(1)]);
        assert_eq!(places.to_try(true), [&set(2), &set(1), &set(3)]);
    }

    #[test]
    fn lines_are_shown_as_runs() {
        let lines = [(path("b.py"), 7), (path("a.py"), 4), (path("a.py"), 3), (path("a.py"), 9)];
        assert_eq!(render_lines(&lines), "a.py:3-4,9 b.py:7");
    }
}
