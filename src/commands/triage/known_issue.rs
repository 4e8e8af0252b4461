//! The issue that a commit is about, where one is known: a file that `sorft.yaml` names, or the
//! reference in the commit message, looked up by the user's own command.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, bail, ensure};
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use sha2::{Digest, Sha256};

use crate::commands::issue::read_text;
use crate::commands::output::note;
use crate::commands::settings::Surroundings;
use crate::repo::path::RepoPath;

/// How long an issue that was looked up stays known.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a commit waits for the command.
const PATIENCE: Duration = Duration::from_secs(10);
const MOST_BYTES: u64 = 1 << 20;

/// The text of the issue; `None` where none is known, which is no fault of the commit's.
pub(super) fn find_issue(
    root: &Path,
    commit_msg: Option<&Path>,
    surroundings: &Surroundings,
) -> anyhow::Result<Option<String>> {
    let config = surroundings.config();
    if let Some(file) = &config.issue_file
        && let Some(text) = read_issue_file(root, file)?
    {
        return Ok(Some(text));
    }
    let (Some(commit_msg), Some(template)) = (commit_msg, &config.issue_command) else {
        return Ok(None);
    };
    let message = fs::File::open(commit_msg)
        .with_context(|| format!("opening the commit message `{}`", commit_msg.display()))?;
    let message = read_text(message, &commit_msg.display().to_string())?;
    let Some(number) = parse_reference(&message) else { return Ok(None) };
    let kept = kept_path(&surroundings.folders.cache, root, template, number)?;
    if let Some(text) = read_kept(&kept) {
        return Ok(Some(text));
    }
    match run_command(root, template, number) {
        Ok(text) => {
            if let Err(error) = keep(&kept, &text) {
                tracing::debug!("the issue is not kept: {error:#}");
            }
            Ok(Some(text))
        }
        // A commit does not wait for a network that is down.
        Err(error) => {
            note(&format!("issue {number} is not known: {error:#}"));
            Ok(None)
        }
    }
}

/// Reads a file inside the repository, and nothing outside it, whatever a link says.
fn read_issue_file(root: &Path, file: &str) -> anyhow::Result<Option<String>> {
    let path = RepoPath::parse(file).with_context(|| {
        format!("`issue_file`: wanted a path inside the repository, found `{file}`")
    })?;
    let folder = Dir::open_ambient_dir(root, ambient_authority())
        .with_context(|| format!("opening `{}`", root.display()))?;
    match folder.open(path.as_str()) {
        Ok(file) => {
            let text = read_text(file, path.as_str())?;
            Ok((!text.trim().is_empty()).then_some(text))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("opening the issue file `{path}`")),
    }
}

/// The first `#12` or `GH-12` of a commit message, comment lines left out.
fn parse_reference(message: &str) -> Option<u64> {
    let lines = message.lines().take_while(|line| !line.contains(">8"));
    for line in lines.filter(|line| !line.starts_with('#')) {
        for (at, _) in line.match_indices('#').chain(line.match_indices("GH-")) {
            let rest = line[at..].trim_start_matches('#').trim_start_matches("GH-");
            let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let is_whole = rest[end..].chars().next().is_none_or(|c| !c.is_alphanumeric());
            if is_whole && let Ok(number) = rest[..end].parse() {
                return Some(number);
            }
        }
    }
    None
}

fn kept_path(cache: &Path, root: &Path, template: &str, number: u64) -> anyhow::Result<PathBuf> {
    let root = root.canonicalize().with_context(|| format!("opening `{}`", root.display()))?;
    let mut hasher = Sha256::new();
    for part in [root.as_os_str().as_encoded_bytes(), template.as_bytes()] {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.update(number.to_le_bytes());
    Ok(cache.join("issues").join(format!("{:x}.md", hasher.finalize())))
}

fn read_kept(path: &Path) -> Option<String> {
    let written = fs::metadata(path).and_then(|facts| facts.modified()).ok()?;
    let age = SystemTime::now().duration_since(written).ok()?;
    if age < KEPT { fs::read_to_string(path).ok() } else { None }
}

fn keep(path: &Path, text: &str) -> anyhow::Result<()> {
    let folder = path.parent().context("a file in no folder")?;
    fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    std::io::Write::write_all(&mut file, text.as_bytes())?;
    file.persist(path)?;
    Ok(())
}

/// Runs the user's command, without a shell, and gives what it prints.
fn run_command(root: &Path, template: &str, number: u64) -> anyhow::Result<String> {
    let words =
        template.split_whitespace().map(|word| word.replace("{number}", &number.to_string()));
    let words: Vec<String> = words.collect();
    let Some((program, arguments)) = words.split_first() else {
        bail!("`issue_command` names no program");
    };
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(root)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("starting `{program}` (`issue_command`)"))?;
    let stdout = child.stdout.take().context("a process without an output")?;
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = stdout.take(MOST_BYTES).read_to_end(&mut bytes).map(|_| bytes);
        // Whoever waited may have lost patience.
        drop(sender.send(read));
    });
    let began = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().context("waiting for `issue_command`")? {
            break status;
        }
        if PATIENCE < began.elapsed() {
            child.kill().context("ending `issue_command`")?;
            child.wait().context("waiting for `issue_command`")?;
            bail!("`{program}` did not end within {} s", PATIENCE.as_secs());
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    ensure!(status.success(), "`{}` failed: {status}", words.join(" "));
    // What it started and left behind may keep the pipe open.
    let read = receiver.recv_timeout(PATIENCE.saturating_sub(began.elapsed()));
    let bytes = read
        .with_context(|| format!("`{program}` ended, and something it started still writes"))?
        .with_context(|| format!("reading what `{program}` prints"))?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    ensure!(!text.trim().is_empty(), "`{}` printed nothing", words.join(" "));
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_a_number_behind_its_sign() {
        let rows = [
            ("Mend totals (#12)\n", Some(12)),
            ("Mend totals\n\nFixes GH-7.\n", Some(7)),
            ("# Please enter #3\nMend\n", None),
            ("colour #12ab, issue #5\n", Some(5)),
            ("Mend\n# ------ >8 ------\n+fix #9\n", None),
            ("no number #\n", None),
        ];
        for (message, number) in rows {
            assert_eq!(parse_reference(message), number, "{message:?}");
        }
    }
}
