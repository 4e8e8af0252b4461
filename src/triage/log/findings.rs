//! What a log's failures point at.
//!
//! A frame in a source file speaks for its symbol, the innermost loudest. An assertion fails in
//! the test itself, so the names that the failing code calls speak for their definitions, and,
//! more quietly, for what those call. Everything that the log says, as a text, speaks a little.

use std::collections::BTreeMap;

use crate::index::Index;
use crate::index::definitions::Definitions;
use crate::index::outline::{Symbol, SymbolKind};
use crate::index::retrieval::frames::Frame;
use crate::index::retrieval::{RankOptions, rank};
use crate::repo::path::RepoPath;
use crate::triage::log::suspects::{FailedLines, suspects};
use crate::triage::log::{Failure, Log};
use crate::triage::trace::Trace;
use crate::triage::{Findings, FoundFile, FoundLine, FoundSymbol};

/// What the innermost source frame of a failure weighs; each one further out, `OUTWARD` of it.
const FRAME: f64 = 1.0;
const OUTWARD: f64 = 0.6;
/// What a name in the failing statement weighs, in a message, and among failing tests alone.
const NAMED: f64 = 0.4;
const IN_A_MESSAGE: f64 = 0.3;
const SUSPECT: f64 = 0.8;
/// The share of these where a frame is in a source file.
const IN_SOURCES: f64 = 0.4;
/// What a name in the body of a named symbol weighs.
const CALLED: f64 = 0.35;
/// What a class that is named, or one of whose methods failed, weighs for its constructor, and for
/// its other methods: an object that is wrong was made wrong.
const CONSTRUCTOR: f64 = 0.45;
const METHOD: f64 = 0.2;
/// What the best place of the log's text weighs.
const TEXT: f64 = 0.5;
/// Symbols whose bodies are read for the names that they call.
const MOST_CALLERS: usize = 8;
/// Bytes of the text that retrieval reads.
const MOST_TEXT: usize = 32 << 10;

/// Finds the places in a repository that a log points at.
pub fn find_in_log(index: &Index, log: &Log) -> Findings {
    let mut search = Search {
        index,
        trace: Trace::new(index),
        definitions: Definitions::new(index),
        failed: FailedLines::new(),
        passed_on: FailedLines::new(),
    };
    let mut votes = Votes::default();
    for failure in &log.failures {
        search.read_failure(failure, &mut votes);
    }
    search.read_tests(&mut votes);
    search.read_classes(&mut votes);
    search.read_calls(&mut votes);
    search.read_text(log, &mut votes);
    votes.into_findings(&search.trace)
}

struct Search<'a> {
    index: &'a Index,
    trace: Trace<'a>,
    definitions: Definitions<'a>,
    /// Lines of tests that failed themselves, …
    failed: FailedLines,
    /// … and those from which a failure of a source file came.
    passed_on: FailedLines,
}

/// (path, kind, qualified name); without a name the file's own lines.
type SymbolKey = (RepoPath, SymbolKind, String);

fn key_of(path: &RepoPath, symbol: Option<&Symbol>) -> SymbolKey {
    let name = symbol.map_or(String::new(), |symbol| symbol.name.clone());
    (path.clone(), symbol.map_or(SymbolKind::Module, |symbol| symbol.kind), name)
}

/// What speaks for each symbol.
#[derive(Default)]
struct Votes {
    symbols: BTreeMap<SymbolKey, (f64, Vec<String>)>,
    lines: Vec<FoundLine>,
}

impl Votes {
    fn add(&mut self, key: SymbolKey, weight: f64, reason: String) {
        let (score, reasons) = self.symbols.entry(key).or_default();
        // What speaks again speaks less loudly: a common frame of many failures proves little.
        *score += weight / (1.0 + reasons.len() as f64);
        if !reasons.contains(&reason) && reasons.len() < 8 {
            reasons.push(reason);
        }
    }

    fn into_findings(self, trace: &Trace<'_>) -> Findings {
        let mut files: BTreeMap<RepoPath, (f64, f64, Vec<String>)> = BTreeMap::new();
        let mut symbols = Vec::new();
        for ((path, kind, name), (score, reasons)) in self.symbols {
            let (best, sum, why) = files.entry(path.clone()).or_default();
            if *best < score {
                *best = score;
                why.clone_from(&reasons);
            }
            *sum += score;
            let line = trace.line_of(&path, kind, &name);
            symbols.push(FoundSymbol { path, kind, name, line, score, reasons });
        }
        let file = |(path, (best, sum, reasons)): (RepoPath, (f64, f64, Vec<String>))| FoundFile {
            path,
            score: 0.25f64.mul_add(sum - best, best),
            reasons,
        };
        let mut files: Vec<FoundFile> = files.into_iter().map(file).collect();
        files.sort_by(|left, right| right.score.total_cmp(&left.score));
        symbols.sort_by(|left, right| right.score.total_cmp(&left.score));
        let best_file = files.first().map_or(1.0, |file| file.score);
        let best_symbol = symbols.first().map_or(1.0, |symbol| symbol.score);
        files.iter_mut().for_each(|file| file.score /= best_file);
        symbols.iter_mut().for_each(|symbol| symbol.score /= best_symbol);
        Findings { files, symbols, lines: self.lines }
    }
}

