//! An evaluation's figures as tables for people.

use crate::report::bootstrap::Estimate;
use crate::report::evaluation::{DEPTHS, EvalReport, Figures, ItemFigures, NamedFigures};
use crate::report::table::{Style, Table, percent};
use crate::report::verification::TEST_DEFINITIONS;

/// What the columns mean, printed with the tables.
pub const DEFINITIONS: &str = "\
hit: some answered item is one that the gold patch implies. It counts the first, greedy completion
of a stage, a rejected one as no hit, and proves nothing alone: see `copy retrieval`, which lists
retrieval's first k, and `shuffled candidates`, which lists as many items as the model did, drawn from
those that its prompt showed. items: mean number of items answered. P, R, F3: precision, recall and
(1 + 9) P R / (9 P + R), means over instances. MRR: mean of 1 / place of the first hit.
any@k, all@k: any, or all, of the gold items are among the first k answered.
n: instances for which the gold patch says something at that stage. `model` was given what the stage
before it decided, `true inputs` what the gold patch says it should have. `model + retrieval`: the
places that the pipeline went on with.
applied@1: the first greedy edit is usable and changes more than blanks and comments; applied: the
same of the final prediction. Both are shares of all evaluated instances. resolved: a share of those
that are `tested`, whose gold patch passes the record's tests here; see the table of tests.
[from, to]: 95 % interval, percentile bootstrap over instances.
";

/// The title of the table of verdicts.
pub const TESTS: &str = "Tests of the records";

/// All tables.
pub fn render(report: &EvalReport, style: Style) -> String {
    let mut text = format!("{}: {} instances, percent\n", report.model, report.n_instances);
    for (title, table) in named_tables(report) {
        text += &section(title, style);
        text += &table.render(style);
    }
    if let Some(dollars) = report.all.dollars {
        text += &format!("\ncost: {dollars:.4} dollars\n");
    }
    text += &section("Definitions", style);
    text += DEFINITIONS;
    text + if report.verification.is_some() { TEST_DEFINITIONS } else { "" }
}

/// The tables with their titles.
pub fn named_tables(report: &EvalReport) -> Vec<(&'static str, Table)> {
    let mut tables = vec![("Hits and patches, by repository", overview(report))];
    for (stage, title) in
        [("file", "Files"), ("function", "Functions"), ("line", "Lines"), ("edit", "Changed lines")]
    {
        if let Some(rows) = report.all.stages.get(stage).filter(|rows| !rows.is_empty()) {
            tables.push((title, stage_table(stage, rows)));
        }
    }
    if let Some(verification) = &report.verification {
        tables.push((TESTS, verification.table()));
    }
    tables.push(("Completions", completions(&report.all)));
    tables
}

fn section(title: &str, style: Style) -> String {
    match style {
        Style::Terminal => format!("\n{title}\n"),
        Style::Markdown => format!("\n## {title}\n\n"),
    }
}

/// The main figures of every repository and of all, intervals below.
fn overview(report: &EvalReport) -> Table {
    let mut table = Table::new(&[
        "repository",
        "n",
        "file hit",
        "function hit",
        "line hit",
        "edit hit",
        "applied@1",
        "applied",
        "resolved",
        "tested",
    ]);
    type Read = fn(&Estimate) -> f64;
    let mut row = |name: &str, figures: &Figures, read: Read| {
        let hit = |stage: &str| {
            let model = figures.stages.get(stage).and_then(|rows| rows.first());
            let model = model.filter(|row| row.name == "model");
            model.map_or_else(|| "-".to_owned(), |row| percent(read(&row.figures.hit)))
        };
        let mut cells = vec![name.to_owned(), figures.n_instances.to_string()];
        cells.extend(["file", "function", "line", "edit"].map(hit));
        cells.push(percent(read(&figures.applied_first)));
        cells.push(percent(read(&figures.applied)));
        let resolved = figures.resolved.as_ref();
        cells.push(resolved.map_or_else(|| "-".to_owned(), |share| percent(read(share))));
        cells.push(figures.n_tested.to_string());
        table.push(cells);
    };
    let mean: Read = |estimate| estimate.mean;
    for (name, figures) in &report.repositories {
        row(name, figures, mean);
    }
    row("all", &report.all, mean);
    row("  95 % from", &report.all, |estimate| estimate.low);
    row("  95 % to", &report.all, |estimate| estimate.high);
    table
}

