//! Tables over judged answers: one stage at a time, each with true inputs.

use serde::Serialize;

use crate::report::bootstrap::{Estimate, estimate_mean};
use crate::report::compare::McNemar;
use crate::report::table::{Style, Table, percent};
use crate::stage::score::Score;

/// An episode's first answer, and the rewards of all of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Tells episodes of one stage apart.
    pub instance: String,
    /// Nothing where it was rejected.
    pub score: Option<Score>,
    /// The mean over the episode's completions.
    pub reward: f64,
}

/// What holds of a stage's answers. A rejected answer hits nothing.
#[derive(Debug, Clone, Serialize)]
pub struct StageAnswers {
    pub stage: &'static str,
    pub episodes: usize,
    /// Answers that can be used.
    pub valid: Estimate,
    /// With at least one item of the truth.
    pub hit: Estimate,
    pub f3: Estimate,
    pub reward: Estimate,
    /// Items answered, where the answer can be used.
    pub items: f64,
}

/// A measure of an answer.
type Measure = (&'static str, bool, fn(&Answer) -> f64);

const MEASURES: [Measure; 4] = [
    ("valid", true, |answer| f64::from(u8::from(answer.score.is_some()))),
    ("hit", true, |answer| f64::from(u8::from(answer.score.is_some_and(|score| 0 < score.hits)))),
    ("F3", false, |answer| answer.score.map_or(0.0, |score| score.f_beta(3.0))),
    ("reward", false, |answer| answer.reward),
];

impl StageAnswers {
    pub fn new(stage: &'static str, answers: &[Answer]) -> Self {
        let [valid, hit, f3, reward] = MEASURES
            .map(|(_, _, measure)| estimate_mean(&answers.iter().map(measure).collect::<Vec<_>>()));
        let answered: Vec<usize> =
            answers.iter().filter_map(|answer| Some(answer.score?.answered)).collect();
        let items = answered.iter().sum::<usize>() as f64 / answered.len().max(1) as f64;
        Self { stage, episodes: answers.len(), valid, hit, f3, reward, items }
    }

    pub fn render(stages: &[Self], style: Style) -> String {
        let head = ["stage", "episodes", "% valid", "% hit", "F3", "mean reward", "items answered"];
        let mut table = Table::new(&head);
        for stage in stages {
            let share = |e: &Estimate| {
                format!("{} ({}–{})", percent(e.mean), percent(e.low), percent(e.high))
            };
            let number = |e: &Estimate| format!("{:.3} ({:.3}–{:.3})", e.mean, e.low, e.high);
            table.push(vec![
                stage.stage.to_owned(),
                stage.episodes.to_string(),
                share(&stage.valid),
                share(&stage.hit),
                number(&stage.f3),
                number(&stage.reward),
                format!("{:.2}", stage.items),
            ]);
        }
        table.render(style)
    }
}

/// How a stage's answers changed, paired by episode.
#[derive(Debug, Clone, Serialize)]
pub struct StageChange {
    pub stage: &'static str,
    /// Episodes that both have.
    pub episodes: usize,
    pub measures: Vec<Change>,
}

#[derive(Debug, Clone, Serialize)]
pub struct Change {
    pub measure: &'static str,
    pub first: f64,
    pub second: f64,
    /// Second minus first, with the interval over episodes.
    pub difference: Estimate,
    /// For measures that are yes or no.
    pub mcnemar: Option<McNemar>,
}

impl StageChange {
    /// The second answers beside the first ones to the same episodes.
    pub fn new(stage: &'static str, first: &[Answer], second: &[Answer]) -> Self {
        let pairs: Vec<(&Answer, &Answer)> = first
            .iter()
            .filter_map(|a| Some((a, second.iter().find(|b| b.instance == a.instance)?)))
            .collect();
        let change = |(name, is_yes_or_no, measure): Measure| {
            let mean = |values: Vec<f64>| estimate_mean(&values).mean;
            let better = pairs.iter().filter(|(a, b)| measure(a) < measure(b)).count();
            let worse = pairs.iter().filter(|(a, b)| measure(b) < measure(a)).count();
            Change {
                measure: name,
                first: mean(pairs.iter().map(|(a, _)| measure(a)).collect()),
                second: mean(pairs.iter().map(|(_, b)| measure(b)).collect()),
                difference: estimate_mean(
                    &pairs.iter().map(|(a, b)| measure(b) - measure(a)).collect::<Vec<_>>(),
                ),
                mcnemar: is_yes_or_no.then(|| McNemar::new(better, worse)),
            }
        };
        Self { stage, episodes: pairs.len(), measures: MEASURES.map(change).into() }
    }

    pub fn render(stages: &[Self], style: Style) -> String {
        let head = ["stage", "episodes", "measure", "first", "second", "difference", "McNemar p"];
        let mut table = Table::new(&head);
        for stage in stages {
            for change in &stage.measures {
                let Estimate { mean, low, high } = change.difference;
                table.push(vec![
                    stage.stage.to_owned(),
                    stage.episodes.to_string(),
                    change.measure.to_owned(),
                    format!("{:.3}", change.first),
                    format!("{:.3}", change.second),
                    format!("{mean:+.3} ({low:+.3} to {high:+.3})"),
                    change.mcnemar.map_or_else(String::new, |test| format!("{:.4}", test.p)),
                ]);
            }
        }
        table.render(style)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(instance: &str, score: Option<(usize, usize, usize)>, reward: f64) -> Answer {
        let score = score.map(|(hits, answered, expected)| Score { hits, answered, expected });
        Answer { instance: instance.to_owned(), score, reward }
    }

    #[test]
    fn a_rejected_answer_counts_as_a_miss_and_not_as_a_short_one() {
        let answers = [
            answer("a", Some((1, 3, 1)), 0.5),
            answer("b", Some((0, 1, 1)), 0.0),
            answer("c", None, 0.0),
            answer("d", Some((1, 1, 1)), 1.0),
        ];
        let stage = StageAnswers::new("file", &answers);
        assert_eq!((stage.valid.mean, stage.hit.mean), (0.75, 0.5));
        let f3 = (10.0 / 12.0 + 1.0) / 4.0;
        assert!((stage.f3.mean - f3).abs() < 1e-12, "{}", stage.f3.mean);
        assert!((stage.items - 5.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn changes_are_paired_by_instance_whatever_the_order() {
        let first =
            [answer("a", None, 0.0), answer("b", Some((1, 1, 1)), 1.0), answer("c", None, 0.0)];
        let second = [answer("b", Some((1, 1, 1)), 1.0), answer("a", Some((1, 2, 1)), 0.9)];
        let change = StageChange::new("file", &first, &second);
        assert_eq!(change.episodes, 2);
        let valid = &change.measures[0];
        assert_eq!((valid.first, valid.second, valid.difference.mean), (0.5, 1.0, 0.5));
        let test = valid.mcnemar.unwrap();
        assert_eq!((test.n_better, test.n_worse), (1, 0));
    }
}
