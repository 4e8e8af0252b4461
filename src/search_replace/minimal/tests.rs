//! The edits that changes are written as.

use std::collections::BTreeMap;
use std::ops::Range;

use expect_test::{Expect, expect};
use proptest::prelude::*;

use crate::diff::change::{FileChange, FileState};
use crate::repo::path::RepoPath;
use crate::repo::snapshot::FileKind;
use crate::search_replace::apply::Scope;
use crate::search_replace::block::{parse_completion, render_answer, render_edits};
use crate::search_replace::fence::Ended;
use crate::search_replace::minimal::{check_round_trip, minimal_edits};

fn state(path: &str, text: &str) -> FileState {
    let path = RepoPath::parse(path).unwrap();
    FileState { path, kind: FileKind::Regular, bytes: text.as_bytes().to_vec() }
}

fn changed(base: &str, new: &str) -> FileChange {
    FileChange::Changed { before: state("a.py", base), after: state("a.py", new) }
}

#[track_caller]
fn check(change: FileChange, scope: &Scope, expect: Expect) {
    let text = match minimal_edits(&[change], scope) {
        Ok(edits) => render_edits(&edits, 7),
        Err(why) => why.to_string(),
    };
    expect.assert_eq(&text);
}

#[test]
fn a_change_takes_one_neighbour_where_that_is_unique() {
    check(
        changed("a\nb\nc\n", "a\nB\nc\n"),
        &Scope::default(),
        expect![[r"
        ### a.py
        <<<<<<< SEARCH
        a
        b
        =======
        a
        B
        >>>>>>> REPLACE
    "]],
    );
    check(
        changed("a\nb\n", "A\nb\n"),
        &Scope::default(),
        expect![[r"
        ### a.py
        <<<<<<< SEARCH
        a
        b
        =======
        A
        b
        >>>>>>> REPLACE
    "]],
    );
    check(
        changed("a\nb\n", "a\nb\nc\n"),
        &Scope::default(),
        expect![[r"
        ### a.py
        <<<<<<< SEARCH
        b
        =======
        b
        c
        >>>>>>> REPLACE
    "]],
    );
    check(
        changed("a\n", "b\n"),
        &Scope::default(),
        expect![[r"
        ### a.py
        <<<<<<< SEARCH
        a
        =======
        b
        >>>>>>> REPLACE
    "]],
    );
    check(
        changed("a\nb\nc\n", "a\nc\n"),
        &Scope::default(),
        expect![[r"
        ### a.py
        <<<<<<< SEARCH
        a
        b
        =======
        a
        >>>>>>> REPLACE
    "]],
    );
}

#[test]
fn a_change_takes_neighbours_until_it_is_unique() {
    check(
        changed("p\nx\nq\nx\nr\n", "p\nx\nq\nX\nr\n"),
        &Scope::default(),
        expect![[r"
        ### a.py
        <<<<<<< SEARCH
        q
        x
        =======
        q
        X
        >>>>>>> REPLACE
    "]],
    );
    check(
        changed("x\nx\nx\nx\n", "x\nx\ny\nx\n"),
        &Scope::default(),
        expect![[r"
        ### a.py
        <<<<<<< SEARCH
        x
        x
        x
        x
        =======
        x
        x
        y
        x
        >>>>>>> REPLACE
    "]],
    );
    check(
        changed("a\nb\nc\nd\n", "A\nb\nC\nd\n"),
        &Scope::default(),
        expect![[r"
            ### a.py
            <<<<<<< SEARCH
            a
            b
            c
            =======
            A
            b
            C
            >>>>>>> REPLACE
        "]],
    );
}

#[test]
fn a_search_begins_with_text_where_there_is_some_above() {
    check(
        changed("a\n\n\nb\n", "a\n\n\nB\n"),
        &Scope::default(),
        expect![[r"
            ### a.py
            <<<<<<< SEARCH
            a


            b
            =======
            a


            B
            >>>>>>> REPLACE
        "]],
    );
}

#[test]
fn neighbours_come_from_the_windows_alone() {
    let path = RepoPath::parse("a.py").unwrap();
    let scope = |windows: &[Range<usize>]| Scope {
        windows: Some(BTreeMap::from([(path.clone(), windows.to_vec())])),
        preferred: BTreeMap::new(),
    };
    let change = || changed("x\na\nb\nx\na\nb\n", "x\na\nb\nx\nA\nb\n");
    check(
        change(),
        &scope(&[4..5, 5..6]),
        expect![[r"
        ### a.py
        <<<<<<< SEARCH
        a
        b
        =======
        A
        b
        >>>>>>> REPLACE
    "]],
    );
    check(
        change(),
        &scope(&[0..2, 3..5]),
        expect!["the shown lines around line 5 of `a.py` are shown more than once"],
    );
    check(change(), &scope(&[0..1, 1..2]), expect!["line 5 of `a.py` changes, but was not shown"]);
}

#[test]
fn whole_files_and_line_ends() {
    let scope = Scope::default();
    let mut script = state("run.sh", "echo\n");
    script.kind = FileKind::Executable;
    check(
        FileChange::Created(script),
        &scope,
        expect![[r"
        ### mode 755 run.sh
        <<<<<<< SEARCH
        =======
        echo
        >>>>>>> REPLACE
    "]],
    );
    check(
        FileChange::Created(state("pkg/__init__.py", "")),
        &scope,
        expect![[r"
        ### pkg/__init__.py
        <<<<<<< SEARCH
        =======
        >>>>>>> REPLACE
    "]],
    );
    check(
        FileChange::Deleted(state("a.py", "x\n")),
        &scope,
        expect![[r"
        ### delete a.py
    "]],
    );
    let (before, after) = (state("a.py", "1\n2\n"), state("b.py", "1\n3\n"));
    check(
        FileChange::Changed { before, after },
        &scope,
        expect![[r"
        ### rename a.py -> b.py
        <<<<<<< SEARCH
        1
        2
        =======
        1
        3
        >>>>>>> REPLACE
    "]],
    );
    check(
        changed("", "x"),
        &scope,
        expect![[r"
        ### a.py
        <<<<<<< SEARCH
        =======
        x
        \ No newline at end of file
        >>>>>>> REPLACE
    "]],
    );
    check(
        changed("a\nb", "a\nb\n"),
        &scope,
        expect![[r"
        ### a.py
        <<<<<<< SEARCH
        a
        b
        \ No newline at end of file
        =======
        a
        b
        >>>>>>> REPLACE
    "]],
    );
    check(
        changed("a\nb\n", "a\nb"),
        &scope,
        expect![[r"
        ### a.py
        <<<<<<< SEARCH
        a
        b
        =======
        a
        b
        \ No newline at end of file
        >>>>>>> REPLACE
    "]],
    );
    check(
        changed("a\r\nb\r\n", "a\r\nc\r\nb\r\n"),
        &scope,
        expect![[r"
        ### a.py
        <<<<<<< SEARCH
        a
        =======
        a
        c
        >>>>>>> REPLACE
    "]],
    );
    check(
        changed("a\r\nb\r\n", "a\nb\n"),
        &scope,
        expect!["the edits would make other bytes of `a.py`"],
    );
}

proptest! {
    #[test]
    fn minimal_edits_give_back_the_bytes(
        base in "([ab ]{0,2}\n){0,12}[ab]{0,2}",
        new in "([ab ]{0,2}\n){0,12}[ab]{0,2}",
    ) {
        let change = changed(&base, &new);
        let edits = minimal_edits(std::slice::from_ref(&change), &Scope::default()).unwrap();
        if base != new {
            let answer = render_answer(&edits);
            let parsed = parse_completion(&answer, Ended::ByItself).unwrap();
            prop_assert_eq!(&parsed, &edits);
            check_round_trip(&change, &parsed, &Scope::default()).unwrap();
        }
    }
}
