//! What a commit message says of the problem, without what belongs to the review.

use std::collections::BTreeSet;

use regex::Regex;

/// Why a commit counts as the answer to a problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Claim {
    /// It says that it closes issues of its own repository, by number.
    Closes(Vec<u64>),
    /// It joins a pull request.
    PullRequest,
    /// Its first line reads like a fix.
    Fix,
}

/// The patterns by which messages are read.
pub(super) struct MessageRules {
    closes: Regex,
    number: Regex,
    pull_request: Regex,
    fix: Regex,
    chore: Regex,
    housekeeping: Regex,
    comment: Regex,
    dropped_line: Regex,
    check_box: Regex,
    phrase: Regex,
    reference: Regex,
    label: Regex,
    empty_brackets: Regex,
    loose_end: Regex,
}

/// An issue as messages name it: `#12`, `owner/name#12`, `gh-12`, the URL of one.
const REFERENCE: &str = r"(?:(?:[\w.-]+/[\w.-]+)?#\d+|\bgh-\d+|https?://\S+/(?:issues?|pulls?|merge_requests)/\d+[^\s),.]*)";

impl MessageRules {
    pub(super) fn new() -> Result<Self, regex::Error> {
        let verbs = r"(?:fix(?:es|ed|ing)?|close[sd]?|closing|resolve[sd]?|resolving)";
        let also =
            r"(?:ref|refs|references?|see(?:\s+also)?|part\s+of|related(?:\s+to)?|addresses)";
        let trailers = "signed-off-by|co-authored-by|refs?|pr-url|issues?|tickets?|bug";
        let kinds = "feat|features?|fix(?:es|ed)?|bug(?:s|fix)?|hotfix|chores?|docs?|tests?|refactor|perf|style|build|ci|misc|wip|revert|patch|minor|major|pr|mrg|merge";
        Ok(Self {
            closes: Regex::new(&format!(
                r"(?i)\b{verbs}\b:?\s+(?:(?:issues?|bugs?|tickets?)\s+)?({REFERENCE}(?:(?:\s*,\s*|\s+and\s+|\s*&\s*){REFERENCE})*)"
            ))?,
            number: Regex::new(r"(?:^|[\s,&(])(?:#|gh-)(\d+)|/issues?/(\d+)")?,
            pull_request: Regex::new(r"^Merge (?:pull request|PR) #\d+[^\n]*")?,
            fix: Regex::new(
                r"(?i)\b(?:fix(?:e[sd]|ing)?|bug(?:s|fix)?|crash(?:e[sd]|ing)?|regressions?|incorrect(?:ly)?|wrong(?:ly)?|broken|breaks|fail(?:s|ed|ing|ures?)?|hangs?|leaks?|avoids?|prevents?|don't|do not|should(?:n't)?|correct(?:ly)?)\b",
            )?,
            chore: Regex::new(
                r"(?i)\b(?:typos?|lint(?:er|ing)?|flake8|black|isort|changelog|docs?|docstrings?|documentation|readme|tests?|ci|github actions|merge|bump|release|annotations?|type hints?|spelling|formatting)\b",
            )?,
            housekeeping: Regex::new(
                r"(?i)\b(?:typos?|lint(?:er|ing)?|flake8|black|isort|changelog|docs?|docstrings?|documentation|readme|spelling|formatting)\b",
            )?,
            comment: Regex::new(r"(?s)<!--.*?-->")?,
            dropped_line: Regex::new(&format!(
                r"(?ix)^\s*(?:
                    \#{{1,6}}\s.*                                # a heading of a template
                    | \*\*[^*]+\*\*:?                            # the same in bold
                    | (?:summary|description|changes|motivation|context|checklist|notes?)\s*:?
                    | (?:{trailers}|[\w-]+-(?:by|id|link|hash|to|url|from))\s*:.*
                    | cc\s*:?\s.*@.*
                    | a\ few\ sentences\ describing\b.*          # a template that was left
                    | .*\b(?:auto\ fixes\ from\ pre-commit|see\ https://pre-commit\.ci).*
                    | \W*\bgenerated\ (?:with|by)\s+\[.*
                    | \(cherry\ picked\ from\ commit.*
                    | [-_=*]{{3,}}
                    | \*\s.*                                     # a commit that was squashed
                    | (?:diff\ --git|@@|\+\+\+|---)\s.*
                )$"
            ))?,
            check_box: Regex::new(r"^\s*[-*+]\s*\[[ xX]?\]")?,
            phrase: Regex::new(&format!(
                r"(?i)[(\[]?\b(?:{verbs}|{also})\b:?\s+(?:(?:issues?|bugs?|tickets?|pull requests?|pr)\s+)?{REFERENCE}(?:(?:\s*,\s*|\s+and\s+|\s*&\s*){REFERENCE})*[)\]]?\.?(?:\s+(?:--|—|-)\s+)?"
            ))?,
            reference: Regex::new(&format!(r"(?i){REFERENCE}"))?,
            // A component that is named before the text says where the problem is.
            label: Regex::new(&format!(
                r"(?i)^\s*(?:\[(?:{kinds})\]:?|(?:{kinds})(?:\([^)\n]*\))?!?:(?:\s|$)|#?\d{{2,6}}(?:\s*[:-])?\s)\s*"
            ))?,
            empty_brackets: Regex::new(r"\(\s*[,;]*\s*\)|\[\s*\]")?,
            loose_end: Regex::new(
                r"(?i)(?:\s+(?:in|by|of|from|with|at|for|on|to|and|see))?[\s,]*\s([.,;:]|$)",
            )?,
        })
    }

    /// Why a commit of this message counts; `None` where it does not.
    pub(super) fn claim(&self, message: &str) -> Option<Claim> {
        let mut numbers = BTreeSet::new();
        for found in self.closes.captures_iter(message) {
            let references = found.get(1).map_or("", |references| references.as_str());
            for number in self.number.captures_iter(references) {
                let digits = number.get(1).or(number.get(2));
                numbers.extend(digits.and_then(|digits| digits.as_str().parse::<u64>().ok()));
            }
        }
        let title = message.lines().next().unwrap_or_default();
        // Housekeeping may close an issue, too. What joins a pull request has its title below.
        let joined = self.pull_request.replace(message, "");
        let own_title = joined.trim_start().lines().next().unwrap_or_default();
        let is_housekeeping =
            self.housekeeping.is_match(own_title) && !self.fix.is_match(own_title);
        if self.closes.is_match(message) && !is_housekeeping {
            Some(Claim::Closes(numbers.into_iter().collect()))
        } else if self.pull_request.is_match(message) {
            Some(Claim::PullRequest)
        } else if self.fix.is_match(title) && !self.chore.is_match(title) {
            Some(Claim::Fix)
        } else {
            None
        }
    }

    /// Whether a commit takes another one back.
    pub(super) fn is_revert(message: &str) -> bool {
        let title = message.lines().next().unwrap_or_default().trim_start().to_lowercase();
        title.starts_with("revert") || title.starts_with("reapply")
    }

    /// The problem that a message tells: its first line without labels, then the rest without
    /// references, trailers, templates, lists of squashed commits, and lines of the patch itself.
    pub(super) fn problem(&self, message: &str, is_of_patch: &dyn Fn(&str) -> bool) -> String {
        let message = message.replace("\r\n", "\n");
        let message = self.comment.replace_all(&message, "");
        let message = self.pull_request.replace(&message, "");
        let mut lines: Vec<String> = Vec::new();
        let mut in_check_box = false;
        for line in message.lines() {
            if self.check_box.is_match(line) {
                in_check_box = true;
                continue;
            }
            // The text of a box goes on until something else begins.
            let begins =
                ["- ", "* ", "+ ", "#"].iter().any(|mark| line.trim_start().starts_with(mark));
            let goes_on = !line.trim().is_empty() && !begins;
            in_check_box &= goes_on;
            if in_check_box || self.dropped_line.is_match(line) || is_of_patch(line) {
                continue;
            }
            let kept = self.without_references(line);
            // Of "this addresses #12" nothing is left that says something.
            let is_rest = kept != line && !lines.is_empty() && n_words(&kept) < 5;
            if line.trim().is_empty() || !is_rest && !kept.trim().is_empty() {
                lines.push(kept.trim_end().to_owned());
            }
        }
        let mut text = String::new();
        for line in lines.iter().skip_while(|line| line.is_empty()) {
            if text.is_empty() {
                text += self.without_labels(line).trim();
                text.push('\n');
            } else if !(line.is_empty() && text.ends_with("\n\n")) {
                text += line;
                text.push('\n');
            }
        }
        without_empty_blocks(&text).trim_end().to_owned()
    }

    fn without_references(&self, line: &str) -> String {
        if !self.reference.is_match(line) {
            return line.to_owned();
        }
        let line = self.phrase.replace_all(line, "");
        let line = self.reference.replace_all(&line, "");
        let line = self.empty_brackets.replace_all(&line, "");
        let line = self.loose_end.replace_all(&line, "$1");
        // What is left of a line that held nothing else.
        let has_words = line.chars().any(char::is_alphabetic);
        if has_words { line.into_owned() } else { String::new() }
    }

    fn without_labels<'a>(&self, title: &'a str) -> &'a str {
        let mut rest = title;
        while let Some(label) = self.label.find(rest) {
            if label.end() == rest.len() {
                break;
            }
            rest = &rest[label.end()..];
        }
        rest
    }
}

