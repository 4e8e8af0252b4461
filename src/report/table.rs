//! A table, for a terminal or for Markdown.

/// Rows of texts; the first column is a name, the others are figures.
#[derive(Debug, Clone, Default)]
pub struct Table {
    pub head: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

/// For whom tables are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    Terminal,
    Markdown,
}

impl Table {
    pub fn new(head: &[&str]) -> Self {
        Self { head: head.iter().map(|&name| name.to_owned()).collect(), rows: Vec::new() }
    }

    pub fn push(&mut self, row: Vec<String>) {
        self.rows.push(row);
    }

    /// The table with a line end behind each row; cells hold no line ends.
    pub fn render(&self, style: Style) -> String {
        match style {
            Style::Terminal => self.render_terminal(),
            Style::Markdown => self.render_markdown(),
        }
    }

    fn render_terminal(&self) -> String {
        let mut table = comfy_table::Table::new();
        table.load_preset(comfy_table::presets::NOTHING).set_header(&self.head);
        table.add_rows(&self.rows);
        if let Some(column) = table.column_mut(0) {
            column.set_padding((0, 1));
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(comfy_table::CellAlignment::Right);
        }
        table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
    }

    fn render_markdown(&self) -> String {
        let line = |cells: &[String]| {
            let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
            format!("| {} |\n", cells.join(" | "))
        };
        let rule: Vec<&str> =
            (0..self.head.len()).map(|at| if at == 0 { "---" } else { "---:" }).collect();
        let rows = self.rows.iter().map(|row| line(row));
        format!("{}| {} |\n{}", line(&self.head), rule.join(" | "), rows.collect::<String>())
    }
}

/// A share as percent with one decimal.
pub fn percent(share: f64) -> String {
    format!("{:.1}", 100.0 * share)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn both_styles() {
        let mut table = Table::new(&["name", "n"]);
        table.push(vec!["a|b".to_owned(), "12".to_owned()]);
        expect![[r"
             name   n
             a|b   12
        "]]
        .assert_eq(&table.render(Style::Terminal));
        expect![[r"
            | name | n |
            | --- | ---: |
            | a\|b | 12 |
        "]]
        .assert_eq(&table.render(Style::Markdown));
    }
}
