//! The work that a command asks of the pipeline: how much of it, and on what.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Args;
use serde_json::json;

use crate::commands::Outcome;
use crate::commands::interrupt::run_until_interrupted;
use crate::commands::output::{write_json, write_stdout};

use crate::commands::settings::Surroundings;
use crate::config::{Config, Effort as EffortChoice, Rerank};
use crate::index::Index;
use crate::index::retrieval::Ranking;
use crate::model::{Completion, EngineInfo, Generate, Request, Sampling, Usage, Variety};
use crate::pipeline::settings::{Effort, Settings};
use crate::prompt::template::Templates;
use crate::prompt::{Message, Prompt, Role};
use crate::stage::profile::{Profile, Stages};
use crate::stage::reproduction::TestWriter;
use crate::stage::{Context, Stage};

/// How a model is asked.
#[derive(Debug, Clone, Default, Args)]
pub struct SampleArgs {
    /// How many samples to draw [default: auto: `quick` on a CPU, else `normal`]
    #[arg(long, value_enum, help_heading = "Work")]
    pub effort: Option<EffortChoice>,
    /// Edits to sample for each location [default: what `--effort` says]
    #[arg(long, value_name = "N", value_parser = 1..=1000, help_heading = "Work")]
    pub samples: Option<i64>,
    /// Whether the model's likelihoods refine retrieval's ranking [default: off]
    #[arg(long, value_enum, help_heading = "Work")]
    pub rerank: Option<Rerank>,
    /// Seed of all random numbers [default: 0]
    #[arg(long, value_name = "N", help_heading = "Work")]
    pub seed: Option<u64>,
    /// Folder of prompt templates that replace the built-in ones
    #[arg(long, value_name = "DIR", help_heading = "Work")]
    pub prompts: Option<PathBuf>,
}

/// How much work, and where.
#[derive(Debug, Clone, Args)]
pub struct WorkArgs {
    #[command(flatten)]
    pub sampling: SampleArgs,
    /// Samples that must agree on a patch that no test has judged [default: 2]
    #[arg(long, value_name = "N", help_heading = "Work")]
    pub min_votes: Option<u32>,
    /// End with the best so far after so many seconds
    #[arg(long, value_name = "SECONDS", help_heading = "Work")]
    pub max_time: Option<u64>,
    /// Where the change belongs, as far as you know: PATH, PATH:SYMBOL or PATH:LINE; may be given
    /// several times
    #[arg(long = "in", value_name = "PATH[:SYMBOL|:LINE]", help_heading = "Work")]
    pub places: Vec<String>,
    /// Tell the tokens and the expected seconds, and end
    #[arg(long, help_heading = "Work")]
    pub plan: bool,
    /// Folder of the run; an unfinished run in it is resumed [default: a new one in the user's
    /// state folder]
    #[arg(long, value_name = "DIR", help_heading = "Work")]
    pub run_dir: Option<PathBuf>,
}

/// Everything that the pipeline needs besides an engine.
pub struct Work {
    pub settings: Settings,
    pub stages: Stages,
    pub writer: TestWriter,
    pub context: Context,
}

impl Work {
    pub fn new(
        surroundings: &Surroundings,
        sampling: &SampleArgs,
        engine: &dyn Generate,
        issue: String,
        (index, ranking): (Arc<Index>, Ranking),
    ) -> anyhow::Result<Self> {
        let info = engine.info();
        let config = surroundings.config();
        let templates = Arc::new(read_templates(config.prompts.as_deref())?);
        let profile = Profile::for_engine(&info.name, info.context_length, info.is_local_cpu);
        Ok(Self {
            settings: settings_of(config, sampling, info),
            stages: profile.stages(),
            writer: profile.test_writer(),
            context: Context { issue, index, ranking, templates },
        })
    }

