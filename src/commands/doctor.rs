//! `sorft doctor`: what sorft finds on this machine, and what it would do with it.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use serde::Serialize;

use crate::commands::Outcome;
use crate::commands::engine::device_choice;
use crate::commands::model::SourceArgs;
use crate::commands::output::{Format, escape_controls, write_json, write_stdout};
use crate::commands::sandbox::sandbox_limits;
use crate::config::environment::Environment;
use crate::config::folder::Folders;
use crate::config::{Config, Flags, resolve};
use crate::model::catalog::CATALOG;
use crate::model::download::cached_path;
use crate::model::local::gpu::choice::{Chosen, DeviceChoice};
use crate::repo::git;
use crate::sandbox::proposal::propose_commands;
use crate::sandbox::{Sandbox, SandboxOptions};

/// Tell what is found: models, processor, git, Python, sandbox, folders, test commands
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sorft doctor
  sorft doctor ~/code/project --format json")]
pub struct DoctorArgs {
    /// Folder with the code
    #[arg(default_value = ".")]
    repo: PathBuf,
    #[command(flatten)]
    source: SourceArgs,
    /// Form of the result
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    topic: &'static str,
    state: State,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Good,
    /// Something works less well, or not at all.
    Missing,
    /// Neither good nor bad.
    Fact,
}

pub fn doctor(args: &DoctorArgs) -> anyhow::Result<Outcome> {
    let environment = Environment::read();
    let folders = Folders::find()?;
    let resolved = resolve(Some(&args.repo), &environment, &folders, &Flags::default());
    let config = resolved.as_ref().map_or_else(|_| Config::default(), |found| found.config.clone());
    let mut findings = vec![processor(), device(&config), memory()];
    findings.extend(models(&args.source)?);
    findings.push(match resolved {
        Ok(resolved) if resolved.notes.is_empty() => fact("configuration", "in order".to_owned()),
        Ok(resolved) => fact("configuration", resolved.notes.join("; ")),
        Err(error) => missing("configuration", format!("{error:#}"), "mend the file"),
    });
    findings.push(repository(&args.repo));
    findings.push(program(&environment, "git", "sorft reads repositories without it"));
    findings.push(program(&environment, "python3", "needed to get models from Python packages"));
    findings.extend(sandboxes(&environment, &config)?);
    findings.push(folder("cache", config.cache_dir.as_deref().unwrap_or(&folders.cache)));
    findings.push(folder("state", &folders.state));
    findings.push(fact("settings", folders.config.display().to_string()));
    findings.extend(test_commands(&args.repo, &config));
    match args.format {
        Format::Json => {
            write_json(&serde_json::json!({"version": 1, "findings": findings}))?;
        }
        Format::Text => write_stdout(&render_findings(&findings))?,
    }
    Ok(Outcome::Done)
}

fn render_findings(findings: &[Finding]) -> String {
    let render = |finding: &Finding| {
        let mark = match finding.state {
            State::Good => "ok",
            State::Missing => "--",
            State::Fact => "  ",
        };
        let found = escape_controls(&finding.found);
        let hint = finding.hint.as_ref();
        let hint = hint.map_or(String::new(), |hint| format!("{:17} hint: {hint}\n", ""));
        format!("{mark} {:<14} {found}\n{hint}", finding.topic)
    };
    findings.iter().map(render).collect::<Vec<_>>().concat()
}

fn good(topic: &'static str, found: String) -> Finding {
    Finding { topic, state: State::Good, found, hint: None }
}

fn fact(topic: &'static str, found: String) -> Finding {
    Finding { topic, state: State::Fact, found, hint: None }
}

fn missing(topic: &'static str, found: String, hint: &str) -> Finding {
    Finding { topic, state: State::Missing, found, hint: Some(hint.to_owned()) }
}

/// What an error says, with its hint.
fn unusable(topic: &'static str, error: &anyhow::Error) -> Finding {
    let found = format!("{error:#}").replace("\nhint:", &format!("\n{:17} hint:", ""));
    Finding { topic, state: State::Missing, found, hint: None }
}

fn processor() -> Finding {
    let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let features = processor_features();
    let found = format!("{count} × {} ({features})", std::env::consts::ARCH);
    if cfg!(target_arch = "x86_64") && !features.contains("avx2") {
        return missing("processor", found, "without AVX2 a local model is many times slower");
    }
    good("processor", found)
}

