//! Tables over benchmarks of general ability.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::report::bootstrap::{Estimate, estimate_mean};
use crate::report::table::{Style, Table, percent};

/// A needle that was asked for.
#[derive(Debug, Clone, Copy)]
pub struct FoundNeedle<'a> {
    pub language: &'a str,
    /// How alike the answer is, from 0 to 1; nothing where it is more like another function.
    pub similarity: Option<f64>,
}

/// How many needles of a language were found.
#[derive(Debug, Clone, Serialize)]
pub struct Needles {
    pub language: String,
    pub needles: usize,
    /// Where the paper's threshold is enough.
    pub found: Estimate,
    /// The share that is found where each of these is enough.
    pub by_threshold: BTreeMap<String, f64>,
}

impl Needles {
    /// One for all languages together, then one for each, in the order in which they come.
    pub fn by_language(
        needles: &[FoundNeedle<'_>],
        (thresholds, of_paper): (&[f64], f64),
    ) -> Vec<Self> {
        let mut languages: Vec<&str> = Vec::new();
        for needle in needles {
            if !languages.contains(&needle.language) {
                languages.push(needle.language);
            }
        }
        let of = |name: &str, is_meant: &dyn Fn(&str) -> bool| {
            let meant: Vec<Option<f64>> = needles
                .iter()
                .filter(|needle| is_meant(needle.language))
                .map(|needle| needle.similarity)
                .collect();
            let found = |threshold: f64| -> Vec<f64> {
                let is_found = |similarity: &Option<f64>| {
                    f64::from(u8::from(similarity.is_some_and(|alike| threshold <= alike)))
                };
                meant.iter().map(is_found).collect()
            };
            let share = |threshold: f64| {
                (
                    format!("{threshold:.1}"),
                    found(threshold).iter().sum::<f64>() / meant.len() as f64,
                )
            };
            Self {
                language: name.to_owned(),
                needles: meant.len(),
                found: estimate_mean(&found(of_paper)),
                by_threshold: thresholds.iter().map(|&threshold| share(threshold)).collect(),
            }
        };
        let each = languages.iter().map(|name| of(name, &|language| language == *name));
        std::iter::once(of("all", &|_| true)).chain(each).collect()
    }

    pub fn render(languages: &[Self], of_paper: f64, style: Style) -> String {
        let thresholds = languages.first().map(|first| &first.by_threshold);
        let thresholds = thresholds.into_iter().flat_map(BTreeMap::keys);
        let mut head =
            vec!["language".to_owned(), "needles".to_owned(), format!("% found at {of_paper}")];
        head.extend(thresholds.map(|threshold| format!("≥ {threshold}")));
        let mut table = Table { head, rows: Vec::new() };
        for language in languages {
            let mut row = vec![
                language.language.clone(),
                language.needles.to_string(),
                interval(&language.found),
            ];
            row.extend(language.by_threshold.values().map(|share| percent(*share)));
            table.push(row);
        }
        table.render(style)
    }
}

/// A problem whose programs were judged.
#[derive(Debug, Clone)]
pub struct JudgedProblem<'a> {
    pub difficulty: &'a str,
    /// pass@k, for each k of the table.
    pub pass: Vec<f64>,
    /// What became of each program, in a word.
    pub outcomes: Vec<&'static str>,
}

/// How many problems of a difficulty were solved.
#[derive(Debug, Clone, Serialize)]
pub struct Difficulty {
    pub difficulty: String,
    pub problems: usize,
    pub programs: usize,
    /// By `pass@k`.
    pub pass: Vec<Pass>,
    /// Programs by what became of them.
    pub outcomes: BTreeMap<&'static str, usize>,
}

/// The mean over problems of how likely one of `k` programs is right.
#[derive(Debug, Clone, Serialize)]
pub struct Pass {
    pub k: usize,
    pub share: Estimate,
}

/// As columns of the table.
const OUTCOMES: [&str; 6] = ["right", "wrong", "too slow", "failed", "died", "no code"];

