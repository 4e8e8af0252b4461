//! What a model writes as edits, and what becomes of it.

use expect_test::{Expect, expect};
use proptest::prelude::*;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::prompt::{CountTokens, EstimateTokens};
use crate::repo::path::RepoPath;
use crate::search_replace::fence::Ended;
use crate::stage::Stage;
use crate::stage::budget::{Budget, PromptError};
use crate::stage::edit::items::{ChangedLine, EditItem, Sign};
use crate::stage::edit::shown::EditShown;
use crate::stage::edit::{EditItems, EditStage};
use crate::stage::fixture::{Bytes, SHOP, context, gold, path, sample};
use crate::stage::profile::Profile;
use crate::stage::rejection::Reason;
use crate::stage::score::Score;

fn stage() -> EditStage {
    Profile::Small.stages().edit
}

fn chosen() -> Vec<(RepoPath, u32)> {
    vec![(path("src/shop/cart.py"), 23), (path("src/shop/tax.py"), 2), (path("gone.py"), 1)]
}

fn shown() -> EditShown {
    let context = context(SHOP, "The average fails.");
    stage().prompt(&context, &chosen(), &EstimateTokens).unwrap().1
}

#[track_caller]
fn check(completion: &str, expect: Expect) {
    let stage = stage();
    let outcome = stage.parse(&shown(), completion, Ended::ByItself);
    expect.assert_eq(&match outcome {
        Ok(answer) => {
            let items = stage.items(&answer).into_iter().map(|item| match item {
                EditItem::Content(ChangedLine { path, sign, text, .. }) => {
                    let sign = if sign == Sign::Added { '+' } else { '-' };
                    format!("{path} {sign}{text}\n")
                }
                EditItem::Line(item) => format!("{item:?}"),
            });
            items.collect()
        }
        Err(rejection) => rejection.to_string(),
    });
}

fn edit(path: &str, search: &str, replace: &str) -> String {
    format!("```\n### {path}\n<<<<<<< SEARCH\n{search}=======\n{replace}>>>>>>> REPLACE\n```\n")
}

const AVERAGE: &str = "        return self.total / len(self.items)\n";

