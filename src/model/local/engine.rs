//! The local engine as callers see it: requests go to one thread that owns the network.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread;

use anyhow::{Context as _, bail, ensure};
use futures_util::future::BoxFuture;
use tokio::sync::mpsc::unbounded_channel;

use crate::grammar::Grammar;
use crate::model::constraint::{Compiled, Constraint};
use crate::model::local::adapter::AdapterWeights;
use crate::model::local::chat::ChatTemplate;
use crate::model::local::decoder::Ops;
use crate::model::local::scheduler::{Change, Job, Reply, Scheduler, Task};
use crate::model::local::tokenizer::Tokenizer;
use crate::model::local::weights::Weights;
use crate::model::token_trie::{TokenSet, TokenTrie};
use crate::model::{Completion, EngineInfo, Event, Generate, Request};
use crate::prompt::{CountTokens, Prompt};

/// A model loaded on this machine.
///
/// All requests share one network; their samples run in one batch. Dropping it ends its thread
/// after the step it is in.
pub struct LocalEngine {
    pub(super) info: EngineInfo,
    pub(super) tokenizer: Arc<Tokenizer>,
    pub(super) template: ChatTemplate,
    pub(super) trie: Arc<TokenTrie>,
    /// What the adapter is for; `None`: all.
    pub(super) adapted_stages: Option<Vec<String>>,
    /// Whether what a grammar dictates is not left to the model.
    pub(super) forces_text: bool,
    pub(super) jobs: Sender<Job>,
}

impl LocalEngine {
    /// The ids of a prompt as the network sees it.
    pub fn encode(&self, prompt: &Prompt) -> anyhow::Result<Vec<u32>> {
        self.tokenizer.encode_pieces(&self.template.render(prompt)?)
    }

    /// Whether a prompt and a completion of so many tokens fit into the context.
    pub fn has_room(&self, prompt_tokens: usize, completion_tokens: usize) -> bool {
        prompt_tokens.saturating_add(completion_tokens) <= self.info.context_length
    }

    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Puts an adapter in the place of the one before it, for all later requests.
    ///
    /// # Errors
    ///
    /// It is for another model, or requests are in flight.
    pub async fn adapt(&self, adapter: AdapterWeights) -> anyhow::Result<()> {
        self.change(Change::Adapter(adapter)).await
    }

    /// Puts other weights in the place of all that was there, an adapter's too, for all later
    /// requests.
    ///
    /// # Errors
    ///
    /// They are of another model, or requests are in flight.
    pub async fn replace(&self, weights: Weights) -> anyhow::Result<()> {
        self.change(Change::Weights(weights)).await
    }

    async fn change(&self, change: Change) -> anyhow::Result<()> {
        match self.run(Vec::new(), true, Task::Change(change), &|_| ()).await? {
            Reply::Changed(result) => result,
            _ => bail!("the local engine answered something else"),
        }
    }

    /// What was allowed at each token of completions that obeyed a grammar; `None` where the
    /// grammar forced it.
    ///
    /// # Errors
    ///
    /// Tokens are no completion of at most `max_tokens` tokens by that grammar, or it has none.
    pub fn allowed(
        &self,
        grammar: &Grammar,
        max_tokens: usize,
        completions: &[&[u32]],
    ) -> anyhow::Result<Vec<Vec<Option<Arc<TokenSet>>>>> {
        let compiled = Compiled::new(grammar, Arc::clone(&self.trie))?;
        let start = Constraint::new(&compiled, max_tokens)?;
        let encode = |text: &str| self.tokenizer.encode(text).unwrap_or_default();
        let mut all = Vec::with_capacity(completions.len());
        for tokens in completions {
            let (mut constraint, mut allowed) = (start.clone(), Vec::with_capacity(tokens.len()));
            while let Some(token) = tokens.get(allowed.len()) {
                let forced = constraint.forced(&encode);
                if forced.is_empty() {
                    allowed.push(Some(constraint.allowed()));
                    constraint.commit(*token)?;
                    continue;
                }
                for token in tokens[allowed.len()..].iter().take(forced.len()) {
                    allowed.push(None);
                    constraint.commit(*token)?;
                }
            }
            all.push(allowed);
        }
        Ok(all)
    }

