//! How well retrieval finds the files and symbols that gold patches change.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::index::outline::SymbolKind;
use crate::index::retrieval::Ranking;
use crate::repo::path::RepoPath;
use crate::report::bootstrap::{Estimate, estimate_mean};
use crate::report::failure::Failure;
use crate::report::table::{Style, Table, percent};
use crate::stage::function::symbol::SymbolId;

/// First so many of a ranking, for files and for symbols.
pub const FILE_DEPTHS: [usize; 5] = [1, 3, 5, 10, 30];
pub const SYMBOL_DEPTHS: [usize; 4] = [1, 3, 5, 10];

/// Where the gold of one instance stands in its ranking.
#[derive(Debug, Clone, Serialize)]
pub struct InstanceRanks {
    pub instance_id: String,
    pub repo: String,
    /// The places of the gold files, from 1, best first; `None` where one is not ranked.
    pub files: Vec<Option<usize>>,
    /// The places of the gold symbols, likewise; empty where the patch changes none.
    pub symbols: Vec<Option<usize>>,
}

impl InstanceRanks {
    /// Looks the gold files and symbols up; `module:` is no symbol to be found. Files that
    /// `is_candidate` rejects count on neither side.
    pub fn new(
        (instance_id, repo): (&str, &str),
        (gold_files, gold_symbols): (&BTreeSet<RepoPath>, &BTreeSet<SymbolId>),
        ranking: &Ranking,
        is_candidate: impl Fn(&RepoPath) -> bool,
    ) -> Self {
        let ranked = ranking.files.iter().map(|file| &file.path).filter(|path| is_candidate(path));
        let places = ranked.enumerate().map(|(index, path)| (path, index + 1));
        let places = places.collect::<BTreeMap<_, _>>();
        let gold_files = gold_files.iter().filter(|path| is_candidate(path));
        let files = in_order(gold_files.map(|path| places.get(path).copied()));
        let ranked = ranking.symbols.iter().filter(|symbol| is_candidate(&symbol.path));
        let places = ranked
            .enumerate()
            .map(|(index, symbol)| ((&symbol.path, symbol.kind, &symbol.name), index + 1))
            .collect::<BTreeMap<_, _>>();
        let is_counted =
            |symbol: &&SymbolId| symbol.kind != SymbolKind::Module && is_candidate(&symbol.path);
        let gold_symbols = gold_symbols.iter().filter(is_counted);
        let place =
            |symbol: &SymbolId| places.get(&(&symbol.path, symbol.kind, &symbol.name)).copied();
        let symbols = in_order(gold_symbols.map(place));
        Self { instance_id: instance_id.to_owned(), repo: repo.to_owned(), files, symbols }
    }
}

fn in_order(places: impl Iterator<Item = Option<usize>>) -> Vec<Option<usize>> {
    let mut places = places.collect::<Vec<_>>();
    places.sort_unstable_by_key(|place| place.unwrap_or(usize::MAX));
    places
}

/// The figures of one repository, or of all.
#[derive(Debug, Clone, Serialize)]
pub struct RetrievalFigures {
    /// Instances with a gold file among the candidates.
    pub n_instances: usize,
    /// Instances with a gold symbol that is not `module:`.
    pub n_with_symbols: usize,
    /// Any gold file among the first k, by k.
    pub file_any: BTreeMap<usize, Estimate>,
    /// All gold files among the first k, by k.
    pub file_all: BTreeMap<usize, Estimate>,
    /// The mean of 1 / place of the first gold file.
    pub file_mrr: Estimate,
    /// Any gold symbol among the first k, by k.
    pub symbol_any: BTreeMap<usize, Estimate>,
}

/// The figures of every repository, and of all instances together.
#[derive(Debug, Clone, Serialize)]
pub struct RetrievalReport {
    pub version: u32,
    pub repositories: BTreeMap<String, RetrievalFigures>,
    pub all: RetrievalFigures,
    /// Instances left out because their patch changes no candidate.
    pub n_without_gold: usize,
    /// Instances that could not be ranked.
    pub failed: Vec<Failure>,
    pub instances: Vec<InstanceRanks>,
}

impl RetrievalReport {
    pub fn new(ranks: Vec<InstanceRanks>, failed: Vec<Failure>) -> Self {
        let (with, without): (Vec<_>, Vec<_>) = ranks.iter().partition(|one| !one.files.is_empty());
        let mut by_repo = BTreeMap::<String, Vec<&InstanceRanks>>::new();
        for one in &with {
            by_repo.entry(one.repo.clone()).or_default().push(one);
        }
        let repositories =
            by_repo.into_iter().map(|(repo, ranks)| (repo, figures(&ranks))).collect();
        let (all, n_without_gold) = (figures(&with), without.len());
        Self { version: 1, repositories, all, n_without_gold, failed, instances: ranks }
    }
}

