//! Model calls of one instance: recorded as they end, and not made again when a run resumes.

use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, bail};
use serde_json::json;

use crate::grammar::Grammar;
use crate::model::scripted::{judging_request, request_name};
use crate::model::{Completion, Event, Finish, Generate, Request, Sampling, Usage, Variety};
use crate::pipeline::progress::{Listener, Progress, Topic};
use crate::prompt::counts::{CountLog, Counts};
use crate::prompt::{CountTokens, Prompt};
use crate::run::RUN_VERSION;
use crate::run::directory::RunDir;
use crate::run::row::{CallOutcome, TrajectoryRow, rounded_logprob};
use crate::run::seed::call_seed;
use crate::search_replace::fence::Ended;
use crate::stage::Stage;
use crate::stage::rejection::Rejection;

/// Asks one engine on behalf of one instance.
pub struct Calls<'a> {
    pub engine: &'a dyn Generate,
    /// Where completions are recorded, and found again.
    pub run: Option<&'a RunDir>,
    pub instance: &'a str,
    pub run_seed: u64,
    pub listener: &'a Listener<'a>,
    counts: CountLog<'a>,
    /// Tokens so far, those of recorded calls included.
    usage: Mutex<Usage>,
}

/// What a model is asked, with all that its completions are judged by: a stage and what its prompt
/// showed, or something that is no stage.
pub trait Question: Sync {
    type Answer;

    fn topic(&self) -> Topic;

    /// The valid completions, for engines that can obey.
    fn grammar(&self) -> Grammar;

    /// Tokens that a completion may need.
    fn completion_tokens(&self) -> usize;

    fn parse(&self, completion: &str, ended: Ended) -> Result<Self::Answer, Rejection>;

    /// An answer as the run's files keep it.
    fn record(&self, answer: &Self::Answer) -> serde_json::Value;
}

/// A stage as a question.
struct OfStage<'a, S: Stage> {
    stage: &'a S,
    shown: &'a S::Shown,
}

impl<S: Stage> Question for OfStage<'_, S> {
    type Answer = S::Answer;

    fn topic(&self) -> Topic {
        Topic::Stage(S::KIND)
    }

    fn grammar(&self) -> Grammar {
        self.stage.grammar(self.shown)
    }

    fn completion_tokens(&self) -> usize {
        self.stage.completion_tokens()
    }

    fn parse(&self, completion: &str, ended: Ended) -> Result<S::Answer, Rejection> {
        self.stage.parse(self.shown, completion, ended)
    }

    fn record(&self, answer: &S::Answer) -> serde_json::Value {
        serde_json::to_value(self.stage.items(answer)).unwrap_or_default()
    }
}

/// How the completions of one call are drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Draw {
    /// Tells the calls of one stage apart, and seeds this one.
    pub call: u64,
    /// The number of the call's first completion among those of its stage.
    pub first_sample: u64,
    pub n: usize,
    /// 0 is greedy.
    pub temperature: f64,
    pub top_p: f64,
    pub variety: Variety,
    /// Whether it stands in for useless completions of an earlier draw.
    pub is_repeat: bool,
}

impl Draw {
    /// The greedy completion, as the first call of a stage.
    pub const GREEDY: Self = Self {
        call: 0,
        first_sample: 0,
        n: 1,
        temperature: 0.0,
        top_p: 1.0,
        variety: Variety::Independent,
        is_repeat: false,
    };

    /// A draw in place of `n` completions of this one that were no use: as `variety` says, since
    /// a model that copies what it was shown does so again. Greedy and distinct completions would
    /// only repeat themselves, and nothing is drawn a third time.
    pub fn again(&self, n: usize, variety: Variety) -> Option<Self> {
        let is_random = self.temperature > 0.0 && !self.is_repeat;
        let (call, first_sample) = (self.call + 1, self.first_sample + self.n as u64);
        let repeat = Self { call, first_sample, n, variety, is_repeat: true, ..*self };
        (is_random && 0 < n).then_some(repeat)
    }
}

/// A completion and what the stage made of it.
#[derive(Debug)]
pub struct Sample<A> {
    /// Its number among the completions of its stage.
    pub number: u64,
    pub completion: Completion,
    pub outcome: Result<A, Rejection>,
}

impl<'a> Calls<'a> {
    pub fn new(
        engine: &'a dyn Generate,
        run: Option<&'a RunDir>,
        instance: &'a str,
        run_seed: u64,
        listener: &'a Listener<'a>,
    ) -> Self {
        let counts = CountLog::new(engine.counter());
        Self { engine, run, instance, run_seed, listener, counts, usage: Mutex::default() }
    }

