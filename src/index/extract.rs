//! Reading an outline from a syntax tree.
//!
//! The tree is walked once; bodies of functions are not entered, since nothing inside them is
//! listed, so that the time is that of parsing. Matching a pattern starts only at nodes whose kind
//! some pattern starts with.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

use tree_sitter::{Node, ParseOptions, Parser, QueryCursor, StreamingIterator, Tree};

use crate::index::language::{Role, Rules};
use crate::index::outline::{LineSpan, Outline, Place, Symbol, SymbolKind};
use crate::repo::text::Text;

/// The outline of a text in that language; syntax errors are stepped over and counted.
pub(super) fn outline_of(rules: &Rules, text: &Text) -> Outline {
    read_outline(rules, text).0
}

/// The outline, and how many nodes of the tree were looked at for it.
fn read_outline(rules: &Rules, text: &Text) -> (Outline, usize) {
    let mut outline = Outline { n_lines: text.n_lines() as u32, ..Outline::default() };
    let Some((tree, errors)) = read_tree(rules, text) else {
        outline.n_errors = 1;
        return (outline, 0);
    };
    let root = tree.root_node();
    outline.n_errors = errors.len() as u32;
    let mut walk = Walk {
        rules,
        text,
        scopes: Vec::new(),
        above: Vec::new(),
        symbols: BTreeMap::new(),
        imports: Vec::new(),
        doc: None,
        signature_at: 0,
        last: None,
    };
    let mut matcher = QueryCursor::new();
    matcher.set_max_start_depth(Some(0));
    let n_nodes = walk.tree(root, &mut matcher);
    outline.doc = walk.doc;
    outline.imports = merge(walk.imports);
    outline.symbols = in_file_order(walk.symbols);
    (outline, n_nodes)
}

/// The lines, from 1, at which a text cannot be read, one for each error.
pub(super) fn syntax_errors(rules: &Rules, text: &Text) -> Vec<u32> {
    let errors = read_tree(rules, text).map_or_else(|| vec![1], |(_, errors)| errors);
    // What is missing behind the last newline is missing from the last line.
    let last = text.n_lines().max(1) as u32;
    errors.into_iter().map(|line| line.min(last)).collect()
}

/// The tree of a text and the lines of its errors; `None` where the parser gave up. What the
/// grammar cannot read is read again in the plainer forms of the text that the language knows.
fn read_tree(rules: &Rules, text: &Text) -> Option<(Tree, Vec<u32>)> {
    let content = text.content();
    let tree = parse(&rules.grammar, content)?;
    let errors = find_errors(tree.root_node());
    if errors.is_empty() {
        return Some((tree, errors));
    }
    let mut best = (tree, errors);
    for bytes in rules.plainer.iter().filter_map(|plainer| plainer(content)) {
        let Some(tree) = parse(&rules.grammar, bytes) else { continue };
        let errors = find_errors(tree.root_node());
        if errors.len() < best.1.len() {
            best = (tree, errors);
        }
    }
    Some(best)
}

/// The syntax tree of a text; `None` where the parser gave up.
pub(super) fn parse(grammar: &tree_sitter::Language, text: impl AsRef<[u8]>) -> Option<Tree> {
    let mut parser = Parser::new();
    parser.set_language(grammar).ok()?;
    let bytes = text.as_ref();
    // Recovery from errors can take time that grows with the square of the length. The parser
    // asks at regular counts of its steps, so that giving up does not depend on the clock.
    let mut n_left = 20_000 + bytes.len() / 8;
    let mut give_up = |_: &tree_sitter::ParseState| {
        n_left = n_left.saturating_sub(1);
        if n_left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let options = ParseOptions::new().progress_callback(&mut give_up);
    parser.parse_with_options(&mut |at, _| bytes.get(at..).unwrap_or_default(), None, Some(options))
}

fn find_errors(root: Node<'_>) -> Vec<u32> {
    let mut cursor = root.walk();
    let mut lines = Vec::new();
    loop {
        let node = cursor.node();
        if node.is_error() || node.is_missing() {
            lines.push(node.start_position().row as u32 + 1);
        }
        if node.has_error() && cursor.goto_first_child() {
            continue;
        }
        while !cursor.goto_next_sibling() {
            if !cursor.goto_parent() {
                return lines;
            }
        }
    }
}

struct Walk<'a> {
    rules: &'a Rules,
    text: &'a Text,
    scopes: Vec<Scope>,
    /// Comments and attributes that may belong to the next definition.
    above: Vec<Above>,
    symbols: BTreeMap<(SymbolKind, String), Vec<Place>>,
    imports: Vec<LineSpan>,
    doc: Option<(u32, String)>,
    /// Where the signature of the last definition starts; attributes before it are its own.
    signature_at: usize,
    /// The definition met last.
    last: Option<(SymbolKind, String)>,
}