fn stage_table(stage: &str, rows: &[NamedFigures]) -> Table {
    let depths = match stage {
        "file" | "function" => &DEPTHS[..3],
        "line" => &DEPTHS[2..],
        _ => &[],
    };
    let mut head = vec![String::new(), "n".to_owned(), "hit".to_owned(), "[from, to]".to_owned()];
    head.extend(["items", "P", "R", "F3"].map(str::to_owned));
    if !depths.is_empty() {
        head.push("MRR".to_owned());
    }
    head.extend(depths.iter().map(|k| format!("any@{k}")));
    head.extend(depths.iter().map(|k| format!("all@{k}")));
    let mut table = Table { head, rows: Vec::new() };
    for NamedFigures { name, figures } in rows {
        table.push(stage_row(name, figures, depths));
    }
    table
}

fn stage_row(name: &str, figures: &ItemFigures, depths: &[usize]) -> Vec<String> {
    let interval = format!("[{}, {}]", percent(figures.hit.low), percent(figures.hit.high));
    let mut row = vec![name.to_owned(), figures.n.to_string()];
    row.extend([percent(figures.hit.mean), interval, format!("{:.1}", figures.answered)]);
    row.extend([&figures.precision, &figures.recall, &figures.f3].map(|e| percent(e.mean)));
    if !depths.is_empty() {
        row.push(figures.mrr.map_or_else(|| "-".to_owned(), |mrr| format!("{:.3}", mrr.mean)));
    }
    for at in [&figures.any_at, &figures.all_at] {
        let share = |k: &usize| at.get(k).map_or_else(|| "-".to_owned(), |e| percent(e.mean));
        row.extend(depths.iter().map(share));
    }
    row
}

/// Tokens and rejections of each stage, in numbers.
fn completions(figures: &Figures) -> Table {
    let mut table =
        Table::new(&["stage", "prompt tokens", "completion tokens", "rejected", "because"]);
    for stage in ["file", "function", "line", "edit"] {
        let tokens = figures.tokens.get(stage).copied().unwrap_or_default();
        let reasons = figures.rejections.get(stage);
        let n_rejected: usize = reasons.map_or(0, |reasons| reasons.values().sum());
        let reasons = reasons.into_iter().flatten().map(|(reason, n)| format!("{n} {reason}"));
        table.push(vec![
            stage.to_owned(),
            tokens.prompt.to_string(),
            tokens.completion.to_string(),
            n_rejected.to_string(),
            reasons.collect::<Vec<_>>().join(", "),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::evaluation::tests::{instance, items};

    #[test]
    fn tables_name_every_row_and_explain_every_column() {
        let rows = [
            instance("a-1", "a/a", items(1, 2, &[Some(2), None]), true),
            instance("b-1", "b/b", items(0, 5, &[None]), false),
        ];
        let report = EvalReport::new("tiny", &rows, None, Vec::new());
        for style in [Style::Terminal, Style::Markdown] {
            let text = render(&report, style);
            for name in
                ["a/a", "b/b", "copy retrieval, k = 5", "shuffled candidates", "4 no change"]
            {
                assert!(text.contains(name), "{name} in {text}");
            }
            let terms = ["hit", "items", "MRR", "any@k", "all@k", "applied@1", "resolved", "F3"];
            for term in terms {
                assert!(DEFINITIONS.contains(term), "{term}");
            }
        }
    }
}
