//! Going on where a killed run was.

use std::path::Path;

use anyhow::{Context as _, ensure};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::train::checkpoint::{self, Beside, Checkpoint, Learnt};
use crate::train::decoder::Network;
use crate::train::folder::{ADAPTER, ADDITION, BEST, CHECKPOINTS, OfStep, TrainFolder};

/// What to do where a run cannot be gone on with.
pub const AGAIN: &str = "hint: delete the folder of the run to train anew";

/// Lines of a run's two logs.
pub const METRICS_FILE: &str = "metrics.jsonl";
pub const TIMINGS_FILE: &str = "timings.jsonl";

/// Where a run is.
pub trait Position: Serialize + DeserializeOwned {
    /// Updates done.
    fn step(&self) -> usize;
}

/// The weights of a checkpoint that was kept because it was the best.
pub fn best<W: Learnt>(checkpoints: &Path, step: usize, network: &Network) -> anyhow::Result<W> {
    let list = checkpoint::list(checkpoints)?;
    let path = list.get(&step).with_context(|| {
        let folder = checkpoints.display();
        format!("the best checkpoint, of step {step}, is no longer in `{folder}`\n{AGAIN}")
    })?;
    let context = || format!("reading the best checkpoint `{}`\n{AGAIN}", path.display());
    W::read(path, network).with_context(context)
}

/// The newest checkpoint; the logs (`M` of metrics, `T` of timings) are cut to its step, and what
/// a killed process was writing is removed.
pub fn resume<S: Position, B: Beside, W: Learnt, M: OfStep, T: OfStep>(
    folder: &TrainFolder,
    network: &Network,
) -> anyhow::Result<Option<Checkpoint<S, B, W>>> {
    let checkpoints = folder.path().join(CHECKPOINTS);
    let path = folder.path();
    let mut unfinished = vec![checkpoints.clone()];
    for place in [path.to_owned(), path.join(BEST)] {
        unfinished.extend([place.join(ADAPTER), place.join(ADDITION), place]);
    }
    folder.remove_unfinished(&unfinished)?;
    let newest = checkpoint::list(&checkpoints)?.pop_last();
    let at =
        newest.as_ref().map(|(_, path)| Checkpoint::<S, B, W>::read(path, network)).transpose()?;
    // None before the first checkpoint, so that the line of step 0 is written again.
    let logged = at.as_ref().map(|at| at.state.step());
    let metrics = folder.cut_log::<M>(METRICS_FILE, logged)?;
    folder.cut_log::<T>(TIMINGS_FILE, logged)?;
    if let (Some((step, path)), Some(found)) = (newest, logged) {
        let last = metrics.last().map_or(0, OfStep::step);
        ensure!(
            step == found && last == found,
            "`{}` says that it is of step {found}, and `{METRICS_FILE}` ends with step {last}\n{AGAIN}",
            path.display(),
        );
    }
    Ok(at)
}
