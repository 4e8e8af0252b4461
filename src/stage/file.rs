//! File localization: which existing files must change.
//!
//! # Prompt
//! The issue, and the candidates in rank order with the symbols that matched, or the tree of
//! source files; as many as the budget holds, the best ranked first to stay.
//! # Answer
//! One path per line inside a fenced block, at most five, the most important first.
//! # Truth
//! The files of the base tree that the gold patch changes, deletes or renames.
//! # Items
//! Paths.

use std::collections::BTreeSet;

use minijinja::value::Value;
use serde::{Deserialize, Serialize};

use crate::grammar::{Grammar, Node};
use crate::index::Index;
use crate::index::outline::SymbolKind;
use crate::index::retrieval::{RankedFile, RankedSymbol};
use crate::prompt::{CountTokens, Prompt};
use crate::repo::path::RepoPath;
use crate::search_replace::fence::Ended;
use crate::stage::answer::{NamedPath, list_entries, parse_path};
use crate::stage::budget::{Budget, Draft, PromptError};
use crate::stage::gold::Gold;
use crate::stage::known::Known;
use crate::stage::rejection::{Reason, Rejection, quoted};
use crate::stage::{Context, Misses, Stage, StageKind, block_grammar};

/// Limits of file localization.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStage {
    pub budget: Budget,
    /// 0 asks for the answer alone.
    pub reasoning_tokens: u32,
    pub view: FileView,
    /// Paths of an answer; further ones are not read.
    pub max_paths: usize,
    /// In the ranked view, the matched symbols behind a path.
    pub symbols_per_file: usize,
}

/// How the candidates are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileView {
    /// The tree of source files, as in the paper.
    Tree,
    /// One line per file, best ranked first.
    Ranked,
}

/// The paths of a prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FileShown {
    /// In the prompt's order.
    pub paths: Vec<RepoPath>,
    /// Source files without room.
    pub left_out: usize,
    /// All paths of the snapshot.
    pub known: Known,
}

/// A parsed answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileAnswer {
    /// Existing files, the most important first, whether they were shown or not.
    pub paths: Vec<RepoPath>,
    pub invented: Vec<String>,
}

impl Stage for FileStage {
    type Input = ();
    type Shown = FileShown;
    type Answer = FileAnswer;
    type Item = RepoPath;
    const KIND: StageKind = StageKind::File;

    fn prompt(
        &self,
        context: &Context,
        (): &(),
        counter: &dyn CountTokens,
    ) -> Result<(Prompt, FileShown), PromptError> {
        let candidates = candidates(context);
        if candidates.is_empty() {
            let wanted = "at least one source file";
            return Err(PromptError::NothingToShow { prompt: Self::KIND.name(), wanted });
        }
        let draft = Draft::new(Self::KIND.name(), context, counter, self.budget)?;
        let (prompt, n_shown) = draft.fit(candidates.len(), |n_files| {
            let files = match self.view {
                FileView::Ranked => self.render_ranked(&candidates[..n_files]),
                FileView::Tree => render_tree(&candidates[..n_files]),
            };
            vec![
                ("files", Value::from(files)),
                ("left_out", Value::from(candidates.len() - n_files)),
                ("max_paths", Value::from(self.max_paths)),
                ("reasoning", Value::from(0 < self.reasoning_tokens)),
            ]
        })?;
        let mut paths: Vec<RepoPath> =
            candidates[..n_shown].iter().map(|candidate| candidate.path.clone()).collect();
        if self.view == FileView::Tree {
            paths.sort();
        }
        let all = context.index.snapshot().files().keys();
        let shown = FileShown {
            paths,
            left_out: candidates.len() - n_shown,
            known: Known::new(all.map(RepoPath::as_str)),
        };
        Ok((prompt, shown))
    }

    fn grammar(&self, shown: &FileShown) -> Grammar {
        let path = |path: &RepoPath| Node::Text(format!("{path}\n"));
        let max = self.max_paths as u32;
        let list = Node::Repeat { node: Box::new(Node::Rule("path".to_owned())), min: 1, max };
        let paths = Node::Choice(shown.paths.iter().map(path).collect());
        block_grammar(self.reasoning_tokens, list, [("path".to_owned(), paths)])
    }

    fn completion_tokens(&self) -> usize {
        self.reasoning_tokens as usize + 20 + 40 * self.max_paths
    }

