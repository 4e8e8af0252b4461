//! Which of the mined instances stay, once all are known: no near-duplicates, no repository with
//! more than its share; and which are held out.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::str::FromStr;

use anyhow::{Context as _, ensure};

use crate::instance::mined::{MinedRecord, Split};
use crate::run::seed::call_seed;
use crate::train::mine::commit::DropReason;

/// Which instances are kept for evaluation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Holdout {
    None,
    /// The newest of each repository: this part of its instances.
    Newest(f64),
}

impl FromStr for Holdout {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        if text == "none" {
            return Ok(Self::None);
        }
        let wanted = || format!("wanted `none` or `newest:10%`, found `{text}`");
        let percent = text.strip_prefix("newest:").and_then(|text| text.strip_suffix('%'));
        let percent: f64 = percent.and_then(|text| text.parse().ok()).with_context(wanted)?;
        ensure!(0.0 < percent && percent < 100.0, wanted());
        Ok(Self::Newest(percent / 100.0))
    }
}

/// The most that one repository gives, where three or more are mined: this part of all.
const SHARE: f64 = 0.4;

/// Texts or changes that have this part in common are one.
const SAME: f64 = 0.8;

/// What stays, in order of repositories and times, and what became of the rest.
pub(super) fn select(
    mined: Vec<MinedRecord>,
    holdout: Holdout,
    seed: u64,
) -> (Vec<MinedRecord>, Vec<(String, DropReason)>) {
    let mut dropped = Vec::new();
    let kept = without_duplicates(mined, &mut dropped);
    let mut kept = within_share(kept, seed, &mut dropped);
    kept.sort_by(|a, b| {
        (&a.repo, &a.created_at, &a.instance_id).cmp(&(&b.repo, &b.created_at, &b.instance_id))
    });
    if let Holdout::Newest(part) = holdout {
        for of_repo in kept.chunk_by_mut(|a, b| a.repo == b.repo) {
            let n_held = (part * of_repo.len() as f64).ceil() as usize;
            let first = of_repo.len() - n_held;
            of_repo[first..].iter_mut().for_each(|record| record.split = Split::Holdout);
        }
    }
    (kept, dropped)
}

/// What is compared of an instance.
struct Prints {
    words: Vec<u64>,
    lines: Vec<u64>,
}

impl Prints {
    fn of(record: &MinedRecord) -> Self {
        let text = record.problem_statement.to_lowercase();
        let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
        let is_change = |line: &&str| {
            line.starts_with(['+', '-']) && !line.starts_with("+++ ") && !line.starts_with("--- ")
        };
        let lines = record.patch.lines().filter(is_change);
        // Short lines stand in many patches.
        let lines = lines.map(str::trim_end).filter(|line| 8 < line.len());
        Self { words: hashes(words), lines: hashes(lines) }
    }

    fn is_same(&self, other: &Self) -> bool {
        let n_words = self.words.len().max(other.words.len());
        let n_lines = self.lines.len().min(other.lines.len());
        // A commit of a pull request is a part of its merge; two small changes must be equal.
        let wanted = if n_lines < 3 { self.lines.len().max(other.lines.len()) } else { n_lines };
        n_shared(&self.words, &other.words) as f64 >= SAME * n_words as f64
            || 0 < n_lines && n_shared(&self.lines, &other.lines) as f64 >= SAME * wanted as f64
    }
}

fn hashes<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<u64> {
    let hasher = BuildHasherDefault::<DefaultHasher>::default();
    texts.map(|text| hasher.hash_one(text)).collect::<BTreeSet<u64>>().into_iter().collect()
}

/// Common elements of two lists in order.
fn n_shared(a: &[u64], b: &[u64]) -> usize {
    let (mut at, mut n) = (0, 0);
    for value in a {
        while b.get(at).is_some_and(|other| other < value) {
            at += 1;
        }
        n += usize::from(b.get(at) == Some(value));
    }
    n
}

/// The newest of those that are the same stays: a merge before its parts.
fn without_duplicates(
    mut mined: Vec<MinedRecord>,
    dropped: &mut Vec<(String, DropReason)>,
) -> Vec<MinedRecord> {
    mined.sort_by(|a, b| (&b.created_at, &a.instance_id).cmp(&(&a.created_at, &b.instance_id)));
    let (mut seen, mut kept): (Vec<Prints>, _) = (Vec::new(), Vec::new());
    for record in mined {
        let prints = Prints::of(&record);
        if seen.iter().any(|other| other.is_same(&prints)) {
            dropped.push((record.repo, DropReason::NearDuplicate));
        } else {
            kept.push(record);
        }
        seen.push(prints);
    }
    kept
}