fn figures(ranks: &[&InstanceRanks]) -> RetrievalFigures {
    let share = |values: Vec<bool>| {
        estimate_mean(&values.into_iter().map(|hit| f64::from(u8::from(hit))).collect::<Vec<_>>())
    };
    let within = |place: &Option<usize>, k: usize| place.is_some_and(|place| place <= k);
    let files = |k: usize, all: bool| {
        let hits = |one: &&InstanceRanks| {
            let mut places = one.files.iter();
            if all { places.all(|p| within(p, k)) } else { places.any(|p| within(p, k)) }
        };
        (k, share(ranks.iter().map(hits).collect()))
    };
    let with_symbols =
        ranks.iter().filter(|one| !one.symbols.is_empty()).copied().collect::<Vec<_>>();
    let symbols = |k: usize| {
        let hits = |one: &&InstanceRanks| one.symbols.iter().any(|place| within(place, k));
        (k, share(with_symbols.iter().map(hits).collect()))
    };
    let reciprocal = |one: &&InstanceRanks| one.files[0].map_or(0.0, |place| 1.0 / place as f64);
    RetrievalFigures {
        n_instances: ranks.len(),
        n_with_symbols: with_symbols.len(),
        file_any: FILE_DEPTHS.into_iter().map(|k| files(k, false)).collect(),
        file_all: FILE_DEPTHS.into_iter().map(|k| files(k, true)).collect(),
        file_mrr: estimate_mean(&ranks.iter().map(reciprocal).collect::<Vec<_>>()),
        symbol_any: SYMBOL_DEPTHS.into_iter().map(symbols).collect(),
    }
}

/// A report as a table, in percent, with the 95 % interval of each figure below the last row.
pub fn render_report(report: &RetrievalReport, style: Style) -> String {
    let mut head = vec!["repository".to_owned(), "n".to_owned()];
    head.extend(FILE_DEPTHS.map(|k| format!("any@{k}")));
    head.extend(FILE_DEPTHS.map(|k| format!("all@{k}")));
    head.extend(["MRR".to_owned(), "n".to_owned()]);
    head.extend(SYMBOL_DEPTHS.map(|k| format!("fn@{k}")));
    let mut table = Table { head, rows: Vec::new() };
    type Read = fn(&Estimate) -> f64;
    let mean: Read = |estimate| estimate.mean;
    let mut rows = report
        .repositories
        .iter()
        .map(|(name, one)| (name.as_str(), one, mean))
        .collect::<Vec<_>>();
    rows.push(("all", &report.all, mean));
    rows.push(("  95 % from", &report.all, |estimate| estimate.low));
    rows.push(("  95 % to", &report.all, |estimate| estimate.high));
    for (name, one, read) in rows {
        let share = |estimate: &Estimate| percent(read(estimate));
        let mut row = vec![name.to_owned(), one.n_instances.to_string()];
        row.extend(one.file_any.values().map(share));
        row.extend(one.file_all.values().map(share));
        row.push(format!("{:.3}", read(&one.file_mrr)));
        row.push(one.n_with_symbols.to_string());
        row.extend(one.symbol_any.values().map(share));
        table.push(row);
    }
    let mut text = table.render(style);
    if 0 < report.n_without_gold {
        text +=
            &format!("\n{} left out: the patch changes no candidate file\n", report.n_without_gold);
    }
    if !report.failed.is_empty() {
        text += &format!("\n{} left out: they could not be ranked\n", report.failed.len());
    }
    text
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn any_and_all_gold_files_are_told_apart() {
        let one = |id: &str, repo: &str, files: &[Option<usize>], symbols: &[Option<usize>]| {
            InstanceRanks {
                instance_id: id.to_owned(),
                repo: repo.to_owned(),
                files: files.to_vec(),
                symbols: symbols.to_vec(),
            }
        };
        let report = RetrievalReport::new(
            vec![
                one("1", "a/a", &[Some(1), Some(4)], &[Some(2)]),
                one("2", "a/a", &[Some(2)], &[]),
                one("3", "b/b", &[Some(1), None], &[None]),
                one("4", "b/b", &[], &[]),
            ],
            Vec::new(),
        );
        let intervals = ["  95 % from", "  95 % to"];
        let shown = render_report(&report, Style::Terminal);
        let steady = shown.lines().filter(|line| !intervals.iter().any(|i| line.starts_with(i)));
        expect![[r#"
            repository   n  any@1  any@3  any@5  any@10  any@30  all@1  all@3  all@5  all@10  all@30    MRR  n  fn@1   fn@3   fn@5  fn@10
            a/a          2   50.0  100.0  100.0   100.0   100.0    0.0   50.0  100.0   100.0   100.0  0.750  1   0.0  100.0  100.0  100.0
            b/b          1  100.0  100.0  100.0   100.0   100.0    0.0    0.0    0.0     0.0     0.0  1.000  1   0.0    0.0    0.0    0.0
            all          3   66.7  100.0  100.0   100.0   100.0    0.0   33.3   66.7    66.7    66.7  0.833  2   0.0   50.0   50.0   50.0

            1 left out: the patch changes no candidate file"#]].assert_eq(&steady.collect::<Vec<_>>().join("\n"));
    }
}