#[test]
fn the_prompt_shows_code_without_numbers() {
    let context = context(SHOP, "The average fails.");
    let (prompt, _) = stage().prompt(&context, &chosen(), &EstimateTokens).unwrap();
    expect![[r#"
        # Issue
        The average fails.

        # Code
        ### src/shop/cart.py
        ```
        import os
        from shop import tax
        ...

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
        ```

        ### src/shop/tax.py
        ```
        def tax(net):
            return net * 0.2
        ```

        # Task
        Change this code to resolve the issue.
        Write one code block with one edit. SEARCH repeats whole lines of the code above, with their indentation; REPLACE holds the lines to put in their place. Format:
        ```
        ### PATH
        <<<<<<< SEARCH
        lines of the code above
        =======
        lines in their place
        >>>>>>> REPLACE
        ```"#]].assert_eq(&prompt.messages[1].content);
}

#[test]
fn completions_in_the_wild() {
    let fixed = "        return self.total / max(1, len(self.items))\n";
    check(
        &edit("src/shop/cart.py", AVERAGE, fixed),
        expect![[r#"
        src/shop/cart.py -        return self.total / len(self.items)
        src/shop/cart.py +        return self.total / max(1, len(self.items))
    "#]],
    );
    // A path in backticks, another language behind the fence, reasoning before.
    let dressed = edit("`src/shop/cart.py`", AVERAGE, fixed).replacen("```", "Like so:\n```py", 1);
    check(
        &dressed,
        expect![[r#"
        src/shop/cart.py -        return self.total / len(self.items)
        src/shop/cart.py +        return self.total / max(1, len(self.items))
    "#]],
    );
    // White space at the ends of lines, and one indentation for all.
    check(
        &edit("src/shop/cart.py", "return self.total / len(self.items)  \n", "return 0\n"),
        expect![[r#"
        src/shop/cart.py -        return self.total / len(self.items)
        src/shop/cart.py +        return 0
    "#]],
    );
    // Deletions, new files, deleted files.
    check(
        &edit("src/shop/cart.py", AVERAGE, ""),
        expect![[r#"
        src/shop/cart.py -        return self.total / len(self.items)
    "#]],
    );
    check(
        &edit("src/shop/new.py", "", "x = 1\n"),
        expect![[r#"
        src/shop/new.py +x = 1
    "#]],
    );
    check(
        "```\n### delete src/shop/tax.py\n```",
        expect![[r#"
        src/shop/tax.py -def tax(net):
        src/shop/tax.py -    return net * 0.2
    "#]],
    );
    // Half a line, unknown lines, twice the same lines, unseen files, no change.
    check(
        &edit("src/shop/cart.py", "self.total / len\n", "x\n"),
        expect![
            "search not found: wanted whole lines of the shown code as SEARCH, found `src/shop/cart.py` has no such lines where they were shown: `self.total / len`"
        ],
    );
    check(
        &edit("src/shop/cart.py", "print(1)\n", "x\n"),
        expect![
            "search not found: wanted whole lines of the shown code as SEARCH, found `src/shop/cart.py` has no such lines where they were shown: `print(1)`"
        ],
    );
    check(
        &edit("src/shop/cart.py", "\n", "x\n"),
        expect![
            "ambiguous search: wanted a SEARCH that stands at one place, found `src/shop/cart.py` has the wanted lines at lines 13, 16, 21, 24, 25"
        ],
    );
    check(
        &edit("README.md", "# Shop\n", "x\n"),
        expect![
            "search not found: wanted whole lines of the shown code as SEARCH, found `README.md` cannot be edited as text: it was not shown"
        ],
    );
    check(
        &edit("src/shop/order.py", "a\n", "x\n"),
        expect![
            "unknown path: wanted the path of a shown file, found the base has no file `src/shop/order.py`"
        ],
    );
    check(
        &edit("src/shop/cart.py", AVERAGE, AVERAGE),
        expect![
            "no change: wanted a REPLACE that differs from its SEARCH, found the edits leave every file as it is"
        ],
    );
    check(
        &edit("../x.py", "", "x\n"),
        expect![
            "unsafe path: wanted search/replace edits in a fenced block, found line 2: `../x.py` has an empty, `.` or `..` component"
        ],
    );
    check(
        "```\n### src/shop/cart.py\n<<<<<<< SEARCH\nx\n>>>>>>> REPLACE\n```",
        expect![
            "malformed edit: wanted search/replace edits in a fenced block, found line 5: the divider `=======` was wanted, and `>>>>>>> REPLACE` was found"
        ],
    );
    check(
        "```\n```",
        expect![
            "empty answer: wanted search/replace edits in a fenced block, found the block holds no edit"
        ],
    );
    check(
        "",
        expect![
            "no answer: wanted search/replace edits in a fenced block, found a fenced block was wanted, and none was found"
        ],
    );
}

#[test]
fn an_edit_that_was_cut_is_rejected() {
    let whole = edit("src/shop/cart.py", AVERAGE, "        return 0\n");
    let cut = whole.trim_end().strip_suffix("```").unwrap();
    let rejection = stage().parse(&shown(), cut, Ended::CutOff).unwrap_err();
    assert_eq!(rejection.reason, Reason::CutOff);
    assert!(stage().parse(&shown(), cut, Ended::ByItself).is_ok());
}

#[test]
fn truth_has_both_units_and_the_switch_chooses() {
    let context = context(SHOP, "x");
    let tax = "def tax(net):\n    if not net:\n        return 0\n\n    return net * 0.2\n";
    let gold = gold(&context, &[("src/shop/tax.py", tax)]);
    let by_content = stage();
    let by_lines = EditStage { items: EditItems::Lines, ..stage() };
    let truth = by_content.truth(&context.index, &gold);
    expect![[r#"
        [
            Content(
                ChangedLine {
                    path: "src/shop/tax.py",
                    sign: Added,
                    text: "    if not net:",
                    near: 1,
                },
            ),
            Content(
                ChangedLine {
                    path: "src/shop/tax.py",
                    sign: Added,
                    text: "        return 0",
                    near: 1,
                },
            ),
            Line(
                LineItem {
                    path: "src/shop/tax.py",
                    line: 1,
                    also: [
                        2,
                    ],
                },
            ),
        ]
    "#]]
    .assert_debug_eq(&truth);
    let completion = edit(
        "src/shop/tax.py",
        "    return net * 0.2\n",
        "    if not net:\n        return 1\n    return net * 0.2\n",
    );
    let score = |stage: &EditStage| {
        let answer = stage.parse(&shown(), &completion, Ended::ByItself).unwrap();
        stage.grade_answer(&answer, &truth).score
    };
    assert_eq!(score(&by_content), Score { hits: 1, answered: 2, expected: 2 });
    assert_eq!(score(&by_lines), Score { hits: 1, answered: 1, expected: 1 });
}

#[test]
fn markers_grow_where_the_code_holds_one() {
    let files = "//- /a.rst\nTitle\n=======\n\nText\n";
    let context = context(files, "x");
    let input = vec![(path("a.rst"), 4)];
    let (prompt, shown) = stage().prompt(&context, &input, &EstimateTokens).unwrap();
    assert_eq!(shown.marker_length, 9);
    assert!(prompt.messages[1].content.contains("<<<<<<<<< SEARCH"));
    let completion = "```\n### a.rst\n<<<<<<<<< SEARCH\nTitle\n=======\n=========\nName\n=======\n>>>>>>>>> REPLACE\n```";
    let answer = stage().parse(&shown, completion, Ended::ByItself).unwrap();
    assert_eq!(stage().items(&answer).len(), 2);
}

#[test]
fn every_text_of_the_grammar_applies_or_changes_nothing() {
    let context = context(SHOP, "x");
    for stage in [
        stage(),
        EditStage {
            reasoning_tokens: 20,
            new_files: true,
            max_edits: 1,
            max_search_lines: 0,
            ..stage()
        },
    ] {
        let (_, shown) = stage.prompt(&context, &chosen(), &EstimateTokens).unwrap();
        let grammar = stage.grammar(&shown);
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let mut n_applied = 0;
        for _ in 0..300 {
            let text = sample(&grammar, &mut random);
            match stage.parse(&shown, &text, Ended::ByItself) {
                Ok(_) => n_applied += 1,
                Err(rejection) => {
                    assert_eq!(rejection.reason, Reason::NoChange, "{text}\n{rejection}");
                }
            }
        }
        assert!(200 < n_applied, "{n_applied} of 300 apply");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn no_prompt_exceeds_its_budget(issue in "(\\PC{0,80}\n){0,30}", tokens in 700_usize..6000,
                                    n_lines in 1_usize..300, line in 1_u32..400) {
        let body: String = (0..n_lines).map(|i| format!("    name_{i} = {i}\n")).collect::<Vec<_>>().concat();
        let context = context(&format!("//- /a.py\nimport os\ndef f():\n{body}"), &issue);
        let budget = Budget { prompt_tokens: tokens, issue_tokens: 200 };
        let stage = EditStage { budget, ..stage() };
        match stage.prompt(&context, &vec![(path("a.py"), line)], &Bytes) {
            Ok((prompt, _)) => {
                let texts = prompt.messages.iter().map(|message| Bytes.count(&message.content));
                prop_assert!(texts.sum::<usize>() <= tokens);
            }
            Err(PromptError::NoRoom { needed, .. }) => prop_assert!(tokens < needed),
            Err(other) => prop_assert!(false, "{}", other),
        }
    }
}
