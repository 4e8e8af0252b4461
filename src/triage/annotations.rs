//! Findings as GitHub's workflow commands, which it shows beside the code.
//!
//! Format: <https://docs.github.com/actions/reference/workflow-commands-for-github-actions>.

use crate::triage::Findings;

/// The annotations of one kind that GitHub shows for a step; more are dropped in silence.
pub const MOST_OF_A_KIND: usize = 10;

/// A `notice` for each of the likely symbols, and for files of which none is likely: so many of
/// the first that GitHub shows all of them.
pub fn render_annotations(findings: &Findings) -> String {
    let mut notices = Vec::new();
    for symbol in &findings.symbols {
        let title = match symbol.name.as_str() {
            "" => symbol.path.to_string(),
            name => format!("{} {name}", symbol.kind.word()),
        };
        let path = symbol.path.as_str();
        notices.push(command("notice", path, symbol.line, &title, &symbol.reasons.join("; ")));
    }
    for file in &findings.files {
        if findings.symbols.iter().all(|symbol| symbol.path != file.path) {
            let path = file.path.as_str();
            notices.push(command("notice", path, 1, path, &file.reasons.join("; ")));
        }
    }
    notices.truncate(MOST_OF_A_KIND);
    notices.concat()
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
    use crate::repo::path::RepoPath;
    use crate::triage::FoundFile;

    #[test]
    fn no_more_is_printed_than_is_shown() {
        let file = |n: usize| FoundFile {
            path: RepoPath::parse(&format!("{n}.py")).unwrap(),
            score: 1.0,
            reasons: vec!["named".to_owned()],
        };
        let findings = Findings { files: (0..30).map(file).collect(), ..Findings::default() };
        let text = render_annotations(&findings);
        assert_eq!(text.lines().count(), MOST_OF_A_KIND);
        assert_eq!(text.lines().next(), Some("::notice file=0.py,line=1,title=0.py::named"));
    }

    #[test]
    fn nothing_in_a_text_ends_a_command_or_begins_another() {
        // A message keeps its colons and commas; what is escaped once is not escaped again.
        assert_eq!(
            command("error", "a", 1, "b", "c: d, %25"),
            "::error file=a,line=1,title=b::c: d, %2525\n"
        );
        assert_eq!(
            command("notice", "a,b:c.py", 3, "t%", "x\n::error::y\r\u{1b}[0m, z"),
            "::notice file=a%2Cb%3Ac.py,line=3,title=t%25::x%0A::error::y%0D[0m, z\n"
        );
    }
}