impl Difficulty {
    /// One for all problems together, then one for each difficulty, the benchmark's in its order.
    pub fn of_all(problems: &[JudgedProblem<'_>], ks: &[usize]) -> Vec<Self> {
        let known = ["easy", "medium", "hard"];
        let mut names: Vec<&str> = problems.iter().map(|problem| problem.difficulty).collect();
        names.sort_unstable_by_key(|name| {
            (known.iter().position(|one| one == name).unwrap_or(known.len()), *name)
        });
        names.dedup();
        let of = |name: &str, is_meant: &dyn Fn(&str) -> bool| {
            let meant: Vec<&JudgedProblem<'_>> =
                problems.iter().filter(|problem| is_meant(problem.difficulty)).collect();
            let pass = |(idx, k): (usize, &usize)| {
                let shares: Vec<f64> = meant.iter().map(|problem| problem.pass[idx]).collect();
                Pass { k: *k, share: estimate_mean(&shares) }
            };
            let mut outcomes = OUTCOMES.map(|outcome| (outcome, 0)).into_iter().collect();
            let of_programs = meant.iter().flat_map(|problem| &problem.outcomes);
            let count = |outcomes: &mut BTreeMap<&str, usize>, outcome: &&'static str| {
                *outcomes.entry(outcome).or_default() += 1;
            };
            of_programs.clone().for_each(|outcome| count(&mut outcomes, outcome));
            Self {
                difficulty: name.to_owned(),
                problems: meant.len(),
                programs: of_programs.count(),
                pass: ks.iter().enumerate().map(pass).collect(),
                outcomes,
            }
        };
        let each = names.iter().map(|name| of(name, &|difficulty| difficulty == *name));
        std::iter::once(of("all", &|_| true)).chain(each).collect()
    }

    pub fn render(difficulties: &[Self], style: Style) -> String {
        let ks = difficulties.first().map_or(&[][..], |first| &first.pass);
        let mut head = vec!["difficulty".to_owned(), "problems".to_owned(), "programs".to_owned()];
        head.extend(ks.iter().map(|pass| format!("% pass@{}", pass.k)));
        head.extend(OUTCOMES.map(ToOwned::to_owned));
        let mut table = Table { head, rows: Vec::new() };
        for difficulty in difficulties {
            let mut row = vec![
                difficulty.difficulty.clone(),
                difficulty.problems.to_string(),
                difficulty.programs.to_string(),
            ];
            row.extend(difficulty.pass.iter().map(|pass| interval(&pass.share)));
            row.extend(OUTCOMES.map(|outcome| difficulty.outcomes[outcome].to_string()));
            table.push(row);
        }
        table.render(style)
    }
}

/// A share with its interval, in percent.
fn interval(share: &Estimate) -> String {
    format!("{} ({}–{})", percent(share.mean), percent(share.low), percent(share.high))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn needles_are_counted_by_language_and_threshold() {
        let needle = |language, similarity| FoundNeedle { language, similarity };
        let needles = [
            needle("python", Some(1.0)),
            needle("cpp", Some(0.5)),
            needle("python", None),
            needle("python", Some(0.8)),
        ];
        let table = Needles::by_language(&needles, (&[0.0, 0.8, 1.0], 0.8));
        assert_eq!(table[0].needles, 4);
        expect![[r"
            | language | needles | % found at 0.8 | ≥ 0.0 | ≥ 0.8 | ≥ 1.0 |
            | --- | ---: | ---: | ---: | ---: | ---: |
            | all | 4 | 50.0 (0.0–100.0) | 75.0 | 50.0 | 25.0 |
            | python | 3 | 66.7 (0.0–100.0) | 66.7 | 66.7 | 33.3 |
            | cpp | 1 | 0.0 (0.0–0.0) | 100.0 | 0.0 | 0.0 |
        "]]
        .assert_eq(&Needles::render(&table, 0.8, Style::Markdown));
    }

    #[test]
    fn problems_are_counted_by_difficulty_and_programs_by_what_became_of_them() {
        let problem = |difficulty, pass: f64, outcomes: &[&'static str]| JudgedProblem {
            difficulty,
            pass: vec![pass],
            outcomes: outcomes.to_vec(),
        };
        let problems = [
            problem("hard", 0.0, &["wrong", "too slow"]),
            problem("easy", 0.5, &["right", "no code"]),
        ];
        expect![[r"
            | difficulty | problems | programs | % pass@1 | right | wrong | too slow | failed | died | no code |
            | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
            | all | 2 | 4 | 25.0 (0.0–50.0) | 1 | 1 | 1 | 0 | 0 | 1 |
            | easy | 1 | 2 | 50.0 (50.0–50.0) | 1 | 0 | 0 | 0 | 0 | 1 |
            | hard | 1 | 2 | 0.0 (0.0–0.0) | 0 | 1 | 1 | 0 | 0 | 0 |
        "]]
        .assert_eq(&Difficulty::render(&Difficulty::of_all(&problems, &[1]), Style::Markdown));
    }
}
