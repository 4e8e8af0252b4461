//! `sorft eval merge`: the whole from the parts that `--shard` made.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use clap::Args;

use crate::commands::Outcome;
use crate::commands::eval::summary::{self, PriceArg, failed_of};
use crate::commands::eval::{TableFormat, oracle};
use crate::report::failure::Failure;
use crate::run::directory::RunRecord;
use crate::run::eval_dir::{
    EvalDir, read_instances, read_oracle_rows, read_records, read_verdicts,
};
use crate::run::instance_row::InstanceRow;
use crate::run::record_row::{RecordRow, fingerprint};
use crate::run::row::RunInfo;

/// Join the parts of an evaluation, or of an oracle
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sorft eval merge runs/all runs/1 runs/2 runs/3")]
pub struct MergeArgs {
    /// The folder of the whole, new or empty
    out: PathBuf,
    /// Folders of finished parts
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Dollars per million tokens of prompt and of completion
    #[arg(long, value_name = "IN/OUT")]
    price: Option<PriceArg>,
    /// Form of the tables on stdout
    #[arg(long, value_enum, default_value_t)]
    format: TableFormat,
}

/// Runs `sorft eval merge`.
pub fn merge(args: &MergeArgs) -> anyhow::Result<Outcome> {
    let mut parts = Vec::with_capacity(args.runs.len());
    for path in &args.runs {
        parts.push(Part::read(path)?);
    }
    let (first, rest) = parts.split_first().context("no part to merge")?;
    for part in rest {
        first.ensure_alike(part)?;
    }
    ensure_disjoint(&parts)?;
    let records: Vec<RecordRow> = parts.iter().flat_map(|part| part.records.clone()).collect();
    let mut info = first.record.info.clone();
    if let Some(settings) = info.settings.as_object_mut() {
        settings.insert("instances".to_owned(), fingerprint(&records)?.into());
    }
    let dir = EvalDir::open(&args.out, &info)?;
    dir.write_records(&records)?;
    let mut failed: Vec<Failure> = parts.iter().flat_map(|part| part.failed.clone()).collect();
    failed.sort();
    match first.kind {
        Kind::Run => {
            let mut not_run = None;
            for part in &parts {
                part.copy_run(&dir)?;
                if let Some(more) = part.not_run()? {
                    not_run.get_or_insert_with(Vec::new).extend(more);
                }
            }
            summary::finish(&dir, failed, not_run.as_deref(), (args.price, args.format))?;
        }
        Kind::Oracle => {
            for part in &parts {
                part.copy_oracle(&dir)?;
            }
            oracle::finish(&dir, failed, args.format)?;
        }
    }
    Ok(Outcome::Done)
}

/// What a folder of an evaluation is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Run,
    Oracle,
}

impl Kind {
    fn of(info: &RunInfo) -> Option<Self> {
        match info.command.as_str() {
            "eval" => Some(Self::Run),
            oracle::COMMAND => Some(Self::Oracle),
            _ => None,
        }
    }
}

/// A finished part of an evaluation.
struct Part {
    path: PathBuf,
    kind: Kind,
    record: RunRecord,
    /// What was selected.
    records: Vec<RecordRow>,
    failed: Vec<Failure>,
}

impl Part {
    fn read(path: &Path) -> anyhow::Result<Self> {
        let record = RunRecord::read(path)?;
        let kind = Kind::of(&record.info).with_context(|| {
            format!(
                "`{}` is a run of `sorft {}`; one of `sorft eval` was wanted",
                path.display(),
                record.info.command
            )
        })?;
        let failed = failed_of(&record, path)?;
        Ok(Self { path: path.to_owned(), kind, record, records: read_records(path)?, failed })
    }

    /// Instances whose tests could not be run, where tests were asked for.
    fn not_run(&self) -> anyhow::Result<Option<Vec<Failure>>> {
        let verification = self.record.metrics.as_ref().and_then(|known| known.get("verification"));
        let not_run = verification.and_then(|known| known.get("not_run")).cloned();
        not_run
            .map(serde_json::from_value)
            .transpose()
            .with_context(|| format!("reading what was not run in `{}`", self.path.display()))
    }

    /// Parts must have been asked the same in all but their instances.
    fn ensure_alike(&self, other: &Self) -> anyhow::Result<()> {
        let (a, b) = (&self.record.info, &other.record.info);
        let settings = |info: &RunInfo| {
            let mut settings = info.settings.clone();
            if let Some(settings) = settings.as_object_mut() {
                settings.shift_remove("instances");
            }
            settings
        };
        ensure!(
            self.kind == other.kind
                && a.model == b.model
                && a.seed == b.seed
                && settings(a) == settings(b),
            "`{}` and `{}` are evaluations with other settings\nhint: `run.json` of both holds the model, the seed and the settings",
            self.path.display(),
            other.path.display()
        );
        Ok(())
    }

    /// Finished instances that the whole does not have yet.
    fn missing_in(&self, dir: &EvalDir) -> BTreeSet<&str> {
        let finished = self.record.predictions.iter().map(|row| row.instance_id.as_str());
        finished.filter(|id| !dir.run().is_finished(id)).collect()
    }

    fn copy_run(&self, dir: &EvalDir) -> anyhow::Result<()> {
        let (run, record, missing) = (dir.run(), &self.record, self.missing_in(dir));
        for row in record.trajectory.iter().filter(|row| missing.contains(row.instance.as_str())) {
            run.append_call(row)?;
        }
        for row in record.candidates.iter().filter(|row| missing.contains(row.instance.as_str())) {
            run.append_candidate(row)?;
        }
        for row in record.timings.iter().filter(|row| missing.contains(row.instance.as_str())) {
            run.append_timing(row)?;
        }
        for row in read_instances(&self.path)? {
            if missing.contains(row.instance.as_str()) {
                // Verdicts have rows of their own.
                dir.append_instance(&InstanceRow { resolved: None, ..row })?;
            }
        }
        for row in read_verdicts(&self.path)? {
            if missing.contains(row.instance.as_str()) {
                dir.append_verdict(&row)?;
            }
        }
        self.copy_predictions(dir, &missing)
    }

    fn copy_oracle(&self, dir: &EvalDir) -> anyhow::Result<()> {
        let missing = self.missing_in(dir);
        for row in read_oracle_rows(&self.path)? {
            if missing.contains(row.instance.as_str()) {
                dir.append_instance(&row)?;
            }
        }
        self.copy_predictions(dir, &missing)
    }

    /// Comes last, since a prediction says that its instance is finished.
    fn copy_predictions(&self, dir: &EvalDir, missing: &BTreeSet<&str>) -> anyhow::Result<()> {
        let rows = self.record.predictions.iter();
        for row in rows.filter(|row| missing.contains(row.instance_id.as_str())) {
            dir.run().append_prediction(row)?;
        }
        Ok(())
    }
}

fn ensure_disjoint(parts: &[Part]) -> anyhow::Result<()> {
    let mut seen: BTreeMap<&str, &Path> = BTreeMap::new();
    for part in parts {
        for row in &part.record.predictions {
            if let Some(other) = seen.insert(&row.instance_id, &part.path) {
                bail!(
                    "`{}` is in `{}` and in `{}`\nhint: merge parts of one selection: `--shard 1/N` to `--shard N/N`",
                    row.instance_id,
                    other.display(),
                    part.path.display()
                );
            }
        }
    }
    Ok(())
}
