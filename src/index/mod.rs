//! Outlines, skeletons and retrieval over a snapshot; no model.

pub mod cache;
pub mod definitions;
pub mod language;
pub mod normal_form;
pub mod outline;
pub mod owner;
pub mod retrieval;
pub mod skeleton;
pub mod test_files;
pub mod test_uses;
pub mod tree;

mod extract;
#[cfg(test)]
mod outline_examples;
mod plainer;
mod preprocessor;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use rayon::prelude::*;

use crate::index::cache::{BlobCache, CacheOptions};
use crate::index::language::{LANGUAGES, Language, RuleBook};
use crate::index::outline::Outline;
use crate::index::retrieval::terms::{FileTerms, TERMS_VERSION};
use crate::index::retrieval::words::TermId;
use crate::index::test_files::{TestRule, parse_globs};
use crate::repo::blob::BlobId;
use crate::repo::path::RepoPath;
use crate::repo::snapshot::{FileKind, Snapshot};
use crate::repo::text::Text;

/// What an index covers, and where it keeps what it computed.
#[derive(Debug, Clone, Default)]
pub struct IndexOptions {
    /// Files that count as tests although the rule says otherwise.
    pub test_globs: Vec<String>,
    /// Files that never count as tests.
    pub product_globs: Vec<String>,
    /// Files that are no source files, whatever they hold.
    pub ignored_globs: Vec<String>,
    /// Names of the languages whose symbols are listed; empty means all.
    pub languages: Vec<String>,
    /// Where outlines are kept for the next run; `None` keeps nothing.
    pub cache: Option<CacheOptions>,
}

/// The outlines of a snapshot, and which of its files matter.
#[derive(Debug)]
pub struct Index {
    snapshot: Arc<Snapshot>,
    files: BTreeMap<RepoPath, IndexedFile>,
    tests: TestRule,
    /// Outlines that came from the cache.
    n_cached: usize,
    cache: Option<CacheOptions>,
}

#[derive(Debug)]
struct IndexedFile {
    outline: Option<Arc<Outline>>,
    /// Of source files only.
    terms: Option<FileTerms>,
    is_test: bool,
    is_ignored: bool,
}

impl Index {
    pub fn build(snapshot: Arc<Snapshot>, options: &IndexOptions) -> anyhow::Result<Self> {
        let tests = TestRule::new(&options.test_globs, &options.product_globs)?;
        let ignored = parse_globs(&options.ignored_globs)?;
        if let Some(unknown) =
            options.languages.iter().find(|name| language::of_name(name).is_none())
        {
            let known: Vec<&str> = LANGUAGES.iter().map(|language| language.name).collect();
            anyhow::bail!("`{unknown}` is no known language\nhint: known are {}", known.join(", "));
        }
        let mut cache = BlobCache::open(options.cache.as_ref(), "outline");
        let mut terms_cache = BlobCache::open(options.cache.as_ref(), "terms");
        let rules = RuleBook::new(&options.languages);
        let outlines: Vec<_> = snapshot
            .files()
            .par_iter()
            .map(|(path, entry)| {
                let is_test = tests.is_test(path);
                let is_ignored = ignored.is_match(path.as_str());
                if !matches!(entry.kind, FileKind::Regular | FileKind::Executable)
                    || snapshot.max_file_bytes() < entry.bytes
                {
                    return (path, is_test, is_ignored, Outlined::default());
                }
                let known = Known { rules: &rules, outlines: &cache, terms: &terms_cache };
                let wants_terms = !is_test && !is_ignored;
                let outlined = outline_of_file(&snapshot, path, entry.blob, known, wants_terms);
                (path, is_test, is_ignored, outlined)
            })
            .collect();
        let mut files = BTreeMap::new();
        let mut n_cached = 0;
        for (path, is_test, is_ignored, outlined) in outlines {
            n_cached += usize::from(outlined.is_cached);
            if let Some((blob, version)) = outlined.key {
                cache.add(blob, version, &outlined.outline);
            }
            if let Some((blob, version)) = outlined.terms_key {
                terms_cache.add(blob, version, &outlined.terms);
            }
            let outline = outlined.outline.map(Arc::new);
            let terms = outlined.terms;
            files.insert(path.clone(), IndexedFile { outline, terms, is_test, is_ignored });
        }
        let blobs = snapshot.files().values().map(|entry| entry.blob);
        let blobs: BTreeSet<BlobId> = blobs.collect();
        for cache in [&mut cache, &mut terms_cache] {
            if let Err(err) = cache.write(|blob| blobs.contains(&blob)) {
                tracing::debug!("the index is not kept for the next run: {err:#}");
            }
        }
        Ok(Self { snapshot, files, tests, n_cached, cache: options.cache.clone() })
    }

    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// What a file defines; `None` where it is no readable text.
    pub fn outline(&self, path: &RepoPath) -> Option<&Arc<Outline>> {
        self.files.get(path)?.outline.as_ref()
    }

