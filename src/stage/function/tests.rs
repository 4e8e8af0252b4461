//! What a model answers with symbols, what the gold patch owns, and what a prompt shows.

use expect_test::{Expect, expect};
use proptest::prelude::*;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::prompt::{CountTokens, EstimateTokens};
use crate::search_replace::fence::Ended;
use crate::stage::Stage;
use crate::stage::budget::{Budget, PromptError};
use crate::stage::fixture::{Bytes, SHOP, context, gold, path, sample};
use crate::stage::function::shown::FunctionShown;
use crate::stage::function::symbol::answer_line;
use crate::stage::function::{FunctionAnswer, FunctionStage};
use crate::stage::profile::Profile;

fn stage() -> FunctionStage {
    Profile::Small.stages().function
}

fn shown(files: &[&str]) -> FunctionShown {
    let context = context(SHOP, "The total is wrong.");
    let input = files.iter().map(|file| path(file)).collect();
    stage().prompt(&context, &input, &EstimateTokens).unwrap().1
}

#[track_caller]
fn check(completion: &str, expect: Expect) {
    let shown = shown(&["src/shop/cart.py", "src/shop/tax.py"]);
    let outcome = stage().parse(&shown, completion, Ended::ByItself);
    expect.assert_eq(&match outcome {
        Ok(FunctionAnswer { symbols, invented, unseen }) => {
            let symbols: Vec<String> = symbols.iter().map(ToString::to_string).collect();
            format!("{symbols:?} invented {invented:?} unseen {unseen}")
        }
        Err(rejection) => rejection.to_string(),
    });
}

