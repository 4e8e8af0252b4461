//! `sorft completions`: shell completion scripts.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::commands::output::write_stdout;
use crate::commands::{Cli, Outcome};

/// Print a completion script for a shell.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  sorft completions bash > ~/.local/share/bash-completion/completions/sorft"
)]
pub struct CompletionsArgs {
    /// Which shell
    shell: Shell,
}

pub fn completions(args: &CompletionsArgs) -> anyhow::Result<Outcome> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "sorft", &mut script);
    write_stdout(&String::from_utf8_lossy(&script))?;
    Ok(Outcome::Done)
}
