//! `sorft config`: the effective configuration and where each value comes from.

use std::fmt::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::commands::Outcome;
use crate::commands::output::{Format, escape_controls, note, write_json, write_stdout};
use crate::config::environment::Environment;
use crate::config::folder::Folders;
use crate::config::{Flags, Resolved, resolve};

/// Show the configuration
#[derive(Debug, Args)]
pub struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    Show(ShowArgs),
}

/// Show every setting, its value and where it comes from
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sorft config show
  sorft config show ~/code/project --explain")]
pub struct ShowArgs {
    /// Folder whose `sorft.yaml` counts
    #[arg(default_value = ".")]
    repo: PathBuf,
    /// Say what each setting decides
    #[arg(long)]
    explain: bool,
    /// Form of the result
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub fn config(args: &ConfigArgs) -> anyhow::Result<Outcome> {
    let ConfigCommand::Show(args) = &args.command;
    let environment = Environment::read();
    let resolved = resolve(Some(&args.repo), &environment, &Folders::find()?, &Flags::default())?;
    for line in &resolved.notes {
        note(line);
    }
    match args.format {
        Format::Text => write_stdout(&render_settings(&resolved, args.explain)?)?,
        Format::Json => {
            let settings = resolved.settings.iter().map(|setting| {
                serde_json::json!({
                    "key": setting.key.name,
                    "value": setting.value,
                    "origin": setting.origin,
                    "doc": setting.key.doc,
                })
            });
            write_json(&serde_json::json!({
                "version": 1,
                "settings": settings.collect::<Vec<_>>(),
                "notes": resolved.notes,
            }))?;
        }
    }
    Ok(Outcome::Done)
}

/// Lines of YAML that could stand in a `sorft.yaml`, with the origins as comments.
fn render_settings(resolved: &Resolved, explain: bool) -> anyhow::Result<String> {
    let mut text = String::new();
    for setting in &resolved.settings {
        if explain {
            writeln!(text, "# {}: {}", setting.key.name, setting.key.doc)?;
        }
        // JSON is YAML, on one line and with its controls escaped.
        let value = serde_json::to_string(&setting.value)?;
        let line = format!("{}: {value}", setting.key.name);
        writeln!(text, "{line:<40} # {}", escape_controls(&setting.origin.to_string()))?;
    }
    Ok(text)
}
