//! What `sorft train rl` is asked, and what its defaults are.

use std::path::{Path, PathBuf};

use anyhow::{bail, ensure};
use clap::Args;

use crate::commands::engine::DEFAULT_MODEL;
use crate::commands::model::SourceArgs;
use crate::commands::output::Format;
use crate::commands::test_reward::TestRewardArgs;
use crate::commands::train::additions::AdditionsArgs;
use crate::commands::train::{parse_stage, positive, share};
use crate::stage::StageKind;
use crate::stage::edit::EditItems;
use crate::stage::score::{InventedRule, RewardOptions, RewardRule};
use crate::train::data::row::EpisodeRow;
use crate::train::decoder::weight::BasePrecision;
use crate::train::rl::options::{Algorithm, CriticKind, RlOptions, Whiten};
use crate::train::rows::read_rows;

/// Reinforce a model on episodes: its completions earn the stages' rewards (PPO, GRPO, RLOO)
///
/// A fresh adapter is trained on the model with the adapter that `--adapter` names, which is also
/// the reference; or, with `--full`, all of its weights. Completions are drawn freely by default, so
/// that the format is learnt, too. Killed at any moment, the same command goes on from the last
/// checkpoint, and ends with the same bytes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sorft train rl episodes.jsonl --model smollm2-135m --adapter tuned/adapter --out reinforced
  sorft train rl episodes.jsonl --algorithm grpo --stage file,function --max-prompt-tokens 900 \\
      --adapter tuned/adapter --out reinforced
  sorft train rl episodes.jsonl --model smollm2-135m --full --out all-weights
  sorft train rl episodes.jsonl --rule hit --adapter tuned/adapter --out longer-answers
  sorft report reinforced")]
