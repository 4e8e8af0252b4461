//! The folder of a training run: what was asked, one process at a time, and its logs.

use std::fs::{self, File, TryLockError};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::run::directory::write_whole;

/// A folder that this process trains in.
#[derive(Debug)]
pub struct TrainFolder {
    path: PathBuf,
    /// Held, not read: the lock ends with the process, however it ends.
    _lock: File,
}

/// A line of a log, which belongs to a step.
pub trait OfStep: Serialize + DeserializeOwned {
    /// Steps done when it was written.
    fn step(&self) -> usize;
}

/// The folder of checkpoints, and that of the finished adapter.
pub const CHECKPOINTS: &str = "checkpoints";
pub const ADAPTER: &str = "adapter";
/// What reinforcement alone adds to the adapter that it began with.
pub const ADDITION: &str = "addition";
/// The tuned model, where all weights are.
pub const MODEL: &str = "model";
/// The same of the best checkpoint, where a run's last one is not its best.
pub const BEST: &str = "best";

const ASKED_FILE: &str = "train.json";

/// What a run was asked for.
pub fn asked(folder: &Path) -> anyhow::Result<Value> {
    let path = folder.join(ASKED_FILE);
    let context = || format!("reading `{}`", path.display());
    let text = fs::read_to_string(&path).with_context(context)?;
    let Asked { asked } = serde_json::from_str(&text).with_context(context)?;
    Ok(asked)
}

/// Whether a folder is that of a training run.
pub fn is_run(folder: &Path) -> bool {
    folder.join(ASKED_FILE).is_file()
}

/// The whole lines of a run's log, while it may still grow; none where there is no log yet.
pub fn read_log<T: OfStep>(folder: &Path, name: &str) -> anyhow::Result<Vec<T>> {
    let path = folder.join(name);
    let context = || format!("reading `{}`", path.display());
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        text => text.with_context(context)?,
    };
    let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    lines.map(|line| serde_json::from_str(line).with_context(context)).collect()
}

#[derive(Deserialize)]
struct Asked {
    asked: Value,
}

impl TrainFolder {
    /// Makes a folder, or goes on in the one that is there.
    ///
    /// # Errors
    ///
    /// It was begun with other settings, holds something else, or another process is at work.
    pub fn open(path: &Path, version: u32, asked: &Value) -> anyhow::Result<Self> {
        let context = || format!("opening `{}`", path.display());
        fs::create_dir_all(path).with_context(context)?;
        let asked_path = path.join(ASKED_FILE);
        if !asked_path.exists() {
            let is_empty = fs::read_dir(path).with_context(context)?.all(|entry| {
                entry.is_ok_and(|entry| entry.file_name().as_encoded_bytes().starts_with(b"."))
            });
            if !is_empty {
                bail!("`{}` holds something else\nhint: name a new folder", path.display());
            }
        }
        let lock_path = path.join(".lock");
        let lock = File::create(&lock_path).with_context(context)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!(
                "another process trains in `{}`\nhint: wait for it, or name another folder",
                path.display()
            ),
            Err(TryLockError::Error(error)) => return Err(error).with_context(context),
        }
        if asked_path.exists() {
            let text = fs::read_to_string(&asked_path).with_context(context)?;
            let found: Asked = serde_json::from_str(&text)
                .with_context(|| format!("`{}` is not of this program", asked_path.display()))?;
            if let Some(key) = first_difference(&found.asked, asked) {
                bail!(
                    "`{}` was begun with another `{key}`\nhint: repeat the command that began it, or name another folder",
                    path.display()
                );
            }
        } else {
            let text = serde_json::json!({ "version": version, "asked": asked });
            write_whole(&asked_path, &serde_json::to_vec_pretty(&text)?).with_context(context)?;
        }
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Drops the lines of a log that were written after a step (`None`: all of them), and one that
    /// is not whole.
    pub fn cut_log<T: OfStep>(&self, name: &str, step: Option<usize>) -> anyhow::Result<Vec<T>> {
        let path = self.path.join(name);
        let context = || format!("reading `{}`", path.display());
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).with_context(context),
        };
        let mut rows = Vec::new();
        let mut kept = String::new();
        for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            let row: T = serde_json::from_str(line).with_context(context)?;
            if step.is_some_and(|step| row.step() <= step) {
                kept.push_str(line);
                rows.push(row);
            }
        }
        if kept.len() < text.len() {
            write_whole(&path, kept.as_bytes()).with_context(context)?;
        }
        Ok(rows)
    }

    /// Adds a line to a log.
    pub fn log<T: OfStep>(&self, name: &str, row: &T) -> anyhow::Result<()> {
        let path = self.path.join(name);
        let context = || format!("writing `{}`", path.display());
        let mut line = serde_json::to_vec(row)?;
        line.push(b'\n');
        let mut file =
            File::options().append(true).create(true).open(&path).with_context(context)?;
        file.write_all(&line).and_then(|()| file.sync_data()).with_context(context)
    }

    /// Removes what killed processes were writing: this one holds the lock.
    pub fn remove_unfinished(&self, folders: &[impl AsRef<Path>]) -> anyhow::Result<()> {
        let folders = folders.iter().map(AsRef::as_ref);
        for folder in folders.filter(|folder| folder.is_dir()) {
            for entry in fs::read_dir(folder)? {
                let entry = entry?;
                if entry.file_name().as_encoded_bytes().starts_with(b".tmp") {
                    let path = entry.path();
                    let removed = if path.is_dir() {
                        fs::remove_dir_all(&path)
                    } else {
                        fs::remove_file(&path)
                    };
                    removed.with_context(|| format!("removing `{}`", path.display()))?;
                }
            }
        }
        Ok(())
    }
}

