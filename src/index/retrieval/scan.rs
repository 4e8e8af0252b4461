//! One pass over the terms of all files: where the issue's words occur, and what that is worth.
//!
//! Scoring is BM25 over weighted fields (Robertson, Zaragoza and Taylor, "Simple BM25 extension to
//! multiple weighted fields", 2004), for whole files and for single symbols.

use std::collections::BTreeMap;

use rayon::prelude::*;

use crate::index::outline::Outline;
use crate::index::retrieval::issue::Issue;
use crate::index::retrieval::terms::FileTerms;
use crate::index::retrieval::words::{TermId, TermReader, identifiers};
use crate::repo::path::RepoPath;

/// How much more a word in the title says than one in the text.
const TITLE: f64 = 6.0;
/// What a word in a code block or log says beside one in the text.
const CODE: f64 = 0.3;

/// What an occurrence counts beside one in code.
const IN_PATH: f64 = 4.0;
const IN_NAME: f64 = 4.0;
const IN_TEXT: f64 = 0.5;

/// How soon more occurrences stop counting, and how much of a length is held against a text.
const FILE_K1: f64 = 2.0;
const FILE_B: f64 = 0.75;
const SYMBOL_K1: f64 = 2.0;
const SYMBOL_B: f64 = 0.6;
/// Distinct terms of an ordinary symbol.
const SYMBOL_TERMS: f64 = 40.0;

/// A file as retrieval reads it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Document<'a> {
    pub(super) path: &'a RepoPath,
    pub(super) outline: &'a Outline,
    pub(super) terms: &'a FileTerms,
}

/// A term of the issue and its weight.
#[derive(Debug, Clone)]
pub(super) struct QueryTerm<'a> {
    pub(super) term: TermId,
    pub(super) text: &'a str,
    pub(super) weight: f64,
}

/// What an issue asks of the files.
#[derive(Debug)]
pub(super) struct Query<'a> {
    /// In order of term.
    pub(super) terms: Vec<QueryTerm<'a>>,
    /// In order of phrase.
    pub(super) phrases: Vec<(TermId, &'a str)>,
    /// Bits of the low halves of terms and phrases: most postings are passed over by one look.
    seen: Vec<u64>,
}

const SEEN_BITS: u32 = 1 << 16;

impl<'a> Query<'a> {
    pub(super) fn new(issue: &'a Issue) -> Self {
        let terms = issue
            .words
            .iter()
            .map(|(term, count)| {
                let weighted = TITLE * f64::from(count.title)
                    + f64::from(count.prose)
                    + CODE * f64::from(count.code);
                QueryTerm { term: *term, text: &count.text, weight: weighted.ln_1p() }
            })
            .collect::<Vec<_>>();
        let phrases =
            issue.phrases.iter().map(|(id, text)| (*id, text.as_str())).collect::<Vec<_>>();
        let mut seen = vec![0; (SEEN_BITS / 64) as usize];
        for term in terms.iter().map(|term| term.term).chain(phrases.iter().map(|(id, _)| *id)) {
            let bit = term.0 % SEEN_BITS;
            seen[(bit / 64) as usize] |= 1_u64 << (bit % 64);
        }
        Self { terms, phrases, seen }
    }

    fn may_hold(&self, term: u32) -> bool {
        let bit = term % SEEN_BITS;
        self.seen[(bit / 64) as usize] >> (bit % 64) & 1 == 1
    }

    pub(super) fn term(&self, term: u32) -> Option<u32> {
        if !self.may_hold(term) {
            return None;
        }
        self.terms.binary_search_by_key(&term, |known| known.term.0).ok().map(|at| at as u32)
    }

    fn phrase(&self, phrase: TermId) -> Option<u32> {
        if !self.may_hold(phrase.0) {
            return None;
        }
        self.phrases.binary_search_by_key(&phrase, |(id, _)| *id).ok().map(|at| at as u32)
    }
}

/// A term of the issue in one symbol.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hit {
    /// Place in [`Query::terms`].
    pub(super) term: u32,
    /// Place in the outline; its length for `module:`.
    pub(super) symbol: u32,
    pub(super) name: u8,
    pub(super) code: u8,
    pub(super) text: u8,
}

impl Hit {
    fn count(self) -> f64 {
        IN_NAME * f64::from(self.name) + f64::from(self.code) + IN_TEXT * f64::from(self.text)
    }
}

/// What one file holds of a query.
#[derive(Debug, Default)]
pub(super) struct FileHits {
    pub(super) hits: Vec<Hit>,
    /// Terms in the path, each once.
    pub(super) path_terms: Vec<u32>,
    /// Terms in the file's own name.
    pub(super) stem_terms: Vec<u32>,
    /// Phrases, and the symbols that hold them.
    pub(super) phrases: Vec<(u32, u32)>,
    /// Occurrences of all terms in code and text.
    pub(super) length: f64,
}

/// The hits of all files, and how many files each term and phrase occurs in.
#[derive(Debug)]
pub(super) struct Scan {
    pub(super) files: Vec<FileHits>,
    /// Inverse document frequency of each term.
    pub(super) term_idf: Vec<f64>,
    pub(super) phrase_files: Vec<u32>,
    pub(super) mean_length: f64,
}

