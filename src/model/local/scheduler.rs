//! Which tokens go through the network next: prompts in chunks, the samples of all requests in
//! one batch that they join and leave as they start and end.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use tokio::sync::mpsc::UnboundedSender;

use crate::model::constraint::Constraint;
use crate::model::kernels::Isa;
use crate::model::local::decoder::{Batch, Decoder, Ops, SequenceRows};
use crate::model::local::fork::Forks;
use crate::model::local::prefix::PrefixStore;
use crate::model::local::sample::Sample;
use crate::model::local::tokenizer::Tokenizer;
use crate::model::sampler::logprob_of;
use crate::model::{Completion, Event, Sampling, Usage, Variety};

/// One call of the engine, its prompt tokenized.
pub struct Job {
    pub prompt: Vec<u32>,
    pub task: Task,
    /// Closed by the caller when it no longer wants the answer.
    pub reply: UnboundedSender<Reply>,
}

/// What is wanted of a prompt.
pub enum Task {
    /// The sampling's `max_tokens` fit into the context.
    Generate {
        sampling: Sampling,
        seed: u64,
        constraint: Option<Constraint>,
    },
    Score {
        continuations: Vec<Vec<u32>>,
    },
}

/// What a caller hears.
pub enum Reply {
    Event(Event),
    Completed(anyhow::Result<Vec<Completion>>),
    Scored(anyhow::Result<Vec<f64>>),
}

/// How much goes through the network at once, and how much is remembered.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Prompt tokens in one step.
    pub prefill_rows: usize,
    /// Samples that grow at the same time.
    pub max_samples: usize,
    /// Bytes of keys and values kept from prompts.
    pub max_prefix_bytes: usize,
}

/// Owns the network and everything in flight.
pub struct Scheduler<O: Ops> {
    fixed: Fixed<O>,
    prefixes: PrefixStore<O::Segment>,
    waiting: VecDeque<Job>,
    running: Vec<Running<O>>,
}

/// What never changes while a model is loaded.
struct Fixed<O: Ops> {
    decoder: Decoder<O>,
    tokenizer: Arc<Tokenizer>,
    limits: Limits,
}

/// A job whose prompt is being computed or has been.
struct Running<O: Ops> {
    job: Job,
    /// What every completion begins with: computed with the prompt, as its end.
    opening: Vec<u32>,
    /// The prompt with the opening.
    tokens: Vec<u32>,
    state: State<O>,
    /// Of the prompt, the tokens found in the store.
    n_cached: usize,
}

enum State<O: Ops> {
    Prompt { sequence: Sequence<O>, n_done: usize },
    Samples(Samples<O>),
    Scores(Vec<Scoring<O>>),
}

/// The samples of one request.
struct Samples<O: Ops> {
    slots: Vec<Slot<O>>,
    forks: Forks,
}

/// What a sequence remembers.
struct Sequence<O: Ops> {
    shared: Vec<Arc<O::Segment>>,
    own: O::Segment,
}

/// A sample that grows, or has ended.
struct Slot<O: Ops> {
    sample: Sample,
    /// Gone once the sample has ended.
    sequence: Option<Sequence<O>>,
    /// What the sequence became when it ended, where other samples may leave it.
    path: Vec<Arc<O::Segment>>,
    /// Tokens of prompt and completion that the network has seen.
    n_seen: usize,
    /// Tokens it has yet to see.
    pending: Vec<u32>,
}

/// A continuation that is judged.
struct Scoring<O: Ops> {
    sequence: Sequence<O>,
    tokens: Vec<u32>,
    n_seen: usize,
    logprob: f64,
}

/// Samples that leave earlier ones at a time; the likeliest points to leave these are then known.
const MAX_FORKED: usize = 8;

/// Rows of a step whose logits are asked for: at most this many of them, because each takes a
/// vocabulary of floats.
const MAX_WANTED: usize = 64;

