//! The answer block of a completion: its last complete fenced block.
//!
//! Shared by all stages, so that lists and edits are found by one rule. What stands inside the
//! block is not this file's business, but for one thing: a fence does not close inside an open
//! SEARCH or REPLACE part, so code that holds fences can be edited.

use crate::search_replace::marker::{Marker, parse_marker};

/// Why a completion ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The model ended its turn.
    ByItself,
    /// The token limit ended it.
    CutOff,
}

/// A fenced block of a completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FencedBlock<'a> {
    /// What follows the backticks of the opening line, trimmed.
    pub info: &'a str,
    /// Everything between the fences, line ends included.
    pub body: &'a str,
    /// The line of the completion on which the body starts, 1-based.
    pub first_line: usize,
    /// Whether a closing fence was found.
    pub closed: bool,
}

impl<'a> FencedBlock<'a> {
    /// The body as a list answer may use it: without its last line where the token limit cut it.
    pub fn list_body(&self, ended: Ended) -> &'a str {
        if self.closed || ended == Ended::ByItself {
            return self.body;
        }
        // A body that ends in a line end was cut at the start of a line that is not there yet;
        // the line before it is whole.
        self.body.rfind('\n').map_or("", |at| &self.body[..=at])
    }

    /// Whether the token limit cut the block before it was complete.
    pub fn is_cut_off(&self, ended: Ended) -> bool {
        !self.closed && ended == Ended::CutOff
    }
}

/// The last complete fenced block, else the unclosed one that runs to the end, else `None`.
pub fn last_block(completion: &str) -> Option<FencedBlock<'_>> {
    let blocks = blocks(completion);
    let complete = blocks.iter().rev().find(|block| block.closed);
    complete.or(blocks.last()).copied()
}

/// All fenced blocks, in order; the last one may be unclosed.
pub fn blocks(completion: &str) -> Vec<FencedBlock<'_>> {
    let mut blocks = Vec::new();
    let mut open: Option<Open<'_>> = None;
    let mut at = 0;
    for (line_idx, raw) in completion.split_inclusive('\n').enumerate() {
        let line = raw.trim_end_matches(['\n', '\r']);
        let end = at + raw.len();
        match &mut open {
            None => {
                open = parse_opener(line).map(|(n_backticks, info)| Open {
                    n_backticks,
                    info,
                    start: end,
                    first_line: line_idx + 2,
                    part: Part::Outside,
                });
            }
            Some(block) if block.part == Part::Outside && block.is_closed_by(line) => {
                blocks.push(block.finish(&completion[block.start..at], true));
                open = None;
            }
            Some(block) => block.part = block.part.after(line),
        }
        at = end;
    }
    blocks.extend(open.map(|block| block.finish(&completion[block.start..], false)));
    blocks
}

/// A fenced block whose end has not been seen.
struct Open<'a> {
    n_backticks: usize,
    info: &'a str,
    start: usize,
    first_line: usize,
    part: Part,
}

impl<'a> Open<'a> {
    fn is_closed_by(&self, line: &str) -> bool {
        parse_opener(line)
            .is_some_and(|(n_backticks, info)| info.is_empty() && self.n_backticks <= n_backticks)
    }

    fn finish(&self, body: &'a str, closed: bool) -> FencedBlock<'a> {
        FencedBlock { info: self.info, body, first_line: self.first_line, closed }
    }
}

/// Where in an edit a line stands, with the length of the edit's markers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Outside,
    Search(usize),
    Replace(usize),
}

impl Part {
    fn after(self, line: &str) -> Self {
        match (self, parse_marker(line)) {
            (Self::Outside, Some((Marker::Search, length))) => Self::Search(length),
            (Self::Search(length), Some((Marker::Divider, found))) if found == length => {
                Self::Replace(length)
            }
            // A closing marker without a divider: malformed, and no reason to lose what follows.
            (Self::Search(length) | Self::Replace(length), Some((Marker::Replace, found)))
                if found == length =>
            {
                Self::Outside
            }
            _ => self,
        }
    }
}

