//! Where an adapter is: a folder, or this program.

use std::borrow::Cow;
use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::model::local::adapter::{CONFIG_FILE, WEIGHTS_FILE};
use crate::model::shipped::ShippedAdapter;

/// What only this program asks of an adapter; it may be absent.
pub const SORFT_FILE: &str = "sorft.json";

/// The content of [`SORFT_FILE`].
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct SorftConfig {
    /// The stages that it is for; absent: all. The others run without it.
    stages: Option<Vec<String>>,
    /// Folders within its own that hold adapters, in PEFT's layout, which add to what it adds.
    #[serde(default)]
    parts: Vec<String>,
}

/// The two files of an adapter in PEFT's layout.
pub(super) struct PeftFiles {
    /// Where they are, for messages.
    pub(super) place: String,
    pub(super) config: Cow<'static, [u8]>,
    pub(super) weights: Cow<'static, [u8]>,
}

/// Where an adapter is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdapterSource {
    /// A folder in PEFT's layout.
    Folder(PathBuf),
    /// In this program.
    Shipped(&'static ShippedAdapter),
}

impl fmt::Display for AdapterSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => write!(f, "{}", folder.display()),
            Self::Shipped(adapter) => write!(f, "shipped for {}", adapter.base),
        }
    }
}

impl From<&Path> for AdapterSource {
    fn from(folder: &Path) -> Self {
        Self::Folder(folder.to_owned())
    }
}

impl AdapterSource {
    /// Eight digits that tell an adapter from others, by its files.
    pub fn fingerprint(&self) -> anyhow::Result<String> {
        let own = self.own_files()?;
        let parts = self.part_files()?;
        let mut bytes = vec![own.config, own.weights];
        bytes.extend(self.file(SORFT_FILE)?);
        bytes.extend(parts.into_iter().flat_map(|part| [part.config, part.weights]));
        let mut hash = Sha256::new();
        bytes.iter().for_each(|bytes| hash.update(bytes));
        let digest = hash.finalize();
        Ok(digest[..4].iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The stages that it is for; `None`: all.
    ///
    /// # Errors
    ///
    /// Its `sorft.json` cannot be read.
    pub fn stages(&self) -> anyhow::Result<Option<Vec<String>>> {
        Ok(self.config()?.stages)
    }

    /// The files of the adapter itself.
    pub(super) fn own_files(&self) -> anyhow::Result<PeftFiles> {
        self.peft_files(None)
    }

    /// The files of its parts.
    pub(super) fn part_files(&self) -> anyhow::Result<Vec<PeftFiles>> {
        let read = |part: String| {
            // What an adapter names stays within its folder.
            let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
            ensure!(
                !part.is_empty() && part.chars().all(is_plain),
                "`{SORFT_FILE}` of the adapter `{self}`: a part is a folder beside it, of a name of letters, digits, `-` and `_`; found {part:?}"
            );
            self.peft_files(Some(&part))
        };
        self.config()?.parts.into_iter().map(read).collect()
    }

    fn config(&self) -> anyhow::Result<SorftConfig> {
        let Some(bytes) = self.file(SORFT_FILE)? else { return Ok(SorftConfig::default()) };
        serde_json::from_slice(&bytes).with_context(|| {
            format!("`{SORFT_FILE}` of the adapter `{self}`: wanted such as {{ \"stages\": [\"file\"] }}")
        })
    }

    fn peft_files(&self, part: Option<&str>) -> anyhow::Result<PeftFiles> {
        let place = part.map_or_else(|| self.to_string(), |part| format!("{self}/{part}"));
        let read = |name: &str| {
            let path = part.map_or_else(|| name.to_owned(), |part| format!("{part}/{name}"));
            self.file(&path)?.with_context(|| {
                let hint = part.map_or_else(|| self.hint(), |_| String::new());
                format!("reading the adapter `{self}`: `{path}` was wanted, and is not there{hint}")
            })
        };
        Ok(PeftFiles { config: read(CONFIG_FILE)?, weights: read(WEIGHTS_FILE)?, place })
    }

    /// One of its files, if it is there.
    fn file(&self, path: &str) -> anyhow::Result<Option<Cow<'static, [u8]>>> {
        match self {
            Self::Shipped(adapter) => Ok(adapter.file(path).map(Cow::Borrowed)),
            Self::Folder(folder) => match fs::read(folder.join(path)) {
                Err(error)
                    if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
                {
                    Ok(None)
                }
                bytes => bytes
                    .map(|bytes| Some(Cow::Owned(bytes)))
                    .with_context(|| format!("reading the adapter `{self}`: `{path}`")),
            },
        }
    }

    /// What to do where there is no adapter.
    fn hint(&self) -> String {
        let Self::Folder(folder) = self else { return String::new() };
        let below = folder.join("adapter");
        match below.join(CONFIG_FILE).is_file() {
            true => format!("\nhint: there is one in `{}`", below.display()),
            false => "\nhint: an adapter is a folder, as `sorft train sft --out DIR` leaves it in `DIR/adapter`"
                .to_owned(),
        }
    }
}
