//! Which files of a commit are the solution, which its tests, and which neither.

use crate::index::language;
use crate::index::test_files::TestRule;
use crate::repo::path::RepoPath;

/// What a changed file is to an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Part of the gold patch.
    Source,
    /// Part of the test patch.
    Test,
    /// Documentation, build scripts, configuration, code of others: no truth.
    Other,
}

/// Folders of what is no product code, wherever they stand.
const OTHER_FOLDERS: &[&str] = &[
    "doc",
    "docs",
    "documentation",
    "examples",
    "benchmarks",
    "vendor",
    "_vendor",
    "vendored",
    "third_party",
    "node_modules",
    ".github",
    ".ci",
    ".circleci",
];

/// The same, at the top of a repository only: packages have folders of these names too.
const OTHER_TOP_FOLDERS: &[&str] =
    &["example", "benchmark", "bench", "scripts", "tools", "misc", "ci", "release", "packaging"];

const OTHER_FILES: &[&str] = &[
    "setup.py",
    "noxfile.py",
    "versioneer.py",
    "_version.py",
    "version.py",
    "__version__.py",
    "build.rs",
    "gulpfile.js",
    "Gruntfile.js",
    "Rakefile",
];

/// The same, at the top of a repository only: packages have modules of these names too.
const OTHER_TOP_FILES: &[&str] = &["build.py", "tasks.py", "fabfile.py", "dodo.py", "runtests.py"];

pub(super) fn role(path: &RepoPath, tests: &TestRule) -> Role {
    if tests.is_test(path) {
        return Role::Test;
    }
    let name = path.file_name();
    let mut folders = path.parent().unwrap_or_default().split('/');
    let is_other = language::of_path(path).is_none()
        || OTHER_FILES.contains(&name)
        || path.parent().is_none() && OTHER_TOP_FILES.contains(&name)
        || name.ends_with(".gemspec")
        || name.contains(".config.")
        || OTHER_TOP_FOLDERS.contains(&folders.clone().next().unwrap_or_default())
        || folders.any(|folder| OTHER_FOLDERS.contains(&folder));
    if is_other { Role::Other } else { Role::Source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_product_code_is_a_solution() {
        let tests = TestRule::new(&[], &[]).unwrap();
        for (path, wanted) in [
            ("src/shop/cart.py", Role::Source),
            ("conan/tools/files.py", Role::Source),
            ("lib/index.ts", Role::Source),
            ("tests/test_cart.py", Role::Test),
            ("test-data/unit/check-x.test", Role::Test),
            ("setup.py", Role::Other),
            ("pkg/_version.py", Role::Other),
            ("build.py", Role::Other),
            ("mypy/build.py", Role::Source),
            ("docs/conf.py", Role::Other),
            ("pkg/_vendor/six.py", Role::Other),
            ("scripts/release.py", Role::Other),
            ("README.md", Role::Other),
            ("pyproject.toml", Role::Other),
        ] {
            assert_eq!(role(&RepoPath::parse(path).unwrap(), &tests), wanted, "{path}");
        }
    }
}
