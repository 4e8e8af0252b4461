//! `sorft eval --retrieval`: in which place the ranking puts what the gold patch changes.

use crate::commands::Outcome;
use crate::commands::eval::source::Source;
use crate::commands::eval::{EvalArgs, end_with};
use crate::commands::output::{write_json, write_stdout};
use crate::index::language;
use crate::index::retrieval::RankOptions;
use crate::instance::Instance;
use crate::repo::path::RepoPath;
use crate::report::retrieval::{InstanceRanks, RetrievalReport, render_report};

/// Gold files further down count as not found.
const MAX_FILES: usize = 500;
const MAX_SYMBOLS: usize = 100;

pub fn retrieval(args: &EvalArgs, source: &Source, quiet: bool) -> anyhow::Result<Outcome> {
    let (ranks, failed) =
        source.for_each(quiet, |instance| ranks_of_instance(args, source, instance))?;
    let report = RetrievalReport::new(ranks, failed);
    match args.format.style() {
        Some(style) => write_stdout(&render_report(&report, style))?,
        None => write_json(&report)?,
    }
    Ok(end_with(source, &report.failed))
}

fn ranks_of_instance(
    args: &EvalArgs,
    source: &Source,
    instance: &Instance,
) -> anyhow::Result<InstanceRanks> {
    let options =
        RankOptions { max_files: MAX_FILES, max_symbols: MAX_SYMBOLS, max_symbols_per_file: 0 };
    let case = source.case(instance, &options)?;
    let gold = case.gold()?.gold;
    let is_candidate = |path: &RepoPath| {
        let extension = path.extension().unwrap_or_default();
        let wanted = if args.extension.is_empty() {
            language::of_path(path).is_some()
        } else {
            args.extension.iter().any(|wanted| wanted.trim_start_matches('.') == extension)
        };
        wanted && !case.index.is_test(path)
    };
    let files = gold.base_files().map(|file| file.path.clone()).collect();
    let symbols = gold.owners(&case.index);
    let task = instance.task();
    let named = (task.instance_id.as_str(), task.repo.as_str());
    Ok(InstanceRanks::new(named, (&files, &symbols), &case.ranking, is_candidate))
}
