//! A stage bound to one instance: all that training and a reward server ever see.
//!
//! An episode carries what its prompt showed and the items of the truth, so a completion is judged
//! without the repository and without a model. It never carries the gold patch itself.

use serde::{Deserialize, Serialize};

use crate::grammar::Grammar;
use crate::prompt::{CountTokens, Prompt};
use crate::search_replace::fence::Ended;
use crate::stage::budget::PromptError;
use crate::stage::edit::items::{EditItem, Sign};
use crate::stage::edit::{EditItems, EditStage};
use crate::stage::file::FileStage;
use crate::stage::function::FunctionStage;
use crate::stage::gold::Gold;
use crate::stage::line::LineStage;
use crate::stage::rejection::Rejection;
use crate::stage::score::{Grade, RewardOptions};
use crate::stage::{Context, Stage, StageKind};

/// The version of the format that this program writes.
pub const EPISODE_VERSION: u32 = 1;

/// One prompt of one stage for one instance, with what is needed to judge its completions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Episode {
    pub version: u32,
    pub instance_id: String,
    pub prompt: Prompt,
    pub task: Task,
    /// Items of the truth that were not in view, and so are not expected.
    pub n_out_of_view: usize,
}

/// An episode's stage, with its types.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "stage", content = "case", rename_all = "snake_case")]
pub enum Task {
    File(Case<FileStage>),
    Function(Case<FunctionStage>),
    Line(Case<LineStage>),
    Edit(Case<EditStage>),
}

/// What a completion of a stage is judged by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Case<S: Stage> {
    /// The limits that the completion was asked under.
    pub limits: S,
    pub shown: S::Shown,
    /// The items of each gold patch that is accepted for the instance.
    pub expected: Vec<Vec<S::Item>>,
}

/// Which items of the truth are expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expect {
    /// Those in view: training teaches nothing that the prompt does not allow.
    InView,
    /// All: evaluation counts as a miss what trimming lost.
    All,
}

impl Episode {
    /// Compares edits in another unit; episodes of other stages stay as they are.
    pub fn compare_edits_in(&mut self, items: EditItems) {
        if let Task::Edit(case) = &mut self.task {
            case.limits.items = items;
        }
    }

    /// Binds a stage to an instance. `None` where the truth is empty, or nothing of it in view.
    pub fn new<S: Stage>(
        stage: &S,
        context: &Context,
        input: &S::Input,
        truth: &Truth<'_>,
        counter: &dyn CountTokens,
    ) -> Result<Option<Self>, PromptError>
    where
        Task: From<Case<S>>,
    {
        let mut expected: Vec<Vec<S::Item>> =
            truth.golds.iter().map(|gold| stage.truth(&context.index, gold)).collect();
        expected.retain(|items| !items.is_empty());
        if expected.is_empty() {
            return Ok(None);
        }
        let (prompt, shown) = stage.prompt(context, input, counter)?;
        let n_items: usize = expected.iter().map(Vec::len).sum();
        for items in &mut expected {
            items.retain(|item| truth.expect == Expect::All || stage.is_in_view(&shown, item));
        }
        let n_expected: usize = expected.iter().map(Vec::len).sum();
        expected.retain(|items| !items.is_empty());
        if expected.is_empty() {
            return Ok(None);
        }
        Ok(Some(Self {
            version: EPISODE_VERSION,
            instance_id: truth.instance_id.to_owned(),
            prompt,
            task: Case { limits: stage.clone(), shown, expected }.into(),
            n_out_of_view: n_items - n_expected,
        }))
    }

    pub fn kind(&self) -> StageKind {
        match self.task {
            Task::File(_) => StageKind::File,
            Task::Function(_) => StageKind::Function,
            Task::Line(_) => StageKind::Line,
            Task::Edit(_) => StageKind::Edit,
        }
    }

    /// Parses a completion and compares it with each accepted gold patch.
    pub fn grades(&self, completion: &str, ended: Ended) -> Result<Vec<Grade>, Rejection> {
        match &self.task {
            Task::File(case) => case.grades(completion, ended),
            Task::Function(case) => case.grades(completion, ended),
            Task::Line(case) => case.grades(completion, ended),
            Task::Edit(case) => case.grades(completion, ended),
        }
    }

    /// Whether a completion is worth imitating: not rejected, and with a hit that says something.
    pub fn is_hit(&self, completion: &str, ended: Ended) -> Result<bool, Rejection> {
        if let Task::Edit(case) = &self.task {
            return case.is_hit(completion, ended);
        }
        let grades = self.grades(completion, ended)?;
        Ok(grades.iter().any(|grade| 0 < grade.score.hits))
    }

