//! A training run as one HTML file: curves, tables, and answers as they changed.

use anyhow::Context as _;
use serde::Serialize;

use crate::report::page::content::clean;
use crate::report::page::render;

const PAGE: &str = include_str!("training.html");

/// What there is to show of training runs.
#[derive(Debug, Clone, Default)]
pub struct Training {
    pub title: String,
    pub subtitle: String,
    /// The runs that curves are of, in the order of their colours.
    pub runs: Vec<String>,
    pub plots: Vec<Plot>,
    pub tables: Vec<TrainingTable>,
    pub examples: Vec<Example>,
}

/// Curves over steps.
#[derive(Debug, Clone)]
pub struct Plot {
    pub title: String,
    /// A curve belongs to a run, by index; runs may have none here.
    pub curves: Vec<Curve>,
}

#[derive(Debug, Clone)]
pub struct Curve {
    pub run: usize,
    /// (step, value)
    pub points: Vec<(f64, f64)>,
}

#[derive(Debug, Clone, Serialize)]
pub struct TrainingTable {
    pub title: String,
    pub head: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

/// What a run answered to one prompt as it went on.
#[derive(Debug, Clone)]
pub struct Example {
    pub title: String,
    /// Step, reward, completion.
    pub answers: Vec<(usize, f64, String)>,
}

#[derive(Serialize)]
struct Page {
    title: String,
    subtitle: String,
    runs: Vec<Legend>,
    plots: Vec<Drawing>,
    tables: Vec<TrainingTable>,
    examples: Vec<Shown>,
}

#[derive(Serialize)]
struct Legend {
    class: String,
    name: String,
}

/// A plot in the units of its drawing.
#[derive(Serialize)]
struct Drawing {
    title: String,
    label: String,
    low: String,
    high: String,
    last_step: String,
    curves: Vec<DrawnCurve>,
}

#[derive(Serialize)]
struct DrawnCurve {
    class: String,
    points: String,
}

#[derive(Serialize)]
struct Shown {
    title: String,
    answers: Vec<ShownAnswer>,
}

#[derive(Serialize)]
struct ShownAnswer {
    step: usize,
    reward: String,
    completion: String,
}

/// The page of training runs.
pub fn render_training(training: &Training) -> anyhow::Result<String> {
    let page = Page {
        title: clean(&training.title),
        subtitle: clean(&training.subtitle),
        runs: training
            .runs
            .iter()
            .enumerate()
            .map(|(run, name)| Legend { class: class(run), name: clean(name) })
            .collect(),
        plots: training.plots.iter().filter_map(|plot| draw(plot, &training.runs)).collect(),
        tables: training
            .tables
            .iter()
            .filter(|table| !table.rows.is_empty())
            .map(cleaned)
            .collect(),
        examples: training.examples.iter().map(show).collect(),
    };
    render(PAGE, serde_json::to_value(page).context("collecting the page")?)
}

fn cleaned(table: &TrainingTable) -> TrainingTable {
    let cells = |cells: &Vec<String>| cells.iter().map(|cell| clean(cell)).collect();
    TrainingTable {
        title: clean(&table.title),
        head: cells(&table.head),
        rows: table.rows.iter().map(cells).collect(),
    }
}

/// There are as many colours in the page's style.
const N_COLOURS: usize = 6;

fn class(run: usize) -> String {
    format!("curve{}", run % N_COLOURS)
}

const LEFT: f64 = 60.0;
const TOP: f64 = 8.0;
const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 160.0;

/// `None` where no curve has a point.
fn draw(plot: &Plot, runs: &[String]) -> Option<Drawing> {
    let points = || plot.curves.iter().flat_map(|curve| &curve.points);
    let is_finite = points().all(|(x, y)| x.is_finite() && y.is_finite());
    if points().next().is_none() || !is_finite {
        return None;
    }
    let last = points().map(|(x, _)| *x).fold(1.0, f64::max);
    let low = points().map(|(_, y)| *y).fold(f64::INFINITY, f64::min);
    let high = points().map(|(_, y)| *y).fold(f64::NEG_INFINITY, f64::max);
    // A flat curve lies in the middle.
    let margin = if high - low < 1e-9 { 0.5 } else { 0.0 };
    let (low, high) = (low - margin, high + margin);
    let place = |(x, y): &(f64, f64)| {
        let x = LEFT + WIDTH * x / last;
        let y = TOP + HEIGHT * (high - y) / (high - low);
        format!("{x:.1},{y:.1}")
    };
    let curves = plot.curves.iter().filter(|curve| !curve.points.is_empty());
    let ends = curves.clone().filter_map(|curve| {
        let (first, last) = (curve.points.first()?.1, curve.points.last()?.1);
        Some(format!("{} from {} to {}", runs.get(curve.run)?, number(first), number(last)))
    });
    let label = format!("{}: {}", plot.title, ends.collect::<Vec<_>>().join(", "));
    Some(Drawing {
        title: clean(&plot.title),
        label: clean(&label),
        low: number(low),
        high: number(high),
        last_step: format!("{last:.0}"),
        curves: curves
            .map(|curve| DrawnCurve {
                class: class(curve.run),
                points: curve.points.iter().map(place).collect::<Vec<_>>().join(" "),
            })
            .collect(),
    })
}

fn show(example: &Example) -> Shown {
    let answers = example.answers.iter().map(|(step, reward, completion)| ShownAnswer {
        step: *step,
        reward: number(*reward),
        completion: clean(completion),
    });
    Shown { title: clean(&example.title), answers: answers.collect() }
}

/// Three digits that say something.
pub fn number(value: f64) -> String {
    match value.abs() {
        size if 100.0 <= size => format!("{value:.0}"),
        size if 1.0 <= size => format!("{value:.2}"),
        size if 1e-3 <= size || size == 0.0 => format!("{value:.3}"),
        _ => format!("{value:.1e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_are_drawn_in_the_colours_of_their_runs_and_texts_stay_texts() {
        let hostile = "<script>alert(1)</script>";
        let curve = |run, points: &[(f64, f64)]| Curve { run, points: points.to_vec() };
        let plot = |curves| Plot { title: "reward".into(), curves };
        let page = render_training(&Training {
            title: hostile.into(),
            runs: vec!["hit".into(), "f_beta".into()],
            plots: vec![
                plot(vec![
                    curve(0, &[(0.0, 0.0), (10.0, 1.0)]),
                    curve(1, &[(0.0, 0.5), (5.0, 0.5)]),
                ]),
                plot(vec![curve(0, &[])]),
                plot(vec![curve(0, &[(1.0, f64::NAN)])]),
            ],
            examples: vec![Example {
                title: "file".into(),
                answers: vec![(10, 0.25, hostile.into())],
            }],
            ..Training::default()
        })
        .unwrap();
        assert_eq!(page.matches("<polyline").count(), 2 + 2, "keys and curves");
        assert!(page.contains(r#"points="60.0,168.0 620.0,8.0""#), "{page}");
        assert!(page.contains(r#"class="curve1" points="60.0,88.0 340.0,88.0""#));
        assert!(page.contains("hit from 0.000 to 1.00, f_beta from 0.500 to 0.500"));
        assert_eq!(page.matches("<script>alert").count(), 0);
    }
}
