//! A file of JSON lines that survives kills, full disks and power cuts.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::run::RUN_VERSION;
use crate::run::row::RowHead;

/// Whether a line must be on the disk before `append` returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// It cost a model call or a test run.
    Synced,
    /// It may be lost in a power cut.
    Buffered,
}

/// One file of JSON lines, open for appending by one process.
#[derive(Debug)]
pub(crate) struct LineLog {
    path: PathBuf,
    durability: Durability,
    state: Mutex<LogState>,
}

#[derive(Debug)]
struct LogState {
    file: File,
    /// Bytes of whole lines; whatever lies behind them is not part of the log.
    length: u64,
    heads: Vec<(RowHead, LineSpot)>,
}

/// Where a line lies in its file, line end included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct LineSpot {
    offset: u64,
    length: u64,
}

impl LineLog {
    /// Opens or creates the file; a last line that was not written whole is dropped.
    pub(crate) fn open(path: PathBuf, durability: Durability) -> anyhow::Result<Self> {
        let mut options = OpenOptions::new();
        // Prompts hold source code, which may be nobody else's to read.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .with_context(|| format!("opening `{}`", path.display()))?;
        let (heads, length) = read_heads(&mut file, &path)?;
        file.set_len(length).with_context(|| format!("truncating `{}`", path.display()))?;
        Ok(Self { path, durability, state: Mutex::new(LogState { file, length, heads }) })
    }

    /// Appends one row as one line, whole or not at all.
    pub(crate) fn append(&self, row: &impl Serialize) -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(row).context("rendering a row as JSON")?;
        let head: RowHead = serde_json::from_slice(&line).context("reading a row's own fields")?;
        line.push(b'\n');
        let mut state = self.lock();
        let spot = LineSpot { offset: state.length, length: line.len() as u64 };
        if let Err(error) = write_at(&mut state.file, spot.offset, &line, self.durability) {
            // A part of the line would join with the next one; what cannot be cut off here is cut
            // off when the file is opened again.
            drop(state.file.set_len(spot.offset));
            return Err(error).with_context(|| {
                format!(
                    "writing to `{}`\nhint: finished work is kept; free some space and run the same command again",
                    self.path.display()
                )
            });
        }
        state.length += spot.length;
        state.heads.push((head, spot));
        Ok(())
    }

    /// The rows whose head satisfies `wanted`, in file order.
    pub(crate) fn read<T: DeserializeOwned>(
        &self,
        wanted: impl Fn(&RowHead) -> bool,
    ) -> anyhow::Result<Vec<T>> {
        let mut state = self.lock();
        let spots: Vec<LineSpot> =
            state.heads.iter().filter(|(head, _)| wanted(head)).map(|(_, spot)| *spot).collect();
        let mut rows = Vec::with_capacity(spots.len());
        for spot in spots {
            let line = read_spot(&mut state.file, spot)
                .with_context(|| format!("reading `{}`", self.path.display()))?;
            rows.push(serde_json::from_slice(&line).with_context(|| {
                format!(
                    "`{}` at byte {}: not a row of this version",
                    self.path.display(),
                    spot.offset
                )
            })?);
        }
        Ok(rows)
    }

    /// Whether some row's head satisfies `wanted`.
    pub(crate) fn any(&self, wanted: impl Fn(&RowHead) -> bool) -> bool {
        self.lock().heads.iter().any(|(head, _)| wanted(head))
    }

    /// Puts the lines in order (instance, stage, sample), and drops a row that a resumed run
    /// wrote a second time.
    pub(crate) fn sort(&self) -> anyhow::Result<()> {
        let mut state = self.lock();
        let mut heads = state.heads.clone();
        heads.sort_by(|(a, _), (b, _)| a.order().cmp(&b.order()));
        heads.dedup_by(|(later, _), (kept, _)| later.order() == kept.order());
        if heads.iter().map(|(_, spot)| spot).eq(state.heads.iter().map(|(_, spot)| spot)) {
            return Ok(());
        }
        let context = || format!("putting `{}` in order", self.path.display());
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let mut sorted =
            BufWriter::new(tempfile::NamedTempFile::new_in(folder).with_context(context)?);
        let mut length = 0;
        for (_, spot) in &mut heads {
            let line = read_spot(&mut state.file, *spot).with_context(context)?;
            sorted.write_all(&line).with_context(context)?;
            spot.offset = length;
            length += spot.length;
        }
        let sorted = sorted.into_inner().map_err(std::io::IntoInnerError::into_error);
        let sorted = sorted.with_context(context)?;
        sorted.as_file().sync_all().with_context(context)?;
        let file = sorted.persist(&self.path).with_context(context)?;
        *state = LogState { file, length, heads };
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, LogState> {
        // A panic of another thread leaves at most a part of a line behind `length`.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The rows of a file that another process may be writing; a line that is not whole is left out.
pub(crate) fn read_rows<T: DeserializeOwned>(path: &Path) -> anyhow::Result<Vec<T>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("opening `{}`", path.display())),
    };
    let (heads, _) = read_heads(&mut file, path)?;
    let mut rows = Vec::with_capacity(heads.len());
    for (line_idx, (_, spot)) in heads.iter().enumerate() {
        let line =
            read_spot(&mut file, *spot).with_context(|| format!("reading `{}`", path.display()))?;
        rows.push(serde_json::from_slice(&line).with_context(|| {
            format!("`{}`, line {}: not a row of this version", path.display(), line_idx + 1)
        })?);
    }
    Ok(rows)
}

