//! Environments: what recipes install, kept in the user's cache under a hash of their content.
//!
//! An environment is made once, by one process, in the sandbox: with the network, without the
//! user's home, keys and variables. A marker is written last, so that a half-made one is made
//! anew and never used.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, bail};
use serde_json::json;
use tokio::sync::OnceCell;

use crate::pipeline::verify::interpreter::find_python;
use crate::pipeline::verify::recipe::Recipe;
use crate::repo::change::PathChanges;
use crate::repo::snapshot::{MAX_FILE_BYTES, Snapshot, SnapshotOptions};
use crate::run::seed::request_hash;
use crate::sandbox::scratch::ScratchCopy;
use crate::sandbox::words::quote;
use crate::sandbox::{Access, End, Limits, Sandbox};

/// Changes when environments made before must not be used any more.
const FORMAT: u32 = 1;

/// Lines of a failed install that are told.
const TOLD_LINES: usize = 8;

/// What one environment is made from.
#[derive(Debug, Clone)]
pub struct EnvironmentOptions {
    /// The folder of all environments.
    pub folder: PathBuf,
    /// Where scratch copies are made.
    pub scratch: PathBuf,
    /// The user's environment, in which interpreters are looked for.
    pub variables: BTreeMap<String, String>,
    pub sandbox: Sandbox,
    pub limits: Limits,
}

/// A finished environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// The hash of its content.
    pub key: String,
    folder: PathBuf,
    has_programs: bool,
}

impl Environment {
    /// The folder of its programs, which go before all others; `None` where it has none.
    pub fn programs(&self) -> Option<PathBuf> {
        self.has_programs.then(|| virtual_environment(&self.folder).join("bin"))
    }

    /// Where trees stand in the tests' view, and stood in that of the install: what was installed
    /// as editable imports the tree that is tested.
    pub fn checkout(&self) -> PathBuf {
        checkout(&self.folder)
    }

    /// Where it is remembered which gold patches verify in it.
    pub fn gold_folder(&self) -> PathBuf {
        self.folder.join("gold")
    }
}

/// All environments of one process: each is made once, and one that failed is not tried again.
pub struct Environments {
    options: EnvironmentOptions,
    made: Mutex<BTreeMap<String, Arc<Slot>>>,
}

/// An environment that is being made, or what came of it.
type Slot = OnceCell<Result<Environment, String>>;

impl Environments {
    pub fn new(options: EnvironmentOptions) -> Self {
        Self { options, made: Mutex::default() }
    }

    /// The environment of a recipe, made where it is not there yet. `setup` is the repository and
    /// the commit that the install commands see, if they see one.
    ///
    /// # Errors
    ///
    /// The interpreter is missing, or an install command failed: its last lines are told.
    pub async fn obtain(
        &self,
        recipe: &Recipe,
        setup: (&Path, &str),
    ) -> anyhow::Result<Environment> {
        let python = recipe.python.as_ref();
        let python = python.map(|version| find_python(version, &self.options.variables));
        let python = python.transpose()?;
        let content = json!({
            "format": FORMAT,
            "python": python,
            "install": recipe.install,
            "commit": recipe.tree.then_some(setup.1),
            "repo": recipe.tree.then_some(&recipe.repo),
        });
        let key = request_hash(&content)?;
        let cell = {
            let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(made.entry(key.clone()).or_default())
        };
        let made = cell.get_or_init(|| async {
            let made = self.make(recipe, setup, python.as_deref(), &key).await;
            made.map_err(|error| format!("{error:#}"))
        });
        made.await.clone().map_err(anyhow::Error::msg)
    }

