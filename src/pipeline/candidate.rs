//! Candidates: the distinct patches that samples gave, with their votes.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::diff::change::FileChange;
use crate::diff::render::render;
use crate::index::normal_form::normal_form;
use crate::index::syntax_errors;
use crate::pipeline::judge::judgement::Judgement;
use crate::repo::path::RepoPath;
use crate::repo::text::Text;

/// A distinct patch.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The sample that first gave it; its layout is kept.
    pub sample: u64,
    pub changes: Vec<FileChange>,
    /// Samples that gave it, up to comments and layout.
    pub votes: u32,
    /// Sum over its samples of the mean log-probability per token, where the engine tells them.
    logprob_sum: f64,
    n_logprobs: u32,
    /// What the tests said, once they ran.
    pub tests: Option<Judgement>,
    /// Why it may not be used, whatever else speaks for it.
    pub refusal: Option<String>,
}

impl Candidate {
    pub fn mean_logprob(&self) -> Option<f64> {
        (0 < self.n_logprobs).then(|| self.logprob_sum / f64::from(self.n_logprobs))
    }

    /// How it stands, in words.
    pub fn verdict_words(&self, n_samples: u32) -> String {
        match (&self.refusal, &self.tests) {
            (Some(refusal), _) => format!("refused: {refusal}"),
            (None, Some(tests)) => tests.words(),
            (None, None) => format!("UNVERIFIED: {} of {n_samples} samples agree", self.votes),
        }
    }

    /// The patch as git writes it.
    pub fn patch(&self) -> Vec<u8> {
        render(&self.changes)
    }
}

/// The candidates of one issue.
#[derive(Debug, Default)]
pub struct Pool {
    by_form: BTreeMap<Form, usize>,
    candidates: Vec<Candidate>,
    n_samples: u32,
}

/// What two patches that mean the same have in common.
type Form = Vec<(RepoPath, Option<[u8; 32]>)>;

impl Pool {
    /// Counts a sample that gave no usable edit.
    pub fn add_unusable(&mut self) {
        self.n_samples += 1;
    }

    /// Counts a sample's changes; returns the candidate they belong to.
    pub fn add(&mut self, sample: u64, changes: Vec<FileChange>, logprob: Option<f64>) -> usize {
        self.n_samples += 1;
        let n_known = self.candidates.len();
        let idx = *self.by_form.entry(form_of(&changes)).or_insert(n_known);
        if idx == n_known {
            let refusal = find_refusal(&changes);
            self.candidates.push(Candidate {
                sample,
                changes,
                votes: 0,
                logprob_sum: 0.0,
                n_logprobs: 0,
                tests: None,
                refusal,
            });
        }
        let candidate = &mut self.candidates[idx];
        candidate.votes += 1;
        if let Some(logprob) = logprob {
            candidate.logprob_sum += logprob;
            candidate.n_logprobs += 1;
        }
        idx
    }

    /// Samples so far, unusable ones included.
    pub fn n_samples(&self) -> u32 {
        self.n_samples
    }

    pub fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }

    pub fn candidate_mut(&mut self, idx: usize) -> &mut Candidate {
        &mut self.candidates[idx]
    }

    /// Whether `n_left` further samples cannot give another candidate more votes than the first.
    pub fn is_decided(&self, n_left: u32) -> bool {
        let mut votes: Vec<u32> = self.usable().map(|candidate| candidate.votes).collect();
        votes.sort_unstable_by(|a, b| b.cmp(a));
        match votes.as_slice() {
            [] => false,
            [first] => n_left < *first,
            [first, second, ..] => second + n_left < *first,
        }
    }

    /// Indices of the candidates that no test has judged yet, most promising first.
    pub fn untested(&self) -> Vec<usize> {
        let mut indices: Vec<usize> = (0..self.candidates.len())
            .filter(|idx| {
                self.candidates[*idx].tests.is_none() && self.candidates[*idx].refusal.is_none()
            })
            .collect();
        indices.sort_by(|a, b| order(&self.candidates[*a], &self.candidates[*b]));
        indices
    }

    /// All candidates, best first: by their tests, then votes, then mean log-probability, then
    /// the earlier sample.
    pub fn into_ranking(mut self) -> Vec<Candidate> {
        self.candidates.sort_by(order);
        self.candidates
    }

    fn usable(&self) -> impl Iterator<Item = &Candidate> {
        self.candidates.iter().filter(|candidate| candidate.refusal.is_none())
    }
}

