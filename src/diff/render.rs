//! Changes written as a git patch that `git apply` takes.
//!
//! Content is written as bytes, never decoded. A file that git would call binary is written as
//! text hunks all the same: `git apply` reads them, and the patch needs no second format.

use std::fmt::Write;
use std::ops::Range;

use crate::diff::change::{FileChange, FileState};
use crate::diff::lines::{LineChange, diff_lines, split_lines};
use crate::repo::blob::BlobId;
use crate::repo::path::RepoPath;
use crate::repo::snapshot::FileKind;

/// Unchanged lines shown on either side of a change.
const N_CONTEXT: usize = 3;

/// The patch of these changes, in their order; empty where nothing differs.
pub fn render(changes: &[FileChange]) -> Vec<u8> {
    let mut patch = Vec::new();
    for change in changes.iter().filter(|change| change.is_real()) {
        match change {
            // Git has no header for another type of file: it is deleted and created anew.
            FileChange::Changed { before, after } if is_link(before) != is_link(after) => {
                render_file(Some(before), None, &mut patch);
                render_file(None, Some(after), &mut patch);
            }
            _ => render_file(change.before(), change.after(), &mut patch),
        }
    }
    patch
}

fn is_link(state: &FileState) -> bool {
    matches!(state.kind, FileKind::Symlink | FileKind::Submodule)
}

fn render_file(before: Option<&FileState>, after: Option<&FileState>, patch: &mut Vec<u8>) {
    let Some(known) = after.or(before) else { return };
    let base_path = &before.unwrap_or(known).path;
    let new_path = &after.unwrap_or(known).path;
    let base_bytes = before.map_or(&[][..], |state| &state.bytes);
    let new_bytes = after.map_or(&[][..], |state| &state.bytes);
    let (base, new) = (split_lines(base_bytes), split_lines(new_bytes));
    let changes = diff_lines(&base, &new);

    let mut head = format!("diff --git {} {}\n", quoted("a/", base_path), quoted("b/", new_path));
    let mode = |state: &FileState| match state.kind {
        FileKind::Regular => "100644",
        FileKind::Executable => "100755",
        FileKind::Symlink => "120000",
        FileKind::Submodule => "160000",
    };
    // Writing to a string cannot fail.
    let mut line = |text: std::fmt::Arguments<'_>| writeln!(head, "{text}").unwrap_or(());
    match (before, after) {
        (None, Some(after)) => line(format_args!("new file mode {}", mode(after))),
        (Some(before), None) => line(format_args!("deleted file mode {}", mode(before))),
        (Some(before), Some(after)) if mode(before) != mode(after) => {
            line(format_args!("old mode {}", mode(before)));
            line(format_args!("new mode {}", mode(after)));
        }
        _ => {}
    }
    if base_path != new_path {
        let percent = similarity(&base, &changes, base_bytes.len().max(new_bytes.len()));
        line(format_args!("similarity index {percent}%"));
        line(format_args!("rename from {}", quoted("", base_path)));
        line(format_args!("rename to {}", quoted("", new_path)));
    }
    if !changes.is_empty() || before.is_none() || after.is_none() {
        let id = |state: Option<&FileState>| {
            let id = state.map_or(BlobId::UNKNOWN, |state| BlobId::of(&state.bytes)).to_string();
            id[..10].to_owned()
        };
        let same_mode = match (before, after) {
            (Some(before), Some(after)) if mode(before) == mode(after) => {
                format!(" {}", mode(after))
            }
            _ => String::new(),
        };
        line(format_args!("index {}..{}{same_mode}", id(before), id(after)));
    }
    if !changes.is_empty() {
        let side = |state: Option<&FileState>, prefix: &str, path: &RepoPath| match state {
            None => "/dev/null".to_owned(),
            // Without the tab, readers would end the name at its first blank.
            Some(_) if path.as_str().contains(' ') => format!("{}\t", quoted(prefix, path)),
            Some(_) => quoted(prefix, path),
        };
        line(format_args!("--- {}", side(before, "a/", base_path)));
        line(format_args!("+++ {}", side(after, "b/", new_path)));
    }
    patch.extend_from_slice(head.as_bytes());
    render_hunks(&base, &new, &changes, patch);
}

