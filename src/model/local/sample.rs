//! One completion as it grows: tokens to bytes, the grammar, stop texts, the end of a turn.

use std::sync::Arc;

use anyhow::Context as _;

use crate::model::constraint::Constraint;
use crate::model::kernels::Isa;
use crate::model::local::fork::{Fork, WIDTH};
use crate::model::local::tokenizer::Tokenizer;
use crate::model::sampler::{Drawn, Sampler};
use crate::model::{Completion, Event, Finish, Sampling, Usage, Variety};

/// One completion as it grows.
pub struct Sample {
    idx: usize,
    sampler: Sampler,
    constraint: Option<Constraint>,
    stop: Arc<[Vec<u8>]>,
    max_tokens: usize,
    tokens: Vec<u32>,
    bytes: Vec<u8>,
    /// Bytes that were told to the caller: no stop text can begin before them.
    n_told: usize,
    logprob: f64,
    finish: Option<Finish>,
    usage: Usage,
    /// Where it could have gone on otherwise, if anybody wants to know.
    forks: Option<Vec<Fork>>,
}

impl Sample {
    /// Sample `idx` of a request.
    pub fn new(
        sampling: &Sampling,
        ((seed, idx), isa): ((u64, usize), Isa),
        constraint: Option<Constraint>,
        usage: Usage,
    ) -> Self {
        let stop = sampling.stop.iter().filter(|text| !text.is_empty());
        let is_distinct = sampling.variety == Variety::Distinct;
        let greedy = Sampling { temperature: 0.0, ..sampling.clone() };
        Self {
            idx,
            sampler: Sampler::new(if is_distinct { &greedy } else { sampling }, (seed, idx), isa),
            constraint,
            stop: stop.map(|text| text.clone().into_bytes()).collect(),
            max_tokens: sampling.max_tokens,
            tokens: Vec::new(),
            bytes: Vec::new(),
            n_told: 0,
            logprob: 0.0,
            finish: None,
            usage,
            forks: is_distinct.then(Vec::new),
        }
    }

    /// Sample `idx`, which leaves this one at a fork; and the tokens that the network must see
    /// next, the first of them in the place of the one that was left.
    ///
    /// `constraint` is the one that a completion starts with.
    pub fn leave_at(
        &self,
        fork: &Fork,
        idx: usize,
        constraint: Option<Constraint>,
        tokenizer: &Tokenizer,
        tell: impl Fn(Event),
    ) -> anyhow::Result<(Self, Vec<u32>)> {
        let prompt_tokens = self.usage.prompt_tokens;
        let mut sample = Self {
            idx,
            sampler: self.sampler.clone(),
            constraint,
            stop: Arc::clone(&self.stop),
            max_tokens: self.max_tokens,
            tokens: Vec::new(),
            bytes: Vec::new(),
            n_told: 0,
            logprob: fork.logprob,
            finish: None,
            usage: Usage { prompt_tokens, cached_tokens: prompt_tokens, ..Usage::default() },
            forks: Some(Vec::new()),
        };
        for &token in self.tokens[..fork.at].iter().chain([&fork.token]) {
            sample.take(token, tokenizer)?;
        }
        sample.usage.forced_tokens = fork.n_forced;
        let next = sample.go_on(vec![fork.token], tokenizer, tell)?;
        Ok((sample, next))
    }

    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Tokens that it may still take.
    pub fn n_left(&self) -> usize {
        self.max_tokens.saturating_sub(self.usage.completion_tokens)
    }

    /// Whether others may leave it.
    pub fn has_forks(&self) -> bool {
        self.forks.is_some()
    }

    /// The forks that lead to other texts than the one that followed.
    pub fn take_forks(&mut self, tokenizer: &Tokenizer) -> Vec<Fork> {
        let mut starts = Vec::with_capacity(self.tokens.len());
        let mut n_bytes = 0;
        for &token in &self.tokens {
            starts.push(n_bytes);
            n_bytes += tokenizer.bytes(token).len();
        }
        let leads_elsewhere = |fork: &Fork| {
            let (other, taken) = (tokenizer.bytes(fork.token), self.bytes.get(starts[fork.at]..));
            taken.is_none_or(|taken| !taken.starts_with(other) && !other.starts_with(taken))
        };
        self.forks.take().into_iter().flatten().filter(leads_elsewhere).collect()
    }

    /// The tokens that every completion of a grammar begins with.
    pub fn opening(constraint: &Constraint, tokenizer: &Tokenizer) -> Vec<u32> {
        constraint.clone().forced(&|text| tokenizer.encode(text).unwrap_or_default())
    }

    /// Takes the opening, which the network has seen with the prompt.
    pub fn open(&mut self, opening: &[u32], tokenizer: &Tokenizer) -> anyhow::Result<()> {
        for &token in opening {
            self.force(token, tokenizer)?;
        }
        Ok(())
    }

