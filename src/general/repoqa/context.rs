//! The context of a needle: so many tokens of its repository, with the needle where it should be.

use std::path::Path;

use anyhow::{Context as _, anyhow};

use crate::general::python_text::slice;
use crate::general::repoqa::Task;
use crate::prompt::CountTokens;

/// A part of a repository, as a prompt shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeContext {
    pub text: String,
    /// Where the needle lies, in tokens.
    pub needle_start: usize,
    pub needle_end: usize,
    pub n_tokens: usize,
}

/// Lines that were taken, and their tokens together.
#[derive(Debug, Default)]
struct Taken {
    text: String,
    n_tokens: i64,
    /// Whether there was no room for a line.
    is_full: bool,
}

/// Cuts the context of a task out of its repository's files, which are in order.
///
/// A line is counted by itself, with its line end. Before the needle, its file is taken from the
/// needle upwards, and files before it from their beginnings, the nearest first; behind it, its
/// file and those that follow. The line that has no room ends its side.
pub fn code_context(
    task: &Task,
    files: &[(&str, &str)],
    n_tokens: usize,
    counter: &dyn CountTokens,
) -> anyhow::Result<CodeContext> {
    let needle = &task.needle;
    let at = files.iter().position(|(path, _)| *path == needle.path);
    let at = at.with_context(|| format!("`{}`: no file `{}`", task.repo, needle.path))?;
    let (path, text) = files[at];
    let head = |path: &str| format!("{} Path: {path}", comment_mark(&task.language));
    let needle_text = slice(text, needle.start_byte, needle.end_byte);
    let needle_tokens = counter.count(needle_text);

    let before = (n_tokens as f64 * task.position_ratio - needle_tokens as f64 / 2.0) as i64;
    let mut room = Room { left: before, counter };
    let above = slice(text, 0, needle.start_byte);
    let own_head = head(path);
    let lines: Vec<&str> = std::iter::once(own_head.as_str()).chain(above.split('\n')).collect();
    let mut taken = room.take_last(&lines);
    let mut prefix = taken.text;
    for (path, text) in files[..at].iter().rev() {
        if taken.is_full || room.left <= 0 {
            break;
        }
        taken = room.take_first(std::iter::once(head(path).as_str()).chain(text.split('\n')));
        prefix.insert_str(0, &taken.text);
    }

    let mut room = Room { left: n_tokens as i64 - needle_tokens as i64 - before, counter };
    taken = room.take_first(slice(text, needle.end_byte, usize::MAX).split('\n'));
    let mut suffix = taken.text;
    for (path, text) in &files[at + 1..] {
        if taken.is_full || room.left <= 0 {
            break;
        }
        taken = room.take_first(std::iter::once(head(path).as_str()).chain(text.split('\n')));
        suffix.push_str(&taken.text);
    }

    // A data set whose words were taken out has zeros in their place, so that bytes still count.
    let [prefix, needle_text, suffix] =
        [&prefix, needle_text, &suffix].map(|text| text.replace('\0', ""));
    let needle_start = counter.count(&prefix);
    let needle_end = needle_start + counter.count(&needle_text);
    let n_tokens = needle_end + counter.count(&suffix);
    Ok(CodeContext {
        text: [prefix, needle_text, suffix].concat(),
        needle_start,
        needle_end,
        n_tokens,
    })
}

/// What stands for lines that had no room.
const ELLIPSIS: &str = "...\n";

/// Tokens that may still be taken on one side of the needle.
struct Room<'a> {
    left: i64,
    counter: &'a dyn CountTokens,
}

