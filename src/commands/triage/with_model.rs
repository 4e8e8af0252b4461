//! `sorft triage --model`: what the pipeline's localization answers, before what else was found.

use std::sync::Arc;

use crate::commands::engine::open_engine;
use crate::commands::interrupt::run_until_interrupted;
use crate::commands::likely::likely_places;
use crate::commands::progress::ProgressView;
use crate::commands::settings::Surroundings;
use crate::commands::triage::TriageArgs;
use crate::commands::work::{SampleArgs, Work};
use crate::index::Index;
use crate::pipeline::calls::Calls;
use crate::pipeline::locate::locate;
use crate::pipeline::places::Places;
use crate::pipeline::progress::Progress;
use crate::repo::path::RepoPath;
use crate::stage::function::symbol::SymbolId;
use crate::triage::trace::Trace;
use crate::triage::{Findings, FoundFile, FoundLine, FoundSymbol};

const REASON: &str = "the model's answer";

/// Puts the places that the model answers first.
pub(super) fn ask_model(
    args: &TriageArgs,
    surroundings: &Surroundings,
    (index, issue): (&Arc<Index>, String),
    findings: &mut Findings,
    quiet: bool,
) -> anyhow::Result<()> {
    let view = ProgressView::new(quiet);
    let engine = open_engine(&args.engine, surroundings, quiet)?;
    let ranking = likely_places(index, &issue);
    let sampling = SampleArgs::default();
    let input = (Arc::clone(index), ranking);
    let work = Work::new(surroundings, &sampling, engine.as_ref(), issue, input)?;
    let hear = |progress: Progress| view.hear(progress);
    let calls = Calls::new(engine.as_ref(), None, "triage", work.settings.seed, &hear);
    let answering = locate(&calls, &work.context, &work.stages, &work.settings, Places::default());
    let places = run_until_interrupted(answering)?;
    view.clear();
    add(findings, &Trace::new(index), &places);
    Ok(())
}

fn add(findings: &mut Findings, trace: &Trace<'_>, places: &Places) {
    for path in places.files.iter().rev() {
        let file = take_file(findings, path);
        findings.files.insert(0, file);
    }
    for symbol in places.symbols.iter().rev() {
        let found = take_symbol(findings, trace, symbol);
        findings.symbols.insert(0, found);
    }
    if let Some(set) = places.line_sets.first() {
        let line = |(path, line): &(RepoPath, u32)| FoundLine {
            path: path.clone(),
            line: *line,
            reason: REASON.to_owned(),
        };
        findings.lines.splice(..0, set.lines.iter().map(line));
    }
}

fn take_file(findings: &mut Findings, path: &RepoPath) -> FoundFile {
    let known = findings.files.iter().position(|file| file.path == *path);
    let known = known.map(|at| findings.files.remove(at));
    let mut file = known.unwrap_or(FoundFile { path: path.clone(), score: 1.0, reasons: vec![] });
    file.score = 1.0;
    file.reasons.insert(0, REASON.to_owned());
    file
}

fn take_symbol(findings: &mut Findings, trace: &Trace<'_>, id: &SymbolId) -> FoundSymbol {
    let SymbolId { path, kind, name } = id;
    let is_it = |found: &FoundSymbol| (&found.path, found.kind, &found.name) == (path, *kind, name);
    let known = findings.symbols.iter().position(is_it);
    let new = || FoundSymbol {
        path: path.clone(),
        kind: *kind,
        name: name.clone(),
        line: trace.line_of(path, *kind, name),
        score: 1.0,
        reasons: vec![],
    };
    let mut symbol = known.map_or_else(new, |at| findings.symbols.remove(at));
    symbol.score = 1.0;
    symbol.reasons.insert(0, REASON.to_owned());
    symbol
}