/// Fenced blocks of which nothing is left go with their fences.
fn without_empty_blocks(text: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut opened: Option<usize> = None;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            match opened.take() {
                None => opened = Some(kept.len()),
                Some(at) if kept[at + 1..].iter().all(|line| line.trim().is_empty()) => {
                    kept.truncate(at);
                    continue;
                }
                Some(_) => {}
            }
        }
        kept.push(line);
    }
    kept.join("\n")
}

/// Words of a text: what holds a letter.
pub(super) fn n_words(text: &str) -> usize {
    text.split_whitespace().filter(|word| word.chars().any(char::is_alphabetic)).count()
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[track_caller]
    fn check(message: &str, expect: Expect) {
        let rules = MessageRules::new().unwrap();
        let is_of_patch = |line: &str| line.contains("return total");
        let claim = rules.claim(message);
        expect.assert_eq(&format!("{claim:?}\n{}\n", rules.problem(message, &is_of_patch)));
    }

    #[test]
    fn references_and_trailers_go() {
        check(
            "Fixed #3061 -- Sum of an empty cart is wrong (#3062)\n\nFixes #12, #13 and https://github.com/o/n/issues/14.\n\nThe sum of no items should be 0, see #9.\nIt builds on what was there before, #8.\nThis partially addresses #10.\n\nCo-authored-by: A <a@b.c>\nReviewed-by: X\n",
            expect![[r#"
                Some(Closes([12, 13, 14, 3061]))
                Sum of an empty cart is wrong

                The sum of no items should be 0
                It builds on what was there before.
            "#]],
        );
    }

    #[test]
    fn labels_templates_boxes_and_squash_lists_go() {
        check(
            "fix(core)!: 6048 [core] outputs: don't lose `x`\n\nResolves: #1\n\n### Description\nIt is lost.\n\n<!--- Put\nan x --->\n- [x] New tests added to cover\nthe changes: `x -f\n--net`.\n- [ ] Docs\n\n* wip\n* fix lint\n\n---------\n\nSigned-off-by: A <a>\n",
            expect![[r#"
                Some(Closes([1]))
                [core] outputs: don't lose `x`

                It is lost.
            "#]],
        );
    }

    #[test]
    fn a_pull_request_has_the_title_of_its_second_paragraph() {
        check(
            "Merge pull request #5 from me/branch\n\nTotals are rounded twice\n",
            expect![[r#"
                Some(PullRequest)
                Totals are rounded twice
            "#]],
        );
    }

    #[test]
    fn lines_of_the_patch_go() {
        check(
            "Fix the total\n\nIt was right before:\n    return total\nand is not now.\n",
            expect![[r#"
                Some(Fix)
                Fix the total

                It was right before:
                and is not now.
            "#]],
        );
    }

    #[test]
    fn bots_templates_and_emptied_blocks_go_and_what_looks_like_a_copy_stays() {
        check(
            "Fix the cart\n\nA few sentences describing the changes.\ncc: command not found\ncc: @somebody\n```py\n    return total\n```\nIt ends.\nfor more information, see https://pre-commit.ci\n```\na\n```\n```\nb\n```\nGenerated with [A](b)\n",
            expect![[r#"
                Some(Fix)
                Fix the cart

                cc: command not found
                It ends.
                ```
                a
                ```
                ```
                b
                ```
            "#]],
        );
    }

    #[test]
    fn what_reads_like_no_fix_is_none() {
        for message in [
            "Add a feature (#12)",
            "Fix typo in docs",
            "Merge branch 'main' into x",
            "Bump a from 1 to 2",
            "Fix flaky tests",
            "See #3",
            "Update the changelog\n\nFixes #3",
        ] {
            assert_eq!(MessageRules::new().unwrap().claim(message), None, "{message}");
        }
        assert!(MessageRules::is_revert("Revert \"Fix the total (#3)\""));
    }

    #[test]
    fn a_pull_request_that_closes_an_issue_has_its_number() {
        let rules = MessageRules::new().unwrap();
        for message in [
            "Merge pull request #5 from me/branch\n\nFixes #12",
            "Merge branch 'x'\n\nFixes #12",
            "Release the lock on error\n\nCloses #12",
        ] {
            assert_eq!(rules.claim(message), Some(Claim::Closes(vec![12])), "{message}");
        }
    }

    #[test]
    fn an_issue_of_another_repository_has_no_number_here() {
        let rules = MessageRules::new().unwrap();
        assert_eq!(rules.claim("Fixes other/repo#77"), Some(Claim::Closes(vec![])));
    }

    #[test]
    fn a_message_of_references_alone_says_nothing() {
        let rules = MessageRules::new().unwrap();
        assert_eq!(rules.problem("Fixes #1 (#2)\n\ncloses #3\n", &|_| false), "");
        assert_eq!(n_words("a 1 -- b2 ..."), 2);
    }
}
