//! Candidates that change the judge, and those that do not.

use expect_test::{Expect, expect};

use crate::repo::change::{FileContent, PathChange, PathChanges};
use crate::repo::path::RepoPath;
use crate::sandbox::guard::check_candidate;
use crate::sandbox::guard::modules::STANDARD_MODULES;

#[track_caller]
fn check(path: &str, before: Option<&str>, after: Option<&str>, expect: Expect) {
    let content =
        |text: Option<&str>| text.map(|text| FileContent { bytes: text.into(), executable: false });
    let change = PathChange { before: content(before), after: content(after) };
    let changes = PathChanges::from([(RepoPath::parse(path).unwrap(), change)]);
    let is_test = |path: &RepoPath| path.as_str().starts_with("tests/");
    let has_file = |path: &str| path == "pkg/__init__.py";
    let outcome = check_candidate(&changes, "make check && ./run_tests.sh -q", &is_test, &has_file);
    expect.assert_eq(&outcome.map_or_else(|refusal| refusal.to_string(), |()| "fine".to_owned()));
}

#[test]
fn modules_are_in_order() {
    assert!(STANDARD_MODULES.is_sorted());
}

#[test]
fn product_code_may_change() {
    check("pkg/io.py", None, Some("x"), expect!["fine"]);
    check("pkg/core.py", Some("a"), Some("b"), expect!["fine"]);
    check("json.py", Some("a"), Some("b"), expect!["fine"]);
    check(
        "setup.cfg",
        Some("[metadata]\nname = a\n[tool:pytest]\nx = 1\n"),
        Some("[metadata]\nname = b\n[tool:pytest]\nx = 1\n"),
        expect!["fine"],
    );
    check(
        "package.json",
        Some(r#"{"scripts":{"test":"jest"},"version":"1"}"#),
        Some(r#"{"scripts":{"test":"jest"},"version":"2"}"#),
        expect!["fine"],
    );
}

#[test]
fn tests_and_the_runners_settings_may_not() {
    check(
        "tests/test_a.py",
        Some("a"),
        None,
        expect!["the candidate changes the test file `tests/test_a.py`"],
    );
    check(
        "pkg/conftest.py",
        None,
        Some("x"),
        expect!["the candidate changes `pkg/conftest.py`, which configures the test runner"],
    );
    check(
        "Makefile",
        Some("a"),
        Some("b"),
        expect!["the candidate changes `Makefile`, which configures the test runner"],
    );
    check(
        "run_tests.sh",
        Some("a"),
        Some("b"),
        expect!["the candidate changes `run_tests.sh`, which configures the test runner"],
    );
    check(
        "setup.cfg",
        Some("[metadata]\nname = a\n"),
        Some("[metadata]\nname = a\n[tool:pytest]\naddopts = -k nothing\n"),
        expect![
            "the candidate changes the section `[tool:pytest]` of `setup.cfg`, which configures the test runner"
        ],
    );
    check(
        "pyproject.toml",
        Some("[tool.pytest.ini_options]\naddopts = '-q'\n"),
        Some("[tool.pytest.ini_options]\naddopts = '-q --co'\n"),
        expect![
            "the candidate changes the section `[tool.pytest.ini_options]` of `pyproject.toml`, which configures the test runner"
        ],
    );
    check(
        "package.json",
        Some(r#"{"scripts":{"test":"jest"}}"#),
        Some(r#"{"scripts":{"test":"true"}}"#),
        expect![
            "the candidate changes `scripts` of `package.json`, which configures the test runner"
        ],
    );
}

#[test]
fn a_new_file_may_not_take_the_place_of_a_module() {
    check(
        "sitecustomize.py",
        None,
        Some("x"),
        expect![
            "the candidate creates `sitecustomize.py`, which takes the place of the module `sitecustomize`"
        ],
    );
    check(
        "pkg/sitecustomize.py",
        None,
        Some("x"),
        expect![
            "the candidate creates `pkg/sitecustomize.py`, which takes the place of the module `sitecustomize`"
        ],
    );
    check(
        "unittest/__init__.py",
        None,
        Some("x"),
        expect![
            "the candidate creates `unittest/__init__.py`, which takes the place of the module `unittest`"
        ],
    );
    check(
        "src/json.py",
        None,
        Some("x"),
        expect!["the candidate creates `src/json.py`, which takes the place of the module `json`"],
    );
    check(
        "pytest.py",
        None,
        Some("x"),
        expect!["the candidate creates `pytest.py`, which takes the place of the module `pytest`"],
    );
    check(
        "a.pth",
        None,
        Some("import os"),
        expect!["the candidate creates `a.pth`, which takes the place of the module `site`"],
    );
}
