//! The languages whose outlines are known: a grammar and a query file each.
//!
//! A query file says which nodes are symbols; adding a language is one such file and one row of
//! [`LANGUAGES`]. Every pattern starts with one named node,
//! perhaps behind a bracket for its predicate, and gives captures these roles:
//!
//! - `@class`, `@function`, `@variable`: the whole definition; variables inside a class are no
//!   symbols, and nothing inside a function is one, nor inside a variable without `@body`; a class
//!   or variable with `@open` or `@body` qualifies the names inside;
//! - `@scope`: qualifies the names inside without being a symbol (a namespace);
//! - `@name`: the definition's own name; `@qualifier`: what stands before it (a Go receiver);
//! - `@open`: the last token of the header; without it the header ends where `@body` starts, and
//!   without that it is the whole definition;
//! - `@doc`: a string that documents the definition; comments just above one do so in languages
//!   that capture `@comment`; `@module_doc` documents the file;
//! - `@attribute`: belongs to the definition below it (a decorator), or to the one that starts
//!   with it, whose header then begins behind it;
//! - `@import`: a statement of the import block;
//! - `@local`: variables inside are no symbols (an anonymous function);
//! - `@opaque`: nothing inside is a symbol;
//! - `@tail`: goes on below the definition on whose last line it starts (a here document).

use std::sync::OnceLock;

use sha1::{Digest, Sha1};
use tree_sitter::Query;

use crate::index::plainer::rename_attributes;
use crate::index::preprocessor::{
    choose_branches, choose_branches_without_macros, leave_out_macros,
};
use crate::repo::path::RepoPath;

/// A language with a grammar.
#[derive(Debug)]
pub struct Language {
    /// As fences name it.
    pub name: &'static str,
    pub extensions: &'static [&'static str],
    /// Names of files that need no extension.
    pub file_names: &'static [&'static str],
    grammar: fn() -> tree_sitter::Language,
    query: &'static str,
    plainer: &'static [Plainer],
}

/// Writes a text that its grammar cannot read in a plainer form of the same length and lines;
/// `None` where nothing is known that could be plainer.
type Plainer = fn(&str) -> Option<Vec<u8>>;

pub static LANGUAGES: &[Language] = &[
    Language {
        name: "python",
        extensions: &["py", "pyi", "pyw", "pyx"],
        file_names: &["SConstruct", "SConscript", "wscript"],
        grammar: || tree_sitter_python::LANGUAGE.into(),
        query: include_str!("queries/python.scm"),
        plainer: &[],
    },
    Language {
        name: "javascript",
        extensions: &["js", "jsx", "mjs", "cjs"],
        file_names: &["Jakefile"],
        grammar: || tree_sitter_javascript::LANGUAGE.into(),
        query: concat!(
            include_str!("queries/ecmascript.scm"),
            include_str!("queries/javascript.scm")
        ),
        plainer: &[rename_attributes],
    },
    Language {
        name: "typescript",
        extensions: &["ts", "mts", "cts"],
        file_names: &[],
        grammar: || tree_sitter_typescript::LANGUAGE_TYPESCRIPT.into(),
        query: concat!(
            include_str!("queries/ecmascript.scm"),
            include_str!("queries/typescript.scm")
        ),
        plainer: &[],
    },
    Language {
        name: "tsx",
        extensions: &["tsx"],
        file_names: &[],
        grammar: || tree_sitter_typescript::LANGUAGE_TSX.into(),
        query: concat!(
            include_str!("queries/ecmascript.scm"),
            include_str!("queries/typescript.scm")
        ),
        plainer: &[],
    },
    Language {
        name: "rust",
        extensions: &["rs"],
        file_names: &[],
        grammar: || tree_sitter_rust::LANGUAGE.into(),
        query: include_str!("queries/rust.scm"),
        plainer: &[],
    },
    Language {
        name: "go",
        extensions: &["go"],
        file_names: &[],
        grammar: || tree_sitter_go::LANGUAGE.into(),
        query: include_str!("queries/go.scm"),
        plainer: &[],
    },
    Language {
        name: "java",
        extensions: &["java"],
        file_names: &[],
        grammar: || tree_sitter_java::LANGUAGE.into(),
        query: include_str!("queries/java.scm"),
        plainer: &[],
    },
    Language {
        name: "c",
        extensions: &["c"],
        file_names: &[],
        grammar: || tree_sitter_c::LANGUAGE.into(),
        query: include_str!("queries/c.scm"),
        plainer: &[choose_branches],
    },
    Language {
        name: "cpp",
        // A header may be either language's; what C++ cannot read of C is rare, and stepped over.
        extensions: &[
            "h", "cc", "cpp", "cxx", "c++", "hh", "hpp", "hxx", "h++", "ipp", "tpp", "inl",
        ],
        file_names: &[],
        grammar: || tree_sitter_cpp::LANGUAGE.into(),
        query: concat!(include_str!("queries/c.scm"), include_str!("queries/cpp.scm")),
        plainer: &[choose_branches, leave_out_macros, choose_branches_without_macros],
    },
    Language {
        name: "ruby",
        extensions: &["rb", "rake", "ru", "gemspec"],
        file_names: &["Rakefile", "Gemfile", "Guardfile", "Vagrantfile", "Podfile", "Capfile"],
        grammar: || tree_sitter_ruby::LANGUAGE.into(),
        query: include_str!("queries/ruby.scm"),
        plainer: &[],
    },
    Language {
        name: "php",
        extensions: &["php", "phtml"],
        file_names: &[],
        grammar: || tree_sitter_php::LANGUAGE_PHP.into(),
        query: include_str!("queries/php.scm"),
        plainer: &[],
    },
];