/// How much of the larger file both have, in percent; 100 for equal files alone.
fn similarity(base: &[&[u8]], changes: &[LineChange], larger: usize) -> usize {
    if changes.is_empty() {
        return 100;
    }
    let n_bytes = |lines: &[&[u8]]| lines.iter().map(|line| line.len()).sum::<usize>();
    let n_gone: usize = changes.iter().map(|change| n_bytes(&base[change.base.clone()])).sum();
    ((n_bytes(base) - n_gone) * 100 / larger.max(1)).min(99)
}

fn render_hunks(base: &[&[u8]], new: &[&[u8]], changes: &[LineChange], patch: &mut Vec<u8>) {
    let joins =
        |left: &LineChange, right: &LineChange| right.base.start - left.base.end <= 2 * N_CONTEXT;
    for group in changes.chunk_by(joins) {
        let (first, last) = (&group[0], &group[group.len() - 1]);
        let n_before = N_CONTEXT.min(first.base.start);
        let n_after = N_CONTEXT.min(base.len() - last.base.end);
        let base_range = first.base.start - n_before..last.base.end + n_after;
        let new_range = first.new.start - n_before..last.new.end + n_after;
        let header = format!("@@ -{} +{} @@\n", place(&base_range), place(&new_range));
        patch.extend_from_slice(header.as_bytes());
        let mut at = base_range.start;
        for change in group {
            render_lines(b' ', &base[at..change.base.start], patch);
            render_lines(b'-', &base[change.base.clone()], patch);
            render_lines(b'+', &new[change.new.clone()], patch);
            at = change.base.end;
        }
        render_lines(b' ', &base[at..base_range.end], patch);
    }
}

/// A range as a hunk header gives it: the first line from 1 (of an empty range, the line before
/// it), and the count where it is not 1.
fn place(range: &Range<usize>) -> String {
    match range.len() {
        0 => format!("{},0", range.start),
        1 => format!("{}", range.start + 1),
        n => format!("{},{n}", range.start + 1),
    }
}

fn render_lines(sign: u8, lines: &[&[u8]], patch: &mut Vec<u8>) {
    for line in lines {
        patch.push(sign);
        patch.extend_from_slice(line);
        if !line.ends_with(b"\n") {
            patch.extend_from_slice(b"\n\\ No newline at end of file\n");
        }
    }
}

