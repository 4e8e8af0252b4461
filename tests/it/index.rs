//! `sorft index`: what it shows of a small repository.

use std::fs;
use std::process::Output;

use assert_cmd::Command;
use expect_test::{Expect, expect};
use tempfile::TempDir;

const FILES: &[(&str, &str)] = &[
    (
        "shop/cart.py",
        "\"\"\"Carts.\"\"\"\nfrom shop.money import round_cents\n\n\nclass Cart:\n    def total(self):\n        return round_cents(sum(self.items))\n",
    ),
    ("shop/money.py", "def round_cents(amount):\n    return round(amount, 2)\n"),
    ("web/cart.ts", "export const render = (cart: Cart) => {\n  return cart.total;\n};\n"),
    ("tests/test_cart.py", "def test_total():\n    pass\n"),
    ("notes.md", "# Notes\n"),
];

/// A folder that is no git repository, and a home that holds nothing.
fn folder() -> TempDir {
    let home = tempfile::tempdir().unwrap();
    for (path, text) in FILES {
        let path = home.path().join("repo").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    home
}

fn index(home: &TempDir, arguments: &[&str], stdin: &str) -> Output {
    let mut command = Command::cargo_bin("sorft").unwrap();
    for name in ["HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME"] {
        command.env(name, home.path().join("home"));
    }
    command.current_dir(home.path()).args(["index", "repo"]).args(arguments);
    command.write_stdin(stdin).output().unwrap()
}

#[track_caller]
fn check(home: &TempDir, arguments: &[&str], code: i32, expect: Expect) {
    let output = index(home, arguments, "");
    let (stdout, stderr) = (output.stdout, output.stderr);
    assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&stderr));
    let texts = [stdout, stderr].map(|text| String::from_utf8(text).unwrap());
    expect.assert_eq(&texts.concat());
}

#[test]
fn any_folder_is_a_repository() {
    let home = folder();
    check(&home, &[], 0, expect![]);
    check(&home, &[], 0, expect![]);
    check(&home, &["--tree"], 0, expect![]);
    check(&home, &["--symbols"], 0, expect![]);
    check(&home, &["--skeleton", "shop/cart.py"], 0, expect![]);
    check(&home, &["--tests"], 0, expect![]);
}

#[test]
fn a_search_shows_files_and_symbols_and_why() {
    let home = folder();
    check(&home, &["--search", "`round_cents` is off"], 0, expect![]);
    let issue = "total is wrong\n  File \"/srv/shop/cart.py\", line 7, in total\nsee shop.money";
    check(&home, &["--search", issue, "--why", "--top", "2"], 0, expect![]);
    let piped = index(&home, &["--search", "-", "--top", "1"], "`round_cents` is off\n");
    let first = String::from_utf8(piped.stdout).unwrap();
    assert!(first.starts_with("  1 ") && first.contains("  shop/money.py\n"), "{first}");
}

#[test]
fn a_search_in_json_carries_its_reasons() {
    let home = folder();
    let output = index(&home, &["--search", "round_cents", "--format", "json"], "");
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["files"][0]["path"], "shop/money.py");
    assert_eq!(found["symbols"][0]["name"], "round_cents");
    let reasons = found["symbols"][0]["reasons"].as_array().unwrap();
    assert!(reasons.iter().any(|reason| reason["signal"] == "definition"), "{reasons:?}");
}

#[test]
fn a_search_that_finds_nothing_says_so() {
    let home = folder();
    check(&home, &["--search", "zebra"], 1, expect![]);
    check(&home, &["--why"], 2, expect![]);
}
