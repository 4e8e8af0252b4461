//! `sorft index`: what sorft sees of a repository, without a model.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use serde::Serialize;

use crate::commands::Outcome;
use crate::commands::output::{Format, escape_controls, write_json, write_stdout};
use crate::commands::search::{SearchArgs, show_search};
use crate::config::environment::Environment;
use crate::config::folder::Folders;
use crate::config::{Config, Flags, resolve};
use crate::index::cache::CacheOptions;
use crate::index::outline::{Symbol, SymbolKind};
use crate::index::skeleton::skeleton_of;
use crate::index::tree::render_tree;
use crate::index::{Index, IndexOptions, language};
use crate::repo::path::RepoPath;
use crate::repo::snapshot::{MAX_FILE_BYTES, Snapshot, SnapshotOptions};

/// Show what sorft sees of a repository: files, symbols, skeletons, tests, what a text is about.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sorft index
  sorft index ~/code/project --tree
  sorft index --skeleton src/cart.py
  sorft index --at v1.2 --format json")]
pub struct IndexArgs {
    /// A repository, a folder inside one, or a plain folder
    #[arg(default_value = ".", value_name = "REPO")]
    repository: PathBuf,
    /// The commit to read instead of the files as they stand
    #[arg(long, value_name = "REV")]
    at: Option<String>,
    #[command(flatten)]
    view: ViewArgs,
    #[command(flatten)]
    search: SearchArgs,
    /// Compute everything anew and keep nothing
    #[arg(long)]
    no_cache: bool,
    /// The form of the result
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// What to show; a summary where nothing is chosen.
#[derive(Debug, Args)]
#[group(multiple = false)]
struct ViewArgs {
    /// The source files as a tree
    #[arg(long)]
    tree: bool,
    /// One file with its bodies left out
    #[arg(long, value_name = "PATH")]
    skeleton: Option<String>,
    /// The symbols of all source files
    #[arg(long)]
    symbols: bool,
    /// The files that count as tests
    #[arg(long)]
    tests: bool,
    /// The files and symbols that a text is most likely about (`-`: standard input)
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
}

pub fn index(args: &IndexArgs) -> anyhow::Result<Outcome> {
    let folders = Folders::find()?;
    let resolved =
        resolve(Some(&args.repository), &Environment::read(), &folders, &Flags::default())?;
    let cache = resolved.config.cache_dir.clone().unwrap_or(folders.cache);
    let cache = (!args.no_cache).then_some(cache.as_path());
    let index = open_index(&args.repository, args.at.as_deref(), &resolved.config, cache)?;
    if let Some(text) = &args.view.search {
        return show_search(&index, text, &args.search, args.format);
    }
    let text = if args.view.tree {
        show_tree(&index, args.format)?
    } else if let Some(path) = &args.view.skeleton {
        show_skeleton(&index, path, args.format)?
    } else if args.view.symbols {
        show_symbols(&index, args.format)?
    } else if args.view.tests {
        show_tests(&index, args.format)?
    } else {
        show_summary(&index, args.format)?
    };
    if let Some(text) = text {
        write_stdout(&escape_controls(&text))?;
    }
    Ok(Outcome::Done)
}

/// The index of a repository as the configuration wants it; `cache` is the folder of all caches.
pub fn open_index(
    root: &Path,
    revision: Option<&str>,
    config: &Config,
    cache: Option<&Path>,
) -> anyhow::Result<Index> {
    let snapshot = Snapshot::open(
        root,
        &SnapshotOptions {
            revision: revision.map(str::to_owned),
            max_file_bytes: MAX_FILE_BYTES,
            cache: cache.map(Path::to_owned),
        },
    )?;
    let full = root.canonicalize().with_context(|| format!("opening `{}`", root.display()))?;
    let cache = cache.map(|folder| CacheOptions {
        folder: folder.to_owned(),
        repository: full.to_string_lossy().into_owned(),
        max_bytes: config.cache_mb << 20,
    });
    let options = IndexOptions {
        test_globs: config.test_globs.clone(),
        product_globs: config.product_globs.clone(),
        ignored_globs: config.ignored_paths.clone(),
        languages: config.languages.clone(),
        cache,
    };
    Index::build(Arc::new(snapshot), &options)
}

/// Text to print, or nothing where JSON was written.
type Shown = anyhow::Result<Option<String>>;

#[derive(Serialize)]
struct Summary {
    version: u32,
    commit: Option<String>,
    files: usize,
    texts: usize,
    tests: usize,
    source_files: usize,
    lines: u64,
    classes: usize,
    functions: usize,
    variables: usize,
    /// Source files by language; `other` has no grammar.
    languages: BTreeMap<&'static str, usize>,
    files_with_syntax_errors: usize,
    from_cache: usize,
    problems: Vec<String>,
}

fn show_summary(index: &Index, format: Format) -> Shown {
    let snapshot = index.snapshot();
    let mut summary = Summary {
        version: 1,
        commit: snapshot.base_commit().map(|commit| commit.to_string()),
        files: snapshot.files().len(),
        texts: snapshot.files().keys().filter(|path| index.outline(path).is_some()).count(),
        tests: snapshot.files().keys().filter(|path| index.is_test(path)).count(),
        source_files: 0,
        lines: 0,
        classes: 0,
        functions: 0,
        variables: 0,
        languages: BTreeMap::new(),
        files_with_syntax_errors: 0,
        from_cache: index.n_cached(),
        problems: snapshot.problems().iter().map(ToString::to_string).collect(),
    };
    for (path, outline) in index.source_files() {
        let count =
            |kind| outline.symbols.iter().filter(|symbol: &&Symbol| symbol.kind == kind).count();
        summary.source_files += 1;
        summary.lines += u64::from(outline.n_lines);
        summary.classes += count(SymbolKind::Class);
        summary.functions += count(SymbolKind::Function);
        summary.variables += count(SymbolKind::Variable);
        summary.files_with_syntax_errors += usize::from(0 < outline.n_errors);
        let name = language::of_path(path).map_or("other", |language| language.name);
        *summary.languages.entry(name).or_default() += 1;
    }
    if format == Format::Json {
        write_json(&summary)?;
        return Ok(None);
    }
    let mut text = String::new();
    let mut row = |name: &str, value: String| writeln!(text, "{name:<14} {value}");
    row("commit", summary.commit.unwrap_or_else(|| "none".into()))?;
    row("files", format!("{} ({} are texts)", summary.files, summary.texts))?;
    row("tests", summary.tests.to_string())?;
    row("source files", format!("{} ({} lines)", summary.source_files, summary.lines))?;
    let (classes, functions) = (summary.classes, summary.functions);
    row(
        "symbols",
        format!("{classes} classes, {functions} functions, {} variables", summary.variables),
    )?;
    let languages: Vec<String> =
        summary.languages.iter().map(|(name, count)| format!("{name} {count}")).collect();
    row("languages", languages.join(", "))?;
    row("syntax errors", format!("in {} files", summary.files_with_syntax_errors))?;
    row("from cache", format!("{} of {} outlines", summary.from_cache, summary.texts))?;
    const MAX_PROBLEMS: usize = 20;
    for problem in summary.problems.iter().take(MAX_PROBLEMS) {
        row("problem", problem.clone())?;
    }
    if MAX_PROBLEMS < summary.problems.len() {
        let n_more = summary.problems.len() - MAX_PROBLEMS;
        row("problem", format!("and {n_more} more; `--format json` lists all"))?;
    }
    Ok(Some(text))
}

fn show_tree(index: &Index, format: Format) -> Shown {
    let paths: Vec<&RepoPath> = index.source_files().map(|(path, _)| path).collect();
    if format == Format::Json {
        write_json(&paths)?;
        return Ok(None);
    }
    Ok(Some(render_tree(paths, "  ")))
}

#[derive(Serialize)]
struct SkeletonRow<'a> {
    line: u32,
    text: &'a str,
}

