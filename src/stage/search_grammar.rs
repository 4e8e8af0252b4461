//! Which SEARCH texts are valid: the runs of whole lines that occur once in the windows of a file.
//!
//! A suffix automaton over lines has a state for every class of runs that end at the same places,
//! at most two for each line; a run is unique where its state's runs end at one place. Written as
//! rules in which each line leads on to the next state, it lets a model start at any line, go on
//! from there, and end only where the run has become unique.

use std::collections::BTreeMap;

use crate::grammar::Node;

/// The rules for one file, and the name of the rule to start from; `None` where no run is unique.
///
/// `accept` follows a complete run. Rule names begin with `prefix`. Runs start with a line that is
/// not blank, and have at most `max_lines` lines (0: no limit, and fewer rules).
pub(crate) fn search_rules(
    windows: &[Vec<String>],
    max_lines: usize,
    prefix: &str,
    accept: &Node,
) -> Option<(String, BTreeMap<String, Node>)> {
    let (lines, states) = build(windows);
    // A node is a state and how many lines led to it; without a limit the number stays 0.
    let is_limited = 0 < max_lines;
    let root = (0, 0);
    let is_complete = |(state, _): (usize, usize)| states[state].n_ends == 1 && state != 0;
    let steps_from = |(state, depth): (usize, usize)| {
        let is_open = !is_limited || depth < max_lines;
        let depth = if is_limited { depth + 1 } else { 0 };
        let is_start = |line: u32| state != 0 || !lines[line as usize].trim().is_empty();
        let next = states[state].next.iter().filter(|(line, _)| is_open && is_start(**line));
        next.map(|(line, target)| (*line, (*target, depth))).collect::<Vec<_>>()
    };

    let mut order = vec![root];
    let mut leads_on = BTreeMap::from([(root, false)]);
    let mut at = 0;
    while at < order.len() {
        for (_, target) in steps_from(order[at]) {
            if leads_on.insert(target, false).is_none() {
                order.push(target);
            }
        }
        at += 1;
    }
    // Steps lead to longer runs. From the longest back: can a complete run be reached from here?
    order.sort_unstable_by_key(|(state, depth)| (states[*state].longest, *depth));
    for node in order.iter().rev() {
        let found = steps_from(*node).iter().any(|(_, target)| leads_on[target]);
        leads_on.insert(*node, found || is_complete(*node));
    }
    if !leads_on[&root] {
        return None;
    }

    let name = |(state, depth): (usize, usize)| {
        let depth = if is_limited { format!("d{depth}") } else { String::new() };
        format!("{prefix}s{state}{depth}")
    };
    let mut rules = BTreeMap::new();
    for node in order.into_iter().filter(|node| leads_on[node]) {
        let mut choices: Vec<Node> = steps_from(node)
            .into_iter()
            .filter(|(_, target)| leads_on[target])
            .map(|(line, target)| {
                let text = Node::Text(format!("{}\n", lines[line as usize]));
                Node::Sequence(vec![text, Node::Rule(name(target))])
            })
            .collect();
        if is_complete(node) {
            choices.push(accept.clone());
        }
        let rule = if choices.len() == 1 { choices.remove(0) } else { Node::Choice(choices) };
        rules.insert(name(node), rule);
    }
    Some((name(root), rules))
}

/// A class of runs that end at the same places.
#[derive(Clone, Default)]
struct State {
    /// Lines of the longest run of the class.
    longest: usize,
    /// The class of the longest run's longest suffix that ends at more places.
    suffix: Option<usize>,
    next: BTreeMap<u32, usize>,
    /// At how many places the runs end.
    n_ends: usize,
}

/// The distinct lines, and the suffix automaton of the windows over their numbers; state 0 is
/// the start. Runs do not reach from one window into the next.
fn build(windows: &[Vec<String>]) -> (Vec<&str>, Vec<State>) {
    let mut numbers: BTreeMap<&str, u32> = BTreeMap::new();
    let mut lines = Vec::new();
    for line in windows.iter().flatten() {
        numbers.entry(line).or_insert_with(|| {
            lines.push(line.as_str());
            lines.len() as u32 - 1
        });
    }
    let mut states = vec![State::default()];
    for window in windows {
        let mut last = 0;
        for line in window {
            last = extend(&mut states, last, numbers[line.as_str()]);
        }
    }
    let mut by_length: Vec<usize> = (1..states.len()).collect();
    by_length.sort_unstable_by_key(|state| states[*state].longest);
    for state in by_length.into_iter().rev() {
        if let Some(suffix) = states[state].suffix {
            states[suffix].n_ends += states[state].n_ends;
        }
    }
    (lines, states)
}