/// A node whose inside is not at module level.
struct Scope {
    depth: usize,
    kind: ScopeKind,
    /// In front of the names inside, with a dot behind; empty for anonymous scopes.
    prefix: String,
}

#[derive(PartialEq, Eq)]
enum ScopeKind {
    Class,
    Namespace,
    Local,
}

struct Above {
    role: Role,
    span: LineSpan,
}

/// What one pattern found at a node.
struct Found {
    role: Role,
    name: String,
    header_last: Option<u32>,
    doc: Option<(u32, String)>,
}

impl<'a> Walk<'a> {
    /// Walks the tree; returns how many nodes it looked at.
    fn tree(&mut self, root: Node<'a>, matcher: &mut QueryCursor) -> usize {
        let mut cursor = root.walk();
        let mut depth = 0;
        let mut n_nodes = 0;
        loop {
            n_nodes += 1;
            if self.enter(cursor.node(), depth, matcher) && cursor.goto_first_child() {
                depth += 1;
                continue;
            }
            loop {
                while self.scopes.last().is_some_and(|scope| scope.depth == depth) {
                    self.scopes.pop();
                }
                if cursor.goto_next_sibling() {
                    break;
                }
                if !cursor.goto_parent() {
                    return n_nodes;
                }
                depth -= 1;
            }
        }
    }

    /// Takes note of a node; tells whether its children are of interest.
    fn enter(&mut self, node: Node<'a>, depth: usize, matcher: &mut QueryCursor) -> bool {
        if !self.rules.starts.get(node.kind_id() as usize).is_some_and(|&starts| starts) {
            return true;
        }
        let mut enters = true;
        let mut found: Vec<Found> = Vec::new();
        let rules = self.rules;
        let mut matches = matcher.matches(&rules.query, node, self.text.content().as_bytes());
        while let Some(matched) = matches.next() {
            let mut role = None;
            let (mut name, mut qualifier) = (None, None);
            let (mut open, mut body, mut doc) = (None::<u32>, None, None);
            for capture in matched.captures() {
                let captured = capture.node;
                let span = rows(captured);
                match self.rules.roles[capture.index as usize] {
                    definition @ (Role::Class | Role::Function | Role::Variable | Role::Scope) => {
                        role = Some(definition);
                    }
                    Role::Name => name = Some(clean_name(self.text_of(captured))),
                    Role::Qualifier => qualifier = Some(clean_name(self.text_of(captured))),
                    Role::Open => open = open.max(Some(span.last)),
                    Role::Body => body = Some(span.first),
                    Role::Doc => doc = self.documentation(captured),
                    Role::ModuleDoc => self.doc = self.documentation(captured),
                    role @ (Role::Comment | Role::Attribute) => {
                        let is_inside = captured.start_byte() < self.signature_at;
                        if !is_inside && (self.stands_alone(captured) || role == Role::Attribute) {
                            self.above.push(Above { role, span });
                        }
                    }
                    Role::Import => {
                        self.imports.push(span);
                        enters = false;
                    }
                    Role::Opaque => enters = false,
                    Role::Tail => self.extend_last(captured),
                    Role::Local => {
                        let prefix = self.prefix();
                        self.scopes.push(Scope { depth, kind: ScopeKind::Local, prefix });
                    }
                    Role::Unnamed => {}
                }
            }
            if let (Some(role), Some(mut name)) = (role, name) {
                if let Some(qualifier) = qualifier {
                    name = format!("{qualifier}.{name}");
                }
                found.push(Found { role, name, header_last: open.or(body), doc });
            }
        }
        for idx in 0..found.len() {
            let this = &found[idx];
            // The same definition seen by several patterns: the one that says most counts.
            let is_covered = found.iter().enumerate().any(|(other_idx, other)| {
                other.name == this.name
                    && (rank_of(other), Reverse(other_idx)) > (rank_of(this), Reverse(idx))
            });
            if !this.name.is_empty() && !is_covered {
                enters &= self.define(node, depth, this);
            }
        }
        enters
    }