impl Search<'_> {
    fn read_failure(&mut self, failure: &Failure, votes: &mut Votes) {
        let mut source: Vec<(&Frame, &RepoPath)> = Vec::new();
        let mut test: Option<(&Frame, &RepoPath)> = None;
        for frame in innermost_first(&failure.frames) {
            let Some(path) = self.trace.file_of(&frame.path) else { continue };
            if !self.index.is_test(path) {
                source.push((frame, path));
            } else if test.is_none() {
                test = Some((frame, path));
            }
        }
        let mut weight = FRAME;
        for (frame, path) in &source {
            let symbol = self.trace.symbol_of(path, frame.line, frame.function.as_deref());
            let line = frame.line.map_or(String::new(), |line| format!(":{line}"));
            votes.add(key_of(path, symbol), weight, format!("frame: {path}{line}"));
            if let Some(line) = frame.line {
                let found = FoundLine { path: (*path).clone(), line, reason: "frame".to_owned() };
                if !votes.lines.contains(&found) {
                    votes.lines.push(found);
                }
            }
            weight *= OUTWARD;
        }
        // Where code of the repository failed, the test's own words say less.
        let share = if source.is_empty() { 1.0 } else { IN_SOURCES };
        if let Some((frame, path)) = test
            && let Some(line) = frame.line
        {
            let failed = if source.is_empty() { &mut self.failed } else { &mut self.passed_on };
            failed.entry(path.clone()).or_default().insert(line);
        }
        for code in &failure.code {
            self.read_code(code, share * NAMED, "in the failing statement", votes);
        }
        for message in &failure.messages {
            self.read_code(message, share * IN_A_MESSAGE, "in a message", votes);
        }
    }

    fn read_code(&self, code: &str, weight: f64, place: &str, votes: &mut Votes) {
        for (path, symbol, part) in self.definitions.of_code(code) {
            let reason = format!("{} {place}", symbol.name);
            votes.add(key_of(path, Some(symbol)), weight * part, reason);
        }
    }

    /// Names of the failing tests and of their files.
    fn read_tests(&self, votes: &mut Votes) {
        for (failed, share) in [(&self.failed, 1.0), (&self.passed_on, IN_SOURCES)] {
            for (name, suspicion) in suspects(self.index, &self.definitions, failed) {
                for (path, symbol, part) in self.definitions.of_code(name) {
                    let reason = format!("{} in the failing tests", symbol.name);
                    let weight = share * SUSPECT * suspicion * part;
                    votes.add(key_of(path, Some(symbol)), weight, reason);
                }
            }
            for path in failed.keys() {
                self.read_code(path.file_name(), share * NAMED, "in the test file's name", votes);
            }
        }
    }

    /// The methods beside those that are likely so far.
    fn read_classes(&self, votes: &mut Votes) {
        let likely: Vec<(SymbolKey, f64)> =
            votes.symbols.iter().map(|(key, (score, _))| (key.clone(), *score)).collect();
        let best = likely.iter().map(|(_, score)| *score).fold(0.0, f64::max);
        for ((path, kind, name), score) in likely {
            let Some(outline) = self.index.outline(&path) else { continue };
            let class = match kind {
                SymbolKind::Class => name.as_str(),
                SymbolKind::Function => name.rsplit_once('.').map_or("", |(class, _)| class),
                _ => continue,
            };
            if class.is_empty() {
                continue;
            }
            let is_method = |symbol: &&Symbol| {
                symbol.kind == SymbolKind::Function
                    && symbol.name.rsplit_once('.').is_some_and(|(owner, _)| owner == class)
            };
            for method in outline.symbols.iter().filter(is_method).filter(|m| m.name != name) {
                let weight = if is_constructor(class, &method.name) { CONSTRUCTOR } else { METHOD };
                let key = key_of(&path, Some(method));
                votes.add(key, weight * score / best, format!("of the same class as {name}"));
            }
        }
    }

    /// Names in the bodies of the symbols that are likely so far.
    fn read_calls(&self, votes: &mut Votes) {
        let mut likely: Vec<(SymbolKey, f64)> =
            votes.symbols.iter().map(|(key, (score, _))| (key.clone(), *score)).collect();
        likely.sort_by(|left, right| right.1.total_cmp(&left.1));
        likely.truncate(MOST_CALLERS);
        let Some(best) = likely.first().map(|(_, score)| *score) else { return };
        for ((path, kind, name), score) in likely {
            let outline = self.index.outline(&path);
            let Some(symbol) = outline.and_then(|outline| outline.symbol(kind, &name)) else {
                continue;
            };
            let Ok(text) = self.index.snapshot().read_text(&path) else { continue };
            let lines = symbol.places.iter().flat_map(|place| place.span.first..=place.span.last);
            let lines = lines.filter(|line| (*line as usize) <= text.n_lines());
            let body: Vec<&str> = lines.map(|line| text.line(line as usize - 1)).collect();
            for (callee_path, callee, part) in self.definitions.of_code(&body.join("\n")) {
                let callee_key = key_of(callee_path, Some(callee));
                if callee_key == (path.clone(), kind, name.clone()) {
                    continue;
                }
                let reason = format!("called by {name}");
                votes.add(callee_key, CALLED * part * score / best, reason);
            }
        }
    }

    /// What the log says, as an issue.
    fn read_text(&self, log: &Log, votes: &mut Votes) {
        let mut text = String::new();
        for failure in &log.failures {
            let lines = [&failure.title].into_iter().chain(&failure.messages).chain(&failure.code);
            for line in lines.filter(|line| !line.is_empty()) {
                if MOST_TEXT < text.len() + line.len() {
                    break;
                }
                text += line;
                text.push('\n');
            }
        }
        if text.is_empty() {
            text = log.tail.join("\n");
        }
        let options = RankOptions { max_files: 20, max_symbols: 40, max_symbols_per_file: 0 };
        let ranking = rank(self.index, &text, &options);
        let Some(best) = ranking.symbols.first().map(|symbol| symbol.score) else { return };
        for symbol in ranking.symbols.iter().filter(|symbol| 0.0 < symbol.score) {
            let key = (symbol.path.clone(), symbol.kind, symbol.name.clone());
            let weight = TEXT * symbol.score / best;
            votes.add(key, weight, "words of the log".to_owned());
        }
    }
}

