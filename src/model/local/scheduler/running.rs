//! A job in flight: its prompt, then its samples or the continuations that it judges.

use std::sync::{Mutex, PoisonError};

use anyhow::Context as _;

use crate::model::local::decoder::{Ops, SequenceRows};
use crate::model::local::fork::Forks;
use crate::model::local::prefix::PrefixStore;
use crate::model::local::sample::Sample;
use crate::model::local::scheduler::sequence::{Scoring, Sequence, Slot};
use crate::model::local::scheduler::{Fixed, Job, Limits, Reply, Task};
use crate::model::sampler::logprob_of;
use crate::model::{Completion, Event, Usage, Variety};

/// A job whose prompt is being computed or has been.
pub(super) struct Running<O: Ops> {
    pub(super) job: Job,
    /// What every completion begins with: computed with the prompt, as its end.
    pub(super) opening: Vec<u32>,
    /// The prompt with the opening.
    pub(super) tokens: Vec<u32>,
    pub(super) state: State<O>,
    /// Of the prompt, the tokens found in the store.
    pub(super) n_cached: usize,
}

pub(super) enum State<O: Ops> {
    Prompt { sequence: Sequence<O>, n_done: usize },
    Samples(Samples<O>),
    Scores(Vec<Scoring<O>>),
}

/// The samples of one request.
pub(super) struct Samples<O: Ops> {
    slots: Vec<Slot<O>>,
    forks: Forks,
}

/// Samples that leave earlier ones at a time; the likeliest points to leave these are then known.
const MAX_FORKED: usize = 8;

/// Rows of a step whose logits are asked for: at most this many of them, because each takes a
/// vocabulary of floats.
const MAX_WANTED: usize = 64;

impl<O: Ops> Running<O> {
    pub(super) fn n_growing(&self) -> usize {
        match &self.state {
            State::Prompt { .. } => 0,
            State::Samples(samples) => {
                samples.slots.iter().filter(|slot| slot.sequence.is_some()).count()
            }
            State::Scores(scorings) => scorings.len(),
        }
    }

