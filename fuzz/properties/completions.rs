//! Completions of the four stages, on the demo.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use sorft::diff::change::FileChange;
use sorft::index::outline::SymbolKind;
use sorft::index::retrieval::{RankOptions, rank};
use sorft::prompt::EstimateTokens;
use sorft::prompt::template::Templates;
use sorft::repo::path::RepoPath;
use sorft::search_replace::block::{parse_completion, render_answer};
use sorft::search_replace::fence::Ended;
use sorft::stage::edit::shown::EditShown;
use sorft::stage::file::FileShown;
use sorft::stage::function::shown::FunctionShown;
use sorft::stage::function::symbol::SymbolId;
use sorft::stage::line::shown::LineShown;
use sorft::stage::profile::{Profile, Stages};
use sorft::stage::rejection::Rejection;
use sorft::stage::{Context, Stage};

use super::{demo, written};

struct Shown {
    stages: Stages,
    file: FileShown,
    function: FunctionShown,
    line: LineShown,
    edit: EditShown,
}

static SHOWN: LazyLock<Shown> = LazyLock::new(|| {
    let issue = include_str!("../../fixtures/demo/issue.md").to_owned();
    let options = RankOptions { max_files: 20, max_symbols: 40, max_symbols_per_file: 0 };
    let context = Context {
        ranking: rank(demo::index(), &issue, &options),
        issue,
        index: Arc::clone(demo::index()),
        templates: Arc::new(Templates::new(&BTreeMap::new()).expect("templates of the project")),
    };
    let stages = Profile::Large.stages();
    let files = ["timesheet/durations.py", "timesheet/report.py"].map(demo::path_of);
    let symbols: Vec<SymbolId> = files
        .iter()
        .flat_map(|path| {
            let outline = demo::index().outline(path).expect("an outline of a source file");
            let id = |kind, name: &str| SymbolId { path: path.clone(), kind, name: name.into() };
            outline.symbols.iter().map(move |symbol| id(symbol.kind, &symbol.name))
        })
        .collect();
    let lines: Vec<(RepoPath, u32)> = files.iter().map(|path| (path.clone(), 12)).collect();
    let shown = "the demo fits into a prompt";
    Shown {
        file: stages.file.prompt(&context, &(), &EstimateTokens).expect(shown).1,
        function: stages
            .function
            .prompt(&context, &files.to_vec(), &EstimateTokens)
            .expect(shown)
            .1,
        line: stages.line.prompt(&context, &symbols, &EstimateTokens).expect(shown).1,
        edit: stages.edit.prompt(&context, &lines, &EstimateTokens).expect(shown).1,
        stages,
    }
});

/// The first byte names the stage (`f`, `s`, `l`, `e`), as a capital where the completion was cut
/// off; the completion follows.
pub(crate) fn check(data: &[u8]) {
    let Some((first, completion)) = data.split_first() else { return };
    let ended = if first.is_ascii_uppercase() { Ended::CutOff } else { Ended::ByItself };
    let completion = String::from_utf8_lossy(completion);
    match first.to_ascii_lowercase() {
        b'f' => check_files(&completion, ended),
        b's' => check_symbols(&completion, ended),
        b'l' => check_lines(&completion, ended),
        b'e' => check_edits(&completion, ended),
        _ => {}
    }
}

/// An answer hits all of itself; what was invented or not shown counts against it.
fn check_score<S: Stage>(stage: &S, answer: &S::Answer) {
    let items = stage.items(answer);
    let grade = stage.grade_answer(answer, &items);
    let misses = stage.misses(answer);
    assert_eq!(grade.score.answered, items.len() + misses.invented + misses.unseen);
    assert!(grade.score.hits <= grade.score.answered.min(grade.score.expected));
    assert_eq!(grade.score.hits == 0, items.is_empty());
}

fn check_rejection(rejection: &Rejection) {
    let message = rejection.to_string();
    assert!(message.len() < 8192, "a message of {} bytes", message.len());
}

