//! The bars of the page, in the units of its drawings.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::report::evaluation::{EvalReport, NamedFigures};
use crate::report::page::content::clean;

#[derive(Serialize)]
pub(super) struct Chart {
    title: String,
    label: String,
    height: usize,
    bars: Vec<Bar>,
}

/// A horizontal bar, in the units of the drawing.
#[derive(Serialize)]
struct Bar {
    name: String,
    class: &'static str,
    y: usize,
    text_y: usize,
    middle: usize,
    width: f64,
    whisker: bool,
    low: f64,
    high: f64,
    value_x: f64,
    value: String,
}

/// The hits of each localization stage, beside those of the baselines; then the rejections.
pub(super) fn charts(report: &EvalReport) -> Vec<Chart> {
    let mut charts = Vec::new();
    for (stage, title) in
        [("file", "File hits"), ("function", "Function hits"), ("line", "Line hits")]
    {
        let Some(rows) = report.all.stages.get(stage).filter(|rows| !rows.is_empty()) else {
            continue;
        };
        let bars = rows.iter().enumerate().map(|(at, row)| hit_bar(at, row));
        charts.push(chart(format!("{title}, percent with 95 % intervals"), bars.collect()));
    }
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    for (stage, counts) in report.all.rejections.iter() {
        for (reason, n) in counts {
            *reasons.entry(format!("{stage}: {reason}")).or_default() += n;
        }
    }
    let most = reasons.values().copied().max().unwrap_or(0).max(1);
    let bars = reasons.iter().enumerate().map(|(at, (reason, n))| {
        let share = *n as f64 / most as f64;
        Bar { value: n.to_string(), ..bar(at, &clean(reason), "bar", share) }
    });
    let bars: Vec<Bar> = bars.collect();
    if !bars.is_empty() {
        charts.push(chart("Rejected completions".to_owned(), bars));
    }
    charts
}

fn chart(title: String, bars: Vec<Bar>) -> Chart {
    let label = bars.iter().map(|bar| format!("{} {}", bar.name, bar.value));
    let label = format!("{title}: {}", label.collect::<Vec<_>>().join(", "));
    Chart { title, label, height: 22 * bars.len() + 8, bars }
}

const BAR_LEFT: f64 = 200.0;

const BAR_WIDTH: f64 = 320.0;

fn hit_bar(at: usize, row: &NamedFigures) -> Bar {
    let hit = row.figures.hit;
    let class = if row.name.starts_with("model") { "bar" } else { "bar2" };
    let (low, high) = (BAR_LEFT + BAR_WIDTH * hit.low, BAR_LEFT + BAR_WIDTH * hit.high);
    Bar {
        whisker: true,
        low,
        high,
        value_x: high.max(BAR_LEFT) + 8.0,
        value: format!("{:.1} (n = {})", 100.0 * hit.mean, row.figures.n),
        ..bar(at, &row.name, class, hit.mean)
    }
}

fn bar(at: usize, name: &str, class: &'static str, share: f64) -> Bar {
    let y = 22 * at + 4;
    let width = BAR_WIDTH * share;
    Bar {
        name: name.to_owned(),
        class,
        y,
        text_y: y + 12,
        middle: y + 7,
        width,
        whisker: false,
        low: 0.0,
        high: 0.0,
        value_x: BAR_LEFT + width + 8.0,
        value: String::new(),
    }
}
