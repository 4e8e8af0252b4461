//! How long instances took: the only table with wall-clock values, apart from the others.

use std::collections::BTreeMap;

use crate::report::table::{Style, Table};
use crate::run::row::TimingRow;

/// Median and mean seconds of an instance by what took them; the last row of an event counts.
/// Empty where nothing was timed.
pub fn render_seconds(timings: &[TimingRow], style: Style) -> String {
    let mut by_event: BTreeMap<&str, BTreeMap<&str, f64>> = BTreeMap::new();
    for row in timings {
        by_event.entry(&row.event).or_default().insert(&row.instance, row.seconds);
    }
    let mut table = Table::new(&["seconds of an instance", "n", "median", "mean", "most"]);
    let mut add = |name: &str, mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        let (Some(median), Some(most)) = (values.get(values.len() / 2), values.last()) else {
            return;
        };
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let mut row = vec![name.to_owned(), values.len().to_string()];
        row.extend([*median, mean, *most].map(|seconds| format!("{seconds:.2}")));
        table.push(row);
    };
    for (event, seconds) in &by_event {
        add(event, seconds.values().copied().collect());
    }
    if let (Some(total), Some(model)) = (by_event.get("total"), by_event.get("model")) {
        let rest = total.iter().filter_map(|(id, total)| Some(total - model.get(id)?));
        add("all but the model", rest.collect());
    }
    if table.rows.is_empty() { String::new() } else { format!("\n{}", table.render(style)) }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn what_is_not_the_models_is_told() {
        let row = |instance: &str, event: &str, seconds: f64| TimingRow {
            instance: instance.to_owned(),
            stage: String::new(),
            event: event.to_owned(),
            seconds,
            at: "2026-01-01T00:00:00Z".to_owned(),
        };
        let rows = [row("a", "total", 5.0), row("a", "model", 4.5), row("b", "total", 2.0)];
        expect![[r"

             seconds of an instance  n  median  mean  most
             model                   1    4.50  4.50  4.50
             total                   2    5.00  3.50  5.00
             all but the model       1    0.50  0.50  0.50
        "]]
        .assert_eq(&render_seconds(&rows, Style::Terminal));
        assert_eq!(render_seconds(&[], Style::Terminal), "");
    }
}
