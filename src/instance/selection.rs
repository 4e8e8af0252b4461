//! Which instances of a dataset are meant.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use anyhow::{bail, ensure};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::instance::Instance;

/// What to take of a dataset, applied in the order of the fields; without any, everything.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// These ids.
    pub only: Vec<String>,
    /// Of these repositories.
    pub repos: Vec<String>,
    /// In an order drawn with this seed.
    pub shuffle: Option<u64>,
    /// The first so many.
    pub limit: Option<usize>,
    /// Of the rest, every n-th.
    pub shard: Option<Shard>,
}

/// Part `index` (from 1) of `n`; parts differ in size by at most one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    pub index: usize,
    pub n: usize,
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = || format!("wanted I/N such as 3/16, with I from 1 to N; found `{text}`");
        let (index, n) = text.split_once('/').ok_or_else(wanted)?;
        let (Ok(index), Ok(n)) = (index.parse(), n.parse()) else { return Err(wanted()) };
        if index == 0 || n < index { Err(wanted()) } else { Ok(Self { index, n }) }
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.n)
    }
}

impl Selection {
    /// Takes the instances that are meant.
    ///
    /// # Errors
    ///
    /// An id or a repository that the dataset does not have, or nothing left.
    pub fn apply(&self, instances: Vec<Instance>) -> anyhow::Result<Vec<Instance>> {
        self.choose(instances, |one| (&one.task().instance_id, &one.task().repo))
    }

    /// The same for anything that has an id and belongs to a repository.
    pub fn choose<T>(
        &self,
        mut instances: Vec<T>,
        names: impl Fn(&T) -> (&str, &str),
    ) -> anyhow::Result<Vec<T>> {
        known("instance", &self.only, instances.iter().map(|one| names(one).0))?;
        known("repository", &self.repos, instances.iter().map(|one| names(one).1))?;
        let is_meant = |wanted: &[String], name: &str| {
            wanted.is_empty() || wanted.iter().any(|one| one == name)
        };
        instances.retain(|instance| {
            let (id, repo) = names(instance);
            is_meant(&self.only, id) && is_meant(&self.repos, repo)
        });
        if let Some(seed) = self.shuffle {
            instances.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        }
        if let Some(limit) = self.limit {
            instances.truncate(limit);
        }
        if let Some(Shard { index, n }) = self.shard {
            let numbered = instances.into_iter().enumerate();
            instances =
                numbered.filter(|(at, _)| at % n == index - 1).map(|(_, one)| one).collect();
        }
        ensure!(!instances.is_empty(), "the selection leaves no instance");
        Ok(instances)
    }
}

fn known<'a>(
    what: &str,
    wanted: &[String],
    there: impl Iterator<Item = &'a str>,
) -> anyhow::Result<()> {
    let there: BTreeSet<&str> = there.collect();
    let Some(unknown) = wanted.iter().find(|name| !there.contains(name.as_str())) else {
        return Ok(());
    };
    let near =
        there.iter().max_by(|a, b| strsim::jaro(a, unknown).total_cmp(&strsim::jaro(b, unknown)));
    let hint = near.map_or_else(String::new, |near| format!("\nhint: the nearest is `{near}`"));
    bail!("the dataset has no {what} `{unknown}`{hint}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instance::dataset::parse_dataset;

    fn instances() -> Vec<Instance> {
        let record = |number: usize| {
            let repo = if number < 4 { "a/x" } else { "b/y" };
            format!(
                "{{\"instance_id\":\"i{number}\",\"repo\":\"{repo}\",\"base_commit\":\"1\",\
                 \"problem_statement\":\"p\"}}\n"
            )
        };
        parse_dataset(&(0..7).map(record).collect::<String>()).unwrap().instances
    }

    #[track_caller]
    fn check(selection: &Selection, expected: &[&str]) {
        let taken = selection.apply(instances()).unwrap();
        let ids: Vec<&str> = taken.iter().map(|one| one.task().instance_id.as_str()).collect();
        assert_eq!(ids, expected);
    }

    #[test]
    fn filters_come_before_limit_and_shard() {
        let repos = vec!["a/x".to_owned()];
        check(&Selection { repos, limit: Some(2), ..Selection::default() }, &["i0", "i1"]);
        let only = vec!["i6".to_owned(), "i2".to_owned()];
        check(&Selection { only, ..Selection::default() }, &["i2", "i6"]);
        let shard =
            |index, n| Selection { shard: Some(Shard { index, n }), ..Selection::default() };
        check(&shard(1, 3), &["i0", "i3", "i6"]);
        check(&shard(3, 3), &["i2", "i5"]);
    }

    #[test]
    fn a_seed_gives_one_order() {
        let shuffled = |seed| {
            let selection = Selection { shuffle: Some(seed), ..Selection::default() };
            let taken = selection.apply(instances()).unwrap();
            taken.iter().map(|one| one.task().instance_id.clone()).collect::<Vec<_>>()
        };
        assert_eq!(shuffled(1), shuffled(1));
        assert_ne!(shuffled(1), shuffled(2));
        assert_eq!(shuffled(1).len(), 7);
    }

    #[test]
    fn what_the_dataset_does_not_have_is_an_error_that_names_the_nearest() {
        let selection = Selection { only: vec!["i9x".to_owned()], ..Selection::default() };
        let message = selection.apply(instances()).unwrap_err().to_string();
        assert!(message.contains("no instance `i9x`\nhint: the nearest is `i"), "{message}");
        let nothing = Selection { limit: Some(0), ..Selection::default() };
        assert!(nothing.apply(instances()).is_err());
    }

    #[test]
    fn shards_are_counted_from_one() {
        assert_eq!("3/16".parse(), Ok(Shard { index: 3, n: 16 }));
        for text in ["0/4", "5/4", "1", "a/b", "1/0", ""] {
            assert!(text.parse::<Shard>().is_err(), "{text}");
        }
    }
}
