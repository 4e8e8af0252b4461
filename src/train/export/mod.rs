//! Data and reward functions for other trainers: TRL, verl, OpenRLHF.
//!
//! Rewards themselves stay here: the functions ask `sorft reward serve`, so that every trainer is
//! told the same.

mod lines;
mod parquet;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::instance::mined::Split;
use crate::train::data::row::EpisodeRow;
use crate::train::mine::evaluation::Evaluation;
use crate::train::new_folder::NewFolder;
use crate::train::rows::read_rows;
use crate::train::sample::row::SftRow;

/// For which trainer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trainer {
    Trl,
    Verl,
    OpenRlhf,
}

/// What an export wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// `episodes`, to be answered and rewarded, or `chats`, to be imitated.
    pub rows: &'static str,
    pub train: usize,
    pub test: usize,
    pub files: Vec<String>,
}

/// What is exported.
enum Rows {
    Episodes(Vec<EpisodeRow>),
    Chats(Vec<SftRow>),
}

/// Writes a folder with the rows of a file in a trainer's form: `train`, `test` for those that are
/// held out, and the reward function where the rows are episodes.
///
/// # Errors
///
/// The trainer takes no such rows, one is of an evaluation's repository, the folder is there
/// already, or it cannot be written; then nothing of it is left.
pub fn export(rows: &Path, trainer: Trainer, out: &Path) -> anyhow::Result<Exported> {
    let (kind, train, test) = match Rows::read(rows)? {
        Rows::Episodes(found) => {
            refuse_evaluations(found.iter().map(|row| &row.repo))?;
            let (train, test) = split(found, |row| row.split);
            ("episodes", trainer.episodes("train", &train)?, trainer.episodes("test", &test)?)
        }
        Rows::Chats(found) => {
            ensure!(
                trainer == Trainer::Trl,
                "`{}` holds chats to imitate, which are exported for TRL alone\nhint: `--format trl`, or the episodes that `sorft train data` makes",
                rows.display()
            );
            refuse_evaluations(found.iter().map(|row| &row.repo))?;
            let (train, test) = split(found, |row| row.split);
            ("chats", lines::chats(&train)?, lines::chats(&test)?)
        }
    };
    let folder = NewFolder::create(out)?;
    let mut files = Vec::new();
    for (name, part) in [("train", &train), ("test", &test)] {
        if 0 < part.n {
            let name = format!("{name}.{}", trainer.ending());
            folder.write(&name, &part.bytes)?;
            files.push(name);
        }
    }
    if kind == "episodes" {
        folder.write("reward.py", trainer.reward_function().as_bytes())?;
        files.push("reward.py".to_owned());
    }
    folder.finish()?;
    Ok(Exported { rows: kind, train: train.n, test: test.n, files })
}

/// The bytes of a file of so many rows.
struct Part {
    n: usize,
    bytes: Vec<u8>,
}

impl Rows {
    /// Reads rows of either kind; the first line tells which.
    fn read(path: &Path) -> anyhow::Result<Self> {
        let file = fs::File::open(path).with_context(|| format!("opening `{}`", path.display()))?;
        let lines = BufReader::new(file).lines();
        let first = lines.map_while(Result::ok).find(|line| !line.trim().is_empty());
        let first: Option<Value> = first.and_then(|line| serde_json::from_str(&line).ok());
        let is_chat = first.is_some_and(|row| row.get("messages").is_some());
        Ok(if is_chat { Self::Chats(read_rows(path)?) } else { Self::Episodes(read_rows(path)?) })
    }
}

fn refuse_evaluations<'a>(repos: impl Iterator<Item = &'a String>) -> anyhow::Result<()> {
    let evaluation = Evaluation::default();
    for repo in repos {
        evaluation.refuse(repo, &[])?;
    }
    Ok(())
}

/// Rows to train on, and those that are held out.
fn split<T>(rows: Vec<T>, of: impl Fn(&T) -> Option<Split>) -> (Vec<T>, Vec<T>) {
    rows.into_iter().partition(|row| of(row) != Some(Split::Holdout))
}

impl Trainer {
    fn ending(self) -> &'static str {
        match self {
            Self::Verl => "parquet",
            Self::Trl | Self::OpenRlhf => "jsonl",
        }
    }

    fn episodes(self, split: &str, rows: &[EpisodeRow]) -> anyhow::Result<Part> {
        match self {
            Self::Trl => lines::trl_episodes(rows),
            Self::OpenRlhf => lines::openrlhf_episodes(rows),
            Self::Verl => parquet::verl_episodes(split, rows),
        }
    }

    /// Python, with the standard library alone.
    fn reward_function(self) -> String {
        let own = match self {
            Self::Trl => include_str!("python/trl.py"),
            Self::Verl => include_str!("python/verl.py"),
            Self::OpenRlhf => include_str!("python/openrlhf.py"),
        };
        own.replace("# ask\n", include_str!("python/ask.py"))
    }
}
