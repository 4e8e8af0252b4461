//! Where the repositories of instances are.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};

/// Finds the repository `owner/name` below a folder: as `owner__name`, `owner+name`,
/// `owner/name` or `name`, each with or without `.git` behind it, bare or with a work tree, or one
/// level down in a folder `repo`.
pub fn find_repository(folder: &Path, repo: &str) -> anyhow::Result<PathBuf> {
    let (owner, name) = parts_of(repo)?;
    let names = [
        format!("{owner}__{name}"),
        format!("{owner}+{name}"),
        format!("{owner}/{name}"),
        name.to_owned(),
    ];
    for name in &names {
        for ending in ["", ".git"] {
            let found = folder.join(format!("{name}{ending}"));
            for candidate in [found.join("repo"), found.join("repo.git"), found] {
                if is_repository(&candidate) {
                    return Ok(candidate);
                }
            }
        }
    }
    bail!(
        "`{}` holds no git repository for `{repo}`; looked for {}\n\
         hint: `--clone-from https://github.com/{{repo}}` obtains it as `{}`",
        folder.display(),
        names.each_ref().map(|name| format!("`{name}`")).join(", "),
        folder.join(&names[0]).display(),
    )
}

/// Clones `owner/name` into a folder, as `owner__name`, bare and with all of its history.
///
/// `template` is a URL in which `{repo}` stands for `owner/name`, `{owner}` and `{name}` for its
/// parts. The folder gets its name once the clone is whole, so that a killed one is never found.
pub fn clone_repository(folder: &Path, repo: &str, template: &str) -> anyhow::Result<PathBuf> {
    let (owner, name) = parts_of(repo)?;
    ensure!(
        template.contains("{repo}") || template.contains("{name}"),
        "`{template}` names the same repository for all\n\
         hint: write `{{repo}}` where `owner/name` belongs: https://github.com/{{repo}}.git"
    );
    let url = template.replace("{repo}", repo).replace("{owner}", owner).replace("{name}", name);
    fs::create_dir_all(folder).with_context(|| format!("creating `{}`", folder.display()))?;
    let context = || format!("cloning `{url}` into `{}`", folder.display());
    let unfinished =
        tempfile::Builder::new().prefix(".clone-").tempdir_in(folder).with_context(context)?;
    let clone = Command::new("git")
        .args(["clone", "--quiet", "--mirror", "--template=", "--", &url])
        .arg(unfinished.path())
        .env("GIT_TERMINAL_PROMPT", "0")
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{}: running `git`", context()))?;
    if !clone.status.success() {
        let said = String::from_utf8_lossy(&clone.stderr);
        bail!("{}: {}", context(), said.trim().lines().last().unwrap_or("git failed"));
    }
    let target = folder.join(format!("{owner}__{name}"));
    fs::rename(unfinished.keep(), &target).with_context(context)?;
    Ok(target)
}

/// The `owner/name` of a repository: of the URL that it was cloned from, else of its folder, by the
/// names that [`find_repository`] looks for. `None` where neither tells an owner.
pub fn repository_name(root: &Path, origin: Option<&str>) -> Option<String> {
    let named = |owner: &str, name: &str| {
        let repo = format!("{owner}/{}", name.strip_suffix(".git").unwrap_or(name));
        parts_of(&repo).is_ok().then_some(repo)
    };
    let of_origin = origin.filter(|url| url.contains("://") || url.contains('@')).and_then(|url| {
        let mut parts = url.trim_end_matches('/').rsplit(['/', ':']);
        let (name, owner) = (parts.next()?, parts.next()?);
        named(owner, name)
    });
    let of_folder = || {
        let full = root.canonicalize().ok()?;
        let is_inner = full.file_name().is_some_and(|name| name == "repo" || name == "repo.git");
        let folder = if is_inner { full.parent()? } else { &full };
        let name = folder.file_name()?.to_str()?;
        let (owner, name) = name.split_once("__").or_else(|| name.split_once('+'))?;
        named(owner, name)
    };
    of_origin.or_else(of_folder)
}

/// The two parts of `owner/name`, neither of which leads anywhere else.
fn parts_of(repo: &str) -> anyhow::Result<(&str, &str)> {
    let is_plain = |part: &str| {
        !part.starts_with('.') && !part.is_empty() && !part.contains(['\\', '\0', ':', '/'])
    };
    match repo.split_once('/') {
        Some((owner, name)) if is_plain(owner) && is_plain(name) => Ok((owner, name)),
        _ => bail!("`{repo}` is no repository; `owner/name` was wanted"),
    }
}

/// Whether a folder is a work tree's root or a bare repository.
fn is_repository(folder: &Path) -> bool {
    folder.join(".git").exists()
        || (folder.join("HEAD").is_file() && folder.join("objects").is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_are_found_under_the_usual_names() {
        for name in ["o__n", "o+n/repo", "o/n", "o/n.git", "n", "o__n.git"] {
            let folder = tempfile::tempdir().unwrap();
            let bare = folder.path().join(name);
            fs::create_dir_all(bare.join("objects")).unwrap();
            fs::write(bare.join("HEAD"), "ref: refs/heads/main\n").unwrap();
            assert_eq!(find_repository(folder.path(), "o/n").unwrap(), bare);
        }
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("o__n/.git")).unwrap();
        assert_eq!(find_repository(folder.path(), "o/n").unwrap(), folder.path().join("o__n"));
        for repo in ["o/m", "../n", "o", "o/../n", "o/n/m", ".git/n"] {
            assert!(find_repository(folder.path(), repo).is_err(), "{repo}");
        }
    }

    #[test]
    fn a_repository_is_named_by_its_origin_or_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        for (below, origin, wanted) in [
            ("o__n", None, Some("o/n")),
            ("o+n/repo", None, Some("o/n")),
            ("o+n.git", None, Some("o/n")),
            ("n", None, None),
            ("n", Some("https://example.org/o/n.git"), Some("o/n")),
            ("n", Some("git@example.org:o/n.git"), Some("o/n")),
            ("a__b", Some("https://example.org/o/n"), Some("o/n")),
            ("a__b", Some("../elsewhere"), Some("a/b")),
        ] {
            let root = folder.path().join(below);
            fs::create_dir_all(&root).unwrap();
            assert_eq!(repository_name(&root, origin).as_deref(), wanted, "{below} {origin:?}");
        }
    }

    #[test]
    fn a_clone_is_found_and_a_failed_one_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let origin = folder.path().join("origin/o/n");
        git2::Repository::init_bare(&origin).unwrap();
        let repos = folder.path().join("repos");
        let template = format!("{}/origin/{{owner}}/{{name}}", folder.path().display());
        let cloned = clone_repository(&repos, "o/n", &template).unwrap();
        assert_eq!(find_repository(&repos, "o/n").unwrap(), cloned);
        let message = format!("{:#}", clone_repository(&repos, "o/m", &template).unwrap_err());
        assert!(message.contains("cloning `") && message.contains("origin/o/m"), "{message}");
        assert_eq!(fs::read_dir(&repos).unwrap().count(), 1);
        assert!(clone_repository(&repos, "o/n", "https://example.org/x").is_err());
        assert!(clone_repository(&repos, "../n", &template).is_err());
    }
}
