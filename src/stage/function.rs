//! Function localization: which symbols of the chosen files must change.
//!
//! # Prompt
//! The issue, and the outlines of the chosen files: signatures, decorators, first lines of
//! documentation, module-level names; over budget, symbols stay by rank.
//! # Answer
//! In a fenced block: a path line, then `class: Name`, `function: Class.method`,
//! `variable: NAME` or `module:` lines; blocks divided by blank lines.
//! # Truth
//! For each changed place of the base side, the innermost listed symbol that owns it.
//! # Items
//! `path::kind::qualified name`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use minijinja::value::Value;
use serde::{Deserialize, Serialize};

use crate::grammar::{Grammar, Node};
use crate::index::Index;
use crate::index::outline::{Outline, Place, Symbol, SymbolKind};
use crate::prompt::{CountTokens, Prompt};
use crate::repo::path::RepoPath;
use crate::repo::text::Text;
use crate::search_replace::fence::Ended;
use crate::stage::answer::{Entry, NamedPath, list_entries, parse_entry, parse_path};
use crate::stage::budget::{Budget, Draft, PromptError};
use crate::stage::gold::Gold;
use crate::stage::known::Known;
use crate::stage::rejection::{Reason, Rejection, quoted};
use crate::stage::{Context, Misses, Stage, StageKind, block_grammar, repeat, rule};

/// Limits of function localization.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionStage {
    pub budget: Budget,
    /// 0 asks for the answer alone.
    pub reasoning_tokens: u32,
    /// Symbols of an answer; further ones are not read.
    pub max_symbols: usize,
}

/// A symbol of a repository.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SymbolId {
    pub path: RepoPath,
    pub kind: SymbolKind,
    /// Qualified within the file; empty for [`SymbolKind::Module`].
    pub name: String,
}

impl fmt::Display for SymbolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}::{}::{}", self.path, self.kind.word(), self.name)
    }
}

/// The symbols of a prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FunctionShown {
    pub files: Vec<ShownSymbols>,
    /// Symbols of the chosen files without room.
    pub left_out: usize,
    /// All paths of the snapshot.
    pub known: Known,
}

/// The symbols of a file in a prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShownSymbols {
    pub path: RepoPath,
    /// In file order; `module:` is always there, last.
    pub symbols: Vec<(SymbolKind, String)>,
    /// All symbols of the file, as answer lines.
    pub known: Known,
}

/// A parsed answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionAnswer {
    /// Existing symbols of the chosen files, the most important first.
    pub symbols: Vec<SymbolId>,
    pub invented: Vec<String>,
    /// Symbols of other files of the repository, of which nothing is known here.
    pub unseen: usize,
}

impl Stage for FunctionStage {
    /// The chosen files, the most important first.
    type Input = Vec<RepoPath>;
    type Shown = FunctionShown;
    type Answer = FunctionAnswer;
    type Item = SymbolId;
    const KIND: StageKind = StageKind::Function;

    fn prompt(
        &self,
        context: &Context,
        input: &Vec<RepoPath>,
        counter: &dyn CountTokens,
    ) -> Result<(Prompt, FunctionShown), PromptError> {
        let files = outlined_files(context, input);
        if files.is_empty() {
            let wanted = "at least one readable file";
            return Err(PromptError::NothingToShow { stage: Self::KIND, wanted });
        }
        let ranked = ranked_symbols(context, &files);
        // The files themselves come first: each has the symbol `module:`, whatever else fits.
        let n_files = files.len();
        let kept = |n_pieces: usize| -> BTreeSet<(usize, usize)> {
            ranked[..n_pieces.saturating_sub(n_files)].iter().copied().collect()
        };
        let draft = Draft::new(Self::KIND, context, counter, self.budget)?;
        let (prompt, n_shown) = draft.fit(n_files + ranked.len(), |n_pieces| {
            let left_out = ranked.len() - n_pieces.saturating_sub(n_files).min(ranked.len());
            let outline = render_outlines(&files[..n_pieces.min(n_files)], &kept(n_pieces));
            vec![
                ("outline", Value::from(outline)),
                ("left_out", Value::from(left_out)),
                ("max_symbols", Value::from(self.max_symbols)),
                ("reasoning", Value::from(0 < self.reasoning_tokens)),
            ]
        })?;
        let kept = kept(n_shown);
        let shown_files = files[..n_shown.min(n_files)].iter().enumerate();
        let shown = FunctionShown {
            files: shown_files.map(|(idx, file)| file.shown(idx, &kept)).collect(),
            left_out: ranked.len() - kept.len(),
            known: Known::new(context.index.snapshot().files().keys().map(RepoPath::as_str)),
        };
        Ok((prompt, shown))
    }

