//! Cuts an issue to a token limit, with a mark wherever something is missing.
//!
//! Kept first are the title, what a traceback says, and the lines with code or quoted names; then
//! the head and the tail. An issue that fits is left as it is.

use crate::prompt::CountTokens;

/// Characters of a line that survive the cut: a minified file in one line must not be all there is.
const MAX_LINE: usize = 240;

/// The issue, or as much of it as `max_tokens` holds. Lines keep their order; each gap is marked.
pub(crate) fn trim_issue(issue: &str, max_tokens: usize, counter: &dyn CountTokens) -> String {
    let issue = issue.trim();
    // Four bytes a token is rare and eight unheard of, so most of a large log is not worth counting.
    if issue.len() <= max_tokens.saturating_mul(16) && counter.count(issue) <= max_tokens {
        return issue.to_owned();
    }
    let lines: Vec<String> = issue.lines().map(cut_line).collect();
    let mut order: Vec<(u32, usize)> =
        priorities(&lines).into_iter().enumerate().map(|(idx, priority)| (priority, idx)).collect();
    order.sort_unstable();

    let mut kept = vec![false; lines.len()];
    let mut taken = Vec::new();
    let mut tokens = 0;
    for (_, idx) in order {
        // A kept line may need a mark beside it.
        let cost = counter.count(&lines[idx]) + 2;
        if max_tokens < tokens + cost {
            break;
        }
        tokens += cost;
        kept[idx] = true;
        taken.push(idx);
    }
    loop {
        let text = render(&lines, &kept);
        match taken.pop() {
            Some(idx) if max_tokens < counter.count(&text) => kept[idx] = false,
            _ if max_tokens < counter.count(&text) => return String::new(),
            _ => return text,
        }
    }
}

fn cut_line(line: &str) -> String {
    match line.char_indices().nth(MAX_LINE) {
        Some((end, _)) => format!("{} [...]", &line[..end]),
        None => line.to_owned(),
    }
}

/// For each line, how soon it is taken: lower is sooner.
fn priorities(lines: &[String]) -> Vec<u32> {
    let mut priorities = Vec::with_capacity(lines.len());
    let mut in_fence = false;
    let mut in_comment = false;
    let mut seen_text = 0;
    let last_error = lines.iter().rposition(|line| is_error(line));
    for (idx, line) in lines.iter().enumerate() {
        let text = line.trim();
        let is_fence = text.starts_with("```") || text.starts_with("~~~");
        in_comment |= text.starts_with("<!--");
        let from_end = (lines.len() - idx) as u32;
        let class = if text.is_empty() || in_comment {
            9
        } else if seen_text == 0 || Some(idx) == last_error {
            0
        } else if is_error(text) || is_frame(text) {
            2
        } else if seen_text <= 3 {
            1
        } else if seen_text <= 7 {
            3
        } else if in_fence || is_fence || text.contains('`') || line.starts_with("    ") {
            4
        } else if seen_text <= 20 {
            5
        } else {
            6
        };
        // Within a class the head goes first, but for tracebacks and the rest the nearest to the
        // end: the innermost frame and the last error say most.
        let within = if matches!(class, 2 | 6) { from_end } else { idx as u32 };
        priorities.push(class * 0x1000_0000 + within.min(0x0fff_ffff));
        seen_text += u32::from(!text.is_empty() && !in_comment);
        in_fence ^= is_fence;
        in_comment &= !text.contains("-->");
    }
    priorities
}

/// `ValueError: bad`, `FAILED tests/x.py::test - …`, `panicked at`.
fn is_error(line: &str) -> bool {
    let text = line.trim_start_matches(['E', ' ', '>']);
    let head = text.split(':').next().unwrap_or_default();
    let is_exception = head.len() < text.len()
        && !head.contains(' ')
        && (head.ends_with("Error") || head.ends_with("Exception") || head.ends_with("Warning"));
    is_exception || text.starts_with("FAILED ") || text.contains("panicked at")
}

/// A line of a traceback that names a file and a line of it.
fn is_frame(line: &str) -> bool {
    let text = line.trim_start();
    (text.starts_with("File \"") && text.contains(", line "))
        || (text.starts_with("at ") && text.contains(':'))
        || (text.contains(".py:") && text.split(".py:").nth(1).is_some_and(starts_with_digit))
}

fn starts_with_digit(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
}

fn render(lines: &[String], kept: &[bool]) -> String {
    let mut text = String::new();
    let mut missing: Option<usize> = None;
    // A gap of blank lines alone is a blank line.
    let mark = |text: &mut String, missing: Option<usize>| match missing {
        None => {}
        Some(0) => text.push('\n'),
        Some(n) => text.extend(["[... lines left out: ", &n.to_string(), " ...]\n"]),
    };
    for (line, kept) in lines.iter().zip(kept) {
        if *kept {
            mark(&mut text, missing.take());
            text += line;
            text.push('\n');
        } else {
            *missing.get_or_insert(0) += usize::from(!line.trim().is_empty());
        }
    }
    mark(&mut text, missing);
    text.truncate(text.trim_end().len());
    text
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    use super::*;
    use crate::prompt::EstimateTokens;

    #[track_caller]
    fn check(issue: &str, max_tokens: usize, expect: Expect) {
        expect.assert_eq(&trim_issue(issue, max_tokens, &EstimateTokens));
    }

    #[test]
    fn an_issue_that_fits_is_left_as_it_is() {
        check(
            "\nTitle\n\n  body <!-- x -->\n",
            100,
            expect![[r#"
            Title

              body <!-- x -->"#]],
        );
    }

    #[test]
    fn title_and_traceback_survive_the_log() {
        let log: String = (0..500)
            .map(|i| format!("2024-01-01 INFO step {i} done\n"))
            .collect::<Vec<_>>()
            .concat();
        let issue = format!(
            "Crash when saving\n\nIt happens on every save.\n{log}Traceback (most recent call last):\n  \
             File \"app/store.py\", line 12, in save\n    self.flush()\nValueError: closed\n{log}Thanks!"
        );
        check(
            &issue,
            110,
            expect![[r#"
            Crash when saving

            It happens on every save.
            2024-01-01 INFO step 0 done
            2024-01-01 INFO step 1 done
            2024-01-01 INFO step 2 done
            2024-01-01 INFO step 3 done
            [... lines left out: 497 ...]
              File "app/store.py", line 12, in save
            [... lines left out: 1 ...]
            ValueError: closed
            [... lines left out: 501 ...]"#]],
        );
    }

    #[test]
    fn a_single_endless_line_is_cut() {
        let issue = format!("Title\n{}", "x".repeat(1_000_000));
        let trimmed = trim_issue(&issue, 200, &EstimateTokens);
        assert!(trimmed.starts_with("Title\nxxx") && trimmed.ends_with("x [...]"), "{trimmed}");
    }

    #[test]
    fn nothing_fits_in_nothing() {
        check("Title\nbody", 0, expect![""]);
    }

    proptest! {
        #[test]
        fn the_limit_holds(issue in "(\\PC{0,40}\n?){0,60}", max_tokens in 0_usize..200) {
            let trimmed = trim_issue(&issue, max_tokens, &EstimateTokens);
            prop_assert!(EstimateTokens.count(&trimmed) <= max_tokens);
        }
    }
}
