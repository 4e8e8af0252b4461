//! A home full of tool chains and keys, and what a command sees of it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::sandbox::plan::Mount;
use crate::sandbox::visible::Visible;
use crate::sandbox::{Limits, SandboxOptions};

/// A home with a version manager, a virtual environment elsewhere, keys and settings.
fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let at = |path: &str| home.path().join(path);
    for folder in [
        ".ssh",
        ".aws",
        ".config/x",
        ".pyenv/shims",
        ".pyenv/libexec",
        ".pyenv/versions/3.11/bin",
        ".pyenv/versions/3.11/lib/python3.11",
        "venvs/a/bin",
        ".cargo/bin",
        ".cargo/registry",
        "bin",
        "work/repo",
        ".local/bin",
        ".local/share/keyrings",
    ] {
        fs::create_dir_all(at(folder)).unwrap();
    }
    fs::write(at(".ssh/id_rsa"), "key").unwrap();
    fs::write(at(".cargo/credentials.toml"), "key").unwrap();
    fs::write(at(".pyenv/versions/3.11/bin/python3.11"), "").unwrap();
    fs::write(at(".pyenv/shims/python3"), "#!/usr/bin/env bash\n").unwrap();
    symlink(at(".pyenv/versions/3.11/bin/python3.11"), at("venvs/a/bin/python3")).unwrap();
    fs::write(at("venvs/a/bin/pytest"), format!("#!{}\n", at("venvs/a/bin/python3").display()))
        .unwrap();
    fs::write(
        at("venvs/a/pyvenv.cfg"),
        format!("home = {}\n", at(".pyenv/versions/3.11/bin").display()),
    )
    .unwrap();
    for program in
        [".pyenv/versions/3.11/bin/python3.11", ".pyenv/shims/python3", "venvs/a/bin/pytest"]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(at(program), fs::Permissions::from_mode(0o755)).unwrap();
    }
    home
}

fn options(environment: BTreeMap<String, String>) -> SandboxOptions {
    SandboxOptions {
        helper: PathBuf::new(),
        limits: Limits {
            seconds: 1,
            memory_bytes: 1,
            processes: 1,
            disk_bytes: 1,
            output_bytes: 1,
        },
        environment,
        extra_variables: Vec::new(),
        extra_folders: Vec::new(),
    }
}

fn shown(path: &str, command: &str) -> Vec<String> {
    let home = home();
    let text = home.path().canonicalize().unwrap().to_str().unwrap().to_owned();
    let options = SandboxOptions {
        extra_folders: vec![Path::new(&text).join(".ssh"), PathBuf::from(&text)],
        ..options(BTreeMap::from([
            ("HOME".to_owned(), text.clone()),
            ("PATH".to_owned(), path.replace('~', &text)),
        ]))
    };
    let root = Path::new(&text).join("work/repo");
    let visible = Visible::find(&options, &command.replace('~', &text), &root);
    let of_home = |mount: &Mount| Some(format!("~{}", mount.target.to_str()?.strip_prefix(&text)?));
    visible.tools.iter().filter_map(of_home).collect()
}

/// In a container `HOME` is often the root of the machine, or nothing.
#[test]
fn a_home_that_is_the_machine_itself_hides_nothing() {
    let with_home = |home: Option<&str>| {
        let path = ("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned());
        let home = home.map(|home| ("HOME".to_owned(), home.to_owned()));
        let options = options([path].into_iter().chain(home).collect());
        Visible::find(&options, "true", Path::new("/nowhere"))
    };
    let without = with_home(None);
    assert_eq!(without.tools, []);
    for home in ["", "/", "//", "/usr", "/usr/bin", "/bin", "relative", "/nonexistent"] {
        assert_eq!(with_home(Some(home)), without, "HOME={home}");
    }
}

#[test]
fn a_version_manager_is_shown_without_the_rest_of_the_home() {
    assert_eq!(
        shown("~/.pyenv/shims:/usr/bin", "true"),
        [
            "~/.cargo/bin",
            "~/.cargo/registry",
            "~/.local/bin",
            "~/.pyenv/libexec",
            "~/.pyenv/shims",
            "~/.pyenv/versions"
        ]
    );
}

#[test]
fn a_virtual_environment_elsewhere_brings_the_python_it_was_made_from() {
    let found = shown("/usr/bin", "~/venvs/a/bin/pytest -q");
    for wanted in [
        "~/venvs/a/bin",
        "~/venvs/a/pyvenv.cfg",
        "~/.pyenv/versions/3.11/lib",
        "~/.pyenv/versions/3.11/bin",
    ] {
        assert!(found.iter().any(|path| path == wanted), "{wanted} in {found:?}");
    }
}

#[test]
fn keys_settings_and_the_home_itself_are_never_shown() {
    for command in ["~/.ssh/id_rsa", "~/.aws/x", "cat ~/.cargo/credentials.toml"] {
        let found = shown("~:~/bin:~/.ssh:~/.config/x:~/.pyenv/shims:~/.local/bin", command);
        assert!(found.iter().any(|path| path == "~/bin"), "{found:?}");
        let bad = |path: &String| {
            *path == "~"
                || ["ssh", "aws", "config", "credentials", "share"]
                    .iter()
                    .any(|secret| path.contains(secret))
        };
        assert!(!found.iter().any(bad), "{found:?}");
    }
}
