//! `sorft eval --oracle`: every stage answered from the gold patch.

use serde_json::json;

use crate::commands::Outcome;
use crate::commands::eval::source::{RANKING, Source};
use crate::commands::eval::{EvalArgs, end_with};
use crate::commands::output::{escape_controls, write_json, write_stdout};
use crate::instance::Instance;
use crate::pipeline::oracle::ceiling;
use crate::pipeline::oracle::limits::Limits;
use crate::prompt::EstimateTokens;
use crate::report::ceiling::OracleReport;
use crate::run::eval_dir::EvalDir;
use crate::run::oracle_row::OracleRow;
use crate::run::record_row::fingerprint;
use crate::run::row::{PredictionRow, RunInfo};

/// What the oracle calls itself in `predictions.jsonl`.
const NAME: &str = "sorft-oracle";

pub fn oracle(args: &EvalArgs, source: &Source, quiet: bool) -> anyhow::Result<Outcome> {
    let limits = Limits::table();
    let records = source.records();
    // A folder that cannot be written is told before the work.
    let names: Vec<&str> = limits.iter().map(|limits| limits.name.as_str()).collect();
    let settings = json!({ "limits": names, "instances": fingerprint(&records)? });
    let info = RunInfo::new("eval --oracle", NAME, 0, settings);
    let out = args.out.as_ref().map(|path| EvalDir::open(path, &info)).transpose()?;
    let (found, failed) =
        source.for_each(quiet, |instance| of_instance(source, instance, &limits))?;
    let (rows, predictions): (Vec<OracleRow>, Vec<PredictionRow>) = found.into_iter().unzip();
    let report = OracleReport::new(&rows, failed);
    if let Some(out) = &out {
        out.write_records(&records)?;
        for (row, prediction) in rows.iter().zip(&predictions) {
            out.append_instance(row)?;
            out.run().append_prediction(prediction)?;
        }
        out.finish(&report)?;
    }
    match args.format.style() {
        Some(style) => write_stdout(&escape_controls(&report.render(style)))?,
        None => write_json(&report)?,
    }
    Ok(end_with(source, &report.failed))
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