    fn define(&mut self, node: Node<'a>, depth: usize, found: &Found) -> bool {
        let prefix = self.prefix();
        let name = format!("{prefix}{}", found.name);
        let kind = match found.role {
            Role::Class => SymbolKind::Class,
            Role::Function => SymbolKind::Function,
            Role::Variable => SymbolKind::Variable,
            _ => {
                let prefix = format!("{name}.");
                self.scopes.push(Scope { depth, kind: ScopeKind::Namespace, prefix });
                return true;
            }
        };
        if kind == SymbolKind::Variable
            && self.scopes.iter().any(|scope| scope.kind != ScopeKind::Namespace)
        {
            return true;
        }
        let mut span = rows(node);
        let mut doc = found.doc.clone();
        let signature = self.signature_of(node).unwrap_or(node);
        self.signature_at = signature.start_byte();
        let first_of_header = rows(signature).first;
        let mut reached = span.first;
        while let Some(above) = self.above.pop() {
            let is_adjacent = above.span.last + 1 >= reached
                || (above.role == Role::Attribute && self.are_blank(above.span.last + 1, reached));
            if !is_adjacent {
                break;
            }
            reached = above.span.first.min(reached);
            if above.role == Role::Attribute {
                span.first = reached;
            } else if found.doc.is_none() {
                doc = self.comment_text(above.span).or(doc);
            }
        }
        self.above.clear();
        let header_last = match kind {
            SymbolKind::Variable => first_of_header,
            _ => found.header_last.unwrap_or(span.last).clamp(first_of_header, span.last),
        };
        let header = LineSpan { first: first_of_header, last: header_last };
        let places = self.symbols.entry((kind, name.clone())).or_default();
        places.push(Place { span, header, doc });
        self.last = Some((kind, name.clone()));
        let has_members = kind != SymbolKind::Function && found.header_last.is_some();
        if has_members {
            let prefix = format!("{name}.");
            self.scopes.push(Scope { depth, kind: ScopeKind::Class, prefix });
        }
        has_members || kind == SymbolKind::Class
    }

    /// Text that starts on the last line of a definition and goes on below it.
    fn extend_last(&mut self, tail: Node<'a>) {
        let first = tail.start_position().row as u32 + 1;
        let places = self.last.as_ref().and_then(|last| self.symbols.get_mut(last));
        if let Some(place) = places.and_then(|places| places.last_mut())
            && (place.span.last..=place.span.last + 1).contains(&first)
        {
            place.span.last = place.span.last.max(rows(tail).last);
        }
    }