fn order(a: &Candidate, b: &Candidate) -> std::cmp::Ordering {
    let tests = |candidate: &Candidate| candidate.tests.as_ref().map(Judgement::order);
    let by_tests = match (tests(a), tests(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        (Some(_), None) => std::cmp::Ordering::Less,
        (None, Some(_)) => std::cmp::Ordering::Greater,
        (None, None) => std::cmp::Ordering::Equal,
    };
    let logprob = |candidate: &Candidate| candidate.mean_logprob().unwrap_or(f64::NEG_INFINITY);
    a.refusal
        .is_some()
        .cmp(&b.refusal.is_some())
        .then(by_tests)
        .then(b.votes.cmp(&a.votes))
        .then(logprob(b).total_cmp(&logprob(a)))
        .then(a.sample.cmp(&b.sample))
}

fn form_of(changes: &[FileChange]) -> Form {
    let mut form: Form = changes
        .iter()
        .map(|change| {
            let after = change.after().map(|after| match Text::decode(&after.bytes) {
                Ok(text) => normal_form(&after.path, &text),
                Err(_) => Sha256::digest(&after.bytes).into(),
            });
            (change.path().clone(), after)
        })
        .collect();
    form.sort();
    form
}

/// The first line of a file that cannot be read after a change, though it could be before.
fn find_new_error<'a>(
    before: Option<&(RepoPath, Text)>,
    after: Option<&'a (RepoPath, Text)>,
) -> Option<(&'a RepoPath, usize)> {
    let (path, text) = after?;
    let known = before.map_or_else(Vec::new, |(path, text)| syntax_errors(path, text));
    let found = syntax_errors(path, text);
    if found.len() <= known.len() {
        return None;
    }
    // An error that was there before stands in a line of the same text.
    let line_of = |text: &Text, line: u32| text.line(line as usize - 1).to_owned();
    let mut texts: Vec<String> = before
        .map_or_else(Vec::new, |(_, text)| known.iter().map(|at| line_of(text, *at)).collect());
    let is_new = |at: &&u32| {
        let text = line_of(text, **at);
        let known = texts.iter().position(|known| *known == text);
        known.map(|idx| texts.swap_remove(idx)).is_none()
    };
    let first = found.iter().find(is_new).or(found.first())?;
    Some((path, *first as usize))
}

/// Why a patch may not be used: it breaks the syntax of a file, or changes comments and layout
/// alone.
fn find_refusal(changes: &[FileChange]) -> Option<String> {
    let mut changes_code = false;
    for change in changes {
        let text = |state: Option<&crate::diff::change::FileState>| {
            state.and_then(|state| Some((state.path.clone(), Text::decode(&state.bytes).ok()?)))
        };
        let (before, after) = (text(change.before()), text(change.after()));
        if let Some((path, line)) = find_new_error(before.as_ref(), after.as_ref()) {
            return Some(format!("it breaks the syntax of `{path}` from line {line} on"));
        }
        let form = |side: &Option<(RepoPath, Text)>| {
            side.as_ref().map(|(path, text)| normal_form(path, text))
        };
        changes_code |= form(&before) != form(&after) || before.is_none() != after.is_none();
    }
    (!changes_code).then(|| "only comments or layout change".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, before: &str, after: &str, refusal: Option<&str>) {
        let path = RepoPath::parse(path).unwrap();
        let text = |text: &str| (path.clone(), Text::decode(text.as_bytes()).unwrap());
        let (before, after) = (text(before), text(after));
        let found = find_new_error(Some(&before), Some(&after));
        let found = found.map(|(path, line)| format!("{path}:{line}"));
        assert_eq!(found.as_deref(), refusal, "{}", after.1.content());
    }

    #[test]
    fn the_line_of_the_first_new_error_is_named() {
        check("a.py", "a = 1\n", "a = 1\nb = (\nc = 2 2\n", Some("a.py:2"));
        check("a.py", "a = (\n", "a = (\n", None);
        // What was wrong before is not what the patch broke.
        let known = "int f() { return 1 1; }\n";
        check("a.c", known, &format!("{known}int g() {{ return 2 2; }}\n"), Some("a.c:2"));
        check("a.c", known, &format!("int g() {{ return 2; }}\n{known}"), None);
    }

    #[test]
    fn attributes_of_elements_with_reserved_names_are_no_errors() {
        let before = "const A = () => <label>hi</label>;\n";
        check("a.jsx", before, "const A = () => <label for=\"y\" class=\"x\">hi</label>;\n", None);
        check("a.jsx", before, "const A = () => <label for=\"y\">hi</label;\n", Some("a.jsx:1"));
    }
}