/// Reads a line of at least three backticks, indented by at most three spaces, and what follows.
fn parse_opener(line: &str) -> Option<(usize, &str)> {
    let text = line.trim_start_matches(' ');
    let info = text.trim_start_matches('`');
    let n_backticks = text.len() - info.len();
    let is_fence = 3 <= n_backticks && line.len() - text.len() <= 3 && !info.contains('`');
    is_fence.then_some((n_backticks, info.trim()))
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[track_caller]
    fn check(completion: &str, expect: Expect) {
        let text = last_block(completion).map_or("none".to_owned(), |block| {
            let FencedBlock { info, body, first_line, closed } = block;
            format!("{info:?} {body:?} from line {first_line}, closed: {closed}")
        });
        expect.assert_eq(&text);
    }

    #[test]
    fn the_last_complete_block_is_the_answer() {
        check("no block", expect!["none"]);
        check("```\na.py\n```", expect![[r#""" "a.py\n" from line 2, closed: true"#]]);
        check(
            "Look:\n```python\nx = 1\n```\nso\n```text\na.py\nb.py\n```\nDone.",
            expect![[r#""text" "a.py\nb.py\n" from line 7, closed: true"#]],
        );
        check("```\n```", expect![[r#""" "" from line 2, closed: true"#]]);
        check(
            "  ```py\r\na.py\r\n   ``` \r\n",
            expect![[r#""py" "a.py\r\n" from line 2, closed: true"#]],
        );
    }

    #[test]
    fn an_unclosed_block_counts_only_alone() {
        check("so\n```\na.py\nb", expect![[r#""" "a.py\nb" from line 3, closed: false"#]]);
        check("```\na.py\n```\n```\nb.py", expect![[r#""" "a.py\n" from line 2, closed: true"#]]);
        check("text\n```", expect![[r#""" "" from line 3, closed: false"#]]);
    }

    #[test]
    fn longer_fences_and_inline_code_do_not_close() {
        check(
            "````md\n```\ninner\n```\n````",
            expect![[r#""md" "```\ninner\n```\n" from line 2, closed: true"#]],
        );
        check("```\na\n`````", expect![[r#""" "a\n" from line 2, closed: true"#]]);
        check("```x``` is code\n", expect!["none"]);
        check("    ```\ncode", expect!["none"]);
        check(
            "```\na\n```py\nb\n```",
            expect![[r#""" "a\n```py\nb\n" from line 2, closed: true"#]],
        );
    }

    #[test]
    fn no_fence_closes_inside_an_edit() {
        let edit = "```\n### a.md\n<<<<<<< SEARCH\n```\nx\n=======\n```\ny\n>>>>>>> REPLACE\n```\n";
        check(
            edit,
            expect![[
                r####""" "### a.md\n<<<<<<< SEARCH\n```\nx\n=======\n```\ny\n>>>>>>> REPLACE\n" from line 2, closed: true"####
            ]],
        );
        check(
            "```\n<<<<<<< SEARCH\nx\n>>>>>>> REPLACE\n```\nagain\n```\nb\n```",
            expect![[r#""" "b\n" from line 8, closed: true"#]],
        );
        check(
            "```\n<<<<<<<<< SEARCH\n=======\n```\n=========\n>>>>>>>>> REPLACE\n```",
            expect![[
                r#""" "<<<<<<<<< SEARCH\n=======\n```\n=========\n>>>>>>>>> REPLACE\n" from line 2, closed: true"#
            ]],
        );
    }

    #[test]
    fn a_list_that_was_cut_loses_its_last_line() {
        let rows = [
            ("```\na.py\nb", Ended::CutOff, "a.py\n"),
            ("```\na.py\n", Ended::CutOff, "a.py\n"),
            ("```\na", Ended::CutOff, ""),
            ("```\na.py\nb", Ended::ByItself, "a.py\nb"),
            ("```\na.py\nb\n```\n", Ended::CutOff, "a.py\nb\n"),
        ];
        for (completion, ended, expected) in rows {
            let block = last_block(completion).unwrap();
            assert_eq!(block.list_body(ended), expected, "{completion:?} {ended:?}");
        }
    }
}