impl<O: Ops> Sequence<O> {
    /// A sequence that goes on after the first `end` positions of `path`.
    fn branch(ops: &O, path: &[Arc<O::Segment>], end: usize) -> anyhow::Result<Self> {
        let covering = path.partition_point(|segment| ops.segment_start(segment) < end);
        let Some(last) = covering.checked_sub(1) else {
            return Ok(Self { shared: Vec::new(), own: ops.new_segment()? });
        };
        let own = ops.branch(&path[last], end)?;
        let start = ops.segment_start(&own);
        let visible = path[..covering].partition_point(|seg| ops.segment_start(seg) < start);
        Ok(Self { shared: path[..visible].to_vec(), own })
    }

    /// The whole sequence as segments that others may share.
    fn into_path(self) -> Vec<Arc<O::Segment>> {
        let mut path = self.shared;
        path.push(Arc::new(self.own));
        path
    }

    fn rows(&mut self, start: usize, n_rows: usize) -> SequenceRows<'_, O::Segment> {
        SequenceRows { n_rows, start, shared: &self.shared, own: &mut self.own }
    }
}

impl<O: Ops> Scheduler<O> {
    pub fn new(decoder: Decoder<O>, tokenizer: Arc<Tokenizer>, limits: Limits) -> Self {
        let prefixes = PrefixStore::new(limits.max_prefix_bytes);
        let fixed = Fixed { decoder, tokenizer, limits };
        Self { fixed, prefixes, waiting: VecDeque::new(), running: Vec::new() }
    }

    pub fn submit(&mut self, job: Job) {
        self.waiting.push_back(job);
    }

    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    /// Runs one step of the network for whatever is in flight.
    pub fn step(&mut self) {
        self.waiting.retain(|job| !job.reply.is_closed());
        self.running.retain(|running| !running.job.reply.is_closed());
        if let Err(error) = self.admit().and_then(|()| self.advance()) {
            // What failed is the network, not one request: all of them hear of it.
            for running in self.running.drain(..) {
                running.job.fail(&error);
            }
        }
    }

    /// Starts the next prompt once the one before it is computed, so that it can share it.
    fn admit(&mut self) -> anyhow::Result<()> {
        let is_busy = |running: &Running<O>| matches!(running.state, State::Prompt { .. });
        let n_growing: usize = self.running.iter().map(Running::n_growing).sum();
        if self.running.iter().any(is_busy) || n_growing >= self.fixed.limits.max_samples {
            return Ok(());
        }
        let Some(job) = self.waiting.pop_front() else { return Ok(()) };
        let ops = self.fixed.decoder.ops();
        let opening = match &job.task {
            Task::Generate { constraint: Some(constraint), .. } => {
                Sample::opening(constraint, &self.fixed.tokenizer)
            }
            _ => Vec::new(),
        };
        let tokens = [job.prompt.as_slice(), &opening].concat();
        let (sequence, n_cached) = match self.prefixes.find(&tokens) {
            Some(prefix) => (Sequence::branch(ops, &prefix.path, prefix.len)?, prefix.len),
            None => (Sequence { shared: Vec::new(), own: ops.new_segment()? }, 0),
        };
        let state = State::Prompt { sequence, n_done: n_cached };
        self.running.push(Running { job, opening, tokens, state, n_cached });
        Ok(())
    }

    fn advance(&mut self) -> anyhow::Result<()> {
        let mut ids = Vec::new();
        let mut sequences = Vec::new();
        let mut wanted = Vec::new();
        for running in &mut self.running {
            running.collect(&self.fixed.limits, &mut ids, &mut sequences, &mut wanted);
        }
        if ids.is_empty() {
            return Ok(());
        }
        let Fixed { decoder, tokenizer, .. } = &self.fixed;
        let mut logits = decoder.forward(Batch { ids: &ids, sequences, wanted: &wanted })?;
        for row in logits.chunks_exact_mut(decoder.config.n_vocab) {
            tokenizer.mask_silent(row);
        }
        let mut rows = logits.chunks_exact(decoder.config.n_vocab);
        for running in &mut self.running {
            running.take(&mut rows, &self.fixed, &mut self.prefixes)?;
        }
        for running in &mut self.running {
            running.fork(&self.fixed)?;
        }
        self.running.retain_mut(|running| !running.finish());
        Ok(())
    }
}

