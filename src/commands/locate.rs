//! `sorft locate`: where the change belongs, and no patch.

use clap::Args;
use serde_json::json;

use crate::commands::Outcome;
use crate::commands::engine::{EngineArgs, open_engine};
use crate::commands::hand_over::render_places;
use crate::commands::interrupt::run_until_interrupted;
use crate::commands::issue::IssueArgs;
use crate::commands::likely::{likely_places, show_likely_places, write_likely_places};
use crate::commands::output::{Format, escape_controls, write_json, write_stdout};
use crate::commands::places::parse_places;
use crate::commands::progress::ProgressView;
use crate::commands::repository::RepositoryArgs;
use crate::commands::run_folder::{INSTANCE, open_run, with_resume_hint};
use crate::commands::settings::{Surroundings, work_flags};
use crate::commands::work::{Work, WorkArgs};
use crate::pipeline::calls::Calls;
use crate::pipeline::locate::locate as run_locate;
use crate::pipeline::progress::Progress;

/// Find the files, functions and lines that an issue is about
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sorft locate --issue bug.md
  sorft locate --issue bug.md --no-model --format json
  sorft locate ~/code/project --at v1.2 --issue me/project#12")]
pub struct LocateArgs {
    #[command(flatten)]
    pub repository: RepositoryArgs,
    #[command(flatten)]
    pub issue: IssueArgs,
    #[command(flatten)]
    pub engine: EngineArgs,
    #[command(flatten)]
    pub work: WorkArgs,
    /// Form of the result
    #[arg(long, value_enum, default_value_t, help_heading = "Result")]
    pub format: Format,
}

/// Runs `sorft locate`.
pub fn locate(args: &LocateArgs, quiet: bool) -> anyhow::Result<Outcome> {
    let view = ProgressView::new(quiet);
    let flags = work_flags(&args.engine, &args.work);
    let surroundings = Surroundings::read(Some(&args.repository.repo), &flags)?;
    surroundings.resolved.notes.iter().for_each(|note| view.say(note));
    let issue = run_until_interrupted(
        args.issue.read(&surroundings.environment, surroundings.config().offline),
    )?;
    view.now("reading the repository");
    let index = args.repository.index(&surroundings, args.issue.file())?;
    let given = parse_places(&args.work.places, &index)?;
    let as_json = args.format == Format::Json;
    if args.engine.no_model {
        view.clear();
        write_likely_places(&likely_places(&index, &issue), as_json)?;
        return Ok(Outcome::Done);
    }
    let ranking = show_likely_places(&index, &issue, &view);
    // A download has a line of its own.
    view.clear();
    let engine = open_engine(&args.engine, &surroundings, quiet)?;
    let work =
        Work::new(&surroundings, &args.work.sampling, engine.as_ref(), issue, (index, ranking))?;
    if args.work.plan {
        view.clear();
        return work.plan(engine.as_ref(), as_json);
    }
    let run = open_run(&surroundings, "locate", engine.info(), &work, &args.repository)?;
    let hear = |progress: Progress| view.hear(progress);
    let calls = Calls::new(engine.as_ref(), Some(&run), INSTANCE, work.settings.seed, &hear);
    let Work { settings, stages, context, .. } = &work;
    let places = run_until_interrupted(run_locate(&calls, context, stages, settings, given));
    let places = places.map_err(|error| with_resume_hint(error, run.path()))?;
    view.clear();
    run.finish(&json!({ "version": 1, "usage": calls.usage(), "places": places }))?;
    if as_json {
        write_json(&json!({
            "version": 1,
            "places": places,
            "usage": calls.usage(),
            "run": run.path().display().to_string(),
        }))?;
    } else {
        let files = places.files.iter().map(|file| format!("file      {file}\n"));
        let symbols = places.symbols.iter().map(|symbol| format!("function  {symbol}\n"));
        let mut text: String = files.chain(symbols).collect();
        text += &format!("lines     {}\n", render_places(&places));
        write_stdout(&escape_controls(&text))?;
    }
    Ok(Outcome::Done)
}
