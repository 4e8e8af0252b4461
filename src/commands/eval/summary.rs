//! The end of an evaluation, and what is done with finished ones: tables, merging, comparing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use serde_json::Value;

use crate::commands::Outcome;
use crate::commands::eval::{TableFormat, episodes};
use crate::commands::output::{escape_controls, write_json, write_stdout};
use crate::report::compare::Comparison;
use crate::report::evaluation::{EvalReport, Price};
use crate::report::failure::Failure;
use crate::report::seconds::render_seconds;
use crate::report::tables;
use crate::report::verification::Verification;
use crate::run::directory::RunRecord;
use crate::run::eval_dir::{EvalDir, read_instances, read_records, read_verdicts};
use crate::run::instance_row::InstanceRow;
use crate::run::record_row::{RecordRow, fingerprint};
use crate::run::row::{RunInfo, TimingRow};
use crate::run::verdict_row::VerdictRow;

/// Join the parts of an evaluation
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

/// Compare two evaluations, instance by instance, or two files of judged answers
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sorft eval compare runs/before runs/after
  sorft eval compare bare.jsonl tuned.jsonl")]
pub struct CompareArgs {
    /// The folder of the first, or a file of `sorft eval episodes`
    first: PathBuf,
    /// That of the second
    second: PathBuf,
    /// Form of the tables on stdout
    #[arg(long, value_enum, default_value_t)]
    format: TableFormat,
}

/// `IN/OUT`, in dollars per million tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PriceArg(pub Price);

impl std::str::FromStr for PriceArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = || format!("wanted two prices such as 0.15/0.60, found `{text}`");
        let (prompt, completion) = text.split_once('/').ok_or_else(wanted)?;
        let price = |text: &str| match text.trim().parse::<f64>() {
            Ok(price) if price.is_finite() && 0.0 <= price => Ok(price),
            _ => Err(wanted()),
        };
        Ok(Self(Price { prompt: price(prompt)?, completion: price(completion)? }))
    }
}

/// Ends an evaluation: puts its rows in order, writes `metrics.json`, shows the tables. `not_run`
/// are the instances whose tests could not be run, where tests were asked for.
pub fn finish(
    dir: &EvalDir,
    failed: Vec<Failure>,
    not_run: Option<&[Failure]>,
    (price, format): (Option<PriceArg>, TableFormat),
) -> anyhow::Result<EvalReport> {
    dir.sort()?;
    let rows: Vec<InstanceRow> = dir.instances()?;
    let model = dir.run().info().model.clone();
    let mut report = EvalReport::new(&model, &rows, price.map(|price| price.0), failed);
    let verdicts = dir.verdicts()?;
    if not_run.is_some() || !verdicts.is_empty() {
        let instances: Vec<(&str, &str)> =
            rows.iter().map(|row| (row.instance.as_str(), row.repo.as_str())).collect();
        let not_run = not_run.unwrap_or_default();
        report.verification = Some(Verification::new(&instances, &verdicts, not_run));
    }
    dir.finish(&report)?;
    let timings = RunRecord::read(dir.run().path())?.timings;
    show(&report, &timings, format)?;
    Ok(report)
}

fn show(report: &EvalReport, timings: &[TimingRow], format: TableFormat) -> anyhow::Result<()> {
    match format.style() {
        Some(style) => {
            let text = tables::render(report, style) + &render_seconds(timings, style);
            write_stdout(&escape_controls(&text))
        }
        None => write_json(report),
    }
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
    let mut records = Vec::new();
    let mut seen: BTreeMap<&str, &Path> = BTreeMap::new();
    for part in &parts {
        records.extend(part.records.clone());
        for row in &part.instances {
            if let Some(other) = seen.insert(&row.instance, &part.path) {
                bail!(
                    "`{}` is in `{}` and in `{}`\nhint: merge parts of one selection: `--shard 1/N` to `--shard N/N`",
                    row.instance,
                    other.display(),
                    part.path.display()
                );
            }
        }
    }
    let mut info = first.record.info.clone();
    if let Some(settings) = info.settings.as_object_mut() {
        settings.insert("instances".to_owned(), fingerprint(&records)?.into());
    }
    let dir = EvalDir::open(&args.out, &info)?;
    dir.write_records(&records)?;
    let (mut failed, mut not_run) = (Vec::new(), None);
    for part in &parts {
        part.copy_into(&dir)?;
        failed.extend(part.failed.clone());
        if let Some(more) = &part.not_run {
            not_run.get_or_insert_with(Vec::new).extend(more.clone());
        }
    }
    finish(&dir, failed, not_run.as_deref(), (args.price, args.format))?;
    Ok(Outcome::Done)
}

