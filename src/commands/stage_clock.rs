//! How long the stages of a run took, for `timings.jsonl`.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::commands::run_folder::INSTANCE;
use crate::pipeline::progress::Progress;
use crate::run::directory::RunDir;
use crate::run::row::TimingRow;

/// Takes the time from a stage's first prompt to the next stage's.
pub struct StageClock<'a> {
    run: &'a RunDir,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    current: Option<(&'static str, Instant)>,
    rows: Vec<TimingRow>,
}

impl<'a> StageClock<'a> {
    pub fn new(run: &'a RunDir) -> Self {
        Self { run, state: Mutex::default() }
    }

    pub fn hear(&self, progress: &Progress) {
        let name = match progress {
            Progress::Asking { topic, .. } => topic.name(),
            Progress::Testing { .. } => "tests",
            _ => return,
        };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.current.is_none_or(|(current, _)| current != name) {
            state.close();
            state.current = Some((name, Instant::now()));
        }
    }

    /// Writes the rows, with one for the whole run since `began`.
    pub fn finish(&self, began: Instant) -> anyhow::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.close();
        for row in state.rows.drain(..) {
            self.run.append_timing(&row)?;
        }
        let row = TimingRow::ending_now(INSTANCE, "", "total", began.elapsed());
        self.run.append_timing(&row)
    }
}

impl State {
    fn close(&mut self) {
        if let Some((stage, began)) = self.current.take() {
            let took = began.elapsed();
            self.rows.push(TimingRow::ending_now(INSTANCE, stage, "stage", took));
        }
    }
}
