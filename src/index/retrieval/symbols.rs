//! Ranks the symbols of the best files.

use std::collections::BTreeMap;

use crate::index::outline::{Symbol, SymbolKind};
use crate::index::retrieval::files::{
    FileScores, files_of_path, last_part, value_of_frame, value_of_mention,
};
use crate::index::retrieval::issue::Issue;
use crate::index::retrieval::scan::{Document, Query, Scan};
use crate::index::retrieval::{RankedSymbol, Reason, Signal};

const FILE: f64 = 1.0;
const WORDS: f64 = 1.0;
const DEFINITION: f64 = 0.5;
const DOTTED_NAME: f64 = 0.5;
const FRAME: f64 = 1.0;
const MESSAGE: f64 = 0.5;
const FILE_KIND: f64 = -0.3;

/// Symbols of files further down are not looked at.
pub(super) const N_FILES: usize = 50;

/// The symbols of the best files, best first; equal scores in order of path, kind and name.
pub(super) fn rank_symbols(
    documents: &[Document<'_>],
    issue: &Issue,
    query: &Query<'_>,
    scan: &Scan,
    files: &FileScores,
) -> Vec<RankedSymbol> {
    let best_file = files.order.first().map_or(1.0, |file| files.scores[*file]).max(f64::EPSILON);
    let frames = frames_by_file(documents, issue);
    let defined = defined_names(documents, issue);
    let candidates = files
        .order
        .iter()
        .take(N_FILES)
        .map(|file| (*file, scan.scores_of_symbols(query, &scan.files[*file], &documents[*file])))
        .collect::<Vec<_>>();
    let best_words =
        candidates.iter().flat_map(|(_, scores)| scores.values()).copied().fold(0.0, f64::max);
    let mut ranked = Vec::new();
    for (file, words) in candidates {
        let document = &documents[file];
        let mut messages = BTreeMap::<usize, (f64, String)>::new();
        for (phrase, symbol) in &scan.files[file].phrases {
            let message = messages.entry(*symbol as usize).or_default();
            message.0 += scan.value_of_phrase(*phrase);
            query.phrases[*phrase as usize].1.clone_into(&mut message.1);
        }
        for (number, symbol) in document.outline.symbols.iter().enumerate() {
            if symbol.kind == SymbolKind::Module {
                continue;
            }
            let mut reasons = Vec::new();
            let mut add = |signal, weight: f64, evidence: String| {
                if weight != 0.0 {
                    reasons.push(Reason { signal, evidence, weight });
                }
            };
            let share = files.scores[file] / best_file;
            add(Signal::File, FILE * share, document.path.to_string());
            if let Some(score) = words.get(&number)
                && 0.0 < best_words
            {
                let evidence = scan.heaviest_terms_of_symbol(query, file, number);
                add(Signal::Words, WORDS * score / best_words, evidence);
            }
            let name = last_part(&symbol.name);
            if let (Some(mention), Some(n)) = (issue.names.get(name), defined.get(name)) {
                let value = (value_of_mention(*mention) / f64::from(*n)).ln_1p();
                add(Signal::Definition, DEFINITION * value, name.to_owned());
            }
            if let Some(dotted) = dotted_mention(issue, &symbol.name) {
                add(Signal::DottedName, DOTTED_NAME, dotted.to_owned());
            }
            if let Some((value, evidence)) = frame_of(&frames, file, symbol) {
                add(Signal::Traceback, FRAME * value, evidence);
            }
            if let Some((value, text)) = messages.remove(&number) {
                add(Signal::Message, MESSAGE * value.min(5.0).ln_1p(), format!("\"{text}\""));
            }
            if symbol.kind != SymbolKind::Function {
                add(Signal::Kind, FILE_KIND, symbol.kind.word().to_owned());
            }
            reasons.sort_by(|a, b| {
                b.weight.abs().total_cmp(&a.weight.abs()).then(a.signal.cmp(&b.signal))
            });
            ranked.push(RankedSymbol {
                path: document.path.clone(),
                kind: symbol.kind,
                name: symbol.name.clone(),
                score: reasons.iter().fold(0.0, |sum, reason| sum + reason.weight),
                reasons,
            });
        }
    }
    ranked.sort_by(|a, b| {
        b.score
            .total_cmp(&a.score)
            .then_with(|| (&a.path, a.kind, &a.name).cmp(&(&b.path, b.kind, &b.name)))
    });
    ranked
}

/// In how many symbols each name of the issue is defined.
fn defined_names<'a>(documents: &[Document<'a>], issue: &Issue) -> BTreeMap<&'a str, u32> {
    let mut defined = BTreeMap::new();
    for symbol in documents.iter().flat_map(|document| &document.outline.symbols) {
        let name = last_part(&symbol.name);
        if issue.names.contains_key(name) {
            *defined.entry(name).or_insert(0) += 1;
        }
    }
    defined
}

/// A dotted name of the issue that ends with a method's class and name.
fn dotted_mention<'a>(issue: &'a Issue, name: &str) -> Option<&'a str> {
    let tail = name.contains('.').then_some(name)?;
    issue
        .dotted
        .iter()
        .find(|dotted| {
            dotted.strip_suffix(tail).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        })
        .map(String::as_str)
}

/// A frame in a file: what it is worth, its line and its function.
type FileFrame<'a> = (f64, Option<u32>, Option<&'a str>);

fn frames_by_file<'a>(
    documents: &[Document<'_>],
    issue: &'a Issue,
) -> BTreeMap<usize, Vec<FileFrame<'a>>> {
    let mut by_file = BTreeMap::<usize, Vec<FileFrame<'a>>>::new();
    for (number, frame) in issue.frames.iter().enumerate() {
        let value = value_of_frame(issue.frames.len(), number);
        for file in files_of_path(documents, &frame.path) {
            by_file.entry(file).or_default().push((value, frame.line, frame.function.as_deref()));
        }
    }
    // A path with a line number points at a line as a frame does.
    for mention in issue.paths.iter().filter(|mention| mention.line.is_some()) {
        for file in files_of_path(documents, &mention.path) {
            by_file.entry(file).or_default().push((1.0, mention.line, None));
        }
    }
    by_file
}

/// The heaviest frame that names the symbol, or, where a frame names no function, has its line.
/// Lines alone are taken with care: they may be of another version.
fn frame_of(
    frames: &BTreeMap<usize, Vec<FileFrame<'_>>>,
    file: usize,
    symbol: &Symbol,
) -> Option<(f64, String)> {
    let mut best = None::<(f64, String)>;
    for (value, line, function) in frames.get(&file)? {
        let fits = match (function, line) {
            (Some(function), _) => last_part(function) == last_part(&symbol.name),
            (None, Some(line)) => {
                symbol.kind == SymbolKind::Function
                    && symbol.places.iter().any(|place| place.span.contains(*line))
            }
            (None, None) => false,
        };
        if fits && best.as_ref().is_none_or(|(known, _)| known < value) {
            best = Some((*value, format!("line {}", line.unwrap_or_default())));
        }
    }
    best
}
