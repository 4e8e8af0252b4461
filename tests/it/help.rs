//! What `--help` says.

use clap::CommandFactory as _;
use sorft::commands::Cli;

/// The commands that do something, with their names in full.
fn leaves(command: &clap::Command, name: &str, found: &mut Vec<(String, clap::Command)>) {
    if !command.has_subcommands() {
        found.push((name.to_owned(), command.clone()));
    }
    for inner in command.get_subcommands() {
        leaves(inner, &format!("{name} {}", inner.get_name()), found);
    }
}

#[test]
fn every_command_shows_examples_of_itself() {
    let mut found = Vec::new();
    leaves(&Cli::command(), "sorft", &mut found);
    assert!(10 < found.len());
    for (name, command) in found {
        let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(examples.contains("Example"), "`{name} --help` shows no examples");
        assert!(examples.contains(&name), "`{name} --help`: {examples}");
    }
}
