//! Random completions under random grammars and limits, judged by `grammar::judge`.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::seq::IteratorRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::grammar::judge::satisfies;
use crate::grammar::program::GrammarError;
use crate::grammar::{Grammar, Node};
use crate::model::constraint::{Compiled, Constraint};
use crate::model::token_trie::TokenTrie;
use crate::model::vocabulary::Vocabulary;

const END: u32 = 256;

/// All bytes, an end of turn, and pieces that cross the borders of a grammar's parts.
fn toy_trie() -> Arc<TokenTrie> {
    let mut tokens: Vec<Vec<u8>> = (0..=255_u8).map(|byte| vec![byte]).collect();
    tokens.push(Vec::new());
    let pieces = [
        "\n```",
        "```\n",
        "``",
        "\n\n",
        "a.py",
        ".py",
        "src/",
        "### ",
        "### s",
        "<<<<",
        "<<<<<<< ",
        "SEARCH\n",
        "\n=======\n",
        "====",
        ">>>>>>> REPLACE\n",
        "    ",
        "return",
        " x",
        "x = 1\n",
        "x = ",
        "def ",
        "é",
        "the ",
        "ing\n",
        "\n>>>>",
        "REPLACE\n```",
    ];
    tokens.extend(pieces.iter().map(|piece| piece.as_bytes().to_vec()));
    Arc::new(TokenTrie::new(Vocabulary { tokens, end_of_turn: vec![END] }))
}

fn text(text: &str) -> Node {
    Node::Text(text.to_owned())
}

fn free(never: &[&str], max_tokens: u32) -> Node {
    let never_starts = never.iter().map(|&marker| marker.to_owned()).collect();
    Node::FreeLines { never_starts, max_tokens }
}

/// Reasoning, a fence, and a list of one to three paths of which one begins another.
fn list_grammar() -> Grammar {
    let path = Node::Choice(vec![text("src/a.py"), text("src/a.pyi"), text("b.py")]);
    let line = Node::Sequence(vec![path, text("\n")]);
    let lines = Node::Repeat { node: Box::new(line), min: 1, max: 3 };
    let start = Node::Sequence(vec![free(&["```"], 12), text("```\n"), lines, text("```\n")]);
    Grammar { start, rules: BTreeMap::new() }
}

/// One or more edits: a run of the lines `x = 1`, `x = 12`, `return x` in order, and a REPLACE.
fn edit_grammar() -> Grammar {
    let rule = |name: &str| Node::Rule(name.to_owned());
    let step = |line: &str, next: &str| Node::Sequence(vec![text(line), rule(next)]);
    let replace = Node::Sequence(vec![
        text("=======\n"),
        free(&[">>>>>>>", "=======", "<<<<<<<"], 9),
        text(">>>>>>> REPLACE\n"),
        Node::Choice(vec![rule("edit"), text("```\n")]),
    ]);
    let new_file = Node::Sequence(vec![
        text("### src/"),
        Node::FileName { max_chars: 6 },
        text(".py\n<<<<<<< SEARCH\n"),
        rule("replace"),
    ]);
    let known = Node::Sequence(vec![text("### src/a.py\n<<<<<<< SEARCH\n"), rule("s0")]);
    let rules = [
        ("edit", Node::Choice(vec![known, new_file])),
        ("s0", Node::Choice(vec![step("x = 1\n", "s1"), step("x = 12\n", "s2")])),
        ("s1", Node::Choice(vec![step("x = 12\n", "s2"), rule("replace")])),
        ("s2", Node::Choice(vec![step("    return x\n", "replace"), rule("replace")])),
        ("replace", replace),
    ];
    let rules = rules.into_iter().map(|(name, node)| (name.to_owned(), node)).collect();
    let start = Node::Sequence(vec![free(&["```"], 8), text("```\n"), rule("edit")]);
    Grammar { start, rules }
}

/// A completion of random allowed tokens, forced text now and then included.
fn random_completion(
    compiled: &Arc<Compiled>,
    trie: &TokenTrie,
    max_tokens: usize,
    seed: u64,
) -> String {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut constraint = Constraint::new(compiled, max_tokens).unwrap();
    let mut bytes = Vec::new();
    for n_tokens in 0.. {
        assert!(n_tokens <= max_tokens, "more than {max_tokens} tokens");
        if constraint.is_complete() {
            break;
        }
        if random.random_bool(0.5) {
            for token in constraint.forced(&|text| trie.spell(text.as_bytes()).unwrap()) {
                assert!(constraint.allowed().contains(token), "a forced token is not allowed");
                bytes.extend_from_slice(trie.bytes(token));
                constraint.commit(token).unwrap();
            }
            if constraint.is_complete() {
                break;
            }
        }
        let allowed = constraint.allowed();
        let token = allowed.iter().choose(&mut random).expect("no token is allowed");
        constraint.commit(token).unwrap();
        if token == END {
            break;
        }
        bytes.extend_from_slice(trie.bytes(token));
    }
    assert!(constraint.may_end());
    String::from_utf8(bytes).expect("UTF-8")
}

