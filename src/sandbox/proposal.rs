//! Test commands that a repository's files suggest. None runs unless the user says so.

use std::fs;
use std::path::Path;

/// Commands and what suggests each, the most likely first.
pub fn propose_commands(root: &Path) -> Vec<(String, String)> {
    let text = |name: &str| fs::read_to_string(root.join(name)).unwrap_or_default();
    let has = |name: &str| root.join(name).exists();
    let mut proposals = Vec::new();
    let mut propose = |command: &str, why: String| proposals.push((command.to_owned(), why));

    let has_tests = has("tests") || has("test");
    let settings = ["pytest.ini", "tox.ini", "setup.cfg", "pyproject.toml", "requirements-dev.txt"];
    let names_pytest = settings.into_iter().find(|name| text(name).contains("pytest"));
    if let Some(name) = names_pytest.or_else(|| has("conftest.py").then_some("conftest.py")) {
        propose("python -m pytest -q", format!("`{name}` speaks of pytest"));
    } else if has_tests && (has("setup.py") || has("pyproject.toml") || has_python(root)) {
        propose(
            "python -m unittest discover",
            "a folder of tests, and no sign of pytest".to_owned(),
        );
    }
    if has("Cargo.toml") {
        propose("cargo test --offline", "`Cargo.toml`".to_owned());
    }
    if has("go.mod") {
        propose("go test ./...", "`go.mod`".to_owned());
    }
    let package: serde_json::Value =
        serde_json::from_str(&text("package.json")).unwrap_or_default();
    if let Some(script) =
        package["scripts"]["test"].as_str().filter(|text| !text.contains("no test specified"))
    {
        propose("npm test", format!("`package.json` has the script `{script}`"));
    }
    if has("pom.xml") {
        propose("mvn -o -q test", "`pom.xml`".to_owned());
    } else if has("gradlew") {
        propose("./gradlew --offline test", "`gradlew`".to_owned());
    }
    if has(".rspec") || has("spec/spec_helper.rb") {
        propose("bundle exec rspec", "`.rspec` or `spec/spec_helper.rb`".to_owned());
    } else if has("Rakefile") {
        propose("bundle exec rake test", "`Rakefile`".to_owned());
    }
    if has("phpunit.xml") || has("phpunit.xml.dist") {
        propose("vendor/bin/phpunit", "`phpunit.xml`".to_owned());
    }
    if text("Makefile").lines().any(|line| line.starts_with("test:")) {
        propose("make test", "`Makefile` has the target `test`".to_owned());
    }
    proposals
}

fn has_python(root: &Path) -> bool {
    ["tests", "test"].iter().any(|name| {
        fs::read_dir(root.join(name)).is_ok_and(|entries| {
            entries
                .filter_map(Result::ok)
                .any(|entry| entry.path().extension().is_some_and(|end| end == "py"))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(files: &[(&str, &str)], expected: &[&str]) {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let commands: Vec<String> =
            propose_commands(folder.path()).into_iter().map(|(command, _)| command).collect();
        assert_eq!(commands, expected);
    }

    #[test]
    fn a_repositorys_files_suggest_its_test_command() {
        check(
            &[("setup.cfg", "[tool:pytest]\n"), ("Makefile", "test:\n\tpytest\n")],
            &["python -m pytest -q", "make test"],
        );
        check(&[("tests/test_a.py", "")], &["python -m unittest discover"]);
        check(&[("Cargo.toml", "")], &["cargo test --offline"]);
        check(&[("go.mod", "")], &["go test ./..."]);
        check(&[("package.json", r#"{"scripts":{"test":"jest"}}"#)], &["npm test"]);
        check(
            &[("package.json", r#"{"scripts":{"test":"echo \"Error: no test specified\""}}"#)],
            &[],
        );
        check(&[("README.md", "")], &[]);
    }
}
