//! What an issue points at: retrieval's ranking, in the words of a finding.

use std::collections::BTreeSet;

use crate::index::Index;
use crate::index::retrieval::issue::Issue;
use crate::index::retrieval::{RankOptions, Reason, rank};
use crate::repo::path::RepoPath;
use crate::triage::trace::Trace;
use crate::triage::{Findings, FoundFile, FoundLine, FoundSymbol};

/// Files and symbols that are ranked; more are never looked at.
const MOST: usize = 200;

/// Ranks the places of an index for an issue whose first line is its title.
pub fn find_in_issue(index: &Index, text: &str) -> Findings {
    let options = RankOptions { max_files: MOST, max_symbols: MOST, max_symbols_per_file: 0 };
    let ranking = rank(index, text, &options);
    let best = |scores: &mut dyn Iterator<Item = f64>| scores.next().filter(|best| *best > 0.0);
    let best_file = best(&mut ranking.files.iter().map(|file| file.score));
    let best_symbol = best(&mut ranking.symbols.iter().map(|symbol| symbol.score));
    let trace = Trace::new(index);
    let files = ranking.files.into_iter().filter(|file| 0.0 < file.score).map(|file| FoundFile {
        score: file.score / best_file.unwrap_or(1.0),
        reasons: words_of(&file.reasons),
        path: file.path,
    });
    let symbols = ranking.symbols.into_iter().filter(|symbol| 0.0 < symbol.score);
    let symbols = symbols.map(|symbol| FoundSymbol {
        line: trace.line_of(&symbol.path, symbol.kind, &symbol.name),
        score: symbol.score / best_symbol.unwrap_or(1.0),
        reasons: words_of(&symbol.reasons),
        path: symbol.path,
        kind: symbol.kind,
        name: symbol.name,
    });
    let mut findings =
        Findings { files: files.collect(), symbols: symbols.collect(), lines: Vec::new() };
    findings.lines = lines_of(&trace, text, &findings);
    findings
}

/// The heaviest first, penalties left out.
fn words_of(reasons: &[Reason]) -> Vec<String> {
    let speaks_for = reasons.iter().filter(|reason| 0.0 < reason.weight);
    speaks_for.map(|reason| format!("{}: {}", reason.signal.words(), reason.evidence)).collect()
}

/// Lines that the text names, then those on which the best symbols begin.
fn lines_of(trace: &Trace<'_>, text: &str, findings: &Findings) -> Vec<FoundLine> {
    let issue = Issue::parse(text);
    let frames = issue.frames.iter().map(|frame| (&frame.path, frame.line));
    let named = frames.chain(issue.paths.iter().map(|mention| (&mention.path, mention.line)));
    let named = named.filter_map(|(printed, line)| {
        let path = trace.file_of(printed)?.clone();
        Some(FoundLine { path, line: line?, reason: format!("named: {printed}") })
    });
    let symbols = findings.symbols.iter().filter(|symbol| !symbol.name.is_empty());
    let begin = symbols.map(|symbol| FoundLine {
        path: symbol.path.clone(),
        line: symbol.line,
        reason: format!("{} {}", symbol.kind.word(), symbol.name),
    });
    let mut seen: BTreeSet<(RepoPath, u32)> = BTreeSet::new();
    let is_new = |line: &FoundLine| seen.insert((line.path.clone(), line.line));
    named.chain(begin).filter(is_new).collect()
}
