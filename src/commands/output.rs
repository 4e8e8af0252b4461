//! What commands write: results to stdout, as text or JSON.

use std::io::Write;

use anyhow::Context;
use clap::ValueEnum;
use serde::Serialize;

/// The form of a result on stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For machines.
    Json,
}

/// Writes a result to stdout as it is; a reader that went away is an error that `report_error`
/// turns into a quiet end.
pub fn write_stdout(text: &str) -> anyhow::Result<()> {
    write_stdout_bytes(text.as_bytes())
}

/// Writes bytes to stdout: a patch may hold text in any encoding.
pub fn write_stdout_bytes(bytes: &[u8]) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).context("writing to stdout")
}

/// Writes a value as indented JSON and a line end.
pub fn write_json(value: &impl Serialize) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(value).context("rendering JSON")?;
    text.push('\n');
    write_stdout(&text)
}

/// One line on stderr that is neither a result nor an error.
pub fn note(text: &str) {
    // There is nobody else to tell when stderr is gone.
    drop(writeln!(std::io::stderr(), "note: {}", escape_controls(text)));
}

/// Text from a repository, a log or a model, safe to show on a terminal: control characters
/// besides line feed and tab are escaped.
pub fn escape_controls(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if (c.is_control() && c != '\n' && c != '\t')
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        {
            escaped.extend(c.escape_unicode());
        } else {
            escaped.push(c);
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_controls_are_escaped_and_layout_is_kept() {
        assert_eq!(escape_controls("a\tb\n\u{1b}[31mé\r"), "a\tb\n\\u{1b}[31mé\\u{d}");
    }
}
