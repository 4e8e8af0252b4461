//! Mining: pairs of a problem and its solution from the history of repositories.
//!
//! Commits are read from git's objects, without a checkout. What became of each is kept in a file
//! beside the result until all are done, so that a killed run goes on where it was.

mod commit;
pub mod evaluation;
pub mod issues;
mod message;
mod names;
pub mod report;
mod role;
pub mod select;
mod steps;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context as _, ensure};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::index::test_files::TestRule;
use crate::instance::mined::MinedRecord;
use crate::repo::commits::{Commit, History, TreeMemory};
use crate::train::mine::commit::{Mined, Miner};
use crate::train::mine::evaluation::Evaluation;
use crate::train::mine::issues::Issues;
use crate::train::mine::message::MessageRules;
use crate::train::mine::report::MineReport;
use crate::train::mine::select::{Holdout, select};
use crate::train::work_log::WorkLog;

/// What is mined, and what counts as an instance.
#[derive(Debug, Clone)]
pub struct MineOptions {
    /// Source files that a solution changes, at the most.
    pub max_files: usize,
    /// Lines that it adds and removes, at the most.
    pub max_lines: usize,
    /// Words of the text, at the least.
    pub min_words: usize,
    /// Whether an added test follows the text.
    pub repro_from_tests: bool,
    pub holdout: Holdout,
    pub seed: u64,
}

/// A repository to mine.
#[derive(Debug)]
pub struct Mine {
    /// `owner/name`.
    pub repo: String,
    pub history: History,
    /// The newest first.
    pub commits: Vec<Commit>,
}

impl Mine {
    /// Opens a repository; one that an evaluation is made from is refused.
    pub fn open(
        root: &Path,
        repo: impl FnOnce(&History) -> anyhow::Result<String>,
        evaluation: &Evaluation,
    ) -> anyhow::Result<Self> {
        let history = History::open(root, None)?;
        let repo = repo(&history)?;
        let commits = history.commits().with_context(|| format!("in `{}`", root.display()))?;
        evaluation.refuse(&repo, &commits)?;
        Ok(Self { repo, history, commits })
    }
}

/// What was mined.
#[derive(Debug)]
pub struct Mining {
    /// In order of repository and time.
    pub records: Vec<MinedRecord>,
    pub report: MineReport,
}

/// The outcome of one commit, as the work log keeps it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct ScanRow {
    version: u32,
    /// The repository.
    instance: String,
    /// The commit.
    request: String,
    mined: Mined,
}

/// Commits between two looks at the disk.
const CHUNK: usize = 256;

/// Mines all repositories; `log` is where the work is kept until it is done, and `tick` hears of
/// every commit.
pub fn mine(
    mines: &[Mine],
    options: &MineOptions,
    issues: &Issues,
    evaluation: &Evaluation,
    log: PathBuf,
    tick: &(dyn Fn() + Sync),
) -> anyhow::Result<Mining> {
    ensure!(!mines.is_empty(), "there is no repository to mine");
    let heads: Vec<String> = mines.iter().map(|mine| mine.history.head().to_string()).collect();
    // All that decides what becomes of a commit: with other issues or another evaluation, what was
    // found before does not hold.
    let asked = json!({
        "options": format!("{options:?}"),
        "heads": heads,
        "issues": format!("{issues:?}"),
        "evaluation": format!("{evaluation:?}"),
    });
    let log = WorkLog::open(log, &asked)?;
    let mut known: BTreeMap<(String, String), Mined> = log
        .rows::<ScanRow>()?
        .into_iter()
        .map(|row| ((row.instance, row.request), row.mined))
        .collect();
    let (rules, tests) = (MessageRules::new()?, TestRule::new(&[], &[])?);
    let mut report = MineReport::new(evaluation.n_files());
    let mut records = Vec::new();
    for mine in mines {
        let miner = Miner {
            repo: &mine.repo,
            history: &mine.history,
            options,
            rules: &rules,
            tests: &tests,
            issues,
            evaluation,
            trees: Mutex::new(TreeMemory::default()),
        };
        for chunk in mine.commits.chunks(CHUNK) {
            let before = |commit: &Commit| known.get(&(mine.repo.clone(), commit.id.to_string()));
            let fresh: Vec<&Commit> = chunk.iter().filter(|c| before(c).is_none()).collect();
            let found: Vec<ScanRow> = fresh
                .into_par_iter()
                .map(|commit| {
                    let mined = miner.mine(commit);
                    tick();
                    ScanRow {
                        version: 1,
                        instance: mine.repo.clone(),
                        request: commit.id.to_string(),
                        mined,
                    }
                })
                .collect();
            for row in found {
                log.append(&row)?;
                known.insert((row.instance, row.request), row.mined);
            }
        }
        report.begin(&mine.repo, mine.commits.len());
        for commit in &mine.commits {
            match known.remove(&(mine.repo.clone(), commit.id.to_string())) {
                Some(Mined::Kept(record)) => records.push(*record),
                Some(Mined::Dropped(reason)) => report.drop_one(&mine.repo, reason),
                None => {}
            }
        }
    }
    let (records, dropped) = select(records, options.holdout, options.seed);
    for (repo, reason) in dropped {
        report.drop_one(&repo, reason);
    }
    records.iter().for_each(|record| report.keep(record));
    Ok(Mining { records, report })
}
