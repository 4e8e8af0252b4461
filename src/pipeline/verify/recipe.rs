//! Recipes: how a repository's tests are run, in a YAML file that people write.
//!
//! A file names no path of a machine: interpreters are named by version, and commands are run in
//! the tree with the environment's programs first on the path.

use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use serde::{Deserialize, Serialize};

/// The version of the format that this program reads.
const VERSION: u32 = 1;

/// A file of recipes.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipes {
    version: u32,
    recipes: Vec<Recipe>,
}

/// How the tests of some versions of a repository are run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// `owner/name`.
    pub repo: String,
    /// The records' `version`s that this is for; absent: all that no other recipe names.
    #[serde(default)]
    pub versions: Option<Vec<String>>,
    /// The version of Python for which an environment is made; absent: the path's programs serve
    /// as they are.
    #[serde(default)]
    pub python: Option<String>,
    /// Shell commands that fill the environment; they may use the network.
    #[serde(default)]
    pub install: Vec<String>,
    /// Whether the install commands see the repository's tree, at the record's
    /// `environment_setup_commit`; there is one environment for each such commit then.
    #[serde(default)]
    pub tree: bool,
    /// Shell commands that run in the tree before the tests, without network.
    #[serde(default)]
    pub prepare: Vec<String>,
    /// The shell command that runs tests; the names of the test files are put behind it.
    pub test: String,
    /// How the command tells of its tests.
    #[serde(default)]
    pub log: LogFormat,
}

/// How a test command tells of its tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// The short summary of `pytest -rA`; a name ends at its first blank, as in the records.
    #[default]
    Pytest,
    /// The same, with paths inside of brackets cut to their last part.
    PytestOptions,
}

impl Recipes {
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let context = || format!("reading the recipes `{}`", path.display());
        let text = std::fs::read_to_string(path).with_context(context)?;
        Self::parse(&text).with_context(context)
    }

    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let recipes: Self = serde_yaml::from_str(text)?;
        ensure!(
            recipes.version == VERSION,
            "wanted `version: {VERSION}`, found `version: {}`",
            recipes.version
        );
        for (idx, recipe) in recipes.recipes.iter().enumerate() {
            ensure!(!recipe.test.trim().is_empty(), "`{}` has an empty `test`", recipe.repo);
            let is_version = |text: &String| {
                text.split('.').count().clamp(2, 3) == text.split('.').count()
                    && text.split('.').all(|part| part.parse::<u32>().is_ok())
            };
            if let Some(python) = recipe.python.as_ref().filter(|python| !is_version(python)) {
                bail!("`{}` wants Python `{python}`; write a version such as \"3.9\"", recipe.repo);
            }
            let is_same = |other: &&Recipe| {
                other.repo == recipe.repo
                    && match (&other.versions, &recipe.versions) {
                        (None, None) => true,
                        (Some(theirs), Some(ours)) => theirs.iter().any(|one| ours.contains(one)),
                        _ => false,
                    }
            };
            if recipes.recipes[..idx].iter().find(is_same).is_some() {
                bail!("two recipes are for the same versions of `{}`", recipe.repo);
            }
        }
        Ok(recipes)
    }

    /// The recipe for a version of a repository.
    pub fn find(&self, repo: &str, version: &str) -> anyhow::Result<&Recipe> {
        let of_repo = || self.recipes.iter().filter(|recipe| recipe.repo == repo);
        let names = |recipe: &&Recipe| {
            recipe.versions.as_ref().is_some_and(|known| known.iter().any(|one| one == version))
        };
        let found = of_repo().find(names);
        found.or_else(|| of_repo().find(|recipe| recipe.versions.is_none())).with_context(|| {
            let known: Vec<&str> = of_repo()
                .filter_map(|one| one.versions.as_ref())
                .flatten()
                .map(String::as_str)
                .collect();
            match known.is_empty() {
                true => format!("the recipes have none for `{repo}`"),
                false => format!(
                    "the recipes have none for version `{version}` of `{repo}`, only for {}",
                    known.join(", ")
                ),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[track_caller]
    fn check(text: &str, (repo, version): (&str, &str), expect: Expect) {
        let found = Recipes::parse(text).and_then(|recipes| {
            let recipe = recipes.find(repo, version)?;
            Ok(format!("{:?} {} {:?}", recipe.python, recipe.test, recipe.log))
        });
        expect.assert_eq(&found.unwrap_or_else(|error| format!("{error:#}")));
    }

    const TWO: &str = "
version: 1
recipes:
  - repo: o/n
    versions: [\"1.0\", \"1.10\"]
    python: \"3.6\"
    install: [pip install pytest]
    test: pytest -rA
  - repo: o/n
    test: python -m pytest -rA
    log: pytest_options
";

    #[test]
    fn a_named_version_goes_before_the_rest() {
        check(TWO, ("o/n", "1.10"), expect![[r#"Some("3.6") pytest -rA Pytest"#]]);
        check(TWO, ("o/n", "2.0"), expect!["None python -m pytest -rA PytestOptions"]);
        check(TWO, ("o/m", "2.0"), expect!["the recipes have none for `o/m`"]);
        let named = TWO.split("  - repo: o/n\n    test").next().unwrap();
        check(
            named,
            ("o/n", "2.0"),
            expect!["the recipes have none for version `2.0` of `o/n`, only for 1.0, 1.10"],
        );
    }

    #[test]
    fn mistakes_are_told() {
        check(
            &TWO.replace("    log:", "    logs:"),
            ("o/n", "1.0"),
            expect![
                "recipes[1]: unknown field `logs`, expected one of `repo`, `versions`, `python`, `install`, `tree`, `prepare`, `test`, `log` at line 11 column 5"
            ],
        );
        check(
            &TWO.replace("version: 1", "version: 2"),
            ("o/n", "1.0"),
            expect!["wanted `version: 1`, found `version: 2`"],
        );
        check(
            &TWO.replace("\"3.6\"", "latest"),
            ("o/n", "1.0"),
            expect![[r#"`o/n` wants Python `latest`; write a version such as "3.9""#]],
        );
        check(
            &TWO.replace("    test: python -m", "    versions: [\"1.0\"]\n    test: python -m"),
            ("o/n", "1.0"),
            expect!["two recipes are for the same versions of `o/n`"],
        );
    }
}