/// Two repositories cannot both stay within their share, so three are wanted for it.
fn within_share(
    kept: Vec<MinedRecord>,
    seed: u64,
    dropped: &mut Vec<(String, DropReason)>,
) -> Vec<MinedRecord> {
    let mut by_repo: BTreeMap<String, Vec<MinedRecord>> = BTreeMap::new();
    for record in kept {
        by_repo.entry(record.repo.clone()).or_default().push(record);
    }
    let counts: Vec<usize> = by_repo.values().map(Vec::len).collect();
    let most = if counts.len() < 3 { usize::MAX } else { most_of_one(&counts) };
    let mut kept = Vec::new();
    for (repo, mut records) in by_repo {
        if most < records.len() {
            records.sort_by_key(|record| call_seed(seed, &record.instance_id, "share", 0));
            dropped.extend(vec![(repo, DropReason::OverShare); records.len() - most]);
            records.truncate(most);
        }
        kept.extend(records);
    }
    kept
}

/// The largest number that, as the most of any repository, is at most its share of the rest.
fn most_of_one(counts: &[usize]) -> usize {
    let total = |most: usize| counts.iter().map(|n| *n.min(&most)).sum::<usize>();
    let fits = |most: &usize| {
        let largest = counts.iter().map(|n| *n.min(most)).max().unwrap_or_default();
        largest as f64 <= SHARE * total(*most) as f64
    };
    let largest = counts.iter().copied().max().unwrap_or_default();
    (1..=largest).rev().find(fits).unwrap_or(largest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instance::mined::{MINED_VERSION, TextKind};

    fn record(repo: &str, number: usize, text: &str, lines: &str) -> MinedRecord {
        MinedRecord {
            mined_version: MINED_VERSION,
            instance_id: format!("{repo}-{number:04}"),
            repo: repo.to_owned(),
            base_commit: String::new(),
            commit: String::new(),
            created_at: format!("2020-01-01T00:00:{number:04}Z"),
            problem_statement: text.to_owned(),
            text_kind: TextKind::Message,
            split: Split::Train,
            patch: lines.to_owned(),
            test_patch: String::new(),
        }
    }

    fn distinct(repo: &str, n: usize) -> Vec<MinedRecord> {
        let one = |idx: usize| {
            let text = format!("{repo} a{idx} b{idx} c{idx}");
            record(repo, idx, &text, &format!("+{repo} has line {idx}"))
        };
        (0..n).map(one).collect()
    }

    #[test]
    fn the_part_of_a_merge_and_a_repeated_text_go() {
        let merge = "+first new line\n+second new line\n-third old line\n+fourth new line\n";
        let part = "+first new line\n+second new line\n-third old line\n";
        let mined = vec![
            record("r", 1, "the parser loses a comma at the end", part),
            record("r", 2, "merge of the fix for commas", merge),
            record("r", 3, "Merge of the fix, for commas!", "+something else here\n"),
            record("r", 4, "small and other", "+first new line\n"),
        ];
        let (kept, dropped) = select(mined, Holdout::None, 0);
        let ids: Vec<&str> = kept.iter().map(|record| record.instance_id.as_str()).collect();
        assert_eq!(ids, ["r-0003", "r-0004"]);
        assert_eq!(dropped, vec![("r".to_owned(), DropReason::NearDuplicate); 2]);
    }

    #[test]
    fn no_repository_has_more_than_its_share() {
        assert_eq!(most_of_one(&[100, 30, 30]), 40);
        assert_eq!(most_of_one(&[10, 10, 10]), 10);
        let mined = [distinct("a", 100), distinct("b", 30), distinct("c", 30)].concat();
        let (kept, dropped) = select(mined.clone(), Holdout::None, 7);
        assert_eq!((kept.len(), dropped.len()), (100, 60));
        assert_eq!(select(mined.clone(), Holdout::None, 7).0, kept);
        assert_ne!(select(mined, Holdout::None, 8).0, kept);
        let two = [distinct("a", 50), distinct("b", 3)].concat();
        assert_eq!(select(two, Holdout::None, 0).0.len(), 53);
    }

    #[test]
    fn the_newest_of_each_repository_are_held_out() {
        let mined = [distinct("a", 11), distinct("b", 3)].concat();
        let (kept, _) = select(mined, "newest:10%".parse().unwrap(), 0);
        let held: Vec<&str> = kept
            .iter()
            .filter(|record| record.split == Split::Holdout)
            .map(|record| record.instance_id.as_str())
            .collect();
        assert_eq!(held, ["a-0009", "a-0010", "b-0002"]);
        for wrong in ["newest:0%", "newest:100%", "oldest:3%", "10%"] {
            assert!(wrong.parse::<Holdout>().is_err(), "{wrong}");
        }
    }
}
