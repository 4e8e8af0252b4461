//! The environment, read once and passed on as a value.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, bail};

use crate::config::{Config, ENVIRONMENT_PREFIX};

/// The variable that holds the key for the servers of `endpoint`; no setting, and never shown.
pub const API_KEY_VARIABLE: &str = "SORFT_API_KEY";

/// Variables of ours that flags read and that are no keys.
const FLAG_VARIABLES: [&str; 3] = ["SORFT_ISA", "SORFT_MODELS", "SORFT_PYTHON"];

/// The variables of the process; values that are no UTF-8 are left out.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The variables of this process.
    pub fn read() -> Self {
        let text = |value: std::ffi::OsString| value.into_string().ok();
        Self(std::env::vars_os().filter_map(|(name, value)| text(name).zip(text(value))).collect())
    }

    /// These variables and no others.
    pub fn of(variables: &[(&str, &str)]) -> Self {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Self(variables.iter().map(owned).collect())
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The home folder, if one is named.
    pub fn home(&self) -> Option<PathBuf> {
        self.get("HOME").filter(|home| !home.is_empty()).map(PathBuf::from)
    }

    /// All variables, by name.
    pub fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The variables that set keys.
    pub(crate) fn settings(&self) -> impl Iterator<Item = (&str, &str)> {
        let is_key = |name: &str| {
            name.starts_with(ENVIRONMENT_PREFIX)
                && name != API_KEY_VARIABLE
                && !FLAG_VARIABLES.contains(&name)
        };
        self.all().filter(move |(name, _)| is_key(name))
    }

    /// The key that the variable gives for this run.
    pub fn given_api_key(&self) -> Option<ApiKey> {
        let key = self.get(API_KEY_VARIABLE).filter(|key| !key.is_empty());
        key.map(|key| ApiKey(key.to_owned()))
    }

    /// The key for the servers of `endpoint`: the variable's, else the file's, else none.
    pub fn api_key(&self, config: &Config) -> anyhow::Result<Option<ApiKey>> {
        if let Some(key) = self.given_api_key() {
            return Ok(Some(key));
        }
        let Some(path) = &config.api_key_file else { return Ok(None) };
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("reading the key file `{}`", path.display()))?;
        let key = text.trim();
        if key.is_empty() || key.contains(char::is_whitespace) {
            bail!("the key file `{}` does not hold one key alone", path.display());
        }
        Ok(Some(ApiKey(key.to_owned())))
    }
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// A key that no message, log or file may show.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// The key itself, for the one header that carries it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_keys_nor_values_of_variables_are_shown() {
        let environment = Environment::of(&[(API_KEY_VARIABLE, "hunter2")]);
        let key = environment.api_key(&Config::default()).unwrap().unwrap();
        assert_eq!(key.reveal(), "hunter2");
        assert_eq!(format!("{environment:?} {key:?}"), "{\"SORFT_API_KEY\"} ApiKey(…)");
    }

    #[test]
    fn a_key_file_holds_one_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let config = Config { api_key_file: Some(path.clone()), ..Config::default() };
        std::fs::write(&path, "abc\n").unwrap();
        let key = Environment::default().api_key(&config).unwrap().unwrap();
        assert_eq!(key.reveal(), "abc");
        std::fs::write(&path, "abc def\n").unwrap();
        assert!(Environment::default().api_key(&config).is_err());
    }
}
