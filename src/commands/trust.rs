//! `sorft trust`: vouching for a repository's own configuration file.

use std::fmt::Write;
use std::path::PathBuf;

use clap::Args;

use crate::commands::Outcome;
use crate::commands::output::{Format, escape_controls, write_json, write_stdout};
use crate::config::FILE_NAME;
use crate::config::folder::Folders;
use crate::config::key::Setter;
use crate::config::trust::{distrust, trust as trust_file};

/// Let a repository's `sorft.yaml` set everything, as it is now
///
/// Without trust the file may set only test globs, languages, ignored paths, context sizes and
/// triage thresholds. Trust is bound to the file's content: a change ends it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sorft trust                    after reading ./sorft.yaml
  sorft trust ~/code/project --revoke")]
pub struct TrustArgs {
    /// Folder that holds `sorft.yaml`
    #[arg(default_value = ".")]
    repo: PathBuf,
    /// Take the trust back
    #[arg(long)]
    revoke: bool,
    /// Form of the result
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub fn trust(args: &TrustArgs) -> anyhow::Result<Outcome> {
    let folders = Folders::find()?;
    let path = args.repo.join(FILE_NAME);
    let (trusted, settings) = if args.revoke {
        let was_trusted = distrust(&folders, &path)?;
        if !was_trusted && args.format == Format::Text {
            write_stdout(&format!("`{}` was not trusted\n", path.display()))?;
            return Ok(Outcome::Done);
        }
        (false, Vec::new())
    } else {
        let layer = trust_file(&folders, &path)?;
        let settings = layer.values.into_iter().filter(|(key, _)| key.setter == Setter::Trusted);
        (true, settings.map(|(key, value)| (key.name, value)).collect())
    };
    if args.format == Format::Json {
        let settings: serde_json::Value = settings
            .iter()
            .map(|(name, value)| Ok(((*name).to_owned(), serde_json::to_value(value)?)))
            .collect::<serde_json::Result<serde_json::Map<_, _>>>()?
            .into();
        write_json(&serde_json::json!({
            "version": 1,
            "path": path,
            "trusted": trusted,
            "settings": settings,
        }))?;
        return Ok(Outcome::Done);
    }
    let mut text =
        format!("`{}` is {} trusted\n", path.display(), if trusted { "now" } else { "no longer" });
    for (name, value) in settings {
        let value = serde_json::to_string(&value)?;
        writeln!(text, "  {name} = {}", escape_controls(&value))?;
    }
    write_stdout(&text)?;
    Ok(Outcome::Done)
}
