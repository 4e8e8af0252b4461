//! The small model, obtained once into the user's cache folder by the program itself.

use std::path::PathBuf;

use assert_cmd::Command;

/// The 135M model's file. The first call on a machine downloads 98 MB; without a network and
/// without the file, it fails.
pub(crate) fn small_model() -> PathBuf {
    let output = Command::cargo_bin("sorft")
        .unwrap()
        .args(["model", "pull", "smollm2-135m"])
        .env_remove("SORFT_OFFLINE")
        .env_remove("HF_HUB_OFFLINE")
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the model is needed and could not be had:\n{stderr}");
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim_end())
}

#[test]
fn the_small_model_is_obtained_and_has_its_hash() {
    let path = small_model();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 98_362_432);
    // The second pull reads all of it, finds the right hash, and downloads nothing.
    let pull = Command::cargo_bin("sorft")
        .unwrap()
        .args(["model", "pull", "smollm2-135m", "--offline"])
        .assert();
    pull.success().stdout(format!("{}\n", path.display()));
}