    /// `--plan`: the most tokens that the run may take, and how long that is at the speed which
    /// a short trial of the engine shows.
    pub fn plan(&self, engine: &dyn Generate, as_json: bool) -> anyhow::Result<Outcome> {
        let Stages { file, function, line, edit } = &self.stages;
        let Settings { location_samples, edit_samples, reproduction_samples, .. } = self.settings;
        let rows = [
            ("files", file.budget.prompt_tokens, 1, 1, file.completion_tokens()),
            ("functions", function.budget.prompt_tokens, 1, 1, function.completion_tokens()),
            ("lines", line.budget.prompt_tokens, 1, location_samples, line.completion_tokens()),
            (
                "edits",
                edit.budget.prompt_tokens,
                location_samples,
                location_samples * edit_samples,
                edit.completion_tokens(),
            ),
            (
                "tests",
                self.writer.budget.prompt_tokens,
                usize::from(0 < reproduction_samples),
                reproduction_samples,
                self.writer.completion_tokens(),
            ),
        ];
        let prompt_tokens: usize = rows.iter().map(|(_, prompt, n, ..)| prompt * n).sum();
        let completion_tokens: usize = rows.iter().map(|(.., n, completion)| n * completion).sum();
        let trial = run_until_interrupted(try_speed(engine))?;
        let seconds = prompt_tokens as f64 * trial.seconds_per_prompt_token
            + completion_tokens as f64 * trial.seconds_per_completion_token;
        if as_json {
            write_json(&json!({
                "version": 1,
                "model": engine.info().name,
                "most_prompt_tokens": prompt_tokens,
                "most_completion_tokens": completion_tokens,
                "most_seconds": seconds,
            }))?;
            return Ok(Outcome::Done);
        }
        let mut text = format!("model {}\n", engine.info().name);
        for (stage, prompt, n_prompts, n_completions, completion) in rows {
            if n_prompts == 0 {
                continue;
            }
            text += &format!(
                "{stage:9}  {n_prompts} prompts of at most {prompt} tokens, {n_completions} answers of at most {completion}\n"
            );
        }
        text += &format!(
            "at most {prompt_tokens} prompt tokens and {completion_tokens} answer tokens: {seconds:.0} s one by one; samples of one prompt run together and end early, so expect less\n"
        );
        write_stdout(&text)?;
        Ok(Outcome::Done)
    }
}

/// How fast an engine is.
struct Speed {
    seconds_per_prompt_token: f64,
    seconds_per_completion_token: f64,
}

/// Two short requests of the same prompt, one answer token and many.
async fn try_speed(engine: &dyn Generate) -> anyhow::Result<Speed> {
    let content = "The quick brown fox jumps over the lazy dog. ".repeat(20);
    let prompt = Prompt { messages: vec![Message { role: Role::User, content }] };
    let request = |max_tokens| Request {
        prompt: prompt.clone(),
        sampling: Sampling {
            n: 1,
            temperature: 0.0,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            max_tokens,
            stop: Vec::new(),
            variety: Variety::Independent,
        },
        grammar: None,
        seed: 0,
        stage: "",
    };
    let began = Instant::now();
    let first = engine.generate(&request(1), &|_| {}).await?;
    let prompt_seconds = began.elapsed().as_secs_f64();
    let began = Instant::now();
    let second = engine.generate(&request(17), &|_| {}).await?;
    let completion_seconds = began.elapsed().as_secs_f64();
    let tokens = |completions: &[Completion], of: fn(&Usage) -> usize| -> f64 {
        completions.iter().map(|completion| of(&completion.usage)).sum::<usize>().max(1) as f64
    };
    Ok(Speed {
        seconds_per_prompt_token: prompt_seconds / tokens(&first, |usage| usage.prompt_tokens),
        seconds_per_completion_token: completion_seconds
            / tokens(&second, |usage| usage.completion_tokens),
    })
}

/// How long a run may take, if there is a limit.
pub fn max_time(config: &Config) -> Option<Duration> {
    (0 < config.max_time).then(|| Duration::from_secs(config.max_time))
}

/// How much work a run may do on this engine.
pub fn settings_of(config: &Config, sampling: &SampleArgs, engine: &EngineInfo) -> Settings {
    let effort = match config.effort {
        EffortChoice::Auto if engine.is_local_cpu => Effort::Quick,
        EffortChoice::Quick => Effort::Quick,
        EffortChoice::Auto | EffortChoice::Normal => Effort::Normal,
        EffortChoice::Max => Effort::Max,
    };
    let mut settings = Settings::preset(effort);
    settings.rerank = config.rerank == Rerank::Likelihood;
    settings.seed = config.seed;
    settings.min_votes = config.min_votes;
    if config.reproduce {
        settings.reproduction_samples = match config.reproduction_samples {
            0 => Settings::reproduction_preset(effort),
            n => n,
        };
    }
    if let Some(samples) = sampling.samples {
        settings.edit_samples = samples as usize;
    }
    settings
}

/// The prompt templates: the built-in ones, with those of the user's folder in their place.
pub fn read_templates(folder: Option<&Path>) -> anyhow::Result<Templates> {
    let mut replacements = BTreeMap::new();
    if let Some(folder) = folder {
        for name in Templates::names() {
            let path = folder.join(format!("{name}.jinja"));
            match std::fs::read_to_string(&path) {
                Ok(text) => drop(replacements.insert(name.to_owned(), text)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("reading `{}`", path.display()));
                }
            }
        }
        ensure!(
            !replacements.is_empty(),
            "`{}` holds no prompt template: {} were looked for",
            folder.display(),
            Templates::names().map(|name| format!("`{name}.jinja`")).collect::<Vec<_>>().join(", ")
        );
    }
    Ok(Templates::new(&replacements)?)
}
