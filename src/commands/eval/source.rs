//! The instances of an evaluation, and how their base commits are opened.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::bail;
use clap::Args;
use rayon::prelude::*;

use crate::commands::output::note;
use crate::commands::progress::bar;
use crate::config::folder::Folders;
use crate::index::IndexOptions;
use crate::index::cache::CacheOptions;
use crate::index::retrieval::RankOptions;
use crate::instance::dataset::{Problem, read_dataset};
use crate::instance::repository::{clone_repository, find_repository};
use crate::instance::selection::{Selection, Shard};
use crate::instance::{Instance, Task};
use crate::pipeline::case::Case;
use crate::prompt::template::Templates;
use crate::report::failure::Failure;
use crate::run::record_row::RecordRow;
use crate::stage::Context;

/// Which instances, and where their repositories are.
#[derive(Debug, Clone, Args)]
pub struct DataArgs {
    /// Records of SWE-bench: JSON lines, one JSON array, or Parquet
    #[arg(required = true)]
    pub dataset: Option<PathBuf>,
    /// The folder of the repositories: `owner__name`, `owner+name`, `owner/name` or `name`, bare
    /// or with a work tree
    #[arg(long, value_name = "DIR", required = true)]
    pub repos: Option<PathBuf>,
    /// Where repositories that the folder lacks are cloned from; `{repo}` stands for `owner/name`
    #[arg(long, value_name = "URL-TEMPLATE")]
    pub clone_from: Option<String>,
    /// Only these instances
    #[arg(long, value_name = "ID", value_delimiter = ',', help_heading = "Selection")]
    pub only: Vec<String>,
    /// Only instances of these repositories
    #[arg(long, value_name = "OWNER/NAME", value_delimiter = ',', help_heading = "Selection")]
    pub repo: Vec<String>,
    /// At most so many instances
    #[arg(long, value_name = "N", help_heading = "Selection")]
    pub limit: Option<usize>,
    /// In an order drawn with this seed, before --limit
    #[arg(long, value_name = "SEED", help_heading = "Selection")]
    pub shuffle: Option<u64>,
    /// The I-th of N parts of what is selected; `sorft eval merge` joins them
    #[arg(long, value_name = "I/N", help_heading = "Selection")]
    pub shard: Option<Shard>,
}

/// The outlines and terms of all repositories together.
const MAX_CACHE_BYTES: u64 = 2 << 30;

/// As `sorft fix` ranks, so that prompts leave out what theirs would.
pub const RANKING: RankOptions =
    RankOptions { max_files: 200, max_symbols: 200, max_symbols_per_file: 24 };

/// What an evaluation works on.
pub struct Source {
    /// The file that they come from.
    pub dataset: PathBuf,
    /// The selected instances.
    pub instances: Vec<Instance>,
    /// Records that were left out.
    pub problems: Vec<Problem>,
    /// Where each repository is, or why it is not.
    roots: BTreeMap<String, Result<PathBuf, String>>,
    cache: PathBuf,
    pub templates: Arc<Templates>,
}

impl Source {
    /// Reads the dataset, and finds or clones its repositories.
    pub fn open(args: &DataArgs, quiet: bool) -> anyhow::Result<Self> {
        let (Some(dataset), Some(repos)) = (&args.dataset, &args.repos) else {
            bail!("a dataset and the folder of its repositories (`--repos`) are wanted");
        };
        let read = read_dataset(dataset)?;
        for problem in &read.problems {
            note(&format!("{}: {problem}", dataset.display()));
        }
        let selection = Selection {
            only: args.only.clone(),
            repos: args.repo.clone(),
            shuffle: args.shuffle,
            limit: args.limit,
            shard: args.shard,
        };
        let instances = selection.apply(read.instances)?;
        let mut roots = BTreeMap::new();
        for instance in &instances {
            let repo = &instance.task().repo;
            if roots.contains_key(repo) {
                continue;
            }
            let mut root = find_repository(repos, repo);
            if let (Err(_), Some(template)) = (&root, &args.clone_from) {
                if !quiet {
                    note(&format!("cloning {repo}"));
                }
                root = clone_repository(repos, repo, template);
            }
            roots.insert(repo.clone(), root.map_err(|error| format!("{error:#}")));
        }
        Ok(Self {
            dataset: dataset.clone(),
            instances,
            problems: read.problems,
            roots,
            cache: Folders::find()?.cache,
            templates: Arc::new(Templates::new(&BTreeMap::new())?),
        })
    }