    fn parse(
        &self,
        shown: &FileShown,
        completion: &str,
        ended: Ended,
    ) -> Result<FileAnswer, Rejection> {
        let wanted = "paths of this repository, one per line";
        let exists =
            |path: &RepoPath| shown.paths.contains(path) || shown.known.contains(path.as_str());
        let mut answer = FileAnswer { paths: Vec::new(), invented: Vec::new() };
        let mut is_unsafe = false;
        for entry in list_entries(completion, ended, wanted)? {
            if answer.paths.len() + answer.invented.len() == self.max_paths {
                break;
            }
            match parse_path(entry, exists) {
                NamedPath::Existing(path) if answer.paths.contains(&path) => {}
                NamedPath::Existing(path) => answer.paths.push(path),
                NamedPath::Invented(text) => answer.invented.push(text),
                NamedPath::Unsafe(text) => {
                    is_unsafe = true;
                    answer.invented.push(text);
                }
            }
        }
        match answer.invented.first() {
            Some(found) if answer.paths.is_empty() => {
                let reason = if is_unsafe { Reason::UnsafePath } else { Reason::UnknownPath };
                Err(Rejection::new(reason, wanted, quoted(found)))
            }
            _ => Ok(answer),
        }
    }

    fn truth(&self, _: &Index, gold: &Gold) -> Vec<RepoPath> {
        gold.base_files().map(|file| file.path.clone()).collect()
    }

    fn items(&self, answer: &FileAnswer) -> Vec<RepoPath> {
        answer.paths.clone()
    }

    fn misses(&self, answer: &FileAnswer) -> Misses {
        Misses { invented: answer.invented.len(), unseen: 0 }
    }

    fn is_in_view(&self, shown: &FileShown, item: &RepoPath) -> bool {
        shown.paths.contains(item)
    }
}

impl FileStage {
    fn render_ranked(&self, candidates: &[Candidate<'_>]) -> String {
        let mut text = String::new();
        for candidate in candidates {
            text += candidate.path.as_str();
            let is_named = |symbol: &&RankedSymbol| symbol.kind != SymbolKind::Module;
            let symbols = candidate.symbols.iter().filter(is_named);
            for (idx, symbol) in symbols.take(self.symbols_per_file).enumerate() {
                text += if idx == 0 { ": " } else { ", " };
                text += &symbol.name;
            }
            text.push('\n');
        }
        text.truncate(text.trim_end().len());
        text
    }
}

/// A source file that a prompt may show.
struct Candidate<'a> {
    path: &'a RepoPath,
    symbols: &'a [RankedSymbol],
}

/// The source files: those that retrieval ranks in its order, then the rest by path.
fn candidates(context: &Context) -> Vec<Candidate<'_>> {
    let ranked = &context.ranking.files;
    let seen: BTreeSet<&RepoPath> = ranked.iter().map(|file| &file.path).collect();
    fn of_ranked(file: &RankedFile) -> Candidate<'_> {
        Candidate { path: &file.path, symbols: &file.symbols }
    }
    let rest = context.index.source_files().map(|(path, _)| path);
    let rest =
        rest.filter(|path| !seen.contains(path)).map(|path| Candidate { path, symbols: &[] });
    ranked.iter().map(of_ranked).chain(rest).collect()
}

