//! The `sorft` program: decides nothing but the exit code.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = sorft::commands::Cli::parse();
    match sorft::commands::run(&cli) {
        Ok(outcome) => outcome.into(),
        Err(error) => sorft::commands::report_error(&error),
    }
}
