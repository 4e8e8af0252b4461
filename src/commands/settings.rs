//! Flags, environment and configuration files, resolved into what a run does.

use std::path::Path;

use crate::commands::engine::EngineArgs;
use crate::commands::work::{SampleArgs, WorkArgs};
use crate::config::environment::Environment;
use crate::config::folder::Folders;
use crate::config::key::NO_ADAPTER;
use crate::config::{Config, Effort as EffortChoice, Flags, Rerank, Resolved, resolve};

/// The surroundings of a command.
pub struct Surroundings {
    pub environment: Environment,
    pub folders: Folders,
    pub resolved: Resolved,
}

impl Surroundings {
    /// Reads the environment and the configuration that counts for a repository.
    pub fn read(repository: Option<&Path>, flags: &Flags) -> anyhow::Result<Self> {
        let environment = Environment::read();
        let folders = Folders::find()?;
        let resolved = resolve(repository, &environment, &folders, flags)?;
        Ok(Self { environment, folders, resolved })
    }

    /// The folder of what can be made again.
    pub fn cache(&self) -> &Path {
        self.config().cache_dir.as_ref().unwrap_or(&self.folders.cache)
    }

    pub fn config(&self) -> &Config {
        &self.resolved.config
    }
}

/// The flags of an engine that set configuration keys.
pub fn engine_flags(engine: &EngineArgs) -> Flags {
    let folder = engine.adapter.as_ref().map(|path| path.display().to_string());
    let adapter = engine.no_adapter.then(|| NO_ADAPTER.to_owned()).or(folder);
    engine
        .cpu
        .set_keys(Flags::default())
        .set("model", engine.model.clone())
        .set("adapter", adapter)
        .set("endpoint", (!engine.endpoint.is_empty()).then(|| engine.endpoint.clone()))
}

/// The same with those of its sampling.
pub fn flags_of(engine: &EngineArgs, sampling: &SampleArgs) -> Flags {
    let text = |path: &std::path::PathBuf| path.display().to_string();
    engine_flags(engine)
        .set("effort", sampling.effort.map(effort_name))
        .set("rerank", sampling.rerank.map(rerank_name))
        .set("seed", sampling.seed)
        .set("prompts", sampling.prompts.as_ref().map(text))
}

/// The same with those of the work.
pub fn work_flags(engine: &EngineArgs, work: &WorkArgs) -> Flags {
    flags_of(engine, &work.sampling)
        .set("min_votes", work.min_votes)
        .set("max_time", work.max_time)
        .set("run_dir", work.run_dir.as_ref().map(|path| path.display().to_string()))
}

fn rerank_name(rerank: Rerank) -> &'static str {
    match rerank {
        Rerank::Off => "off",
        Rerank::Likelihood => "likelihood",
    }
}

fn effort_name(effort: EffortChoice) -> &'static str {
    match effort {
        EffortChoice::Auto => "auto",
        EffortChoice::Quick => "quick",
        EffortChoice::Normal => "normal",
        EffortChoice::Max => "max",
    }
}