    fn encode_checked(&self, prompt: &Prompt) -> anyhow::Result<Vec<u32>> {
        let ids = self.encode(prompt)?;
        ensure!(!ids.is_empty(), "the prompt is empty");
        let limit = self.info.context_length;
        ensure!(
            ids.len() < limit,
            "the prompt takes {} tokens, the context of `{}` holds {limit}",
            ids.len(),
            self.info.name
        );
        Ok(ids)
    }

    /// Runs one job, and hands its events on.
    async fn run(
        &self,
        prompt: Vec<u32>,
        adapted: bool,
        task: Task,
        events: &(dyn Fn(Event) + Send + Sync),
    ) -> anyhow::Result<Reply> {
        const GONE: &str = "the local engine's thread has ended";
        let (reply, mut replies) = unbounded_channel();
        self.jobs.send(Job { prompt, adapted, task, reply }).ok().context(GONE)?;
        loop {
            match replies.recv().await.context(GONE)? {
                Reply::Event(event) => events(event),
                done => return Ok(done),
            }
        }
    }
}

impl Generate for LocalEngine {
    fn info(&self) -> &EngineInfo {
        &self.info
    }

    fn counter(&self) -> &dyn CountTokens {
        &*self.tokenizer
    }

    fn generate<'a>(
        &'a self,
        request: &'a Request,
        events: &'a (dyn Fn(Event) + Send + Sync),
    ) -> BoxFuture<'a, anyhow::Result<Vec<Completion>>> {
        Box::pin(async move {
            if request.sampling.n == 0 {
                return Ok(Vec::new());
            }
            let prompt = self.encode_checked(&request.prompt)?;
            let room = self.info.context_length - prompt.len();
            let mut sampling = request.sampling.clone();
            sampling.max_tokens = sampling.max_tokens.min(room);
            let constraint = match &request.grammar {
                Some(grammar) => {
                    let compiled = Compiled::new(grammar, Arc::clone(&self.trie))
                        .context("cannot use the grammar of the answer")?;
                    let constraint = Constraint::new(&compiled, sampling.max_tokens)?;
                    Some(if self.forces_text { constraint } else { constraint.unforced() })
                }
                None => None,
            };
            let task = Task::Generate { sampling, seed: request.seed, constraint };
            let is_for = |name: &String| request.stage.is_empty() || name == request.stage;
            let stages = self.adapted_stages.as_ref();
            let adapted = stages.is_none_or(|names| names.iter().any(is_for));
            match self.run(prompt, adapted, task, events).await? {
                Reply::Completed(completions) => completions,
                _ => bail!("the local engine answered something else"),
            }
        })
    }

    fn score<'a>(
        &'a self,
        prompt: &'a Prompt,
        continuations: &'a [String],
    ) -> Option<BoxFuture<'a, anyhow::Result<Vec<f64>>>> {
        Some(Box::pin(async move {
            let prompt = self.encode_checked(prompt)?;
            let continuations = continuations
                .iter()
                .map(|text| self.tokenizer.encode(text))
                .collect::<anyhow::Result<Vec<_>>>()?;
            let longest = continuations.iter().map(Vec::len).max().unwrap_or(0);
            ensure!(
                prompt.len() + longest <= self.info.context_length,
                "prompt and continuation take {} tokens, the context holds {}",
                prompt.len() + longest,
                self.info.context_length
            );
            match self.run(prompt, true, Task::Score { continuations }, &|_| ()).await? {
                Reply::Scored(scores) => scores,
                _ => bail!("the local engine answered something else"),
            }
        }))
    }
}

/// Starts the thread that owns `scheduler`, and returns the way to it.
pub(super) fn start<O: Ops>(mut scheduler: Scheduler<O>) -> anyhow::Result<Sender<Job>> {
    let (sender, receiver) = channel();
    let work = move || {
        while take_jobs(&mut scheduler, &receiver) {
            scheduler.step();
        }
    };
    thread::Builder::new()
        .name("engine".into())
        .spawn(work)
        .context("cannot start the engine's thread")?;
    Ok(sender)
}

/// Takes what has come in, waiting where nothing is in flight; false once nobody can ask again.
fn take_jobs<O: Ops>(scheduler: &mut Scheduler<O>, jobs: &Receiver<Job>) -> bool {
    if scheduler.is_idle() {
        match jobs.recv() {
            Ok(job) => scheduler.submit(job),
            Err(_) => return false,
        }
    }
    loop {
        match jobs.try_recv() {
            Ok(job) => scheduler.submit(job),
            Err(TryRecvError::Empty) => return true,
            Err(TryRecvError::Disconnected) => return false,
        }
    }
}
