//! Completions of the policy as it is, by the engine that also serves inference.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use futures_util::future::try_join_all;
use tokio::runtime::{Builder, Runtime};

use crate::grammar::Grammar;
use crate::model::local::engine::LocalEngine;
use crate::model::token_trie::TokenSet;
use crate::model::{Finish, Generate, Request, Sampling, Variety};
use crate::prompt::Prompt;
use crate::search_replace::fence::{Ended, last_block};
use crate::stage::StageKind;
use crate::train::decoder::{Adapter, Network};
use crate::train::scored::ScoredSample;
use crate::train::tuned::Tuned;

/// A prompt that the policy acts on.
#[derive(Debug, Clone)]
pub struct Asked {
    /// What errors call it.
    pub name: String,
    pub stage: StageKind,
    pub prompt: Prompt,
    /// The prompt as the network reads it.
    pub ids: Vec<u32>,
    /// The completions that are allowed; `None`: the policy writes what it likes.
    pub grammar: Option<Grammar>,
    /// Tokens of a completion.
    pub max_tokens: usize,
}

/// What the policy did.
#[derive(Debug, Clone, PartialEq)]
pub struct Acted {
    /// The one that ends the turn included.
    pub tokens: Vec<u32>,
    /// Of each token, whether the policy chose it; a grammar forces others.
    pub is_drawn: Vec<bool>,
    /// Of each drawn token, what else it could have been; empty where that is all tokens.
    pub allowed: Vec<Arc<TokenSet>>,
    /// The engine's own log-probability of all that are drawn.
    pub engine_logprob: f64,
    pub judged: ScoredSample,
    /// Tokens before the answer's block.
    pub thought_tokens: usize,
}

/// How prompts are completed.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    pub samples: usize,
    pub temperature: f64,
    /// Whether it is to be learnt from, and not only judged.
    pub is_learnt: bool,
}

/// Judges a completion of the prompt with that index.
pub type Judge<'a> = &'a dyn Fn(usize, String, Ended) -> anyhow::Result<ScoredSample>;

/// The policy at work.
pub struct Actor<'a> {
    engine: LocalEngine,
    /// What the engine adds to its model before the policy's own adapter.
    before: Option<Adapter>,
    judge: Judge<'a>,
    runtime: Runtime,
}

impl<'a> Actor<'a> {
    pub fn new(
        engine: LocalEngine,
        before: Option<Adapter>,
        judge: Judge<'a>,
    ) -> anyhow::Result<Self> {
        let runtime = Builder::new_current_thread().build().context("starting the runtime")?;
        Ok(Self { engine, before, judge, runtime })
    }

    pub fn has_adapter_before(&self) -> bool {
        self.before.is_some()
    }

    /// What is added to the engine's own model where this is the policy.
    pub fn whole(&self, policy: &Adapter) -> Adapter {
        self.before.as_ref().map_or_else(|| policy.clone(), |before| before.join(policy))
    }

    /// Tokens that the engine never writes, of a network's rows.
    pub fn silent(&self, network: &Network) -> Vec<u32> {
        let mut logits = vec![0.0; network.n_vocab()];
        self.engine.tokenizer().mask_silent(&mut logits);
        let is_silent = |(id, logit): (usize, f32)| (logit < 0.0).then_some(id as u32);
        logits.into_iter().enumerate().filter_map(is_silent).collect()
    }

    /// Makes what is trained the policy; all weights have what was learnt before in them.
    pub fn become_policy(&self, policy: &Tuned) -> anyhow::Result<()> {
        self.runtime.block_on(async {
            match policy {
                Tuned::Adapter(policy) => self.engine.adapt(self.whole(policy).weights()).await,
                Tuned::Full(network) => self.engine.replace(network.weights()).await,
            }
        })
    }

    /// Completions of prompts, which are named by index and have a seed each.
    pub fn act(
        &self,
        prompts: &[(usize, u64)],
        asked: &[Asked],
        manner: Manner,
    ) -> anyhow::Result<Vec<Vec<Acted>>> {
        let all =
            prompts.iter().map(|(idx, seed)| self.complete(*idx, &asked[*idx], *seed, manner));
        self.runtime.block_on(try_join_all(all))
    }

    async fn complete(
        &self,
        idx: usize,
        asked: &Asked,
        seed: u64,
        manner: Manner,
    ) -> anyhow::Result<Vec<Acted>> {
        let request = Request {
            prompt: asked.prompt.clone(),
            sampling: Sampling {
                n: manner.samples,
                temperature: manner.temperature,
                top_p: 1.0,
                top_k: 0,
                min_p: 0.0,
                max_tokens: asked.max_tokens,
                stop: Vec::new(),
                variety: Variety::Independent,
            },
            grammar: asked.grammar.clone(),
            seed,
            stage: asked.stage.name(),
        };
        let context = || format!("answering {}", asked.name);
        let completions = self.engine.generate(&request, &|_| {}).await.with_context(context)?;
        let grammar = asked.grammar.as_ref().filter(|_| manner.is_learnt);
        let steps = match grammar {
            Some(grammar) => {
                let tokens: Vec<&[u32]> = completions.iter().map(|c| &c.tokens[..]).collect();
                self.engine.allowed(grammar, asked.max_tokens, &tokens).with_context(context)?
            }
            None => vec![Vec::new(); completions.len()],
        };
        let acted = completions.into_iter().zip(steps).map(|(completion, steps)| {
            ensure!(!completion.tokens.is_empty(), "{}: nothing was written", asked.name);
            let ended = match completion.finish {
                Finish::Stop => Ended::ByItself,
                Finish::Length => Ended::CutOff,
            };
            let text = completion.text().into_owned();
            let thought_tokens = self.engine.tokenizer().encode(thought(&text))?.len();
            let mut is_drawn: Vec<bool> = steps.iter().map(Option::is_some).collect();
            is_drawn.resize(completion.tokens.len(), true);
            Ok(Acted {
                is_drawn,
                allowed: steps.into_iter().flatten().collect(),
                engine_logprob: completion.logprob.unwrap_or(f64::NAN),
                tokens: completion.tokens,
                judged: (self.judge)(idx, text, ended).with_context(context)?,
                thought_tokens,
            })
        });
        acted.collect()
    }
}

/// What stands before the answer's block; all of a completion without one.
fn thought(completion: &str) -> &str {
    let Some(block) = last_block(completion) else { return completion };
    // The line of the opening fence is the one before the body's.
    let n_before = block.first_line.saturating_sub(2);
    let n_bytes = completion.split_inclusive('\n').take(n_before).map(str::len).sum();
    &completion[..n_bytes]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thought_ends_where_the_answer_begins() {
        assert_eq!(thought("It is here.\nSo:\n```\na.py\n```\n"), "It is here.\nSo:\n");
        assert_eq!(thought("```\na.py\n```"), "");
        assert_eq!(thought("no answer"), "no answer");
    }
}