    fn grammar(&self, shown: &FunctionShown) -> Grammar {
        let max = self.max_symbols as u32;
        let mut rules = BTreeMap::new();
        let mut blocks = Vec::new();
        for (idx, file) in shown.files.iter().enumerate() {
            let symbols = file.symbols.iter();
            let lines = symbols.map(|(kind, name)| Node::Text(answer_line(*kind, name) + "\n"));
            rules.insert(format!("symbol{idx}"), Node::Choice(lines.collect()));
            let path = Node::Text(format!("{}\n", file.path));
            let list = repeat(rule(&format!("symbol{idx}")), 1, max);
            blocks.push(Node::Sequence(vec![path, list]));
        }
        rules.insert("block".to_owned(), Node::Choice(blocks));
        let more = Node::Sequence(vec![Node::Text("\n".to_owned()), rule("block")]);
        let most = (shown.files.len() as u32).saturating_sub(1).min(max);
        let body = Node::Sequence(vec![rule("block"), repeat(more, 0, most)]);
        block_grammar(self.reasoning_tokens, body, rules)
    }

    fn completion_tokens(&self) -> usize {
        self.reasoning_tokens as usize + 60 + 40 * self.max_symbols
    }

    fn parse(
        &self,
        shown: &FunctionShown,
        completion: &str,
        ended: Ended,
    ) -> Result<FunctionAnswer, Rejection> {
        let wanted = "a path, and below it lines such as `function: Class.method`";
        let mut answer = FunctionAnswer { symbols: Vec::new(), invented: Vec::new(), unseen: 0 };
        let mut reason = None;
        // An answer about a single file may leave its path away.
        let mut place = match &shown.files[..] {
            [file] => About::Shown(file),
            _ => About::Nowhere,
        };
        for line in list_entries(completion, ended, wanted)? {
            let symbols = parse_entry(line).into_iter().filter_map(|entry| match entry {
                Entry::Symbol(kind, name) => Some((kind, name)),
                Entry::Lines(..) | Entry::Other => None,
            });
            let mut is_symbol = false;
            for (kind, name) in symbols {
                is_symbol = true;
                let n_named = answer.symbols.len() + answer.invented.len() + answer.unseen;
                if n_named == self.max_symbols {
                    break;
                }
                match &place {
                    About::Unseen => answer.unseen += 1,
                    About::Shown(file) => match file.find(kind, &name) {
                        Some(symbol) if answer.symbols.contains(&symbol) => {}
                        Some(symbol) => answer.symbols.push(symbol),
                        None => {
                            reason.get_or_insert(Reason::UnknownSymbol);
                            answer.invented.push(answer_line(kind, &name));
                        }
                    },
                    About::Nowhere => {
                        reason.get_or_insert(Reason::UnknownSymbol);
                        answer.invented.push(line.to_owned());
                    }
                }
            }
            if is_symbol {
                continue;
            }
            let file_at = |path: &RepoPath| shown.files.iter().find(|file| file.path == *path);
            let exists =
                |path: &RepoPath| file_at(path).is_some() || shown.known.contains(path.as_str());
            place = match parse_path(line, exists) {
                NamedPath::Existing(path) => file_at(&path).map_or(About::Unseen, About::Shown),
                NamedPath::Invented(text) => {
                    reason.get_or_insert(Reason::UnknownPath);
                    answer.invented.push(text);
                    About::Nowhere
                }
                NamedPath::Unsafe(text) => {
                    reason.get_or_insert(Reason::UnsafePath);
                    answer.invented.push(text);
                    About::Nowhere
                }
            };
        }
        let (reason, found) = match (reason, answer.invented.first()) {
            _ if !answer.symbols.is_empty() => return Ok(answer),
            (Some(reason), Some(found)) => (reason, quoted(found)),
            _ if 0 < answer.unseen => {
                (Reason::UnknownSymbol, "symbols of files that were not shown".to_owned())
            }
            _ => (Reason::EmptyAnswer, "a path without symbols".to_owned()),
        };
        Err(Rejection::new(reason, wanted, found))
    }

