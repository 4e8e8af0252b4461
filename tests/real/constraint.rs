//! Constrained decoding with the vocabulary of a real model: whatever is drawn, the completion
//! obeys its grammar and is never cut off.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::seq::IteratorRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sorft::grammar::{Grammar, Node};
use sorft::model::constraint::{Compiled, Constraint};
use sorft::model::local::gguf::Gguf;
use sorft::model::local::tokenizer::Tokenizer;
use sorft::model::token_trie::TokenTrie;

use crate::model::small_model;

/// The text whose lines a completion may quote.
const SOURCE: &str = include_str!("constraint.rs");
const OPENER: &str = "<<<<<<< SEARCH\n";
const DIVIDER: &str = "=======\n";
const CLOSER: &str = ">>>>>>> REPLACE\n```\n";

/// Reasoning, then one run of consecutive lines of `SOURCE`, then new lines.
fn quoting_grammar(lines: &[&str]) -> Grammar {
    let text = |text: &str| Node::Text(text.to_owned());
    let free = |marker: &str, max_tokens| Node::FreeLines {
        never_starts: vec![marker.to_owned(), "=======".to_owned()],
        max_tokens,
    };
    let mut rules = BTreeMap::new();
    for (at, line) in lines.iter().enumerate() {
        let mut ways = vec![Node::Rule("replace".to_owned())];
        if at + 1 < lines.len() {
            ways.push(Node::Rule(format!("l{}", at + 1)));
        }
        let line = Node::Sequence(vec![text(&format!("{line}\n")), Node::Choice(ways)]);
        rules.insert(format!("l{at}"), line);
    }
    let replace = Node::Sequence(vec![text(DIVIDER), free(">>>>>>>", 40), text(CLOSER)]);
    rules.insert("replace".to_owned(), replace);
    let any = (0..lines.len()).map(|at| Node::Rule(format!("l{at}"))).collect();
    let head = text(&format!("```\n{OPENER}"));
    let start = Node::Sequence(vec![free("```", 30), head, Node::Choice(any)]);
    Grammar { start, rules }
}

/// What is wrong with a completion, told by splitting it at its markers.
fn find_fault(completion: &str, lines: &[&str]) -> Option<String> {
    let Some((reasoning, rest)) = completion.split_once(&format!("```\n{OPENER}")) else {
        return Some("no opener".to_owned());
    };
    if reasoning.lines().any(|line| line.trim_start_matches([' ', '\t']).starts_with("```")) {
        return Some("a fence in the reasoning".to_owned());
    }
    // A quoted line may be a divider itself, so every place to split is tried.
    let Some(body) = rest.strip_suffix(CLOSER) else { return Some("no closer".to_owned()) };
    let quotes_source = |search: &str| {
        let search: Vec<&str> = search.lines().collect();
        !search.is_empty() && lines.windows(search.len()).any(|window| window == search)
    };
    let mut splits = body.match_indices(DIVIDER).map(|(at, _)| &body[..at]);
    (!splits.any(quotes_source)).then(|| "SEARCH is no run of lines".to_owned())
}

#[test]
fn random_completions_obey_their_grammar_with_a_real_vocabulary() {
    let gguf = Gguf::open(&small_model()).unwrap();
    let tokenizer = Tokenizer::from_gguf(&gguf).unwrap();
    let trie = Arc::new(TokenTrie::new(tokenizer.vocabulary()));
    let lines: Vec<&str> = SOURCE.lines().collect();
    let compiled = Compiled::new(&quoting_grammar(&lines), Arc::clone(&trie)).unwrap();
    for seed in 0..80 {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let max_tokens = random.random_range(60..160);
        let mut constraint = Constraint::new(&compiled, max_tokens).unwrap();
        if seed % 4 == 0 {
            constraint = constraint.unforced();
        }
        let (mut bytes, mut n_tokens) = (Vec::new(), 0);
        while !constraint.is_complete() {
            let mut next = constraint.forced(&|text| tokenizer.encode(text).unwrap());
            if next.is_empty() {
                let allowed = constraint.allowed();
                next.extend(allowed.iter().choose(&mut random));
            }
            assert!(!next.is_empty(), "seed {seed}: no token is allowed");
            for token in next {
                constraint.commit(token).unwrap();
                bytes.extend_from_slice(trie.bytes(token));
                n_tokens += 1;
            }
        }
        assert!(constraint.may_end() && n_tokens <= max_tokens + 1, "seed {seed}: cut off");
        let completion = String::from_utf8(bytes).unwrap();
        assert!(completion.ends_with(CLOSER), "seed {seed}: {completion:?}");
        assert_eq!(find_fault(&completion, &lines), None, "seed {seed}: {completion:?}");
    }
}
