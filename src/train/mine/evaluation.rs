//! What evaluations ask for, and so no training data may hold.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, bail};

use crate::diff::patch::Patch;
use crate::instance::Instance;
use crate::instance::repository::find_repository;
use crate::repo::blob::BlobId;
use crate::repo::commits::{Commit, History, TreeMemory};

/// The repositories of SWE-bench and of its development split, with the commits they began with.
/// Where none is given, the bare name is refused under any owner.
const REPOSITORIES: &[(&str, &[&str])] = &[
    (
        "astropy/astropy",
        &["03ac1a4cb269188ffef9adc7a7d896c91946731a", "d5b68f2fbddb8587ab8fe56e3069d81821adf222"],
    ),
    ("django/django", &[]),
    ("matplotlib/matplotlib", &[]),
    ("mwaskom/seaborn", &["36dd99374a1d6857af7652a9fb832a712a066e16"]),
    ("pallets/flask", &["33850c0ebd23ae615e6823993d441f46d80b1ff0"]),
    ("psf/requests", &["e7615cbc6b4af5985c4e0d4848a426e2d35f79c3"]),
    (
        "pydata/xarray",
        &["136e2ac0b26753196b7a1cfd5ba2efbdf7cad81f", "f6202cb597237e5ad78904771bcbc03e01f39b27"],
    ),
    (
        "pylint-dev/pylint",
        &["1edf5101afba0965cb814c548afc22bc3cecb205", "4becf6f9e596b45401680c4947e2d92c953d5e08"],
    ),
    (
        "pytest-dev/pytest",
        &["6b135c83be8cef769dbc860a4706a95603d01d09", "5992a8ef21424d7571305a8d7e2a3431ee7e1e23"],
    ),
    ("scikit-learn/scikit-learn", &[]),
    ("sphinx-doc/sphinx", &["6219bccc477caba671e7c4a3a92a6626b33d5006"]),
    (
        "sympy/sympy",
        &["9d3fa8b4d4963c059c139f3860b8cc1d611adbae", "99b21ff58ad2e2ba83172512d7f513a7c37e50c3"],
    ),
    ("marshmallow-code/marshmallow", &["f1aa25bcf83eb77eb6476c678d4375039127679a"]),
    ("pvlib/pvlib-python", &["059ec272601b40affcc3a9c689018eb423ae3380"]),
    (
        "pydicom/pydicom",
        &[
            "db01c5781680aa66a89b1f9485105f58396aa3e6",
            "8c20a621e4b34a43668db16ed3d88f930ea08b6a",
            "fc80142ee0b37ecc0fdcab5343973ffcfce1a224",
            "fb2cafd6462339f9f8d910e8f9a4d16c3e783c37",
        ],
    ),
    ("pylint-dev/astroid", &["85529cfcb8e870333d7292cb493f54d7f3fd92cf"]),
    ("pyvista/pyvista", &[]),
    ("sqlfluff/sqlfluff", &["13f190cfd613f2a67e62fd558124f8a1d90cf872"]),
];

/// Repositories and files that training must not see.
#[derive(Debug)]
pub struct Evaluation {
    /// Whole names in lower case.
    names: BTreeSet<String>,
    /// Names without an owner, of repositories whose first commit is not known.
    bare_names: BTreeSet<String>,
    /// First commits, with the repository that began so.
    roots: BTreeMap<String, String>,
    /// The files that a gold patch of an evaluation starts from.
    blobs: BTreeSet<BlobId>,
}

impl Default for Evaluation {
    fn default() -> Self {
        let mut evaluation = Self {
            names: BTreeSet::new(),
            bare_names: BTreeSet::new(),
            roots: BTreeMap::new(),
            blobs: BTreeSet::new(),
        };
        for (name, roots) in REPOSITORIES {
            evaluation.names.insert((*name).to_owned());
            if roots.is_empty() {
                evaluation.bare_names.extend(name.split('/').next_back().map(ToOwned::to_owned));
            }
            for root in *roots {
                evaluation.roots.insert((*root).to_owned(), (*name).to_owned());
            }
        }
        evaluation
    }
}

