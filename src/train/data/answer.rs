//! The truth of an episode, written canonically as a completion.

use crate::diff::change::{FileChange, FileState};
use crate::diff::lines::LineChange;
use crate::prompt::CountTokens;
use crate::repo::path::RepoPath;
use crate::repo::text::Text;
use crate::search_replace::block::Edit;
use crate::search_replace::fence::Ended;
use crate::search_replace::minimal::minimal_edits;
use crate::stage::Stage;
use crate::stage::edit::EditStage;
use crate::stage::episode::{Case, Episode, Task};
use crate::stage::gold::{Gold, GoldFile};
use crate::stage::oracle::{Oracle, edit_answer};

/// The completion of someone who knows the gold patch: files by how many lines change, edits with
/// as few lines around them as make them unique. Where the stage's limits do not hold all of it,
/// the largest changes. `None` where none can be written.
pub(super) fn true_answer(
    episode: &Episode,
    gold: &Gold,
    changes: &[FileChange],
    counter: &dyn CountTokens,
) -> Option<String> {
    let answer = match &episode.task {
        Task::File(case) => localized(case, gold, |path| path),
        Task::Function(case) => localized(case, gold, |symbol| &symbol.path),
        Task::Line(case) => localized(case, gold, |item| &item.path),
        Task::Edit(case) => edited(case, changes, counter),
    }?;
    // Whatever the way here, it must be what is asked for.
    episode.is_hit(&answer, Ended::ByItself).ok()?.then_some(answer)
}

fn localized<S: Oracle>(
    case: &Case<S>,
    gold: &Gold,
    path: impl Fn(&S::Item) -> &RepoPath,
) -> Option<String> {
    let n_lines = |item: &S::Item| {
        let file = gold.files.iter().find(|file| file.path == *path(item));
        file.map_or(0, |file| file.changes.iter().map(size).sum::<usize>())
    };
    let mut truth: Vec<S::Item> = case.expected.first()?.clone();
    truth.sort_by_key(|item| std::cmp::Reverse(n_lines(item)));
    case.limits.completion(&case.shown, &truth)
}

fn size(change: &LineChange) -> usize {
    change.base.len() + change.new.len()
}

/// A part of the gold patch that is taken or left as a whole.
struct Piece<'a> {
    file_idx: usize,
    /// `None`: all that happens to the file.
    change: Option<&'a LineChange>,
    size: usize,
}

fn edited(
    case: &Case<EditStage>,
    changes: &[FileChange],
    counter: &dyn CountTokens,
) -> Option<String> {
    let write = |changes: &[FileChange]| {
        let edits = minimal_edits(changes, &case.shown.scope()).ok()?;
        let answer = edit_answer(&edits);
        let is_within = within(&case.limits, &edits)
            && counter.count(&answer) <= case.limits.completion_tokens();
        is_within.then_some(answer)
    };
    let mut both: Vec<(&FileChange, Option<GoldFile>)> =
        changes.iter().map(|change| (change, GoldFile::of_change(change))).collect();
    both.sort_by_key(|(_, file)| {
        let lines = file.iter().flat_map(|file| &file.changes).map(size);
        std::cmp::Reverse(lines.sum::<usize>())
    });
    let (changes, files): (Vec<FileChange>, Vec<Option<GoldFile>>) =
        both.into_iter().map(|(change, file)| (change.clone(), file)).unzip();
    if let Some(answer) = write(&changes) {
        return Some(answer);
    }
    let mut pieces = pieces(&files);
    pieces.sort_by_key(|piece| std::cmp::Reverse(piece.size));
    let mut taken: Vec<&Piece<'_>> = Vec::new();
    let mut best = None;
    for piece in &pieces {
        taken.push(piece);
        match write(&only(&taken, &changes, &files)) {
            Some(answer) => best = Some(answer),
            None => {
                taken.pop();
            }
        }
    }
    best
}

/// Whether the stage asks for so many edits, and its grammar lets them be so long.
fn within(limits: &EditStage, edits: &[Edit]) -> bool {
    let lines = |edit: &Edit| match edit {
        Edit::Replace { search, .. } => search.lines.len(),
        _ => 0,
    };
    let max_lines = limits.max_search_lines;
    edits.len() <= limits.max_edits
        && (max_lines == 0 || edits.iter().all(|edit| lines(edit) <= max_lines))
}

fn pieces(files: &[Option<GoldFile>]) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    for (file_idx, file) in files.iter().enumerate() {
        let Some(file) = file else { continue };
        let whole = file.changes.iter().map(size).sum();
        match (&file.base, &file.patched) {
            (Some(_), Some(_)) => pieces.extend(file.changes.iter().map(|change| Piece {
                file_idx,
                change: Some(change),
                size: size(change),
            })),
            _ => pieces.push(Piece { file_idx, change: None, size: whole }),
        }
    }
    pieces
}

