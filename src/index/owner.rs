//! Which symbol owns a line, or would own an inserted one.
//!
//! `None` always means the symbol `module:`, which owns whatever no listed symbol does.

use crate::index::outline::{LineSpan, Outline, Place, Symbol};
use crate::repo::text::Text;

/// The innermost symbol whose span holds a line (from 1).
pub fn owner_of_line(outline: &Outline, line: u32) -> Option<&Symbol> {
    places_around(outline, line).first().map(|(symbol, _)| *symbol)
}

/// The symbol that owns lines inserted behind base line `after` (0: at the very top), by the rule
/// for pure insertions: the symbol that holds both neighbours; at the end of a body the body if
/// the first inserted line is indented deeper than its header, else its container, and so on
/// outward. Blank lines are looked through. Decorators put before a symbol are its own.
pub fn owner_of_insertion<'a>(
    outline: &'a Outline,
    base: &Text,
    after: u32,
    inserted: &[&str],
) -> Option<&'a Symbol> {
    let is_blank = |line: &u32| base.line(*line as usize - 1).trim().is_empty();
    let above = (1..=after).rev().find(|line| !is_blank(line));
    let below = (after + 1..=base.n_lines() as u32).find(|line| !is_blank(line));
    if let Some(below) = below
        && are_attributes(inserted)
    {
        let mut decorated: Vec<(&Symbol, &Place)> = all_places(outline)
            .filter(|(_, place)| place.span.first <= below && below <= place.header.first)
            .collect();
        decorated.sort_by_key(|(_, place)| place.span.n_lines());
        if let Some((symbol, _)) = decorated.last() {
            return Some(symbol);
        }
    }
    let depth = inserted.iter().find(|line| !line.trim().is_empty()).map(|line| indentation(line));
    for (symbol, place) in places_around(outline, above?) {
        if below.is_some_and(|below| place.span.contains(below)) {
            return Some(symbol);
        }
        let header = base.line(place.header.first as usize - 1);
        if depth.is_some_and(|depth| indentation(header) < depth) {
            return Some(symbol);
        }
    }
    None
}

/// The symbols around a symbol's places, innermost first, as indices into `outline.symbols`.
pub fn containers_of(outline: &Outline, symbol_idx: usize) -> Vec<usize> {
    let inner: Vec<LineSpan> =
        outline.symbols[symbol_idx].places.iter().map(|place| place.span).collect();
    let mut around: Vec<(u32, usize)> = Vec::new();
    for (idx, symbol) in outline.symbols.iter().enumerate() {
        let holds = symbol
            .places
            .iter()
            .filter(|place| inner.iter().any(|&span| place.span != span && place.span.covers(span)))
            .map(|place| place.span.n_lines())
            .min();
        if idx != symbol_idx
            && let Some(n_lines) = holds
        {
            around.push((n_lines, idx));
        }
    }
    around.sort_unstable();
    around.into_iter().map(|(_, idx)| idx).collect()
}

fn all_places(outline: &Outline) -> impl Iterator<Item = (&Symbol, &Place)> {
    outline.symbols.iter().flat_map(|symbol| symbol.places.iter().map(move |place| (symbol, place)))
}

/// The places that hold a line, innermost first.
fn places_around(outline: &Outline, line: u32) -> Vec<(&Symbol, &Place)> {
    let mut around: Vec<_> =
        all_places(outline).filter(|(_, place)| place.span.contains(line)).collect();
    around.sort_by_key(|(_, place)| place.span.n_lines());
    around
}

/// The width of the white space that a line starts with; a tab reaches to the next multiple of 8.
fn indentation(line: &str) -> usize {
    line.chars().take_while(|c| c.is_whitespace()).fold(0, |width, c| match c {
        '\t' => (width / 8 + 1) * 8,
        _ => width + 1,
    })
}