    /// The terms of a source file; `None` for all others.
    pub fn terms(&self, path: &RepoPath) -> Option<&FileTerms> {
        self.files.get(path)?.terms.as_ref()
    }

    /// Whether a path is a test's, whether or not the snapshot has it.
    pub fn is_test(&self, path: &RepoPath) -> bool {
        self.files.get(path).map_or_else(|| self.tests.is_test(path), |file| file.is_test)
    }

    /// The readable files that are neither tests nor ignored, in path order, with their outlines.
    pub fn source_files(&self) -> impl Iterator<Item = (&RepoPath, &Arc<Outline>)> {
        self.files
            .iter()
            .filter(|(_, file)| !file.is_test && !file.is_ignored)
            .filter_map(|(path, file)| Some((path, file.outline.as_ref()?)))
    }

    /// The cache of another kind of value computed from blobs, beside that of the outlines.
    pub fn open_cache(&self, value: &str) -> BlobCache {
        BlobCache::open(self.cache.as_ref(), value)
    }

    /// How many outlines came from the cache.
    pub fn n_cached(&self) -> usize {
        self.n_cached
    }
}

/// The rules of all languages, each made when it is first asked for, which takes longer than to
/// read a file by them.
static ALL_RULES: LazyLock<RuleBook> = LazyLock::new(|| RuleBook::new(&[]));

/// The outline of one text, whatever snapshot it belongs to: a file as an edit would leave it.
pub fn outline_of(path: &RepoPath, text: &Text) -> Outline {
    outline_by(language::of_path(path), text, &ALL_RULES)
}

/// The lines, from 1, at which the syntax of a text cannot be read, one for each error.
pub fn syntax_errors(path: &RepoPath, text: &Text) -> Vec<u32> {
    let language = language::of_path(path);
    language
        .map_or_else(Vec::new, |language| extract::syntax_errors(ALL_RULES.rules(language), text))
}

fn outline_by(language: Option<&'static Language>, text: &Text, rules: &RuleBook) -> Outline {
    match language {
        Some(language) => extract::outline_of(rules.rules(language), text),
        None => Outline { n_lines: text.n_lines() as u32, ..Outline::default() },
    }
}

#[derive(Default)]
struct Outlined {
    outline: Option<Outline>,
    terms: Option<FileTerms>,
    is_cached: bool,
    /// Under which the outline is to be kept.
    key: Option<(BlobId, u64)>,
    /// Under which the terms are to be kept.
    terms_key: Option<(BlobId, u64)>,
}

#[derive(Clone, Copy)]
struct Known<'a> {
    rules: &'a RuleBook,
    outlines: &'a BlobCache,
    terms: &'a BlobCache,
}

