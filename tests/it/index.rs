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
    check(
        &home,
        &[],
        0,
        expect![[r#"
        commit         none
        files          5 (5 are texts)
        tests          1
        source files   4 (13 lines)
        symbols        1 classes, 3 functions, 0 variables
        languages      other 1, python 2, typescript 1
        syntax errors  in 0 files
        from cache     0 of 5 outlines
    "#]],
    );
    check(
        &home,
        &[],
        0,
        expect![[r#"
        commit         none
        files          5 (5 are texts)
        tests          1
        source files   4 (13 lines)
        symbols        1 classes, 3 functions, 0 variables
        languages      other 1, python 2, typescript 1
        syntax errors  in 0 files
        from cache     5 of 5 outlines
    "#]],
    );
    check(
        &home,
        &["--tree"],
        0,
        expect![[r#"
        notes.md
        shop/
          cart.py
          money.py
        web/
          cart.ts
    "#]],
    );
    check(
        &home,
        &["--symbols"],
        0,
        expect![[r#"
        shop/cart.py
          class: Cart  5-7
          function: Cart.total  6-7
        shop/money.py
          function: round_cents  1-2
        web/cart.ts
          function: render  1-3
    "#]],
    );
    check(
        &home,
        &["--skeleton", "shop/cart.py"],
        0,
        expect![[r#"
        """Carts."""

        from shop.money import round_cents

        class Cart:
            def total(self):
    "#]],
    );
    check(
        &home,
        &["--tests"],
        0,
        expect![[r#"
        tests/test_cart.py
    "#]],
    );
}

#[test]
fn a_search_shows_files_and_symbols_and_why() {
    let home = folder();
    check(
        &home,
        &["--search", "`round_cents` is off"],
        0,
        expect![[r#"
        files
          1   1.79  shop/money.py
          2   0.85  shop/cart.py
        symbols
          1   2.55  shop/money.py  function: round_cents
          2   1.04  shop/cart.py  function: Cart.total
          3   0.17  shop/cart.py  class: Cart
    "#]],
    );
    let issue = "total is wrong\n  File \"/srv/shop/cart.py\", line 7, in total\nsee shop.money";
    check(
        &home,
        &["--search", issue, "--why", "--top", "2"],
        0,
        expect![[r#"
        files
          1   2.67  shop/cart.py
             +1.00    traceback: line 7 in total
             +1.00    words: total shop money
             +0.40    best symbol: Cart.total
             +0.21    defines: total
             +0.07    imports: shop/money.py
          2   1.28  shop/money.py
             +0.53    words: money shop
             +0.30    dotted name: shop.money
             +0.30    file name: money
             +0.15    imports: shop/cart.py
        symbols
          1   3.35  shop/cart.py  function: Cart.total
             +1.00    traceback: line 7
             +1.00    words: total
             +1.00    file: shop/cart.py
             +0.35    defines: total
          2   0.85  web/cart.ts  function: render
             +0.61    words: total
             +0.24    file: web/cart.ts
    "#]],
    );
    let piped = index(&home, &["--search", "-", "--top", "1"], "`round_cents` is off\n");
    let first = String::from_utf8(piped.stdout).unwrap();
    assert!(
        first.starts_with("files\n  1 ") && first.contains("  shop/money.py\nsymbols\n"),
        "{first}"
    );
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
    check(
        &home,
        &["--search", "zebra"],
        1,
        expect![[r#"
        note: no source file holds a word of the text, and it names no path or symbol of them
    "#]],
    );
    check(
        &home,
        &["--why"],
        2,
        expect![[r#"
        error: the following required arguments were not provided:
          --search <TEXT>

        Usage: sorft index --search <TEXT> --why <REPO>

        For more information, try '--help'.
    "#]],
    );
}