impl Scan {
    pub(super) fn new(documents: &[Document<'_>], query: &Query<'_>) -> Self {
        let files =
            documents.par_iter().map(|document| scan_file(document, query)).collect::<Vec<_>>();
        let mut term_files = vec![0_u32; query.terms.len()];
        let mut phrase_files = vec![0_u32; query.phrases.len()];
        for file in &files {
            let mut terms = file.hits.iter().map(|hit| hit.term).collect::<Vec<_>>();
            terms.extend(&file.path_terms);
            count_once(terms, &mut term_files);
            count_once(file.phrases.iter().map(|(phrase, _)| *phrase).collect(), &mut phrase_files);
        }
        let n_files = files.len() as f64;
        let term_idf = term_files.iter().map(|n| idf(f64::from(*n), n_files)).collect();
        let total = files.iter().map(|file| file.length).sum::<f64>();
        Self { files, term_idf, phrase_files, mean_length: (total / n_files.max(1.0)).max(1.0) }
    }

    /// What a term says: how much the issue stresses it, and how rare it is.
    pub(super) fn weight_of(&self, query: &Query<'_>, term: u32) -> f64 {
        query.terms[term as usize].weight * self.term_idf[term as usize]
    }

    /// What a phrase says: much where one file holds it, hardly anything where several do.
    pub(super) fn value_of_phrase(&self, phrase: u32) -> f64 {
        f64::from(self.phrase_files[phrase as usize].max(1)).powi(-2)
    }

    pub(super) fn score_of_file(&self, query: &Query<'_>, file: &FileHits) -> f64 {
        self.terms_of_file(query, file).into_values().sum()
    }

    /// The score of each symbol that holds a term, by its place in the outline.
    pub(super) fn scores_of_symbols(
        &self,
        query: &Query<'_>,
        file: &FileHits,
        document: &Document<'_>,
    ) -> BTreeMap<usize, f64> {
        let mut scores = BTreeMap::new();
        for hit in &file.hits {
            let symbol = hit.symbol as usize;
            if symbol < document.outline.symbols.len() {
                let n_terms = document.terms.symbol(symbol).len() as f64;
                let norm = 1.0 - SYMBOL_B + SYMBOL_B * n_terms / SYMBOL_TERMS;
                let count = hit.count() / norm;
                *scores.entry(symbol).or_insert(0.0) +=
                    self.weight_of(query, hit.term) * count / (count + SYMBOL_K1);
            }
        }
        scores
    }

    /// The terms that a file's score is mostly made of, for a reader.
    pub(super) fn heaviest_terms(&self, query: &Query<'_>, file: usize) -> String {
        render_terms(query, self.terms_of_file(query, &self.files[file]))
    }

    /// The terms that a symbol's score is mostly made of, for a reader.
    pub(super) fn heaviest_terms_of_symbol(
        &self,
        query: &Query<'_>,
        file: usize,
        symbol: usize,
    ) -> String {
        let hits = self.files[file].hits.iter().filter(|hit| hit.symbol as usize == symbol);
        render_terms(query, hits.map(|hit| (hit.term, self.weight_of(query, hit.term))).collect())
    }

    /// Terms as a reader knows them.
    pub(super) fn names_of_terms(&self, query: &Query<'_>, terms: &[u32]) -> String {
        render_terms(
            query,
            terms.iter().map(|term| (*term, self.weight_of(query, *term))).collect(),
        )
    }

    fn terms_of_file(&self, query: &Query<'_>, file: &FileHits) -> BTreeMap<u32, f64> {
        let norm = 1.0 - FILE_B + FILE_B * file.length / self.mean_length;
        let mut counts = BTreeMap::<u32, f64>::new();
        for hit in &file.hits {
            *counts.entry(hit.term).or_default() += hit.count() / norm;
        }
        for term in &file.path_terms {
            *counts.entry(*term).or_default() += IN_PATH;
        }
        for (term, count) in &mut counts {
            *count = self.weight_of(query, *term) * *count / (*count + FILE_K1);
        }
        counts
    }
}

fn render_terms(query: &Query<'_>, scores: BTreeMap<u32, f64>) -> String {
    let mut scores = scores.into_iter().collect::<Vec<_>>();
    scores.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let mut names = Vec::new();
    for (term, _) in scores {
        let name = query.terms[term as usize].text;
        if !names.contains(&name) && names.len() < 6 {
            names.push(name);
        }
    }
    names.join(" ")
}

fn count_once(mut found: Vec<u32>, counts: &mut [u32]) {
    found.sort_unstable();
    found.dedup();
    for number in found {
        counts[number as usize] += 1;
    }
}

fn idf(n_with: f64, n_all: f64) -> f64 {
    ((n_all - n_with + 0.5) / (n_with + 0.5)).ln_1p()
}

fn scan_file(document: &Document<'_>, query: &Query<'_>) -> FileHits {
    let mut found = FileHits::default();
    let mut length = 0_u32;
    for (symbol, postings) in document.terms.symbols().enumerate() {
        for posting in postings {
            length += u32::from(posting.code) + u32::from(posting.text);
            if let Some(term) = query.term(posting.term) {
                found.hits.push(Hit {
                    term,
                    symbol: symbol as u32,
                    name: posting.name,
                    code: posting.code,
                    text: posting.text,
                });
            }
        }
    }
    found.length = f64::from(length);
    for (phrase, symbol) in document.terms.phrases() {
        if let Some(phrase) = query.phrase(phrase) {
            found.phrases.push((phrase, symbol as u32));
        }
    }
    let mut reader = TermReader::default();
    let path = document.path.as_str();
    let stem_at = path.len() - document.path.file_name().len();
    for (at, identifier) in identifiers(path.rsplit_once('.').map_or(path, |(stem, _)| stem)) {
        reader.read(identifier, |term| {
            if let Some(term) = query.term(TermId::of(term).0) {
                found.path_terms.push(term);
                if stem_at <= at {
                    found.stem_terms.push(term);
                }
            }
        });
    }
    for terms in [&mut found.path_terms, &mut found.stem_terms] {
        terms.sort_unstable();
        terms.dedup();
    }
    found
}
