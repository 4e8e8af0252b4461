//! Repair: edits are sampled, applied in memory, checked, tested and put to the vote.

use std::collections::VecDeque;
use std::time::Instant;

use anyhow::Context as _;

use crate::model::Variety;
use crate::pipeline::calls::{Calls, Draw, Sample};
use crate::pipeline::candidate::{Candidate, Pool};
use crate::pipeline::judge::Judge;
use crate::pipeline::judge::judgement::Level;
use crate::pipeline::locate::{announce, draws, first_of_set};
use crate::pipeline::places::Places;
use crate::pipeline::progress::{Progress, Topic};
use crate::pipeline::reproduce::Reproduction;
use crate::pipeline::settings::Settings;
use crate::stage::edit::EditAnswer;
use crate::stage::edit::shown::EditShown;
use crate::stage::profile::Stages;
use crate::stage::rejection::Reason;
use crate::stage::{Context, Stage, StageKind};

/// What came of an issue.
#[derive(Debug)]
pub struct Solution {
    pub places: Places,
    /// Best first; those that may not be used come last.
    pub candidates: Vec<Candidate>,
    pub n_samples: u32,
    pub verdict: Outcome,
}

impl Solution {
    /// The patch to hand over, if there is one.
    pub fn accepted_patch(&self) -> Option<Vec<u8>> {
        self.accepted().map(Candidate::patch)
    }

    /// The candidate to hand over, if there is one.
    pub fn accepted(&self) -> Option<&Candidate> {
        self.candidates.first().filter(|_| self.verdict.accepted)
    }
}

/// Whether the first candidate may be handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub accepted: bool,
    /// Whether tests confirm it.
    pub verified: bool,
    /// `verified: …`, `UNVERIFIED: …`, or why there is no patch.
    pub words: String,
}

/// What samples are judged by, besides each other.
pub struct Bench<'a> {
    /// The user's tests, where a command was given.
    pub judge: Option<&'a Judge>,
    /// The model's own test of the issue, where one was kept.
    pub reproduction: Option<&'a Reproduction>,
    /// No model call or test run goes on after this moment.
    pub deadline: Option<Instant>,
}

impl Bench<'_> {
    /// Whether the time is up.
    pub fn is_over(&self) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= Instant::now())
    }

    /// The outcome of `work`; `None` where the time is up first, and the work is dropped.
    pub async fn within<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        match self.deadline {
            // The work would be polled once, and ask a model.
            _ if self.is_over() => None,
            Some(deadline) => tokio::time::timeout_at(deadline.into(), work).await.ok(),
            None => Some(work.await),
        }
    }
}

/// Samples edits for each set of lines until tests pass, the vote is decided, or the samples or
/// the time are used up.
pub async fn repair(
    calls: &Calls<'_>,
    context: &Context,
    stages: &Stages,
    settings: &Settings,
    places: Places,
    bench: &Bench<'_>,
) -> anyhow::Result<Solution> {
    let mut pool = Pool::default();
    let sets = places.to_try(bench.judge.is_some());
    let n_planned = (sets.len() * settings.edit_samples) as u32;
    'sampling: for (set, number) in sets.into_iter().zip(0..) {
        let prompt = stages.edit.prompt(context, &set.lines, calls.counter());
        let (prompt, shown) = prompt.context("building the edit prompt")?;
        let n = settings.edit_samples;
        let mut draws = VecDeque::from(match bench.judge.is_some() {
            true if calls.engine.info().gives_distinct => vec![distinct(n, number)],
            _ => draws(settings, n, number),
        });
        while let Some(draw) = draws.pop_front() {
            if bench.is_over() {
                break 'sampling;
            }
            announce(calls, Topic::Stage(StageKind::Edit), &prompt, draw.n);
            let asked = bench.within(calls.ask(&stages.edit, &prompt, &shown, draw)).await;
            let Some(samples) = asked else { break 'sampling };
            let mut n_unchanged = 0;
            for sample in samples? {
                n_unchanged += usize::from(is_unchanged(&sample));
                collect(&mut pool, calls, context, &shown, sample);
            }
            let variety = match calls.engine.info().gives_distinct {
                true => Variety::Distinct,
                false => Variety::Independent,
            };
            if let Some(again) = draw.again(n_unchanged, variety) {
                draws.push_back(again);
            }
            if let Some(judge) = bench.judge {
                if judge_untested(&mut pool, calls, judge, bench).await? {
                    break 'sampling;
                }
            } else if pool.is_decided(n_planned.saturating_sub(pool.n_samples())) {
                break 'sampling;
            }
        }
    }
    let n_samples = pool.n_samples();
    let candidates = pool.into_ranking();
    let verdict = decide(&candidates, n_samples, settings, bench.judge.is_some());
    Ok(Solution { places, candidates, n_samples, verdict })
}

