//! The `sorft` program: decides nothing but the exit code.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    // First of all: a sandbox is entered by a process with one thread.
    if let Some(code) = sorft::sandbox::enter(std::env::args_os().skip(1)) {
        return code;
    }
    let cli = sorft::commands::Cli::parse();
    match sorft::commands::run(&cli) {
        Ok(outcome) => outcome.into(),
        Err(error) => sorft::commands::report_error(&error),
    }
}
