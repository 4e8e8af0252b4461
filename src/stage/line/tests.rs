//! What a model answers with lines, what counts as a hit, and what a prompt shows.

use expect_test::{Expect, expect};
use proptest::prelude::*;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::index::outline::SymbolKind;
use crate::prompt::{CountTokens, EstimateTokens};
use crate::search_replace::fence::Ended;
use crate::stage::Stage;
use crate::stage::budget::{Budget, PromptError};
use crate::stage::fixture::{Bytes, SHOP, context, gold, path, sample};
use crate::stage::function::symbol::SymbolId;
use crate::stage::line::items::{LineItem, score_lines};
use crate::stage::line::shown::LineShown;
use crate::stage::line::{LineAnswer, LineShorthand, LineStage};
use crate::stage::profile::Profile;
use crate::stage::rejection::Reason;
use crate::stage::score::Score;

fn stage() -> LineStage {
    Profile::Small.stages().line
}

fn symbol(file: &str, kind: SymbolKind, name: &str) -> SymbolId {
    SymbolId { path: path(file), kind, name: name.to_owned() }
}

fn chosen() -> Vec<SymbolId> {
    vec![
        symbol("src/shop/cart.py", SymbolKind::Function, "Cart.average"),
        symbol("src/shop/tax.py", SymbolKind::Function, "tax"),
        symbol("gone.py", SymbolKind::Function, "f"),
    ]
}

fn shown() -> LineShown {
    let context = context(SHOP, "The average fails.");
    stage().prompt(&context, &chosen(), &EstimateTokens).unwrap().1
}

#[track_caller]
fn check(completion: &str, expect: Expect) {
    let outcome = stage().parse(&shown(), completion, Ended::ByItself);
    expect.assert_eq(&match outcome {
        Ok(LineAnswer { lines, invented, unseen }) => {
            format!("{lines:?} invented {invented} unseen {unseen}")
        }
        Err(rejection) => rejection.to_string(),
    });
}