fn read_heads(file: &mut File, path: &Path) -> anyhow::Result<(Vec<(RowHead, LineSpot)>, u64)> {
    let context = || format!("reading `{}`", path.display());
    file.seek(SeekFrom::Start(0)).with_context(context)?;
    let mut reader = BufReader::new(&*file);
    let (mut heads, mut offset, mut line) = (Vec::new(), 0, Vec::new());
    loop {
        line.clear();
        let length = reader.read_until(b'\n', &mut line).with_context(context)? as u64;
        if length == 0 || line.last() != Some(&b'\n') {
            return Ok((heads, offset));
        }
        match serde_json::from_slice::<RowHead>(&line) {
            Ok(head) if RUN_VERSION < head.version => bail!(
                "`{}`, line {}: version {} is newer than {RUN_VERSION}, the newest that this program reads",
                path.display(),
                heads.len() + 1,
                head.version
            ),
            Ok(head) => heads.push((head, LineSpot { offset, length })),
            // After a power cut a file may end in bytes that were never written.
            Err(_) if reader.fill_buf().with_context(context)?.is_empty() => {
                return Ok((heads, offset));
            }
            Err(error) => {
                return Err(error).with_context(|| {
                    format!("`{}`, line {}: not a row", path.display(), heads.len() + 1)
                });
            }
        }
        offset += length;
    }
}

fn write_at(
    file: &mut File,
    offset: u64,
    line: &[u8],
    durability: Durability,
) -> std::io::Result<()> {
    file.seek(SeekFrom::Start(offset))?;
    file.write_all(line)?;
    match durability {
        Durability::Synced => file.sync_data(),
        Durability::Buffered => Ok(()),
    }
}

fn read_spot(file: &mut File, spot: LineSpot) -> std::io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(spot.offset))?;
    let mut line = vec![0; usize::try_from(spot.length).map_err(std::io::Error::other)?];
    file.read_exact(&mut line)?;
    Ok(line)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use expect_test::{Expect, expect};
    use serde_json::{Value, json};

    use super::*;

    fn row(instance: &str, stage: &str, sample: u64) -> Value {
        json!({"version": 1, "instance": instance, "stage": stage, "sample": sample})
    }

    /// What is left of a file's bytes when it is opened and one more row is appended.
    #[track_caller]
    fn check(bytes: &[u8], expect: Expect) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.jsonl");
        fs::write(&path, bytes).unwrap();
        let text = match LineLog::open(path.clone(), Durability::Synced) {
            Ok(log) => {
                log.append(&json!({"instance": "new"})).unwrap();
                fs::read_to_string(&path).unwrap()
            }
            Err(error) => format!("{error:#}").replace(path.to_str().unwrap(), "x.jsonl"),
        };
        expect.assert_eq(&text);
    }

    #[test]
    fn a_half_written_last_line_is_dropped() {
        check(
            b"{\"instance\":\"a\"}\n{\"insta",
            expect![[r#"
            {"instance":"a"}
            {"instance":"new"}
        "#]],
        );
    }

    #[test]
    fn a_last_line_of_zeros_is_dropped() {
        check(
            b"{\"instance\":\"a\"}\n\0\0\0\n",
            expect![[r#"
            {"instance":"a"}
            {"instance":"new"}
        "#]],
        );
    }

    #[test]
    fn a_damaged_line_in_the_middle_is_an_error_with_its_number() {
        check(
            b"{\"instance\":\"a\"}\nnonsense\n{\"instance\":\"b\"}\n",
            expect!["`x.jsonl`, line 2: not a row: expected ident at line 1 column 2"],
        );
    }

    #[test]
    fn a_newer_version_is_refused() {
        check(
            b"{\"instance\":\"a\",\"version\":9}\n",
            expect![
                "`x.jsonl`, line 1: version 9 is newer than 1, the newest that this program reads"
            ],
        );
    }

    #[test]
    fn interrupted_and_unbroken_runs_end_with_the_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let in_order: Vec<Value> = ["file", "function", "line", "edit", "reproduce"]
            .iter()
            .flat_map(|stage| (0..11).map(|sample| row("a", stage, sample)))
            .chain([row("b", "file", 0)])
            .collect();
        let unbroken = LineLog::open(folder.path().join("one"), Durability::Buffered).unwrap();
        for row in &in_order {
            unbroken.append(row).unwrap();
        }
        unbroken.sort().unwrap();
        let path = folder.path().join("two");
        let first = LineLog::open(path.clone(), Durability::Buffered).unwrap();
        for row in in_order.iter().skip(20) {
            first.append(row).unwrap();
        }
        drop(first);
        fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"inst").unwrap();
        let second = LineLog::open(path, Durability::Buffered).unwrap();
        for row in in_order.iter().rev() {
            second.append(row).unwrap();
        }
        second.sort().unwrap();
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(read("two"), read("one"));
        second.append(&row("c", "file", 0)).unwrap();
        assert_eq!(
            second.read::<Value>(|head| head.instance == "c").unwrap(),
            [row("c", "file", 0)]
        );
    }
}
