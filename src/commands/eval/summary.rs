//! The end of an evaluation: its tables; and how two finished ones compare.

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
use crate::run::eval_dir::{EvalDir, read_instances};
use crate::run::instance_row::InstanceRow;
use crate::run::row::TimingRow;

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

/// What failed in a finished evaluation.
pub fn failed_of(record: &RunRecord, path: &Path) -> anyhow::Result<Vec<Failure>> {
    let shown = path.display();
    let Some(metrics) = &record.metrics else {
        bail!("`{shown}` is not finished\nhint: the command that began it resumes it");
    };
    let failed = metrics.get("failed").cloned().unwrap_or(Value::Array(Vec::new()));
    serde_json::from_value(failed).with_context(|| format!("reading what failed in `{shown}`"))
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