/// What failed in a finished evaluation.
pub fn failed_of(record: &RunRecord, path: &Path) -> anyhow::Result<Vec<Failure>> {
    let shown = path.display();
    let Some(metrics) = &record.metrics else {
        bail!("`{shown}` is not finished\nhint: the command that began it resumes it");
    };
    let failed = metrics.get("failed").cloned().unwrap_or(Value::Array(Vec::new()));
    serde_json::from_value(failed).with_context(|| format!("reading what failed in `{shown}`"))
}

/// A finished part of an evaluation.
struct Part {
    path: PathBuf,
    record: RunRecord,
    instances: Vec<InstanceRow>,
    /// What was selected.
    records: Vec<RecordRow>,
    failed: Vec<Failure>,
    verdicts: Vec<VerdictRow>,
    /// Instances whose tests could not be run, where tests were asked for.
    not_run: Option<Vec<Failure>>,
}

impl Part {
    fn read(path: &Path) -> anyhow::Result<Self> {
        let record = RunRecord::read(path)?;
        let shown = path.display();
        ensure!(
            record.info.command == "eval",
            "`{shown}` is a run of `sorft {}`; one of `sorft eval` was wanted",
            record.info.command
        );
        let failed = failed_of(&record, path)?;
        let verification = record.metrics.as_ref().and_then(|known| known.get("verification"));
        let not_run = verification.and_then(|known| known.get("not_run")).cloned();
        let not_run = not_run.map(serde_json::from_value).transpose();
        let not_run = not_run.with_context(|| format!("reading what was not run in `{shown}`"))?;
        let (instances, records) = (read_instances(path)?, read_records(path)?);
        let verdicts = read_verdicts(path)?;
        Ok(Self { path: path.to_owned(), record, instances, records, failed, verdicts, not_run })
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
            a.model == b.model && a.seed == b.seed && settings(a) == settings(b),
            "`{}` and `{}` are evaluations with other settings\nhint: `run.json` of both holds the model, the seed and the settings",
            self.path.display(),
            other.path.display()
        );
        Ok(())
    }

    /// Copies all rows that the whole does not have yet.
    fn copy_into(&self, dir: &EvalDir) -> anyhow::Result<()> {
        let run = dir.run();
        let done: BTreeSet<&str> = self
            .record
            .predictions
            .iter()
            .map(|row| row.instance_id.as_str())
            .filter(|id| run.is_finished(id))
            .collect();
        let record = &self.record;
        for row in record.trajectory.iter().filter(|row| !done.contains(row.instance.as_str())) {
            run.append_call(row)?;
        }
        for row in record.candidates.iter().filter(|row| !done.contains(row.instance.as_str())) {
            run.append_candidate(row)?;
        }
        for row in record.timings.iter().filter(|row| !done.contains(row.instance.as_str())) {
            run.append_timing(row)?;
        }
        for row in self.instances.iter().filter(|row| !done.contains(row.instance.as_str())) {
            // Verdicts have rows of their own.
            dir.append_instance(&InstanceRow { resolved: None, ..row.clone() })?;
        }
        for row in self.verdicts.iter().filter(|row| !done.contains(row.instance.as_str())) {
            dir.append_verdict(row)?;
        }
        for row in record.predictions.iter().filter(|row| !done.contains(row.instance_id.as_str()))
        {
            run.append_prediction(row)?;
        }
        Ok(())
    }
}

/// Runs `sorft eval compare`.
pub fn compare(args: &CompareArgs) -> anyhow::Result<Outcome> {
    if args.first.is_file() {
        return episodes::compare(&args.first, &args.second, args.format);
    }
    let read = |path: &Path| -> anyhow::Result<(String, Vec<InstanceRow>)> {
        let record = RunRecord::read(path)?;
        ensure!(
            record.info.command == "eval",
            "`{}` is a run of `sorft {}`; one of `sorft eval` with a model was wanted",
            path.display(),
            record.info.command
        );
        let rows: Vec<InstanceRow> = read_instances(path)?;
        ensure!(
            !rows.is_empty(),
            "`{}` holds no evaluated instance\nhint: a folder that `sorft eval --out` wrote is wanted",
            path.display()
        );
        Ok((format!("{} ({})", path.display(), record.info.model), rows))
    };
    let (first, second) = (read(&args.first)?, read(&args.second)?);
    let compared = Comparison::new((&first.0, &first.1), (&second.0, &second.1));
    ensure!(
        0 < compared.n_common,
        "`{}` and `{}` have no instance in common",
        args.first.display(),
        args.second.display()
    );
    match args.format.style() {
        Some(style) => write_stdout(&escape_controls(&compared.render(style)))?,
        None => write_json(&compared)?,
    }
    Ok(Outcome::Done)
}