/// The language of a file, by its name.
pub fn of_path(path: &RepoPath) -> Option<&'static Language> {
    let name = path.file_name();
    let extension = path.extension().map(str::to_ascii_lowercase);
    LANGUAGES.iter().find(|language| {
        language.file_names.contains(&name)
            || extension.as_deref().is_some_and(|found| language.extensions.contains(&found))
    })
}

/// The language of that name.
pub fn of_name(name: &str) -> Option<&'static Language> {
    LANGUAGES.iter().find(|language| language.name == name)
}

/// What a capture says about its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Class,
    Function,
    Variable,
    Scope,
    Name,
    Qualifier,
    Open,
    Body,
    Doc,
    ModuleDoc,
    Comment,
    Attribute,
    Import,
    Local,
    Opaque,
    Tail,
    /// A name for a predicate of the pattern.
    Unnamed,
}

/// A grammar and its query, ready for use.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) grammar: tree_sitter::Language,
    pub(super) query: Query,
    pub(super) plainer: &'static [Plainer],
    /// By the index of a capture.
    pub(super) roles: Vec<Role>,
    /// By the id of a node kind: whether some pattern starts with it.
    pub(super) starts: Vec<bool>,
    /// By the id of a node kind: whether it is an attribute or comment, wherever it stands.
    pub(super) precedes: Vec<bool>,
}

/// The rules of the languages that a repository holds, compiled when the first file asks: all of
/// them together take longer than reading a small repository.
#[derive(Debug)]
pub(super) struct RuleBook {
    /// In the order of [`LANGUAGES`].
    entries: Vec<Entry>,
    version_without_language: u64,
}

#[derive(Debug)]
struct Entry {
    is_wanted: bool,
    version: u64,
    rules: OnceLock<Rules>,
}

/// Changes when outlines come out differently for other reasons than a query file.
const OUTLINE_VERSION: u32 = 3;

impl RuleBook {
    /// Files of other languages than `wanted` (by name; none means all) have no rules.
    pub(super) fn new(wanted: &[String]) -> Self {
        let entry = |language: &Language| Entry {
            is_wanted: wanted.is_empty() || wanted.iter().any(|name| name == language.name),
            version: version_of(&[language.name, language.query]),
            rules: OnceLock::new(),
        };
        Self {
            entries: LANGUAGES.iter().map(entry).collect(),
            version_without_language: version_of(&[]),
        }
    }

    pub(super) fn language_of(&self, path: &RepoPath) -> Option<&'static Language> {
        of_path(path).filter(|language| self.entry(language).is_wanted)
    }

    /// Stands for everything besides the text that decides how an outline comes out.
    pub(super) fn version_of(&self, language: Option<&'static Language>) -> u64 {
        language.map_or(self.version_without_language, |language| self.entry(language).version)
    }

    pub(super) fn rules(&self, language: &'static Language) -> &Rules {
        self.entry(language).rules.get_or_init(|| {
            compile(language)
                .unwrap_or_else(|problem| panic!("queries of {}: {problem}", language.name))
        })
    }

    fn entry(&self, language: &'static Language) -> &Entry {
        let idx = LANGUAGES
            .iter()
            .position(|other| std::ptr::eq(other, language))
            .expect("languages come from the table");
        &self.entries[idx]
    }
}

