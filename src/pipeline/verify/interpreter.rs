//! Interpreters of this machine, found by their version.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::bail;

/// Finds Python of a version such as `3.9` or `3.9.18`: as `python3.9` on the path, among pyenv's
/// versions, or as uv knows it. `environment` is the user's.
pub fn find_python(
    version: &str,
    environment: &BTreeMap<String, String>,
) -> anyhow::Result<PathBuf> {
    let minor: Vec<&str> = version.split('.').take(2).collect();
    let name = format!("python{}", minor.join("."));
    let variable = |name: &str| environment.get(name).map(String::as_str).unwrap_or_default();
    let on_path = variable("PATH").split(':').map(|folder| Path::new(folder).join(&name));
    let pyenv = match variable("PYENV_ROOT") {
        "" => Path::new(variable("HOME")).join(".pyenv"),
        root => PathBuf::from(root),
    };
    let candidates = on_path.chain(pyenv_programs(&pyenv.join("versions"), &name));
    let found = candidates
        .filter(|program| program.is_absolute() && program.is_file())
        .find_map(|program| real_program(&program, version, environment));
    if let Some(program) = found.or_else(|| uv_program(version, environment)) {
        return Ok(program);
    }
    bail!(
        "Python {version} was wanted and not found: there is no `{name}` on the path, in pyenv or in uv\n\
         hint: `pyenv install {}` or `uv python install {version}` obtains it",
        minor.join(".")
    )
}

/// The programs of pyenv's versions, the newest first.
fn pyenv_programs(versions: &Path, name: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(versions).into_iter().flatten().filter_map(Result::ok);
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    let number = |folder: &PathBuf| -> Vec<u32> {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.split('.').map(|part| part.parse().unwrap_or(0)).collect()
    };
    folders.sort_by_key(|folder| std::cmp::Reverse(number(folder)));
    folders.into_iter().map(|folder| folder.join("bin").join(name)).collect()
}

/// The interpreter behind a program, which may be a script that chooses one; `None` where it does
/// not start, or is of another version.
fn real_program(
    program: &Path,
    version: &str,
    environment: &BTreeMap<String, String>,
) -> Option<PathBuf> {
    const ASK: &str = "import sys; print('%d.%d.%d' % sys.version_info[:3]); print(sys.executable)";
    let said = run(Command::new(program).args(["-I", "-c", ASK]), environment)?;
    let (found, executable) = said.trim().split_once('\n')?;
    let is_wanted = found == version || found.starts_with(&format!("{version}."));
    is_wanted.then(|| PathBuf::from(executable.trim())).filter(|path| path.is_absolute())
}

fn uv_program(version: &str, environment: &BTreeMap<String, String>) -> Option<PathBuf> {
    let path = environment.get("PATH")?;
    let uv = path.split(':').map(|folder| Path::new(folder).join("uv")).find(|uv| uv.is_file())?;
    let said = run(Command::new(uv).args(["python", "find", "--system", version]), environment)?;
    real_program(Path::new(said.trim()), version, environment)
}

fn run(command: &mut Command, environment: &BTreeMap<String, String>) -> Option<String> {
    let output =
        command.env_clear().envs(environment).stdin(Stdio::null()).stderr(Stdio::null()).output();
    let output = output.ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok()
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use expect_test::expect;

    use super::*;

    fn write_program(path: &Path, says: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("#!/bin/sh\n{says}\n")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn python(version: &str, at: &str) -> String {
        format!("echo {version}; echo {at}")
    }

    #[test]
    fn a_version_is_found_on_the_path_then_in_pyenv_then_by_uv() {
        let home = tempfile::tempdir().unwrap();
        let at = |path: &str| home.path().join(path);
        // A chooser that has nothing to choose, as pyenv's are.
        write_program(&at("shims/python3.6"), "echo not installed >&2; exit 127");
        write_program(&at("bin/python3.9"), &python("3.9.2", "/real/3.9"));
        for patch in ["3.6.9", "3.6.15", "3.7.1"] {
            let minor = &patch[..3];
            let program = format!(".pyenv/versions/{patch}/bin/python{minor}");
            write_program(&at(&program), &python(patch, &format!("/pyenv/{patch}")));
        }
        write_program(&at("uv/3.12"), &python("3.12.1", "/uv/3.12"));
        let uv = format!("test $4 = 3.12 && echo {}", at("uv/3.12").display());
        write_program(&at("bin/uv"), &uv);
        let path = format!("{}:{}:/usr/bin:/bin", at("shims").display(), at("bin").display());
        let environment = BTreeMap::from([
            ("HOME".to_owned(), home.path().to_str().unwrap().to_owned()),
            ("PATH".to_owned(), path),
        ]);
        let find = |version: &str| match find_python(version, &environment) {
            Ok(path) => path.display().to_string(),
            Err(error) => error.to_string(),
        };
        assert_eq!(find("3.9"), "/real/3.9");
        assert_eq!(find("3.9.2"), "/real/3.9");
        assert_eq!(find("3.6"), "/pyenv/3.6.15");
        assert_eq!(find("3.6.9"), "/pyenv/3.6.9");
        assert_eq!(find("3.12"), "/uv/3.12");
        expect![[r"
            Python 3.99 was wanted and not found: there is no `python3.99` on the path, in pyenv or in uv
            hint: `pyenv install 3.99` or `uv python install 3.99` obtains it"]]
        .assert_eq(&find("3.99"));
    }
}