    /// The valid completions, for engines that can obey.
    pub fn grammar(&self) -> Grammar {
        match &self.task {
            Task::File(case) => case.limits.grammar(&case.shown),
            Task::Function(case) => case.limits.grammar(&case.shown),
            Task::Line(case) => case.limits.grammar(&case.shown),
            Task::Edit(case) => case.limits.grammar(&case.shown),
        }
    }

    /// Tokens that a completion may need, reasoning included, and of these the reasoning's.
    pub fn completion_tokens(&self) -> (usize, u32) {
        match &self.task {
            Task::File(case) => (case.limits.completion_tokens(), case.limits.reasoning_tokens),
            Task::Function(case) => (case.limits.completion_tokens(), case.limits.reasoning_tokens),
            Task::Line(case) => (case.limits.completion_tokens(), case.limits.reasoning_tokens),
            Task::Edit(case) => (case.limits.completion_tokens(), case.limits.reasoning_tokens),
        }
    }

    /// The reward of a completion: the best over the accepted gold patches; 0 for a rejection and
    /// where the model did not end its turn.
    pub fn reward(&self, completion: &str, ended: Ended, options: &RewardOptions) -> f64 {
        match self.grades(completion, ended) {
            Ok(grades) if ended == Ended::ByItself => {
                grades.iter().map(|grade| options.reward_of(grade)).fold(0.0, f64::max)
            }
            _ => 0.0,
        }
    }
}

impl Case<EditStage> {
    /// Whether an answer shares with a gold patch a base line, or an added line of three letters
    /// and more: closing brackets are no hit.
    fn is_hit(&self, completion: &str, ended: Ended) -> Result<bool, Rejection> {
        let answer = self.limits.parse(&self.shown, completion, ended)?;
        let says_something = |item: &&EditItem| match item {
            EditItem::Line(_) => true,
            EditItem::Content(line) => {
                line.sign == Sign::Added
                    && 3 <= line.text.chars().filter(|c| c.is_alphabetic()).count()
            }
        };
        let mut items = answer.items.iter().filter(says_something);
        Ok(items.any(|item| self.expected.iter().flatten().any(|other| hits(item, other))))
    }
}

fn hits(item: &EditItem, expected: &EditItem) -> bool {
    match (item, expected) {
        (EditItem::Line(ours), EditItem::Line(gold)) => {
            ours.path == gold.path && ours.accepted().any(|line| gold.accepted().any(|n| n == line))
        }
        _ => item == expected,
    }
}

impl<S: Stage> Case<S> {
    /// What a completion names.
    pub(super) fn items(&self, completion: &str, ended: Ended) -> Result<Vec<S::Item>, Rejection> {
        let answer = self.limits.parse(&self.shown, completion, ended)?;
        Ok(self.limits.items(&answer))
    }

    fn grades(&self, completion: &str, ended: Ended) -> Result<Vec<Grade>, Rejection> {
        let answer = self.limits.parse(&self.shown, completion, ended)?;
        let grade = |expected: &Vec<S::Item>| self.limits.grade_answer(&answer, expected);
        Ok(self.expected.iter().map(grade).collect())
    }
}

/// The gold side of an instance.
#[derive(Debug, Clone, Copy)]
pub struct Truth<'a> {
    pub instance_id: &'a str,
    /// The accepted gold patches; usually one.
    pub golds: &'a [Gold],
    pub expect: Expect,
}

impl From<Case<FileStage>> for Task {
    fn from(case: Case<FileStage>) -> Self {
        Self::File(case)
    }
}

impl From<Case<FunctionStage>> for Task {
    fn from(case: Case<FunctionStage>) -> Self {
        Self::Function(case)
    }
}

impl From<Case<LineStage>> for Task {
    fn from(case: Case<LineStage>) -> Self {
        Self::Line(case)
    }
}

