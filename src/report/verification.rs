//! What the records' own tests say of predictions: %Resolved, with its denominators.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::report::bootstrap::{Estimate, estimate_mean};
use crate::report::evaluation::as_number;
use crate::report::failure::Failure;
use crate::report::table::{Style, Table, percent};
use crate::run::RUN_VERSION;
use crate::run::verdict_row::{TestOutcome, VerdictRow};

/// What the columns mean, printed with the table.
pub const TEST_DEFINITIONS: &str = "\
resolved: every FAIL_TO_PASS test passes and no PASS_TO_PASS test is broken. unverifiable: not so with
the gold patch on this machine, or a test that is to be mended passes without it, so nothing is known of
the prediction. not run: the tests could not be run at all. % of tested: resolved as a share of resolved
and not resolved; % of all: as a share of n. [from, to]: 95 % interval of the share of tested.
";

/// Verdicts, counted.
#[derive(Debug, Clone, Serialize)]
pub struct Verification {
    pub all: TestFigures,
    pub repositories: BTreeMap<String, TestFigures>,
    /// Instances whose gold patch does not pass here.
    pub unverifiable: Vec<Failure>,
    /// Instances whose tests could not be run.
    pub not_run: Vec<Failure>,
}

/// The verdicts of one repository, or all.
#[derive(Debug, Clone, Serialize)]
pub struct TestFigures {
    pub n_instances: usize,
    pub resolved: usize,
    pub not_resolved: usize,
    pub unverifiable: usize,
    pub not_run: usize,
    /// Absent where nothing was tested.
    pub resolved_of_tested: Option<Estimate>,
    pub resolved_of_all: f64,
}

/// `metrics.json` of predictions that are verified and nothing else.
#[derive(Debug, Clone, Serialize)]
pub struct VerificationReport {
    pub version: u32,
    pub kind: &'static str,
    pub model: String,
    #[serde(flatten)]
    pub verification: Verification,
}

impl Verification {
    /// Of all instances with their repositories; one without a verdict was not run.
    pub fn new(instances: &[(&str, &str)], verdicts: &[VerdictRow], not_run: &[Failure]) -> Self {
        let verdicts: BTreeMap<&str, &VerdictRow> =
            verdicts.iter().map(|row| (row.instance.as_str(), row)).collect();
        let mut by_repo: BTreeMap<&str, Vec<Option<&VerdictRow>>> = BTreeMap::new();
        let (mut unverifiable, mut missing) = (Vec::new(), Vec::new());
        for (id, repo) in instances {
            let verdict = verdicts.get(id).copied();
            by_repo.entry(repo).or_default().push(verdict);
            let failure =
                |reason: &str| Failure { instance: (*id).to_owned(), reason: reason.to_owned() };
            match verdict {
                None => {
                    let known = not_run.iter().find(|one| one.instance == *id);
                    let reason = known.map_or("its tests were not run yet", |one| &one.reason);
                    missing.push(failure(reason));
                }
                Some(row) if row.outcome == TestOutcome::Unverifiable => {
                    unverifiable.push(failure(&row.reason));
                }
                Some(_) => {}
            }
        }
        unverifiable.sort();
        missing.sort();
        let all: Vec<Option<&VerdictRow>> = by_repo.values().flatten().copied().collect();
        let repositories = by_repo.iter();
        Self {
            all: TestFigures::new(&all),
            repositories: repositories
                .map(|(repo, rows)| ((*repo).to_owned(), TestFigures::new(rows)))
                .collect(),
            unverifiable,
            not_run: missing,
        }
    }

    /// The counts of every repository and of all.
    pub fn table(&self) -> Table {
        let mut table = Table::new(&[
            "repository",
            "n",
            "resolved",
            "not resolved",
            "unverifiable",
            "not run",
            "% of tested",
            "[from, to]",
            "% of all",
        ]);
        let mut row = |name: &str, figures: &TestFigures| {
            let mut cells = vec![name.to_owned()];
            let TestFigures { n_instances, resolved, not_resolved, .. } = figures;
            let counts =
                [n_instances, resolved, not_resolved, &figures.unverifiable, &figures.not_run];
            cells.extend(counts.map(ToString::to_string));
            let nothing = || "-".to_owned();
            let share = figures.resolved_of_tested;
            cells.push(share.map_or_else(nothing, |share| percent(share.mean)));
            cells.push(share.map_or_else(nothing, |share| {
                format!("[{}, {}]", percent(share.low), percent(share.high))
            }));
            cells.push(percent(figures.resolved_of_all));
            table.push(cells);
        };
        for (name, figures) in &self.repositories {
            row(name, figures);
        }
        row("all", &self.all);
        table
    }