pub struct RlArgs {
    /// Episodes, as `sorft train data` makes them
    #[arg(value_name = "EPISODES")]
    pub episodes: PathBuf,
    /// The folder of the run: checkpoints, metrics and, in the end, `adapter` (and `addition`, what
    /// of it is new)
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// The model: a short name, a GGUF file (unpacked to floats), or a folder with safetensors
    #[arg(long, value_name = "MODEL", default_value = DEFAULT_MODEL)]
    pub model: String,
    /// What the model has learnt so far, as `sorft train sft` leaves it
    #[arg(long, value_name = "DIR")]
    pub adapter: Option<PathBuf>,
    #[command(flatten)]
    pub source: SourceArgs,
    #[command(flatten)]
    pub data: RlDataArgs,
    #[command(flatten)]
    pub reward: RewardRuleArgs,
    #[command(flatten)]
    pub training: RlTrainingArgs,
    /// Seed of all random numbers
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Form of the result
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// Which episodes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Data")]
pub struct RlDataArgs {
    /// Only episodes of these stages
    #[arg(long, value_name = "STAGE", value_delimiter = ',', value_parser = parse_stage)]
    pub stage: Vec<StageKind>,
    /// At most so many episodes of each stage, drawn with the seed: stages with more of them would
    /// be learnt more
    #[arg(long, value_name = "N")]
    pub limit_per_stage: Option<usize>,
    /// Episodes with longer prompts are left out, and counted
    #[arg(long, value_name = "N", default_value_t = 2048)]
    pub max_prompt_tokens: usize,
    /// Tokens of a completion, where the stage allows more
    #[arg(long, value_name = "N")]
    pub max_answer_tokens: Option<usize>,
    /// Hold the completions to the grammar of valid answers: what it forces teaches nothing, and
    /// probabilities are those among what it allows
    #[arg(long)]
    pub constrained: bool,
    /// Held-out episodes of each stage whose greedy reward is told at every checkpoint
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub held_out: usize,
}

/// What a completion earns.
#[derive(Debug, Args)]
#[command(next_help_heading = "Reward")]
pub struct RewardRuleArgs {
    /// Which number the counts become
    #[arg(long, value_name = "RULE", value_parser = parse_rule, default_value = "f_beta")]
    pub rule: RewardRule,
    /// Weight of recall against precision
    #[arg(long, value_name = "BETA", default_value_t = 3.0, value_parser = positive)]
    pub beta: f64,
    /// What naming something that does not exist costs: `zero`, the whole reward, or `miss`
    #[arg(long, value_name = "RULE", value_parser = parse_invented, default_value = "zero")]
    pub invented: InventedRule,
    /// What edits are compared by: the text of changed lines, or `lines`, which of them are
    /// touched, where texts earn too little to learn from [default: as the episodes say, content]
    #[arg(long, value_name = "UNIT", value_parser = parse_edit_items)]
    pub edit_items: Option<EditItems>,
    #[command(flatten)]
    pub tests: TestRewardArgs,
}

/// How it is trained.
#[derive(Debug, Args)]
#[command(next_help_heading = "Training")]
pub struct RlTrainingArgs {
    /// How rewards become advantages
    #[arg(long, value_enum, default_value = "ppo")]
    pub algorithm: Algorithm,
    /// What tells the value of what is written so far (PPO) [default: shared]
    #[arg(long, value_enum)]
    pub critic: Option<CriticKind>,
    /// Over what advantages are whitened (PPO)
    #[arg(long, value_enum)]
    pub whiten: Option<Whiten>,
    /// PPO as in the paper, which is with `--full`: rates of 5e-7 and 9e-6, a critic of its own, 64
    /// prompts, 200 steps, λ 0.95, whitening over the batch and no steps of the critic alone; flags
    /// beside it count more
    #[arg(long)]
    pub paper: bool,
    /// Steps: completions, rewards, updates
    #[arg(long, value_name = "N")]
    pub steps: Option<usize>,
    /// Prompts of a step [default: 64 for PPO, else 8]
    #[arg(long, value_name = "N")]
    pub prompts: Option<usize>,
    /// Completions of each prompt [default: 1 for PPO, else 8]
    #[arg(long, value_name = "N")]
    pub samples: Option<usize>,
    /// Updates from a step's completions
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub passes: usize,
    /// Steps at the beginning in which the critic alone learns [default: 10]
    #[arg(long, value_name = "N")]
    pub critic_first: Option<usize>,
    /// The highest learning rate of the policy [default: 2e-5; with `--full` 5e-7]
    #[arg(long, value_name = "RATE", value_parser = positive)]
    pub rate: Option<f64>,
    /// The highest learning rate of the critic [default: 1e-4]
    #[arg(long, value_name = "RATE", value_parser = positive)]
    pub critic_rate: Option<f64>,
    /// The part of all steps in which rates rise; then they fall as a cosine to a tenth
    #[arg(long, value_name = "PART", default_value_t = 0.03, value_parser = share)]
    pub warm_up: f64,
    /// Gradients of a greater norm are cut to it
    #[arg(long, value_name = "NORM", default_value_t = 1.0, value_parser = positive)]
    pub max_norm: f64,
    /// What a nat of divergence from the model before costs
    #[arg(long, value_name = "COST", default_value_t = 0.01, value_parser = share)]
    pub kl: f64,
    /// How far a token's ratio may move the policy
    #[arg(long, value_name = "PART", default_value_t = 0.2, value_parser = positive)]
    pub clip: f64,
    /// How far a value may move from its old one
    #[arg(long, value_name = "DISTANCE", default_value_t = 0.2, value_parser = positive)]
    pub value_clip: f64,
    /// What later rewards count
    #[arg(long, value_name = "PART", default_value_t = 1.0, value_parser = share)]
    pub gamma: f64,
    /// How far advantages look ahead past the critic's word [default: 1]
    #[arg(long, value_name = "PART", value_parser = share)]
    pub lambda: Option<f64>,
    /// Train all weights, which takes up to 28 bytes a weight; the result is a model of its own
    #[arg(long, conflicts_with = "precision")]
    pub full: bool,
    #[command(flatten)]
    pub additions: AdditionsArgs,
    /// What the base's projections are kept in: `bf16` takes half the memory, and is faster on
    /// processors that multiply it (AVX-512 BF16)
    #[arg(long, value_enum, default_value = "f32")]
    pub precision: BasePrecision,
    /// Tokens that go through the network at once; fewer need less memory, but where a prompt and
    /// its completions are more, the prompt is computed again for the others
    /// [default: those of the longest prompt and 512, at least 1024]
    #[arg(long, value_name = "N")]
    pub pack_tokens: Option<usize>,
    /// Compute each layer a second time instead of keeping what its gradients need
    #[arg(long)]
    pub recompute: bool,
    /// Steps from one checkpoint to the next
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub save_every: usize,
}

fn parse_rule(text: &str) -> Result<RewardRule, String> {
    match text {
        "f_beta" => Ok(RewardRule::FBeta),
        "hit" => Ok(RewardRule::Hit),
        "exact" => Ok(RewardRule::Exact),
        "f1" => Ok(RewardRule::F1),
        _ => Err("wanted `f_beta`, `hit`, `exact` or `f1`".to_owned()),
    }
}

fn parse_edit_items(text: &str) -> Result<EditItems, String> {
    match text {
        "content" => Ok(EditItems::Content),
        "lines" => Ok(EditItems::Lines),
        _ => Err("wanted `content` or `lines`".to_owned()),
    }
}

fn parse_invented(text: &str) -> Result<InventedRule, String> {
    match text {
        "zero" => Ok(InventedRule::Zero),
        "miss" => Ok(InventedRule::Miss),
        _ => Err("wanted `zero` or `miss`".to_owned()),
    }
}

/// Tokens of a pack, where prompts are short.
const MIN_PACK_TOKENS: usize = 1024;
/// What the longest prompt leaves for its completions.
const ROOM_FOR_COMPLETIONS: usize = 512;

impl RlArgs {
    pub(super) fn options(&self) -> anyhow::Result<RlOptions> {
        let args = &self.training;
        let is_ppo = args.algorithm == Algorithm::Ppo;
        // The project's default, and the paper's.
        let pick = |ours: f64, paper: f64| if args.paper { paper } else { ours };
        let pick_n = |ours: usize, paper: usize| if args.paper { paper } else { ours };
        let whiten = if args.paper { Whiten::Batch } else { Whiten::Stage };
        let critic = if args.paper { CriticKind::Adapter } else { CriticKind::Shared };
        ensure!(
            is_ppo || !args.paper,
            "`--paper` is PPO as in the paper, and `--algorithm` asks for another"
        );
        let options = RlOptions {
            algorithm: args.algorithm,
            critic: args.critic.unwrap_or(critic),
            whiten: args.whiten.unwrap_or(whiten),
            prompts: args.prompts.unwrap_or(if is_ppo { 64 } else { 8 }),
            samples: args.samples.unwrap_or(if is_ppo { 1 } else { 8 }),
            steps: args.steps.unwrap_or(pick_n(100, 200)),
            passes: args.passes,
            critic_first: args.critic_first.unwrap_or(pick_n(10, 0)),
            // The paper's rate is for all weights.
            rate: args.rate.unwrap_or(if args.full { 5e-7 } else { pick(2e-5, 5e-7) }),
            critic_rate: args.critic_rate.unwrap_or(pick(1e-4, 9e-6)),
            warm_up: args.warm_up,
            max_norm: args.max_norm,
            kl: args.kl,
            clip: args.clip,
            value_clip: args.value_clip,
            gamma: args.gamma,
            lambda: args.lambda.unwrap_or(pick(1.0, 0.95)),
            full: args.full,
            additions: args.additions.additions(),
            precision: args.precision,
            pack_tokens: args.pack_tokens.unwrap_or(MIN_PACK_TOKENS),
            save_every: args.save_every,
            seed: self.seed,
        };
        let counts = [
            ("--steps", options.steps),
            ("--prompts", options.prompts),
            ("--samples", options.samples),
            ("--passes", options.passes),
            ("--rank", options.additions.rank),
            ("--save-every", options.save_every),
            ("--pack-tokens", options.pack_tokens),
            ("--limit-per-stage", self.data.limit_per_stage.unwrap_or(1)),
            ("--max-answer-tokens", self.data.max_answer_tokens.unwrap_or(1)),
        ];
        if let Some((flag, _)) = counts.iter().find(|(_, n)| *n == 0) {
            bail!("`{flag} 0` trains nothing");
        }
        let has_adapter = !options.full || (is_ppo && options.critic == CriticKind::Adapter);
        let of_adapters = [
            ("--alpha", args.additions.alpha.is_some()),
            ("--projections", !args.additions.projections.is_empty()),
        ];
        if let Some((flag, _)) = of_adapters.iter().find(|(_, is_given)| *is_given && !has_adapter)
        {
            bail!("`{flag}` is for an adapter, and with `--full` there is none");
        }
        ensure!(
            is_ppo || 1 < options.samples,
            "`--algorithm grpo` and `rloo` compare the completions of a prompt, and `--samples {}` leaves none to compare with",
            options.samples
        );
        ensure!(
            !is_ppo || options.critic_first < options.steps,
            "the critic alone learns in the first {} steps (`--critic-first`), and there are {} (`--steps`)",
            options.critic_first,
            options.steps
        );
        Ok(options)
    }

    /// The tokens of a pack, where the longest prompt has `longest` of them.
    pub(super) fn pack_tokens(&self, longest: usize) -> usize {
        let room = (longest + ROOM_FOR_COMPLETIONS).max(MIN_PACK_TOKENS);
        self.training.pack_tokens.unwrap_or(room)
    }
}

impl RewardRuleArgs {
    pub(crate) fn options(&self) -> RewardOptions {
        let Self { rule, beta, invented, .. } = *self;
        RewardOptions { rule, beta, invented }
    }

    /// Episodes, to be judged as these flags say.
    pub(crate) fn read(&self, path: &Path) -> anyhow::Result<Vec<EpisodeRow>> {
        let mut rows: Vec<EpisodeRow> = read_rows(path)?;
        if let Some(items) = self.edit_items {
            rows.iter_mut().for_each(|row| row.episode.compare_edits_in(items));
        }
        Ok(rows)
    }
}