/// The name of the first field that two objects do not share.
fn first_difference(found: &Value, wanted: &Value) -> Option<String> {
    let (Value::Object(found), Value::Object(wanted)) = (found, wanted) else {
        return (found != wanted).then(String::new);
    };
    let keys = wanted.keys().chain(found.keys());
    let mut differing = keys.filter(|key| found.get(*key) != wanted.get(*key));
    differing.next().map(|key| match (found.get(key), wanted.get(key)) {
        (Some(found), Some(wanted)) if found.is_object() && wanted.is_object() => {
            first_difference(found, wanted).unwrap_or_else(|| key.clone())
        }
        _ => key.clone(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Line {
        step: usize,
    }

    impl OfStep for Line {
        fn step(&self) -> usize {
            self.step
        }
    }

    #[test]
    fn a_folder_is_gone_on_with_as_it_was_begun_and_by_one_process() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("run");
        let asked = json!({"options": {"rate": 1.0, "seed": 1}});
        let folder = TrainFolder::open(&path, 1, &asked).unwrap();
        let message = format!("{:#}", TrainFolder::open(&path, 1, &asked).unwrap_err());
        assert!(message.contains("another process trains in"), "{message}");
        drop(folder);
        let other = json!({"options": {"rate": 1.0, "seed": 2}});
        let message = format!("{:#}", TrainFolder::open(&path, 1, &other).unwrap_err());
        assert!(message.contains("another `seed`"), "{message}");
        TrainFolder::open(&path, 1, &asked).unwrap();
        let message = format!("{:#}", TrainFolder::open(parent.path(), 1, &asked).unwrap_err());
        assert!(message.contains("holds something else"), "{message}");
    }

    #[test]
    fn a_log_ends_at_the_step_that_is_gone_on_from() {
        let parent = tempfile::tempdir().unwrap();
        let folder = TrainFolder::open(&parent.path().join("run"), 1, &json!({})).unwrap();
        assert_eq!(folder.cut_log::<Line>("m.jsonl", Some(3)).unwrap(), []);
        (1..=4).for_each(|step| folder.log("m.jsonl", &Line { step }).unwrap());
        let path = folder.path().join("m.jsonl");
        File::options().append(true).open(&path).unwrap().write_all(b"{\"st").unwrap();
        let kept = [Line { step: 1 }, Line { step: 2 }];
        assert_eq!(folder.cut_log::<Line>("m.jsonl", Some(2)).unwrap(), kept);
        folder.log("m.jsonl", &Line { step: 3 }).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, "{\"step\":1}\n{\"step\":2}\n{\"step\":3}\n");
    }
}
