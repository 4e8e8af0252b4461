//! `sorft eval`: how well sorft does on a benchmark.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use crate::commands::Outcome;
use crate::commands::output::{Format, write_json, write_stdout};
use crate::config::folder::Folders;
use crate::index::cache::CacheOptions;
use crate::index::language;
use crate::index::retrieval::{RankOptions, rank};
use crate::index::{Index, IndexOptions};
use crate::instance::{Instance, find_repository, read_instances};
use crate::repo::path::RepoPath;
use crate::repo::snapshot::{MAX_FILE_BYTES, Snapshot, SnapshotOptions};
use crate::report::gold_symbols::read_gold;
use crate::report::retrieval::{InstanceRanks, RetrievalReport, render_report};

/// Gold files further down count as not found.
const MAX_FILES: usize = 500;
const MAX_SYMBOLS: usize = 100;
/// The outlines and terms of all repositories together.
const MAX_CACHE_BYTES: u64 = 2 << 30;

/// Measure on a benchmark in the format of SWE-bench.
///
/// With --retrieval, and needing no model: in which place the ranking of files and of symbols puts
/// what the gold patch changes, for every repository and overall, with 95 % intervals.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sorft eval swe-bench-dev.jsonl --repos ~/repos --retrieval")]
pub struct EvalArgs {
    /// Records as JSON lines or one JSON array
    dataset: PathBuf,
    /// The folder of the repositories: `owner__name`, `owner+name`, `owner/name` or `name`,
    /// bare or with a work tree
    #[arg(long, value_name = "DIR")]
    repos: PathBuf,
    /// Measure retrieval
    #[arg(long, required = true)]
    retrieval: bool,
    /// Only files with this extension are candidates; by default all source code
    #[arg(long, value_name = "EXT")]
    extension: Vec<String>,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub fn eval(args: &EvalArgs, quiet: bool) -> anyhow::Result<Outcome> {
    let instances = read_instances(&args.dataset)?;
    let cache = Folders::find()?.cache;
    let bar = progress_bar(instances.len(), quiet);
    let mut ranks = Vec::with_capacity(instances.len());
    let mut n_failed = 0;
    for instance in &instances {
        let id = &instance.task().instance_id;
        match ranks_of_instance(args, instance, &cache) {
            Ok(found) => ranks.push(found),
            Err(err) => {
                n_failed += 1;
                bar.suspend(|| tracing::warn!("`{id}` is left out: {err:#}"));
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    anyhow::ensure!(
        !ranks.is_empty(),
        "none of {} instances of `{}` could be ranked",
        instances.len(),
        args.dataset.display()
    );
    let report = RetrievalReport::new(ranks);
    match args.format {
        Format::Text => {
            let failed = match n_failed {
                0 => String::new(),
                n => format!("{n} left out: the repository or commit could not be read\n"),
            };
            write_stdout(&format!("{}{failed}", render_report(&report)))?;
        }
        Format::Json => write_json(&report)?,
    }
    Ok(if n_failed == 0 { Outcome::Done } else { Outcome::Missed })
}

fn ranks_of_instance(
    args: &EvalArgs,
    instance: &Instance,
    cache: &std::path::Path,
) -> anyhow::Result<InstanceRanks> {
    let task = instance.task();
    let root = find_repository(&args.repos, &task.repo)?;
    let options = SnapshotOptions {
        revision: Some(task.base_commit.clone()),
        max_file_bytes: MAX_FILE_BYTES,
        cache: None,
    };
    let snapshot =
        Snapshot::open(&root, &options).with_context(|| format!("opening `{}`", root.display()))?;
    let options = IndexOptions {
        cache: Some(CacheOptions {
            folder: cache.to_owned(),
            repository: task.repo.clone(),
            max_bytes: MAX_CACHE_BYTES,
        }),
        ..IndexOptions::default()
    };
    let index = Index::build(Arc::new(snapshot), &options)?;
    let options =
        RankOptions { max_files: MAX_FILES, max_symbols: MAX_SYMBOLS, max_symbols_per_file: 0 };
    let ranking = rank(&index, &task.issue, &options);
    let gold = read_gold(&index, &instance.solution().patch)?;
    let is_candidate = |path: &RepoPath| {
        let extension = path.extension().unwrap_or_default();
        let wanted = if args.extension.is_empty() {
            language::of_path(path).is_some()
        } else {
            args.extension.iter().any(|wanted| wanted == extension)
        };
        wanted && !index.is_test(path)
    };
    Ok(InstanceRanks::new((&task.instance_id, &task.repo), &gold, &ranking, is_candidate))
}

fn progress_bar(n: usize, quiet: bool) -> ProgressBar {
    if quiet {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{pos}/{len} instances {wide_bar} {eta}");
    let bar = ProgressBar::new(n as u64);
    style.map_or(bar.clone(), |style| bar.with_style(style))
}