impl From<Case<EditStage>> for Task {
    fn from(case: Case<EditStage>) -> Self {
        Self::Edit(case)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompt::EstimateTokens;
    use crate::stage::episodes::episodes;
    use crate::stage::fixture::{SHOP, context, gold};
    use crate::stage::profile::Profile;

    const TAX: &str = "def tax(net):\n    return net * 0.3\n";

    fn shop_episodes() -> Vec<Episode> {
        let context = context(SHOP, "Tax must be 30 %.");
        let golds = [gold(&context, &[("src/shop/tax.py", TAX)])];
        let truth = Truth { instance_id: "shop-1", golds: &golds, expect: Expect::InView };
        let found = episodes(&Profile::Small.stages(), &context, &truth, &EstimateTokens);
        assert_eq!(found.left_out, []);
        found.episodes
    }

    #[test]
    fn an_instance_has_an_episode_of_each_stage_that_judges_from_disk() {
        let right = [
            "```\nsrc/shop/tax.py\n```",
            "```\nsrc/shop/tax.py\nfunction: tax\n```",
            "```\nsrc/shop/tax.py\nline: 2\n```",
            "```\n### src/shop/tax.py\n<<<<<<< SEARCH\n    return net * 0.2\n=======\n    \
             return net * 0.3\n>>>>>>> REPLACE\n```",
        ];
        let episodes = shop_episodes();
        assert_eq!(episodes.iter().map(Episode::kind).collect::<Vec<_>>(), StageKind::ALL);
        for (episode, right) in episodes.iter().zip(right) {
            let written = serde_json::to_string(episode).unwrap();
            assert!(!written.contains("0.3\\n>>>"), "the gold patch is no part of an episode");
            let read: Episode = serde_json::from_str(&written).unwrap();
            assert_eq!(&read, episode);
            let reward = |text, ended| read.reward(text, ended, &RewardOptions::PAPER).to_bits();
            assert_eq!(reward(right, Ended::ByItself), 1.0_f64.to_bits(), "{right}");
            assert_eq!(reward(right, Ended::CutOff), 0.0_f64.to_bits(), "{right}");
            assert_eq!(reward("no block", Ended::ByItself), 0.0_f64.to_bits());
        }
    }

    #[test]
    fn an_invented_item_costs_the_whole_reward() {
        let episodes = shop_episodes();
        let half = "```\nsrc/shop/tax.py\nsrc/shop/order.py\n```";
        let grades = episodes[0].grades(half, Ended::ByItself).unwrap();
        assert_eq!((grades[0].score.hits, grades[0].invented), (1, 1));
        let reward = episodes[0].reward(half, Ended::ByItself, &RewardOptions::PAPER);
        assert_eq!(reward.to_bits(), 0.0_f64.to_bits());
    }

    #[test]
    fn edits_can_be_compared_by_the_lines_that_they_touch() {
        let wrong = "```\n### src/shop/tax.py\n<<<<<<< SEARCH\n    return net * 0.2\n=======\n    \
                     return 0\n>>>>>>> REPLACE\n```";
        let mut episode = shop_episodes().pop().unwrap();
        let reward =
            |episode: &Episode| episode.reward(wrong, Ended::ByItself, &RewardOptions::PAPER);
        let by_content = reward(&episode);
        assert!(by_content < 1.0, "{by_content}");
        episode.compare_edits_in(EditItems::Lines);
        assert_eq!(reward(&episode).to_bits(), 1.0_f64.to_bits());
    }

    #[test]
    fn the_best_accepted_gold_patch_counts() {
        let context = context(SHOP, "x");
        let cart = "import os\n";
        let golds = [
            gold(&context, &[("src/shop/cart.py", cart), ("README.md", "x\n")]),
            gold(&context, &[("src/shop/tax.py", TAX)]),
        ];
        let truth = Truth { instance_id: "shop-1", golds: &golds, expect: Expect::InView };
        let stage = Profile::Small.stages().file;
        let episode = Episode::new(&stage, &context, &(), &truth, &EstimateTokens);
        let episode = episode.unwrap().unwrap();
        let answer = "```\nsrc/shop/tax.py\n```";
        let reward = episode.reward(answer, Ended::ByItself, &RewardOptions::PAPER);
        assert_eq!(reward.to_bits(), 1.0_f64.to_bits());
    }

    #[test]
    fn the_prompts_of_an_issue_begin_alike() {
        let episodes = shop_episodes();
        let until_material = |episode: &Episode| {
            let [system, user] = &episode.prompt.messages[..] else { panic!("two messages") };
            let issue = user.content.split("\n\n# ").next().unwrap_or_default();
            (system.content.clone(), issue.to_owned())
        };
        let first = until_material(&episodes[0]);
        assert!(first.1.ends_with("Tax must be 30 %."));
        assert!(episodes.iter().all(|episode| until_material(episode) == first));
    }

    #[test]
    fn a_patch_that_only_creates_files_has_no_localization() {
        let context = context(SHOP, "x");
        let golds = [gold(&context, &[("src/new.py", "x = 1\n")])];
        let truth = Truth { instance_id: "shop-1", golds: &golds, expect: Expect::InView };
        let found = episodes(&Profile::Small.stages(), &context, &truth, &EstimateTokens);
        assert_eq!((found.episodes.len(), found.left_out.len()), (0, 4));
    }
}