#[test]
fn the_prompt_numbers_lines_and_shows_imports() {
    let context = context(SHOP, "The average fails.");
    let (prompt, shown) = stage().prompt(&context, &chosen(), &EstimateTokens).unwrap();
    expect![[r#"
        # Issue
        The average fails.

        # Code
        ### src/shop/cart.py
        ```
        1| import os
        2| from shop import tax
        ...
        19|         net = sum(self.items)
        20|         return net
        21| 
        22|     def average(self):
        23|         return self.total / len(self.items)
        24| 
        25| 
        26| def load(path):
        ```

        ### src/shop/tax.py
        ```
        1| def tax(net):
        2|     return net * 0.2
        ```

        # Task
        Which lines must be changed to resolve the issue? For new lines, name the line before them.
        Write one code block that lists at most 5 lines or runs of lines below the path of their file, the most important first. Example:
        ```
        src/shop/cart.py
        line: 31
        lines: 40-42
        ```"#]].assert_eq(&prompt.messages[1].content);
    expect![[r#"
        [
            ShownLines {
                path: "src/shop/cart.py",
                n_lines: 27,
                windows: [
                    LineSpan {
                        first: 1,
                        last: 2,
                    },
                    LineSpan {
                        first: 19,
                        last: 26,
                    },
                ],
                symbols: [
                    (
                        Function,
                        "Cart.average",
                        [
                            LineSpan {
                                first: 22,
                                last: 23,
                            },
                        ],
                    ),
                ],
            },
            ShownLines {
                path: "src/shop/tax.py",
                n_lines: 2,
                windows: [
                    LineSpan {
                        first: 1,
                        last: 2,
                    },
                ],
                symbols: [
                    (
                        Function,
                        "tax",
                        [
                            LineSpan {
                                first: 1,
                                last: 2,
                            },
                        ],
                    ),
                ],
            },
        ]
    "#]]
    .assert_debug_eq(&shown.files);
}

#[test]
fn completions_in_the_wild() {
    check(
        "```\nsrc/shop/cart.py\nline: 23\n```",
        expect![[r#"[("src/shop/cart.py", 23)] invented 0 unseen 0"#]],
    );
    check(
        "```\nsrc/shop/cart.py\nlines: 22-23\n\n./src/shop/tax.py\n- line: 2\n```",
        expect![[
            r#"[("src/shop/cart.py", 22), ("src/shop/cart.py", 23), ("src/shop/tax.py", 2)] invented 0 unseen 0"#
        ]],
    );
    check(
        "```\nsrc/shop/cart.py\nline: 23-22\nline: 23\n```",
        expect![[r#"[("src/shop/cart.py", 22), ("src/shop/cart.py", 23)] invented 0 unseen 0"#]],
    );
    check(
        "```\nsrc/shop/cart.py\n23|         return self.total\n```",
        expect![[r#"[("src/shop/cart.py", 23)] invented 0 unseen 0"#]],
    );
    check(
        "```\nsrc/shop/cart.py\nfunction: Cart.average\n```",
        expect![[r#"[("src/shop/cart.py", 22), ("src/shop/cart.py", 23)] invented 0 unseen 0"#]],
    );
    check(
        "```\nsrc/shop/cart.py\nfunction: Cart.total\n```",
        expect![
            "unknown symbol: wanted a path, and below it lines such as `line: 12` or `lines: 12-15`, found `function: Cart.total`"
        ],
    );
    check(
        "```\nsrc/shop/cart.py\nline: 10\nline: 23\n```",
        expect![[r#"[("src/shop/cart.py", 23)] invented 0 unseen 1"#]],
    );
    check(
        "```\nsrc/shop/cart.py\nline: 10\n```",
        expect![
            "line out of view: wanted a path, and below it lines such as `line: 12` or `lines: 12-15`, found `line: 10`"
        ],
    );
    check(
        "```\nsrc/shop/cart.py\nline: 500\n```",
        expect![
            "line out of view: wanted a path, and below it lines such as `line: 12` or `lines: 12-15`, found `line: 500`"
        ],
    );
    check(
        "```\nsrc/shop/cart.py\nlines: 23-99999999999999\n```",
        expect![[
            r#"[("src/shop/cart.py", 23), ("src/shop/cart.py", 24), ("src/shop/cart.py", 25), ("src/shop/cart.py", 26)] invented 4294967268 unseen 1"#
        ]],
    );
    check(
        "```\nREADME.md\nline: 1\n```",
        expect![
            "line out of view: wanted a path, and below it lines such as `line: 12` or `lines: 12-15`, found `line: 1`"
        ],
    );
    check(
        "```\nsrc/shop/order.py\nline: 1\n```",
        expect![
            "unknown path: wanted a path, and below it lines such as `line: 12` or `lines: 12-15`, found `src/shop/order.py`"
        ],
    );
    check(
        "```\nline: 1\n```",
        expect![
            "unknown path: wanted a path, and below it lines such as `line: 12` or `lines: 12-15`, found `line: 1`"
        ],
    );
    check(
        "```\nsrc/shop/cart.py\n```",
        expect![
            "empty answer: wanted a path, and below it lines such as `line: 12` or `lines: 12-15`, found a path without lines"
        ],
    );
    check(
        "line 23",
        expect![
            "no answer: wanted a code block with a path, and below it lines such as `line: 12` or `lines: 12-15`, found `line 23` without one"
        ],
    );
}

#[test]
fn the_shorthand_is_rejected_where_it_teaches_nothing() {
    let strict = LineStage { shorthand: LineShorthand::Reject, ..stage() };
    let completion = "```\nsrc/shop/cart.py\nfunction: Cart.average\n```";
    let rejection = strict.parse(&shown(), completion, Ended::ByItself).unwrap_err();
    assert_eq!(rejection.reason, Reason::Shorthand);
}

#[track_caller]
fn check_truth(base: &str, patched: &str, expect: Expect) {
    let context = context(&format!("//- /a.py\n{base}"), "x");
    let truth = stage().truth(&context.index, &gold(&context, &[("a.py", patched)]));
    let items = truth.iter().map(|item| format!("{} also {:?}", item.line, item.also));
    expect.assert_eq(&items.collect::<Vec<_>>().join(", "));
}

#[test]
fn truth_is_replaced_lines_and_anchored_insertions() {
    check_truth("a\nb\nc\n", "a\nx\nc\n", expect!["2 also []"]);
    check_truth("a\nb\nc\n", "a\n", expect!["2 also [], 3 also []"]);
    check_truth("a\nb\n", "a\nx\nb\n", expect!["1 also [2]"]);
    check_truth("a\n\n\nb\n", "a\n\nx\n\nb\n", expect!["1 also [2, 3, 4]"]);
    check_truth("a\n", "x\na\n", expect!["1 also []"]);
    check_truth("\na\n", "x\n\na\n", expect!["1 also [2]"]);
    check_truth("a\n", "a\nx\n", expect!["1 also []"]);
    // A run that could slide stands as far up as it goes.
    check_truth("a\n\nb\n\nc\n", "a\n\nb\n\nb\n\nc\n", expect!["1 also [2, 3]"]);
    check_truth("", "x\n", expect![""]);
}

fn item(line: u32, also: &[u32]) -> LineItem {
    LineItem { path: path("a.py"), line, also: also.to_vec() }
}

#[test]
fn an_insertion_is_hit_once_from_either_side() {
    let cases: [(&[u32], &[LineItem], usize); 6] = [
        (&[4], &[item(4, &[5])], 1),
        (&[5], &[item(4, &[5])], 1),
        (&[4, 5], &[item(4, &[5])], 1),
        (&[6], &[item(4, &[5])], 0),
        // One answered line pays once, and goes where it leaves the most for others.
        (&[5], &[item(4, &[5]), item(5, &[6])], 1),
        (&[5, 4], &[item(5, &[4]), item(5, &[6])], 2),
    ];
    for (answered, expected, hits) in cases {
        let answered: Vec<LineItem> = answered.iter().map(|line| item(*line, &[])).collect();
        let score = score_lines(&answered, expected);
        assert_eq!(score, Score { hits, answered: answered.len(), expected: expected.len() });
    }
}

#[test]
fn every_text_of_the_grammar_is_an_answer() {
    let shown = shown();
    let stage = LineStage { reasoning_tokens: 20, ..stage() };
    let grammar = stage.grammar(&shown);
    let mut random = ChaCha8Rng::seed_from_u64(1);
    for _ in 0..200 {
        let text = sample(&grammar, &mut random);
        let answer = stage.parse(&shown, &text, Ended::ByItself);
        assert!(answer.as_ref().is_ok_and(|answer| answer.invented + answer.unseen == 0), "{text}");
    }
}

#[test]
fn a_log_of_a_megabyte_leaves_room_for_the_code() {
    let log: String = (0..16_000)
        .map(|i| format!("{i} INFO the average of cart {i} is 0\n"))
        .collect::<Vec<_>>()
        .concat();
    let context = context(SHOP, &format!("The average fails.\n{log}"));
    let (prompt, shown) = stage().prompt(&context, &chosen(), &EstimateTokens).unwrap();
    let content = &prompt.messages[1].content;
    assert!(content.contains("lines left out: 15") && content.contains("def average"));
    assert!(shown.files.len() == 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn no_prompt_exceeds_its_budget(issue in "(\\PC{0,80}\n){0,30}", tokens in 700_usize..6000,
                                    n_lines in 1_usize..300) {
        let body: String = (0..n_lines).map(|i| format!("    name_{i} = {i}\n")).collect::<Vec<_>>().concat();
        let context = context(&format!("//- /a.py\nimport os\ndef f():\n{body}"), &issue);
        let budget = Budget { prompt_tokens: tokens, issue_tokens: 200 };
        let stage = LineStage { budget, ..stage() };
        let input = vec![symbol("a.py", SymbolKind::Function, "f")];
        match stage.prompt(&context, &input, &Bytes) {
            Ok((prompt, shown)) => {
                let texts = prompt.messages.iter().map(|message| Bytes.count(&message.content));
                prop_assert!(texts.sum::<usize>() <= tokens);
                let n_shown: u32 = shown.files[0].windows.iter().map(|w| w.last - w.first + 1).sum();
                prop_assert_eq!(n_shown as usize + shown.left_out, n_lines + 2);
            }
            Err(PromptError::NoRoom { needed, .. }) => prop_assert!(tokens < needed),
            Err(other) => prop_assert!(false, "{}", other),
        }
    }
}