    async fn make(
        &self,
        recipe: &Recipe,
        setup: (&Path, &str),
        python: Option<&Path>,
        key: &str,
    ) -> anyhow::Result<Environment> {
        let parent = &self.options.folder;
        let folder = parent.join(key);
        let context = || format!("making the environment `{}`", folder.display());
        fs::create_dir_all(parent).with_context(context)?;
        // As commands see them: a link on the way would lead elsewhere in the sandbox.
        let parent = parent.canonicalize().with_context(context)?;
        let folder = parent.join(key);
        let lock = File::create(parent.join(format!("{key}.lock"))).with_context(context)?;
        // Another process may be making it: that is waited for.
        let _lock = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock))
            .await
            .with_context(context)?
            .with_context(context)?;
        let environment =
            Environment { key: key.to_owned(), folder, has_programs: python.is_some() };
        let folder = &environment.folder;
        let marker = folder.join("ready.json");
        if marker.is_file() {
            return Ok(environment);
        }
        if folder.exists() {
            fs::remove_dir_all(folder).with_context(context)?;
        }
        for part in [virtual_environment(folder), checkout(folder), environment.gold_folder()] {
            fs::create_dir_all(part).with_context(context)?;
        }
        let commands = install_commands(recipe, python, &virtual_environment(folder));
        if !commands.is_empty() {
            self.install(recipe, setup, &environment, &commands).await?;
        }
        let made = json!({ "repo": recipe.repo, "python": python, "install": recipe.install });
        // The name appears with the whole content, or not at all.
        let file = tempfile::NamedTempFile::new_in(folder).with_context(context)?;
        serde_json::to_writer_pretty(file.as_file(), &made).with_context(context)?;
        file.as_file().sync_all().with_context(context)?;
        file.persist(&marker).with_context(context)?;
        Ok(environment)
    }

    async fn install(
        &self,
        recipe: &Recipe,
        (root, commit): (&Path, &str),
        environment: &Environment,
        commands: &str,
    ) -> anyhow::Result<()> {
        let EnvironmentOptions { scratch, sandbox, limits, .. } = &self.options;
        let checkout = environment.checkout();
        let copy = tokio::task::block_in_place(|| {
            let snapshot = match recipe.tree {
                false => Snapshot::from_files(BTreeMap::new()),
                true => {
                    let options = SnapshotOptions {
                        revision: Some(commit.to_owned()),
                        max_file_bytes: MAX_FILE_BYTES,
                        cache: None,
                    };
                    Snapshot::open(root, &options)
                        .with_context(|| format!("opening `{}`", root.display()))?
                }
            };
            ScratchCopy::create(&snapshot, &checkout, &PathChanges::new(), scratch)
        })?;
        let access =
            Access { network: true, writable: Some(virtual_environment(&environment.folder)) };
        let sandbox = sandbox.with_options(|options| options.limits = *limits);
        let execution = sandbox.run_with(commands, &copy, &access).await?;
        let log = environment.folder.join("install.log");
        fs::write(&log, &execution.output)
            .with_context(|| format!("writing `{}`", log.display()))?;
        if execution.end == End::Exited(0) {
            return Ok(());
        }
        let output = String::from_utf8_lossy(&execution.output);
        let lines: Vec<&str> = output.lines().filter(|line| !line.trim().is_empty()).collect();
        let told = lines[lines.len().saturating_sub(TOLD_LINES)..].join("\n");
        bail!(
            "the install of the recipe for `{}` failed ({}); its last lines, of `{}`:\n{told}",
            recipe.repo,
            execution.end,
            log.display()
        )
    }
}

fn virtual_environment(folder: &Path) -> PathBuf {
    folder.join("venv")
}

fn checkout(folder: &Path) -> PathBuf {
    folder.join("checkout")
}

/// A shell script that fills an environment; empty where nothing is to be done.
fn install_commands(recipe: &Recipe, python: Option<&Path>, target: &Path) -> String {
    let mut lines = Vec::new();
    if let Some(python) = python {
        let target = quote(&target.to_string_lossy());
        lines.push(format!("{} -m venv {target}", quote(&python.to_string_lossy())));
        lines.push(format!(". {target}/bin/activate"));
    }
    lines.extend(recipe.install.iter().cloned());
    if lines.is_empty() { String::new() } else { format!("set -e\n{}\n", lines.join("\n")) }
}