fn check_files(completion: &str, ended: Ended) {
    let (stage, shown) = (&SHOWN.stages.file, &SHOWN.file);
    let answer = match stage.parse(shown, completion, ended) {
        Ok(answer) => answer,
        Err(rejection) => return check_rejection(&rejection),
    };
    check_score(stage, &answer);
    assert!(answer.paths.len() + answer.invented.len() <= stage.max_paths);
    for (at, path) in answer.paths.iter().enumerate() {
        assert!(shown.paths.contains(path) || shown.known.contains(path.as_str()), "{path}");
        assert!(!answer.paths[..at].contains(path), "{path} is there twice");
    }
    let plain: String = answer.paths.iter().map(|path| format!("{path}\n")).collect();
    if plain.is_empty() || !answer.paths.iter().all(|path| shown.paths.contains(path)) {
        return;
    }
    let again = stage.parse(shown, &format!("```\n{plain}```\n"), Ended::ByItself);
    assert_eq!(again.map(|again| again.paths), Ok(answer.paths));
}

fn check_symbols(completion: &str, ended: Ended) {
    let (stage, shown) = (&SHOWN.stages.function, &SHOWN.function);
    let answer = match stage.parse(shown, completion, ended) {
        Ok(answer) => answer,
        Err(rejection) => return check_rejection(&rejection),
    };
    check_score(stage, &answer);
    for (at, symbol) in answer.symbols.iter().enumerate() {
        assert!(shown.files.iter().any(|file| file.path == symbol.path), "{symbol}");
        assert!(!answer.symbols[..at].contains(symbol), "{symbol} is there twice");
        assert_eq!(symbol.kind == SymbolKind::Module, symbol.name.is_empty(), "{symbol}");
    }
    assert!(answer.symbols.len() <= stage.max_symbols);
}

fn check_lines(completion: &str, ended: Ended) {
    let (stage, shown) = (&SHOWN.stages.line, &SHOWN.line);
    let answer = match stage.parse(shown, completion, ended) {
        Ok(answer) => answer,
        Err(rejection) => return check_rejection(&rejection),
    };
    check_score(stage, &answer);
    for (at, (path, line)) in answer.lines.iter().enumerate() {
        let file = shown.files.iter().find(|file| file.path == *path);
        let windows = file.map(|file| file.windows.as_slice()).unwrap_or_default();
        assert!(windows.iter().any(|window| window.contains(*line)), "{path}:{line}");
        assert!(!answer.lines[..at].contains(&(path.clone(), *line)), "{path}:{line} twice");
    }
}

fn check_edits(completion: &str, ended: Ended) {
    let (stage, shown) = (&SHOWN.stages.edit, &SHOWN.edit);
    let answer = match stage.parse(shown, completion, ended) {
        Ok(answer) => answer,
        Err(rejection) => return check_rejection(&rejection),
    };
    check_score(stage, &answer);
    let again = parse_completion(&render_answer(&answer.edits), Ended::ByItself);
    assert_eq!(again.as_ref(), Ok(&answer.edits));
    let snapshot = demo::index().snapshot();
    // What a prompt does not show may still stand in the way: a folder of that name, say.
    let Ok(changes) = answer.apply(shown, snapshot.as_ref()) else { return };
    assert!(!changes.is_empty());
    written::check_inside(&changes);
    written::check_patch(&changes);
    for change in &changes {
        let path = change.before().map_or(change.path(), |before| &before.path);
        let file = shown.files.iter().find(|file| file.path == *path);
        assert_eq!(file.is_some(), change.before().is_some(), "{path} was not shown");
        let (Some(file), FileChange::Changed { before, after }) = (file, change) else { continue };
        let window = |first: u32, n: usize| first as usize - 1..first as usize - 1 + n;
        let windows: Vec<_> =
            file.windows.iter().map(|shown| window(shown.first, shown.lines.len())).collect();
        written::check_windows(&before.bytes, &after.bytes, &windows);
    }
}