    fn truth(&self, index: &Index, gold: &Gold) -> Vec<SymbolId> {
        gold.owners(index).into_iter().collect()
    }

    fn items(&self, answer: &FunctionAnswer) -> Vec<SymbolId> {
        answer.symbols.clone()
    }

    fn misses(&self, answer: &FunctionAnswer) -> Misses {
        Misses { invented: answer.invented.len(), unseen: answer.unseen }
    }

    fn is_in_view(&self, shown: &FunctionShown, item: &SymbolId) -> bool {
        let mut files = shown.files.iter().filter(|file| file.path == item.path);
        files.any(|file| file.shows(item.kind, &item.name))
    }
}

/// Which file the lines of an answer are about.
enum About<'a> {
    Shown(&'a ShownSymbols),
    /// A file of the repository that is not in the prompt.
    Unseen,
    Nowhere,
}

impl ShownSymbols {
    fn shows(&self, kind: SymbolKind, name: &str) -> bool {
        self.symbols.iter().any(|(other, shown)| *other == kind && shown == name)
    }

    /// The symbol that an answer names: exactly, else the one shown symbol of that name with
    /// another kind, else the one shown symbol whose last parts are that name.
    fn find(&self, kind: SymbolKind, name: &str) -> Option<SymbolId> {
        let id = |kind, name: &str| SymbolId { path: self.path.clone(), kind, name: name.into() };
        if self.shows(kind, name) || self.known.contains(&answer_line(kind, name)) {
            return Some(id(kind, name));
        }
        let only = |is_meant: &dyn Fn(&str) -> bool| {
            let mut meant = self.symbols.iter().filter(|(_, shown)| is_meant(shown));
            let first = meant.next()?;
            meant.next().is_none().then(|| id(first.0, &first.1))
        };
        only(&|shown| shown == name && !name.is_empty()).or_else(|| {
            only(&|shown| shown.strip_suffix(name).is_some_and(|head| head.ends_with('.')))
        })
    }
}

/// A chosen file that can be shown.
struct OutlinedFile {
    path: RepoPath,
    text: Arc<Text>,
    outline: Arc<Outline>,
}

impl OutlinedFile {
    fn shown(&self, file_idx: usize, kept: &BTreeSet<(usize, usize)>) -> ShownSymbols {
        let symbols = self.outline.symbols.iter();
        let is_listed = |symbol: &&Symbol| symbol.kind != SymbolKind::Module;
        let all: Vec<String> = symbols
            .clone()
            .map(|symbol| answer_line(symbol.kind, &symbol.name))
            .chain([answer_line(SymbolKind::Module, "")])
            .collect();
        let shown = symbols.enumerate().filter(|(idx, _)| kept.contains(&(file_idx, *idx)));
        let shown = shown.map(|(_, symbol)| symbol).filter(is_listed);
        let module = [(SymbolKind::Module, String::new())];
        ShownSymbols {
            path: self.path.clone(),
            symbols: shown.map(|s| (s.kind, s.name.clone())).chain(module).collect(),
            known: Known::new(all.iter().map(String::as_str)),
        }
    }
}