    /// Where a repository is.
    pub fn root(&self, repo: &str) -> anyhow::Result<&Path> {
        match self.roots.get(repo) {
            Some(Ok(root)) => Ok(root),
            Some(Err(why)) => bail!("{why}"),
            None => bail!("`{repo}` was not looked for"),
        }
    }

    /// Opens the base commit of an instance.
    pub fn case(&self, instance: &Instance, ranking: &RankOptions) -> anyhow::Result<Case> {
        let repo = &instance.task().repo;
        let root = self.root(repo)?;
        let index = IndexOptions {
            cache: Some(CacheOptions {
                folder: self.cache.clone(),
                repository: repo.clone(),
                max_bytes: MAX_CACHE_BYTES,
            }),
            ..IndexOptions::default()
        };
        Case::open(instance, root, &index, ranking)
    }

    /// What prompts of a case can see.
    pub fn context(&self, case: &Case) -> Context {
        Context {
            issue: case.instance.task().issue.clone(),
            index: Arc::clone(&case.index),
            ranking: case.ranking.clone(),
            templates: Arc::clone(&self.templates),
        }
    }

    /// Does something with every instance, on all processors; results in order of the ids.
    /// Instances of a repository follow each other, so that they share what is cached of it.
    pub fn for_each<T: Send>(
        &self,
        quiet: bool,
        work: impl Fn(&Instance) -> anyhow::Result<T> + Sync,
    ) -> anyhow::Result<(Vec<T>, Vec<Failure>)> {
        let mut ordered: Vec<&Instance> = self.instances.iter().collect();
        ordered.sort_by_key(|instance| (&instance.task().repo, &instance.task().instance_id));
        let bar = bar(ordered.len(), "instances", quiet);
        let results: Vec<(&str, anyhow::Result<T>)> = ordered
            .into_par_iter()
            .map(|instance| {
                let result = work(instance);
                bar.inc(1);
                (instance.task().instance_id.as_str(), result)
            })
            .collect();
        bar.finish_and_clear();
        let (mut done, mut failed) = (Vec::new(), Vec::new());
        for (id, result) in results {
            match result {
                Ok(value) => done.push((id, value)),
                Err(error) => failed.push(failure(id, &error)),
            }
        }
        done.sort_by_key(|(id, _)| *id);
        failed.sort();
        let first =
            failed.first().map(|failure| format!("{}: {}", failure.instance, failure.reason));
        if done.is_empty() {
            bail!(
                "none of {} instances could be evaluated; {}",
                failed.len(),
                first.unwrap_or_default()
            );
        }
        Ok((done.into_iter().map(|(_, value)| value).collect(), failed))
    }

    /// What is selected, as results keep it.
    pub fn records(&self) -> Vec<RecordRow> {
        let record = |instance: &Instance| {
            let (task, solution) = (instance.task(), instance.solution());
            let Task { instance_id, repo, base_commit, issue, .. } = task;
            RecordRow::new([instance_id, repo, base_commit, issue, &solution.patch])
        };
        self.instances.iter().map(record).collect()
    }
}

/// The reason of a failure on one line.
pub fn failure(instance: &str, error: &anyhow::Error) -> Failure {
    let reason = format!("{error:#}").replace('\n', "; ");
    Failure { instance: instance.to_owned(), reason }
}
