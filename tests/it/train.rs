//! `sorft train`: from a small history to chats worth imitating.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use assert_cmd::Command;
use serde_json::Value;
use tempfile::TempDir;

use crate::server::{Script, Server};

/// A history whose every commit is kept or dropped for a reason of its own.
pub(crate) struct Shop {
    pub(crate) home: TempDir,
}

const CART: &str = "\
import os


class Cart:
    def __init__(self, items):
        self.items = items

    def total(self):
        return sum(self.items)

    def average(self):
        return self.total() / len(self.items)
";

const LONG: &str =
    "of a cart without any items is not what one expects of it, and it ends with a traceback there";

impl Shop {
    pub(crate) fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut past = Past::new(&home.path().join("repos/me__shop"));
        past.commit("Start", &[("shop/cart.py", CART), ("shop/tax.py", "RATE = 2\n")]);
        past.commit("Add a feature", &[("shop/tax.py", "RATE = 3\n")]);
        past.commit("Fix it", &[("shop/tax.py", "RATE = 4\n")]);
        past.commit(
            "Fix the documentation of carts\n\nFixes #1",
            &[("docs/cart.md", "Carts\n"), ("setup.py", "x = 1\n")],
        );
        let mended = CART.replace(
            "        return self.total() / len",
            "        if not self.items:\n            return 0\n        return self.total() / len",
        );
        past.commit(
            &format!("Fix the average\n\nThe average {LONG}.\n\nFixes #2\n"),
            &[
                ("shop/cart.py", &mended),
                ("tests/test_cart.py", "def test_mean_of_nothing():\n    assert mean([]) == 0\n"),
                ("CHANGELOG.md", "- #2\n"),
            ],
        );
        past.commit(
            &format!("Revert \"Fix the average\"\n\nIt broke {LONG}."),
            &[("shop/cart.py", CART)],
        );
        past.commit(
            &format!("Fix the total\n\nUse sum_of_all() since the total {LONG}."),
            &[("shop/cart.py", &mended.replace("sum(self", "sum_of_all(self"))],
        );
        let rounded = mended.replace("return sum(self.items)", "return round(sum(self.items), 2)");
        past.commit(
            &format!("shop: fix the total\n\nThe total {LONG}; cents are lost (#7)."),
            &[("shop/cart.py", &rounded)],
        );
        Self { home }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub(crate) fn sorft(&self, arguments: &[&str]) -> Output {
        let home = self.home.path();
        let mut command = Command::cargo_bin("sorft").unwrap();
        let folders = ["XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME"];
        command.env("HOME", home).envs(folders.map(|name| (name, home.join(name))));
        command.env("SORFT_OFFLINE", "1").env_remove("SORFT_API_KEY").current_dir(home);
        command.args(arguments).output().unwrap()
    }