#[test]
fn completions_in_the_wild() {
    check(
        "```\nsrc/shop/cart.py\nfunction: Cart.total\nclass: Cart\n```",
        expect![[
            r#"["src/shop/cart.py::function::Cart.total", "src/shop/cart.py::class::Cart"] invented [] unseen 0"#
        ]],
    );
    check(
        "```\nsrc/shop/cart.py\nvariable: RATES\nmodule:\n\nsrc/shop/tax.py\nfunction: tax\n```",
        expect![[
            r#"["src/shop/cart.py::variable::RATES", "src/shop/cart.py::module::", "src/shop/tax.py::function::tax"] invented [] unseen 0"#
        ]],
    );
    check(
        "```\n### `src/shop/cart.py`\n- method: `Cart.total()`\n```",
        expect![[r#"["src/shop/cart.py::function::Cart.total"] invented [] unseen 0"#]],
    );
    // A bare method name and a wrong kind are taken where only one symbol can be meant.
    check(
        "```\nsrc/shop/cart.py\nfunction: average\nfunction: Cart\n```",
        expect![[
            r#"["src/shop/cart.py::function::Cart.average", "src/shop/cart.py::class::Cart"] invented [] unseen 0"#
        ]],
    );
    check(
        "```\nsrc/shop/cart.py\nfunction: Cart.discount\nclass: Cart\n```",
        expect![[
            r#"["src/shop/cart.py::class::Cart"] invented ["function: Cart.discount"] unseen 0"#
        ]],
    );
    check(
        "```\nsrc/shop/cart.py\nfunction: discount\n```",
        expect![
            "unknown symbol: wanted a path, and below it lines such as `function: Class.method`, found `function: discount`"
        ],
    );
    check(
        "```\nsrc/shop/order.py\nfunction: f\n```",
        expect![
            "unknown path: wanted a path, and below it lines such as `function: Class.method`, found `src/shop/order.py`"
        ],
    );
    check(
        "```\n/etc/passwd\nfunction: f\n```",
        expect![
            "unsafe path: wanted a path, and below it lines such as `function: Class.method`, found `/etc/passwd`"
        ],
    );
    check(
        "```\nREADME.md\nmodule:\n```",
        expect![
            "unknown symbol: wanted a path, and below it lines such as `function: Class.method`, found symbols of files that were not shown"
        ],
    );
    check(
        "```\nfunction: Cart.total\n```",
        expect![
            "unknown symbol: wanted a path, and below it lines such as `function: Class.method`, found `function: Cart.total`"
        ],
    );
    check(
        "```\nsrc/shop/cart.py\n```",
        expect![
            "empty answer: wanted a path, and below it lines such as `function: Class.method`, found a path without symbols"
        ],
    );
    check(
        "Cart.total",
        expect![
            "no answer: wanted a code block with a path, and below it lines such as `function: Class.method`, found `Cart.total` without one"
        ],
    );
}

#[test]
fn an_answer_about_the_only_file_may_leave_its_path_away() {
    let shown = shown(&["src/shop/cart.py"]);
    let answer = stage().parse(&shown, "```\nfunction: load\n```", Ended::ByItself).unwrap();
    assert_eq!(answer.symbols[0].to_string(), "src/shop/cart.py::function::load");
}

#[test]
fn a_list_that_was_cut_loses_its_last_line() {
    let shown = shown(&["src/shop/cart.py"]);
    let completion = "```\nsrc/shop/cart.py\nfunction: Cart.total\nfunction: Cart.av";
    let answer = stage().parse(&shown, completion, Ended::CutOff).unwrap();
    assert_eq!((answer.symbols.len(), answer.invented.len()), (1, 0));
}

#[test]
fn the_prompt_shows_signatures_without_bodies() {
    let context = context(SHOP, "The total is wrong.");
    let input = vec![path("src/shop/cart.py"), path("README.md"), path("gone.py")];
    let (prompt, shown) = stage().prompt(&context, &input, &EstimateTokens).unwrap();
    expect![[r##"
        # Issue
        The total is wrong.

        # Outline
        ### src/shop/cart.py
        RATES = {
        class Cart:
            """A shopping cart."""
            def __init__(self, items):
            @property
            def total(self):
            def average(self):
        def load(path):

        ### README.md

        # Task
        Which of these symbols must be changed to resolve the issue?
        Write one code block that lists at most 5 of them below the path of their file, the most important first. `module:` stands for imports and all other lines outside the listed symbols. Example:
        ```
        src/shop/cart.py
        function: Cart.total
        class: Order
        ```"##]].assert_eq(&prompt.messages[1].content);
    let symbols = shown
        .files
        .iter()
        .flat_map(|file| file.symbols.iter().map(|(kind, name)| answer_line(*kind, name)));
    expect!["variable: RATES, class: Cart, function: Cart.__init__, function: Cart.total, function: Cart.average, function: load, module:, module:"].assert_eq(&symbols.collect::<Vec<_>>().join(", "));
}

#[test]
fn symbols_without_room_exist_but_are_not_shown() {
    let source: String = (0..300)
        .map(|i| format!("def function_{i}():\n    pass\n\n\n"))
        .collect::<Vec<_>>()
        .concat();
    let context = context(&format!("//- /a.py\n{source}"), "x");
    let (prompt, shown) = stage().prompt(&context, &vec![path("a.py")], &EstimateTokens).unwrap();
    assert!(0 < shown.left_out);
    let mark = format!("({} more symbols are not shown.)", shown.left_out);
    assert!(prompt.messages[1].content.contains(&mark));
    let completion = "```\na.py\nfunction: function_299\nfunction: function_300\n```";
    let answer = stage().parse(&shown, completion, Ended::ByItself).unwrap();
    assert_eq!((answer.symbols.len(), answer.invented.len()), (1, 1));
    assert!(!stage().is_in_view(&shown, &answer.symbols[0]));
}

#[track_caller]
fn check_truth(old: &str, new: &str, expect: Expect) {
    let context = context(SHOP, "x");
    let name = "src/shop/cart.py";
    let base = context.index.snapshot().read_text(&path(name)).unwrap();
    let patched = base.content().replacen(old, new, 1);
    assert_ne!(patched, base.content(), "the patch changes something");
    let gold = gold(&context, &[(name, &patched)]);
    let truth = stage().truth(&context.index, &gold);
    expect.assert_eq(&truth.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
}

#[test]
fn truth_is_the_innermost_owner_of_each_changed_place() {
    check_truth(
        "net = sum(self.items)",
        "net = 0",
        expect!["src/shop/cart.py::function::Cart.total"],
    );
    check_truth("limit = 5", "limit = 6", expect!["src/shop/cart.py::class::Cart"]);
    check_truth("import os\n", "import os\nimport sys\n", expect!["src/shop/cart.py::module::"]);
    check_truth(
        "'a': 1,\n",
        "'a': 1,\n    'b': 2,\n",
        expect!["src/shop/cart.py::variable::RATES"],
    );
    check_truth("    @property\n", "", expect!["src/shop/cart.py::function::Cart.total"]);
    check_truth(
        "        return net\n",
        "        return net\n\n    def x(self):\n        pass\n",
        expect!["src/shop/cart.py::class::Cart"],
    );
    check_truth(
        "        return net\n",
        "        net += 1\n        return net\n",
        expect!["src/shop/cart.py::function::Cart.total"],
    );
    check_truth(
        "    return Cart(path)\n",
        "    return Cart(path)\n\n\ndef save():\n    pass\n",
        expect!["src/shop/cart.py::module::"],
    );
    check_truth(
        "    return Cart(path)\n",
        "    cart = Cart(path)\n    return cart\n",
        expect!["src/shop/cart.py::function::load"],
    );
}

#[test]
fn every_text_of_the_grammar_is_an_answer() {
    let shown = shown(&["src/shop/cart.py", "src/shop/tax.py", "README.md"]);
    let stage = FunctionStage { reasoning_tokens: 20, ..stage() };
    let grammar = stage.grammar(&shown);
    let mut random = ChaCha8Rng::seed_from_u64(1);
    for _ in 0..200 {
        let text = sample(&grammar, &mut random);
        let answer = stage.parse(&shown, &text, Ended::ByItself);
        assert!(answer.as_ref().is_ok_and(|answer| answer.invented.is_empty()), "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn no_prompt_exceeds_its_budget(issue in "(\\PC{0,80}\n){0,30}", tokens in 700_usize..6000,
                                    n_symbols in 1_usize..100) {
        let source: String =
            (0..n_symbols).map(|i| format!("def name_{i}(a, b):\n    pass\n")).collect::<Vec<_>>().concat();
        let files = format!("//- /a.py\n{source}//- /b.py\n{source}");
        let context = context(&files, &issue);
        let budget = Budget { prompt_tokens: tokens, issue_tokens: 200 };
        let stage = FunctionStage { budget, ..stage() };
        match stage.prompt(&context, &vec![path("a.py"), path("b.py")], &Bytes) {
            Ok((prompt, _)) => {
                let texts = prompt.messages.iter().map(|message| Bytes.count(&message.content));
                prop_assert!(texts.sum::<usize>() <= tokens);
            }
            Err(PromptError::NoRoom { needed, .. }) => prop_assert!(tokens < needed),
            Err(other) => prop_assert!(false, "{}", other),
        }
    }
}
