//! Models behind any server that speaks the OpenAI chat protocol: one or several of them.
//!
//! Nothing is sent but to the configured addresses, and redirects are not followed, so that a key
//! stays with the server it was given for. What fails for a moment is tried again, on another
//! server where there is one; what a server refuses by name is left out; samples that a server
//! does not give at once are asked for one by one.

pub mod endpoint;
mod wire;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use backon::{BackoffBuilder, ExponentialBuilder};
use futures_util::future::{BoxFuture, join_all, try_join_all};
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, Response};
use tokio::sync::Semaphore;

use crate::model::http::{build_client, read_body};
use crate::model::remote::endpoint::{Dialect, Endpoint, excerpt, greet, root_cause, status_hint};
use crate::model::remote::wire::{Answer, BadAnswer, find_refused_field, render_request};
use crate::model::{Completion, EngineInfo, Event, Generate, Request};
use crate::prompt::{CountTokens, EstimateTokens, Prompt};

/// How to talk to servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteOptions {
    /// Servers of the same model; each call goes to one of them.
    pub endpoints: Vec<Endpoint>,
    /// The servers' name for the model; `None` takes the only one that they have.
    pub model: Option<String>,
    /// `None` finds it out.
    pub dialect: Option<Dialect>,
    /// Tokens of prompt and completion together; `None` believes the server.
    pub context_length: Option<usize>,
    /// Requests at once to each server.
    pub concurrency: usize,
    /// How long a server may take to say what it is.
    pub greeting_within: Duration,
    /// How long an answer may take to begin, and to go on.
    pub stall: Duration,
    /// How often a call that failed for a moment is tried again.
    pub retries: usize,
    /// The first wait before trying again; it doubles.
    pub retry_wait: Duration,
}

/// A context that even small servers have, where a server does not tell its own.
const ASSUMED_CONTEXT: usize = 8_192;
/// The longest wait that a server can ask for.
const MAX_WAIT: Duration = Duration::from_mins(1);
/// How often an empty completion is asked for again before it is taken as the model's word.
const EMPTY_RETRIES: usize = 2;

/// The model of one or several servers.
pub struct RemoteEngine {
    options: RemoteOptions,
    client: Client,
    model: String,
    dialect: Dialect,
    info: EngineInfo,
    lanes: Vec<Lane>,
    turn: AtomicUsize,
    /// Whether the server gives one completion, however many it is asked for.
    ignores_n: AtomicBool,
    refused: Mutex<BTreeSet<String>>,
    /// What the servers that did not answer said.
    unreached: Vec<String>,
}

/// One server, and how many more requests it may get at once.
struct Lane {
    endpoint: Endpoint,
    free: Semaphore,
}

/// A call that failed.
enum Failure {
    /// Another try may succeed, after this wait if the server named one.
    Passing {
        reason: String,
        wait: Option<Duration>,
    },
    /// The request held a field that this server does not know.
    Refused {
        field: String,
    },
    Final(anyhow::Error),
}

impl RemoteEngine {
    /// Asks the servers what they are; those that do not answer are left for later tries.
    pub async fn connect(options: RemoteOptions) -> anyhow::Result<Self> {
        ensure!(!options.endpoints.is_empty(), "wanted the address of a server, found none");
        let client = build_client(options.greeting_within, options.stall)?;
        let greetings = join_all(
            options
                .endpoints
                .iter()
                .map(|endpoint| greet(&client, endpoint, options.greeting_within)),
        )
        .await;
        let mut failures = Vec::new();
        let mut greeted = None;
        for greeting in greetings {
            match greeting {
                Ok(greeting) => greeted = greeted.or(Some(greeting)),
                Err(err) => failures.push(format!("{err:#}")),
            }
        }
        let Some(greeting) = greeted else {
            bail!(
                "no server can be used\n{}\n\
                 hint: start it, or correct `--endpoint`; without it, a model runs on this machine",
                failures.join("\n")
            );
        };
        let model = choose_model(options.model.as_deref(), &greeting.models)?;
        let dialect = options.dialect.unwrap_or(greeting.dialect);
        let context_length =
            options.context_length.or(greeting.context_length).unwrap_or(ASSUMED_CONTEXT);
        let info = EngineInfo {
            name: model.clone(),
            context_length,
            obeys_grammar: dialect.obeys_grammar(),
            is_local_cpu: false,
            gives_distinct: false,
        };
        let at_once = if dialect.takes_many() { options.concurrency.max(1) } else { 1 };
        let lane = |endpoint: &Endpoint| Lane {
            endpoint: endpoint.clone(),
            free: Semaphore::new(at_once),
        };
        let lanes = options.endpoints.iter().map(lane).collect();
        Ok(Self {
            client,
            model,
            dialect,
            info,
            lanes,
            turn: AtomicUsize::new(0),
            ignores_n: AtomicBool::new(!dialect.takes_n()),
            refused: Mutex::new(BTreeSet::new()),
            unreached: failures,
            options,
        })
    }

