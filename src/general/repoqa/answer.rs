//! The function in an answer: of the first fenced block that holds one, or what comes nearest.

use std::cmp::Reverse;
use std::sync::LazyLock;

use anyhow::{Context as _, anyhow};
use regex::Regex;
use tree_sitter::{Parser, Query, QueryCursor, StreamingIterator};

use crate::general::python_text::strip;
use crate::index::language::of_name;

/// What the reference looks for in each language.
struct Rules {
    language: &'static str,
    /// Captures functions.
    functions: &'static str,
    /// Capture what is no code, one pattern after the other.
    comments: &'static [&'static str],
}

const RULES: [Rules; 6] = [
    Rules {
        language: "python",
        functions: "(function_definition name: (_)) @function",
        comments: &["(block (expression_statement (string) @comment))", "(comment) @comment"],
    },
    Rules {
        language: "java",
        functions: "(method_declaration name: (_)) @function",
        comments: &["(line_comment) @comment", "(block_comment) @comment"],
    },
    Rules {
        language: "typescript",
        functions: "(function_declaration name: (_)) @function",
        comments: &["(comment) @comment"],
    },
    Rules {
        language: "rust",
        functions: "(function_item name: (_)) @function",
        comments: &["(line_comment) @comment", "(block_comment) @comment"],
    },
    Rules {
        language: "cpp",
        functions: "(function_definition declarator: \
                    (function_declarator declarator: (identifier))) @function",
        comments: &["(comment) @comment"],
    },
    Rules {
        language: "go",
        functions: "(function_declaration name: (_)) @function",
        comments: &["(comment) @comment"],
    },
];

/// A language's rules, ready for use.
pub struct Reader {
    grammar: tree_sitter::Language,
    functions: Query,
    comments: Vec<Query>,
}

/// A fence that begins and ends a line. As Python's `\s`, with its four separators more.
static FENCED: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?ms)^```\w*[\s\x1c-\x1f]*\n(.*?)^```").expect("the pattern is a constant")
});

impl Reader {
    /// For one of the benchmark's languages.
    pub fn new(language: &str) -> anyhow::Result<Self> {
        let known = || RULES.map(|rules| rules.language).join("`, `");
        let rules = RULES.iter().find(|rules| rules.language == language);
        let rules = rules.with_context(|| {
            format!("the language `{language}` is none of RepoQA's: `{}`", known())
        })?;
        let grammar =
            of_name(language).with_context(|| format!("no grammar of {language}"))?.grammar();
        let query = |text: &&str| {
            Query::new(&grammar, text).map_err(|error| anyhow!("queries of {language}: {error}"))
        };
        let functions = query(&rules.functions)?;
        let comments = rules.comments.iter().map(query).collect::<anyhow::Result<_>>()?;
        Ok(Self { grammar, functions, comments })
    }

    /// The first function in the first fenced block that has one; without one the first block;
    /// without a block the whole answer.
    pub fn function<'a>(&self, answer: &'a str) -> anyhow::Result<&'a str> {
        let answer = strip(answer);
        let mut first = None;
        for found in FENCED.captures_iter(answer) {
            let block = found.get(1).map_or("", |block| block.as_str());
            first = first.or(Some(block));
            let functions = self.captures(&self.functions, block)?;
            if let Some((start, end)) =
                functions.into_iter().min_by_key(|(start, end)| (*start, Reverse(*end)))
            {
                return Ok(&block[start..end]);
            }
        }
        Ok(first.unwrap_or(answer))
    }

    /// The code without its comments; strings that document Python go too.
    pub fn without_comments(&self, code: &str) -> anyhow::Result<String> {
        let mut ranges = Vec::new();
        for query in &self.comments {
            ranges.extend(self.captures(query, code)?);
        }
        ranges.sort_unstable();
        let (mut kept, mut at) = (String::with_capacity(code.len()), 0);
        for (start, end) in ranges {
            kept.push_str(&code[at..start.max(at)]);
            at = end.max(at);
        }
        kept.push_str(&code[at..]);
        Ok(kept)
    }

    /// Where a query's captures begin and end, in bytes.
    fn captures(&self, query: &Query, code: &str) -> anyhow::Result<Vec<(usize, usize)>> {
        let mut parser = Parser::new();
        parser.set_language(&self.grammar).context("the grammar's version")?;
        let tree = parser.parse(code, None).context("the parser gave up")?;
        let mut cursor = QueryCursor::new();
        let mut matches = cursor.matches(query, tree.root_node(), code.as_bytes());
        let mut ranges = Vec::new();
        while let Some(found) = matches.next() {
            ranges.extend(
                found
                    .captures()
                    .iter()
                    .map(|capture| (capture.node.start_byte(), capture.node.end_byte())),
            );
        }
        Ok(ranges)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(language: &str, answer: &str, expected: &str) {
        assert_eq!(Reader::new(language).unwrap().function(answer).unwrap(), expected);
    }

    #[test]
    fn the_first_function_of_the_first_block_with_one_is_the_answer() {
        check(
            "python",
            "It is:\n```python\nx = 1\ndef f():\n    return 1\n\ny = 2\n```\n",
            "def f():\n    return 1",
        );
        check("python", "```\nx\n```\nor\n```py\ndef g(): pass\n```", "def g(): pass");
        check(
            "python",
            "```python\nclass A:\n    def f(self):\n        def g(): pass\n```",
            "def f(self):\n        def g(): pass",
        );
        check("rust", "```rust\nimpl A { fn f() {} }\n```", "fn f() {}");
        check(
            "cpp",
            "```cpp\nint A::f() { return 1; }\nint g() { return 2; }\n```",
            "int g() { return 2; }",
        );
        check(
            "java",
            "```java\nclass A { A() {} int f() { return 1; } }\n```",
            "int f() { return 1; }",
        );
        check(
            "typescript",
            "```ts\nconst f = () => 1\nfunction g() { return 1 }\n```",
            "function g() { return 1 }",
        );
    }

    #[test]
    fn without_a_function_the_first_block_and_without_a_block_all_of_it() {
        check("python", "a\n```\nx = 1\n```\n```\ny = 2\n```", "x = 1\n");
        check("python", "  def f(): pass\n", "def f(): pass");
        check("python", "```python\ndef f(): pass", "```python\ndef f(): pass");
        check("python", "text ```def f(): pass``` text", "text ```def f(): pass``` text");
        check("python", "", "");
    }

    #[test]
    fn comments_go_and_other_strings_stay() {
        let check = |language: &str, code: &str, expected: &str| {
            let reader = Reader::new(language).unwrap();
            assert_eq!(reader.without_comments(code).unwrap(), expected);
        };
        check(
            "python",
            "def f():\n    \"\"\"Says.\"\"\"\n    x = \"a\"  # why\n    return x\n",
            "def f():\n    \n    x = \"a\"  \n    return x\n",
        );
        check("rust", "/// Doc.\nfn f() { /* in */ g() } // end", "fn f() {  g() } ");
        check("java", "/** d */ int f() { return 1; } // e", " int f() { return 1; } ");
        check("cpp", "int f() { /* a */ return 1; }", "int f() {  return 1; }");
    }

    #[test]
    fn another_language_is_told() {
        let message = Reader::new("cobol").err().unwrap().to_string();
        assert!(message.contains("`cobol` is none of RepoQA's: `python`"), "{message}");
    }
}
