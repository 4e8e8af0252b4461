//! Small repositories and issues in, rankings with their reasons out.

use std::sync::Arc;

use expect_test::{Expect, expect};

use crate::index::retrieval::{RankOptions, Reason, rank};
use crate::index::{Index, IndexOptions};
use crate::repo::fixture;

#[track_caller]
fn check(files: &str, issue: &str, expect: Expect) {
    let index = Index::build(Arc::new(fixture::snapshot(files)), &IndexOptions::default()).unwrap();
    let options = RankOptions { max_files: 3, max_symbols: 3, max_symbols_per_file: 1 };
    let ranking = rank(&index, issue, &options);
    let mut text = String::new();
    let render = |reasons: &[Reason]| {
        let render = |r: &Reason| format!("{:?} {:+.2} {}", r.signal, r.weight, r.evidence);
        reasons.iter().map(render).collect::<Vec<_>>().join(" | ")
    };
    for file in &ranking.files {
        text += &format!("{} {:.2}: {}\n", file.path, file.score, render(&file.reasons));
    }
    for symbol in &ranking.symbols {
        let kind = symbol.kind.word();
        text += &format!("{kind}: {}::{} {:.2}\n", symbol.path, symbol.name, symbol.score);
    }
    expect.assert_eq(&text);
}

const SHOP: &str = r#"
//- /README.md
The shop counts cart items.
//- /shop/__init__.py
from shop.cart import Cart
//- /shop/cart.py
"""Carts."""
from shop.money import round_cents


class Cart:
    def total(self):
        return round_cents(sum(item.price for item in self.items))

    def add_item(self, item):
        if item.price < 0:
            raise ValueError(f"the price of {item} is below zero cents")
        self.items.append(item)
//- /shop/money.py
def round_cents(amount):
    """Rounds half to even."""
    return round(amount, 2)
//- /shop/report.py
from shop.cart import Cart


def print_report(cart):
    print("total", cart.total())
//- /tests/test_cart.py
from shop.cart import Cart


def test_round_cents():
    pass
"#;

