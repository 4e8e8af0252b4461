//! A test that shows the issue, written by the model.
//!
//! It is none of the four stages: a gold patch implies no test, so there is no truth, nothing is
//! trained on it and no reward is paid for it. What a test is worth is seen when it runs.
//!
//! # Prompt
//! The issue, the code around the likely places as in edit generation, and the beginning of a test
//! file that looks at this code, which shows how tests are written here.
//! # Answer
//! One fenced block with a whole test file.

use minijinja::value::Value;
use serde::{Deserialize, Serialize};

use crate::grammar::{Grammar, Node};
use crate::prompt::{CountTokens, Prompt};
use crate::repo::path::RepoPath;
use crate::search_replace::fence::{Ended, blocks};
use crate::stage::Context;
use crate::stage::budget::{Budget, Draft, PromptError};
use crate::stage::edit::draft::chosen_files;
use crate::stage::rejection::{Reason, Rejection};
use crate::stage::windows::{CodeFile, n_lines, order_pieces, render_windows, windows};

/// The name of the prompt's template, and of these calls in a run.
pub const NAME: &str = "reproduce";

/// Limits of writing a test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestWriter {
    pub budget: Budget,
    /// 0 asks for the answer alone.
    pub reasoning_tokens: u32,
    /// Lines shown before and behind a likely line.
    pub context_lines: u32,
    /// Lines shown of a test file of the repository.
    pub example_lines: usize,
    /// Tokens of the test file that the grammar allows.
    pub test_tokens: u32,
}

/// What a test is written for.
#[derive(Debug, Clone, Copy)]
pub struct TestSubject<'a> {
    /// Likely places, the most likely first; 1-based lines.
    pub lines: &'a [(RepoPath, u32)],
    /// `pytest` or `unittest`.
    pub runner: &'a str,
    /// A test file of the repository.
    pub example: Option<&'a RepoPath>,
}

impl TestWriter {
    /// The messages, cut to the token budget.
    pub fn prompt(
        &self,
        context: &Context,
        subject: &TestSubject<'_>,
        counter: &dyn CountTokens,
    ) -> Result<Prompt, PromptError> {
        let chosen = chosen_files(context, subject.lines);
        let mut pieces = Vec::new();
        for (file_idx, file) in chosen.iter().enumerate() {
            pieces.extend(file.pieces(file_idx, self.context_lines));
        }
        let pieces = order_pieces(pieces);
        if pieces.is_empty() {
            let wanted = "at least one line of a readable file";
            return Err(PromptError::NothingToShow { prompt: NAME, wanted });
        }
        let files: Vec<CodeFile> = chosen.iter().map(|file| file.code.clone()).collect();
        let example = subject.example.and_then(|path| {
            let text = context.index.snapshot().read_text(path).ok()?;
            let lines: Vec<&str> = text.lines().take(self.example_lines).collect();
            Some((path.as_str(), lines.join("\n")))
        });
        let (example_path, example) = example.unwrap_or_default();
        let draft = Draft::new(NAME, context, counter, self.budget)?;
        let (prompt, _) = draft.fit(pieces.len(), |n_pieces| {
            let windows = windows(&pieces[..n_pieces], files.len());
            let plain = |_: u32, line: &str| line.to_owned();
            vec![
                ("code", Value::from(render_windows(&files, &windows, plain))),
                ("left_out", Value::from(n_lines(&pieces[n_pieces..]))),
                ("runner", Value::from(subject.runner)),
                ("example", Value::from(example.as_str())),
                ("example_path", Value::from(example_path)),
                ("reasoning", Value::from(0 < self.reasoning_tokens)),
            ]
        })?;
        Ok(prompt)
    }

    /// The valid completions: one block of whole lines.
    pub fn grammar(&self) -> Grammar {
        let fence = |indent| format!("{:indent$}```", "");
        let never_starts: Vec<String> = (0..=3).map(fence).collect();
        let free = |max_tokens| Node::FreeLines { never_starts: never_starts.clone(), max_tokens };
        let text = |text: &str| Node::Text(text.to_owned());
        let mut start = vec![text("```python\n"), free(self.test_tokens), text("```")];
        if 0 < self.reasoning_tokens {
            start.insert(0, free(self.reasoning_tokens));
        }
        Grammar { start: Node::Sequence(start), rules: std::collections::BTreeMap::new() }
    }

    pub fn completion_tokens(&self) -> usize {
        (self.reasoning_tokens + self.test_tokens) as usize + 20
    }

    /// The test file of a completion: the last block that defines a test, else the last.
    pub fn parse(&self, completion: &str, ended: Ended) -> Result<String, Rejection> {
        let wanted = "a code block with a test file";
        let blocks = blocks(completion);
        let defines_test = |body: &str| {
            let mut lines = body.lines().map(str::trim_start);
            lines.any(|line| line.starts_with("def test") || line.starts_with("async def test"))
        };
        let found = blocks.iter().rev().find(|block| defines_test(block.body));
        let Some(block) = found.or(blocks.last()) else {
            return Err(Rejection::new(Reason::NoAnswer, wanted, "a text without one"));
        };
        if block.is_cut_off(ended) {
            return Err(Rejection::new(Reason::CutOff, wanted, "one that the token limit cut"));
        }
        if block.body.trim().is_empty() {
            return Err(Rejection::new(Reason::EmptyAnswer, wanted, "an empty one"));
        }
        Ok(format!("{}\n", block.body.trim_matches('\n')))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::profile::Profile;

    #[track_caller]
    fn check(completion: &str, ended: Ended, expected: &str) {
        let parsed = Profile::Small.test_writer().parse(completion, ended);
        let text = parsed.unwrap_or_else(|rejection| rejection.reason.name().to_owned());
        assert_eq!(text, expected, "{completion}");
    }

    #[test]
    fn the_block_that_defines_a_test_is_the_answer() {
        let test = "def test_x():\n    assert f() == 1\n";
        let block = format!("```python\n\n{test}```\n");
        check(&block, Ended::ByItself, test);
        check(&format!("Thoughts.\n{block}Run it:\n```\npytest\n```\n"), Ended::ByItself, test);
        check(&format!("```python\n{test}"), Ended::ByItself, test);
        check(&format!("```python\n{test}"), Ended::CutOff, "cut off");
        check("def test_x(): pass", Ended::ByItself, "no answer");
        check("```\n\n```", Ended::ByItself, "empty answer");
    }
}