#[track_caller]
fn check(grammar: &Grammar) {
    let trie = toy_trie();
    let compiled = Compiled::new(grammar, Arc::clone(&trie)).unwrap();
    let fewest = (1..1000).find(|n| Constraint::new(&compiled, *n).is_ok()).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..400 {
        let max_tokens = fewest + (seed as usize * seed as usize) % 60;
        let completion = random_completion(&compiled, &trie, max_tokens, seed);
        assert!(satisfies(grammar, &completion), "seed {seed}: {completion:?}");
        seen.insert(completion);
    }
    assert!(100 < seen.len(), "only {} different completions", seen.len());
}

#[test]
fn random_lists_satisfy_their_grammar_within_every_limit() {
    check(&list_grammar());
}

#[test]
fn random_edits_satisfy_their_grammar_within_every_limit() {
    check(&edit_grammar());
}

#[test]
fn a_limit_below_the_shortest_completion_is_refused() {
    let compiled = Compiled::new(&list_grammar(), toy_trie()).unwrap();
    let refused = Constraint::new(&compiled, 3).unwrap_err();
    assert_eq!(refused, GrammarError::TooFewTokens { wanted: 5, found: 3 });
}

#[test]
fn free_text_ends_within_its_own_limit() {
    let grammar = Grammar {
        start: Node::Sequence(vec![free(&["#"], 4), text("#\n")]),
        rules: BTreeMap::new(),
    };
    let compiled = Compiled::new(&grammar, toy_trie()).unwrap();
    let mut constraint = Constraint::new(&compiled, 1000).unwrap();
    for _ in 0..3 {
        constraint.commit(u32::from(b'a')).unwrap();
    }
    assert_eq!(constraint.allowed().iter().collect::<Vec<_>>(), [u32::from(b'\n')]);
    assert_eq!(spelled(&mut constraint), "\n#\n");
}

fn spelled(constraint: &mut Constraint) -> String {
    let trie = Arc::clone(&constraint.compiled.trie);
    let tokens = constraint.forced(&|text| trie.spell(text.as_bytes()).unwrap());
    String::from_utf8(tokens.iter().flat_map(|token| trie.bytes(*token).to_vec()).collect())
        .unwrap()
}

#[test]
fn forced_text_leaves_a_last_token_that_could_be_longer() {
    let header = |path: &str| Node::Sequence(vec![text("### "), text(path)]);
    let grammar = Grammar {
        start: Node::Choice(vec![header("src/a.py\n"), header("b.py\n")]),
        rules: BTreeMap::new(),
    };
    let compiled = Compiled::new(&grammar, toy_trie()).unwrap();
    // `### s` is a token: `### ` must not be forced, or the model could not write it.
    assert_eq!(spelled(&mut Constraint::new(&compiled, 100).unwrap()), "");
    let mut constraint = Constraint::new(&compiled, 100).unwrap();
    let trie = toy_trie();
    constraint.commit(trie.spell(b"### s").unwrap()[0]).unwrap();
    assert_eq!(spelled(&mut constraint), "rc/a.py\n");
}

#[test]
fn samples_of_one_grammar_go_their_own_ways() {
    let compiled = Compiled::new(&list_grammar(), toy_trie()).unwrap();
    let first = Constraint::new(&compiled, 50).unwrap();
    let (mut one, mut two) = (first.clone(), first);
    for byte in b"```\nb" {
        one.commit(u32::from(*byte)).unwrap();
    }
    // The line's end is left to the model: it may be part of a longer token.
    assert_eq!(spelled(&mut one), ".py");
    assert!(two.commit(u32::from(b'h')).is_ok());
    assert!(one.commit(u32::from(b'h')).is_err());
}

#[test]
fn a_grammar_that_nothing_satisfies_is_refused() {
    let refused = |start: Node, rules: BTreeMap<String, Node>| {
        Compiled::new(&Grammar { start, rules }, toy_trie()).unwrap_err()
    };
    let rule = Node::Rule("r".to_owned());
    let unknown = refused(rule.clone(), BTreeMap::new());
    assert_eq!(unknown, GrammarError::UnknownRule { name: "r".to_owned() });
    let endless = Node::Sequence(vec![text("a"), rule.clone()]);
    let endless = refused(rule.clone(), BTreeMap::from([("r".to_owned(), endless)]));
    assert_eq!(endless, GrammarError::NoText);
    assert_eq!(refused(Node::Choice(vec![]), BTreeMap::new()), GrammarError::NoText);
    let nested =
        Node::Choice(vec![text("b"), Node::Sequence(vec![text("a"), rule.clone(), text("c")])]);
    let nested = refused(rule, BTreeMap::from([("r".to_owned(), nested)]));
    assert_eq!(nested, GrammarError::NotRightRecursive { name: "r".to_owned() });
}