/// Adds a line behind the run of `last`; gives the state of the whole run.
///
/// Windows share one automaton, so the step may exist already.
fn extend(states: &mut Vec<State>, last: usize, line: u32) -> usize {
    let longest = states[last].longest + 1;
    if let Some(&target) = states[last].next.get(&line) {
        let is_whole = states[target].longest == longest;
        let state = if is_whole { target } else { split(states, last, line, target) };
        states[state].n_ends += 1;
        return state;
    }
    let new = states.len();
    states.push(State { longest, n_ends: 1, ..State::default() });
    let mut from = Some(last);
    while let Some(state) = from.filter(|state| !states[*state].next.contains_key(&line)) {
        states[state].next.insert(line, new);
        from = states[state].suffix;
    }
    states[new].suffix = Some(match from {
        None => 0,
        Some(state) => {
            let target = states[state].next[&line];
            let is_whole = states[target].longest == states[state].longest + 1;
            if is_whole { target } else { split(states, state, line, target) }
        }
    });
    new
}

/// Splits off `target` the runs that are no longer than those of `from` and a line.
fn split(states: &mut Vec<State>, from: usize, line: u32, target: usize) -> usize {
    let copy = states.len();
    let longest = states[from].longest + 1;
    states.push(State { longest, n_ends: 0, ..states[target].clone() });
    states[target].suffix = Some(copy);
    let mut at = Some(from);
    while let Some(state) = at.filter(|state| states[*state].next.get(&line) == Some(&target)) {
        states[state].next.insert(line, copy);
        at = states[state].suffix;
    }
    copy
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use expect_test::expect;
    use proptest::prelude::*;

    use super::*;

    const END: &str = "=======\n";

    fn windows(texts: &[&str]) -> Vec<Vec<String>> {
        texts.iter().map(|text| text.lines().map(ToOwned::to_owned).collect()).collect()
    }

    /// All texts that the rules allow, up to `END`.
    fn language(windows: &[Vec<String>], max_lines: usize) -> BTreeSet<String> {
        let accept = Node::Text(END.to_owned());
        let mut found = BTreeSet::new();
        if let Some((start, rules)) = search_rules(windows, max_lines, "f0", &accept) {
            expand(&rules, &rules[&start], String::new(), &mut found);
        }
        found
    }

    fn expand(
        rules: &BTreeMap<String, Node>,
        node: &Node,
        before: String,
        found: &mut BTreeSet<String>,
    ) {
        match node {
            Node::Choice(choices) => {
                assert!(!choices.is_empty(), "a rule without a way on");
                for choice in choices {
                    expand(rules, choice, before.clone(), found);
                }
            }
            Node::Sequence(nodes) => {
                let [Node::Text(text), Node::Rule(name)] = &nodes[..] else {
                    panic!("not a line and a rule: {nodes:?}")
                };
                expand(rules, &rules[name], before + text, found);
            }
            Node::Text(text) if text == END => {
                found.insert(before);
            }
            other => panic!("unexpected {other:?}"),
        }
    }

    /// The same by trying every run.
    fn unique_runs(windows: &[Vec<String>], max_lines: usize) -> BTreeSet<String> {
        let mut n_found: BTreeMap<&[String], usize> = BTreeMap::new();
        for window in windows {
            for first in 0..window.len() {
                for end in first + 1..=window.len() {
                    *n_found.entry(&window[first..end]).or_default() += 1;
                }
            }
        }
        let is_valid = |run: &[String], n: usize| {
            n == 1 && !run[0].trim().is_empty() && (max_lines == 0 || run.len() <= max_lines)
        };
        let valid = n_found.into_iter().filter(|(run, n)| is_valid(run, *n));
        valid
            .map(|(run, _)| run.iter().map(|line| format!("{line}\n")).collect::<Vec<_>>().concat())
            .collect()
    }

    #[test]
    fn a_run_ends_only_where_it_is_unique() {
        let found = language(&windows(&["a\nx\nb\n\nx\nc"]), 2);
        expect![[r#"
            {
                "a\n",
                "a\nx\n",
                "b\n",
                "b\n\n",
                "c\n",
                "x\nb\n",
                "x\nc\n",
            }
        "#]]
        .assert_debug_eq(&found);
    }

    #[test]
    fn windows_without_a_unique_run_have_no_rules() {
        assert!(language(&windows(&["a\nb", "a\nb"]), 0).is_empty());
        assert!(language(&windows(&["\n\n"]), 0).is_empty());
        assert!(language(&windows(&[]), 0).is_empty());
    }

    #[test]
    fn rules_grow_with_the_lines_shown_and_not_faster() {
        let text: String =
            (0..400).map(|i| format!("line {}\n", i * i % 397)).collect::<Vec<_>>().concat();
        let accept = Node::Text(END.to_owned());
        let (_, rules) = search_rules(&windows(&[&text]), 0, "f0", &accept).unwrap();
        assert!(rules.len() <= 2 * 400, "{} rules", rules.len());
        let (_, rules) = search_rules(&windows(&[&text]), 12, "f0", &accept).unwrap();
        assert!(rules.len() <= 2 * 12 * 400, "{} rules", rules.len());
    }

    proptest! {
        #[test]
        fn the_rules_allow_exactly_the_unique_runs(
            texts in prop::collection::vec("([abc ]\n){0,8}", 0..4),
            max_lines in 0_usize..5,
        ) {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let windows = windows(&texts);
            prop_assert_eq!(language(&windows, max_lines), unique_runs(&windows, max_lines));
        }
    }
}
