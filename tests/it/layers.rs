//! The layer table of ARCHITECTURE.md, held by a test.

use std::fs;
use std::path::{Path, PathBuf};

/// Rows from the bottom up. A module may use rows below its own and nothing else.
const LAYERS: &[&[&str]] = &[
    &["repo", "prompt", "grammar"],
    &["diff", "search_replace"],
    &["index", "instance", "config", "run", "sandbox", "write"],
    &["stage", "model"],
    &["pipeline", "train", "report", "triage", "general"],
    &["commands"],
];

/// Modules of one row that may use each other, because one is built on the other.
const WITHIN_A_ROW: &[(&str, &str)] = &[("search_replace", "diff")];

fn row_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|row| row.contains(&module))
}

/// Every `crate::x` that the source of `module` may not say.
fn violations(module: &str, source: &str) -> Vec<String> {
    let row = row_of(module).unwrap_or_else(|| panic!("`{module}` is in no row of LAYERS"));
    let mut found = Vec::new();
    for rest in source.split("crate::").skip(1) {
        if rest.starts_with('{') {
            found.push(format!("{module} groups imports below `crate::`"));
        }
        let used: String = rest.chars().take_while(|c| *c == '_' || c.is_alphanumeric()).collect();
        let allowed = used == module
            || WITHIN_A_ROW.contains(&(module, used.as_str()))
            || row_of(&used).is_none_or(|other| other < row);
        if !allowed {
            found.push(format!("{module} uses {used}"));
        }
    }
    found
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|end| end == "rs") {
            files.push(path);
        }
    }
}

#[test]
fn modules_use_only_rows_below_their_own() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    let mut found = Vec::new();
    for file in files {
        let relative = file.strip_prefix(&src).unwrap();
        let module = relative.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        if !matches!(module, "lib" | "main") {
            let source = fs::read_to_string(&file).unwrap();
            found.extend(
                violations(module, &source)
                    .iter()
                    .map(|what| format!("{}: {what}", relative.display())),
            );
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn an_import_upward_sideways_or_grouped_is_found() {
    assert_eq!(violations("stage", "use crate::index::Index;"), Vec::<String>::new());
    assert_eq!(violations("stage", "use crate::model::Generate;"), ["stage uses model"]);
    assert_eq!(violations("index", "use crate::stage::Stage;"), ["index uses stage"]);
    assert_eq!(
        violations("index", "use crate::{repo, prompt};"),
        ["index groups imports below `crate::`"]
    );
}

/// What only `model::local::gpu::choice` may say: the kinds of GPUs, and the features that bring
/// them.
const OF_DEVICES: [&str; 4] = ["cuda", "metal", "cfg(feature", "cfg!(feature"];

#[test]
fn one_file_of_model_names_kinds_of_gpus_and_features() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/model");
    let mut files = Vec::new();
    rust_files(&folder, &mut files);
    let code_of = |file: &PathBuf| {
        let source = fs::read_to_string(file).unwrap().to_lowercase();
        let is_code = |line: &&str| !line.trim_start().starts_with("//");
        source.lines().filter(is_code).collect::<String>()
    };
    files.retain(|file| {
        let code = code_of(file);
        OF_DEVICES.iter().any(|word| code.contains(word))
    });
    assert_eq!(files, [folder.join("local/gpu/choice.rs")]);
}
