//! Results that have their names only when they are whole.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, ensure};
use tempfile::{NamedTempFile, TempDir};

/// A folder that is being filled. Dropped before it is finished, it is gone.
pub struct NewFolder {
    unfinished: TempDir,
    path: PathBuf,
    _known: Known<'static>,
}

/// A file that is being written. Dropped before it is finished, it is gone.
pub struct NewFile {
    unfinished: NamedTempFile,
    path: PathBuf,
    _known: Known<'static>,
}

/// What is to go when the program ends without dropping anything: gigabytes under hidden names.
struct Unfinished(Mutex<Vec<PathBuf>>);

static UNFINISHED: Unfinished = Unfinished(Mutex::new(Vec::new()));

/// Removes what this process has not finished; for the last moment before it ends.
pub fn remove_unfinished() {
    UNFINISHED.remove();
}

impl Unfinished {
    fn know(&self, path: &Path) -> Known<'_> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(path.to_owned());
        Known { of: self, path: path.to_owned() }
    }

    fn remove(&self) {
        for path in self.0.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // The program is ending: what cannot be removed stays, as after a kill.
            let _gone =
                if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        }
    }
}

/// Something unfinished, known as long as this lives.
struct Known<'a> {
    of: &'a Unfinished,
    path: PathBuf,
}

impl Drop for Known<'_> {
    fn drop(&mut self) {
        let mut paths = self.of.0.lock().unwrap_or_else(PoisonError::into_inner);
        paths.retain(|path| *path != self.path);
    }
}

/// Refuses what is there already.
fn refuse(path: &Path) -> anyhow::Result<()> {
    ensure!(
        path.symlink_metadata().is_err(),
        "`{}` is there already\nhint: name another `--out`, or delete it",
        path.display()
    );
    Ok(())
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// What is made with the permissions that the user's mask leaves, unlike other temporary files.
fn builder(mode: u32) -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".unfinished-");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(mode));
    #[cfg(not(unix))]
    let _ = mode;
    builder
}

impl NewFolder {
    /// # Errors
    ///
    /// It is there already, or nothing can be made beside it.
    pub fn create(path: &Path) -> anyhow::Result<Self> {
        refuse(path)?;
        let context = || format!("making `{}`", path.display());
        fs::create_dir_all(parent(path)).with_context(context)?;
        let unfinished = builder(0o777).tempdir_in(parent(path)).with_context(context)?;
        let known = UNFINISHED.know(unfinished.path());
        Ok(Self { unfinished, path: path.to_owned(), _known: known })
    }

    /// Where a file of it is to be written.
    pub fn file(&self, name: &str) -> PathBuf {
        self.unfinished.path().join(name)
    }

    /// Writes a file of it.
    pub fn write(&self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let write = || {
            let mut file = File::create(self.file(name))?;
            file.write_all(bytes)?;
            file.sync_all()
        };
        write().with_context(|| self.failed(name))
    }

    /// What is said where a file of it cannot be written.
    pub fn failed(&self, name: &str) -> String {
        format!(
            "writing `{}`\nhint: nothing of it was left behind; is there room on the disk?",
            self.path.join(name).display()
        )
    }

    /// Gives it its name.
    pub fn finish(self) -> anyhow::Result<()> {
        let Self { unfinished, path, _known } = self;
        refuse(&path)?;
        let context = || format!("naming `{}`", path.display());
        fs::rename(unfinished.path(), &path).with_context(context)?;
        drop(unfinished.keep());
        // The name is kept through a power cut, too.
        File::open(parent(&path)).and_then(|folder| folder.sync_all()).with_context(context)
    }
}

impl NewFile {
    /// # Errors
    ///
    /// It is there already, or nothing can be made beside it.
    pub fn create(path: &Path) -> anyhow::Result<Self> {
        refuse(path)?;
        let context = || format!("making `{}`", path.display());
        fs::create_dir_all(parent(path)).with_context(context)?;
        let unfinished = builder(0o666).tempfile_in(parent(path)).with_context(context)?;
        let known = UNFINISHED.know(unfinished.path());
        Ok(Self { unfinished, path: path.to_owned(), _known: known })
    }

    /// What its bytes are written to.
    pub fn as_file(&mut self) -> &mut File {
        self.unfinished.as_file_mut()
    }

    /// What is said where it cannot be written.
    pub fn failed(&self) -> String {
        format!(
            "writing `{}`\nhint: nothing of it was left behind; is there room on the disk?",
            self.path.display()
        )
    }

    /// Gives it its name.
    pub fn finish(self) -> anyhow::Result<()> {
        self.unfinished.as_file().sync_all().with_context(|| self.failed())?;
        let Self { unfinished, path, _known } = self;
        unfinished.persist_noclobber(&path).with_context(|| {
            format!("naming `{}`\nhint: name another `--out`, or delete it", path.display())
        })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unfinished_goes_when_the_program_is_interrupted() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        let unfinished = Unfinished(Mutex::new(Vec::new()));
        let [file, folder, finished] = ["file", "folder", "finished"].map(at);
        let _known = [&file, &folder].map(|path| unfinished.know(path));
        drop(unfinished.know(&finished));
        fs::create_dir(&folder).unwrap();
        for path in [&file, &folder.join("inside"), &finished] {
            fs::write(path, "x").unwrap();
        }
        unfinished.remove();
        let left: Vec<_> = fs::read_dir(home.path()).unwrap().map(|e| e.unwrap().path()).collect();
        assert_eq!(left, [finished]);
    }

    #[test]
    fn what_is_not_finished_is_gone_and_what_is_there_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let (folder, file) = (home.path().join("a/folder"), home.path().join("file"));
        let unfinished = NewFolder::create(&folder).unwrap();
        unfinished.write("x", b"1").unwrap();
        drop(unfinished);
        let mut unfinished = NewFile::create(&file).unwrap();
        unfinished.as_file().write_all(b"1").unwrap();
        drop(unfinished);
        let left = |folder: &Path| fs::read_dir(folder).unwrap().count();
        assert_eq!((left(&home.path().join("a")), left(home.path())), (0, 1));

        let finished = NewFolder::create(&folder).unwrap();
        finished.write("x", b"1").unwrap();
        finished.finish().unwrap();
        NewFile::create(&file).unwrap().finish().unwrap();
        assert_eq!(fs::read(folder.join("x")).unwrap(), b"1");
        for error in [NewFolder::create(&folder).err(), NewFile::create(&file).err()] {
            let message = error.unwrap().to_string();
            assert!(message.contains("is there already\nhint:"), "{message}");
        }
    }
}
