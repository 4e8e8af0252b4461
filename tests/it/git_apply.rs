//! Patches that `diff::render` writes, given to the real `git apply`.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use proptest::prelude::*;
use sorft::diff::change::{FileChange, FileState};
use sorft::diff::render::render;
use sorft::repo::path::RepoPath;
use sorft::repo::snapshot::FileKind;

/// Path to (is executable, content).
type Tree = BTreeMap<String, (bool, Vec<u8>)>;

fn git(folder: &Path, args: &[&str], input: &[u8]) -> Result<(), String> {
    use std::io::Write as _;
    let mut child = Command::new("git")
        .args(["-c", "core.autocrlf=false", "-c", "core.fileMode=true"])
        .args(args)
        .current_dir(folder)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("git is installed");
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    let message = || String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(()) } else { Err(message()) }
}

fn write_tree(folder: &Path, tree: &Tree) {
    for (path, (is_executable, bytes)) in tree {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        let mode = if *is_executable { 0o755 } else { 0o644 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
}

fn read_tree(root: &Path, folder: &Path, tree: &mut Tree) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.ends_with(".git") {
            continue;
        }
        if path.is_dir() {
            read_tree(root, &path, tree);
        } else {
            let is_executable = fs::metadata(&path).unwrap().permissions().mode() & 0o100 != 0;
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            tree.insert(name, (is_executable, fs::read(&path).unwrap()));
        }
    }
}

fn state(path: &str, (is_executable, bytes): &(bool, Vec<u8>)) -> FileState {
    let kind = if *is_executable { FileKind::Executable } else { FileKind::Regular };
    FileState { path: RepoPath::parse(path).unwrap(), kind, bytes: bytes.clone() }
}

/// Changes from one tree to the other, and one rename.
fn changes(base: &Tree, new: &Tree, rename: Option<(&str, &str)>) -> Vec<FileChange> {
    let mut changes = Vec::new();
    for (path, file) in base {
        let to = rename.filter(|(from, _)| from == path).map_or(path.as_str(), |(_, to)| to);
        changes.push(match new.get(to) {
            None => FileChange::Deleted(state(path, file)),
            Some(after) => {
                FileChange::Changed { before: state(path, file), after: state(to, after) }
            }
        });
    }
    for (path, file) in new {
        if !base.contains_key(path) && rename.is_none_or(|(_, to)| to != path) {
            changes.push(FileChange::Created(state(path, file)));
        }
    }
    changes
}

fn applied_by_git(base: &Tree, patch: &[u8]) -> Result<Tree, String> {
    let folder = tempfile::tempdir().unwrap();
    git(folder.path(), &["init", "-q"], b"").unwrap();
    write_tree(folder.path(), base);
    git(folder.path(), &["add", "-A"], b"").unwrap();
    if !patch.is_empty() {
        git(folder.path(), &["apply", "--check", "-"], patch)?;
        git(folder.path(), &["apply", "--whitespace=nowarn", "-"], patch)?;
    }
    let mut tree = Tree::new();
    read_tree(folder.path(), folder.path(), &mut tree);
    Ok(tree)
}

fn tree(files: &[(&str, bool, &[u8])]) -> Tree {
    files.iter().map(|&(path, mode, bytes)| (path.to_owned(), (mode, bytes.to_vec()))).collect()
}

#[test]
fn git_applies_every_kind_of_change() {
    let base = tree(&[
        ("modified.py", false, b"1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12\n"),
        ("crlf.txt", false, b"a\r\nb\r\nc\r\n"),
        ("no newline", false, b"a\nb"),
        ("latin1.py", false, b"# caf\xe9\nx = 1\n"),
        ("utf16.txt", false, b"\xff\xfea\0\n\0b\0\n\0"),
        ("binary.bin", false, b"\0\x01\x02\n\xff\0"),
        ("deleted.py", false, b"gone\n"),
        ("deleted empty.py", false, b""),
        ("mode.sh", false, b"#!/bin/sh\n"),
        ("folder/renamed \u{e9}.py", false, b"1\n2\n3\n"),
        ("emptied.py", false, b"x\n"),
        ("filled.py", false, b""),
    ]);
    let new = tree(&[
        ("modified.py", false, b"0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n12\n"),
        ("crlf.txt", false, b"a\r\nB\r\nc\n"),
        ("no newline", false, b"a\nb\n"),
        ("latin1.py", false, b"# caf\xe9\nx = '\xfc'"),
        ("utf16.txt", false, b"\xff\xfea\0\n\0c\0\n\0"),
        ("binary.bin", false, b"\0\x01\x03\n\xff\0"),
        ("mode.sh", true, b"#!/bin/sh\n"),
        ("other/\"quoted\".py", true, b"1\n2\n3\n4\n"),
        ("emptied.py", false, b""),
        ("filled.py", false, b"x"),
        ("created/__init__.py", false, b""),
        ("created/new.py", true, b"no newline"),
    ]);
    let rename = ("folder/renamed \u{e9}.py", "other/\"quoted\".py");
    let patch = render(&changes(&base, &new, Some(rename)));
    let applied = applied_by_git(&base, &patch)
        .unwrap_or_else(|why| panic!("{why}\n{}", String::from_utf8_lossy(&patch)));
    assert_eq!(applied, new);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn git_agrees_on_generated_trees(
        base in prop::collection::btree_map("[ab]{1,2}", (any::<bool>(), "[abc\n\r]{0,40}"), 0..4),
        new in prop::collection::btree_map("[ab]{1,2}", (any::<bool>(), "[abc\n\r]{0,40}"), 0..4),
    ) {
        let bytes = |tree: BTreeMap<String, (bool, String)>| -> Tree {
            tree.into_iter().map(|(path, (mode, text))| (path, (mode, text.into_bytes()))).collect()
        };
        let (base, new) = (bytes(base), bytes(new));
        let patch = render(&changes(&base, &new, None));
        let applied = applied_by_git(&base, &patch);
        prop_assert_eq!(applied.as_ref(), Ok(&new), "{}", String::from_utf8_lossy(&patch));
    }
}
