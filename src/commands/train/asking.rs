//! Asking an engine many questions at once, keeping what is done.

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
use crate::commands::progress::bar;
use crate::stage::StageKind;
use crate::train::data::row::EpisodeRow;
use crate::train::work_log::WorkLog;

/// A question, or what became of it.
pub(crate) trait Piece {
    /// Tells the questions about one instance apart.
    type Part: Ord;

    /// Instance and part.
    fn key(&self) -> (&str, Self::Part);
}

impl Piece for EpisodeRow {
    type Part = StageKind;

    fn key(&self) -> (&str, StageKind) {
        (&self.instance_id, self.stage)
    }
}

/// What messages call an episode.
pub(crate) fn name_of(row: &EpisodeRow) -> String {
    format!("{} {}", row.instance_id, row.stage.name())
}

/// Answers on their way to a file.
pub(crate) struct Asking<T> {
    log: WorkLog,
    out: PathBuf,
    done: Mutex<Vec<T>>,
    progress: ProgressBar,
}

impl<T: Piece + Serialize + DeserializeOwned> Asking<T> {
    /// Begins work on a file, or goes on with it; `n` is how many questions of which kind.
    pub(crate) fn open(
        out: &Path,
        asked: &Value,
        (n, kind): (usize, &str),
        quiet: bool,
    ) -> anyhow::Result<Self> {
        let log = WorkLog::open(WorkLog::beside(out), asked)?;
        let done: Vec<T> = log.rows()?;
        let progress = bar(n, kind, quiet);
        progress.inc(done.len() as u64);
        progress.reset_eta();
        Ok(Self { log, out: out.to_owned(), done: Mutex::new(done), progress })
    }

    /// Those that nothing became of yet.
    pub(crate) fn left<'a, Q: Piece<Part = T::Part>>(&self, questions: &'a [Q]) -> Vec<&'a Q> {
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        let finished: BTreeSet<(&str, T::Part)> = done.iter().map(T::key).collect();
        questions.iter().filter(|question| !finished.contains(&question.key())).collect()
    }

    /// What became of questions so far.
    pub(crate) fn done(&self) -> Vec<T>
    where
        T: Clone,
    {
        self.done.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps what became of a question.
    pub(crate) fn keep(&self, result: T) -> anyhow::Result<()> {
        self.log.append(&result)?;
        self.done.lock().unwrap_or_else(PoisonError::into_inner).push(result);
        self.progress.inc(1);
        Ok(())
    }

    /// Asks all that are left, so many at once; gives a line for each that failed.
    pub(crate) fn ask<'a, Q: Piece<Part = T::Part>, F: Future<Output = anyhow::Result<T>>>(
        &self,
        left: &[&'a Q],
        jobs: usize,
        name: impl Fn(&Q) -> String,
        one: impl Fn(&'a Q) -> F,
    ) -> anyhow::Result<Vec<String>> {
        let asking = async {
            let named = |question: &&'a Q| {
                let (name, result) = (name(question), one(question));
                async move { result.await.map_err(|error| format!("failed: {name}: {error:#}")) }
            };
            let mut failed = Vec::new();
            let mut asked = stream::iter(left.iter().map(named)).buffer_unordered(jobs.max(1));
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

    /// Everything in order of instance and part; written to the file as `rows` of it, once
    /// nothing failed.
    pub(crate) fn finish<R: Serialize>(
        self,
        failed: &[String],
        rows: impl Fn(&T) -> Vec<R>,
    ) -> anyhow::Result<Vec<T>> {
        self.progress.finish_and_clear();
        let mut done = self.done.into_inner().unwrap_or_else(PoisonError::into_inner);
        done.sort_by(|a, b| a.key().cmp(&b.key()));
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
