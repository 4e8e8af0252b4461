//! `sorft train sft`: learning the answers of kept chats.

use std::cell::Cell;
use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use serde::Serialize;
use serde_json::json;

use crate::commands::Outcome;
use crate::commands::engine::DEFAULT_MODEL;
use crate::commands::model::{SourceArgs, obtain_with_progress};
use crate::commands::output::{Format, note, write_json, write_stdout};
use crate::commands::progress::bar;
use crate::commands::train::additions::AdditionsArgs;
use crate::commands::train::made::Made;
use crate::commands::train::{parse_stage, positive, share};
use crate::instance::mined::Split;
use crate::model::catalog::ModelRef;
use crate::model::local::load::{read_parts, weights_digest};
use crate::run::seed::request_hash;
use crate::stage::StageKind;
use crate::train::decoder::weight::BasePrecision;
use crate::train::decoder::{Activations, Network};
use crate::train::draw::of_each_stage;
use crate::train::folder::TrainFolder;
use crate::train::mine::evaluation::Evaluation;
use crate::train::rows::read_rows;
use crate::train::sample::row::SftRow;
use crate::train::sft::metrics::{StepMetrics, StepTiming};
use crate::train::sft::sequences::{Sequence, Sequences};
use crate::train::sft::{Best, Sft, SftOptions, SftState};

/// Tune a model on kept chats: low-rank additions to its projections (LoRA), or all of it
///
/// Only the answers are learnt. Killed at any moment, the same command goes on from the last
/// checkpoint, and ends with the same bytes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sorft train sft sft.jsonl --model smollm2-135m --out tuned
  sorft train sft sft.jsonl --model qwen2.5-coder-0.5b --out tuned --epochs 1 --max-tokens 1024
  sorft train sft sft.jsonl --model smollm2-135m --full --out tuned
  sorft fix . --issue issue.md --model smollm2-135m --adapter tuned/adapter")]
