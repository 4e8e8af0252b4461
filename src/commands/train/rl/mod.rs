//! `sorft train rl`: completions earn rewards, and good ones become likelier.

pub mod args;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context as _, ensure};
use serde::Serialize;
use serde_json::json;

use crate::commands::Outcome;
use crate::commands::model::obtain_with_progress;
use crate::commands::output::{Format, note, write_json, write_stdout};
use crate::commands::progress::bar;
use crate::commands::train::made::Made;
use crate::commands::train::rl::args::RlArgs;
use crate::instance::mined::Split;
use crate::model::catalog::ModelRef;
use crate::model::local::adapter::AdapterSource;
use crate::model::local::engine::LocalEngine;
use crate::model::local::load::{LocalOptions, read_parts, weights_digest};
use crate::run::seed::request_hash;
use crate::search_replace::fence::Ended;
use crate::stage::StageKind;
use crate::stage::episode::Episode;
use crate::train::data::row::EpisodeRow;
use crate::train::decoder::{Activations, Adapter, Network};
use crate::train::draw::of_each_stage;
use crate::train::folder::{BEST, TrainFolder, read_log};
use crate::train::mine::evaluation::Evaluation;
use crate::train::resume::METRICS_FILE;
use crate::train::rl::actor::{Actor, Asked};
use crate::train::rl::metrics::{HeldOutStage, RlMetrics, RlTiming};
use crate::train::rl::{Rl, RlState};
use crate::train::scored::ScoredSample;

/// The version of a run's folder.
const VERSION: u32 = 1;

/// Runs `sorft train rl`.
pub fn rl(args: &RlArgs, quiet: bool) -> anyhow::Result<Outcome> {
    let mut options = args.options()?;
    let rows = args.reward.read(&args.episodes)?;
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
        options.additions.rank <= network.shape.hidden,
        "`--rank {}` is more than the {} numbers that `{model}` is wide",
        options.additions.rank,
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
    let longest = asked.iter().map(|asked| asked.ids.len()).max().unwrap_or(0);
    options.pack_tokens = args.pack_tokens(longest);
    let reward = args.reward.options();
    let asked_ids: Vec<(&Vec<u32>, usize)> =
        asked.iter().map(|asked| (&asked.ids, asked.max_tokens)).collect();
    let episodes: Vec<&Episode> = rows.iter().map(|row| &row.episode).collect();
    let tests = args.reward.tests.open(&rows, quiet)?;
    let adapter_source = args.adapter.as_deref().map(AdapterSource::from);
    let mut what = json!({
        "model": model.to_string(),
        "weights": weights_digest(found.path()).with_context(context)?,
        "adapter": adapter_source.map(|source| source.fingerprint()).transpose()?,
        "prompts": request_hash(&asked_ids)?,
        "episodes": request_hash(&episodes)?,
        "learnt": n_learnt,
        "constrained": args.data.constrained,
        "reward": reward,
        "options": options,
    });
    if let (Some(tests), Some(what)) = (&tests, what.as_object_mut()) {
        what.insert("tests".to_owned(), tests.fingerprint()?.into());
    }
    let folder = TrainFolder::open(&args.out, VERSION, &what)?;
    if let Some(before) = &before {
        network.merge(before);
    }
    network.keep_projections_in(options.precision);
    let judge = |idx: usize, completion: String, ended: Ended| {
        let episode = &rows[idx].episode;
        let judged = ScoredSample::new(episode, completion, ended, &reward);
        match &tests {
            Some(tests) => judged.tested(episode, tests),
            None => Ok(judged),
        }
    };
    let actor = Actor::new(engine, before, &judge)?;
    let base = model.to_string();
    let rl = Rl {
        network: &network,
        base: &base,
        path: found.path(),
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
    let state = rl.run(&folder, activations, &events)?;
    progress.finish_and_clear();
    let result = Reinforced::read(args, &folder, (n_learnt, state))?;
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
    let drawn = |all, n| of_each_stage(all, n, args.seed, |(row, _): &(EpisodeRow, _)| row.stage);
    let mut all = drawn(learnt, args.data.limit_per_stage.unwrap_or(usize::MAX));
    let n_learnt = all.len();
    all.extend(drawn(held_out, args.data.held_out));
    let (rows, asked) = all.into_iter().unzip();
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
    #[serde(flatten)]
    made: Made,
    /// What the checkpoint of the highest held-out reward was, if it is not the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    best: Option<BestMade>,
}

#[derive(Debug, Serialize)]
struct BestMade {
    step: usize,
    /// The mean of the stages' held-out rewards.
    reward: f64,
    #[serde(flatten)]
    made: Made,
}

impl Reinforced {
    fn read(
        args: &RlArgs,
        folder: &TrainFolder,
        (n_learnt, state): (usize, RlState),
    ) -> anyhow::Result<Self> {
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
            made: Made::of(&args.out, args.training.full),
            best: state.best.filter(|best| best.step != state.step).map(|best| BestMade {
                step: best.step,
                reward: best.reward,
                made: Made::of(&args.out.join(BEST), args.training.full),
            }),
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
        text += &self.made.line();
        if let Some(BestMade { step, reward, made }) = &self.best {
            let _ = write!(
                text,
                "held-out rewards were highest at step {step} ({reward:.3}, all stages together): {}",
                made.line()
            );
        }
        text
    }
}
