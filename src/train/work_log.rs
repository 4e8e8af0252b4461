//! Work in progress beside the file that it will become: line by line, resumed after a kill, gone
//! when the result is whole.

use std::fs::{self, File, TryLockError};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::run::line_log::{Durability, LineLog};
use crate::run::seed::request_hash;

/// A log of finished pieces of work.
#[derive(Debug)]
pub struct WorkLog {
    log: LineLog,
    /// Held, not read: the lock ends with the process, however it ends.
    _lock: File,
}

/// The stage of the first line, which says what the work was asked to be.
const SETTINGS: &str = "settings";

#[derive(Debug, Deserialize)]
struct SettingsRow {
    asked: String,
}

impl WorkLog {
    /// Where the work on a result is kept.
    pub fn beside(result: &Path) -> PathBuf {
        let mut name = result.file_name().unwrap_or_default().to_owned();
        name.push(".work");
        result.with_file_name(name)
    }

    /// Refuses a result that is there already, and is not about to be finished: it may be the
    /// input, or hours of other work.
    pub fn refuse_finished(result: &Path) -> anyhow::Result<()> {
        ensure!(
            result.symlink_metadata().is_err() || Self::beside(result).exists(),
            "`{}` is there already\nhint: name another `--out`, or delete it",
            result.display()
        );
        Ok(())
    }

    /// Begins a log, or goes on with the one that is there.
    ///
    /// # Errors
    ///
    /// The one that is there was asked for something else.
    pub fn open(path: PathBuf, asked: &Value) -> anyhow::Result<Self> {
        let log = LineLog::open(path.clone(), Durability::Buffered)?;
        let context = || format!("locking `{}`", path.display());
        let lock = File::open(&path).with_context(context)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!(
                "another process works on `{}`\nhint: wait for it, or name another `--out`",
                path.display()
            ),
            Err(TryLockError::Error(error)) => return Err(error).with_context(context),
        }
        let asked = request_hash(asked)?;
        match log.read::<SettingsRow>(|head| head.stage == SETTINGS)?.first() {
            Some(begun) if begun.asked != asked => bail!(
                "`{}` holds unfinished work on other input or with other settings\nhint: repeat the command that began it, or delete the file",
                path.display()
            ),
            Some(_) => {}
            None => log.append(
                &json!({ "version": 1, "instance": "", "stage": SETTINGS, "asked": asked }),
            )?,
        }
        Ok(Self { log, _lock: lock })
    }

    /// The finished pieces, in the order in which they were finished.
    pub fn rows<T: DeserializeOwned>(&self) -> anyhow::Result<Vec<T>> {
        self.log.read(|head| head.stage != SETTINGS)
    }

    /// Adds a finished piece, whole or not at all.
    pub fn append(&self, row: &impl Serialize) -> anyhow::Result<()> {
        self.log.append(row)
    }

    /// Writes the result under its name once it is whole, and then removes the log.
    pub fn finish<T: Serialize>(
        path: &Path,
        result: &Path,
        rows: impl IntoIterator<Item = T>,
    ) -> anyhow::Result<()> {
        write_rows(result, rows)?;
        match fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("removing `{}`", path.display()))
            }
            _ => Ok(()),
        }
    }
}

/// Writes JSON lines to a new file, which then takes the name.
pub fn write_rows<T: Serialize>(
    path: &Path,
    rows: impl IntoIterator<Item = T>,
) -> anyhow::Result<()> {
    let context = || {
        format!(
            "writing `{}`\nhint: finished work is kept; free some space and run the same command again",
            path.display()
        )
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let file = tempfile::NamedTempFile::new_in(folder).with_context(context)?;
    let mut writer = BufWriter::new(file);
    for row in rows {
        serde_json::to_writer(&mut writer, &row).with_context(context)?;
        writer.write_all(b"\n").with_context(context)?;
    }
    let file = writer.into_inner().map_err(std::io::IntoInnerError::into_error);
    let file = file.with_context(context)?;
    file.as_file().sync_all().with_context(context)?;
    file.persist(path).with_context(context)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_goes_on_where_it_was_and_only_as_it_was_begun() {
        let folder = tempfile::tempdir().unwrap();
        let result = folder.path().join("x.jsonl");
        let path = WorkLog::beside(&result);
        assert_eq!(path, folder.path().join("x.jsonl.work"));
        let log = WorkLog::open(path.clone(), &json!({"a": 1})).unwrap();
        log.append(&json!({"instance": "i", "n": 1})).unwrap();
        drop(log);
        fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"inst").unwrap();
        let log = WorkLog::open(path.clone(), &json!({"a": 1})).unwrap();
        assert_eq!(log.rows::<Value>().unwrap(), [json!({"instance": "i", "n": 1})]);
        drop(log);
        let message = format!("{:#}", WorkLog::open(path.clone(), &json!({"a": 2})).unwrap_err());
        assert!(message.contains("other settings"), "{message}");
        WorkLog::finish(&path, &result, [json!({"r": 1}), json!({"r": 2})]).unwrap();
        assert_eq!(fs::read_to_string(&result).unwrap(), "{\"r\":1}\n{\"r\":2}\n");
        assert!(!path.exists());
    }
}
