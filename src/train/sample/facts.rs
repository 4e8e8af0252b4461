//! Reasoning that is true: it says which words of the issue stand where, and nothing else.
//!
//! Whatever it states is a function of the prompt's own text, so that a model learns to look and
//! not to guess.

use std::collections::BTreeSet;

use crate::index::retrieval::words::stop_words::is_stop_word;
use crate::index::retrieval::words::{identifiers, parts};
use crate::prompt::{CountTokens, Prompt, Role};
use crate::stage::StageKind;

/// The most that the reasoning of a template may cost.
pub const MAX_TOKENS: usize = 24;

/// A sentence about the first thing that an answer names; `None` where none is short enough, or
/// the prompt does not show the thing.
pub fn reasoning(
    stage: StageKind,
    prompt: &Prompt,
    answer: &str,
    counter: &dyn CountTokens,
) -> Option<String> {
    let user = prompt.messages.iter().find(|message| message.role == Role::User)?;
    let (issue, material) = sections(&user.content)?;
    let (name, text) = first_named(stage, answer, material)?;
    let mut words = shared_words(issue, text);
    loop {
        let sentence = sentence(&name, &words);
        if counter.count(&sentence) <= MAX_TOKENS {
            return Some(sentence);
        }
        words.pop()?;
        // Without a word to name, nothing true is left to say.
        if words.is_empty() {
            return None;
        }
    }
}

fn sentence(name: &str, words: &[String]) -> String {
    match words {
        [] => format!("{name} shares no word with the issue.\n"),
        words => format!("{name} shares with the issue: {}.\n", words.join(", ")),
    }
}

/// The issue and the material of a prompt.
fn sections(user: &str) -> Option<(&str, &str)> {
    let rest = user.strip_prefix("# Issue\n")?;
    // An issue may hold headings of its own; the material's is the last but the task's.
    let (before, _) = rest.rsplit_once("\n\n# Task\n")?;
    ["\n\n# Files\n", "\n\n# Outline\n", "\n\n# Code\n"]
        .iter()
        .filter_map(|heading| before.rfind(heading).map(|at| (at, heading.len())))
        .max()
        .map(|(at, length)| (&before[..at], &before[at + length..]))
}

/// What the first entry of an answer is called, and the text by which the prompt shows it.
fn first_named<'a>(stage: StageKind, answer: &str, material: &'a str) -> Option<(String, &'a str)> {
    let mut lines = answer.lines().skip_while(|line| line.starts_with("```"));
    let path = lines.next()?.trim_start_matches("### ");
    let file_name = path.rsplit('/').next().unwrap_or(path);
    let in_file = || material.split_once(&format!("### {path}\n")).map(|(_, code)| code);
    match stage {
        StageKind::File => {
            let shows = |line: &&str| {
                let rest = line.strip_prefix(path);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(": "))
            };
            Some((format!("`{file_name}`"), material.lines().find(shows)?))
        }
        StageKind::Function => {
            let (kind, name) = lines.next()?.split_once(": ")?;
            let last = name.rsplit('.').next().unwrap_or(name);
            let shows =
                |line: &&str| kind != "module" && identifiers(line).any(|(_, word)| word == last);
            Some((format!("`{last}`"), material.lines().find(shows)?))
        }
        StageKind::Line => {
            let entry = lines.next()?;
            let digits = entry.trim_start_matches(|c: char| !c.is_ascii_digit());
            let number = digits.split('-').next()?;
            let shows = |line: &'a str| line.strip_prefix(&format!("{number}| "));
            Some((format!("Line {number}"), in_file()?.lines().find_map(shows)?))
        }
        StageKind::Edit => {
            let first = lines.nth(1)?;
            let code = in_file()?;
            let at = code.find(first)?;
            Some(("The code to change".to_owned(), &code[at..at + first.len()]))
        }
    }
}

/// Words that stand in both, in the text's order.
fn shared_words(issue: &str, text: &str) -> Vec<String> {
    let words = |text: &str| -> Vec<String> {
        let words = identifiers(text).flat_map(|(_, name)| parts(name)).map(str::to_lowercase);
        words.filter(|word| 3 <= word.len() && !is_stop_word(word)).collect()
    };
    let issue: BTreeSet<String> = words(issue).into_iter().collect();
    let mut seen = BTreeSet::new();
    let is_new = |word: &String| issue.contains(word) && seen.insert(word.clone());
    words(text).into_iter().filter(is_new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompt::{EstimateTokens, Message};

    #[track_caller]
    fn check(stage: StageKind, material: &str, answer: &str, wanted: Option<&str>) {
        let issue = "The cart loses its tax total\n\n# Files\nof the order";
        let content = format!("# Issue\n{issue}\n\n{material}\n\n# Task\nWhich?");
        let prompt = Prompt { messages: vec![Message { role: Role::User, content }] };
        let found = reasoning(stage, &prompt, answer, &EstimateTokens);
        assert_eq!(found.as_deref().map(str::trim_end), wanted);
        if let Some((_, words)) = found.as_deref().and_then(|text| text.split_once(": ")) {
            for word in words.trim().trim_end_matches('.').split(", ") {
                assert!(issue.contains(word) && material.to_lowercase().contains(word), "{word}");
            }
        }
    }

    #[test]
    fn facts_are_true_of_what_is_shown() {
        check(
            StageKind::File,
            "# Files\nsrc/shop.py\nsrc/cart.py: Cart.total, open",
            "```\nsrc/cart.py\n```\n",
            Some("`cart.py` shares with the issue: cart, total."),
        );
        check(
            StageKind::File,
            "# Files\nsrc/shop.py",
            "```\nsrc/shop.py\n```\n",
            Some("`shop.py` shares no word with the issue."),
        );
        check(
            StageKind::Function,
            "# Outline\n### a.py\ndef tax_of(x):",
            "```\na.py\nfunction: Cart.tax_of\n```\n",
            Some("`tax_of` shares with the issue: tax."),
        );
        check(
            StageKind::Line,
            "# Code\n### a.py\n```\n3|     order = 1\n4|     tax = 2\n```",
            "```\na.py\nlines: 4-5\n```\n",
            Some("Line 4 shares with the issue: tax."),
        );
        check(
            StageKind::Edit,
            "# Code\n### a.py\n```\n    tax = 2\n```",
            "```\n### a.py\n<<<<<<< SEARCH\n    tax = 2\n=======\n",
            Some("The code to change shares with the issue: tax."),
        );
    }

    #[test]
    fn what_is_not_shown_or_too_long_to_say_gives_no_reasoning() {
        check(StageKind::File, "# Files\nsrc/b.py", "```\nsrc/a.py\n```\n", None);
        check(StageKind::Function, "# Outline\n### a.py\nx", "```\na.py\nmodule:\n```\n", None);
        let long = format!("{}.py", "x".repeat(90));
        check(StageKind::File, &format!("# Files\n{long}"), &format!("```\n{long}\n```\n"), None);
    }
}
