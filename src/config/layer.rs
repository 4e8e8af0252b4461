//! One configuration file, read with suspicion.

use std::fs::OpenOptions;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_yaml::Value;

use crate::config::key::{Key, Kind, check_value, find_key};

/// The most bytes of a configuration file. Aliases cannot blow up what is this small: the reader
/// limits how often they may be repeated.
const MAX_BYTES: u64 = 32 * 1024;

/// The values that one file sets.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    pub path: PathBuf,
    /// What trust is bound to.
    pub bytes: Vec<u8>,
    /// In file order; every value fits its key.
    pub values: Vec<(&'static Key, Value)>,
}

/// Reads a file; `None` where there is none.
pub fn read_layer(path: &Path) -> anyhow::Result<Option<Layer>> {
    let Some(bytes) = read_file(path)? else { return Ok(None) };
    let values = parse_values(&bytes, path.parent().unwrap_or(Path::new(".")))
        .with_context(|| format!("in `{}`", path.display()))?;
    Ok(Some(Layer { path: path.to_owned(), bytes, values }))
}

/// The bytes of a regular file of a sane size; a link could name a file of the user's that an
/// error message would quote.
fn read_file(path: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    let context = || format!("reading `{}`", path.display());
    let metadata = match path.symlink_metadata() {
        Ok(metadata) => metadata,
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error).with_context(context),
    };
    if !metadata.is_file() {
        bail!(
            "`{}` is no regular file\nhint: replace it by a plain file, or remove it",
            path.display()
        );
    }
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        // It may have become a link or a pipe since.
        options.custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK);
    }
    let file = options.open(path).with_context(context)?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).with_context(context)?;
    if MAX_BYTES < bytes.len() as u64 {
        bail!("`{}` has more than {MAX_BYTES} bytes, too many for a configuration", path.display());
    }
    Ok(Some(bytes))
}

fn parse_values(bytes: &[u8], folder: &Path) -> anyhow::Result<Vec<(&'static Key, Value)>> {
    let document: Value = serde_yaml::from_slice(bytes)?;
    let mapping = match document {
        Value::Null => return Ok(Vec::new()),
        Value::Mapping(mapping) => mapping,
        _ => bail!("wanted `key: value` lines, found something else"),
    };
    let mut values = Vec::with_capacity(mapping.len());
    for (name, mut value) in mapping {
        let Value::String(name) = name else { bail!("a key that is no text") };
        let key = find_key(&name)?;
        check_value(key, &value)?;
        if let Value::String(path) = &mut value {
            let is_path = match key.kind {
                Kind::PathOr(word) => path != word,
                kind => kind == Kind::Path,
            };
            if is_path {
                *path = folder.join(&*path).to_string_lossy().into_owned();
            }
        }
        values.push((key, value));
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use expect_test::{Expect, expect};

    use super::*;

    #[track_caller]
    fn check(yaml: &[u8], expect: Expect) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sorft.yaml");
        fs::write(&path, yaml).unwrap();
        let text = match read_layer(&path) {
            Ok(layer) => format!("{:?}", layer.unwrap().values.len()),
            Err(error) => format!("{error:#}"),
        };
        expect.assert_eq(&text.replace(path.to_str().unwrap(), "sorft.yaml"));
    }

    #[test]
    fn an_empty_or_commented_file_sets_nothing() {
        check(b"", expect!["0"]);
        check(b"# nothing yet\n", expect!["0"]);
    }

    #[test]
    fn a_bomb_of_aliases_is_refused() {
        let mut yaml = "a: &a [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for (name, of) in "bcdefghijklmnop".chars().zip("abcdefghijklmno".chars()) {
            let repeated = vec![format!("*{of}"); 8].join(", ");
            yaml.push_str(
                &[name.to_string().as_str(), ": &", &name.to_string(), " [", &repeated, "]\n"]
                    .concat(),
            );
        }
        check(yaml.as_bytes(), expect!["in `sorft.yaml`: repetition limit exceeded"]);
    }

    #[test]
    fn deep_nesting_is_refused() {
        check(
            "[".repeat(30_000).as_bytes(),
            expect!["in `sorft.yaml`: recursion limit exceeded at line 1 column 129"],
        );
        check(
            ("test: ".to_owned() + &"{a: ".repeat(5_000)).as_bytes(),
            expect!["in `sorft.yaml`: recursion limit exceeded at line 1 column 515"],
        );
    }

    #[test]
    fn a_huge_file_is_refused() {
        check(
            &vec![b'#'; 10_000_000],
            expect!["`sorft.yaml` has more than 32768 bytes, too many for a configuration"],
        );
    }

    #[test]
    fn what_is_no_configuration_is_refused() {
        check(
            b"- a\n- b\n",
            expect!["in `sorft.yaml`: wanted `key: value` lines, found something else"],
        );
        check(b"1: a\n", expect!["in `sorft.yaml`: a key that is no text"]);
        check(
            b"seed: 1\nseed: 2\n",
            expect![[r#"in `sorft.yaml`: duplicate entry with key "seed""#]],
        );
        check(
            b"test: !!python/object/apply:os.system [id]\n",
            expect!["in `sorft.yaml`: `test`: wanted text, found a list of 1"],
        );
        check(b"\xff\xfe\x00", expect!["in `sorft.yaml`: invalid leading UTF-8 octet"]);
        check(
            b"seed: 1e999\n",
            expect![
                "in `sorft.yaml`: `seed`: wanted a whole number from 0 to 1000000000, found the text `1e999`"
            ],
        );
        check(
            b"modle: x\n",
            expect!["in `sorft.yaml`: unknown key `modle`; the nearest known key is `model`"],
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_link_or_a_pipe_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sorft.yaml");
        fs::write(folder.path().join("secret"), "hunter2: yes\n").unwrap();
        std::os::unix::fs::symlink("secret", &path).unwrap();
        let message = format!("{:#}", read_layer(&path).unwrap_err());
        assert!(message.contains("no regular file") && !message.contains("hunter2"), "{message}");
        fs::remove_file(&path).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(format!("{:#}", read_layer(&path).unwrap_err()).contains("no regular file"));
        assert!(read_layer(&folder.path().join("absent/sorft.yaml")).unwrap().is_none());
    }
}