    /// Counts as the engine does; the run keeps what it says, so that a replay builds the same
    /// prompts without the engine's tokenizer.
    pub fn counter(&self) -> &dyn CountTokens {
        &self.counts
    }

    /// Tokens of all calls so far.
    pub fn usage(&self) -> Usage {
        *self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, completions: &[Completion]) {
        let mut total = self.usage.lock().unwrap_or_else(PoisonError::into_inner);
        // What was not computed again depends on what ran before, so a resumed run would differ.
        // They share one prompt.
        total.prompt_tokens += completions.first().map_or(0, |first| first.usage.prompt_tokens);
        for usage in completions.iter().map(|completion| completion.usage) {
            total.completion_tokens += usage.completion_tokens;
            total.forced_tokens += usage.forced_tokens;
        }
    }

    /// Completes the stage's prompt and parses every completion.
    ///
    /// # Errors
    ///
    /// The engine failed, or the run directory could not be written; an unusable completion is no
    /// error.
    pub async fn ask<S: Stage>(
        &self,
        stage: &S,
        prompt: &Prompt,
        shown: &S::Shown,
        draw: Draw,
    ) -> anyhow::Result<Vec<Sample<S::Answer>>> {
        self.put(&OfStage { stage, shown }, prompt, draw).await
    }

    /// Completes a prompt and parses every completion as the question says.
    ///
    /// # Errors
    ///
    /// As [`Self::ask`].
    pub async fn put<Q: Question>(
        &self,
        question: &Q,
        prompt: &Prompt,
        draw: Draw,
    ) -> anyhow::Result<Vec<Sample<Q::Answer>>> {
        let request = self.request(question, prompt, draw);
        let hash = request_name(&self.engine.info().name, &request)?;
        let recorded = self.recorded(&hash, draw)?;
        let is_new = recorded.is_none();
        // Taken for recorded calls too: their counts are in the run already.
        let mut counts = self.counts.take_new();
        let completions = match recorded {
            Some(completions) => completions,
            None => self.generate(question.topic(), &request).await?,
        };
        self.count(&completions);
        let mut samples = Vec::with_capacity(completions.len());
        for (number, completion) in (draw.first_sample..).zip(completions) {
            let outcome = question.parse(&completion.text(), ended(completion.finish));
            if is_new && let Some(run) = self.run {
                let row = self.row(question, &hash, number, &completion, &outcome);
                let prompt = (number == draw.first_sample).then(|| prompt.clone());
                let counts = std::mem::take(&mut counts);
                run.append_call(&TrajectoryRow { prompt, counts, ..row })?;
            }
            samples.push(Sample { number, completion, outcome });
        }
        Ok(samples)
    }

    /// The log-probability of a continuation of a prompt, recorded as a call like others, with
    /// `details` of what it is for.
    ///
    /// # Errors
    ///
    /// The engine cannot judge or failed, or the run directory could not be written.
    pub async fn judge(
        &self,
        number: u64,
        prompt: &Prompt,
        continuation: &str,
        details: serde_json::Value,
    ) -> anyhow::Result<f64> {
        let engine = &self.engine.info().name;
        let hash = request_name(engine, &judging_request(prompt, continuation))?;
        let texts = prompt.messages.iter().map(|message| message.content.as_str());
        let prompt_tokens = texts.chain([continuation]).map(|text| self.counts.count(text)).sum();
        let usage = Usage { prompt_tokens, ..Usage::default() };
        self.usage.lock().unwrap_or_else(PoisonError::into_inner).prompt_tokens += prompt_tokens;
        let counts = self.counts.take_new();
        if let Some(run) = self.run
            && let Some(row) = run.calls_of(&hash)?.first()
        {
            return row.logprob.context("wanted a log-probability, the recorded call has none");
        }
        let continuations = [continuation.to_owned()];
        let judging = self.engine.score(prompt, &continuations).with_context(|| {
            format!(
                "`{engine}` gives no likelihoods, which `rerank: likelihood` needs\n\
                 hint: a model on this machine does; or leave `--rerank` away"
            )
        })?;
        let scores =
            judging.await.with_context(|| format!("asking `{engine}` for a likelihood"))?;
        let [score] = scores[..] else { bail!("wanted one likelihood, found {}", scores.len()) };
        let logprob = rounded_logprob(score);
        if let Some(run) = self.run {
            run.append_call(&TrajectoryRow {
                version: RUN_VERSION,
                instance: self.instance.to_owned(),
                stage: "likelihood".to_owned(),
                sample: number,
                request: hash,
                prompt: Some(prompt.clone()),
                counts,
                completion: continuation.to_owned(),
                completion_hex: None,
                finish: finish_name(Finish::Stop).to_owned(),
                logprob: Some(logprob),
                usage: json!(usage),
                outcome: CallOutcome::Answer(json!(logprob)),
                details,
            })?;
        }
        Ok(logprob)
    }

