//! A slow and simple judge of whether a text satisfies a grammar, for tests: it follows the
//! description word by word, and shares no code with what it judges.

use std::collections::BTreeSet;

use crate::grammar::{Grammar, Node};

/// Whether `text` satisfies `grammar`, token limits aside.
pub(crate) fn satisfies(grammar: &Grammar, text: &str) -> bool {
    let judge = Judge { grammar, text: text.as_bytes() };
    judge.ends(&grammar.start, BTreeSet::from([0])).contains(&text.len())
}

struct Judge<'a> {
    grammar: &'a Grammar,
    text: &'a [u8],
}

impl Judge<'_> {
    /// Where `node` can end when it starts at one of `starts`.
    fn ends(&self, node: &Node, starts: BTreeSet<usize>) -> BTreeSet<usize> {
        if starts.is_empty() {
            return starts;
        }
        let each = |ends: &dyn Fn(usize) -> Vec<usize>| {
            starts.iter().flat_map(|start| ends(*start)).collect::<BTreeSet<usize>>()
        };
        match node {
            Node::Text(text) => each(&|start| {
                let is_here = self.text[start..].starts_with(text.as_bytes());
                if is_here { vec![start + text.len()] } else { vec![] }
            }),
            Node::Sequence(nodes) => {
                nodes.iter().fold(starts, |starts, node| self.ends(node, starts))
            }
            Node::Choice(nodes) => {
                nodes.iter().flat_map(|node| self.ends(node, starts.clone())).collect()
            }
            Node::Repeat { node, min, max } => {
                let (mut all, mut now) = (BTreeSet::new(), starts);
                for turn in 0..=*max {
                    if *min <= turn {
                        let before = all.len();
                        all.extend(now.iter().copied());
                        if before == all.len() {
                            break;
                        }
                    }
                    now = self.ends(node, now);
                }
                all
            }
            Node::Rule(name) => self.ends(&self.grammar.rules[name], starts),
            Node::FreeLines { never_starts, .. } => each(&|start| {
                let mut ends = vec![start];
                let mut at = start;
                while let Some(length) = self.text[at..].iter().position(|byte| *byte == b'\n') {
                    let line = &self.text[at..at + length];
                    let text = String::from_utf8_lossy(line);
                    let is_marked =
                        never_starts.iter().any(|marker| text.starts_with(marker.as_str()));
                    if is_marked || line.contains(&b'\r') || line.contains(&0) {
                        break;
                    }
                    at += length + 1;
                    ends.push(at);
                }
                ends
            }),
            Node::FileName { max_chars } => each(&|start| {
                let is_name = |(at, byte): &(usize, &u8)| match **byte {
                    b'-' | b'.' => *at != 0,
                    byte => byte == b'_' || byte.is_ascii_alphanumeric(),
                };
                let name = self.text[start..].iter().enumerate().take_while(is_name).count();
                (1..=name.min(*max_chars as usize)).map(|length| start + length).collect()
            }),
        }
    }
}
