//! One completion as it grows: tokens to bytes, stop texts, the end of a turn.

use std::sync::Arc;

use crate::model::local::tokenizer::Tokenizer;
use crate::model::sampler::Sampler;
use crate::model::{Completion, Event, Finish, Sampling, Usage};

/// What samples need to know of tokens.
pub type Tokens = Tokenizer;

/// One completion as it grows.
pub struct Sample {
    idx: usize,
    sampler: Sampler,
    stop: Arc<[Vec<u8>]>,
    max_tokens: usize,
    bytes: Vec<u8>,
    /// Bytes that were told to the caller: no stop text can begin before them.
    n_told: usize,
    logprob: f64,
    finish: Option<Finish>,
    usage: Usage,
}

impl Sample {
    /// Sample `idx` of a request. `room` is what the context leaves for it.
    pub fn new(sampling: &Sampling, seed: u64, idx: usize, room: usize) -> Self {
        let stop = sampling.stop.iter().filter(|text| !text.is_empty());
        Self {
            idx,
            sampler: Sampler::new(sampling, seed, idx),
            stop: stop.map(|text| text.clone().into_bytes()).collect(),
            max_tokens: sampling.max_tokens.min(room),
            bytes: Vec::new(),
            n_told: 0,
            logprob: 0.0,
            finish: None,
            usage: Usage::default(),
        }
    }

    /// Notes the prompt's length, and how much of it was not computed for this sample.
    #[must_use]
    pub fn of(mut self, prompt_tokens: usize, cached_tokens: usize) -> Self {
        self.usage = Usage { prompt_tokens, cached_tokens, ..self.usage };
        self
    }

    /// Takes the logits after all tokens so far, and returns the tokens that the network must see
    /// next: none where the sample has ended.
    pub fn grow(&mut self, logits: &[f32], tokens: &Tokens, tell: impl Fn(Event)) -> Vec<u32> {
        let mut next = Vec::new();
        if self.usage.completion_tokens >= self.max_tokens {
            self.finish = Some(Finish::Length);
        } else {
            match self.sampler.draw(logits, self.usage.completion_tokens) {
                Some(drawn) => {
                    self.usage.completion_tokens += 1;
                    self.logprob += drawn.logprob;
                    self.push(drawn.token, tokens);
                    next.push(drawn.token);
                }
                None => self.finish = Some(Finish::Stop),
            }
            if self.finish.is_none() && self.usage.completion_tokens >= self.max_tokens {
                self.finish = Some(Finish::Length);
            }
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
        next
    }

    pub fn into_completion(self) -> Completion {
        Completion {
            bytes: self.bytes,
            finish: self.finish.unwrap_or(Finish::Length),
            logprob: Some(self.logprob),
            usage: self.usage,
        }
    }

    fn push(&mut self, token: u32, tokens: &Tokens) {
        if tokens.is_end_of_turn(token) {
            self.finish = Some(Finish::Stop);
            return;
        }
        let before = self.bytes.len();
        self.bytes.extend_from_slice(tokens.bytes(token));
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
