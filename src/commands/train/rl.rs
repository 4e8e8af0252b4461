//! `sorft train rl`: completions earn rewards, and good ones become likelier.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use serde::Serialize;
use serde_json::json;

use crate::commands::Outcome;
use crate::commands::engine::DEFAULT_MODEL;
use crate::commands::model::{SourceArgs, obtain_with_progress};
use crate::commands::output::{Format, escape_controls, note, write_json, write_stdout};
use crate::commands::train::{bar, parse_stage, positive, share};
use crate::instance::mined::Split;
use crate::model::catalog::ModelRef;
use crate::model::local::adapter::fingerprint;
use crate::model::local::engine::LocalEngine;
use crate::model::local::load::{LocalOptions, read_parts, weights_digest};
use crate::run::seed::request_hash;
use crate::search_replace::fence::Ended;
use crate::stage::StageKind;
use crate::stage::episode::Episode;
use crate::stage::score::{InventedRule, RewardOptions, RewardRule};
use crate::train::data::row::EpisodeRow;
use crate::train::decoder::{Activations, Adapter, Network};
use crate::train::folder::{ADAPTER, TrainFolder, read_log};
use crate::train::mine::evaluation::Evaluation;
use crate::train::resume::METRICS_FILE;
use crate::train::rl::Rl;
use crate::train::rl::actor::{Actor, Asked};
use crate::train::rl::metrics::{HeldOutStage, RlMetrics, RlTiming};
use crate::train::rl::options::{Algorithm, CriticKind, RlOptions, Whiten};
use crate::train::rows::read_rows;
use crate::train::scored::ScoredSample;
use crate::train::sft::sequences::order;

/// Reinforce a model on episodes: its completions earn the stages' rewards (PPO, GRPO, RLOO)
///
/// A fresh adapter is trained on the model with the adapter that `--adapter` names, which is also
/// the reference. Completions are drawn freely by default, so that the format is learnt, too. Killed
/// at any moment, the same command goes on from the last checkpoint, and ends with the same bytes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sorft train rl episodes.jsonl --model smollm2-135m --adapter tuned/adapter --out reinforced
  sorft train rl episodes.jsonl --algorithm grpo --stage file,function --max-prompt-tokens 900 \\
      --adapter tuned/adapter --out reinforced
  sorft train rl episodes.jsonl --rule hit --adapter tuned/adapter --out longer-answers
  sorft report reinforced")]
