//! Opening the git repository that a folder belongs to, through libgit2 alone.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, Once, PoisonError};

use git2::{ErrorClass, ErrorCode, Repository, RepositoryOpenFlags};

/// A folder and the repository around it.
pub struct GitFolder {
    pub repository: Repository,
    /// The folder that was asked for.
    pub root: PathBuf,
    /// The folder's path inside the repository with a `/` behind it; empty at the top.
    pub prefix: String,
    /// The folder is a repository without a work tree, or the inside of a `.git`.
    pub is_bare: bool,
}

/// The repository that holds `root`; `None` where there is none.
pub fn open(root: &Path) -> anyhow::Result<Option<GitFolder>> {
    accept_partial_clones();
    let full = root.canonicalize().map_err(|err| {
        anyhow::anyhow!(
            "`{}` cannot be opened: {err}\nhint: name a folder that holds the code",
            root.display()
        )
    })?;
    if !full.is_dir() {
        anyhow::bail!("`{}` is not a folder\nhint: name the folder that holds it", root.display());
    }
    let no_ceiling: [&Path; 0] = [];
    let repository = match Repository::open_ext(&full, RepositoryOpenFlags::empty(), no_ceiling) {
        Ok(repository) => repository,
        Err(err) if err.code() == ErrorCode::NotFound => return Ok(None),
        Err(err) => return Err(explain(root, &err)),
    };
    // A repository without a `core.bare` line counts as having its parent for a work tree.
    let is_bare = repository.is_bare()
        || repository.path().canonicalize().is_ok_and(|git_folder| full.starts_with(git_folder));
    let mut prefix = String::new();
    if !is_bare && let Some(top) = repository.workdir().and_then(|top| top.canonicalize().ok()) {
        let below = full.strip_prefix(top).unwrap_or(Path::new(""));
        for part in below.components() {
            let Some(part) = part.as_os_str().to_str() else {
                anyhow::bail!(
                    "the path of `{}` inside its repository is not UTF-8",
                    root.display()
                );
            };
            prefix.push_str(part);
            prefix.push('/');
        }
    }
    Ok(Some(GitFolder { repository, root: root.to_owned(), prefix, is_bare }))
}

fn explain(root: &Path, err: &git2::Error) -> anyhow::Error {
    let root = root.display();
    if err.code() == ErrorCode::Owner {
        return anyhow::anyhow!(
            "the repository of `{root}` belongs to another user, whose settings are not to be trusted\n\
             hint: if you trust it, run `git config --global --add safe.directory <path of the repository>`"
        );
    }
    if err.class() == ErrorClass::Repository {
        return anyhow::anyhow!(
            "the repository of `{root}` is of a kind that is not known: {}",
            err.message()
        );
    }
    anyhow::anyhow!("the repository of `{root}` cannot be opened: {}", err.message())
}

/// Partial clones differ from others in objects that may be absent, which every reader here can
/// cope with; libgit2 refuses them unless told so.
fn accept_partial_clones() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        #[expect(unsafe_code, reason = "libgit2 keeps its list of extensions in a global")]
        // SAFETY: the list is written once, before this process opens any repository: all
        // repositories are opened through `open`, which comes through here first.
        let outcome = unsafe { git2::opts::set_extensions(&["partialclone"]) };
        // Without it such a repository is refused with a message, and all others still work.
        drop(outcome);
    });
}

/// Handles of one repository for several threads: libgit2's may be moved, not shared.
pub(super) struct GitHandles {
    git_folder: PathBuf,
    prefix: String,
    base: Option<git2::Oid>,
    idle: Mutex<Vec<Repository>>,
}

impl GitHandles {
    pub(super) fn new(git: GitFolder, base: Option<git2::Oid>) -> Self {
        Self {
            git_folder: git.repository.path().to_owned(),
            prefix: git.prefix,
            base,
            idle: Mutex::new(vec![git.repository]),
        }
    }

    pub(super) fn base(&self) -> Option<git2::Oid> {
        self.base
    }

    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Runs `read` with a handle that no other thread has.
    pub(super) fn with<T>(
        &self,
        read: impl FnOnce(&Repository) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let repository = match idle {
            Some(repository) => repository,
            None => Repository::open(&self.git_folder)?,
        };
        let outcome = read(&repository);
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(repository);
        outcome
    }
}

impl std::fmt::Debug for GitHandles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GitHandles({})", self.git_folder.display())
    }
}