impl Room<'_> {
    /// Takes lines from the last one upwards.
    fn take_last(&mut self, lines: &[&str]) -> Taken {
        let (mut taken, mut kept) = (Taken::default(), Vec::new());
        for line in lines.iter().rev() {
            let line = format!("{line}\n");
            let n_tokens = self.counter.count(&line) as i64;
            if self.left < taken.n_tokens + n_tokens {
                taken.is_full = true;
                break;
            }
            taken.n_tokens += n_tokens;
            kept.push(line);
        }
        taken.text = kept.into_iter().rev().collect();
        self.left -= taken.n_tokens;
        taken
    }

    /// Takes lines from the first one on.
    fn take_first<'b>(&mut self, lines: impl Iterator<Item = &'b str>) -> Taken {
        let mut taken = Taken::default();
        for line in lines {
            let line = format!("{line}\n");
            let n_tokens = self.counter.count(&line) as i64;
            if self.left < taken.n_tokens + n_tokens {
                taken.is_full = true;
                break;
            }
            taken.n_tokens += n_tokens;
            taken.text.push_str(&line);
        }
        if taken.is_full {
            taken.text.push_str(ELLIPSIS);
            taken.n_tokens += self.counter.count(ELLIPSIS) as i64;
        }
        self.left -= taken.n_tokens;
        taken
    }
}

/// What a comment of one line begins with.
fn comment_mark(language: &str) -> &'static str {
    if language == "python" { "#" } else { "//" }
}

/// Counts by a `tokenizer.json`, so that contexts are those of another model.
pub struct FileTokens(tokenizers::Tokenizer);

/// How vocabularies with bytes to fall back on write a zero; it stands for words that were taken
/// out, and costs nothing.
const ZERO: &str = "<0x00>";

impl FileTokens {
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let tokenizer = tokenizers::Tokenizer::from_file(path).map_err(|error| {
            anyhow!(
                "`{}` is no tokenizer: {error}\nhint: the file `tokenizer.json` of a model is wanted",
                path.display()
            )
        })?;
        Ok(Self(tokenizer))
    }
}

impl CountTokens for FileTokens {
    fn count(&self, text: &str) -> usize {
        match self.0.encode_fast(text, false) {
            Ok(encoding) => encoding.get_tokens().iter().filter(|token| *token != ZERO).count(),
            // A token is at least a byte.
            Err(_) => text.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::general::repoqa::data::Needle;

    /// A token for every word, none for white space.
    struct Words;

    impl CountTokens for Words {
        fn count(&self, text: &str) -> usize {
            text.split_whitespace().count()
        }
    }

    const FILES: [(&str, &str); 3] = [
        ("a.py", "a1\na2\na3\n"),
        ("b.py", "b1\nb2\n\n  needle x\nb3\nb4\n"),
        ("c.py", "c1\nc2\n"),
    ];

    #[track_caller]
    fn check(n_tokens: usize, position_ratio: f64, expected: &str) {
        let needle = Needle {
            name: "needle".to_owned(),
            path: "b.py".to_owned(),
            start_line: 3,
            end_line: 4,
            start_byte: 9,
            end_byte: 17,
            description: String::new(),
        };
        let task = Task {
            id: String::new(),
            language: "python".to_owned(),
            repository_idx: 0,
            repo: "a/x".to_owned(),
            needle,
            position_ratio,
        };
        let context = code_context(&task, &FILES, n_tokens, &Words).unwrap();
        assert_eq!(context.text, expected);
        assert_eq!(context.needle_end - context.needle_start, 2);
        assert_eq!(context.n_tokens, Words.count(expected));
    }

    #[test]
    fn a_large_context_holds_everything_in_order() {
        // The needle's own indentation is a line of its own, as in the reference.
        check(
            100,
            0.5,
            "# Path: a.py\na1\na2\na3\n\n# Path: b.py\nb1\nb2\n\n  \nneedle x\nb3\nb4\n\n# Path: c.py\nc1\nc2\n\n",
        );
    }

    #[test]
    fn a_side_ends_at_the_line_that_has_no_room() {
        // Before: 12 × 0.5 − 1 = 5 tokens, of which the own file takes all; behind: 5.
        check(12, 0.5, "# Path: b.py\nb1\nb2\n\n  \nneedle x\nb3\nb4\n\n# Path: c.py\n...\n");
        // Before: 10, the file above begins at its beginning and is cut.
        check(
            22,
            0.5,
            "# Path: a.py\na1\na2\n...\n# Path: b.py\nb1\nb2\n\n  \nneedle x\nb3\nb4\n\n# Path: c.py\nc1\nc2\n\n",
        );
        // No room before, not even for an empty line, and little behind.
        check(4, 0.0, "needle x\nb3\nb4\n\n...\n");
    }
}