    /// Takes the logits after all tokens so far, and returns the tokens that the network must see
    /// next: none where the sample has ended.
    pub fn grow(
        &mut self,
        logits: &[f32],
        tokenizer: &Tokenizer,
        tell: impl Fn(Event),
    ) -> anyhow::Result<Vec<u32>> {
        let mut next = Vec::new();
        self.check_end();
        if self.finish.is_none() {
            next.push(self.draw(logits, tokenizer)?);
        }
        self.go_on(next, tokenizer, tell)
    }

    /// Takes what is forced behind the last token.
    fn go_on(
        &mut self,
        mut next: Vec<u32>,
        tokenizer: &Tokenizer,
        tell: impl Fn(Event),
    ) -> anyhow::Result<Vec<u32>> {
        self.check_end();
        if let (None, Some(constraint)) = (self.finish, &mut self.constraint) {
            for token in constraint.forced(&|text| tokenizer.encode(text).unwrap_or_default()) {
                // A stop text may end it within what is forced.
                if self.finish.is_none() {
                    self.force(token, tokenizer)?;
                    next.push(token);
                }
            }
            self.check_end();
        }
        let n_certain = match self.finish {
            Some(_) => self.bytes.len(),
            None => self.bytes.len() - self.n_undecided(),
        };
        if n_certain > self.n_told {
            let bytes = self.bytes[self.n_told..n_certain].to_vec();
            self.n_told = n_certain;
            tell(Event::Text { sample: self.idx, bytes });
        }
        if self.finish.is_some() {
            tell(Event::Finished { sample: self.idx });
            next.clear();
        }
        Ok(next)
    }

    pub fn into_completion(self) -> Completion {
        Completion {
            bytes: self.bytes,
            finish: self.finish.unwrap_or(Finish::Length),
            logprob: Some(self.logprob),
            usage: self.usage,
            tokens: self.tokens,
        }
    }

    /// Ends a sample whose grammar is complete, or whose tokens are used up.
    fn check_end(&mut self) {
        if self.finish.is_some() {
            return;
        }
        if self.constraint.as_ref().is_some_and(Constraint::is_complete) {
            self.finish = Some(Finish::Stop);
        } else if self.usage.completion_tokens >= self.max_tokens {
            self.finish = Some(Finish::Length);
        }
    }

    fn draw(&mut self, logits: &[f32], tokenizer: &Tokenizer) -> anyhow::Result<u32> {
        let allowed = self.constraint.as_mut().map(Constraint::allowed);
        let position = self.usage.completion_tokens;
        let forks_from = (self.logprob, position, self.usage.forced_tokens);
        let drawn = self
            .sampler
            .draw(logits, allowed.as_deref(), position)
            .context("the network's logits are no numbers")?;
        if let Some(forks) = &mut self.forks {
            let (before, at, n_forced) = forks_from;
            let likeliest = self.sampler.likeliest(logits, allowed.as_deref(), WIDTH + 1);
            let others = likeliest.into_iter().filter(|other| other.token != drawn.token);
            forks.extend(others.take(WIDTH).map(|Drawn { token, logprob }| Fork {
                at,
                token,
                logprob: before + logprob,
                n_forced,
            }));
        }
        self.logprob += drawn.logprob;
        self.take(drawn.token, tokenizer)?;
        Ok(drawn.token)
    }

    fn force(&mut self, token: u32, tokenizer: &Tokenizer) -> anyhow::Result<()> {
        self.usage.forced_tokens += 1;
        self.take(token, tokenizer)
    }

    /// Appends a token to the completion.
    fn take(&mut self, token: u32, tokenizer: &Tokenizer) -> anyhow::Result<()> {
        if let Some(constraint) = &mut self.constraint {
            constraint.commit(token)?;
        }
        self.usage.completion_tokens += 1;
        self.tokens.push(token);
        self.push(token, tokenizer);
        Ok(())
    }

    fn push(&mut self, token: u32, tokenizer: &Tokenizer) {
        if tokenizer.is_end_of_turn(token) {
            self.finish = Some(Finish::Stop);
            return;
        }
        let before = self.bytes.len();
        self.bytes.extend_from_slice(tokenizer.bytes(token));
        // A stop text that ends in the new bytes may begin before them.
        let found = self.stop.iter().filter_map(|stop| {
            let from = (before + 1).saturating_sub(stop.len());
            let at = self.bytes[from..].windows(stop.len()).position(|window| window == stop)?;
            Some(from + at)
        });
        if let Some(at) = found.min() {
            self.bytes.truncate(at);
            self.finish = Some(Finish::Stop);
        }
    }

    /// How many of the last bytes may be the beginning of a stop text.
    fn n_undecided(&self) -> usize {
        let longest = |stop: &Vec<u8>| {
            let most = self.bytes.len().min(stop.len().saturating_sub(1));
            (1..=most).rev().find(|&len| self.bytes.ends_with(&stop[..len])).unwrap_or(0)
        };
        self.stop.iter().map(longest).max().unwrap_or(0)
    }
}