pub struct SftArgs {
    /// Chats, as `sorft train sample` keeps them
    #[arg(value_name = "CHATS")]
    pub chats: PathBuf,
    /// The folder of the run: checkpoints, metrics and, in the end, `adapter` (or `model`)
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// The model: a short name, a GGUF file (unpacked to floats), or a folder with safetensors
    #[arg(long, value_name = "MODEL", default_value = DEFAULT_MODEL)]
    pub model: String,
    #[command(flatten)]
    pub source: SourceArgs,
    /// Only chats of these stages
    #[arg(long, value_name = "STAGE", value_delimiter = ',', value_parser = parse_stage, help_heading = "Data")]
    pub stage: Vec<StageKind>,
    /// At most so many chats of each stage, drawn with the seed
    #[arg(long, value_name = "N", help_heading = "Data")]
    pub limit_per_stage: Option<usize>,
    /// Chats with more tokens are left out, and counted
    #[arg(long, value_name = "N", default_value_t = 2048, help_heading = "Data")]
    pub max_tokens: usize,
    /// Held-out chats of each stage whose loss chooses the checkpoint; 0: the last one is taken
    #[arg(long, value_name = "N", default_value_t = 16, help_heading = "Data")]
    pub held_out: usize,
    /// Passes over the chats
    #[arg(long, value_name = "N", default_value_t = 2, help_heading = "Training")]
    pub epochs: usize,
    /// Updates at the most
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub max_steps: Option<usize>,
    /// Chats in an update
    #[arg(long, value_name = "N", default_value_t = 16, help_heading = "Training")]
    pub batch: usize,
    /// The highest learning rate [default: 2e-4; with `--full` 1e-5]
    #[arg(long, value_name = "RATE", value_parser = positive, help_heading = "Training")]
    pub rate: Option<f64>,
    /// The part of all updates in which the rate rises to its height; then it falls as a cosine
    #[arg(long, value_name = "PART", default_value_t = 0.03, value_parser = share, help_heading = "Training")]
    pub warm_up: f64,
    /// How fast weights decay
    #[arg(long, value_name = "RATE", default_value_t = 0.0, value_parser = share, help_heading = "Training")]
    pub weight_decay: f64,
    /// Gradients of a greater norm are cut to it
    #[arg(long, value_name = "NORM", default_value_t = 1.0, value_parser = positive, help_heading = "Training")]
    pub max_norm: f64,
    /// Tune all weights, which takes 20 bytes a weight; the result is a model of its own
    #[arg(long, conflicts_with_all = ["rank", "alpha", "projections", "precision"], help_heading = "Training")]
    pub full: bool,
    #[command(flatten)]
    pub additions: AdditionsArgs,
    /// What the base's projections are kept in: `bf16` takes half the memory, and is faster on
    /// processors that multiply it (AVX-512 BF16)
    #[arg(long, value_enum, default_value = "f32", help_heading = "Training")]
    pub precision: BasePrecision,
    /// Tokens that go through the network at once; fewer need less memory
    #[arg(long, value_name = "N", default_value_t = 1024, help_heading = "Training")]
    pub pack_tokens: usize,
    /// Compute each layer a second time instead of keeping what its gradients need: a third more
    /// time, and far less memory
    #[arg(long, help_heading = "Training")]
    pub recompute: bool,
    /// Updates from one checkpoint to the next
    #[arg(long, value_name = "N", default_value_t = 10, help_heading = "Training")]
    pub save_every: usize,
    /// Seed of all random numbers
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Form of the result
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// The version of a run's folder.
const VERSION: u32 = 1;

/// Runs `sorft train sft`.
pub fn sft(args: &SftArgs, quiet: bool) -> anyhow::Result<Outcome> {
    let counts = [
        ("--epochs", args.epochs),
        ("--batch", args.batch),
        ("--rank", args.additions.rank),
        ("--save-every", args.save_every),
        ("--pack-tokens", args.pack_tokens),
        ("--max-steps", args.max_steps.unwrap_or(1)),
    ];
    if let Some((flag, _)) = counts.iter().find(|(_, n)| *n == 0) {
        bail!("`{flag} 0` trains nothing");
    }
    let rows = chosen_rows(args)?;
    let model = ModelRef::parse(&args.model)?;
    let found = obtain_with_progress(&model, &args.source.download_options()?, quiet)?;
    let context = || format!("loading the model `{model}`");
    let parts = read_parts(found.path()).with_context(context)?;
    ensure!(
        args.additions.rank <= parts.config.hidden,
        "`--rank {}` is more than the {} numbers that `{model}` is wide",
        args.additions.rank,
        parts.config.hidden
    );
    let max_tokens = args.max_tokens.min(parts.config.context_length);
    let encode = |split| -> anyhow::Result<Sequences> {
        let of_split =
            |row: &&SftRow| (row.split == Some(Split::Holdout)) == (split == Split::Holdout);
        let rows: Vec<SftRow> = rows.iter().filter(of_split).cloned().collect();
        Sequences::encode(&rows, &parts.tokenizer, &parts.template, max_tokens)
    };
    let (learnt, held_out) = (encode(Split::Train)?, encode(Split::Holdout)?);
    for (part, sequences) in [("", &learnt), ("held-out ", &held_out)] {
        for (stage, n) in &sequences.too_long {
            note(&format!(
                "{n} {part}chats of the {} stage have more than {max_tokens} tokens and are left out (`--max-tokens`, the model's context)",
                stage.name()
            ));
        }
    }
    let drawn = |sequences, n| of_each_stage(sequences, n, args.seed, |one: &Sequence| one.stage);
    let sequences = drawn(learnt.kept, args.limit_per_stage.unwrap_or(usize::MAX));
    let held_out = drawn(held_out.kept, args.held_out);
    ensure!(
        !sequences.is_empty(),
        "no chat of `{}` is left to learn\nhint: `--stage`, `--limit-per-stage`, `--max-tokens` and the chats' `split` select",
        args.chats.display()
    );
    let options = SftOptions {
        epochs: args.epochs,
        max_steps: args.max_steps,
        batch: args.batch,
        rate: args.rate.unwrap_or(if args.full { 1e-5 } else { 2e-4 }),
        warm_up: args.warm_up,
        weight_decay: args.weight_decay,
        max_norm: args.max_norm,
        additions: (!args.full).then(|| args.additions.additions()),
        precision: args.precision,
        pack_tokens: args.pack_tokens,
        save_every: args.save_every,
        seed: args.seed,
    };
    let ids = |sequences: &[Sequence]| {
        let ids: Vec<&Vec<u32>> = sequences.iter().map(|sequence| &sequence.ids).collect();
        request_hash(&ids)
    };
    let asked = json!({
        "model": model.to_string(),
        "weights": weights_digest(found.path()).with_context(context)?,
        "chats": ids(&sequences)?,
        "held_out": ids(&held_out)?,
        "options": options,
    });
    let folder = TrainFolder::open(&args.out, VERSION, &asked)?;
    let mut network = Network::read(&parts.config, &parts.weights).with_context(context)?;
    network.keep_projections_in(args.precision);
    let base = model.to_string();
    let sft = Sft {
        network: &network,
        base: &base,
        path: found.path(),
        sequences: &sequences,
        held_out: &held_out,
        options: &options,
    };
    let progress = bar(sft.n_steps(), "steps", quiet);
    let first = Cell::new(true);
    let events = |metrics: &StepMetrics, timing: &StepTiming| {
        if first.replace(false) {
            progress.set_position(metrics.step as u64);
            progress.reset_eta();
        }
        progress.set_position(metrics.step as u64);
        if !quiet && let Some(held_out) = &metrics.held_out {
            progress.suspend(|| {
                note(&format!("step {}: held-out loss {:.4}", metrics.step, held_out.loss));
            });
        }
        if let Some(loss) = metrics.loss {
            let speed = timing.tokens as f64 / timing.seconds.max(1e-9);
            progress.set_message(format!("loss {loss:.3}, {speed:.0} tokens/s"));
        }
    };
    let activations = if args.recompute { Activations::Recompute } else { Activations::Keep };
    let state = sft.run(&folder, activations, &events)?;
    progress.finish_and_clear();
    let result = Trained::new(args, &sft, &state);
    match args.format {
        Format::Json => write_json(&result)?,
        Format::Text => write_stdout(&result.render())?,
    }
    Ok(Outcome::Done)
}

/// The chats that are asked for; none of an evaluation's repository.
fn chosen_rows(args: &SftArgs) -> anyhow::Result<Vec<SftRow>> {
    let mut rows: Vec<SftRow> = read_rows(&args.chats)?;
    let evaluation = Evaluation::default();
    for row in &rows {
        evaluation.refuse(&row.repo, &[])?;
    }
    rows.retain(|row| args.stage.is_empty() || args.stage.contains(&row.stage));
    Ok(rows)
}

/// What a finished run says.
#[derive(Debug, Serialize)]
struct Trained {
    version: u32,
    steps: usize,
    chats: usize,
    /// Tokens of one pass over the chats, and those of them that are learnt.
    tokens: usize,
    learnt_tokens: usize,
    held_out_chats: usize,
    best: Option<Best>,
    #[serde(flatten)]
    made: Made,
}

impl Trained {
    fn new(args: &SftArgs, sft: &Sft<'_>, state: &SftState) -> Self {
        Self {
            version: VERSION,
            steps: state.step,
            chats: sft.sequences.len(),
            tokens: sft.sequences.iter().map(|sequence| sequence.ids.len()).sum(),
            learnt_tokens: sft.sequences.iter().map(Sequence::n_learnt).sum(),
            held_out_chats: sft.held_out.len(),
            best: state.best,
            made: Made::of(&args.out, args.full),
        }
    }

    fn render(&self) -> String {
        let best = match self.best {
            Some(best) => format!(
                "held-out loss {:.4} at step {}, the lowest, over {} chats",
                best.loss, best.step, self.held_out_chats
            ),
            None => "no held-out chats; the last step is taken".to_owned(),
        };
        format!(
            "{} steps over {} chats ({} tokens, {} of them learnt)\n{best}\n{}",
            self.steps,
            self.chats,
            self.tokens,
            self.learnt_tokens,
            self.made.line()
        )
    }
}