/// What these pieces alone make of the files.
fn only(
    taken: &[&Piece<'_>],
    changes: &[FileChange],
    files: &[Option<GoldFile>],
) -> Vec<FileChange> {
    let mut made = Vec::new();
    for (file_idx, (change, file)) in changes.iter().zip(files).enumerate() {
        let mut own: Vec<&Piece<'_>> =
            taken.iter().filter(|piece| piece.file_idx == file_idx).copied().collect();
        own.sort_by_key(|piece| piece.change.map(|change| change.base.start));
        match (&own[..], file, change) {
            ([], _, _) | (_, None, _) => {}
            ([Piece { change: None, .. }, ..], _, _) => made.push(change.clone()),
            (own, Some(file), FileChange::Changed { before, .. }) => {
                let (Some(base), Some(patched)) = (&file.base, &file.patched) else { continue };
                let changes = own.iter().filter_map(|piece| piece.change);
                let bytes = with_changes(base, patched, changes);
                let after = FileState { bytes, ..before.clone() };
                made.push(FileChange::Changed { before: before.clone(), after });
            }
            _ => {}
        }
    }
    made
}

fn with_changes<'a>(
    base: &Text,
    patched: &Text,
    changes: impl Iterator<Item = &'a LineChange>,
) -> Vec<u8> {
    // Lines carry their ends, and the first one the byte order mark.
    let mut bytes = Vec::new();
    let mut at = 0;
    for change in changes {
        bytes.extend_from_slice(base.raw_lines(at..change.base.start));
        bytes.extend_from_slice(patched.raw_lines(change.new.clone()));
        at = change.base.end;
    }
    bytes.extend_from_slice(base.raw_lines(at..base.n_lines()));
    bytes
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use expect_test::{Expect, expect};

    use super::*;
    use crate::index::retrieval::Ranking;
    use crate::index::{Index, IndexOptions};
    use crate::prompt::EstimateTokens;
    use crate::prompt::template::Templates;
    use crate::repo::fixture::snapshot;
    use crate::repo::snapshot::FileKind;
    use crate::stage::Context;
    use crate::stage::episode::{Expect as Expected, Truth};
    use crate::stage::episodes::episodes;
    use crate::stage::gold::GoldFiles;
    use crate::stage::profile::Profile;
    use crate::train::data::training_stages;

    const FILES: &str = "\
//- /a.py
import os


def first(x):
    y = x + 1
    return y


def second(x):
    y = x + 1
    return y
//- /b.py
def third(x):
    return [
        x,
    ]
";

    /// The true answers of all stages for files that become others.
    #[track_caller]
    fn check(profile: Profile, patched: &[(&str, &str)], expect: Expect) {
        let base = Arc::new(snapshot(FILES));
        let index = Arc::new(Index::build(Arc::clone(&base), &IndexOptions::default()).unwrap());
        let context = Context {
            issue: "The sum is wrong.".to_owned(),
            index,
            ranking: Ranking::default(),
            templates: Arc::new(Templates::new(&BTreeMap::new()).unwrap()),
        };
        let change = |(path, after): &(&str, &str)| {
            let path = RepoPath::parse(path).unwrap();
            let state =
                |bytes: Vec<u8>| FileState { path: path.clone(), kind: FileKind::Regular, bytes };
            let before = state(base.read_bytes(&path).unwrap());
            FileChange::Changed { before, after: state(after.as_bytes().to_vec()) }
        };
        let changes: Vec<FileChange> = patched.iter().map(change).collect();
        let gold = Gold::new(&context.index, &changes, GoldFiles::All);
        let golds = [gold.clone()];
        let truth = Truth { instance_id: "i", golds: &golds, expect: Expected::InView };
        let found = episodes(&training_stages(profile), &context, &truth, &EstimateTokens);
        let answers = found.episodes.iter().map(|episode| {
            let answer = true_answer(episode, &gold, &changes, &EstimateTokens);
            answer.unwrap_or_else(|| "none\n".to_owned())
        });
        expect.assert_eq(&answers.collect::<String>());
    }

    const A: &str = "import os\n\n\ndef first(x):\n    y = x + 2\n    return y\n\n\ndef second(x):\n    y = x + 1\n    z = y + 1\n    z += 1\n    return z\n";
    const B: &str = "def third(x):\n    return [\n        x + 1,\n    ]\n";

    #[test]
    fn one_edit_is_the_largest_change() {
        check(
            Profile::Small,
            &[("b.py", B), ("a.py", A)],
            expect![[r#"
            ```
            a.py
            b.py
            ```
            ```
            a.py
            function: first
            function: second

            b.py
            function: third
            ```
            ```
            a.py
            line: 5
            line: 11

            b.py
            line: 3
            ```
            ```
            ### a.py
            <<<<<<< SEARCH
            def second(x):
                y = x + 1
                return y
            =======
            def second(x):
                y = x + 1
                z = y + 1
                z += 1
                return z
            >>>>>>> REPLACE
            ```
        "#]],
        );
    }

    #[test]
    fn several_edits_are_all_changes_with_what_makes_them_unique() {
        check(
            Profile::Medium,
            &[("b.py", B), ("a.py", A)],
            expect![[r#"
            ```
            a.py
            b.py
            ```
            ```
            a.py
            function: first
            function: second

            b.py
            function: third
            ```
            ```
            a.py
            line: 5
            line: 11

            b.py
            line: 3
            ```
            ```
            ### a.py
            <<<<<<< SEARCH
            def first(x):
                y = x + 1
            =======
            def first(x):
                y = x + 2
            >>>>>>> REPLACE
            ### a.py
            <<<<<<< SEARCH
            def second(x):
                y = x + 1
                return y
            =======
            def second(x):
                y = x + 1
                z = y + 1
                z += 1
                return z
            >>>>>>> REPLACE
            ### b.py
            <<<<<<< SEARCH
                return [
                    x,
            =======
                return [
                    x + 1,
            >>>>>>> REPLACE
            ```
        "#]],
        );
    }
}