/// The paths as a tree: a folder's name once, its content indented below it.
fn render_tree(candidates: &[Candidate<'_>]) -> String {
    let paths: BTreeSet<&RepoPath> = candidates.iter().map(|candidate| candidate.path).collect();
    let mut text = String::new();
    let mut open: Vec<&str> = Vec::new();
    for path in paths {
        let parts: Vec<&str> = path.components().collect();
        let (name, folders) = parts.split_last().unwrap_or((&"", &[]));
        let n_common = open.iter().zip(folders).take_while(|(a, b)| a == b).count();
        open.truncate(n_common);
        for folder in &folders[n_common..] {
            text.extend([&*"  ".repeat(open.len()), folder, "/\n"]);
            open.push(folder);
        }
        text.extend([&*"  ".repeat(open.len()), name, "\n"]);
    }
    text.truncate(text.trim_end().len());
    text
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::prompt::EstimateTokens;
    use crate::stage::fixture::{Bytes, SHOP, context, gold, path, sample};
    use crate::stage::profile::Profile;

    fn stage() -> FileStage {
        Profile::Small.stages().file
    }

    fn shown() -> FileShown {
        let context = context(SHOP, "The total is wrong.");
        stage().prompt(&context, &(), &EstimateTokens).unwrap().1
    }

    #[track_caller]
    fn check(completion: &str, expect: Expect) {
        let outcome = stage().parse(&shown(), completion, Ended::ByItself);
        expect.assert_eq(&match outcome {
            Ok(answer) => format!("{:?} invented {:?}", answer.paths, answer.invented),
            Err(rejection) => rejection.to_string(),
        });
    }

    #[test]
    fn completions_in_the_wild() {
        check("```\nsrc/shop/cart.py\n```", expect![[r#"["src/shop/cart.py"] invented []"#]]);
        check(
            "I think so.\n```text\n1. `./src/shop/cart.py`\n2. a/src/shop/tax.py: tax\n```\nDone.",
            expect![[r#"["src/shop/cart.py", "src/shop/tax.py"] invented []"#]],
        );
        check(
            "```\nsrc/shop/cart.py\nsrc/shop/cart.py\n```",
            expect![[r#"["src/shop/cart.py"] invented []"#]],
        );
        check("```\ntests/test_cart.py\n```", expect![[r#"["tests/test_cart.py"] invented []"#]]);
        check(
            "```\nsrc/shop/cart.py\nsrc/shop/order.py\n```",
            expect![[r#"["src/shop/cart.py"] invented ["src/shop/order.py"]"#]],
        );
        check(
            "```\nsrc/order.py\n```",
            expect![
                "unknown path: wanted paths of this repository, one per line, found `src/order.py`"
            ],
        );
        check(
            "```\n../../etc/passwd\n```",
            expect![
                "unsafe path: wanted paths of this repository, one per line, found `../../etc/passwd`"
            ],
        );
        check(
            "```\n```",
            expect![
                "empty answer: wanted paths of this repository, one per line, found an empty code block"
            ],
        );
        check(
            "src/shop/cart.py",
            expect![
                "no answer: wanted a code block with paths of this repository, one per line, found `src/shop/cart.py` without one"
            ],
        );
        check(
            "",
            expect![
                "no answer: wanted a code block with paths of this repository, one per line, found an empty text"
            ],
        );
    }

    #[test]
    fn more_paths_than_asked_for_are_not_read() {
        let stage = FileStage { max_paths: 1, ..stage() };
        let completion = "```\nsrc/shop/tax.py\nsrc/shop/cart.py\n```";
        let answer = stage.parse(&shown(), completion, Ended::ByItself).unwrap();
        assert_eq!(answer.paths, [path("src/shop/tax.py")]);
    }

    #[test]
    fn the_prompt_shows_source_files_and_the_issue_first() {
        let context = context(SHOP, "The total is wrong.\n{{ files }} <|im_start|>");
        let (prompt, shown) = stage().prompt(&context, &(), &EstimateTokens).unwrap();
        expect![[r#"
            # Issue
            The total is wrong.
            {{ files }} <|im_start|>

            # Files
            README.md
            src/shop/cart.py
            src/shop/tax.py

            # Task
            Which of these files must be changed to resolve the issue?
            Write one code block that lists at most 5 paths from above, the most important first. Example:
            ```
            src/shop/cart.py
            ```"#]].assert_eq(&prompt.messages[1].content);
        expect![[r#"["README.md", "src/shop/cart.py", "src/shop/tax.py"] 0"#]]
            .assert_eq(&format!("{:?} {}", shown.paths, shown.left_out));
    }

    #[test]
    fn a_tree_shows_folders_once() {
        let context = context(SHOP, "x");
        let stage = FileStage { view: FileView::Tree, ..stage() };
        let (prompt, shown) = stage.prompt(&context, &(), &EstimateTokens).unwrap();
        assert!(
            prompt.messages[1]
                .content
                .contains("README.md\nsrc/\n  shop/\n    cart.py\n    tax.py\n"),
            "{}",
            prompt.messages[1].content
        );
        assert_eq!(shown.paths.len(), 3);
    }

    #[test]
    fn truth_is_what_exists_and_changes() {
        let context = context(SHOP, "x");
        let patch = [("src/shop/cart.py", "a\n"), ("src/shop/tax.py", ""), ("src/new.py", "b\n")];
        let gold = gold(&context, &patch);
        let truth = stage().truth(&context.index, &gold);
        assert_eq!(truth, [path("src/shop/cart.py"), path("src/shop/tax.py")]);
    }

    #[test]
    fn every_text_of_the_grammar_is_an_answer() {
        let shown = shown();
        let stage = FileStage { reasoning_tokens: 20, ..stage() };
        let grammar = stage.grammar(&shown);
        let mut random = ChaCha8Rng::seed_from_u64(1);
        for _ in 0..200 {
            let text = sample(&grammar, &mut random);
            let answer = stage.parse(&shown, &text, Ended::ByItself);
            assert!(answer.as_ref().is_ok_and(|answer| answer.invented.is_empty()), "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn no_prompt_exceeds_its_budget(issue in "(\\PC{0,80}\n){0,30}", tokens in 500_usize..4000,
                                        n_files in 1_usize..200) {
            let files: String =
                (0..n_files).map(|i| format!("//- /src/package_{i}/module.py\nx = {i}\n")).collect::<Vec<_>>().concat();
            let context = context(&files, &issue);
            let budget = Budget { prompt_tokens: tokens, issue_tokens: 200 };
            for view in [FileView::Ranked, FileView::Tree] {
                let stage = FileStage { budget, view, ..stage() };
                match stage.prompt(&context, &(), &Bytes) {
                    Ok((prompt, shown)) => {
                        let texts = prompt.messages.iter().map(|message| Bytes.count(&message.content));
                        prop_assert!(texts.sum::<usize>() <= tokens);
                        prop_assert_eq!(shown.paths.len() + shown.left_out, n_files);
                    }
                    Err(PromptError::NoRoom { needed, .. }) => prop_assert!(tokens < needed),
                    Err(other) => prop_assert!(false, "{}", other),
                }
            }
        }
    }
}
