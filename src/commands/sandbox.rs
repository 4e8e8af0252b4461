//! What sandboxes are made from: the configuration and this machine.

use anyhow::Context as _;

use crate::commands::settings::Surroundings;
use crate::config::Config;
use crate::sandbox::{Limits, Protection, Sandbox, SandboxOptions};

/// The options of a sandbox for the user's commands.
pub fn sandbox_options(surroundings: &Surroundings) -> anyhow::Result<SandboxOptions> {
    let config = surroundings.config();
    let helper = std::env::current_exe().context("finding the sorft program itself")?;
    let environment = surroundings.environment.all();
    Ok(SandboxOptions {
        helper,
        limits: sandbox_limits(config),
        environment: environment.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        extra_variables: config.sandbox_environment.clone(),
        extra_folders: config.sandbox_folders.clone(),
    })
}

/// What the user's commands may use at most.
pub fn sandbox_limits(config: &Config) -> Limits {
    Limits {
        seconds: config.sandbox_seconds,
        memory_bytes: config.sandbox_memory_mb << 20,
        processes: config.sandbox_processes,
        disk_bytes: config.sandbox_disk_mb << 20,
        output_bytes: config.sandbox_output_mb << 20,
    }
}

/// The strongest protection that works here; none where the user insists.
pub async fn open_sandbox(
    options: SandboxOptions,
    unsafe_no_sandbox: bool,
) -> anyhow::Result<Sandbox> {
    match unsafe_no_sandbox {
        true => Sandbox::with_protection(options, Protection::Unprotected).await,
        false => Sandbox::choose(options).await,
    }
}
