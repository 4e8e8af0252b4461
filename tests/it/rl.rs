//! `sorft train rl` on a tiny model, and the report of its run.

use std::fs;

use serde_json::{Value, json};

use crate::train::{Shop, tiny_model};

/// Episodes whose prompts a tiny model has room for.
fn write_episodes(shop: &Shop) {
    shop.mine();
    shop.done(&["train", "data", "instances.jsonl", "--repos", "repos", "--out", "all.jsonl"]);
    let rows = shop.rows("all.jsonl").into_iter().enumerate().flat_map(|(idx, mut row)| {
        let content = format!("where is number {idx}?");
        row["episode"]["prompt"] = json!({ "messages": [{ "role": "user", "content": content }] });
        row["split"] = json!("train");
        let mut held_out = row.clone();
        held_out["split"] = json!("holdout");
        [row, held_out]
    });
    let lines: String = rows.map(|row| format!("{row}\n")).collect();
    fs::write(shop.path("episodes.jsonl"), lines).unwrap();
}

const OPTIONS: [&str; 16] = [
    "--steps",
    "6",
    "--critic-first",
    "1",
    "--prompts",
    "4",
    "--samples",
    "2",
    "--save-every",
    "2",
    "--max-answer-tokens",
    "6",
    "--rank",
    "4",
    "--rate",
    "0.01",
];

fn arguments(out: &str) -> Vec<String> {
    let model = tiny_model();
    let command = ["train", "rl", "episodes.jsonl", "--model", &model, "--out", out];
    [&command[..], &OPTIONS].concat().into_iter().map(ToOwned::to_owned).collect()
}

