//! Whether an answer is the needle: it must be more like it than like any other needle of the
//! repository, and alike enough.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::general::repoqa::answer::Reader;
use crate::general::repoqa::bleu::similarity;
use crate::general::repoqa::data::{Needle, Repository};

/// How alike is enough; the paper's figure is that of 0.8.
pub const THRESHOLDS: [f64; 11] = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0];

/// The threshold of the paper.
pub const THRESHOLD: f64 = 0.8;

/// What an answer is most alike.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    pub language: String,
    pub repo: String,
    /// The needle that was asked for.
    pub name: String,
    /// The most alike of the repository's needles; nothing where it is alike none.
    pub best_target: Option<String>,
    /// How alike, from 0 to 1.
    pub similarity: f64,
}

impl Verdict {
    /// Whether the needle was found, where so much is enough.
    pub fn is_found(&self, threshold: f64) -> bool {
        self.best_target.as_ref() == Some(&self.name) && threshold <= self.similarity
    }
}

/// Judges answers, a language's rules made once.
pub struct Judge {
    readers: BTreeMap<String, Reader>,
    ignore_comments: bool,
}

impl Judge {
    /// `ignore_comments`: whether comments count for nothing, in answers and needles.
    pub fn new(ignore_comments: bool) -> Self {
        Self { readers: BTreeMap::new(), ignore_comments }
    }

    /// Judges an answer that was to be the needle `name`.
    pub fn judge(
        &mut self,
        language: &str,
        repository: &Repository,
        name: &str,
        answer: &str,
    ) -> anyhow::Result<Verdict> {
        if !self.readers.contains_key(language) {
            self.readers.insert(language.to_owned(), Reader::new(language)?);
        }
        let reader = &self.readers[language];
        let plain = |code: &str| match self.ignore_comments {
            true => reader.without_comments(code),
            false => Ok(code.to_owned()),
        };
        let function = plain(reader.function(answer)?)?;
        let (mut best_target, mut best) = (None, 0.0);
        for needle in repository.needles.as_deref().unwrap_or_default() {
            let alike = similarity(&function, &plain(&code_of(repository, needle)?)?);
            if best < alike {
                (best_target, best) = (Some(needle.name.clone()), alike);
            }
        }
        let (language, repo) = (language.to_owned(), repository.repo.clone());
        Ok(Verdict { language, repo, name: name.to_owned(), best_target, similarity: best })
    }
}

/// The lines of a needle.
fn code_of(repository: &Repository, needle: &Needle) -> anyhow::Result<String> {
    let text = repository.content.get(&needle.path).ok_or_else(|| {
        anyhow::anyhow!("`{}`: the needle `{}` is in no file", repository.repo, needle.name)
    })?;
    let n = needle.end_line.saturating_sub(needle.start_line);
    let lines: Vec<&str> = text.split('\n').skip(needle.start_line).take(n).collect();
    Ok(lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::general::repoqa::data::Dataset;
    use crate::general::repoqa::data::tests::DATA;

    #[track_caller]
    fn check(answer: &str, best_target: Option<&str>, is_found: bool) {
        let dataset = Dataset::parse(DATA.as_bytes()).unwrap();
        let repository = &dataset.of_language("python")[1];
        let verdict = Judge::new(false).judge("python", repository, "second", answer).unwrap();
        assert_eq!(verdict.best_target.as_deref(), best_target, "{verdict:?}");
        assert_eq!(verdict.is_found(THRESHOLD), is_found, "{verdict:?}");
    }

    #[test]
    fn the_needle_is_found_where_the_answer_is_most_alike_and_enough() {
        check(
            "```python\ndef second(x):\n    # doubles\n    return 2 * x\n```",
            Some("second"),
            true,
        );
        check("```python\ndef second(x): # doubles return 2 * x\n```", Some("second"), true);
        check("```python\ndef second(x):\n    return 3 * x + 1\n```", Some("second"), false);
        check("```python\ndef first():\n    return 1\n```", Some("first"), false);
        check("I do not know", None, false);
        check("", None, false);
    }

    #[test]
    fn comments_may_count_for_nothing() {
        let dataset = Dataset::parse(DATA.as_bytes()).unwrap();
        let repository = &dataset.of_language("python")[1];
        let mut judge = Judge::new(true);
        let answer = "```\ndef second(x):\n    return 2 * x  # the double\n```";
        assert!(judge.judge("python", repository, "second", answer).unwrap().is_found(1.0));
    }
}
