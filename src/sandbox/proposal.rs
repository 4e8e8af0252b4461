//! Test commands that a repository's files suggest. None runs unless the user says so.

use std::fs;
use std::path::Path;

/// Commands and what suggests each, the most likely first.
pub fn propose_commands(root: &Path) -> Vec<(String, String)> {
    let files = Files(root);
    let languages = [python, rust, go, javascript, java, ruby, php, make];
    languages.iter().flat_map(|propose| propose(&files)).collect()
}

/// A command, and what suggests it.
type Proposal = (String, String);

struct Files<'a>(&'a Path);

impl Files<'_> {
    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap_or_default()
    }

    fn has(&self, name: &str) -> bool {
        self.0.join(name).exists()
    }

    fn first(&self, names: &[&'static str]) -> Option<&'static str> {
        names.iter().copied().find(|name| self.has(name))
    }

    fn json(&self, name: &str) -> serde_json::Value {
        serde_json::from_str(&self.text(name)).unwrap_or_default()
    }
}

fn proposal(command: impl Into<String>, why: impl Into<String>) -> Proposal {
    (command.into(), why.into())
}

fn python(files: &Files<'_>) -> Vec<Proposal> {
    let mut proposals = Vec::new();
    let settings = ["pytest.ini", "tox.ini", "setup.cfg", "pyproject.toml", "requirements-dev.txt"];
    let names_pytest = settings.into_iter().find(|name| files.text(name).contains("pytest"));
    let has_tests = files.has("tests") || files.has("test");
    let is_python = files.has("setup.py") || files.has("pyproject.toml") || has_python(files.0);
    if files.has("manage.py") {
        proposals.push(proposal("python manage.py test", "`manage.py`"));
    }
    if let Some(name) = names_pytest.or_else(|| files.first(&["conftest.py", "tests/conftest.py"]))
    {
        proposals.push(proposal("python -m pytest -q", format!("`{name}` speaks of pytest")));
    } else if has_tests && is_python {
        let why = "a folder of tests, and no sign of pytest";
        proposals.push(proposal("python -m unittest discover", why));
    }
    // tox makes its environments with a network, which the sandbox has not; what it would run can
    // be run in yours.
    if files.has("tox.ini") {
        let inside = tox_commands(&files.text("tox.ini"));
        proposals.extend(inside.into_iter().map(|command| {
            proposal(command, "`tox.ini` runs it; tox itself needs a network for its environments")
        }));
    }
    proposals
}

/// The commands of tox's own environment that a shell can run as they are.
fn tox_commands(text: &str) -> Vec<String> {
    let (mut is_testenv, mut is_commands) = (false, false);
    let mut commands = Vec::new();
    for line in text.lines() {
        let trimmed = line.trim();
        if trimmed.starts_with('[') {
            is_testenv = trimmed == "[testenv]";
            is_commands = false;
            continue;
        }
        let value = match trimmed.split_once('=') {
            Some((key, value)) if !line.starts_with([' ', '\t']) => {
                is_commands = is_testenv && key.trim() == "commands";
                value.trim()
            }
            _ => trimmed,
        };
        if !is_commands || value.is_empty() || value.starts_with('#') {
            continue;
        }
        let mut command = value.trim_start_matches('-').trim().to_owned();
        if let Some(at) = command.find("{posargs")
            && let Some(end) = command[at..].find('}')
        {
            command.replace_range(at..=at + end, "");
        }
        // Other substitutions, and names of factors, mean something to tox alone.
        if !command.contains(['{', '}', '\\']) && !command.contains(": ") {
            commands.push(command.trim().to_owned());
        }
    }
    commands.retain(|command| command.contains("test"));
    commands
}

fn rust(files: &Files<'_>) -> Vec<Proposal> {
    if !files.has("Cargo.toml") {
        return Vec::new();
    }
    match files.text("Cargo.toml").contains("[workspace]") {
        true => vec![proposal("cargo test --offline --workspace", "`Cargo.toml` of a workspace")],
        false => vec![proposal("cargo test --offline", "`Cargo.toml`")],
    }
}

fn go(files: &Files<'_>) -> Vec<Proposal> {
    files.first(&["go.mod"]).map(|_| proposal("go test ./...", "`go.mod`")).into_iter().collect()
}

/// JavaScript and TypeScript.
fn javascript(files: &Files<'_>) -> Vec<Proposal> {
    let package = files.json("package.json");
    let script = package["scripts"]["test"].as_str();
    if let Some(script) = script.filter(|text| !text.contains("no test specified")) {
        let lock = files.first(&["pnpm-lock.yaml", "yarn.lock", "bun.lockb", "bun.lock"]);
        let command = match lock {
            Some("pnpm-lock.yaml") => "pnpm test",
            Some("yarn.lock") => "yarn test",
            Some(_) => "bun run test",
            None => "npm test",
        };
        return vec![proposal(command, format!("`package.json` has the script `{script}`"))];
    }
    let has = |name: &str| {
        ["dependencies", "devDependencies"].iter().any(|group| !package[*group][name].is_null())
    };
    let runners = [
        ("vitest", "npx --no-install vitest run"),
        ("jest", "npx --no-install jest"),
        ("mocha", "npx --no-install mocha"),
    ];
    let known = runners.into_iter().find(|(name, _)| has(name));
    let why = |name: &str| format!("`package.json` depends on {name}");
    known.map(|(name, command)| proposal(command, why(name))).into_iter().collect()
}

fn java(files: &Files<'_>) -> Vec<Proposal> {
    let proposals = [
        (files.has("pom.xml") && files.has("mvnw"), "./mvnw -o -q test", "`pom.xml` and `mvnw`"),
        (files.has("pom.xml"), "mvn -o -q test", "`pom.xml`"),
        (files.has("gradlew"), "./gradlew --offline test", "`gradlew`"),
        (
            files.first(&["build.gradle", "build.gradle.kts"]).is_some(),
            "gradle --offline test",
            "`build.gradle`",
        ),
    ];
    let known = proposals.into_iter().find(|(is_there, ..)| *is_there);
    known.map(|(_, command, why)| proposal(command, why)).into_iter().collect()
}

fn ruby(files: &Files<'_>) -> Vec<Proposal> {
    let known = if files.has(".rspec") || files.has("spec/spec_helper.rb") {
        Some(("bundle exec rspec", "`.rspec` or `spec/spec_helper.rb`"))
    } else if files.has("bin/rails") && files.has("test") {
        Some(("bin/rails test", "`bin/rails` and a folder `test`"))
    } else if files.has("Rakefile") {
        Some(("bundle exec rake test", "`Rakefile`"))
    } else {
        None
    };
    known.map(|(command, why)| proposal(command, why)).into_iter().collect()
}

fn php(files: &Files<'_>) -> Vec<Proposal> {
    let composer = files.json("composer.json");
    if !composer["scripts"]["test"].is_null() {
        return vec![proposal("composer test", "`composer.json` has the script `test`")];
    }
    if files.has("tests/Pest.php") {
        return vec![proposal("vendor/bin/pest", "`tests/Pest.php`")];
    }
    let settings = files.first(&["phpunit.xml", "phpunit.xml.dist", "phpunit.dist.xml"]);
    let why = match settings {
        Some(name) => format!("`{name}`"),
        None if !composer["require-dev"]["phpunit/phpunit"].is_null() => {
            "`composer.json` requires phpunit".to_owned()
        }
        None => return Vec::new(),
    };
    vec![proposal("vendor/bin/phpunit", why)]
}

fn make(files: &Files<'_>) -> Vec<Proposal> {
    let text = files.text("Makefile");
    let target = ["test", "check"].into_iter().find(|target| {
        text.lines().any(|line| {
            line.strip_prefix(target).is_some_and(|rest| {
                rest.trim_start().starts_with(':') && !rest.trim_start().starts_with(":=")
            })
        })
    });
    let why = |target: &str| format!("`Makefile` has the target `{target}`");
    target.map(|target| proposal(format!("make {target}"), why(target))).into_iter().collect()
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

    #[test]
    fn every_language_has_its_commands() {
        const TOX: &str = "[tox]\nenvlist = py39\n[testenv]\ndeps = pytest\ncommands =\n    pip list\n    python -m pytest {posargs:tests} -x\n    py39: pytest\n    pytest {toxinidir}\n[testenv:lint]\ncommands = flake8 tests\n";
        type Files = &'static [(&'static str, &'static str)];
        let rows: &[(Files, &[&str])] = &[
            (&[("tox.ini", TOX)], &["python -m pytest -q", "python -m pytest  -x"]),
            (&[("manage.py", "")], &["python manage.py test"]),
            (&[("tests/conftest.py", "")], &["python -m pytest -q"]),
            (&[("Cargo.toml", "[workspace]\n")], &["cargo test --offline --workspace"]),
            (
                &[("package.json", r#"{"scripts":{"test":"jest"}}"#), ("yarn.lock", "")],
                &["yarn test"],
            ),
            (
                &[("package.json", r#"{"scripts":{"test":"tsx t"}}"#), ("pnpm-lock.yaml", "")],
                &["pnpm test"],
            ),
            (
                &[
                    ("package.json", r#"{"devDependencies":{"vitest":"1"}}"#),
                    ("tsconfig.json", "{}"),
                ],
                &["npx --no-install vitest run"],
            ),
            (&[("pom.xml", "")], &["mvn -o -q test"]),
            (&[("pom.xml", ""), ("mvnw", "")], &["./mvnw -o -q test"]),
            (&[("gradlew", ""), ("build.gradle", "")], &["./gradlew --offline test"]),
            (&[("build.gradle.kts", "")], &["gradle --offline test"]),
            (&[(".rspec", "")], &["bundle exec rspec"]),
            (&[("bin/rails", ""), ("test/a_test.rb", "")], &["bin/rails test"]),
            (&[("Rakefile", "")], &["bundle exec rake test"]),
            (&[("phpunit.xml.dist", "")], &["vendor/bin/phpunit"]),
            (&[("composer.json", r#"{"scripts":{"test":"pest"}}"#)], &["composer test"]),
            (
                &[("composer.json", r#"{"require-dev":{"phpunit/phpunit":"11"}}"#)],
                &["vendor/bin/phpunit"],
            ),
            (&[("Makefile", "check: all\n\ttrue\n")], &["make check"]),
            (&[("Makefile", "test := x\n")], &[]),
        ];
        for (files, commands) in rows {
            check(files, commands);
        }
    }
}