    #[track_caller]
    pub(crate) fn done(&self, arguments: &[&str]) -> Value {
        let output = self.sorft(&[arguments, &["--format", "json", "-q"]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    pub(crate) fn rows(&self, name: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.path(name)).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Runs a command until a log has so many lines, and kills it; false where it had ended.
    pub(crate) fn kill_at(&self, n_lines: usize, log: &str, arguments: &[String]) -> bool {
        let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin("sorft"));
        command.env("HOME", self.home.path()).env("SORFT_OFFLINE", "1").current_dir(&self.home);
        let quiet = command.args(arguments).arg("-q").stdout(std::process::Stdio::null());
        let mut run = quiet.spawn().unwrap();
        let lines = || fs::read_to_string(self.path(log)).unwrap_or_default().lines().count();
        while lines() < n_lines && run.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        let is_running = run.try_wait().unwrap().is_none();
        run.kill().unwrap();
        run.wait().unwrap();
        is_running
    }

    pub(crate) fn mine(&self) -> Value {
        let mine = ["train", "mine", "repos/me__shop", "--out", "instances.jsonl"];
        self.done(&[&mine[..], &["--holdout", "none", "--repro-from-tests"]].concat())
    }
}

/// A bare repository that grows.
struct Past {
    repository: git2::Repository,
    files: git2::Index,
    time: i64,
}

impl Past {
    fn new(folder: &Path) -> Self {
        let repository = git2::Repository::init_bare(folder).unwrap();
        Self { repository, files: git2::Index::new().unwrap(), time: 1_000_000_000 }
    }

    fn commit(&mut self, message: &str, files: &[(&str, &str)]) {
        for (path, text) in files {
            let zero = git2::IndexTime::new(0, 0);
            let entry = git2::IndexEntry {
                ctime: zero,
                mtime: zero,
                dev: 0,
                ino: 0,
                mode: 0o100_644,
                uid: 0,
                gid: 0,
                file_size: 0,
                id: self.repository.blob(text.as_bytes()).unwrap(),
                flags: 0,
                flags_extended: 0,
                path: (*path).into(),
            };
            self.files.add(&entry).unwrap();
        }
        self.time += 1000;
        let tree = self.files.write_tree_to(&self.repository).unwrap();
        let tree = self.repository.find_tree(tree).unwrap();
        let when = git2::Time::new(self.time, 0);
        let who = git2::Signature::new("a", "a@example.org", &when).unwrap();
        let parent = self.repository.head().ok().map(|head| head.peel_to_commit().unwrap());
        let parents: Vec<&git2::Commit<'_>> = parent.iter().collect();
        self.repository.commit(Some("HEAD"), &who, &who, message, &tree, &parents).unwrap();
    }
}

#[test]
fn a_history_gives_instances_and_a_reason_for_every_other_commit() {
    let shop = Shop::new();
    let counts = shop.mine();
    let counts = &counts["repositories"]["me/shop"];
    assert_eq!(counts["commits"], 8);
    assert_eq!(counts["kept"], serde_json::json!({"message": 1, "message_and_test": 1}));
    let dropped = serde_json::json!({
        "no_fix": 2, "revert": 1, "no_source": 1, "short_text": 1, "names_solution": 1
    });
    assert_eq!(counts["dropped"], dropped);
    let rows = shop.rows("instances.jsonl");
    let text = rows[0]["problem_statement"].as_str().unwrap();
    assert_eq!(
        text,
        format!(
            "Fix the average\n\nThe average {LONG}.\n\nSteps to reproduce:\n```\ndef test_mean_of_nothing():\n    assert mean([]) == 0\n```"
        )
    );
    let patch = rows[0]["patch"].as_str().unwrap();
    assert!(patch.contains("shop/cart.py") && !patch.contains("CHANGELOG"), "{patch}");
    assert!(rows[0]["test_patch"].as_str().unwrap().contains("test_mean_of_nothing"));
    assert!(rows[1]["problem_statement"].as_str().unwrap().starts_with("shop: fix the total\n"));
}

#[test]
fn an_evaluation_is_neither_mined_nor_shown_to_training() {
    let shop = Shop::new();
    let named = "sqlfluff/sqlfluff=repos/me__shop";
    let refused = shop.sorft(&["train", "mine", named, "--out", "x.jsonl"]);
    assert_eq!(refused.status.code(), Some(2));
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(message.contains("is a repository of an evaluation"), "{message}");

    // The history itself as an evaluation, under the name of a copy: refused by its first commit.
    shop.mine();
    let evaluation = ["--evaluation", "instances.jsonl", "--evaluation-repos", "repos"];
    let copy = ["train", "mine", "you/copy=repos/me__shop", "--out", "x.jsonl"];
    let refused = shop.sorft(&[&copy[..], &evaluation[..]].concat());
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(message.contains("begins with the first commit of `me/shop`"), "{message}");

    // Another history that holds a file of it: what is mined there has another base.
    let mut past = Past::new(&shop.path("repos/you__other"));
    past.commit("Start", &[("vendored.py", CART), ("a.py", "x = 1\n")]);
    past.commit(&format!("Fix a\n\nThe value {LONG}."), &[("a.py", "x = 2\n")]);
    past.commit("Change the copy", &[("vendored.py", "pass\n")]);
    past.commit(&format!("Fix a again\n\nSome value {LONG}, too."), &[("a.py", "x = 33333\n")]);
    let other = ["train", "mine", "repos/you__other", "--out", "x.jsonl", "--holdout", "none"];
    let counts = shop.done(&[&other[..], &evaluation[..]].concat());
    let counts = &counts["repositories"]["you/other"];
    assert_eq!(counts["dropped"]["evaluation_file"], 1);
    assert_eq!(counts["kept"]["message"], 1);
}

#[test]
fn instances_become_episodes_and_a_template_answers_them() {
    let shop = Shop::new();
    shop.mine();
    let data = ["train", "data", "instances.jsonl", "--repos", "repos", "--out", "e.jsonl"];
    let counts = shop.done(&data);
    assert_eq!(counts["instances"], 2);
    for stage in ["file", "function", "line", "edit"] {
        let counts = &counts["stages"][stage];
        assert_eq!((&counts["episodes"], &counts["answers"]), (&2.into(), &2.into()), "{stage}");
    }
    let rows = shop.rows("e.jsonl");
    assert_eq!(rows.len(), 8);
    let function = rows.iter().find(|row| row["stage"] == "function").unwrap();
    let prompt = function["episode"]["prompt"]["messages"][1]["content"].as_str().unwrap();
    assert!(prompt.contains("shop/cart.py") && prompt.contains("shop/tax.py"), "{prompt}");

    let sample = ["train", "sample", "e.jsonl", "--teacher", "template", "--out", "s.jsonl"];
    let counts = shop.done(&sample);
    assert_eq!(counts["stages"]["edit"]["kept"], 2);
    assert_eq!(counts["stages"]["edit"]["mean_reward"], 1.0);
    let rows = shop.rows("s.jsonl");
    let edit = rows.iter().find(|row| row["stage"] == "edit").unwrap();
    let roles: Vec<&str> =
        edit["messages"].as_array().unwrap().iter().map(|m| m["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["system", "user", "assistant"]);
    assert!(edit["messages"][2]["content"].as_str().unwrap().contains("<<<<<<< SEARCH"));
}

#[test]
fn unfinished_work_goes_on_and_ends_with_the_same_bytes() {
    let shop = Shop::new();
    shop.mine();
    let data = ["train", "data", "instances.jsonl", "--repos", "repos", "--out"];
    shop.done(&[&data[..], &["whole.jsonl"]].concat());
    // A result that cannot take its name leaves the work as a kill before the end does.
    fs::write(shop.path("broken.jsonl.work"), "").unwrap();
    fs::create_dir_all(shop.path("broken.jsonl/x")).unwrap();
    let failed = shop.sorft(&[&data[..], &["broken.jsonl"]].concat());
    assert_eq!(failed.status.code(), Some(2));
    fs::remove_dir_all(shop.path("broken.jsonl")).unwrap();
    let work = fs::read_to_string(shop.path("broken.jsonl.work")).unwrap();
    let lines: Vec<&str> = work.split_inclusive('\n').collect();
    assert_eq!(lines.len(), 3, "the settings and two instances");
    let cut = format!("{}{}{}", lines[0], lines[1], &lines[2][..lines[2].len() / 2]);
    fs::write(shop.path("broken.jsonl.work"), &cut).unwrap();
    let other = shop.sorft(&[&data[..], &["broken.jsonl", "--seed", "5"]].concat());
    let message = String::from_utf8_lossy(&other.stderr).into_owned();
    assert!(message.contains("other settings"), "{message}");
    shop.done(&[&data[..], &["broken.jsonl"]].concat());
    let read = |name: &str| fs::read(shop.path(name)).unwrap();
    assert!(read("broken.jsonl") == read("whole.jsonl"));
    assert!(!shop.path("broken.jsonl.work").exists());
}

#[test]
fn unfinished_mining_with_other_issues_is_another_work() {
    let shop = Shop::new();
    fs::write(shop.path("mined.jsonl.work"), "").unwrap();
    fs::create_dir_all(shop.path("mined.jsonl/x")).unwrap();
    let mine = ["train", "mine", "me/shop=repos/me__shop", "--out", "mined.jsonl"];
    assert_eq!(shop.sorft(&mine).status.code(), Some(2));
    let issue = serde_json::json!({ "repo": "me/shop", "number": 1, "title": "Totals are off" });
    fs::write(shop.path("issues.jsonl"), format!("{issue}\n")).unwrap();
    let other = shop.sorft(&[&mine[..], &["--issues", "issues.jsonl"]].concat());
    let message = String::from_utf8_lossy(&other.stderr).into_owned();
    assert!(message.contains("other input or with other settings"), "{message}");
}

#[test]
fn a_teacher_s_wrong_answers_are_counted_by_reason() {
    let shop = Shop::new();
    shop.mine();
    let data = ["train", "data", "instances.jsonl", "--repos", "repos", "--out", "e.jsonl"];
    shop.done(&data);
    let server = Server::start(Script {
        file: "```\nshop/cart.py\n```",
        function: "```\nshop/cart.py\nfunction: Cart.nothing\n```",
        line: "no block",
        edits: vec![
            "```\n### shop/cart.py\n<<<<<<< SEARCH\n    def total(self):\n=======\n    def totals(self):\n>>>>>>> REPLACE\n```\n",
        ],
        tests: Vec::new(),
    });
    let url = server.url();
    let sample = ["train", "sample", "e.jsonl", "--endpoint", &url, "--samples", "2", "--out", "s"];
    let counts = shop.done(&sample);
    let stages = &counts["stages"];
    assert_eq!(stages["file"]["kept"], 2);
    assert_eq!(stages["file"]["dropped"], serde_json::json!({"repeated": 2}));
    assert_eq!(stages["function"]["dropped"]["unknown symbol"], 2);
    assert_eq!(stages["line"]["dropped"]["no answer"], 2);
    assert_eq!(stages["edit"]["kept"], 0);
    let rows = shop.rows("s");
    assert_eq!(rows[0]["score"], serde_json::json!({"hits": 1, "answered": 1, "expected": 1}));
    assert_eq!(rows[0]["teacher"], "tiny");
}

#[test]
fn a_file_that_holds_no_episode_says_what_makes_them() {
    let shop = Shop::new();
    fs::write(shop.path("e.jsonl"), "").unwrap();
    fs::write(shop.path("i.jsonl"), "{\"instance_id\": \"x\"}\n").unwrap();
    for (name, wanted) in [
        ("e.jsonl", "holds no episode"),
        ("i.jsonl", "line 1: no episode"),
        ("none.jsonl", "opening `none.jsonl`"),
    ] {
        let sample = shop.sorft(&["train", "sample", name, "--teacher", "template", "--out", "s"]);
        let message = String::from_utf8_lossy(&sample.stderr).into_owned();
        assert_eq!(sample.status.code(), Some(2));
        assert!(message.contains(wanted) && message.contains("sorft train data"), "{message}");
    }
}

#[test]
fn histories_that_cannot_be_mined_say_what_to_do() {
    let shop = Shop::new();
    // A work tree without a name, a folder inside it, and the same with its history cut off.
    let tree = shop.path("tree");
    git2::Repository::clone(shop.path("repos/me__shop").to_str().unwrap(), &tree).unwrap();
    let head = git2::Repository::open(&tree).unwrap().head().unwrap().target().unwrap();
    fs::create_dir_all(shop.path("none/x")).unwrap();
    let check = |repository: &str, wanted: &[&str]| {
        let output = shop.sorft(&["train", "mine", repository, "--out", "x.jsonl"]);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{repository}: {message}");
        for wanted in wanted {
            assert!(message.contains(wanted), "{repository}: {message}");
        }
    };
    check("tree", &["does not tell the name", "`OWNER/NAME=tree`"]);
    check("tree/shop", &["is a folder inside a repository"]);
    check("none/x", &["is not in a git repository"]);
    check("nowhere", &["cannot be opened"]);
    fs::write(tree.join(".git/shallow"), format!("{head}\n")).unwrap();
    check("me/shop=tree", &["is cut off", "git fetch --unshallow"]);
}

#[test]
fn answers_to_episodes_are_judged_and_two_models_compared() {
    let shop = Shop::new();
    shop.mine();
    let data = ["train", "data", "instances.jsonl", "--repos", "repos", "--out", "e.jsonl"];
    shop.done(&data);
    let script = |file| Script {
        file,
        function: "```\nshop/cart.py\nfunction: Cart.nothing\n```",
        line: "no block",
        edits: vec![
            "```\n### shop/cart.py\n<<<<<<< SEARCH\n    def total(self):\n=======\n    def totals(self):\n>>>>>>> REPLACE\n```\n",
        ],
        tests: Vec::new(),
    };
    let answers = |file, out| {
        let url = Server::start(script(file)).url();
        shop.done(&["eval", "episodes", "e.jsonl", "--endpoint", &url, "--out", out])
    };
    let bad = answers("```\nshop/none.py\n```", "bad.jsonl");
    let good = answers("```\nshop/cart.py\n```", "good.jsonl");
    let of = |answers: &Value, stage: usize| {
        let stage = &answers["stages"][stage];
        [&stage["valid"], &stage["hit"]].map(|estimate| estimate["mean"].as_f64().unwrap())
    };
    assert_eq!([of(&bad, 0), of(&good, 0)], [[0.0, 0.0], [1.0, 1.0]]);
    assert_eq!([of(&good, 1), of(&good, 2)], [[0.0, 0.0], [0.0, 0.0]], "nothing usable");
    assert_eq!(of(&good, 3), [1.0, 0.0], "edits apply and miss");
    let rows = shop.rows("good.jsonl");
    assert_eq!(rows[1]["samples"][0]["rejection"], "unknown symbol");
    // The function stage is given what the model named, filled up by retrieval.
    let on_policy = ["--on-policy", "good.jsonl", "--answered", "e.jsonl", "--out", "next.jsonl"];
    shop.done(&[&data[..5], &on_policy].concat());
    let given = |file| {
        let rows = shop.rows(file);
        let stages = |row: &Value| row["stage"].as_str().unwrap().to_owned();
        rows.iter().map(stages).collect::<Vec<_>>()
    };
    assert_eq!(given("e.jsonl"), ["file", "function", "line", "edit"].repeat(2));
    assert_eq!(given("next.jsonl"), ["file", "function", "line"].repeat(2), "no line is named");
    let other = ["--on-policy", "good.jsonl", "--answered", "next.jsonl", "--out", "x.jsonl"];
    let message = shop.sorft(&[&data[..5], &other].concat()).stderr;
    assert!(String::from_utf8_lossy(&message).contains("is to no episode of the file"));
    let changes = shop.done(&["eval", "compare", "bad.jsonl", "good.jsonl"]);
    let hit = &changes["stages"][0]["measures"][1];
    assert_eq!(hit["difference"]["mean"], 1.0);
    assert_eq!(hit["mcnemar"]["n_better"], 2);
    let message = shop.sorft(&["eval", "compare", "bad.jsonl", "e.jsonl"]).stderr;
    assert!(String::from_utf8_lossy(&message).contains("no judged episode"));
}

/// Chats of both splits that the model in `fixtures/models` can read.
pub(crate) fn write_chats(path: &Path) {
    let lines = (0..24).map(|idx| {
        let split = if idx % 4 == 0 { "holdout" } else { "train" };
        let message =
            |role: &str, content: String| serde_json::json!({ "role": role, "content": content });
        let row = serde_json::json!({
            "version": 1, "instance_id": format!("me__shop-{idx}"), "stage": "file", "sample": 0,
            "repo": "me/shop", "split": split, "teacher": "template", "reward": 1.0,
            "score": { "hits": 1, "answered": 1, "expected": 1 },
            "messages": [
                message("user", format!("where is {idx}?")),
                message("assistant", format!("a{idx}.py\n")),
            ],
        });
        format!("{row}\n")
    });
    fs::write(path, lines.collect::<String>()).unwrap();
}

pub(crate) fn tiny_model() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/models/qwen2").display().to_string()
}

#[test]
fn a_tuning_that_is_killed_ends_with_the_bytes_of_an_unbroken_one() {
    let shop = Shop { home: tempfile::tempdir().unwrap() };
    write_chats(&shop.path("sft.jsonl"));
    let model = tiny_model();
    let tune = |out| {
        let command = ["train", "sft", "sft.jsonl", "--model", &model, "--out", out];
        [&command[..], &["--batch", "4", "--epochs", "60", "--save-every", "3", "--rate", "0.01"]]
            .concat()
            .into_iter()
            .map(ToOwned::to_owned)
            .collect::<Vec<String>>()
    };
    let done = |out| {
        let arguments = tune(out);
        shop.done(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let whole = done("whole");
    assert_eq!(whole["steps"], 300);
    assert_eq!(whole["chats"], 18);
    assert_eq!(whole["held_out_chats"], 6);
    let metrics = shop.rows("whole/metrics.jsonl");
    let held_out = |row: &Value| row["held_out"]["stages"]["file"].as_f64();
    let losses: Vec<f64> = metrics.iter().filter_map(held_out).collect();
    assert_eq!(losses.len(), 101);
    let best = whole["best"]["loss"].as_f64().unwrap();
    assert!(best < losses[0] / 2.0, "from {} to {best}", losses[0]);

    let mut n_kills = 0;
    for n_lines in [2, 40, 170] {
        n_kills += usize::from(shop.kill_at(n_lines, "broken/metrics.jsonl", &tune("broken")));
    }
    assert!(0 < n_kills, "every run was over before it could be killed");
    // As a kill in the middle of a checkpoint leaves it.
    fs::create_dir(shop.path("broken/checkpoints/.tmpAbC")).unwrap();
    fs::write(shop.path("broken/checkpoints/.tmpAbC/state.json"), "{").unwrap();
    assert_eq!(done("broken")["best"], whole["best"]);
    for file in
        ["metrics.jsonl", "adapter/adapter_model.safetensors", "adapter/adapter_config.json"]
    {
        let bytes = |run: &str| fs::read(shop.path(run).join(file)).unwrap();
        assert_eq!(bytes("broken"), bytes("whole"), "{file}");
    }

    assert!(!shop.path("broken/checkpoints/.tmpAbC").exists());

    let output = shop.sorft(&["train", "sft", "sft.jsonl", "--model", &model, "--out", "whole"]);
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && message.contains("was begun with another"), "{message}");
}

#[test]
fn all_weights_can_be_tuned_and_make_a_model_of_their_own() {
    let shop = Shop { home: tempfile::tempdir().unwrap() };
    write_chats(&shop.path("sft.jsonl"));
    let model = tiny_model();
    let tune = |model: &str, out: &str, more: &[&str]| -> Vec<String> {
        let command = ["train", "sft", "sft.jsonl", "--model", model, "--out", out, "--full"];
        let options = ["--batch", "4", "--save-every", "3", "--rate", "0.01"];
        [&command[..], &options, more].concat().into_iter().map(ToOwned::to_owned).collect()
    };
    let done = |arguments: Vec<String>| {
        shop.done(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let whole = done(tune(&model, "whole", &["--epochs", "40"]));
    assert_eq!(whole["model"], "whole/model");
    let losses: Vec<f64> = shop
        .rows("whole/metrics.jsonl")
        .iter()
        .filter_map(|row| row["held_out"]["loss"].as_f64())
        .collect();
    let best = whole["best"]["loss"].as_f64().unwrap();
    assert!(best < losses[0] / 2.0, "from {} to {best}", losses[0]);

    let broken = tune(&model, "broken", &["--epochs", "40"]);
    assert!(shop.kill_at(40, "broken/metrics.jsonl", &broken), "it was over before it was killed");
    done(broken.clone());
    // A finished run is left as it is.
    assert_eq!(done(broken)["best"], whole["best"]);
    for file in ["metrics.jsonl", "model/model.safetensors", "model/config.json"] {
        let bytes = |run: &str| fs::read(shop.path(run).join(file)).unwrap();
        assert!(bytes("broken") == bytes("whole"), "{file}");
    }

    // What was learnt is in the folder: training that begins with it begins at that loss.
    done(tune("whole/model", "next", &["--max-steps", "1"]));
    let next = shop.rows("next/metrics.jsonl")[0]["held_out"]["loss"].as_f64().unwrap();
    assert!((next - best).abs() < 0.05 * best.max(1.0), "{next}, and {best} was reached");
}

#[test]
fn a_tuning_is_not_gone_on_with_where_something_of_it_is_lost() {
    let shop = Shop { home: tempfile::tempdir().unwrap() };
    write_chats(&shop.path("sft.jsonl"));
    let model = shop.path("model");
    fs::create_dir(&model).unwrap();
    for file in fs::read_dir(tiny_model()).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), model.join(file.file_name())).unwrap();
    }
    // So long that the best checkpoint is not the last.
    let tune = ["train", "sft", "sft.jsonl", "--model", "./model", "--out", "run", "--batch", "4"];
    let tune = [&tune[..], &["--epochs", "60", "--save-every", "1", "--rate", "0.05"]].concat();
    let best = shop.done(&tune)["best"]["step"].as_u64().unwrap();
    assert!(best < 300, "the best of 300 steps is the last");
    let refused = || {
        let output = shop.sorft(&tune);
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let metrics = fs::read(shop.path("run/metrics.jsonl")).unwrap();
    fs::write(shop.path("run/metrics.jsonl"), &metrics[..metrics.len() - 9]).unwrap();
    let message = refused();
    assert!(
        message.contains("is of step 300, and `metrics.jsonl` ends with step 299"),
        "{message}"
    );
    fs::write(shop.path("run/metrics.jsonl"), metrics).unwrap();
    fs::remove_dir_all(shop.path(&format!("run/checkpoints/step-{best:06}"))).unwrap();
    let message = refused();
    assert!(message.contains(&format!("the best checkpoint, of step {best}, is no")), "{message}");
    assert!(message.contains("hint: delete the folder of the run to train anew"), "{message}");
    let weights = model.join("model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&weights, bytes).unwrap();
    assert!(refused().contains("was begun with another `weights`"));
}

#[test]
fn a_result_that_is_there_already_is_not_written_over() {
    let shop = Shop::new();
    shop.mine();
    shop.done(&["train", "data", "instances.jsonl", "--repos", "repos", "--out", "e.jsonl"]);
    let episodes = fs::read(shop.path("e.jsonl")).unwrap();
    let model = tiny_model();
    for command in [
        &["train", "sample", "e.jsonl", "--teacher", "template", "--out", "e.jsonl"][..],
        &["eval", "episodes", "e.jsonl", "--model", &model, "--out", "e.jsonl"],
        &["train", "data", "instances.jsonl", "--repos", "repos", "--out", "e.jsonl"],
        &["train", "mine", "repos/me__shop", "--out", "e.jsonl"],
    ] {
        let output = shop.sorft(command);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{command:?}");
        assert!(message.contains("`e.jsonl` is there already\nhint:"), "{message}");
    }
    assert_eq!(fs::read(shop.path("e.jsonl")).unwrap(), episodes);
}

#[test]
fn tuning_tells_what_is_wrong_with_its_input() {
    let shop = Shop { home: tempfile::tempdir().unwrap() };
    write_chats(&shop.path("sft.jsonl"));
    let model = tiny_model();
    let refused = |more: &[&str]| {
        let command = ["train", "sft", "sft.jsonl", "--model", &model, "--out", "run"];
        let output = shop.sorft(&[&command[..], more].concat());
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let message = refused(&["--max-tokens", "3"]);
    assert!(message.contains("18 chats of the file stage have more than 3 tokens"), "{message}");
    assert!(message.contains("no chat of `sft.jsonl` is left to learn"), "{message}");
    assert!(refused(&["--rate", "nan"]).contains("wanted a number above 0"));
    assert!(refused(&["--pack-tokens", "0"]).contains("`--pack-tokens 0` trains nothing"));
    let message = refused(&["--rate", "1e30", "--epochs", "30"]);
    assert!(message.contains("the last checkpoint is as it was"), "{message}");
    let rows = fs::read_to_string(shop.path("sft.jsonl")).unwrap();
    fs::write(shop.path("sft.jsonl"), rows.replace("me/shop", "pydicom/pydicom")).unwrap();
    let message = refused(&[]);
    assert!(message.contains("is a repository of an evaluation"), "{message}");
    fs::write(shop.path("sft.jsonl"), rows.replace("a7.py\\n", "\\n")).unwrap();
    let message = refused(&[]);
    assert!(
        message.contains("me__shop-7 file") && message.contains("its answer is empty"),
        "{message}"
    );
    fs::write(shop.path("sft.jsonl"), "").unwrap();
    assert!(refused(&[]).contains("holds no chat to imitate"));
}