impl Job {
    fn fail(self, error: &anyhow::Error) {
        let error = anyhow::anyhow!("the local engine failed: {error:#}");
        // A caller that has gone needs no answer.
        drop(self.reply.send(match self.task {
            Task::Generate { .. } => Reply::Completed(Err(error)),
            Task::Score { .. } => Reply::Scored(Err(error)),
        }));
    }

    fn send(&self, event: Event) {
        drop(self.reply.send(Reply::Event(event)));
    }
}

impl<O: Ops> Running<O> {
    fn n_growing(&self) -> usize {
        match &self.state {
            State::Prompt { .. } => 0,
            State::Samples(samples) => {
                samples.slots.iter().filter(|slot| slot.sequence.is_some()).count()
            }
            State::Scores(scorings) => scorings.len(),
        }
    }

    /// Puts what this job needs computed next into a batch.
    fn collect<'a>(
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
                for slot in &mut samples.slots {
                    let Some(sequence) = &mut slot.sequence else { continue };
                    ids.extend(&slot.pending);
                    sequences.push(sequence.rows(slot.n_seen, slot.pending.len()));
                    wanted.push(ids.len() - 1);
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
    fn take<'a>(
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
                for slot in samples.slots.iter_mut().filter(|slot| slot.sequence.is_some()) {
                    slot.n_seen += slot.pending.len();
                    tasks.push((slot, rows.next().context(MISSING)?));
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
        prefixes.insert(tokens, &path, |segment| ops.segment_bytes(segment));
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
                    let sequence = Some(branch()?);
                    let (pending, path) = (Vec::new(), Vec::new());
                    slots.push(Slot { sample, sequence, path, n_seen: tokens.len(), pending });
                }
                draw_all(slots.iter_mut().map(|slot| (slot, logits)).collect(), fixed, &self.job)?;
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
        };
        Ok(())
    }

    /// Begins the next samples of a request whose completions all differ.
    fn fork(&mut self, fixed: &Fixed<O>) -> anyhow::Result<()> {
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
            slots.push(Slot { sample, sequence, path: Vec::new(), n_seen, pending });
        }
        Ok(())
    }

    /// Answers the caller if all is done.
    fn finish(&mut self) -> bool {
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

/// Draws the next token of several samples, each from its own logits.
fn draw_all<O: Ops>(
    tasks: Vec<(&mut Slot<O>, &[f32])>,
    fixed: &Fixed<O>,
    job: &Job,
) -> anyhow::Result<()> {
    let failed = Mutex::new(None);
    fixed.decoder.ops().for_each(tasks, |(slot, logits)| {
        if let Err(error) = slot.draw(logits, &fixed.tokenizer, job) {
            *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        }
    });
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    failed.map_or(Ok(()), Err)
}

impl<O: Ops> Slot<O> {
    /// Draws the next token, and lets go of what is remembered where it was the last.
    fn draw(&mut self, logits: &[f32], tokenizer: &Tokenizer, job: &Job) -> anyhow::Result<()> {
        self.pending = self.sample.grow(logits, tokenizer, |event| job.send(event))?;
        if self.pending.is_empty()
            && let Some(sequence) = self.sequence.take()
            && self.sample.has_forks()
        {
            self.path = sequence.into_path();
        }
        Ok(())
    }
}

impl<O: Ops> Scoring<O> {
    /// Rows yet to compute: the last token's successor does not matter.
    fn n_rows(&self) -> usize {
        self.tokens.len().saturating_sub(1) - self.n_seen
    }

    fn judge(&mut self, isa: Isa, logits: &[f32]) -> anyhow::Result<()> {
        self.n_seen += 1;
        self.logprob += logprob_of(isa, logits, self.tokens[self.n_seen]).context("no logits")?;
        Ok(())
    }
}
