//! `sorft eval … --verify` and `sorft eval verify`: predictions before the records' own tests.

use std::path::{Path, PathBuf};

use anyhow::{bail, ensure};
use clap::Args;
use serde_json::json;

use crate::commands::Outcome;
use crate::commands::eval::TableFormat;
use crate::commands::eval::prediction::Predictions;
use crate::commands::eval::record_tests::{Method, RecordTests, TestArgs};
use crate::commands::eval::source::{DataArgs, Source};
use crate::commands::eval::summary::{self, PriceArg, failed_of};
use crate::commands::output::{escape_controls, note, write_json, write_stdout};
use crate::report::seconds::render_seconds;
use crate::report::verification::{Verification, VerificationReport};
use crate::run::directory::RunRecord;
use crate::run::eval_dir::EvalDir;
use crate::run::record_row::fingerprint;
use crate::run::row::RunInfo;

/// Run the records' own tests with predictions that are there already
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sorft eval verify dev.jsonl --repos repos --recipes recipes/swe-bench-dev.yaml --gold --out runs/gold
  sorft eval verify dev.jsonl --repos repos --recipes mine.yaml --predictions preds.jsonl --out runs/v
  sorft eval verify dev.jsonl --repos repos --recipes mine.yaml --predictions runs/dev

Exit codes: 0 done · 1 some instance could not be verified · 2 error · 130 interrupted")]
pub struct VerifyArgs {
    #[command(flatten)]
    data: DataArgs,
    /// Predictions in the form that SWE-bench's tools take, or the folder of a finished
    /// evaluation, which then holds the verdicts
    #[arg(
        long,
        value_name = "FILE|RUN",
        conflicts_with = "gold",
        required_unless_present = "gold"
    )]
    predictions: Option<PathBuf>,
    /// The records' own patches: does everything verify that should?
    #[arg(long)]
    gold: bool,
    #[command(flatten)]
    tests: TestArgs,
    /// The folder of the results; unfinished work in it is resumed
    #[arg(long, value_name = "DIR", help_heading = "Result")]
    out: Option<PathBuf>,
    /// Dollars per million tokens of prompt and of completion, for the tables of an evaluation
    #[arg(long, value_name = "IN/OUT", help_heading = "Result")]
    price: Option<PriceArg>,
    /// Form of the tables on stdout
    #[arg(long, value_enum, default_value_t, help_heading = "Result")]
    format: TableFormat,
}

/// Runs `sorft eval verify`.
pub fn verify(args: &VerifyArgs, quiet: bool) -> anyhow::Result<Outcome> {
    let tests =
        TestArgs { verify: args.tests.verify.or(Some(Method::Local)), ..args.tests.clone() };
    let tests = RecordTests::new(&tests)?;
    let source = Source::open(&args.data, quiet)?;
    let run = args.predictions.as_ref().filter(|path| path.is_dir());
    if let Some(run) = run {
        ensure!(
            args.out.is_none(),
            "the verdicts on the evaluation `{}` are kept in its own folder, so `--out` has no use",
            run.display()
        );
        return verify_run(args, &tests, &source, run, quiet);
    }
    let predictions = match &args.predictions {
        Some(path) => Predictions::read(path)?,
        None => Predictions::of_gold(&source.instances),
    };
    predictions.note_strangers(&source.instances);
    let Some(out) = &args.out else {
        bail!("a folder for the verdicts is wanted\nhint: name one with `--out DIR`");
    };
    let records = source.records();
    let asked = json!({
        "predictions": predictions.fingerprint()?,
        "instances": fingerprint(&records)?,
    });
    let dir = EvalDir::open(out, &RunInfo::new("eval verify", &predictions.model, 0, asked))?;
    dir.write_records(&records)?;
    for row in predictions.rows(&source.instances) {
        if !dir.run().is_finished(&row.instance_id) {
            dir.run().append_prediction(&row)?;
        }
    }
    let not_run = tests.run(&dir, &source, &predictions, quiet)?;
    let instances: Vec<(&str, &str)> = source
        .instances
        .iter()
        .map(|instance| (instance.task().instance_id.as_str(), instance.task().repo.as_str()))
        .collect();
    let verification = Verification::new(&instances, &dir.verdicts()?, &not_run);
    let report = VerificationReport::new(&predictions.model, verification);
    dir.finish(&report)?;
    match args.format.style() {
        Some(style) => {
            let timings = RunRecord::read(dir.run().path())?.timings;
            let text = report.render(style) + &render_seconds(&timings, style);
            write_stdout(&escape_controls(&text))?;
        }
        None => write_json(&report)?,
    }
    Ok(end_with_unknown(&report.verification))
}

/// Verifies the predictions of a finished evaluation, and enters the verdicts into its tables.
fn verify_run(
    args: &VerifyArgs,
    tests: &RecordTests<'_>,
    source: &Source,
    path: &Path,
    quiet: bool,
) -> anyhow::Result<Outcome> {
    let record = RunRecord::read(path)?;
    ensure!(
        record.info.command == "eval",
        "`{}` is a run of `sorft {}`\nhint: name its `predictions.jsonl`, and a folder with `--out`",
        path.display(),
        record.info.command
    );
    let failed = failed_of(&record, path)?;
    let dir = EvalDir::open(path, &record.info)?;
    let predictions = Predictions::of_run(record.predictions);
    let not_run = tests.run(&dir, source, &predictions, quiet)?;
    let report = summary::finish(&dir, failed, Some(&not_run), (args.price, args.format))?;
    Ok(report.verification.as_ref().map_or(Outcome::Done, end_with_unknown))
}

/// Names what nothing is known of on stderr, and says how the command ended.
pub fn end_with_unknown(verification: &Verification) -> Outcome {
    for line in verification.render_unknown().lines() {
        note(line);
    }
    let Verification { unverifiable, not_run, .. } = verification;
    if unverifiable.is_empty() && not_run.is_empty() { Outcome::Done } else { Outcome::Missed }
}
