//! Asking an engine for many episodes at once, keeping what is done.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use futures_util::StreamExt;
use futures_util::stream;
use indicatif::ProgressBar;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::commands::interrupt::run_until_interrupted;
use crate::commands::output::note;
use crate::commands::train::bar;
use crate::stage::StageKind;
use crate::train::data::row::EpisodeRow;
use crate::train::work_log::WorkLog;

/// What becomes of an episode.
pub(crate) trait OfEpisode: Clone + Serialize + DeserializeOwned {
    /// Instance and stage.
    fn episode(&self) -> (&str, StageKind);
}

/// Episodes on their way to a file.
pub(crate) struct Asking<T> {
    log: WorkLog,
    out: PathBuf,
    done: Mutex<Vec<T>>,
    progress: ProgressBar,
}

impl<T: OfEpisode> Asking<T> {
    /// Begins work on a file, or goes on with it.
    pub(crate) fn open(
        out: &Path,
        asked: &Value,
        n_episodes: usize,
        quiet: bool,
    ) -> anyhow::Result<Self> {
        let log = WorkLog::open(WorkLog::beside(out), asked)?;
        let done: Vec<T> = log.rows()?;
        let progress = bar(n_episodes, "episodes", quiet);
        progress.inc(done.len() as u64);
        progress.reset_eta();
        Ok(Self { log, out: out.to_owned(), done: Mutex::new(done), progress })
    }

    /// Those that nothing became of yet.
    pub(crate) fn left<'a>(&self, rows: &'a [EpisodeRow]) -> Vec<&'a EpisodeRow> {
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        let finished: BTreeSet<(&str, StageKind)> = done.iter().map(T::episode).collect();
        let is_left = |row: &&EpisodeRow| !finished.contains(&(&row.instance_id, row.stage));
        rows.iter().filter(is_left).collect()
    }

    /// Keeps what became of an episode.
    pub(crate) fn keep(&self, result: T) -> anyhow::Result<()> {
        self.log.append(&result)?;
        self.done.lock().unwrap_or_else(PoisonError::into_inner).push(result);
        self.progress.inc(1);
        Ok(())
    }

    /// Asks for all that are left, so many at once; gives a line for each that failed.
    pub(crate) fn ask<F: Future<Output = anyhow::Result<T>>>(
        &self,
        left: &[&EpisodeRow],
        jobs: usize,
        one: impl Fn(EpisodeRow) -> F,
    ) -> anyhow::Result<Vec<String>> {
        let asking = async {
            let named = |row: &EpisodeRow| {
                let name = format!("{} {}", row.instance_id, row.stage.name());
                let result = one(row.clone());
                async move { result.await.map_err(|error| format!("failed: {name}: {error:#}")) }
            };
            let mut failed = Vec::new();
            let mut asked =
                stream::iter(left.iter().map(|row| named(row))).buffer_unordered(jobs.max(1));
            while let Some(result) = asked.next().await {
                match result {
                    Ok(result) => self.keep(result)?,
                    Err(line) => failed.push(line),
                }
            }
            failed.sort();
            Ok(failed)
        };
        run_until_interrupted(asking)
    }

    /// Everything in order of instance and stage; written to the file as `rows` of it, once
    /// nothing failed.
    pub(crate) fn finish<R: Serialize>(
        self,
        failed: &[String],
        rows: impl Fn(&T) -> Vec<R>,
    ) -> anyhow::Result<Vec<T>> {
        self.progress.finish_and_clear();
        let mut done = self.done.into_inner().unwrap_or_else(PoisonError::into_inner);
        done.sort_by(|a, b| a.episode().cmp(&b.episode()));
        failed.iter().for_each(|line| note(line));
        if failed.is_empty() {
            drop(self.log);
            WorkLog::finish(&WorkLog::beside(&self.out), &self.out, done.iter().flat_map(rows))?;
        } else {
            note("what is done is kept; the same command asks again for the rest");
        }
        Ok(done)
    }
}
