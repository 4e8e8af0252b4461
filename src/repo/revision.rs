//! From what the user calls a commit to the commit.

use git2::{ErrorCode, Oid, Repository};

/// The commit that `revision` names.
pub(super) fn resolve(repository: &Repository, revision: &str) -> anyhow::Result<Oid> {
    let found = repository.revparse_single(revision).and_then(|object| object.peel_to_commit());
    match found {
        Ok(commit) => Ok(commit.id()),
        Err(_) if repository.is_empty().unwrap_or(false) => {
            anyhow::bail!("the repository has no commit yet, so nothing is called `{revision}`")
        }
        Err(err) if err.code() == ErrorCode::Ambiguous => {
            anyhow::bail!("`{revision}` fits several commits\nhint: write more digits of the hash")
        }
        Err(_) => {
            let hint = match nearest(revision, &reference_names(repository)) {
                Some(name) => format!("did you mean `{name}`?"),
                None if is_hash(revision) => {
                    "the repository may hold only part of the history; `git fetch` gets more".into()
                }
                None => "`git branch --all` and `git tag` list the names".into(),
            };
            anyhow::bail!("no commit is called `{}`\nhint: {hint}", revision.escape_debug())
        }
    }
}

fn is_hash(revision: &str) -> bool {
    7 <= revision.len() && revision.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn reference_names(repository: &Repository) -> Vec<String> {
    let Ok(references) = repository.references() else { return Vec::new() };
    let mut names: Vec<String> = references
        .flatten()
        .filter_map(|reference| Some(reference.shorthand().ok()?.to_owned()))
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The name that a typing error would turn into `wanted`.
fn nearest<'a>(wanted: &str, names: &'a [String]) -> Option<&'a str> {
    let distance = |name: &str| {
        let bare = name.strip_prefix("origin/").unwrap_or(name);
        strsim::damerau_levenshtein(bare, wanted)
    };
    let (distance, name) = names.iter().map(|name| (distance(name), name)).min()?;
    (distance <= 1 + wanted.chars().count() / 4).then_some(name.as_str())
}