    /// A line for each instance that nothing is known of.
    pub fn render_unknown(&self) -> String {
        let line = |kind: &str, one: &Failure| {
            format!("{kind}: {}: {}\n", one.instance, one.reason.replace('\n', "; "))
        };
        let unverifiable = self.unverifiable.iter().map(|one| line("unverifiable", one));
        unverifiable.chain(self.not_run.iter().map(|one| line("tests not run", one))).collect()
    }
}

impl TestFigures {
    fn new(rows: &[Option<&VerdictRow>]) -> Self {
        let count = |outcome| rows.iter().flatten().filter(|row| row.outcome == outcome).count();
        let tested: Vec<f64> =
            rows.iter().flatten().filter_map(|row| row.resolved()).map(as_number).collect();
        let resolved = count(TestOutcome::Resolved);
        Self {
            n_instances: rows.len(),
            resolved,
            not_resolved: count(TestOutcome::NotResolved),
            unverifiable: count(TestOutcome::Unverifiable),
            not_run: rows.iter().filter(|row| row.is_none()).count(),
            resolved_of_tested: (!tested.is_empty()).then(|| estimate_mean(&tested)),
            resolved_of_all: if rows.is_empty() {
                0.0
            } else {
                resolved as f64 / rows.len() as f64
            },
        }
    }
}

impl VerificationReport {
    pub fn new(model: &str, verification: Verification) -> Self {
        Self { version: RUN_VERSION, kind: "verification", model: model.to_owned(), verification }
    }

    pub fn render(&self, style: Style) -> String {
        let all = &self.verification.all;
        let tested = all.resolved + all.not_resolved;
        let mut text = format!(
            "{}: {} of {tested} tested predictions resolved, of {} in all\n\n",
            self.model, all.resolved, all.n_instances
        );
        text += &self.verification.table().render(style);
        text + "\n" + TEST_DEFINITIONS
    }
}

#[cfg(test)]
pub(super) mod tests {
    use expect_test::expect;

    use super::*;
    use crate::run::verdict_row::TestsRow;

    pub(in crate::report) fn verdict(instance: &str, outcome: TestOutcome) -> VerdictRow {
        VerdictRow {
            version: RUN_VERSION,
            instance: instance.to_owned(),
            repo: "a/a".to_owned(),
            outcome,
            reason: "1 of 1 tests to mend and 0 of 9 to keep fail".to_owned(),
            fail_to_pass: TestsRow { passed: 0, expected: 1 },
            pass_to_pass: TestsRow { passed: 9, expected: 9 },
            failing: vec!["t.py::test_x".to_owned()],
            judge: "j".to_owned(),
            patch: "p".to_owned(),
            protection: "namespaces".to_owned(),
        }
    }

    #[test]
    fn shares_have_their_denominators() {
        let instances = [("a-1", "a/a"), ("a-2", "a/a"), ("a-3", "a/a"), ("b-1", "b/b")];
        let verdicts = [
            verdict("a-1", TestOutcome::Resolved),
            verdict("a-2", TestOutcome::NotResolved),
            verdict("a-3", TestOutcome::Unverifiable),
        ];
        let failed = [Failure { instance: "b-1".to_owned(), reason: "no recipe".to_owned() }];
        let report =
            VerificationReport::new("tiny", Verification::new(&instances, &verdicts, &failed));
        expect![[r#"
            tiny: 1 of 2 tested predictions resolved, of 4 in all

            repository  n  resolved  not resolved  unverifiable  not run  % of tested    [from, to]  % of all
            a/a         3         1             1             1        0         50.0  [0.0, 100.0]      33.3
            b/b         1         0             0             0        1            -             -       0.0
            all         4         1             1             1        1         50.0  [0.0, 100.0]      25.0
        "#]]
        .assert_eq(report.render(Style::Terminal).split("\nresolved:").next().unwrap());
        expect![[r"
            unverifiable: a-3: 1 of 1 tests to mend and 0 of 9 to keep fail
            tests not run: b-1: no recipe
        "]]
        .assert_eq(&report.verification.render_unknown());
    }
}
