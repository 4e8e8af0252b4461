//! A test that shows the issue, written by the model.
//!
//! It is none of the four stages: a gold patch implies no test, so there is no truth, nothing is
//! trained on it and no reward is paid for it. What a test is worth is seen when it runs.
//!
//! # Prompt
//! The issue, the code around the likely places as in edit generation, the beginning of a test
//! file that looks at this code, which shows how tests are written here, and the head of the new
//! one: imports that are known to work, and the line that begins the test.
//! # Answer
//! One fenced block with a whole test file. A small model is given its head by the grammar: asked
//! for imports it copies those of the prompt's example, whatever that is.

use minijinja::value::Value;
use serde::{Deserialize, Serialize};

use crate::grammar::{Grammar, Node};
use crate::index::retrieval::words::identifiers;
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
    /// Whether the grammar begins with the head of the file.
    pub head_is_given: bool,
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
    /// The likely classes and functions of modules, the most likely first.
    pub symbols: &'a [(RepoPath, String)],
}

/// A prompt, and how the file begins that it asks for.
#[derive(Debug, Clone)]
pub struct AskedTest {
    pub prompt: Prompt,
    /// Whole lines.
    pub head: String,
}

impl TestWriter {
    /// The messages, cut to the token budget.
    pub fn prompt(
        &self,
        context: &Context,
        subject: &TestSubject<'_>,
        counter: &dyn CountTokens,
    ) -> Result<AskedTest, PromptError> {
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
        let head = head(context, subject);
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
                ("head", Value::from(head.as_str())),
                ("reasoning", Value::from(0 < self.reasoning_tokens)),
            ]
        })?;
        Ok(AskedTest { prompt, head })
    }

    /// The valid completions: one block of whole lines.
    pub fn grammar(&self, head: &str) -> Grammar {
        let fence = |indent| format!("{:indent$}```", "");
        let never_starts: Vec<String> = (0..=3).map(fence).collect();
        let free = |max_tokens| Node::FreeLines { never_starts: never_starts.clone(), max_tokens };
        let text = |text: &str| Node::Text(text.to_owned());
        let head = if self.head_is_given { head } else { "" };
        let opener = text(&format!("```python\n{head}"));
        let mut start = vec![opener, free(self.test_tokens), text("```")];
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

/// Lines of imports that a head takes over from a test file of the repository.
const MAX_IMPORT_LINES: usize = 20;

/// How a test file begins: the imports of a test file beside it, which are known to work there,
/// those of the likely symbols, and the line that begins a test.
fn head(context: &Context, subject: &TestSubject<'_>) -> String {
    let mut imports = subject.example.map_or_else(String::new, |path| imports_of(context, path));
    let is_named = |imports: &str, name: &str| identifiers(imports).any(|(_, known)| known == name);
    for (path, name) in subject.symbols {
        if let Some(module) = module_of(context, path).filter(|_| !is_named(&imports, name)) {
            imports.push_str(&format!("from {module} import {name}\n"));
        }
    }
    let begin = match subject.runner {
        "unittest" => {
            if !is_named(&imports, "unittest") {
                imports.insert_str(0, "import unittest\n");
            }
            "class ReproductionTest(unittest.TestCase):\n    def test_issue(self):\n"
        }
        _ => "def test_issue():\n",
    };
    let gap = if imports.is_empty() { "" } else { "\n\n" };
    format!("{imports}{gap}{begin}")
}

/// The import statements at the top of a test file.
fn imports_of(context: &Context, path: &RepoPath) -> String {
    let (Some(outline), Ok(text)) =
        (context.index.outline(path), context.index.snapshot().read_text(path))
    else {
        return String::new();
    };
    let lines: Vec<&str> = text.lines().collect();
    let mut imports = String::new();
    let mut n_left = MAX_IMPORT_LINES;
    for span in &outline.imports {
        let Some(lines) = lines.get(span.first as usize - 1..span.last as usize) else { continue };
        let is_at_top = !lines.iter().take(1).any(|line| line.starts_with([' ', '\t']));
        if is_at_top && lines.len() <= n_left {
            n_left -= lines.len();
            imports.extend(lines.iter().flat_map(|line| [line, "\n"]));
        }
    }
    imports
}

/// How Python names the module of a file: by the folders above it that are packages.
fn module_of(context: &Context, path: &RepoPath) -> Option<String> {
    let files = context.index.snapshot().files();
    let stem = path.as_str().strip_suffix(".py")?;
    let (folder, name) = stem.rsplit_once('/').unwrap_or(("", stem));
    let mut names = if name == "__init__" { Vec::new() } else { vec![name] };
    let mut rest = folder;
    let is_package = |folder: &str| {
        let init = RepoPath::parse(&format!("{folder}/__init__.py"));
        init.is_ok_and(|init| files.contains_key(&init))
    };
    while !rest.is_empty() && is_package(rest) {
        let (above, name) = rest.rsplit_once('/').unwrap_or(("", rest));
        names.push(name);
        rest = above;
    }
    names.reverse();
    (!names.is_empty()).then(|| names.join("."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::fixture::context;
    use crate::stage::profile::Profile;

    const FILES: &str = "\
//- /src/shop/__init__.py
//- /src/shop/cart.py
def total(items):
    return sum(items)
//- /tests/test_cart.py
\"\"\"Carts.\"\"\"
import pytest
from shop import (
    tax,
)

def test_total():
    import os
    from shop.cart import other
//- /tool.py
def run():
    pass
";

    #[track_caller]
    fn check_head(runner: &str, example: Option<&str>, names: &[(&str, &str)], expected: &str) {
        let path = |path: &str| RepoPath::parse(path).unwrap();
        let symbols: Vec<(RepoPath, String)> =
            names.iter().map(|(file, name)| (path(file), (*name).to_owned())).collect();
        let example = example.map(path);
        let subject =
            TestSubject { lines: &[], runner, example: example.as_ref(), symbols: &symbols };
        assert_eq!(head(&context(FILES, "issue"), &subject), expected);
    }

    #[test]
    fn a_head_imports_what_works_here_and_what_is_likely() {
        check_head(
            "pytest",
            Some("tests/test_cart.py"),
            &[("src/shop/cart.py", "total"), ("src/shop/cart.py", "tax")],
            "import pytest\nfrom shop import (\n    tax,\n)\nfrom shop.cart import total\n\n\ndef test_issue():\n",
        );
        check_head(
            "unittest",
            None,
            &[("tool.py", "run"), ("src/shop/__init__.py", "x")],
            "import unittest\nfrom tool import run\nfrom shop import x\n\n\nclass ReproductionTest(unittest.TestCase):\n    def test_issue(self):\n",
        );
        check_head("pytest", None, &[], "def test_issue():\n");
    }

    #[test]
    fn a_small_model_is_given_the_head() {
        let begins = |profile: Profile| match profile.test_writer().grammar("import x\n").start {
            Node::Sequence(nodes) => {
                nodes.iter().any(|node| *node == Node::Text("```python\nimport x\n".to_owned()))
            }
            _ => false,
        };
        assert!(begins(Profile::Small) && !begins(Profile::Large));
    }

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
