//! Ranks files: adds up what speaks for each.
//!
//! Every part is scaled to about 0…1, so that its weight says what it is worth beside the words.
//! The weights are round numbers that do on repositories of different kinds; they are not fitted
//! to any one of them.

use std::collections::{BTreeMap, BTreeSet};

use crate::index::language;
use crate::index::outline::SymbolKind;
use crate::index::retrieval::imports::Modules;
use crate::index::retrieval::issue::{Issue, NameMention};
use crate::index::retrieval::scan::{Document, Query, Scan};
use crate::index::retrieval::{Reason, Signal};
use crate::repo::path::RepoPath;

const WORDS: f64 = 1.0;
const BEST_SYMBOL: f64 = 0.4;
const FILE_NAME: f64 = 0.3;
const PATH: f64 = 1.5;
const FRAME: f64 = 1.0;
const DOTTED_NAME: f64 = 0.3;
const DEFINITION: f64 = 0.3;
const MESSAGE: f64 = 0.3;
const IMPORTS: f64 = 0.15;
const FILE_KIND: f64 = -0.3;

/// A name that so many files define says little about any of them.
const MAX_DEFINING_FILES: usize = 20;
/// The files whose imports and importers are looked at.
const N_IMPORT_SEEDS: usize = 10;

/// One kind of evidence, for all files.
#[derive(Debug)]
struct Part {
    signal: Signal,
    weight: f64,
    /// By file.
    values: Vec<f64>,
    /// What gave the signal, by file; parts that are explained by words have none.
    evidence: BTreeMap<usize, BTreeSet<String>>,
}

/// The score of every file and what it is made of.
#[derive(Debug)]
pub(super) struct FileScores {
    parts: Vec<Part>,
    /// By file.
    pub(super) scores: Vec<f64>,
    /// Files, best first.
    pub(super) order: Vec<usize>,
}

impl FileScores {
    pub(super) fn new(
        documents: &[Document<'_>],
        issue: &Issue,
        query: &Query<'_>,
        scan: &Scan,
    ) -> Self {
        let modules = Modules::new(documents.iter().map(|document| document.path));
        let mut parts = vec![
            words(documents, query, scan),
            best_symbol(documents, query, scan),
            file_name(documents, query, scan),
            paths(documents, issue),
            frames(documents, issue),
            dotted_names(documents, issue, &modules),
            definitions(documents, issue),
            messages(documents, query, scan),
            file_kind(documents),
        ];
        let mut scores = sums(&parts, documents.len());
        let seeds = ordered(documents, &scores);
        let imports = imports(documents, &modules, &scores, &seeds);
        for (score, value) in scores.iter_mut().zip(&imports.values) {
            *score += IMPORTS * value;
        }
        parts.push(imports);
        let order = ordered(documents, &scores);
        Self { parts, scores, order }
    }

    /// What a file's score is the sum of, heaviest first.
    pub(super) fn reasons(&self, file: usize, query: &Query<'_>, scan: &Scan) -> Vec<Reason> {
        let mut reasons = Vec::new();
        for part in &self.parts {
            let value = part.values[file];
            if value == 0.0 {
                continue;
            }
            let evidence = match part.evidence.get(&file) {
                Some(texts) => texts.iter().take(4).cloned().collect::<Vec<_>>().join(", "),
                None if part.signal == Signal::FileName => {
                    scan.names_of_terms(query, &scan.files[file].stem_terms)
                }
                None => scan.heaviest_terms(query, file),
            };
            reasons.push(Reason { signal: part.signal, evidence, weight: part.weight * value });
        }
        reasons.sort_by(|a, b| {
            b.weight.abs().total_cmp(&a.weight.abs()).then(a.signal.cmp(&b.signal))
        });
        reasons
    }
}

impl Part {
    fn new(signal: Signal, weight: f64, n_files: usize) -> Self {
        Self { signal, weight, values: vec![0.0; n_files], evidence: BTreeMap::new() }
    }

    fn explain(&mut self, file: usize, evidence: String) {
        self.evidence.entry(file).or_default().insert(evidence);
    }