impl Evaluation {
    /// Adds an evaluation's repositories, and the files that its gold patches start from, read
    /// from the repositories below a folder.
    ///
    /// # Errors
    ///
    /// A repository is not there: then nothing can be proved of its files.
    pub fn add(&mut self, instances: &[Instance], repos: &Path) -> anyhow::Result<()> {
        let mut by_repo: BTreeMap<&str, Vec<&Instance>> = BTreeMap::new();
        for instance in instances {
            by_repo.entry(&instance.task().repo).or_default().push(instance);
        }
        for (repo, instances) in by_repo {
            self.names.insert(repo.to_lowercase());
            let history = History::open(&find_repository(repos, repo)?, None)?;
            for root in history.commits()?.iter().filter(|commit| commit.parents.is_empty()) {
                self.roots.insert(root.id.to_string(), repo.to_owned());
            }
            for instance in instances {
                self.add_files(instance, &history)
                    .with_context(|| format!("`{}`", instance.task().instance_id))?;
            }
        }
        Ok(())
    }

    fn add_files(&mut self, instance: &Instance, history: &History) -> anyhow::Result<()> {
        let patch = &instance.solution().patch;
        if patch.trim().is_empty() {
            return Ok(());
        }
        for path in Patch::parse(patch.as_bytes())?.base_paths() {
            let Some(blob) = history.blob_at(&instance.task().base_commit, path)? else { continue };
            // An empty `__init__.py` is in every repository and gives nothing away.
            if !history.read(blob)?.trim_ascii().is_empty() {
                self.blobs.insert(blob);
            }
        }
        Ok(())
    }

    /// Files that no training snapshot may hold.
    pub fn n_files(&self) -> usize {
        self.blobs.len()
    }

    /// Refuses a repository that an evaluation is made from, or a copy of one.
    pub fn refuse(&self, repo: &str, commits: &[Commit]) -> anyhow::Result<()> {
        let name = repo.to_lowercase();
        let bare = name.split('/').next_back().unwrap_or_default();
        let hint = "hint: what is trained on cannot be evaluated on; leave it out";
        if self.names.contains(&name) || self.bare_names.contains(bare) {
            bail!("`{repo}` is a repository of an evaluation\n{hint}");
        }
        let roots = commits.iter().filter(|commit| commit.parents.is_empty());
        for root in roots {
            if let Some(original) = self.roots.get(&root.id.to_string()) {
                bail!(
                    "`{repo}` begins with the first commit of `{original}`, a repository of an evaluation\n{hint}"
                );
            }
        }
        Ok(())
    }

    /// Whether the tree of a commit holds a file of an evaluation. A tree that cannot be read
    /// counts as one that does.
    pub(super) fn is_in_tree(
        &self,
        history: &History,
        commit: BlobId,
        memory: &Mutex<TreeMemory>,
    ) -> bool {
        if self.blobs.is_empty() {
            return false;
        }
        let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
        !matches!(history.find_blob(commit, &self.blobs, &mut memory), Ok(None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(id: [u8; 20]) -> Commit {
        Commit { id: BlobId(id), parents: vec![], time: 0, message: String::new() }
    }

    #[test]
    fn evaluation_repositories_are_refused_by_name_and_by_their_first_commit() {
        let evaluation = Evaluation::default();
        for (repo, wanted) in [
            ("Psf/Requests", "is a repository of an evaluation"),
            ("me/django", "is a repository of an evaluation"),
        ] {
            let message = evaluation.refuse(repo, &[]).unwrap_err().to_string();
            assert!(message.contains(wanted), "{message}");
        }
        let root = "13f190cfd613f2a67e62fd558124f8a1d90cf872";
        let id: Vec<u8> =
            (0..20).map(|at| u8::from_str_radix(&root[2 * at..2 * at + 2], 16).unwrap()).collect();
        let copy = commit(id.try_into().unwrap());
        let message = evaluation.refuse("me/mine", &[copy]).unwrap_err().to_string();
        assert!(message.contains("first commit of `sqlfluff/sqlfluff`"), "{message}");
        assert!(evaluation.refuse("me/requests", &[commit([1; 20])]).is_ok());
    }

    #[test]
    fn the_repositories_of_the_benchmark_are_eighteen() {
        assert_eq!(REPOSITORIES.len(), 18);
        let roots = REPOSITORIES.iter().flat_map(|(_, roots)| *roots);
        assert!(roots.clone().all(|root| root.len() == 40));
        assert_eq!(roots.clone().collect::<BTreeSet<_>>().len(), roots.count());
    }
}