/// Whether a method makes the objects of its class, in any of the languages.
fn is_constructor(class: &str, method: &str) -> bool {
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    let method = last(method);
    matches!(method.as_str(), "__init__" | "constructor" | "initialize" | "new" | "__construct")
        || method == last(class)
}

/// Python prints the innermost frame last, others first.
fn innermost_first(frames: &[Frame]) -> Box<dyn Iterator<Item = &Frame> + '_> {
    let is_python = frames.iter().any(|frame| frame.path.ends_with(".py"));
    if is_python { Box::new(frames.iter().rev()) } else { Box::new(frames.iter()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::triage::log::fixture::index_of;

    const CART: &str = "def total(items):\n    return sum(price(i) for i in items)\n\n\n\
                        def price(item):\n    return item.price\n\n\n\
                        def empty():\n    return []\n";
    const TEST: &str = "from cart import total, empty\n\n\ndef test_total():\n    \
                        items = empty()\n    assert total(items) == 1\n";

    #[track_caller]
    fn check(log: &str, expected: &[&str]) {
        let index = index_of(&[("shop/cart.py", CART), ("tests/test_cart.py", TEST)]);
        let log = Log::read(log.as_bytes()).unwrap();
        let findings = find_in_log(&index, &log);
        let names: Vec<&str> =
            findings.symbols.iter().take(expected.len()).map(|s| s.name.as_str()).collect();
        assert_eq!(names, expected, "{findings:#?}");
    }

    #[test]
    fn the_innermost_frame_of_a_source_file_comes_first() {
        check(
            "Traceback (most recent call last):\n  File \"/w/tests/test_cart.py\", line 6, in test_total\n    \
             assert total(items) == 1\n  File \"/w/shop/cart.py\", line 2, in total\n    return sum(price(i) for i in items)\n  \
             File \"/w/shop/cart.py\", line 6, in price\n    return item.price\n  \
             File \"/usr/lib/python3/site-packages/attr/_make.py\", line 9, in get\n    x\n\
             AttributeError: no price\n",
            &["price", "total"],
        );
    }

    #[test]
    fn what_a_failing_assertion_calls_comes_before_what_the_test_sets_up() {
        check(
            "______ test_total ______\n>       assert total(items) == 1\nE       assert 0 == 1\n\n\
             tests/test_cart.py:6: AssertionError\n",
            &["total"],
        );
    }

    #[test]
    fn a_log_that_tells_no_failure_is_read_as_a_text() {
        check("make: stopped\ncart: the price of an item is missing\n", &["price"]);
    }
}