    fn request<Q: Question>(&self, question: &Q, prompt: &Prompt, draw: Draw) -> Request {
        let obeys = self.engine.info().obeys_grammar;
        Request {
            prompt: prompt.clone(),
            sampling: Sampling {
                n: draw.n,
                temperature: draw.temperature,
                top_p: draw.top_p,
                top_k: 0,
                min_p: 0.0,
                max_tokens: question.completion_tokens(),
                stop: Vec::new(),
                variety: draw.variety,
            },
            grammar: obeys.then(|| question.grammar()),
            seed: call_seed(self.run_seed, self.instance, question.topic().name(), draw.call),
            stage: question.topic().name(),
        }
    }

    /// The completions of an earlier process, if it finished the call.
    fn recorded(&self, hash: &str, draw: Draw) -> anyhow::Result<Option<Vec<Completion>>> {
        let Some(run) = self.run else { return Ok(None) };
        let rows = run.calls_of(hash)?;
        if rows.len() < draw.n {
            return Ok(None);
        }
        rows.iter().map(completion_of).collect::<anyhow::Result<Vec<_>>>().map(Some)
    }

    async fn generate(&self, topic: Topic, request: &Request) -> anyhow::Result<Vec<Completion>> {
        let hear = |event: Event| (self.listener)(Progress::Model { topic, event });
        let completions = self.engine.generate(request, &hear).await.with_context(|| {
            let name = &self.engine.info().name;
            match topic {
                Topic::Stage(kind) => format!("asking `{name}` for the {} stage", kind.name()),
                Topic::Reproduction => format!("asking `{name}` for a reproduction test"),
            }
        })?;
        // As the record gives it back, so that a resumed run computes with the same number.
        let rounded = |mut completion: Completion| {
            completion.logprob = completion.logprob.map(rounded_logprob);
            completion
        };
        Ok(completions.into_iter().map(rounded).collect())
    }

    fn row<Q: Question>(
        &self,
        question: &Q,
        hash: &str,
        number: u64,
        completion: &Completion,
        outcome: &Result<Q::Answer, Rejection>,
    ) -> TrajectoryRow {
        let (text, completion_hex) = TrajectoryRow::completion_fields(&completion.bytes);
        TrajectoryRow {
            version: RUN_VERSION,
            instance: self.instance.to_owned(),
            stage: question.topic().name().to_owned(),
            sample: number,
            request: hash.to_owned(),
            prompt: None,
            counts: Counts::default(),
            completion: text,
            completion_hex,
            finish: finish_name(completion.finish).to_owned(),
            logprob: completion.logprob,
            // What was cached depends on what ran before, so it is no part of a record.
            usage: json!(Usage { cached_tokens: 0, ..completion.usage }),
            outcome: match outcome {
                Ok(answer) => CallOutcome::Answer(question.record(answer)),
                Err(rejection) => CallOutcome::Rejected {
                    reason: rejection.reason.name().to_owned(),
                    detail: rejection.to_string(),
                },
            },
            details: serde_json::Value::Null,
        }
    }
}

fn ended(finish: Finish) -> Ended {
    match finish {
        Finish::Stop => Ended::ByItself,
        Finish::Length => Ended::CutOff,
    }
}

fn finish_name(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop => "stop",
        Finish::Length => "length",
    }
}

fn completion_of(row: &TrajectoryRow) -> anyhow::Result<Completion> {
    let usage: Usage = serde_json::from_value(row.usage.clone())
        .with_context(|| format!("reading the recorded usage of call {}", row.request))?;
    let finish =
        if row.finish == finish_name(Finish::Length) { Finish::Length } else { Finish::Stop };
    Ok(Completion {
        bytes: row.completion_bytes(),
        finish,
        logprob: row.logprob,
        usage,
        tokens: Vec::new(),
    })
}