    /// Why some of the servers did not answer at first; they are tried again later.
    pub fn unreached(&self) -> &[String] {
        &self.unreached
    }

    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    async fn complete(
        &self,
        request: &Request,
        events: &(dyn Fn(Event) + Send + Sync),
    ) -> anyhow::Result<Vec<Completion>> {
        let n = request.sampling.n;
        let mut completions = Vec::new();
        if 1 < n && !self.ignores_n.load(Ordering::Relaxed) {
            completions = self.ask(request, (0, n), events).await?;
            completions.truncate(n);
            if completions.len() == 1 {
                self.ignores_n.store(true, Ordering::Relaxed);
            }
        }
        let missing = completions.len()..n;
        let asked =
            try_join_all(missing.map(|sample| self.ask_one(request, sample, events))).await?;
        completions.extend(asked);
        for (sample, completion) in completions.iter_mut().enumerate() {
            if completion.bytes.is_empty() {
                let spent = completion.usage;
                *completion = self.ask_one(request, sample, events).await?;
                completion.usage.add(&spent);
            }
        }
        (0..n).for_each(|sample| events(Event::Finished { sample }));
        Ok(completions)
    }

    /// One completion, asked for again while it is empty.
    async fn ask_one(
        &self,
        request: &Request,
        sample: usize,
        events: &(dyn Fn(Event) + Send + Sync),
    ) -> anyhow::Result<Completion> {
        let mut last: Option<Completion> = None;
        for _ in 0..=EMPTY_RETRIES {
            let answer = self.ask(request, (sample, 1), events).await?.into_iter().next();
            let Some(mut completion) = answer else { continue };
            if let Some(empty) = &last {
                completion.usage.add(&empty.usage);
            }
            if !completion.bytes.is_empty() {
                return Ok(completion);
            }
            last = Some(completion);
        }
        last.with_context(|| format!("`{}` gave no completion at all", self.model))
    }

    /// `n` completions from `first` on, or fewer where the server gives fewer; tried again while
    /// that may help.
    async fn ask(
        &self,
        request: &Request,
        (first, n): (usize, usize),
        events: &(dyn Fn(Event) + Send + Sync),
    ) -> anyhow::Result<Vec<Completion>> {
        let mut waits = ExponentialBuilder::default()
            .with_min_delay(self.options.retry_wait)
            .with_max_delay(MAX_WAIT)
            .with_max_times(self.options.retries)
            .build();
        let (mut lane, mut n_failed) = (self.choose_lane(None), 0);
        loop {
            let permit = self.lanes[lane].free.acquire().await.context("asking a server")?;
            let failure = match self.try_ask(lane, request, (first, n), events).await {
                Ok(completions) => return Ok(completions),
                Err(failure) => failure,
            };
            drop(permit);
            match failure {
                Failure::Final(err) => return Err(err),
                Failure::Refused { field } => {
                    let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
                    refused.insert(field.clone());
                    drop(refused);
                    let endpoint = &self.lanes[lane].endpoint;
                    let words = format!("`{endpoint}` does not take `{field}`; going on without");
                    events(Event::Trouble { words });
                }
                Failure::Passing { reason, wait } => {
                    let endpoint = &self.lanes[lane].endpoint;
                    n_failed += 1;
                    (first..first + n).for_each(|sample| events(Event::Again { sample }));
                    let waits_for = wait.map_or(String::new(), |wait| {
                        format!(", in {:.0} s as the server asks", wait.min(MAX_WAIT).as_secs_f64())
                    });
                    let words = format!("`{endpoint}`: {reason}; trying again{waits_for}");
                    events(Event::Trouble { words });
                    // Another server need not be waited for, but when all have had their turn.
                    if n_failed % self.lanes.len() == 0 {
                        let Some(backoff) = waits.next() else {
                            bail!(
                                "`{endpoint}` failed: {reason}\n\
                                 hint: tried {n_failed} times; what is finished is kept, and the \
                                 run can go on when the server is back"
                            );
                        };
                        tokio::time::sleep(wait.unwrap_or(backoff).min(MAX_WAIT)).await;
                    }
                    lane = self.choose_lane(Some(lane));
                }
            }
        }
    }

