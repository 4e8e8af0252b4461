//! Blocks as models write them, and every edit written and read again.

use expect_test::{Expect, expect};
use proptest::prelude::*;

use crate::repo::path::RepoPath;
use crate::search_replace::block::{Edit, ParseEditsError, Side, parse_completion, render_answer};
use crate::search_replace::fence::Ended;

#[track_caller]
fn check(completion: &str, expect: Expect) {
    let text = match parse_completion(completion, Ended::ByItself) {
        Err(why) => format!("{why}"),
        Ok(edits) => edits.iter().map(describe).collect::<Vec<_>>().join("\n"),
    };
    expect.assert_eq(&text);
}

fn describe(edit: &Edit) -> String {
    let side = |side: &Side| {
        let mark = if side.no_newline { " without newline" } else { "" };
        format!("{:?}{mark}", side.lines)
    };
    match edit {
        Edit::Replace { path, search, replace } => {
            format!("{path}: {} -> {}", side(search), side(replace))
        }
        other => format!("{other:?}"),
    }
}

#[test]
fn edits_of_several_files() {
    check(
        "The sum is off.\n```python\n### a.py\n<<<<<<< SEARCH\nx = 1\n=======\nx = 2\n>>>>>>> REPLACE\n\n<<<<<<< SEARCH\ny\n=======\n>>>>>>> REPLACE\n### b/new.py\n<<<<<<< SEARCH\n=======\nz\n\\ No newline at end of file\n>>>>>>> REPLACE\n```\n",
        expect![[r#"
            a.py: ["x = 1"] -> ["x = 2"]
            a.py: ["y"] -> []
            b/new.py: [] -> ["z"] without newline"#]],
    );
    check(
        "```\n### delete a.py\n### rename b.py -> c d.py\n<<<<<<< SEARCH\nx\n=======\ny\n>>>>>>> REPLACE\n### mode 755 run.sh\n```",
        expect![[r#"
            Delete { path: "a.py" }
            Rename { from: "b.py", to: "c d.py" }
            b.py: ["x"] -> ["y"]
            SetMode { path: "run.sh", is_executable: true }"#]],
    );
}

#[test]
fn forms_of_headers_and_fences() {
    for (fence, header) in [
        ("```", "### a/b.py"),
        ("```py", "### `a/b.py`"),
        ("````diff", "## a/b.py:"),
        ("```text", "### ./a/b.py"),
        ("```", "#### **a/b.py**"),
        ("```", "### \"a/b.py\""),
        ("```", "a/b.py"),
        ("```", "`a/b.py`:\n"),
    ] {
        for end in ["\n", "\r\n"] {
            let close = &fence[..=fence.rfind('`').unwrap()];
            let completion = format!(
                "{fence}\n{header}\n<<<<<<< SEARCH  \n\tx\n=======\n>>>>>>> REPLACE\n{close}"
            );
            let edits = parse_completion(&completion.replace('\n', end), Ended::ByItself);
            let texts: Vec<String> = edits.unwrap().iter().map(describe).collect();
            assert_eq!(texts, [r#"a/b.py: ["\tx"] -> []"#], "{completion}");
        }
    }
}

#[test]
fn longer_markers_hold_shorter_ones() {
    check(
        "```\n### a.rst\n<<<<<<<<< SEARCH\nTitles\n=======\n=========\nTitle\n=======\n>>>>>>> REPLACE\n>>>>>>>>> REPLACE\n```",
        expect![[r#"a.rst: ["Titles", "======="] -> ["Title", "=======", ">>>>>>> REPLACE"]"#]],
    );
}

#[test]
fn malformed_edits_are_named() {
    check("no fence", expect!["a fenced block was wanted, and none was found"]);
    check("```\n\n```", expect!["the block holds no edit"]);
    check("```\n### a.py\n```", expect!["the block holds no edit"]);
    check(
        "```\n<<<<<<< SEARCH\nx\n=======\ny\n>>>>>>> REPLACE\n```",
        expect![
            "line 2: a `### path` header before the first edit was wanted, and `<<<<<<< SEARCH` was found"
        ],
    );
    check(
        "```\n### a.py\nx = 2\n```",
        expect![
            "line 3: a `### path` header or `<<<<<<< SEARCH` was wanted, and `x = 2` was found"
        ],
    );
    check(
        "```\n### a.py\n<<<<<<< SEARCH\nx\n>>>>>>> REPLACE\n```",
        expect!["line 5: the divider `=======` was wanted, and `>>>>>>> REPLACE` was found"],
    );
    check(
        "```\n### a.py\n<<<<<<< SEARCH\nx\n=======\ny\n```",
        expect![
            "line 7: the closing `>>>>>>> REPLACE` was wanted, and `the end of the block` was found"
        ],
    );
    check(
        "```\n### a.py\n<<<<<<< SEARCH\nx\n=======\ny\n=======\nz\n>>>>>>> REPLACE\n```",
        expect![
            "line 7: one divider only (longer markers where the code holds such a line) was wanted, and `=======` was found"
        ],
    );
    check(
        "```\n### mode 777 a.py\n```",
        expect![
            "line 2: `### mode 755 PATH` or `### mode 644 PATH` was wanted, and `### mode 777 a.py` was found"
        ],
    );
    check(
        "```\n### rename a.py b.py\n```",
        expect!["line 2: `### rename OLD -> NEW` was wanted, and `### rename a.py b.py` was found"],
    );
    check("```\n### ``\n```", expect!["the block holds no edit"]);
    check(
        "```\n### delete a.py\n<<<<<<< SEARCH\nx\n=======\ny\n>>>>>>> REPLACE\n```",
        expect!["line 3: nothing under a deleted file was wanted, and `<<<<<<< SEARCH` was found"],
    );
}

#[test]
fn unsafe_paths_are_refused() {
    for path in [
        "../a.py",
        "/etc/passwd",
        ".git/hooks/x",
        "a\\b.py",
        "C:/a.py",
        "a.py' if not __import__('os').system('id')/../ else 'b",
    ] {
        for header in ["### PATH", "### delete PATH", "### rename PATH -> b", "### mode 755 PATH"] {
            let completion = format!(
                "```\n{}\n<<<<<<< SEARCH\n=======\nx\n>>>>>>> REPLACE\n```",
                header.replace("PATH", path)
            );
            let outcome = parse_completion(&completion, Ended::ByItself);
            assert!(
                matches!(outcome, Err(ParseEditsError::UnsafePath { line: 2, .. })),
                "{completion}: {outcome:?}"
            );
        }
    }
}

#[test]
fn cut_answers_are_refused() {
    let cut = "```\n### a.py\n<<<<<<< SEARCH\nx\n=======\ny\n>>>>>>> REPLACE\n### b.py\n<<<<";
    assert_eq!(parse_completion(cut, Ended::CutOff), Err(ParseEditsError::CutOff));
    let whole = "```\n### delete a.py\n```";
    assert!(parse_completion(whole, Ended::CutOff).is_ok());
    let unclosed = "```\n### delete a.py";
    assert!(parse_completion(unclosed, Ended::ByItself).is_ok());
}

fn any_path() -> impl Strategy<Value = RepoPath> {
    let name = prop_oneof![
        "[a-z`'\"*:# é>-]{1,8}",
        Just("delete x".to_owned()),
        Just("a -> b".to_owned()),
    ];
    prop::collection::vec(name, 1..3)
        .prop_filter_map("a path", |parts| RepoPath::parse(&parts.join("/")).ok())
}

fn any_side() -> impl Strategy<Value = Side> {
    let line = prop_oneof![
        "[ -~é]{0,12}",
        Just("=======".to_owned()),
        Just("<<<<<<< SEARCH".to_owned()),
        Just(">>>>>>>>> REPLACE".to_owned()),
        Just("```".to_owned()),
    ];
    (prop::collection::vec(line, 0..4), any::<bool>())
        .prop_map(|(lines, no_newline)| Side { lines, no_newline })
}

fn any_edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        6 => (any_path(), any_side(), any_side())
            .prop_map(|(path, search, replace)| Edit::Replace { path, search, replace }),
        1 => any_path().prop_map(|path| Edit::Delete { path }),
        1 => (any_path(), any_path()).prop_map(|(from, to)| Edit::Rename { from, to }),
        1 => (any_path(), any::<bool>())
            .prop_map(|(path, is_executable)| Edit::SetMode { path, is_executable }),
    ]
}

#[test]
fn arrows_in_paths_are_none_of_a_renaming() {
    for (from, to) in [("a ->", "a"), ("a", "-> a"), ("->", "b"), ("a -> b", "->")] {
        let path = |path: &str| RepoPath::parse(path).unwrap();
        let edits = vec![Edit::Rename { from: path(from), to: path(to) }];
        let answer = render_answer(&edits);
        assert_eq!(parse_completion(&answer, Ended::ByItself), Ok(edits), "{answer}");
    }
}

proptest! {
    #[test]
    fn written_edits_read_back(edits in prop::collection::vec(any_edit(), 1..5)) {
        let answer = render_answer(&edits);
        for text in [answer.clone(), answer.replace('\n', "\r\n"), format!("So:\n{answer}Done.")] {
            prop_assert_eq!(parse_completion(&text, Ended::ByItself), Ok(edits.clone()), "{}", text);
        }
    }

    #[test]
    fn any_text_is_read_without_panic(
        text in "(```\n)?((### |<<<<<<< SEARCH|=======|>>>>>>> REPLACE|delete |rename | -> |`|a\\.py|.|\n){0,30})"
    ) {
        for ended in [Ended::ByItself, Ended::CutOff] {
            drop(parse_completion(&text, ended));
        }
    }
}
