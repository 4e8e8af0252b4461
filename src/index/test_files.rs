//! Which files are tests.
//!
//! Tests are neither candidates of localization nor may a candidate patch touch them unasked. The
//! rule goes by path alone; product code whose job is testing is not taken for tests.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::repo::path::RepoPath;

/// Folders of tests, wherever they stand.
const TEST_FOLDERS: &[&str] =
    &["tests", "test", "testing", "__tests__", "e2e", "test-data", "testdata", "test_data"];

/// Extensions of the languages in which a folder `spec` holds tests.
const SPEC_EXTENSIONS: &[&str] = &["rb", "js", "jsx", "mjs", "cjs", "ts", "tsx", "mts", "cts"];

/// Product code whose job is testing: folders of libraries that offer tests to others. Files with
/// the name of a test stay tests.
const PRODUCT_FOLDERS: &[&str] = &[
    "django/test/",
    "src/_pytest/",
    "_pytest/",
    "numpy/testing/",
    "numpy/_core/testing/",
    "pandas/testing/",
    "pandas/_testing/",
    "matplotlib/testing/",
    "sympy/testing/",
    "astropy/tests/runner",
    "sqlalchemy/testing/",
    "twisted/trial/",
    "werkzeug/test",
    "flask/testing",
    "scipy/_lib/_testutils",
    "jax/_src/test_util",
];

/// The rule, with what the configuration says.
#[derive(Debug)]
pub struct TestRule {
    test_globs: GlobSet,
    product_globs: GlobSet,
}

impl TestRule {
    /// Paths that match `product_globs` are never tests, others that match `test_globs` always.
    pub fn new(test_globs: &[String], product_globs: &[String]) -> anyhow::Result<Self> {
        Ok(Self {
            test_globs: parse_globs(test_globs)?,
            product_globs: parse_globs(product_globs)?,
        })
    }

    pub fn is_test(&self, path: &RepoPath) -> bool {
        if self.product_globs.is_match(path.as_str()) {
            return false;
        }
        self.test_globs.is_match(path.as_str())
            || has_test_name(path)
            || (is_in_test_folder(path) && !is_product(path))
    }
}

/// Globs in which `*` stays within one folder and `**` does not.
pub(super) fn parse_globs(globs: &[String]) -> anyhow::Result<GlobSet> {
    let mut set = GlobSetBuilder::new();
    for glob in globs {
        set.add(
            GlobBuilder::new(glob).literal_separator(true).build().map_err(|err| {
                anyhow::anyhow!("`{glob}` is no pattern for paths: {}", err.kind())
            })?,
        );
    }
    Ok(set.build()?)
}

fn is_product(path: &RepoPath) -> bool {
    let path = format!("/{path}");
    PRODUCT_FOLDERS.iter().any(|folder| path.contains(&format!("/{folder}")))
}

fn is_in_test_folder(path: &RepoPath) -> bool {
    let extension = path.extension().unwrap_or_default();
    let mut folders = path.components();
    folders.next_back();
    folders.into_iter().any(|folder| {
        TEST_FOLDERS.contains(&folder) || (folder == "spec" && SPEC_EXTENSIONS.contains(&extension))
    })
}

fn has_test_name(path: &RepoPath) -> bool {
    let name = path.file_name();
    let Some((stem, extension)) = name.rsplit_once('.') else { return false };
    match extension {
        "py" => name == "conftest.py" || stem.starts_with("test_") || stem.ends_with("_test"),
        "go" => stem.ends_with("_test"),
        "java" => stem.ends_with("Test") || stem.ends_with("Tests"),
        "kt" | "php" => stem.ends_with("Test"),
        "rb" => stem.ends_with("_spec"),
        "js" | "jsx" | "mjs" | "cjs" | "ts" | "tsx" | "mts" | "cts" => {
            stem.split('.').skip(1).any(|part| part == "test" || part == "spec")
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(rule: &TestRule, is_test: bool, paths: &[&str]) {
        for path in paths {
            assert_eq!(rule.is_test(&RepoPath::parse(path).unwrap()), is_test, "{path}");
        }
    }

    #[test]
    fn tests_are_told_by_folder_and_by_name() {
        let rule = TestRule::new(&[], &[]).unwrap();
        let tests = [
            "tests/a.py",
            "a/test/b.c",
            "testing/x.py",
            "src/__tests__/x.js",
            "e2e/login.ts",
            "a/test-data/x.json",
            "a/testdata/x.go",
            "a/test_data/x.txt",
            "src/test/java/A.java",
            "spec/models/user.rb",
            "spec/app.js",
            "a/conftest.py",
            "test_a.py",
            "a_test.py",
            "pkg/a_test.go",
            "a.test.js",
            "a.spec.tsx",
            "a/UserTest.java",
            "a/UserTests.java",
            "UserTest.kt",
            "UserTest.php",
            "user_spec.rb",
        ];
        check(&rule, true, &tests);
        let product = [
            "testify.py",
            "contest/a.py",
            "latest/b.py",
            "attest.go",
            "spec/openapi.yaml",
            "spec/a.py",
            "a_test.c",
            "Testing.java",
            "test.py",
            "tests.py",
            "tests",
            "protest.js",
            "a/specs.ts",
        ];
        check(&rule, false, &product);
    }

    #[test]
    fn product_code_whose_name_starts_with_test_stays_product_code() {
        let rule = TestRule::new(&[], &[]).unwrap();
        let product = [
            "django/test/client.py",
            "django/test/testcases.py",
            "src/_pytest/python.py",
            "numpy/testing/_private/utils.py",
            "lib/sqlalchemy/testing/assertions.py",
        ];
        check(&rule, false, &product);
        check(&rule, true, &["tests/test_client/tests.py", "src/_pytest/test_x.py"]);
    }

    #[test]
    fn the_configuration_has_the_last_word() {
        let globs = |globs: &[&str]| globs.iter().map(|&glob| glob.to_owned()).collect::<Vec<_>>();
        let rule =
            TestRule::new(&globs(&["checks/**", "*.check.py"]), &globs(&["tests/lib/**"])).unwrap();
        check(&rule, true, &["checks/a.py", "a.check.py", "tests/x.py"]);
        check(&rule, false, &["tests/lib/a.py", "tests/lib/test_b.py", "deep/a.check.py"]);
        let error = TestRule::new(&globs(&["a{b"]), &[]).unwrap_err();
        assert!(error.to_string().starts_with("`a{b` is no pattern for paths: "), "{error}");
    }
}