fn outline_of_file(
    snapshot: &Snapshot,
    path: &RepoPath,
    blob: BlobId,
    known: Known<'_>,
    wants_terms: bool,
) -> Outlined {
    let language = known.rules.language_of(path);
    let version = known.rules.version_of(language);
    let extension = path.extension().unwrap_or_default();
    // Terms stand by symbol, so that they go with the outline; comments are found by extension.
    let terms_version = version ^ TERMS_VERSION ^ u64::from(TermId::of(extension).0);
    let outline: Option<Option<Outline>> = known.outlines.get(blob, version);
    let is_cached = outline.is_some();
    let terms: Option<Option<FileTerms>> =
        if wants_terms { known.terms.get(blob, terms_version) } else { Some(None) };
    let (outline, terms) = match (outline, terms) {
        (Some(outline), Some(terms)) => {
            return Outlined { outline, terms, is_cached, ..Outlined::default() };
        }
        missing => missing,
    };
    let Ok(bytes) = snapshot.read_bytes(path) else { return Outlined::default() };
    // A work-tree file may have changed since it was listed; its outline is good for this run only.
    let is_listed = blob == BlobId::of(&bytes);
    let text = Text::decode(&bytes).ok();
    let key = (is_listed && outline.is_none()).then_some((blob, version));
    let outline = outline
        .unwrap_or_else(|| text.as_ref().map(|text| outline_by(language, text, known.rules)));
    let terms_key = (is_listed && terms.is_none()).then_some((blob, terms_version));
    let terms = terms.unwrap_or_else(|| {
        Some(FileTerms::read(text.as_ref()?.content(), outline.as_ref()?, extension))
    });
    Outlined { outline, terms, is_cached, key, terms_key }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::fixture;

    fn options(cache: Option<&std::path::Path>) -> IndexOptions {
        let cache = cache.map(|folder| CacheOptions {
            folder: folder.to_owned(),
            repository: "r".into(),
            max_bytes: 1 << 20,
        });
        IndexOptions { cache, ..IndexOptions::default() }
    }

    fn build(files: &str, options: &IndexOptions) -> Index {
        Index::build(Arc::new(fixture::snapshot(files)), options).unwrap()
    }

    const FILES: &str = "
//- /a.py
def f(): pass
//- /b/same.py
def f(): pass
//- /same.js
def f(): pass
//- /notes.md
# Notes
//- /tests/test_a.py
def test_f(): pass
";

    fn symbols(index: &Index, path: &str) -> usize {
        index.outline(&RepoPath::parse(path).unwrap()).unwrap().symbols.len()
    }

    #[test]
    fn outlines_are_computed_once_per_content_and_language() {
        let folder = tempfile::tempdir().unwrap();
        let options = options(Some(folder.path()));
        assert_eq!(build(FILES, &options).n_cached(), 0);
        let warm = build(FILES, &options);
        assert_eq!(warm.n_cached(), 5);
        assert_eq!(
            [symbols(&warm, "a.py"), symbols(&warm, "b/same.py"), symbols(&warm, "same.js")],
            [1, 1, 0]
        );
        let neighbour = FILES.replace("def test_f", "def test_g");
        assert_eq!(build(&neighbour, &options).n_cached(), 4);
    }

    #[test]
    fn source_files_are_texts_that_are_neither_tests_nor_ignored() {
        let mut options = options(None);
        options.ignored_globs = vec!["*.md".into()];
        let mut files = fixture::files(FILES);
        files.insert(RepoPath::parse("image.png").unwrap(), b"\x89PNG\0".to_vec());
        let index = Index::build(Arc::new(Snapshot::from_files(files)), &options).unwrap();
        let paths: Vec<&str> = index.source_files().map(|(path, _)| path.as_str()).collect();
        assert_eq!(paths, ["a.py", "b/same.py", "same.js"]);
        assert!(index.is_test(&RepoPath::parse("tests/test_a.py").unwrap()));
        assert_eq!(index.outline(&RepoPath::parse("image.png").unwrap()), None);
    }

    #[test]
    fn files_that_no_parser_understands_keep_their_text() {
        let files = BTreeMap::from([
            (RepoPath::parse("broken.py").unwrap(), b"def f(:\n".to_vec()),
            (RepoPath::parse("latin.py").unwrap(), b"x = '\xe9'\n".to_vec()),
        ]);
        let index = Index::build(Arc::new(Snapshot::from_files(files)), &options(None)).unwrap();
        let read = |path: &str| {
            let path = RepoPath::parse(path).unwrap();
            assert!(index.outline(&path).is_some());
            index.snapshot().read_text(&path).unwrap().content().to_owned()
        };
        assert_eq!(read("broken.py"), "def f(:\n");
        assert_eq!(read("latin.py"), "x = 'é'\n");
    }

    #[test]
    fn an_unknown_language_is_an_error_that_lists_the_known_ones() {
        let options = IndexOptions { languages: vec!["pyhton".into()], ..options(None) };
        let error = Index::build(Arc::new(fixture::snapshot(FILES)), &options).unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with("`pyhton` is no known language\nhint: known are python"),
            "{text}"
        );
    }
}