    /// Scales the values so that the largest is 1.
    fn scaled(mut self) -> Self {
        let largest = self.values.iter().copied().fold(0.0, f64::max);
        if 0.0 < largest {
            for value in &mut self.values {
                *value /= largest;
            }
        }
        self
    }
}

fn sums(parts: &[Part], n_files: usize) -> Vec<f64> {
    let score = |file| parts.iter().fold(0.0, |sum, part| sum + part.weight * part.values[file]);
    (0..n_files).map(score).collect()
}

fn ordered(documents: &[Document<'_>], scores: &[f64]) -> Vec<usize> {
    let mut order = (0..documents.len()).collect::<Vec<_>>();
    order.sort_by(|a, b| {
        scores[*b].total_cmp(&scores[*a]).then(documents[*a].path.cmp(documents[*b].path))
    });
    order
}

fn words(documents: &[Document<'_>], query: &Query<'_>, scan: &Scan) -> Part {
    let mut part = Part::new(Signal::Words, WORDS, documents.len());
    for (value, file) in part.values.iter_mut().zip(&scan.files) {
        *value = scan.score_of_file(query, file);
    }
    part.scaled()
}

/// A file in which one symbol holds many of the words beats one that holds them scattered.
fn best_symbol(documents: &[Document<'_>], query: &Query<'_>, scan: &Scan) -> Part {
    let mut part = Part::new(Signal::BestSymbol, BEST_SYMBOL, documents.len());
    for (number, document) in documents.iter().enumerate() {
        let scores = scan.scores_of_symbols(query, &scan.files[number], document);
        let best = scores.into_iter().max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)));
        if let Some((symbol, score)) = best {
            part.values[number] = score;
            part.explain(number, document.outline.symbols[symbol].name.clone());
        }
    }
    part.scaled()
}

fn file_name(documents: &[Document<'_>], query: &Query<'_>, scan: &Scan) -> Part {
    let mut part = Part::new(Signal::FileName, FILE_NAME, documents.len());
    for (value, file) in part.values.iter_mut().zip(&scan.files) {
        *value = file.stem_terms.iter().map(|term| scan.weight_of(query, *term)).sum();
    }
    part.scaled()
}

fn paths(documents: &[Document<'_>], issue: &Issue) -> Part {
    let mut part = Part::new(Signal::Path, PATH, documents.len());
    for mention in &issue.paths {
        let files = files_of_path(documents, &mention.path);
        for file in &files {
            part.values[*file] = part.values[*file].max(1.0 / files.len() as f64);
            let line = mention.line.map(|line| format!(":{line}")).unwrap_or_default();
            part.explain(*file, format!("{}{line}", mention.path));
        }
    }
    part
}

/// The last frame is where it went wrong; those before it lead there.
fn frames(documents: &[Document<'_>], issue: &Issue) -> Part {
    let mut part = Part::new(Signal::Traceback, FRAME, documents.len());
    for (number, frame) in issue.frames.iter().enumerate() {
        let files = files_of_path(documents, &frame.path);
        let value = value_of_frame(issue.frames.len(), number) / files.len() as f64;
        for file in files {
            part.values[file] = part.values[file].max(value);
            let function = frame.function.as_deref().unwrap_or("?");
            let line = frame.line.unwrap_or_default();
            part.explain(file, format!("line {line} in {function}"));
        }
    }
    part
}

/// What a frame is worth by its place among all.
pub(super) fn value_of_frame(n_frames: usize, number: usize) -> f64 {
    0.3 + 0.7 / (n_frames - number) as f64
}

fn dotted_names(documents: &[Document<'_>], issue: &Issue, modules: &Modules) -> Part {
    let mut part = Part::new(Signal::DottedName, DOTTED_NAME, documents.len());
    for name in &issue.dotted {
        let Some((file, rest)) = modules.resolve(name) else { continue };
        let file = file as usize;
        let symbols = &documents[file].outline.symbols;
        // What a package only passes on is defined elsewhere.
        let is_here = rest.is_empty() || symbols.iter().any(|symbol| symbol.name == rest);
        part.values[file] += if is_here { 1.0 } else { 0.5 };
        part.explain(file, name.clone());
    }
    for value in &mut part.values {
        *value = value.min(3.0).ln_1p() / 2_f64.ln();
    }
    part
}

/// The rarer a definition, the more a mention of its name says.
fn definitions(documents: &[Document<'_>], issue: &Issue) -> Part {
    let mut part = Part::new(Signal::Definition, DEFINITION, documents.len());
    let mut defining = BTreeMap::<&str, Vec<usize>>::new();
    for (number, document) in documents.iter().enumerate() {
        for symbol in &document.outline.symbols {
            if symbol.kind == SymbolKind::Module {
                continue;
            }
            let name = last_part(&symbol.name);
            if issue.names.contains_key(name) {
                let files = defining.entry(name).or_default();
                if files.last() != Some(&number) {
                    files.push(number);
                }
            }
        }
    }
    for (name, files) in defining {
        if MAX_DEFINING_FILES < files.len() {
            continue;
        }
        let value = issue.names.get(name).map_or(0.0, |name| value_of_mention(*name));
        for file in &files {
            part.values[*file] += value / files.len() as f64;
            part.explain(*file, name.to_owned());
        }
    }
    for value in &mut part.values {
        *value = value.ln_1p();
    }
    part
}

/// What the mention of a name is worth, before its rarity.
pub(super) fn value_of_mention(mention: NameMention) -> f64 {
    let marked = if mention.marked { 1.0 } else { 0.4 };
    let title = if mention.in_title { 2.0 } else { 1.0 };
    marked * title * (1.0 + 0.5 * f64::from(mention.count.max(1)).ln())
}

fn messages(documents: &[Document<'_>], query: &Query<'_>, scan: &Scan) -> Part {
    let mut part = Part::new(Signal::Message, MESSAGE, documents.len());
    for (number, file) in scan.files.iter().enumerate() {
        let phrases = file.phrases.iter().map(|(phrase, _)| *phrase).collect::<BTreeSet<_>>();
        for phrase in phrases {
            let value = scan.value_of_phrase(phrase);
            part.values[number] += value;
            if 0.2 < value {
                part.explain(number, format!("\"{}\"", query.phrases[phrase as usize].1));
            }
        }
    }
    for value in &mut part.values {
        *value = value.min(5.0).ln_1p();
    }
    part
}

/// Files that import what ranks high, or are imported by it.
fn imports(documents: &[Document<'_>], modules: &Modules, scores: &[f64], order: &[usize]) -> Part {
    let mut part = Part::new(Signal::Imports, IMPORTS, documents.len());
    let best = order.first().map_or(0.0, |file| scores[*file]);
    let seeds = order.iter().take(N_IMPORT_SEEDS).copied().collect::<BTreeSet<_>>();
    for (number, document) in documents.iter().enumerate() {
        let imported = document
            .terms
            .imports()
            .iter()
            .filter_map(|import| modules.resolve_import(document.path, import))
            .map(|file| file as usize)
            .collect::<BTreeSet<_>>();
        for other in imported {
            for (from, to) in [(number, other), (other, number)] {
                if from != to && seeds.contains(&from) && 0.0 < best {
                    part.values[to] += (scores[from] / best).max(0.0);
                    part.explain(to, documents[from].path.to_string());
                }
            }
        }
    }
    part.scaled()
}

/// Texts in no programming language, and code beside the product.
fn file_kind(documents: &[Document<'_>]) -> Part {
    let mut part = Part::new(Signal::Kind, FILE_KIND, documents.len());
    for (number, document) in documents.iter().enumerate() {
        if language::of_path(document.path).is_none() {
            part.values[number] = 1.0;
            part.explain(number, "not source code".to_owned());
        } else if is_beside_the_product(document.path) {
            part.values[number] = 0.3;
            part.explain(number, "beside the product".to_owned());
        }
    }
    part
}

/// Folders at the root that hold examples, documentation and the project's own tools.
const FOLDERS_BESIDE: &[&str] = &[
    ".github",
    "asv_bench",
    "bench",
    "benchmark",
    "benchmarks",
    "ci",
    "demo",
    "demos",
    "doc",
    "docs",
    "example",
    "examples",
    "release",
    "scripts",
    "tools",
];

fn is_beside_the_product(path: &RepoPath) -> bool {
    let mut folders = path.components();
    let name = folders.next_back().unwrap_or_default();
    folders.next().is_some_and(|folder| FOLDERS_BESIDE.contains(&folder))
        || matches!(name, "setup.py" | "versioneer.py" | "_version.py" | "noxfile.py")
}

/// The last part of a qualified name.
pub(super) fn last_part(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

/// The files that a path, as printed, may mean: those that share its longest tail of components.
/// A path with folders of which none fits means none.
pub(super) fn files_of_path(documents: &[Document<'_>], path: &str) -> Vec<usize> {
    let is_plain = |part: &&str| !matches!(*part, "" | "." | "..");
    let wanted = path.rsplit('/').filter(is_plain).collect::<Vec<_>>();
    let mut longest = 0;
    let mut found = Vec::new();
    for (number, document) in documents.iter().enumerate() {
        let parts = document.path.components().rev();
        let common = parts.zip(&wanted).take_while(|(a, b)| a == *b).count();
        let is_whole = common == document.path.components().count();
        if common == 0 || (common == 1 && 1 < wanted.len() && !is_whole) {
            continue;
        }
        if longest < common {
            longest = common;
            found.clear();
        }
        if common == longest {
            found.push(number);
        }
    }
    found
}
