//! Findings as GitHub's workflow commands, which it shows beside the code.
//!
//! Format: <https://docs.github.com/actions/reference/workflow-commands-for-github-actions>.

use crate::triage::Findings;

/// A `notice` for each of the likely symbols, and for files of which none is likely.
pub fn render_annotations(findings: &Findings) -> String {
    let mut text = String::new();
    for symbol in &findings.symbols {
        let title = match symbol.name.as_str() {
            "" => symbol.path.to_string(),
            name => format!("{} {name}", symbol.kind.word()),
        };
        let path = symbol.path.as_str();
        text += &command("notice", path, symbol.line, &title, &symbol.reasons.join("; "));
    }
    for file in &findings.files {
        if findings.symbols.iter().all(|symbol| symbol.path != file.path) {
            let path = file.path.as_str();
            text += &command("notice", path, 1, path, &file.reasons.join("; "));
        }
    }
    text
}

/// One command: `::notice file=…,line=…,title=…::message`.
pub fn command(kind: &str, path: &str, line: u32, title: &str, message: &str) -> String {
    let message = if message.is_empty() { title } else { message };
    format!(
        "::{kind} file={},line={line},title={}::{}\n",
        property(path),
        property(title),
        data(message)
    )
}

/// A message: percent signs and line ends are escaped, other control characters left out.
fn data(text: &str) -> String {
    let escaped = text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    escaped.chars().filter(|c| !c.is_control()).collect()
}

/// A property: what divides properties is escaped too.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_text_ends_a_command_or_begins_another() {
        assert_eq!(
            command("notice", "a,b:c.py", 3, "t%", "x\n::error::y\r\u{1b}[0m, z"),
            "::notice file=a%2Cb%3Ac.py,line=3,title=t%25::x%0A::error::y%0D[0m, z\n"
        );
    }
}