fn done(shop: &Shop, out: &str) -> Value {
    let arguments = arguments(out);
    shop.done(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn a_reinforcement_that_is_killed_ends_with_the_bytes_of_an_unbroken_one() {
    let shop = Shop::new();
    write_episodes(&shop);
    let whole = done(&shop, "whole");
    assert_eq!(whole["steps"], 6);
    assert!(whole["held_out"]["file"].is_array(), "{whole}");
    let metrics = shop.rows("whole/metrics.jsonl");
    assert_eq!(metrics.len(), 7);
    assert_eq!(metrics[1]["overall"]["kl"], 0.0);
    assert_eq!(metrics[1]["overall"]["completions"], 8);
    assert!(metrics[1]["update"]["critic"]["value_loss"].is_number());

    let mut n_kills = 0;
    for n_lines in [1, 4] {
        n_kills += usize::from(shop.kill_at(n_lines, "broken/metrics.jsonl", &arguments("broken")));
    }
    assert!(0 < n_kills, "every run was over before it could be killed");
    done(&shop, "broken");
    for file in ["metrics.jsonl", "adapter/adapter_model.safetensors"] {
        let bytes = |run: &str| fs::read(shop.path(run).join(file)).unwrap();
        assert!(bytes("broken") == bytes("whole"), "{file}");
    }

    // As a copy that is not whole leaves it.
    fs::remove_dir_all(shop.path("broken/checkpoints/step-000006/critic")).unwrap();
    let again = arguments("broken");
    let output = shop.sorft(&again.iter().map(String::as_str).collect::<Vec<_>>());
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains("lacks files of its critic"), "{message}");

    let output = shop.sorft(&["report", "whole", "broken", "-o", "both.html"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let page = fs::read_to_string(shop.path("both.html")).unwrap();
    for title in ["Reward, file stage", "Items answered", "Value loss", "Response tokens"] {
        assert!(page.contains(&format!("<h3>{title}</h3>")), "{title}");
    }
    assert!(page.contains("whole: file stage"), "answers over time");
}

#[test]
fn all_weights_are_reinforced_into_a_model_that_the_next_run_begins_with() {
    let shop = Shop::new();
    write_episodes(&shop);
    let run = |model: &str, out: &str, more: &[&str]| {
        let command = ["train", "rl", "episodes.jsonl", "--model", model, "--out", out];
        shop.done(&[&command[..], &OPTIONS, more].concat())
    };
    let first = run(&tiny_model(), "first", &["--full"]);
    assert_eq!(first["model"], "first/model");
    let metrics = shop.rows("first/metrics.jsonl");
    assert_eq!(metrics[1]["overall"]["kl"], 0.0, "nothing is learnt yet");
    assert_ne!(metrics[6]["overall"]["kl"], 0.0, "something is");
    let engine_kl = metrics[6]["overall"]["engine_kl"].as_f64().unwrap();
    assert!(engine_kl.abs() < 0.05, "the engine has the trainer's weights, {engine_kl} off");
    let second = run("first/model", "second", &[]);
    assert_eq!(second["adapter"], "second/adapter");
    let metrics = shop.rows("second/metrics.jsonl");
    assert_eq!(metrics[1]["overall"]["kl"], 0.0, "the first run's result is the reference");
}

#[test]
fn additions_to_some_projections_are_joined_to_those_of_an_earlier_run() {
    let shop = Shop::new();
    write_episodes(&shop);
    let run = |out: &str, more: &[&str]| {
        let command = ["train", "rl", "episodes.jsonl", "--model", &tiny_model(), "--out", out];
        shop.done(&[&command[..], &OPTIONS, more].concat());
        let config = fs::read(shop.path(&format!("{out}/adapter/adapter_config.json"))).unwrap();
        let config: Value = serde_json::from_slice(&config).unwrap();
        (config["r"].clone(), config["target_modules"].clone())
    };
    let some = run("some", &["--projections", "q,v"]);
    assert_eq!(some, (json!(4), json!(["q_proj", "v_proj"])));
    let joined = run("joined", &["--projections", "v,down", "--adapter", "some/adapter"]);
    assert_eq!(joined, (json!(8), json!(["q_proj", "v_proj", "down_proj"])));
    let metrics = shop.rows("joined/metrics.jsonl");
    assert_eq!(metrics[1]["overall"]["kl"], 0.0, "the earlier run's result is the reference");
}

#[test]
fn reinforcement_tells_what_is_wrong_with_its_input() {
    let shop = Shop::new();
    write_episodes(&shop);
    let check = |more: &[&str], wanted: &str| {
        let arguments = arguments("run");
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let output = shop.sorft(&[&arguments[..], more].concat());
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && message.contains(wanted), "{more:?}: {message}");
    };
    check(&["--max-prompt-tokens", "3"], "no episode of `episodes.jsonl` is left");
    check(&["--adapter", "none"], "reading the adapter `none`");
    check(&["--adapter", "none"], "hint: an adapter is a folder");
    fs::create_dir_all(shop.path("above/adapter")).unwrap();
    fs::write(shop.path("above/adapter/adapter_config.json"), "{}").unwrap();
    check(&["--adapter", "above"], "hint: there is one in `above/adapter`");
    check(&["--limit-per-stage", "0"], "`--limit-per-stage 0` trains nothing");
    check(&["--full", "--algorithm", "grpo", "--alpha", "8"], "`--alpha` is for an adapter");
    check(&["--full", "--projections", "q"], "`--projections` is for an adapter");
    check(&["--projections", "embedding"], "possible values: q, k, v, o, gate, up, down");
    check(&["--full", "--precision", "bf16"], "cannot be used with");
    check(&["--constrained"], "no answer of 6 tokens");
    let rows = fs::read_to_string(shop.path("episodes.jsonl")).unwrap();
    fs::write(shop.path("episodes.jsonl"), rows.replace("me/shop", "pydicom/pydicom")).unwrap();
    check(&[], "pydicom/pydicom");
    let check = |options: &[&str], wanted: &str| {
        let command = ["train", "rl", "episodes.jsonl", "--out", "run"];
        let output = shop.sorft(&[&command[..], options].concat());
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && message.contains(wanted), "{options:?}: {message}");
    };
    check(&["--algorithm", "grpo", "--samples", "1"], "leaves none to compare with");
    check(&["--algorithm", "rloo", "--paper"], "`--paper` is PPO as in the paper");
    check(&["--steps", "10"], "the critic alone learns in the first 10 steps");
    assert!(!shop.path("run").exists());
}
