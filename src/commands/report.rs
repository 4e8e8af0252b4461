//! `sorft report`: a run as one HTML file.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;

use crate::commands::Outcome;
use crate::commands::curves::training;
use crate::commands::output::{note, write_stdout};
use crate::commands::run_record::find_run;
use crate::config::folder::Folders;
use crate::report::page::training::render_training;
use crate::report::page::{Run, render_page};
use crate::run::directory::RunRecord;
use crate::run::eval_dir::{read_instances, read_records, read_verdicts};
use crate::train::folder::is_run;

/// Write a run as one HTML file that opens offline
///
/// It holds the tables and charts of an evaluation, and for every instance the issue, the prompts
/// and completions, and the prediction beside the gold patch; of training runs, several side by
/// side, the curves of losses and rewards, and answers as they changed. A run that is not finished
/// is shown as far as it came.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sorft report runs/dev
  sorft report runs/dev --output dev.html
  sorft report reinforced longer-answers --output rewards.html")]
pub struct ReportArgs {
    /// The run: its folder, the name of one of yours, or `last`; of training runs, one or more
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<String>,
    /// The file to write; `-` is stdout [default: report.html in the first run's folder]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Runs `sorft report`.
pub fn report(args: &ReportArgs, quiet: bool) -> anyhow::Result<Outcome> {
    let folders: Vec<&Path> = args.runs.iter().map(Path::new).collect();
    if folders.iter().any(|folder| is_run(folder)) {
        let page = render_training(&training(&folders)?)?;
        return write(args, folders[0], page, quiet);
    }
    let [run] = &args.runs[..] else {
        bail!("training runs are shown side by side, others one at a time")
    };
    let folder = find_run(run, &Folders::find()?)?;
    let record = RunRecord::read(&folder)?;
    // The oracle has rows of another kind.
    let is_evaluation = record.info.command == "eval";
    let instances = if is_evaluation { read_instances(&folder)? } else { Vec::new() };
    let records = read_records(&folder)?;
    let verdicts = read_verdicts(&folder)?;
    let run =
        Run { record: &record, instances: &instances, records: &records, verdicts: &verdicts };
    write(args, &folder, render_page(&run)?, quiet)
}

fn write(args: &ReportArgs, folder: &Path, page: String, quiet: bool) -> anyhow::Result<Outcome> {
    let output = args.output.clone().unwrap_or_else(|| folder.join("report.html"));
    if output.as_os_str() == "-" {
        write_stdout(&page)?;
        return Ok(Outcome::Done);
    }
    std::fs::write(&output, page).with_context(|| format!("writing `{}`", output.display()))?;
    if !quiet {
        note(&format!("wrote {}", output.display()));
    }
    Ok(Outcome::Done)
}
