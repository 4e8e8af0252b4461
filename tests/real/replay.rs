//! A run of a real model, replayed where there is no model.

use std::fs;
use std::path::Path;
use std::process::Output;

use assert_cmd::Command;
use serde_json::Value;

use crate::model::small_model;

/// Runs `sorft fix` on the demo with folders of the user's below `home`.
fn fix(home: &Path, model: &str, run: &str) -> Output {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/demo");
    let mut command = Command::cargo_bin("sorft").unwrap();
    for name in ["HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME"] {
        command.env(name, home);
    }
    command.env("SORFT_OFFLINE", "1").current_dir(home).arg("fix").arg(demo.join("repo"));
    command.arg("--issue").arg(demo.join("issue.md"));
    command
        .args(["--model", model, "--rerank", "likelihood", "--samples", "3", "--run-dir", run])
        .output()
        .unwrap()
}

#[test]
fn a_run_of_a_local_model_replays_without_it() {
    let home = tempfile::tempdir().unwrap();
    let model = small_model();
    let recorded = fix(home.path(), model.to_str().unwrap(), "run");
    let words = String::from_utf8_lossy(&recorded.stderr);
    assert!(matches!(recorded.status.code(), Some(0 | 1)), "{words}");
    let replayed = fix(home.path(), "scripted:run", "again");
    let words = String::from_utf8_lossy(&replayed.stderr);
    assert_eq!(replayed.status.code(), recorded.status.code(), "{words}");
    assert_eq!(replayed.stdout, recorded.stdout);
    let read = |run: &str, file: &str| fs::read(home.path().join(run).join(file)).unwrap();
    for file in ["trajectory.jsonl", "candidates.jsonl", "predictions.jsonl", "metrics.json"] {
        assert_eq!(read("run", file), read("again", file), "{file}");
    }
    // The recorded counts decide what a prompt shows: with others it is cut otherwise, and no call
    // is found.
    let trajectory = String::from_utf8(read("run", "trajectory.jsonl")).unwrap();
    let with_other_counts = trajectory.lines().map(|line| {
        let mut row: Value = serde_json::from_str(line).unwrap();
        let counts = row.get_mut("counts").and_then(Value::as_object_mut);
        for count in counts.into_iter().flat_map(serde_json::Map::values_mut) {
            *count = (3 * count.as_u64().unwrap()).into();
        }
        format!("{row}\n")
    });
    fs::write(home.path().join("run/trajectory.jsonl"), with_other_counts.collect::<String>())
        .unwrap();
    let lost = fix(home.path(), "scripted:run", "lost");
    let words = String::from_utf8_lossy(&lost.stderr);
    assert_eq!(lost.status.code(), Some(2), "{words}");
    assert!(words.contains("holds no call"), "{words}");
}