/// Completions that all differ, in one call: where tests judge, agreement tells nothing.
fn distinct(n: usize, set: u64) -> Draw {
    let (call, first_sample) = first_of_set(set, n);
    Draw { call, first_sample, n, variety: Variety::Distinct, ..Draw::GREEDY }
}

/// Whether an edit leaves everything as it is, which no grammar rules out.
fn is_unchanged(sample: &Sample<EditAnswer>) -> bool {
    sample.outcome.as_ref().is_err_and(|rejection| rejection.reason == Reason::NoChange)
}

/// Adds a sample to the pool: its edits, applied to the base.
fn collect(
    pool: &mut Pool,
    calls: &Calls<'_>,
    context: &Context,
    shown: &EditShown,
    sample: Sample<EditAnswer>,
) {
    let mean_logprob = sample.completion.mean_logprob();
    let base = context.index.snapshot().as_ref();
    match sample.outcome.and_then(|answer| answer.apply(shown, base)) {
        Ok(changes) => {
            pool.add(sample.number, changes, mean_logprob);
        }
        Err(rejection) => {
            pool.add_unusable();
            let words = format!("sample {}: {rejection}", sample.number);
            (calls.listener)(Progress::Unusable { topic: Topic::Stage(StageKind::Edit), words });
        }
    }
}

/// Runs the tests with the candidates that they have not judged; true once one
/// is as good as these tests can tell.
async fn judge_untested(
    pool: &mut Pool,
    calls: &Calls<'_>,
    judge: &Judge,
    bench: &Bench<'_>,
) -> anyhow::Result<bool> {
    for idx in pool.untested() {
        if bench.is_over() {
            break;
        }
        let candidate = &pool.candidates()[idx];
        if let Some(refusal) = judge.refuses(&candidate.changes, bench.reproduction) {
            pool.candidate_mut(idx).refusal = Some(refusal);
            continue;
        }
        let what =
            format!("`{}` with the candidate of sample {}", judge.command(), candidate.sample);
        (calls.listener)(Progress::Testing { what });
        let judging = judge.judge(&candidate.changes, bench.reproduction, calls.listener);
        let judged = bench.within(judging).await;
        let Some(judgement) = judged.transpose()? else { break };
        let is_best = judgement.is_best();
        (calls.listener)(Progress::Candidate {
            sample: candidate.sample,
            votes: candidate.votes,
            n_samples: pool.n_samples(),
            verdict: judgement.words(),
        });
        pool.candidate_mut(idx).tests = Some(judgement);
        if is_best {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether the best candidate may be handed over, and in which words.
fn decide(
    candidates: &[Candidate],
    n_samples: u32,
    settings: &Settings,
    is_judged: bool,
) -> Outcome {
    let refused = |words: String| Outcome { accepted: false, verified: false, words };
    if n_samples == 0 {
        return refused("no patch: the time was up before any edit was written".to_owned());
    }
    let Some(best) = candidates.first() else {
        return refused(format!("no patch: none of {n_samples} samples gave a usable edit"));
    };
    if let Some(refusal) = &best.refusal {
        return refused(format!("no patch: {refusal}"));
    }
    let agree = format!("{} of {n_samples} samples agree", best.votes);
    match &best.tests {
        Some(tests) => match tests.level {
            Level::Fixed | Level::FixedAndReproduced => {
                let verified = tests.verdict.is_verified();
                Outcome { accepted: true, verified, words: tests.words() }
            }
            // A test that the model wrote confirms more than agreement, and less than the user's.
            Level::Reproduced => Outcome { accepted: true, verified: false, words: tests.words() },
            Level::Regression => Outcome {
                accepted: settings.min_votes <= best.votes,
                verified: false,
                words: format!("{}; {agree}", tests.words()),
            },
            Level::NoResult | Level::Applies => {
                refused(format!("no patch: the best candidate {}", tests.words()))
            }
        },
        None if is_judged => refused("no patch: the tests judged no candidate in time".to_owned()),
        None if best.votes < settings.min_votes => refused(format!(
            "no patch: {agree}, {} were wanted\nhint: name a test command with `--test`, draw more samples with `--samples`, or accept less with `--min-votes`",
            settings.min_votes
        )),
        None => Outcome { accepted: true, verified: false, words: format!("UNVERIFIED: {agree}") },
    }
}
