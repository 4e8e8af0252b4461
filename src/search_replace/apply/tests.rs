//! Edits applied to whole files, windows, encodings and line ends.

use std::collections::BTreeMap;
use std::ops::Range;

use expect_test::{Expect, expect};
use proptest::prelude::*;

use crate::diff::change::FileChange;
use crate::repo::fixture::files;
use crate::repo::path::RepoPath;
use crate::repo::snapshot::{FileKind, Snapshot};
use crate::repo::text::Text;
use crate::search_replace::apply::{Scope, apply_edits};
use crate::search_replace::block::{Edit, Side, parse_completion};
use crate::search_replace::fence::Ended;

fn repo_path(text: &str) -> RepoPath {
    RepoPath::parse(text).unwrap()
}

/// One run of lines of `a.py`.
fn lines_of_a(lines: Range<usize>) -> BTreeMap<RepoPath, Vec<Range<usize>>> {
    BTreeMap::from([(repo_path("a.py"), std::iter::once(lines).collect())])
}

fn edit_of(path: &str, search: &str, replace: &str) -> String {
    format!("### {path}\n<<<<<<< SEARCH\n{search}=======\n{replace}>>>>>>> REPLACE\n")
}

/// Applies the edits of an answer's block and describes the outcome.
fn outcome(base: BTreeMap<RepoPath, Vec<u8>>, block: &str, scope: &Scope) -> String {
    let edits = parse_completion(&format!("```\n{block}```"), Ended::ByItself).unwrap();
    let describe = |change: &FileChange| {
        let path = change.before().map(|before| before.path.as_str());
        let moved = path.filter(|&path| path != change.path().as_str());
        let from = moved.map_or(String::new(), |path| format!(" from {path}"));
        let kind = change.after().map_or(String::new(), |after| match after.kind {
            FileKind::Executable => " executable".to_owned(),
            _ => String::new(),
        });
        let text = change.after().map_or("deleted".to_owned(), |after| {
            format!("{:?}", after.bytes.escape_ascii().to_string().replace("\\n", "\n"))
        });
        format!("{}{from}{kind}: {text}", change.path())
    };
    match apply_edits(&edits, &Snapshot::from_files(base), scope) {
        Ok(changes) => changes.iter().map(describe).collect::<Vec<_>>().join("\n"),
        Err(why) => why.to_string(),
    }
}

#[track_caller]
fn check(base: &str, block: &str, expect: Expect) {
    expect.assert_eq(&outcome(files(base), block, &Scope::default()));
}

/// One file `a.py` of these bytes.
#[track_caller]
fn check_bytes(base: &[u8], block: &str, expect: Expect) {
    let base = BTreeMap::from([(repo_path("a.py"), base.to_vec())]);
    expect.assert_eq(&outcome(base, block, &Scope::default()));
}

const TWICE: &str = "//- /a.py\ndef f():\n    x = 1\n\ndef g():\n    x = 1\n";