    /// The server with the most room, in turn among equals; not the one that just failed, unless
    /// there is no other.
    fn choose_lane(&self, failed: Option<usize>) -> usize {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let n = self.lanes.len();
        let in_turn = (0..n).map(|at| (at + turn) % n).filter(|lane| Some(*lane) != failed);
        let free = |lane: &usize| self.lanes[*lane].free.available_permits();
        // `max_by_key` takes the last of equals, so the turn is walked backwards.
        let candidates: Vec<usize> = in_turn.collect();
        candidates.into_iter().rev().max_by_key(free).or(failed).unwrap_or(0)
    }

    async fn try_ask(
        &self,
        lane: usize,
        request: &Request,
        (first, n): (usize, usize),
        events: &(dyn Fn(Event) + Send + Sync),
    ) -> Result<Vec<Completion>, Failure> {
        let endpoint = &self.lanes[lane].endpoint;
        let seed = request.seed.wrapping_add(first as u64);
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let body = render_request(&self.model, request, self.dialect, (n, seed), &refused);
        let call = endpoint.post(&self.client, "v1/chat/completions").map_err(Failure::Final)?;
        let answer = tokio::time::timeout(self.options.stall, call.json(&body).send()).await;
        let response = match answer {
            Err(_) => {
                let reason = format!("no answer began within {:?}", self.options.stall);
                return Err(Failure::Passing { reason, wait: None });
            }
            Ok(Err(err)) => {
                return Err(Failure::Passing { reason: root_cause(&err), wait: None });
            }
            Ok(Ok(response)) => response,
        };
        if !response.status().is_success() {
            return Err(self.judge_status(endpoint, response, &body).await);
        }
        let on_text = |grown: Vec<(usize, String)>| {
            for (sample, text) in grown {
                events(Event::Text { sample: first + sample, bytes: text.into_bytes() });
            }
        };
        let most = (n, request.sampling.max_tokens);
        let answer = read_answer(response, most, &on_text).await?;
        let prompt_tokens = request
            .prompt
            .messages
            .iter()
            .map(|message| EstimateTokens.count(&message.content))
            .sum();
        Ok(answer.into_completions(prompt_tokens, &EstimateTokens))
    }

    async fn judge_status(
        &self,
        endpoint: &Endpoint,
        response: Response,
        sent: &serde_json::Value,
    ) -> Failure {
        let status = response.status();
        let wait = parse_retry_after(&response);
        let body = read_body(response, MOST_SAID).await.unwrap_or_default();
        let message = String::from_utf8_lossy(&body);
        if matches!(status.as_u16(), 400 | 422 | 500 | 501)
            && let Some(field) = find_refused_field(&message, sent)
        {
            return Failure::Refused { field };
        }
        let reason = format!("answered {status}: {}", excerpt(&body));
        match status.as_u16() {
            408 | 425 | 429 | 500 | 502 | 503 | 504 | 529 => Failure::Passing { reason, wait },
            _ => Failure::Final(anyhow::anyhow!("`{endpoint}` {reason}{}", status_hint(status))),
        }
    }
}