/// A path as git writes it: in quotes with octal escapes where it holds a quote or other bytes
/// than printable ASCII.
fn quoted(prefix: &str, path: &RepoPath) -> String {
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
    if path.as_str().as_bytes().iter().all(is_plain) {
        return format!("{prefix}{path}");
    }
    let mut text = format!("\"{prefix}");
    for byte in path.as_str().bytes() {
        match byte {
            b'"' => text.push_str("\\\""),
            _ if is_plain(&byte) => text.push(char::from(byte)),
            _ => write!(text, "\\{byte:03o}").unwrap_or(()),
        }
    }
    text + "\""
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    use super::*;
    use crate::diff::patch::Patch;

    fn state(path: &str, kind: FileKind, text: &str) -> FileState {
        let path = RepoPath::parse(path).unwrap();
        FileState { path, kind, bytes: text.as_bytes().to_vec() }
    }

    fn changed(before: FileState, after: FileState) -> FileChange {
        FileChange::Changed { before, after }
    }

    #[track_caller]
    fn check(changes: &[FileChange], expect: Expect) {
        let patch = String::from_utf8(render(changes)).unwrap();
        expect.assert_eq(&patch.replace('\r', "<CR>"));
    }

    #[test]
    fn modified_files() {
        use FileKind::{Executable, Regular};
        let (base, new) = ("1\n2\n3\n4\n5\n6\n7\n8\n9\n", "1\n2\n3\n4\n5\nsix\n7\n8\n9");
        check(
            &[changed(state("a b.py", Regular, base), state("a b.py", Executable, new))],
            expect![[r"
                diff --git a/a b.py b/a b.py
                old mode 100644
                new mode 100755
                index 0719398930..598e66c490
                --- a/a b.py	
                +++ b/a b.py	
                @@ -3,7 +3,7 @@
                 3
                 4
                 5
                -6
                +six
                 7
                 8
                -9
                +9
                \ No newline at end of file
            "]],
        );
        check(&[changed(state("a", Regular, base), state("a", Regular, base))], expect![[""]]);
    }

    #[test]
    fn created_deleted_and_renamed_files() {
        use FileKind::Regular;
        check(
            &[
                FileChange::Created(state("new.py", Regular, "x\r\n")),
                FileChange::Created(state("pkg/__init__.py", FileKind::Executable, "")),
                FileChange::Deleted(state("old.py", Regular, "x")),
                changed(state("é.py", Regular, "1\n"), state("\"q\".py", Regular, "1\n")),
                changed(state("p", Regular, "1\n2\n"), state("q", Regular, "1\n3\n")),
                changed(state("l", Regular, "1\n"), state("l", FileKind::Symlink, "1")),
            ],
            expect![[r#"
                diff --git a/new.py b/new.py
                new file mode 100644
                index 0000000000..db127bf6be
                --- /dev/null
                +++ b/new.py
                @@ -0,0 +1 @@
                +x<CR>
                diff --git a/pkg/__init__.py b/pkg/__init__.py
                new file mode 100755
                index 0000000000..e69de29bb2
                diff --git a/old.py b/old.py
                deleted file mode 100644
                index c1b0730e01..0000000000
                --- a/old.py
                +++ /dev/null
                @@ -1 +0,0 @@
                -x
                \ No newline at end of file
                diff --git "a/\303\251.py" "b/\"q\".py"
                similarity index 100%
                rename from "\303\251.py"
                rename to "\"q\".py"
                diff --git a/p b/q
                similarity index 50%
                rename from p
                rename to q
                index 1191247b6d..2b2f2e1b92 100644
                --- a/p
                +++ b/q
                @@ -1,2 +1,2 @@
                 1
                -2
                +3
                diff --git a/l b/l
                deleted file mode 100644
                index d00491fd7e..0000000000
                --- a/l
                +++ /dev/null
                @@ -1 +0,0 @@
                -1
                diff --git a/l b/l
                new file mode 120000
                index 0000000000..56a6051ca2
                --- /dev/null
                +++ b/l
                @@ -0,0 +1 @@
                +1
                \ No newline at end of file
            "#]],
        );
    }

    proptest! {
        #[test]
        fn rendered_patches_apply_to_give_the_new_bytes(
            base in "[abc\u{e9}\n\r\\x00]{0,60}",
            new in "[abc\u{e9}\n\r\\x00]{0,60}",
            path in "[a-c\" \u{e9}]{1,4}/[a-c]",
            to in prop::option::of("[x-z]{1,3}"),
        ) {
            let before = state(&path, FileKind::Regular, &base);
            let after = state(to.as_deref().unwrap_or(&path), FileKind::Executable, &new);
            let changes = vec![
                changed(before, after),
                FileChange::Created(state("~1", FileKind::Regular, &base)),
                FileChange::Deleted(state("~2", FileKind::Regular, &new)),
            ];
            let base: BTreeMap<RepoPath, FileState> = changes
                .iter()
                .filter_map(FileChange::before)
                .map(|state| (state.path.clone(), state.clone()))
                .collect();
            let patch = Patch::parse(&render(&changes)).unwrap();
            let mut applied = patch.apply(&base).unwrap();
            applied.sort_by_key(|change| change.path().clone());
            let mut wanted = changes;
            wanted.sort_by_key(|change| change.path().clone());
            prop_assert_eq!(applied, wanted);
        }
    }
}