#[test]
fn a_name_that_one_file_defines_leads_to_it() {
    check(
        SHOP,
        "Rounding is off\n`round_cents(0.125)` gives 0.12",
        expect![[r#"
            shop/money.py 1.66: Words +1.00 Rounding round_cents | BestSymbol +0.40 round_cents | Definition +0.21 round_cents | Imports +0.06 shop/cart.py
            shop/cart.py 0.75: Words +0.38 Rounding round_cents | BestSymbol +0.22 Cart.total | Imports +0.15 shop/__init__.py, shop/money.py, shop/report.py
            shop/__init__.py 0.06: Imports +0.06 shop/cart.py
            function: shop/money.py::round_cents 2.35
            function: shop/cart.py::Cart.total 1.00
            function: shop/cart.py::Cart.add_item 0.52
        "#]],
    );
}

#[test]
fn a_traceback_leads_to_its_last_frame() {
    let issue = "Crash\n\
        Traceback (most recent call last):\n  \
        File \"/home/me/venv/lib/site-packages/shop/report.py\", line 5, in print_report\n    \
        print(\"total\", cart.total())\n  \
        File \"/home/me/venv/lib/site-packages/shop/cart.py\", line 7, in total\n";
    check(
        SHOP,
        issue,
        expect![[r#"
        shop/cart.py 2.45: Traceback +1.00 line 7 in total | Words +0.50 total cart | FileName +0.30 cart | Definition +0.28 total | BestSymbol +0.22 Cart.total | Imports +0.15 shop/__init__.py, shop/money.py, shop/report.py
        shop/report.py 2.40: Words +1.00 print total cart | Traceback +0.65 line 5 in print_report | BestSymbol +0.40 print_report | Definition +0.21 print_report | Imports +0.15 shop/cart.py
        shop/__init__.py 0.24: Imports +0.15 shop/cart.py | Words +0.10 cart
        function: shop/cart.py::Cart.total 3.01
        function: shop/report.py::print_report 2.98
        function: shop/cart.py::Cart.add_item 1.00
    "#]],
    );
}

#[test]
fn a_quoted_message_leads_to_where_it_is_raised() {
    check(
        SHOP,
        "Error\nValueError: the price of Apple is below zero cents",
        expect![[r#"
            shop/cart.py 1.85: Words +1.00 Error price cents ValueError zero below | Message +0.42 "below zero cents", "is below zero", "the price of" | BestSymbol +0.40 Cart.add_item | Imports +0.03 shop/__init__.py, shop/money.py, shop/report.py
            shop/money.py 0.51: Words +0.30 cents | Imports +0.15 shop/cart.py | BestSymbol +0.06 round_cents
            shop/__init__.py 0.15: Imports +0.15 shop/cart.py
            function: shop/cart.py::Cart.add_item 2.69
            function: shop/cart.py::Cart.total 1.22
            class: shop/cart.py::Cart 0.70
        "#]],
    );
}

#[test]
fn a_path_and_a_dotted_name_lead_to_the_file() {
    check(
        SHOP,
        "Look at shop/money.py:2",
        expect![[r#"
        shop/money.py 2.82: Path +1.50 shop/money.py:2 | Words +1.00 money shop | FileName +0.30 money | Imports +0.02 shop/cart.py
        shop/cart.py 0.48: Words +0.33 money shop | Imports +0.15 shop/__init__.py, shop/money.py, shop/report.py
        shop/__init__.py 0.12: Words +0.10 shop | Imports +0.02 shop/cart.py
        function: shop/money.py::round_cents 2.00
        function: shop/cart.py::Cart.add_item 0.17
        function: shop/cart.py::Cart.total 0.17
    "#]],
    );
    check(
        SHOP,
        "Wrong\nshop.cart.Cart.total is slow",
        expect![[r#"
            shop/cart.py 2.39: Words +1.00 total cart shop | BestSymbol +0.34 Cart.total | Definition +0.33 Cart, total | DottedName +0.30 shop.cart.Cart.total | FileName +0.30 cart | Imports +0.12 shop/__init__.py, shop/money.py, shop/report.py
            shop/report.py 1.48: Words +0.93 total cart shop | BestSymbol +0.40 print_report | Imports +0.15 shop/cart.py
            shop/__init__.py 0.59: Words +0.44 cart shop | Imports +0.15 shop/cart.py
            function: shop/cart.py::Cart.total 2.70
            function: shop/report.py::print_report 1.62
            class: shop/cart.py::Cart 1.51
        "#]],
    );
}

#[test]
fn an_issue_that_says_nothing_ranks_by_path() {
    check(
        SHOP,
        "",
        expect![[r#"
            shop/__init__.py 0.00: 
            shop/cart.py 0.00: 
            shop/money.py 0.00: 
            function: shop/cart.py::Cart.add_item 0.00
            function: shop/cart.py::Cart.total 0.00
            function: shop/money.py::round_cents 0.00
        "#]],
    );
    check("", "anything", expect![]);
}

#[test]
fn a_long_log_is_read_at_both_ends() {
    let log = "2024-01-01 12:00:00 DEBUG nothing of note happened 0x7f3a\n".repeat(20_000);
    let issue = format!("Wrong total\n{log}\nFile \"shop/money.py\", line 3, in round_cents\n");
    check(
        SHOP,
        &issue,
        expect![[r#"
        shop/cart.py 1.55: Words +1.00 total | BestSymbol +0.40 Cart.total | Imports +0.15 shop/__init__.py, shop/money.py, shop/report.py
        shop/report.py 1.30: Words +0.92 total | BestSymbol +0.30 print_report | Imports +0.09 shop/cart.py
        shop/money.py 1.29: Traceback +1.00 line 3 in round_cents | Definition +0.21 round_cents | Imports +0.09 shop/cart.py
        function: shop/money.py::round_cents 2.18
        function: shop/cart.py::Cart.total 2.00
        function: shop/report.py::print_report 1.59
    "#]],
    );
}