#[cfg(target_arch = "x86_64")]
fn processor_features() -> String {
    let features = [
        ("avx2", is_x86_feature_detected!("avx2")),
        ("fma", is_x86_feature_detected!("fma")),
        ("f16c", is_x86_feature_detected!("f16c")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
        ("avx512vnni", is_x86_feature_detected!("avx512vnni")),
    ];
    let found: Vec<&str> =
        features.iter().filter(|(_, is_found)| *is_found).map(|(name, _)| *name).collect();
    if found.is_empty() { "no vector extensions".to_owned() } else { found.join(" ") }
}

#[cfg(not(target_arch = "x86_64"))]
fn processor_features() -> String {
    "vector extensions of the architecture".to_owned()
}

fn device(config: &Config) -> Finding {
    match device_choice(config).map(|choice| (choice, choice.find())) {
        Ok((DeviceChoice::Auto, Ok(Chosen::Cpu))) => {
            fact("device", DeviceChoice::why_cpu().to_owned())
        }
        Ok((_, Ok(Chosen::Cpu))) => fact("device", Chosen::Cpu.to_string()),
        Ok((_, Ok(gpu))) => good("device", gpu.to_string()),
        Ok((_, Err(error))) | Err(error) => unusable("device", &error),
    }
}

fn memory() -> Finding {
    let available = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("MemAvailable:"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    });
    match available {
        Some(kib) if kib < 2 << 20 => missing(
            "memory",
            format!("{} MiB available", kib >> 10),
            "the default model needs about 1 GiB",
        ),
        Some(kib) => good("memory", format!("{} MiB available", kib >> 10)),
        None => fact("memory", "not known on this system".to_owned()),
    }
}

fn models(source: &SourceArgs) -> anyhow::Result<Vec<Finding>> {
    let options = source.download_options()?;
    let here: Vec<&str> = CATALOG
        .iter()
        .filter(|entry| cached_path(entry, &options.models_dir).exists())
        .map(|entry| entry.alias)
        .collect();
    let finding = if here.is_empty() {
        missing(
            "models",
            format!("none in `{}`", options.models_dir.display()),
            "the first run gets one, or run `sorft model pull`",
        )
    } else {
        good("models", format!("{} in `{}`", here.join(", "), options.models_dir.display()))
    };
    Ok(vec![finding])
}

fn repository(root: &Path) -> Finding {
    match git::open(root) {
        Ok(Some(git)) if git.is_bare => fact("repository", "git, without a work tree".to_owned()),
        Ok(Some(git)) if git.prefix.is_empty() => good("repository", "git".to_owned()),
        Ok(Some(git)) => fact("repository", format!("git, in its folder `{}`", git.prefix)),
        Ok(None) => fact("repository", "a plain folder (no `--branch`, no revisions)".to_owned()),
        Err(error) => unusable("repository", &error),
    }
}

fn program(environment: &Environment, name: &'static str, without: &str) -> Finding {
    let path = environment.get("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(path).map(|folder| folder.join(name)).find(|path| path.is_file());
    match found {
        Some(path) => good(name, path.display().to_string()),
        None => missing(name, "not found on `PATH`".to_owned(), without),
    }
}

/// Which protections work here; the first of them is taken.
fn sandboxes(environment: &Environment, config: &Config) -> anyhow::Result<Vec<Finding>> {
    let options = SandboxOptions {
        helper: std::env::current_exe().context("finding the program's own file")?,
        limits: sandbox_limits(config),
        environment: environment
            .all()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        extra_variables: Vec::new(),
        extra_folders: Vec::new(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let probes = runtime.block_on(Sandbox::probe(&options));
    let mut findings = Vec::new();
    let is_any = probes.iter().any(|probe| probe.outcome.is_ok());
    for probe in probes {
        findings.push(match probe.outcome {
            Ok(()) => good("sandbox", format!("{} works", probe.protection)),
            Err(why) if is_any => fact(
                "sandbox",
                format!("{} does not work here, and is not needed: {why}", probe.protection),
            ),
            Err(why) => missing(
                "sandbox",
                format!("{} does not work here: {why}", probe.protection),
                "mend this or one of the others, else tests run only with `--unsafe-no-sandbox`",
            ),
        });
    }
    Ok(findings)
}

fn folder(topic: &'static str, path: &Path) -> Finding {
    let existing = path.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    let shown = path.display().to_string();
    match tempfile::tempfile_in(existing) {
        Ok(_) => good(topic, shown),
        Err(error) => missing(topic, format!("{shown}: {error}"), "make it writable"),
    }
}

fn test_commands(root: &Path, config: &Config) -> Vec<Finding> {
    if let Some(command) = &config.test {
        return vec![good("tests", format!("`{command}`"))];
    }
    let proposals = propose_commands(root);
    if proposals.is_empty() {
        return vec![fact("tests", "no test command is known for this repository".to_owned())];
    }
    let finding = |(command, why): (String, String)| Finding {
        topic: "tests",
        state: State::Fact,
        found: format!("--test '{command}' ({why})"),
        hint: None,
    };
    proposals.into_iter().map(finding).collect()
}