    /// The first token of a definition behind its attributes and the comments among them.
    fn signature_of(&self, node: Node<'a>) -> Option<Node<'a>> {
        let mut cursor = node.walk();
        loop {
            let reached = cursor.node();
            let precedes = self.rules.precedes.get(reached.kind_id() as usize);
            if !precedes.is_some_and(|&precedes| precedes) {
                if cursor.goto_first_child() {
                    continue;
                }
                return Some(reached);
            }
            while !cursor.goto_next_sibling() {
                if !cursor.goto_parent() {
                    return None;
                }
            }
        }
    }

    fn prefix(&self) -> String {
        self.scopes.last().map_or_else(String::new, |scope| scope.prefix.clone())
    }

    fn text_of(&self, node: Node<'_>) -> &'a str {
        self.text.content().get(node.byte_range()).unwrap_or_default()
    }

    /// Whether nothing but white space stands before the node on its line.
    fn stands_alone(&self, node: Node<'_>) -> bool {
        let start = node.start_position();
        let line = self.text.line(start.row);
        line.as_bytes().get(..start.column).is_some_and(|before| before.trim_ascii().is_empty())
    }

    fn are_blank(&self, first: u32, before: u32) -> bool {
        (first..before).all(|line| self.text.line(line as usize - 1).trim().is_empty())
    }

    /// The first line of a string or comment that says something, and its number.
    fn documentation(&self, node: Node<'_>) -> Option<(u32, String)> {
        let first = node.start_position().row as u32 + 1;
        let lines = self.text_of(node).lines();
        (first..).zip(lines).find_map(|(line, text)| {
            let text = bare_documentation(text);
            (!text.is_empty()).then(|| (line, text.to_owned()))
        })
    }

    fn comment_text(&self, span: LineSpan) -> Option<(u32, String)> {
        (span.first..=span.last).find_map(|line| {
            let text = bare_documentation(self.text.line(line as usize - 1));
            (!text.is_empty()).then(|| (line, text.to_owned()))
        })
    }
}

fn rank_of(found: &Found) -> (u8, bool, bool) {
    let by_role = match found.role {
        Role::Variable => 0,
        _ => 1,
    };
    (by_role, found.doc.is_some(), found.header_last.is_some())
}

/// The lines of a node, from 1; a line end that closes the node does not count.
fn rows(node: Node<'_>) -> LineSpan {
    let (start, end) = (node.start_position(), node.end_position());
    let is_open_end = end.column == 0 && start.row < end.row;
    let last = end.row + usize::from(!is_open_end);
    LineSpan { first: start.row as u32 + 1, last: last as u32 }
}

/// A name on one line, with dots between its parts and without type arguments and quotes.
fn clean_name(text: &str) -> String {
    let mut name = String::with_capacity(text.len());
    let (plain, operator) = match text.find("operator") {
        Some(at) if text[at + 8..].starts_with(|c: char| !c.is_alphanumeric() && c != '_') => {
            text.split_at(at)
        }
        _ => (text, ""),
    };
    let mut n_open = 0_usize;
    for c in plain.trim_matches(['\'', '"']).chars() {
        match c {
            '<' => n_open += 1,
            '>' => n_open = n_open.saturating_sub(1),
            _ if 0 < n_open || c.is_whitespace() || matches!(c, '*' | '&') => {}
            _ => name.push(c),
        }
    }
    // A conversion is captured with its parameters: `operator bool() const`.
    let end = operator.find('(').filter(|&end| end != "operator".len()).unwrap_or(operator.len());
    name.extend(operator[..end].trim_end().chars().filter(|c| !c.is_control()));
    name.replace("::", ".").trim_matches('.').to_owned()
}

/// Documentation without the marks of strings and comments around it.
fn bare_documentation(line: &str) -> &str {
    let line = line.trim();
    let prefix = line.find(['"', '\'']).unwrap_or(0);
    let is_string_prefix =
        prefix <= 2 && line.as_bytes()[..prefix].iter().all(|byte| b"rRbBuUfF".contains(byte));
    let line = if is_string_prefix { &line[prefix..] } else { line };
    line.trim_start_matches(['/', '*', '#', '!', '"', '\''])
        .trim_end_matches(['/', '*', '"', '\''])
        .trim()
}

fn merge(mut spans: Vec<LineSpan>) -> Vec<LineSpan> {
    spans.sort_unstable();
    let mut merged: Vec<LineSpan> = Vec::new();
    for span in spans {
        match merged.last_mut() {
            Some(last) if span.first <= last.last + 1 => last.last = last.last.max(span.last),
            _ => merged.push(span),
        }
    }
    merged
}

fn in_file_order(symbols: BTreeMap<(SymbolKind, String), Vec<Place>>) -> Vec<Symbol> {
    let mut symbols: Vec<Symbol> = symbols
        .into_iter()
        .map(|((kind, name), mut places)| {
            // Of a type and its alias of the same name, the one that shows where the body starts.
            places.sort_by_key(|place| (place.span, place.header.last));
            places.dedup_by_key(|place| place.span);
            Symbol { kind, name, places }
        })
        .collect();
    // Outer before inner where both start on one line.
    symbols.sort_by_key(|symbol| {
        let span = symbol.places[0].span;
        (span.first, Reverse(span.last))
    });
    symbols
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::language::{RuleBook, of_name};

    fn n_nodes(source: &str) -> usize {
        let rules = RuleBook::new(&[]);
        let text = Text::decode(source.as_bytes()).unwrap();
        read_outline(rules.rules(of_name("python").unwrap()), &text).1
    }

    #[test]
    fn nodes_are_looked_at_once_however_many_there_are() {
        let functions = |n: usize| "def f(a):\n    return a\n".repeat(n);
        let (one, hundred) = (n_nodes(&functions(1)), n_nodes(&functions(100)));
        let of_one = n_nodes(&functions(2)) - one;
        assert_eq!(hundred - one, 99 * of_one);
        assert_eq!(
            n_nodes("def f(a):\n    return a + a + a + a\n"),
            one,
            "the inside of a function is not looked at"
        );
    }
}
