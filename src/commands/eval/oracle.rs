//! `sorft eval --oracle`: every stage answered from the gold patch.

use serde_json::json;

use crate::commands::Outcome;
use crate::commands::eval::source::{RANKING, Source};
use crate::commands::eval::{EvalArgs, TableFormat, end_with};
use crate::commands::output::{escape_controls, write_json, write_stdout};
use crate::instance::Instance;
use crate::pipeline::oracle::ceiling;
use crate::pipeline::oracle::limits::Limits;
use crate::prompt::EstimateTokens;
use crate::report::ceiling::OracleReport;
use crate::report::failure::Failure;
use crate::run::eval_dir::{EvalDir, read_oracle_rows};
use crate::run::oracle_row::OracleRow;
use crate::run::record_row::fingerprint;
use crate::run::row::{PredictionRow, RunInfo};

/// The command that `run.json` of its folder names.
pub const COMMAND: &str = "eval --oracle";

/// What the oracle calls itself in `predictions.jsonl`.
const NAME: &str = "sorft-oracle";

pub fn oracle(args: &EvalArgs, source: &Source, quiet: bool) -> anyhow::Result<Outcome> {
    let limits = Limits::table();
    let records = source.records();
    // A folder that cannot be written is told before the work.
    let names: Vec<&str> = limits.iter().map(|limits| limits.name.as_str()).collect();
    let settings = json!({ "limits": names, "instances": fingerprint(&records)? });
    let info = RunInfo::new(COMMAND, NAME, 0, settings);
    let out = args.out.as_ref().map(|path| EvalDir::open(path, &info)).transpose()?;
    let (found, failed) =
        source.for_each(quiet, |instance| of_instance(source, instance, &limits))?;
    let (rows, predictions): (Vec<OracleRow>, Vec<PredictionRow>) = found.into_iter().unzip();
    let Some(out) = &out else {
        let report = OracleReport::new(&rows, failed);
        show(&report, args.format)?;
        return Ok(end_with(source, &report.failed));
    };
    out.write_records(&records)?;
    for (row, prediction) in rows.iter().zip(&predictions) {
        out.append_instance(row)?;
        out.run().append_prediction(prediction)?;
    }
    let report = finish(out, failed, args.format)?;
    Ok(end_with(source, &report.failed))
}

/// Ends an oracle's folder: puts its rows in order, writes `metrics.json`, shows the tables.
pub fn finish(
    dir: &EvalDir,
    failed: Vec<Failure>,
    format: TableFormat,
) -> anyhow::Result<OracleReport> {
    dir.sort()?;
    let report = OracleReport::new(&read_oracle_rows(dir.run().path())?, failed);
    dir.finish(&report)?;
    show(&report, format)?;
    Ok(report)
}

fn show(report: &OracleReport, format: TableFormat) -> anyhow::Result<()> {
    match format.style() {
        Some(style) => write_stdout(&escape_controls(&report.render(style))),
        None => write_json(report),
    }
}

fn of_instance(
    source: &Source,
    instance: &Instance,
    limits: &[Limits],
) -> anyhow::Result<(OracleRow, PredictionRow)> {
    let case = source.case(instance, &RANKING)?;
    let gold = case.gold()?;
    let context = source.context(&case);
    let mut patch = Vec::new();
    let mut rows = Vec::with_capacity(limits.len());
    for (idx, limits) in limits.iter().enumerate() {
        let found = ceiling(&case, &context, &gold, limits, &EstimateTokens);
        if idx == 0 {
            patch = found.patch;
        }
        rows.push(found.row);
    }
    let task = instance.task();
    let prediction = PredictionRow {
        instance_id: task.instance_id.clone(),
        model_name_or_path: NAME.to_owned(),
        model_patch: String::from_utf8_lossy(&patch).into_owned(),
    };
    Ok((OracleRow::new(&task.instance_id, &task.repo, rows), prediction))
}