#[test]
fn edits_refer_to_the_base_in_any_order() {
    let block = edit_of("a.py", "    x = 1\n\n", "    x = 2\n\n")
        + &edit_of("a.py", "def f():\n", "def h():\n");
    check(TWICE, &block, expect![[r#"a.py: "def h():\n    x = 2\n\ndef g():\n    x = 1\n""#]]);
}

#[test]
fn one_of_several_places_is_changed_or_none() {
    let block = edit_of("a.py", "    x = 1\n", "    x = 2\n");
    check(TWICE, &block, expect!["`a.py` has the wanted lines at lines 2, 5"]);
    let preferring = |lines: Range<usize>| {
        let preferred = lines_of_a(lines);
        outcome(files(TWICE), &block, &Scope { windows: None, preferred })
    };
    expect![[r#"a.py: "def f():\n    x = 1\n\ndef g():\n    x = 2\n""#]]
        .assert_eq(&preferring(3..5));
    expect!["`a.py` has the wanted lines at lines 2, 5"].assert_eq(&preferring(0..5));
    let showing = |lines: &[Range<usize>]| {
        let windows = Some(BTreeMap::from([(repo_path("a.py"), lines.to_vec())]));
        outcome(files(TWICE), &block, &Scope { windows, preferred: BTreeMap::new() })
    };
    expect![[r#"a.py: "def f():\n    x = 1\n\ndef g():\n    x = 2\n""#]]
        .assert_eq(&showing(&[3..4, 4..5]));
    expect![[r#"a.py: "def f():\n    x = 2\n\ndef g():\n    x = 1\n""#]]
        .assert_eq(&showing(&[2..4, 0..2]));
}

#[test]
fn text_outside_the_windows_is_not_found() {
    let block = edit_of("a.py", "def g():\n", "def h():\n");
    let windows = Some(lines_of_a(0..2));
    let scope = Scope { windows, preferred: BTreeMap::new() };
    expect![[r"
        `a.py` has no such lines where they were shown: `def g():`
        hint: they stand at line 4, which was not shown"]]
    .assert_eq(&outcome(files(TWICE), &block, &scope));
}

#[test]
fn a_file_that_was_not_shown_is_not_edited() {
    let scope = Scope { windows: Some(lines_of_a(0..2)), preferred: BTreeMap::new() };
    let base = files("//- /a.py\nx\n//- /b.py\ny\n");
    let block = edit_of("b.py", "y\n", "z\n");
    expect![[r"
        `b.py` has no such lines where they were shown: `y`
        hint: they stand at line 1, which was not shown"]]
    .assert_eq(&outcome(base, &block, &scope));
}

#[test]
fn files_of_any_language_are_edited() {
    let base = "//- /a.js\nlet x = {\n//- /Makefile\nall:\n\techo\n";
    let block = edit_of("a.js", "let x = {\n", "let x = {}\n")
        + &edit_of("Makefile", "all:\n", "none:\n")
        + &edit_of("new.css", "", "a { b: c }\n");
    check(
        base,
        &block,
        expect![[r#"
        Makefile: "none:\n\\techo\n"
        a.js: "let x = {}\n"
        new.css: "a { b: c }\n""#]],
    );
}

#[test]
fn an_empty_replace_deletes_the_lines() {
    check(
        TWICE,
        &edit_of("a.py", "\ndef g():\n    x = 1\n", ""),
        expect![[r#"a.py: "def f():\n    x = 1\n""#]],
    );
}

#[test]
fn an_edit_of_the_first_line_adds_nothing_above() {
    check(
        TWICE,
        &edit_of("a.py", "def f():\n", "def e():\n"),
        expect![[r#"a.py: "def e():\n    x = 1\n\ndef g():\n    x = 1\n""#]],
    );
    let failing = edit_of("a.py", "def f():\n", "def e():\n") + &edit_of("a.py", "no\n", "yes\n");
    check(TWICE, &failing, expect!["`a.py` has no such lines where they were shown: `no`"]);
}

#[test]
fn white_space_at_line_ends_is_forgiven() {
    check(
        "//- /a.py\nif x:  \n    a  \n    b\n",
        &edit_of("a.py", "if x:\n    a\n    b \n", "if x:\n    a\n    c\n"),
        expect![[r#"a.py: "if x:  \n    a  \n    c\n""#]],
    );
}

#[test]
fn a_uniform_indent_is_forgiven() {
    let base = "//- /a.py\nclass A:\n    def f(self):\n\n        return 1\n";
    check(
        base,
        &edit_of("a.py", "def f(self):\n\n    return 1\n", "def f(self):\n\n    return 2\n"),
        expect![[r#"a.py: "class A:\n    def f(self):\n\n        return 2\n""#]],
    );
    check(
        base,
        &edit_of(
            "a.py",
            "      class A:\n          def f(self):\n",
            "      class A:\n\n          def g(self):\n",
        ),
        expect![[r#"a.py: "class A:\n\n    def g(self):\n\n        return 1\n""#]],
    );
    check(
        base,
        &edit_of("a.py", "    class A:\n", "  class B:\n"),
        expect![[r"
            `a.py` has no such lines where they were shown: `class A:`
            hint: most like them, at line 1:
            class A:"]],
    );
    check(
        "//- /a.py\nif x:\n\ta\n",
        &edit_of("a.py", "a\n", "b\n"),
        expect![[r#"a.py: "if x:\n\\tb\n""#]],
    );
    check(
        "//- /a.py\nif x:\n\ta\n",
        &edit_of("a.py", "    a\n", "    b\n"),
        expect![[r"
        `a.py` has no such lines where they were shown: `a`
        hint: most like them, at line 2:
        	a"]],
    );
}

#[test]
fn search_texts_that_are_not_there_are_explained() {
    check(
        "//- /a.py\ndef f(x):\n\n    return x + 1\n\nprint(f(1))\n",
        &edit_of("a.py", "def f(x):\n    return x + 1\n", "def f(x):\n    return x\n"),
        expect![[r"
            `a.py` has no such lines where they were shown: `def f(x):`
            hint: most like them, at line 1:
            def f(x):
        "]],
    );
    check(
        TWICE,
        &edit_of("a.py", "x = 1\ndef\n", "y\n"),
        expect![[r"
        `a.py` has no such lines where they were shown: `x = 1`
        hint: most like them, at line 2:
            x = 1
    "]],
    );
    check(
        TWICE,
        &edit_of("a.py", "...\n", "y\n"),
        expect!["`a.py` has no such lines where they were shown: `...`"],
    );
    check(
        TWICE,
        &edit_of("a.py", "", "y\n"),
        expect!["`a.py`: an empty SEARCH creates a file, but this one exists and has lines"],
    );
}

#[test]
fn files_are_created_filled_deleted_renamed_and_made_executable() {
    let base = "//- /a.py\nx\n//- /b.py\ny\nz\n//- /empty.py\n//- /run.sh\n#!/bin/sh\n";
    let block = edit_of("new/pkg.py", "", "import os\n\nx\n")
        + &edit_of("new/__init__.py", "", "")
        + &edit_of("new/blank.py", "\n", "1\n\\ No newline at end of file\n")
        + &edit_of("empty.py", "", "full\n")
        + "### delete a.py\n### rename b.py -> c.py\n"
        + "<<<<<<< SEARCH\ny\n=======\nY\n>>>>>>> REPLACE\n"
        + &edit_of("c.py", "z\n", "Z\n")
        + "### mode 755 run.sh\n";
    check(
        base,
        &block,
        expect![[r##"
        a.py: deleted
        c.py from b.py: "Y\nZ\n"
        empty.py: "full\n"
        new/__init__.py: ""
        new/blank.py: "1"
        new/pkg.py: "import os\n\nx\n"
        run.sh executable: "#!/bin/sh\n""##]],
    );
}

#[test]
fn paths_that_do_not_fit_are_refused() {
    let base = "//- /a.py\nx\n//- /d/b.py\ny\n//- /d-2.py\n\n";
    check(base, &edit_of("z.py", "x\n", "y\n"), expect!["the base has no file `z.py`"]);
    check(base, "### delete z.py\n", expect!["the base has no file `z.py`"]);
    check(base, "### mode 755 z.py\n", expect!["the base has no file `z.py`"]);
    check(
        base,
        "### rename a.py -> d/b.py\n",
        expect!["`d/b.py`: a file or folder is already there"],
    );
    check(base, "### rename a.py -> d\n", expect!["`d`: a file or folder is already there"]);
    check(base, &edit_of("d", "", "y\n"), expect!["`d`: a file or folder is already there"]);
    check(
        base,
        &edit_of("a.py/b.py", "", "y\n"),
        expect!["`a.py/b.py`: a file stands where a folder is needed"],
    );
    check(
        base,
        "### delete a.py\n### rename a.py -> b.py\n",
        expect![
            "`a.py`: the file is deleted, renamed or created twice, or edited as well as deleted"
        ],
    );
    let twice = edit_of("n.py", "", "1\n") + &edit_of("n.py", "", "2\n");
    check(
        base,
        &twice,
        expect![
            "`n.py`: the file is deleted, renamed or created twice, or edited as well as deleted"
        ],
    );
    let below = edit_of("n", "", "1\n") + &edit_of("n/m", "", "2\n");
    check(base, &below, expect!["`n/m`: a file stands where a folder is needed"]);
    check_bytes(
        b"\0binary",
        &edit_of("a.py", "x\n", "y\n"),
        expect![
            "`a.py` cannot be edited as text: `a.py` is not a text: it is binary (a NUL byte at offset 0)"
        ],
    );
}

#[test]
fn overlapping_edits_and_no_change_are_refused() {
    let base = "//- /a.py\n1\n2\n3\n";
    let block = edit_of("a.py", "1\n2\n", "a\n") + &edit_of("a.py", "2\n3\n", "b\n");
    check(base, &block, expect!["two edits of `a.py` want to change line 2"]);
    let same = edit_of("a.py", "2\n", "b\n") + &edit_of("a.py", "2\n", "b\n");
    check(base, &same, expect!["two edits of `a.py` want to change line 2"]);
    let touching = edit_of("a.py", "1\n", "a\n") + &edit_of("a.py", "2\n", "b\n");
    check(base, &touching, expect![[r#"a.py: "a\nb\n3\n""#]]);
    check(base, &edit_of("a.py", "2\n", "2\n"), expect!["the edits leave every file as it is"]);
    check(base, "### mode 644 a.py\n", expect!["the edits leave every file as it is"]);
}

#[test]
fn line_ends_and_encodings_are_kept() {
    check_bytes(
        b"a\r\nb\r\nc\n",
        &edit_of("a.py", "b\n", "B\nX\n"),
        expect![[r#"a.py: "a\\r\nB\\r\nX\\r\nc\n""#]],
    );
    check_bytes(
        b"a\r\nb\r\n",
        &edit_of("a.py", "a\n", "0\na\n"),
        expect![[r#"a.py: "0\\r\na\\r\nb\\r\n""#]],
    );
    check_bytes(
        b"# caf\xe9\nx\n",
        &edit_of("a.py", "# caf\u{e9}\nx\n", "# caf\u{e9}\n\u{fc}\n"),
        expect![[r##"a.py: "# caf\\xe9\n\\xfc\n""##]],
    );
    check_bytes(
        b"# caf\xe9\nx\n",
        &edit_of("a.py", "x\n", "\u{4e2d}\n"),
        expect!["`a.py` is written in windows-1252, which has no `中`"],
    );
    check_bytes(
        b"\xef\xbb\xbfa\nb\n",
        &edit_of("a.py", "a\n", "c\n"),
        expect![[r#"a.py: "\\xef\\xbb\\xbfc\nb\n""#]],
    );
    check_bytes(
        b"\xff\xfea\0\r\0\n\0b\0",
        &edit_of("a.py", "a\n", "a\n\u{e9}\n"),
        expect![[r#"a.py: "\\xff\\xfea\\x00\\r\\x00\n\\x00\\xe9\\x00\\r\\x00\n\\x00b\\x00""#]],
    );
}

#[test]
fn the_last_newline_is_what_the_edit_says() {
    let mark = "\\ No newline at end of file\n";
    check_bytes(b"a\nb", &edit_of("a.py", "a\n", "A\n"), expect![[r#"a.py: "A\nb""#]]);
    check_bytes(b"a\nb", &edit_of("a.py", "b\n", "b\nc\n"), expect![[r#"a.py: "a\nb\nc\n""#]]);
    check_bytes(b"a\nb", &edit_of("a.py", "a\nb\n", "A\nb\n"), expect![[r#"a.py: "A\nb""#]]);
    check_bytes(
        b"a\nb\n",
        &edit_of("a.py", "b\n", &format!("b\n{mark}")),
        expect![[r#"a.py: "a\nb""#]],
    );
    check_bytes(
        b"a\nb",
        &edit_of("a.py", &format!("b\n{mark}"), "b\n"),
        expect![[r#"a.py: "a\nb\n""#]],
    );
    check_bytes(
        b"a\nb\n",
        &edit_of("a.py", "a\n", &format!("c\n{mark}")),
        expect![[r"`a.py`: `\ No newline at end of file` stands where the file does not end"]],
    );
}

#[test]
fn a_path_is_text_and_never_run() {
    let path = "a.py' if not __import__('os').system('touch x') else 'b";
    check(
        "//- /a.py\nx\n",
        &edit_of(path, "x\n", "y\n"),
        expect!["the base has no file `a.py' if not __import__('os').system('touch x') else 'b`"],
    );
}

fn any_text() -> impl Strategy<Value = String> {
    prop::collection::vec(
        prop_oneof!["[ab]{0,2}", Just("\t".to_owned()), Just("  a".to_owned())],
        0..8,
    )
    .prop_map(|lines| lines.join("\n"))
}

proptest! {
    #[test]
    fn accepted_edits_touch_the_named_files_alone_and_inside_the_windows(
        base in any_text(),
        parts in prop::collection::vec((0..3_usize, any_text(), any_text()), 1..4),
        window in (0..4_usize, 0..8_usize),
    ) {
        let names = ["a.py", "b.py", "new.py"];
        let side = |text: &str| Side {
            lines: text.split('\n').map(str::to_owned).collect(),
            no_newline: false,
        };
        let edits: Vec<Edit> = parts
            .iter()
            .map(|(name, search, replace)| Edit::Replace {
                path: repo_path(names[*name]),
                search: side(search),
                replace: side(replace),
            })
            .collect();
        let bytes = base.as_bytes().to_vec();
        let snapshot = Snapshot::from_files(
            names[..2].iter().map(|name| (repo_path(name), bytes.clone())).collect(),
        );
        let range = window.0..window.0 + window.1;
        let scope = Scope { windows: Some(lines_of_a(range.clone())), preferred: BTreeMap::new() };
        let Ok(changes) = apply_edits(&edits, &snapshot, &scope) else { return Ok(()) };
        for change in changes {
            prop_assert!(parts.iter().any(|(name, ..)| names[*name] == change.path().as_str()));
            let FileChange::Changed { before, after } = change else { continue };
            if before.bytes.is_empty() {
                continue;
            }
            prop_assert_eq!(before.path.as_str(), "a.py");
            let text = Text::decode(&before.bytes).unwrap();
            let n_behind = text.n_lines().saturating_sub(range.end);
            let kept_behind: Vec<&str> = text.lines().skip(range.end).collect();
            let new = Text::decode(&after.bytes).unwrap();
            let new_lines: Vec<&str> = new.lines().collect();
            prop_assert!(new_lines.ends_with(&kept_behind[..n_behind]));
            let above: Vec<&str> = text.lines().take(range.start).collect();
            prop_assert!(new_lines.starts_with(&above));
        }
    }
}