fn version_of(texts: &[&str]) -> u64 {
    let mut hash = Sha1::new();
    hash.update(OUTLINE_VERSION.to_le_bytes());
    texts.iter().for_each(|text| hash.update(text));
    let digest: [u8; 20] = hash.finalize().into();
    u64::from_le_bytes(digest[..8].try_into().expect("eight of twenty bytes"))
}

impl Language {
    /// Its grammar, to parse texts that are no files of a repository.
    pub fn grammar(&self) -> tree_sitter::Language {
        (self.grammar)()
    }
}

/// How the pattern of a node goes on that stands before signatures.
const PRECEDING: &[&str] = &[") @attribute", ") @comment"];

fn compile(language: &Language) -> Result<Rules, String> {
    let grammar = (language.grammar)();
    let query = Query::new(&grammar, language.query).map_err(|err| err.to_string())?;
    let roles = query.capture_names().iter().map(|name| role_of(name)).collect::<Result<_, _>>()?;
    let mut starts = vec![false; grammar.node_kind_count()];
    let mut precedes = starts.clone();
    for pattern in 0..query.pattern_count() {
        let text = &language.query[query.start_byte_for_pattern(pattern)..];
        // A pattern with a predicate has brackets of its own.
        let kind = text.trim_start().trim_start_matches('(');
        let end = kind.find(|c: char| c != '_' && !c.is_alphanumeric()).unwrap_or(kind.len());
        let mut is_known = false;
        for (id, start) in starts.iter_mut().enumerate() {
            if grammar.node_kind_for_id(id as u16) == Some(&kind[..end]) {
                *start = true;
                precedes[id] |= PRECEDING.iter().any(|role| kind[end..].starts_with(role));
                is_known = true;
            }
        }
        if !is_known {
            return Err(format!("the grammar has no node `{}`", &kind[..end]));
        }
    }
    Ok(Rules { grammar, query, plainer: language.plainer, roles, starts, precedes })
}

fn role_of(capture: &str) -> Result<Role, String> {
    Ok(match capture {
        "class" => Role::Class,
        "function" => Role::Function,
        "variable" => Role::Variable,
        "scope" => Role::Scope,
        "name" => Role::Name,
        "qualifier" => Role::Qualifier,
        "open" => Role::Open,
        "body" => Role::Body,
        "doc" => Role::Doc,
        "module_doc" => Role::ModuleDoc,
        "comment" => Role::Comment,
        "attribute" => Role::Attribute,
        "import" => Role::Import,
        "local" => Role::Local,
        "opaque" => Role::Opaque,
        "tail" => Role::Tail,
        other if other.starts_with('_') => Role::Unnamed,
        other => return Err(format!("`@{other}` is no role")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_query_compiles_and_uses_known_nodes_and_roles() {
        for language in LANGUAGES {
            if let Err(problem) = compile(language) {
                panic!("the query of {}: {problem}", language.name);
            }
        }
    }

    #[test]
    fn no_extension_or_name_means_two_languages() {
        let mut seen = std::collections::BTreeSet::new();
        for language in LANGUAGES {
            for name in language.extensions.iter().chain(language.file_names) {
                assert!(seen.insert(name), "`{name}`");
            }
        }
    }

    #[test]
    fn languages_are_told_by_file_names() {
        let name_of = |path: &str| of_path(&RepoPath::parse(path).unwrap()).map(|found| found.name);
        assert_eq!(name_of("a/b.py"), Some("python"));
        assert_eq!(name_of("a/B.PY"), Some("python"));
        assert_eq!(name_of("SConstruct"), Some("python"));
        assert_eq!(name_of("lib/tasks/Rakefile"), Some("ruby"));
        assert_eq!(name_of("a.d.ts"), Some("typescript"));
        assert_eq!(name_of("a.tsx"), Some("tsx"));
        assert_eq!(name_of("a.c"), Some("c"));
        assert_eq!(name_of("a.h"), Some("cpp"));
        assert_eq!(name_of("py"), None);
        assert_eq!(name_of("a.py/readme"), None);
    }
}
