//! The four subtasks, each defined once for inference, training data, rewards and evaluation.
//!
//! A stage is a prompt, a parser, a truth and a unit of comparison. It never sees a tensor, and
//! its prompt never sees a gold patch: the patch is an argument of [`Stage::truth`] alone.

pub mod answer;
pub mod budget;
pub mod edit;
pub mod episode;
pub mod episodes;
pub mod file;
#[cfg(test)]
mod fixture;
pub mod function;
pub mod gold;
pub mod issue;
pub mod known;
pub mod line;
pub mod oracle;
pub mod profile;
pub mod rejection;
pub mod reproduction;
pub mod score;
pub mod search_grammar;
pub mod windows;

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::grammar::{Grammar, Node};
use crate::index::Index;
use crate::index::retrieval::Ranking;
use crate::prompt::template::Templates;
use crate::prompt::{CountTokens, Prompt};
use crate::search_replace::fence::Ended;
use crate::stage::budget::PromptError;
use crate::stage::gold::Gold;
use crate::stage::rejection::Rejection;
use crate::stage::score::{Grade, Score};

/// Which subtask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StageKind {
    File,
    Function,
    Line,
    Edit,
}

impl StageKind {
    pub const ALL: [Self; 4] = [Self::File, Self::Function, Self::Line, Self::Edit];

    /// The name in reports, and of the stage's prompt template.
    pub fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Function => "function",
            Self::Line => "line",
            Self::Edit => "edit",
        }
    }
}

/// All that a prompt can see.
#[derive(Debug, Clone)]
pub struct Context {
    /// The problem statement, and nothing else of a record.
    pub issue: String,
    pub index: Arc<Index>,
    /// What retrieval makes of the issue; decides what a prompt leaves out.
    pub ranking: Ranking,
    pub templates: Arc<Templates>,
}

/// One subtask of issue resolution, defined once for every consumer.
///
/// The implementing struct holds the stage's limits and nothing else, and is written into
/// episodes, so that a completion is judged by the limits it was asked under.
pub trait Stage: Clone + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// What the stages before this one decided.
    type Input: Send + Sync;
    /// What survived the token budget: all that a completion can be judged by.
    type Shown: Clone + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static;
    /// A parsed answer.
    type Answer: Send + Sync;
    /// The unit in which answers are compared: a path, a symbol, a line, a changed line.
    type Item: Clone + Ord + Serialize + DeserializeOwned + Send + Sync + 'static;
    const KIND: StageKind;

    /// The messages, cut to the stage's token budget, and what they show.
    fn prompt(
        &self,
        context: &Context,
        input: &Self::Input,
        counter: &dyn CountTokens,
    ) -> Result<(Prompt, Self::Shown), PromptError>;

    /// The valid completions, for engines that can obey.
    fn grammar(&self, shown: &Self::Shown) -> Grammar;

    /// Tokens that a completion may need, reasoning included.
    fn completion_tokens(&self) -> usize;

    fn parse(
        &self,
        shown: &Self::Shown,
        completion: &str,
        ended: Ended,
    ) -> Result<Self::Answer, Rejection>;

    /// The items of the answer that the gold patch implies; none where it says nothing.
    fn truth(&self, index: &Index, gold: &Gold) -> Vec<Self::Item>;

    /// The answer's items: existing things only.
    fn items(&self, answer: &Self::Answer) -> Vec<Self::Item>;

    /// How many of the things answered do not exist, and how many exist but can be no item,
    /// since they were not shown.
    fn misses(&self, answer: &Self::Answer) -> Misses;

    /// Whether an item of the truth could be answered from what was shown.
    fn is_in_view(&self, shown: &Self::Shown, item: &Self::Item) -> bool;

    /// Compares items; sets, or multisets where items repeat.
    fn score(&self, answered: &[Self::Item], expected: &[Self::Item]) -> Score {
        Score::of(answered, expected)
    }

    /// Compares an answer with the items of the truth.
    fn grade_answer(&self, answer: &Self::Answer, expected: &[Self::Item]) -> Grade {
        let misses = self.misses(answer);
        let mut score = self.score(&self.items(answer), expected);
        score.answered += misses.invented + misses.unseen;
        Grade { score, invented: misses.invented }
    }
}

/// Answered things that are no items.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Misses {
    pub invented: usize,
    pub unseen: usize,
}

/// A completion: free reasoning where tokens are given for it, then one fenced block.
pub(crate) fn block_grammar(
    reasoning_tokens: u32,
    body: Node,
    rules: impl IntoIterator<Item = (String, Node)>,
) -> Grammar {
    let text = |text: &str| Node::Text(text.to_owned());
    let mut start = vec![text("```\n"), body, text("```")];
    if 0 < reasoning_tokens {
        // A fence may be indented by three spaces.
        let fence = |indent| format!("{:indent$}```", "");
        let never_starts = (0..=3).map(fence).collect();
        start.insert(0, Node::FreeLines { never_starts, max_tokens: reasoning_tokens });
    }
    Grammar { start: Node::Sequence(start), rules: rules.into_iter().collect() }
}

pub(crate) fn repeat(node: Node, min: u32, max: u32) -> Node {
    Node::Repeat { node: Box::new(node), min, max }
}

pub(crate) fn rule(name: &str) -> Node {
    Node::Rule(name.to_owned())
}