/// Whether lines hold decorators or attributes and nothing else.
fn are_attributes(lines: &[&str]) -> bool {
    let mut n_open = 0_i64;
    let mut n_attributes = 0;
    for line in lines.iter().map(|line| line.trim()).filter(|line| !line.is_empty()) {
        let is_start = (line.starts_with('@') && !line.starts_with("@interface"))
            || line.starts_with("#[")
            || (line.starts_with("[[") && line.ends_with("]]"));
        if n_open <= 0 && !is_start {
            return false;
        }
        n_attributes += 1;
        for c in line.chars() {
            match c {
                '(' | '[' | '{' => n_open += 1,
                ')' | ']' | '}' => n_open -= 1,
                _ => {}
            }
        }
    }
    0 < n_attributes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::outline_of;
    use crate::repo::path::RepoPath;

    const SOURCE: &str = "\
import os

@cache
def first():
    a = 1

    return a


class Outer:
    x = 1

    class Inner:
        def deep(self):
            pass

    def second(self):
        pass


def third():
    pass

LIMITS = [
    1,
]
print(LIMITS)
";

    fn name_of(owner: Option<&Symbol>) -> String {
        owner.map_or("module:".to_owned(), |symbol| {
            format!("{}: {}", symbol.kind.word(), symbol.name)
        })
    }

    fn parsed(path: &str, source: &str) -> (Outline, Text) {
        let text = Text::decode(source.as_bytes()).unwrap();
        (outline_of(&RepoPath::parse(path).unwrap(), &text), text)
    }

    #[test]
    fn a_line_belongs_to_the_innermost_symbol_around_it() {
        let (outline, text) = parsed("a.py", SOURCE);
        let owners: Vec<String> = (1..=text.n_lines() as u32)
            .map(|line| format!("{line} {}\n", name_of(owner_of_line(&outline, line))))
            .collect();
        expect_test::expect![[r#"
            1 module:
            2 module:
            3 function: first
            4 function: first
            5 function: first
            6 function: first
            7 function: first
            8 module:
            9 module:
            10 class: Outer
            11 class: Outer
            12 class: Outer
            13 class: Outer.Inner
            14 function: Outer.Inner.deep
            15 function: Outer.Inner.deep
            16 class: Outer
            17 function: Outer.second
            18 function: Outer.second
            19 module:
            20 module:
            21 function: third
            22 function: third
            23 module:
            24 variable: LIMITS
            25 variable: LIMITS
            26 variable: LIMITS
            27 module:
        "#]]
        .assert_eq(&owners.concat());
    }

    #[track_caller]
    fn check_insertion(after: u32, inserted: &[&str], owner: &str) {
        let (outline, text) = parsed("a.py", SOURCE);
        assert_eq!(name_of(owner_of_insertion(&outline, &text, after, inserted)), owner);
    }

    #[test]
    fn an_insertion_belongs_to_the_symbol_that_holds_both_neighbours() {
        check_insertion(5, &["    b = 2"], "function: first");
        check_insertion(6, &["", "    b = 2"], "function: first");
        check_insertion(11, &["    y = 2"], "class: Outer");
        check_insertion(1, &["import sys"], "module:");
        check_insertion(0, &["#!/usr/bin/python"], "module:");
        check_insertion(24, &["    2,"], "variable: LIMITS");
    }

    #[test]
    fn at_the_end_of_a_body_indentation_decides() {
        check_insertion(7, &["    b = 2"], "function: first");
        check_insertion(8, &["", "    b = 2"], "function: first");
        check_insertion(7, &["", "", "def new():", "    pass"], "module:");
        check_insertion(15, &["            return 1"], "function: Outer.Inner.deep");
        check_insertion(15, &["", "        def new(self):"], "class: Outer.Inner");
        check_insertion(15, &["", "    def new(self):"], "class: Outer");
        check_insertion(18, &["", "    def new(self):", "        pass"], "class: Outer");
        check_insertion(19, &["class New:", "    pass"], "module:");
        check_insertion(22, &["    return 1"], "function: third");
    }

    #[test]
    fn decorators_belong_to_what_they_decorate() {
        check_insertion(20, &["@cache"], "function: third");
        check_insertion(2, &["@other(", "    1,", ")"], "function: first");
        check_insertion(3, &["@other"], "function: first");
        check_insertion(16, &["    @property"], "function: Outer.second");
        check_insertion(
            16,
            &["    @property", "    def new(self):", "        pass", ""],
            "class: Outer",
        );
    }

    #[test]
    fn bodies_in_braces_end_like_those_that_are_indented() {
        const SOURCE: &str = "\
class A {
    @Test
    void f() {
        g();
    }

    int size;
}

class B {
}
";
        let rows: &[(u32, &[&str], &str)] = &[
            (4, &["        h();"], "function: A.f"),
            (5, &["", "    void h() {}"], "class: A"),
            (1, &["    @Before"], "function: A.f"),
            (7, &["    int b;"], "class: A"),
            (8, &["class C {}"], "module:"),
        ];
        for (after, inserted, owner) in rows {
            let (outline, text) = parsed("A.java", SOURCE);
            assert_eq!(name_of(owner_of_insertion(&outline, &text, *after, inserted)), *owner);
        }
    }
}