fn outlined_files(context: &Context, input: &[RepoPath]) -> Vec<OutlinedFile> {
    let mut files: Vec<OutlinedFile> = Vec::new();
    for path in input {
        let outline = context.index.outline(path);
        let text = context.index.snapshot().read_text(path);
        if let (Some(outline), Ok(text)) = (outline, text)
            && files.iter().all(|file| file.path != *path)
        {
            files.push(OutlinedFile { path: path.clone(), text, outline: outline.clone() });
        }
    }
    files
}

/// All listed symbols of the files as (file, symbol) indices: those that retrieval ranks in its
/// order, then the rest in turns, one of each file.
fn ranked_symbols(context: &Context, files: &[OutlinedFile]) -> Vec<(usize, usize)> {
    let mut rank_of: BTreeMap<(&RepoPath, SymbolKind, &str), usize> = BTreeMap::new();
    let in_files = context.ranking.files.iter().flat_map(|file| &file.symbols);
    for (rank, symbol) in context.ranking.symbols.iter().chain(in_files).enumerate() {
        rank_of.entry((&symbol.path, symbol.kind, &symbol.name)).or_insert(rank);
    }
    let mut ranked = Vec::new();
    for (file_idx, file) in files.iter().enumerate() {
        for (symbol_idx, symbol) in file.outline.symbols.iter().enumerate() {
            if symbol.kind != SymbolKind::Module {
                let rank = rank_of.get(&(&file.path, symbol.kind, symbol.name.as_str()));
                ranked.push((rank.copied().unwrap_or(usize::MAX), symbol_idx, file_idx));
            }
        }
    }
    ranked.sort_unstable();
    ranked.into_iter().map(|(_, symbol_idx, file_idx)| (file_idx, symbol_idx)).collect()
}

fn render_outlines(files: &[OutlinedFile], kept: &BTreeSet<(usize, usize)>) -> String {
    let mut text = String::new();
    for (file_idx, file) in files.iter().enumerate() {
        text.extend(["### ", file.path.as_str(), "\n"]);
        let symbols = file.outline.symbols.iter().enumerate();
        let shown = symbols.filter(|(idx, _)| kept.contains(&(file_idx, *idx)));
        let mut places: Vec<(&Symbol, &Place)> = shown
            .flat_map(|(_, symbol)| symbol.places.iter().map(move |place| (symbol, place)))
            .collect();
        places.sort_by_key(|(_, place)| (place.span.first, std::cmp::Reverse(place.span.last)));
        for (symbol, place) in places {
            render_place(&file.text, symbol, place, &mut text);
        }
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text
}

/// Lines of a signature, and characters of a line, that a prompt shows.
const MAX_HEADER_LINES: u32 = 6;
const MAX_LINE: usize = 120;

fn render_place(file: &Text, symbol: &Symbol, place: &Place, text: &mut String) {
    let mut push = |number: u32| {
        let line = file.line(number as usize - 1).trim_end();
        let end = line.char_indices().nth(MAX_LINE).map_or(line.len(), |(end, _)| end);
        *text += &line[..end];
        text.push('\n');
    };
    if symbol.kind == SymbolKind::Variable {
        push(place.span.first);
        return;
    }
    let header = place.header.first..=place.header.last.min(place.header.first + MAX_HEADER_LINES);
    let decorators = place.span.first..place.header.first;
    decorators.take(2).chain(header).for_each(&mut push);
    if let Some((number, _)) = &place.doc {
        push(*number);
    }
}

/// The line of an answer that names a symbol.
pub(crate) fn answer_line(kind: SymbolKind, name: &str) -> String {
    match kind {
        SymbolKind::Module => "module:".to_owned(),
        kind => format!("{}: {name}", kind.word()),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::prompt::EstimateTokens;
    use crate::stage::fixture::{Bytes, SHOP, context, gold, path, sample};
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
        let (prompt, shown) =
            stage().prompt(&context, &vec![path("a.py")], &EstimateTokens).unwrap();
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
        check_truth(
            "import os\n",
            "import os\nimport sys\n",
            expect!["src/shop/cart.py::module::"],
        );
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
}
