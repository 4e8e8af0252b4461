//! What the stages' tests share: a small repository, and what grammars allow.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::grammar::{Grammar, Node};
use crate::index::retrieval::Ranking;
use crate::index::{Index, IndexOptions};
use crate::prompt::CountTokens;
use crate::prompt::template::Templates;
use crate::repo::fixture::snapshot;
use crate::repo::path::RepoPath;
use crate::repo::text::Text;
use crate::stage::Context;
use crate::stage::gold::{Gold, GoldFile, GoldStatus};

pub(crate) const SHOP: &str = "\
//- /src/shop/cart.py
import os
from shop import tax

RATES = {
    'a': 1,
}


class Cart:
    \"\"\"A shopping cart.\"\"\"

    limit = 5

    def __init__(self, items):
        self.items = items

    @property
    def total(self):
        net = sum(self.items)
        return net

    def average(self):
        return self.total / len(self.items)


def load(path):
    return Cart(path)
//- /src/shop/tax.py
def tax(net):
    return net * 0.2
//- /README.md
# Shop

Install it.
//- /tests/test_cart.py
def test_total():
    pass
";

pub(crate) fn path(text: &str) -> RepoPath {
    RepoPath::parse(text).unwrap()
}

/// A context over files of [`snapshot`]'s format, without a ranking.
pub(crate) fn context(files: &str, issue: &str) -> Context {
    let index = Index::build(Arc::new(snapshot(files)), &IndexOptions::default()).unwrap();
    Context {
        issue: issue.to_owned(),
        index: Arc::new(index),
        ranking: Ranking::default(),
        templates: Arc::new(Templates::new(&BTreeMap::new()).unwrap()),
    }
}

/// A gold patch that turns files of the context into the given texts; an empty text deletes.
pub(crate) fn gold(context: &Context, patched: &[(&str, &str)]) -> Gold {
    let file = |(name, patched): &(&str, &str)| {
        let path = path(name);
        let base = context.index.snapshot().read_text(&path).ok();
        let text = |text: &str| Arc::new(Text::decode(text.as_bytes()).unwrap());
        let status = match (&base, *patched) {
            (None, _) => GoldStatus::Created,
            (Some(_), "") => GoldStatus::Deleted,
            _ => GoldStatus::Changed,
        };
        let patched = (!patched.is_empty()).then(|| text(patched));
        GoldFile::new(path, status, base, patched)
    };
    Gold { files: patched.iter().map(file).collect(), n_tests_left_out: 0 }
}

/// One token a byte: the strictest count there is.
pub(crate) struct Bytes;

impl CountTokens for Bytes {
    fn count(&self, text: &str) -> usize {
        text.len()
    }
}

/// A text that the grammar allows, drawn at random.
pub(crate) fn sample(grammar: &Grammar, random: &mut ChaCha8Rng) -> String {
    let mut text = String::new();
    write_sample(grammar, &grammar.start, random, &mut text);
    text
}

fn write_sample(grammar: &Grammar, node: &Node, random: &mut ChaCha8Rng, text: &mut String) {
    match node {
        Node::Text(piece) => *text += piece,
        Node::Sequence(nodes) => {
            for node in nodes {
                write_sample(grammar, node, random, text);
            }
        }
        Node::Choice(nodes) => {
            assert!(!nodes.is_empty(), "a choice of nothing");
            let node = &nodes[random.random_range(0..nodes.len())];
            write_sample(grammar, node, random, text);
        }
        Node::Repeat { node, min, max } => {
            for _ in 0..random.random_range(*min..=*max) {
                write_sample(grammar, node, random, text);
            }
        }
        Node::Rule(name) => write_sample(grammar, &grammar.rules[name], random, text),
        Node::FreeLines { never_starts, .. } => {
            let lines = [
                "    return 0",
                "",
                "x = 1",
                "<<<<<<< SEARCH",
                "```",
                "=======",
                "  =======",
                "## a",
            ];
            for _ in 0..random.random_range(0..4) {
                let line = lines[random.random_range(0..lines.len())];
                if never_starts.iter().all(|start| !line.starts_with(start.as_str())) {
                    *text += line;
                    text.push('\n');
                }
            }
        }
        Node::FileName { max_chars } => {
            for _ in 0..random.random_range(1..=(*max_chars).min(8)) {
                text.push(char::from(random.random_range(b'a'..=b'z')));
            }
        }
    }
}
