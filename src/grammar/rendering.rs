//! What Lark and GBNF share: rules, sequences, choices, repetitions, classes of characters.
//!
//! Neither counts tokens here: a limit on free text becomes a limit on its lines, a loose one.

use std::fmt::Write;

use crate::grammar::{Grammar, Node};

/// Tokens of a short line; a limit of tokens divided by it is a limit of lines.
const TOKENS_PER_LINE: u32 = 4;

/// How one notation writes what the other writes otherwise.
pub(crate) struct Notation {
    /// The rule where a completion begins.
    pub(crate) start: &'static str,
    /// Between a rule's name and its body.
    pub(crate) defines: &'static str,
    /// The name of a grammar's rule.
    pub(crate) rule_name: fn(&str) -> String,
    /// The name of a rule made for rendering, by its number.
    pub(crate) helper_name: fn(usize) -> String,
    /// Classes of characters with `*`, `?`, `{…}`, `|` and groups, as an item of a rule.
    pub(crate) classes: fn(&str) -> String,
}

/// The grammar, one rule a line.
pub(crate) fn render(grammar: &Grammar, notation: &Notation) -> String {
    let mut renderer = Renderer { notation, helpers: Vec::new() };
    let mut text = String::new();
    let mut define = |name: &str, body: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name}{}{body}", notation.defines);
    };
    define(notation.start, &renderer.body(&grammar.start));
    for (name, node) in &grammar.rules {
        define(&(notation.rule_name)(name), &renderer.body(node));
    }
    for (number, (_, body)) in renderer.helpers.iter().enumerate() {
        define(&(notation.helper_name)(number), body);
    }
    text
}

struct Renderer<'a> {
    notation: &'a Notation,
    /// What was rendered as a rule of its own, and that rule's body.
    helpers: Vec<(Node, String)>,
}

impl Renderer<'_> {
    /// A node as the whole body of a rule.
    fn body(&mut self, node: &Node) -> String {
        match node {
            Node::Choice(nodes) => {
                let ways: Vec<String> = nodes.iter().map(|node| self.item(node)).collect();
                ways.join(" | ")
            }
            Node::Sequence(nodes) if !nodes.is_empty() => {
                let items: Vec<String> = nodes.iter().map(|node| self.item(node)).collect();
                items.join(" ")
            }
            other => self.item(other),
        }
    }

    /// A node that can stand between others.
    fn item(&mut self, node: &Node) -> String {
        match node {
            Node::Text(text) => quote(text),
            Node::Sequence(nodes) if nodes.is_empty() => quote(""),
            Node::Sequence(_) | Node::Choice(_) => format!("({})", self.body(node)),
            Node::Repeat { node, min, max } => format!("({}){{{min},{max}}}", self.body(node)),
            Node::Rule(name) => (self.notation.rule_name)(name),
            Node::FreeLines { never_starts, max_tokens } => {
                let line = self.helper(node, || render_line(never_starts));
                format!("({line}){{0,{}}}", max_tokens.div_ceil(TOKENS_PER_LINE))
            }
            Node::FileName { max_chars } => self.helper(node, || {
                format!("[A-Za-z0-9_][A-Za-z0-9_.\\x2D]{{0,{}}}", max_chars.saturating_sub(1))
            }),
        }
    }

    /// The name of a rule of its own for `node`.
    fn helper(&mut self, node: &Node, render_classes: impl Fn() -> String) -> String {
        let known = self.helpers.iter().position(|(other, _)| other == node);
        let number = known.unwrap_or_else(|| {
            let body = (self.notation.classes)(&render_classes());
            self.helpers.push((node.clone(), body));
            self.helpers.len() - 1
        });
        (self.notation.helper_name)(number)
    }
}

/// A text in double quotes.
fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => {
                // Writing to a string cannot fail.
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// One line with its end: anything that leaves the tree of markers early.
fn render_line(never_starts: &[String]) -> String {
    let markers: Vec<Vec<char>> = never_starts
        .iter()
        .filter(|marker| !marker.is_empty())
        .map(|marker| marker.chars().collect())
        .collect();
    let rest = render_unmarked(&markers, 0);
    format!("({rest})?[\\n]")
}

/// Text that completes none of `markers`, which share their first `depth` characters; those are
/// read already.
fn render_unmarked(markers: &[Vec<char>], depth: usize) -> String {
    let mut next: Vec<char> =
        markers.iter().filter_map(|marker| marker.get(depth)).copied().collect();
    next.sort_unstable();
    next.dedup();
    let begun: String = next.iter().map(|c| render_class_char(*c)).collect();
    let mut ways = vec![format!("[^\\x00\\r\\n{begun}][^\\x00\\r\\n]*")];
    for c in next {
        let longer: Vec<Vec<char>> =
            markers.iter().filter(|marker| marker.get(depth) == Some(&c)).cloned().collect();
        if longer.iter().all(|marker| depth + 1 < marker.len()) {
            let rest = render_unmarked(&longer, depth + 1);
            ways.push(format!("[{}]({rest})?", render_class_char(c)));
        }
    }
    ways.join("|")
}

/// A character inside brackets; the notations agree on hexadecimal escapes, not on others.
fn render_class_char(c: char) -> String {
    if c.is_ascii() && !c.is_ascii_alphanumeric() {
        format!("\\x{:02X}", u32::from(c))
    } else {
        c.to_string()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// A grammar with every kind of node.
    pub(crate) fn sample_grammar() -> Grammar {
        let text = |text: &str| Node::Text(text.to_owned());
        let rule = |name: &str| Node::Rule(name.to_owned());
        let free = |marker: &str, max_tokens| Node::FreeLines {
            never_starts: vec![marker.to_owned()],
            max_tokens,
        };
        let path = Node::Choice(vec![text("a.py"), text("a.pyi"), rule("new_file")]);
        let edit =
            Node::Sequence(vec![path, text("\n\"SEARCH\"\\\n"), free("=>", 8), text("=>\n")]);
        let rules = BTreeMap::from([
            ("edit".to_owned(), edit),
            (
                "new_file".to_owned(),
                Node::Sequence(vec![text("src/"), Node::FileName { max_chars: 9 }]),
            ),
        ]);
        let edits = Node::Repeat { node: Box::new(rule("edit")), min: 1, max: 3 };
        let start = Node::Sequence(vec![free("```", 40), text("```\n"), edits, text("```\n")]);
        Grammar { start, rules }
    }

    #[test]
    fn a_line_leaves_the_markers_early() {
        let line =
            regex::Regex::new(&format!("^(?:{})$", render_line(&["```".into(), "`~".into()])));
        let line = line.unwrap();
        for (text, is_allowed) in [
            ("\n", true),
            ("  \t\n", true),
            ("plain ```\n", true),
            (" `a\n", true),
            ("``\n", true),
            ("`` ~\n", true),
            ("```\n", false),
            ("```py\n", false),
            ("  ```py\n", true),
            ("`~\n", false),
            ("a\nb\n", false),
            ("a\r\n", false),
        ] {
            assert_eq!(line.is_match(text), is_allowed, "{text:?}");
        }
    }
}