const WRONG_SERVER_HINT: &str = "hint: is the address that of an OpenAI-compatible server?";

/// Bytes of an error, a page, or what frames an answer.
const MOST_SAID: usize = 1 << 20;
/// Bytes of a token with all that a server says of it.
const MOST_OF_A_TOKEN: usize = 8 << 10;

/// Reads a stream of events, or one JSON value from a server that does not stream.
async fn read_answer(
    mut response: Response,
    (n, max_tokens): (usize, usize),
    on_text: &(dyn Fn(Vec<(usize, String)>) + Send + Sync),
) -> Result<Answer, Failure> {
    let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let content_type = content_type.unwrap_or_default().to_ascii_lowercase();
    let broken = |reason: String| Failure::Passing { reason, wait: None };
    let bad = |err: BadAnswer| match err {
        // It has told its models in JSON, so that an answer which is none was damaged on the way.
        BadAnswer::Reported { .. } | BadAnswer::NotJson { .. } => broken(err.to_string()),
        BadAnswer::TooManyChoices { .. } => {
            Failure::Final(anyhow::anyhow!("{err}\n{WRONG_SERVER_HINT}"))
        }
    };
    // An event of a token takes a few hundred bytes, log-probabilities included.
    let most = MOST_SAID + n * max_tokens * MOST_OF_A_TOKEN;
    let mut answer = Answer::default();
    if content_type.starts_with("text/html") {
        let body = read_body(response, MOST_SAID).await.unwrap_or_default();
        let page = BadAnswer::NotJson { found: excerpt(&body) };
        return Err(Failure::Final(anyhow::anyhow!("{page}\n{WRONG_SERVER_HINT}")));
    }
    if content_type.starts_with("application/json") {
        let body = read_body(response, most).await.map_err(|err| broken(format!("{err:#}")))?;
        on_text(answer.feed_whole(&body, n).map_err(bad)?);
    } else {
        let mut n_bytes = 0;
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if most < n_bytes + chunk.len() => {
                    return Err(Failure::Final(anyhow::anyhow!(
                        "the server goes on past the {} KiB that the completion may have\n\
                         hint: it does not obey `max_tokens`",
                        most >> 10
                    )));
                }
                Ok(Some(chunk)) => {
                    n_bytes += chunk.len();
                    on_text(answer.feed(&chunk, n).map_err(bad)?);
                }
                Ok(None) => break,
                Err(err) => return Err(broken(format!("the stream broke: {}", root_cause(&err)))),
            }
        }
    }
    if answer.is_whole() { Ok(answer) } else { Err(broken("the stream ended early".to_owned())) }
}

/// How long the server asks us to wait, in seconds or as a date.
fn parse_retry_after(response: &Response) -> Option<Duration> {
    let text = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let until = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    Duration::try_from(until.duration_since(jiff::Timestamp::now())).ok()
}

fn choose_model(wanted: Option<&str>, listed: &[String]) -> anyhow::Result<String> {
    let all = || listed.join("`, `");
    match (wanted, listed) {
        // A server may know names that it does not list.
        (Some(wanted), _) => Ok(wanted.to_owned()),
        (None, [only]) => Ok(only.clone()),
        (None, []) => bail!("the server lists no model\nhint: name one with `--model`"),
        (None, _) => {
            bail!("the server has several models: `{}`\nhint: name one with `--model`", all())
        }
    }
}

impl Generate for RemoteEngine {
    fn info(&self) -> &EngineInfo {
        &self.info
    }

    fn counter(&self) -> &dyn CountTokens {
        &EstimateTokens
    }

    fn generate<'a>(
        &'a self,
        request: &'a Request,
        events: &'a (dyn Fn(Event) + Send + Sync),
    ) -> BoxFuture<'a, anyhow::Result<Vec<Completion>>> {
        Box::pin(self.complete(request, events))
    }

    fn score<'a>(
        &'a self,
        _prompt: &'a Prompt,
        _continuations: &'a [String],
    ) -> Option<BoxFuture<'a, anyhow::Result<Vec<f64>>>> {
        None
    }
}

#[cfg(test)]
mod tests;