pub struct RlArgs {
    /// Episodes, as `sorft train data` makes them
    #[arg(value_name = "EPISODES")]
    pub episodes: PathBuf,
    /// The folder of the run: checkpoints, metrics and, in the end, `adapter`
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
    pub reward: RewardArgs,
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
pub struct RewardArgs {
    /// Which number the counts become
    #[arg(long, value_name = "RULE", value_parser = parse_rule, default_value = "f_beta")]
    pub rule: RewardRule,
    /// Weight of recall against precision
    #[arg(long, value_name = "BETA", default_value_t = 3.0, value_parser = positive)]
    pub beta: f64,
    /// What naming something that does not exist costs: `zero`, the whole reward, or `miss`
    #[arg(long, value_name = "RULE", value_parser = parse_invented, default_value = "zero")]
    pub invented: InventedRule,
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
    /// PPO as in the paper: rates of 5e-7 and 9e-6, a critic of its own, 64 prompts, 200 steps,
    /// λ 0.95, whitening over the batch and no steps of the critic alone; flags beside it count more
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
    /// The highest learning rate of the policy [default: 2e-5]
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
    /// Rank of the additions
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub rank: usize,
    /// Additions are scaled by alpha / rank [default: twice the rank]
    #[arg(long, value_name = "ALPHA", value_parser = positive)]
    pub alpha: Option<f64>,
    /// Tokens that go through the network at once; fewer need less memory
    #[arg(long, value_name = "N", default_value_t = 1024)]
    pub pack_tokens: usize,
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

fn parse_invented(text: &str) -> Result<InventedRule, String> {
    match text {
        "zero" => Ok(InventedRule::Zero),
        "miss" => Ok(InventedRule::Miss),
        _ => Err("wanted `zero` or `miss`".to_owned()),
    }
}

impl RlArgs {
    fn options(&self) -> anyhow::Result<RlOptions> {
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
            rate: args.rate.unwrap_or(pick(2e-5, 5e-7)),
            critic_rate: args.critic_rate.unwrap_or(pick(1e-4, 9e-6)),
            warm_up: args.warm_up,
            max_norm: args.max_norm,
            kl: args.kl,
            clip: args.clip,
            value_clip: args.value_clip,
            gamma: args.gamma,
            lambda: args.lambda.unwrap_or(pick(1.0, 0.95)),
            rank: args.rank,
            alpha: args.alpha.unwrap_or(2.0 * args.rank as f64),
            pack_tokens: args.pack_tokens,
            save_every: args.save_every,
            seed: self.seed,
        };
        let counts = [
            ("--steps", options.steps),
            ("--prompts", options.prompts),
            ("--samples", options.samples),
            ("--passes", options.passes),
            ("--rank", options.rank),
            ("--save-every", options.save_every),
            ("--pack-tokens", options.pack_tokens),
            ("--max-answer-tokens", self.data.max_answer_tokens.unwrap_or(1)),
        ];
        if let Some((flag, _)) = counts.iter().find(|(_, n)| *n == 0) {
            bail!("`{flag} 0` trains nothing");
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

    fn reward(&self) -> RewardOptions {
        let RewardArgs { rule, beta, invented } = self.reward;
        RewardOptions { rule, beta, invented }
    }
}

/// The version of a run's folder.
const VERSION: u32 = 1;

/// Runs `sorft train rl`.
pub fn rl(args: &RlArgs, quiet: bool) -> anyhow::Result<Outcome> {
    let options = args.options()?;
    let rows = read_rows::<EpisodeRow>(&args.episodes)?;
    let evaluation = Evaluation::default();
    for row in &rows {
        evaluation.refuse(&row.repo, &[])?;
    }
    let model = ModelRef::parse(&args.model)?;
    let found = obtain_with_progress(&model, &args.source.download_options()?, quiet)?;
    let context = || format!("loading the model `{model}`");
    let mut network = {
        let parts = read_parts(found.path()).with_context(context)?;
        Network::read(&parts.config, &parts.weights).with_context(context)?
    };
    ensure!(
        options.rank <= network.shape.hidden,
        "`--rank {}` is more than the {} numbers that `{model}` is wide",
        options.rank,
        network.shape.hidden
    );
    let before =
        args.adapter.as_deref().map(|folder| Adapter::read(folder, &network)).transpose()?;
    let engine = LocalEngine::load(
        found.path(),
        &LocalOptions { name: Some(model.to_string()), ..LocalOptions::default() },
    )
    .with_context(context)?;
    let Chosen { rows, asked, n_learnt } = choose(args, rows, &engine)?;
    let reward = args.reward();
    let asked_ids: Vec<(&Vec<u32>, usize)> =
        asked.iter().map(|asked| (&asked.ids, asked.max_tokens)).collect();
    let episodes: Vec<&Episode> = rows.iter().map(|row| &row.episode).collect();
    let what = json!({
        "model": model.to_string(),
        "weights": weights_digest(found.path()).with_context(context)?,
        "adapter": args.adapter.as_deref().map(fingerprint).transpose()?,
        "prompts": request_hash(&asked_ids)?,
        "episodes": request_hash(&episodes)?,
        "learnt": n_learnt,
        "constrained": args.data.constrained,
        "reward": reward,
        "options": options,
    });
    let folder = TrainFolder::open(&args.out, VERSION, &what)?;
    if let Some(before) = &before {
        network.merge(before);
    }
    let judge = |idx: usize, completion: String, ended: Ended| {
        ScoredSample::new(&rows[idx].episode, completion, ended, &reward)
    };
    let actor = Actor::new(engine, before, &judge)?;
    let base = model.to_string();
    let rl = Rl {
        network: &network,
        base: &base,
        actor: &actor,
        asked: &asked,
        n_learnt,
        options: &options,
    };
    let progress = bar(options.steps, "steps", quiet);
    let first = Cell::new(true);
    let events = |metrics: &RlMetrics, timing: &RlTiming| {
        progress.set_position(metrics.step as u64);
        if first.replace(false) {
            progress.reset_eta();
        }
        if let (false, Some(held_out)) = (quiet, &metrics.held_out) {
            let rewards = held_out
                .iter()
                .map(|(stage, judged)| format!("{} {:.3}", stage.name(), judged.reward));
            let rewards = rewards.collect::<Vec<_>>().join(", ");
            progress
                .suspend(|| note(&format!("step {}: held-out rewards: {rewards}", metrics.step)));
        }
        if let Some(overall) = &metrics.overall {
            let written = timing.written_tokens as f64 / timing.writing_seconds.max(1e-9);
            let learnt = timing.learnt_rows as f64 / timing.learning_seconds.max(1e-9);
            progress.set_message(format!(
                "reward {:.3}, wrote {written:.0} and learnt {learnt:.0} tokens/s",
                overall.reward
            ));
        }
    };
    let activations = match args.training.recompute {
        true => Activations::Recompute,
        false => Activations::Keep,
    };
    rl.run(&folder, activations, &events)?;
    progress.finish_and_clear();
    let result = Reinforced::read(args, &folder, n_learnt)?;
    match args.format {
        Format::Json => write_json(&result)?,
        Format::Text => write_stdout(&result.render())?,
    }
    Ok(Outcome::Done)
}

/// Episodes and their prompts, in one order: those that are learnt from come first.
struct Chosen {
    rows: Vec<EpisodeRow>,
    asked: Vec<Asked>,
    n_learnt: usize,
}

fn choose(args: &RlArgs, rows: Vec<EpisodeRow>, engine: &LocalEngine) -> anyhow::Result<Chosen> {
    let mut too_long: BTreeMap<StageKind, usize> = BTreeMap::new();
    let (mut learnt, mut held_out) = (Vec::new(), Vec::new());
    for row in rows {
        if !args.data.stage.is_empty() && !args.data.stage.contains(&row.stage) {
            continue;
        }
        let name = format!("{} {}", row.instance_id, row.stage.name());
        let ids = engine.encode(&row.episode.prompt).with_context(|| name.clone())?;
        let (max_tokens, _) = row.episode.completion_tokens();
        let max_tokens = max_tokens.min(args.data.max_answer_tokens.unwrap_or(max_tokens));
        if args.data.max_prompt_tokens < ids.len() || !engine.has_room(ids.len(), max_tokens) {
            *too_long.entry(row.stage).or_default() += 1;
            continue;
        }
        let (stage, prompt) = (row.stage, row.episode.prompt.clone());
        let grammar = args.data.constrained.then(|| row.episode.grammar());
        if let Some(grammar) = &grammar {
            // What cannot be answered is told now, not after hours.
            engine.allowed(grammar, max_tokens, &[]).with_context(|| {
                format!("{name}: no answer of {max_tokens} tokens\nhint: a greater `--max-answer-tokens`, or other `--stage`s")
            })?;
        }
        let asked = Asked { name, stage, prompt, ids, grammar, max_tokens };
        match row.split {
            Some(Split::Holdout) => held_out.push((row, asked)),
            _ => learnt.push((row, asked)),
        }
    }
    for (stage, n) in too_long {
        note(&format!(
            "{n} episodes of the {} stage have prompts of more than {} tokens and are left out (`--max-prompt-tokens`, the model's context)",
            stage.name(),
            args.data.max_prompt_tokens
        ));
    }
    ensure!(
        !learnt.is_empty(),
        "no episode of `{}` is left to learn from\nhint: `--stage`, `--max-prompt-tokens` and the episodes' `split` select",
        args.episodes.display()
    );
    let n_learnt = learnt.len();
    let mut of_stage: BTreeMap<StageKind, usize> = BTreeMap::new();
    for idx in order(held_out.len(), args.seed, usize::MAX) {
        let so_far = of_stage.entry(held_out[idx].1.stage).or_default();
        if *so_far < args.data.held_out {
            *so_far += 1;
            learnt.push(held_out[idx].clone());
        }
    }
    let (rows, asked) = learnt.into_iter().unzip();
    Ok(Chosen { rows, asked, n_learnt })
}

/// What a finished run says.
#[derive(Debug, Serialize)]
struct Reinforced {
    version: u32,
    steps: usize,
    prompts: usize,
    /// Mean rewards of the first and of the last tenth of the steps.
    reward: [f64; 2],
    /// Greedy rewards of held-out prompts before and after, by stage.
    held_out: BTreeMap<StageKind, [f64; 2]>,
    adapter: PathBuf,
}

impl Reinforced {
    fn read(args: &RlArgs, folder: &TrainFolder, n_learnt: usize) -> anyhow::Result<Self> {
        let metrics = read_log::<RlMetrics>(folder.path(), METRICS_FILE)?;
        let rewards: Vec<f64> =
            metrics.iter().filter_map(|m| Some(m.overall.as_ref()?.reward)).collect();
        let n = rewards.len().div_ceil(10);
        let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len().max(1) as f64;
        let mut judged = metrics.iter().filter_map(|metrics| metrics.held_out.as_ref());
        let first = judged.next().cloned().unwrap_or_default();
        let last = judged.next_back().cloned().unwrap_or_default();
        let both = |(stage, first): (StageKind, HeldOutStage)| {
            Some((stage, [first.reward, last.get(&stage)?.reward]))
        };
        let held_out = first.into_iter().filter_map(both);
        Ok(Self {
            version: VERSION,
            steps: rewards.len(),
            prompts: n_learnt,
            reward: [mean(&rewards[..n]), mean(&rewards[rewards.len() - n..])],
            held_out: held_out.collect(),
            adapter: args.out.join(ADAPTER),
        })
    }

    fn render(&self) -> String {
        let [first, last] = self.reward;
        let mut text = format!(
            "{} steps over {} prompts\nmean reward of the first tenth of the steps {first:.3}, of the last {last:.3}\n",
            self.steps, self.prompts
        );
        for (stage, [before, after]) in &self.held_out {
            let _ = writeln!(
                text,
                "held-out, greedy, {} stage: {before:.3} before, {after:.3} after",
                stage.name()
            );
        }
        text + &format!("adapter: {}\n", escape_controls(&self.adapter.display().to_string()))
    }
}