    /// Puts what this job needs computed next into a batch.
    pub(super) fn collect<'a>(
        &'a mut self,
        limits: &Limits,
        ids: &mut Vec<u32>,
        sequences: &mut Vec<SequenceRows<'a, O::Segment>>,
        wanted: &mut Vec<usize>,
    ) {
        match &mut self.state {
            State::Prompt { sequence, n_done } => {
                let end = self.tokens.len().min(*n_done + limits.prefill_rows);
                ids.extend(&self.tokens[*n_done..end]);
                sequences.push(sequence.rows(*n_done, end - *n_done));
                if end == self.tokens.len() {
                    wanted.push(ids.len() - 1);
                }
            }
            State::Samples(samples) => {
                let mut growing: Vec<&mut Slot<O>> = samples.growing(limits).collect();
                let n_pending: usize = growing.iter().map(|slot| slot.pending.len()).sum();
                let n_free = limits.max_guessing_rows.saturating_sub(ids.len() + n_pending);
                let room = n_free.checked_div(growing.len()).unwrap_or(0);
                for slot in &mut growing {
                    slot.guess(&self.job.prompt, room);
                }
                for slot in growing {
                    let Some(sequence) = &mut slot.sequence else { continue };
                    let n_rows = slot.pending.len() + slot.guesses.len();
                    ids.extend(slot.pending.iter().chain(&slot.guesses));
                    sequences.push(sequence.rows(slot.n_seen, n_rows));
                    wanted.extend(ids.len() - slot.guesses.len() - 1..ids.len());
                }
            }
            State::Scores(scorings) => {
                let mut room = MAX_WANTED;
                for scoring in scorings {
                    let n_rows = scoring.n_rows().min(room);
                    room -= n_rows;
                    if n_rows == 0 {
                        continue;
                    }
                    let from = scoring.n_seen;
                    ids.extend(&scoring.tokens[from..from + n_rows]);
                    let start = self.tokens.len() + from;
                    sequences.push(scoring.sequence.rows(start, n_rows));
                    wanted.extend(ids.len() - n_rows..ids.len());
                }
            }
        }
    }

    /// Takes the logits of what `collect` asked for.
    pub(super) fn take<'a>(
        &mut self,
        rows: &mut impl Iterator<Item = &'a [f32]>,
        fixed: &Fixed<O>,
        prefixes: &mut PrefixStore<O::Segment>,
    ) -> anyhow::Result<()> {
        const MISSING: &str = "the network returned fewer rows than asked for";
        let total = self.tokens.len();
        match &mut self.state {
            State::Prompt { n_done, .. } => {
                *n_done = total.min(*n_done + fixed.limits.prefill_rows);
                self.job.send(Event::Prefill { done: *n_done, total });
                if *n_done == total {
                    let logits = rows.next().context(MISSING)?;
                    self.start(logits, fixed, prefixes)?;
                }
            }
            State::Samples(samples) => {
                let mut tasks = Vec::with_capacity(samples.slots.len());
                for slot in samples.growing(&fixed.limits) {
                    let n_rows = 1 + slot.guesses.len();
                    tasks.push((slot, rows.by_ref().take(n_rows).collect()));
                }
                draw_all(tasks, fixed, &self.job)?;
            }
            State::Scores(scorings) => {
                let mut room = MAX_WANTED;
                for scoring in scorings {
                    let n_rows = scoring.n_rows().min(room);
                    room -= n_rows;
                    for _ in 0..n_rows {
                        let logits = rows.next().context(MISSING)?;
                        scoring.judge(fixed.decoder.ops().isa(), logits)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Goes from the prompt to its samples or continuations.
    fn start(
        &mut self,
        logits: &[f32],
        fixed: &Fixed<O>,
        prefixes: &mut PrefixStore<O::Segment>,
    ) -> anyhow::Result<()> {
        let ops = fixed.decoder.ops();
        let tokens = &self.tokens;
        let State::Prompt { sequence, .. } =
            std::mem::replace(&mut self.state, State::Scores(Vec::new()))
        else {
            return Ok(());
        };
        let path = sequence.into_path();
        prefixes.insert(self.job.adapted, tokens, &path, |segment| ops.segment_bytes(segment));
        let branch = || Sequence::branch(ops, &path, tokens.len());
        self.state = match &self.job.task {
            Task::Generate { sampling, seed, constraint } => {
                let prompt_tokens = self.job.prompt.len();
                let n_first = match sampling.variety {
                    Variety::Independent => sampling.n,
                    Variety::Distinct => 1,
                };
                let mut slots = Vec::with_capacity(sampling.n);
                for idx in 0..n_first {
                    let cached_tokens =
                        if idx == 0 { self.n_cached.min(prompt_tokens) } else { prompt_tokens };
                    let usage = Usage { prompt_tokens, cached_tokens, ..Usage::default() };
                    let which = ((*seed, idx), ops.isa());
                    let mut sample = Sample::new(sampling, which, constraint.clone(), usage);
                    sample.open(&self.opening, &fixed.tokenizer)?;
                    slots.push(Slot::new(sample, Some(branch()?), tokens.len(), Vec::new()));
                }
                let tasks = slots.iter_mut().map(|slot| (slot, vec![logits]));
                draw_all(tasks.collect(), fixed, &self.job)?;
                State::Samples(Samples { slots, forks: Forks::default() })
            }
            Task::Score { continuations } => {
                let mut scorings = Vec::with_capacity(continuations.len());
                for tokens in continuations {
                    let mut scoring = Scoring {
                        sequence: branch()?,
                        tokens: tokens.clone(),
                        n_seen: 0,
                        logprob: 0.0,
                    };
                    if let Some(&first) = tokens.first() {
                        scoring.logprob =
                            logprob_of(ops.isa(), logits, first).context("no logits")?;
                    }
                    scorings.push(scoring);
                }
                State::Scores(scorings)
            }
            Task::Change(_) => anyhow::bail!("a change of the model is no prompt"),
        };
        Ok(())
    }

    /// Begins the next samples of a request whose completions all differ.
    pub(super) fn fork(&mut self, fixed: &Fixed<O>) -> anyhow::Result<()> {
        let (State::Samples(samples), Task::Generate { sampling, constraint, .. }) =
            (&mut self.state, &self.job.task)
        else {
            return Ok(());
        };
        let Samples { slots, forks } = samples;
        if sampling.variety == Variety::Independent
            || slots.iter().any(|slot| slot.sequence.is_some())
        {
            return Ok(());
        }
        for (idx, slot) in slots.iter_mut().enumerate() {
            forks.add(idx, slot.sample.take_forks(&fixed.tokenizer));
        }
        let n_wanted = sampling.n.saturating_sub(slots.len()).min(MAX_FORKED);
        for (left, fork) in forks.take(n_wanted) {
            let left = &slots[left];
            let tell = |event| self.job.send(event);
            let constraint = constraint.clone();
            let (sample, pending) =
                left.sample.leave_at(&fork, slots.len(), constraint, &fixed.tokenizer, tell)?;
            let n_seen = self.job.prompt.len() + fork.at;
            let sequence = match pending.is_empty() {
                true => None,
                false => Some(Sequence::branch(fixed.decoder.ops(), &left.path, n_seen)?),
            };
            slots.push(Slot::new(sample, sequence, n_seen, pending));
        }
        Ok(())
    }

    /// Answers the caller if all is done.
    pub(super) fn finish(&mut self) -> bool {
        match &mut self.state {
            State::Prompt { .. } => false,
            State::Samples(Samples { slots, .. }) => {
                if slots.iter().any(|slot| slot.sequence.is_some()) {
                    return false;
                }
                let completions = slots.drain(..).map(|slot| slot.sample.into_completion());
                let mut completions: Vec<Completion> = completions.collect();
                if let (Task::Generate { sampling, .. }, Some(greedy)) =
                    (&self.job.task, completions.first().cloned())
                {
                    completions.resize(sampling.n, greedy);
                }
                drop(self.job.reply.send(Reply::Completed(Ok(completions))));
                true
            }
            State::Scores(scorings) => {
                if scorings.iter().any(|scoring| scoring.n_rows() > 0) {
                    return false;
                }
                let scores = scorings.iter().map(|scoring| scoring.logprob).collect();
                drop(self.job.reply.send(Reply::Scored(Ok(scores))));
                true
            }
        }
    }
}

impl<O: Ops> Samples<O> {
    /// The samples that grow in this step.
    fn growing(&mut self, limits: &Limits) -> impl Iterator<Item = &mut Slot<O>> {
        let growing = self.slots.iter_mut().filter(|slot| slot.sequence.is_some());
        growing.take(limits.max_samples)
    }
}

/// Draws the next tokens of several samples, each from its own logits.
fn draw_all<O: Ops>(
    tasks: Vec<(&mut Slot<O>, Vec<&[f32]>)>,
    fixed: &Fixed<O>,
    job: &Job,
) -> anyhow::Result<()> {
    let failed = Mutex::new(None);
    fixed.decoder.ops().for_each(tasks, |(slot, rows)| {
        if let Err(error) = slot.draw(&rows, &fixed.tokenizer, job) {
            *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        }
    });
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    failed.map_or(Ok(()), Err)
}