fn show_skeleton(index: &Index, path: &str, format: Format) -> Shown {
    let path = RepoPath::parse(path.trim_start_matches("./"))?;
    let text = index.snapshot().read_text(&path)?;
    let outline = index.outline(&path).with_context(|| format!("`{path}` has no outline"))?;
    let skeleton = skeleton_of(outline, &text);
    if format == Format::Json {
        let rows = skeleton.rows.iter();
        let rows: Vec<_> =
            rows.map(|row| SkeletonRow { line: row.line, text: &row.text }).collect();
        write_json(&rows)?;
        return Ok(None);
    }
    Ok(Some(skeleton.render(|_| true)))
}

#[derive(Serialize)]
struct FileSymbols<'a> {
    path: &'a RepoPath,
    lines: u32,
    syntax_errors: u32,
    symbols: &'a [Symbol],
}

fn show_symbols(index: &Index, format: Format) -> Shown {
    let files: Vec<FileSymbols> = index
        .source_files()
        .map(|(path, outline)| FileSymbols {
            path,
            lines: outline.n_lines,
            syntax_errors: outline.n_errors,
            symbols: &outline.symbols,
        })
        .collect();
    if format == Format::Json {
        write_json(&files)?;
        return Ok(None);
    }
    let mut text = String::new();
    for file in files.iter().filter(|file| !file.symbols.is_empty()) {
        writeln!(text, "{}", file.path)?;
        for symbol in file.symbols {
            let places: Vec<String> =
                symbol.places.iter().map(|place| place.span.to_string()).collect();
            writeln!(text, "  {}: {}  {}", symbol.kind.word(), symbol.name, places.join(", "))?;
        }
    }
    Ok(Some(text))
}

fn show_tests(index: &Index, format: Format) -> Shown {
    let paths: Vec<&RepoPath> =
        index.snapshot().files().keys().filter(|path| index.is_test(path)).collect();
    if format == Format::Json {
        write_json(&paths)?;
        return Ok(None);
    }
    Ok(Some(paths.iter().fold(String::new(), |mut text, path| {
        text.push_str(path.as_str());
        text.push('\n');
        text
    })))
}
