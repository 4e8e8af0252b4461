//! What other trainers and other engines are given: rewards, data, merged models.
#![cfg(unix)]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use serde_json::{Value, json};

use crate::train::{Shop, tiny_model, write_chats};

impl Shop {
    fn with_episodes() -> Self {
        let shop = Self::new();
        shop.mine();
        shop.done(&["train", "data", "instances.jsonl", "--repos", "repos", "--out", "e.jsonl"]);
        shop
    }

    /// Why a command was refused.
    #[track_caller]
    fn refused(&self, arguments: &[&str]) -> String {
        let output = self.sorft(arguments);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{message}");
        message
    }

    fn python(&self, folder: &str, script: &str, url: &str) -> (bool, String) {
        let output = Command::new("python3")
            .args(["-B", "-c", script])
            .env("REWARD_SERVER_URL", url)
            .env("http_proxy", "http://127.0.0.1:1")
            .current_dir(self.path(folder))
            .output()
            .unwrap();
        let words = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&words).into_owned())
    }
}

/// A reward server of its own process.
struct Rewarder {
    process: Child,
    url: String,
}

impl Rewarder {
    fn start(shop: &Shop, more: &[&str]) -> Self {
        let mut process = Command::new(assert_cmd::cargo::cargo_bin("sorft"))
            .args(["reward", "serve", "e.jsonl", "--listen", "127.0.0.1:0"])
            .args(more)
            .env("HOME", shop.home.path())
            .current_dir(shop.home.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut url = String::new();
        BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut url).unwrap();
        Self { process, url: url.trim_end().to_owned() }
    }

    fn ask(&self, path: &str, body: &[u8]) -> (u16, Value) {
        let address = self.url.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap())
    }

    /// Presses Ctrl-C.
    fn stop(mut self) -> (Option<i32>, String) {
        kill(Pid::from_raw(self.process.id() as i32), Signal::SIGINT).unwrap();
        let status = self.process.wait().unwrap();
        let mut words = String::new();
        self.process.stderr.take().unwrap().read_to_string(&mut words).unwrap();
        (status.code(), words)
    }
}

impl Drop for Rewarder {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Of each episode: the truth, the truth cut off, an invented path, and no answer.
fn completions(shop: &Shop) -> Vec<Value> {
    let of_row = |row: &Value| {
        let id =
            format!("{}/{}", row["instance_id"].as_str().unwrap(), row["stage"].as_str().unwrap());
        [
            json!({ "id": id, "completion": row["answer"] }),
            json!({ "id": id, "completion": row["answer"], "ended": false }),
            json!({ "id": id, "completion": "```\nshop/none.py\n```" }),
            json!({ "id": id, "completion": "no block", "ended": true }),
        ]
    };
    shop.rows("e.jsonl").iter().flat_map(of_row).collect()
}

#[test]
fn rewards_of_a_file_are_those_that_the_server_gives() {
    let shop = Shop::with_episodes();
    let rows = completions(&shop);
    let text: String = rows.iter().map(|row| format!("{row}\n")).collect();
    fs::write(shop.path("c.jsonl"), text).unwrap();
    let score = ["reward", "score", "e.jsonl", "c.jsonl"];
    let scored = shop.done(&[&score[..], &["--out", "rewards.jsonl"]].concat());
    assert_eq!(scored["stages"]["edit"]["completions"], 8);
    assert_eq!(scored["stages"]["file"]["mean_reward"], 0.25);
    let written = shop.rows("rewards.jsonl");
    assert_eq!(Value::from(written.clone()), scored["rows"]);
    let rewards: Vec<f64> = written.iter().map(|row| row["reward"].as_f64().unwrap()).collect();
    assert_eq!(rewards, [1.0, 0.0, 0.0, 0.0].repeat(8));
    assert_eq!(written[1]["rejection"], "did not end");
    assert_eq!(written[3]["rejection"], "no answer");
    assert!(
        shop.refused(&[&score[..], &["--out", "c.jsonl"]].concat()).contains("is there already")
    );

    let server = Rewarder::start(&shop, &[]);
    let (status, answer) = server.ask("/score", json!({ "rows": rows }).to_string().as_bytes());
    assert_eq!((status, &answer["rewards"]), (200, &json!(rewards)));
    assert_eq!(
        answer["details"][1],
        json!({ "reward": 0.0, "hit": false, "rejection": "did not end" })
    );

    // The same as OpenRLHF sends it: prompt and completion in one text, control tokens written out.
    let prompt = "<|im_start|>user\nWhere?<|im_end|>\n<|im_start|>assistant\n";
    let query = |row: &Value| {
        let end = if row["ended"] == false { "" } else { "<|im_end|>" };
        format!("{prompt}{}{end}", row["completion"].as_str().unwrap())
    };
    let question = json!({
        "query": rows.iter().map(query).collect::<Vec<_>>(),
        "prompts": vec![prompt; rows.len()],
        "labels": rows.iter().map(|row| &row["id"]).collect::<Vec<_>>(),
    });
    let (status, answer) = server.ask("/get_reward", question.to_string().as_bytes());
    assert_eq!(
        (status, &answer["rewards"], &answer["scores"]),
        (200, &json!(rewards), &json!(rewards))
    );
    assert_eq!(answer["extra_logs"]["ended"][1], 0.0);

    for (body, status, wanted) in [
        (&b"{"[..], 400, "wanted {"),
        (b"\xff\xfe", 400, "no UTF-8"),
        (br#"{"rows": [{"id": "x/file", "completion": ""}]}"#, 422, "there is no episode `x/file`"),
    ] {
        let (found, answer) = server.ask("/score", body);
        let message = answer["error"].as_str().unwrap();
        assert!(found == status && message.contains(wanted), "{found}: {message}");
    }
    let taken = server.url.strip_prefix("http://").unwrap();
    let message = shop.refused(&["reward", "serve", "e.jsonl", "--listen", taken]);
    assert!(
        message.contains(&format!("listening at {taken}")) && message.contains("hint: `--listen`")
    );
    assert_eq!(server.stop(), (Some(130), "interrupted\n".to_owned()));
}

#[test]
fn the_switches_of_the_reward_count_in_both() {
    let shop = Shop::with_episodes();
    let id = format!("{}/file", shop.rows("e.jsonl")[0]["instance_id"].as_str().unwrap());
    let row = json!({ "id": id, "completion": "```\nshop/cart.py\nshop/none.py\n```" });
    fs::write(shop.path("c.jsonl"), format!("{row}\n")).unwrap();
    for (switches, wanted) in [
        (&[][..], 0.0),
        (&["--invented", "miss"], 10.0 / 11.0),
        (&["--invented", "miss", "--beta", "1"], 2.0 / 3.0),
        (&["--invented", "miss", "--rule", "f1"], 2.0 / 3.0),
        (&["--invented", "miss", "--rule", "hit"], 1.0),
        (&["--invented", "miss", "--rule", "exact"], 0.0),
    ] {
        let score = ["reward", "score", "e.jsonl", "c.jsonl"];
        let scored = shop.done(&[&score[..], switches].concat());
        assert_eq!(scored["rows"][0]["reward"], wanted, "{switches:?}");
        let server = Rewarder::start(&shop, switches);
        let (_, answer) = server.ask("/score", json!({ "rows": [row] }).to_string().as_bytes());
        assert_eq!(answer["rewards"], json!([wanted]), "{switches:?}");
    }
    let message = shop.refused(&["reward", "score", "e.jsonl", "c.jsonl", "--beta", "0"]);
    assert!(message.contains("wanted a number above 0"), "{message}");
}

#[test]
fn completions_that_cannot_be_rewarded_are_named() {
    let shop = Shop::with_episodes();
    for (text, wanted) in [
        ("", "holds no completion\nhint: a line is {\"id\""),
        ("{\"id\": \"x\"}\n", "`c.jsonl`, line 1: no completion"),
        ("{\"id\": \"x/file\", \"completion\": \"\"}\n", "there is no episode `x/file`\nhint:"),
    ] {
        fs::write(shop.path("c.jsonl"), text).unwrap();
        let message = shop.refused(&["reward", "score", "e.jsonl", "c.jsonl"]);
        assert!(message.contains(wanted), "{message}");
    }
    let rows = fs::read_to_string(shop.path("e.jsonl")).unwrap();
    fs::write(shop.path("e.jsonl"), [&*rows, &*rows].concat()).unwrap();
    assert!(shop.refused(&["reward", "serve", "e.jsonl"]).contains("is there twice"));
}

#[test]
fn every_trainer_gets_prompts_and_a_function_that_asks_for_rewards() {
    let shop = Shop::with_episodes();
    // One row of eight is held out.
    let mut rows = shop.rows("e.jsonl");
    rows[7]["split"] = "holdout".into();
    fs::write(shop.path("e.jsonl"), rows.iter().map(|row| format!("{row}\n")).collect::<String>())
        .unwrap();
    for trainer in ["trl", "verl", "openrlhf"] {
        let export = ["train", "export", "e.jsonl", "--format", trainer, "--out", trainer];
        let output = shop.sorft(&export);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(
            String::from_utf8_lossy(&output.stdout).contains("7 episodes to train on, 1 held out")
        );
        assert!(shop.refused(&export).contains("is there already"));
    }
    let server = Rewarder::start(&shop, &[]);
    let prompt = &rows[0]["episode"]["prompt"]["messages"];
    let (answer, wrong) = (rows[0]["answer"].as_str().unwrap(), "no block");
    let id = format!("{}/file", rows[0]["instance_id"].as_str().unwrap());

    let trl = shop.rows("trl/train.jsonl");
    assert_eq!((trl.len(), shop.rows("trl/test.jsonl").len()), (7, 1));
    assert_eq!((&trl[0]["prompt"], &trl[0]["episode"]), (prompt, &json!(id)));
    let call = json!({
        "completions": [[{ "role": "assistant", "content": answer }], wrong],
        "episode": [id, id],
    });
    let script = format!(
        "import json, reward; print(reward.reward(**json.loads({:?}), x=1))",
        call.to_string()
    );
    assert_eq!(shop.python("trl", &script, &server.url), (true, "[1.0, 0.0]\n".to_owned()));

    let file = fs::File::open(shop.path("verl/train.parquet")).unwrap();
    let reader = SerializedFileReader::new(file).unwrap();
    let verl: Vec<Value> =
        reader.get_row_iter(None).unwrap().map(|row| row.unwrap().to_json_value()).collect();
    assert_eq!(verl.len(), 7);
    for (idx, (verl, row)) in verl.iter().zip(&rows).enumerate() {
        let stage = row["stage"].as_str().unwrap();
        let wanted = json!({
            "data_source": format!("sorft/{stage}"),
            "prompt": row["episode"]["prompt"]["messages"],
            "ability": "code",
            "reward_model": {
                "style": "rule",
                "ground_truth": format!("{}/{stage}", row["instance_id"].as_str().unwrap()),
            },
            "extra_info": {
                "split": "train", "index": idx, "instance_id": row["instance_id"], "stage": stage,
            },
        });
        assert_eq!(verl, &wanted);
    }
    let script = format!(
        "import reward; print(reward.compute_score('sorft/file', {answer:?}, '{id}', {{}}), \
         reward.compute_score_batched(['a', 'b'], [{answer:?}, {wrong:?}], ['{id}', '{id}'], [{{}}, {{}}]))"
    );
    let (_, words) = shop.python("verl", &script, &server.url);
    assert_eq!(words, "1.0 [1.0, 0.0]\n");

    let openrlhf = shop.rows("openrlhf/train.jsonl");
    assert_eq!((&openrlhf[0]["input"], &openrlhf[0]["label"]), (prompt, &json!(id)));
    let script = format!(
        "import reward; p = 'P'; a = {answer:?}; \
         print(reward.reward_func([p + a + '<|im_end|>', p + a], [p, p], ['{id}', '{id}'])['rewards'])"
    );
    assert_eq!(shop.python("openrlhf", &script, &server.url), (true, "[1.0, 0.0]\n".to_owned()));

    // What the server refuses, and a server that is away, are told.
    let script = "import reward; reward.compute_score('a', 'b', 'x/file')";
    let (_, words) = shop.python("verl", script, &server.url);
    assert!(words.contains("refused: 422") && words.contains("no episode `x/file`"), "{words}");
    let url = server.url.clone();
    server.stop();
    let (is_done, words) = shop.python("verl", script, &url);
    assert!(!is_done && words.contains(&format!("no reward server answers at {url}")), "{words}");
    assert!(words.contains("hint: start `sorft reward serve EPISODES`"), "{words}");
}

#[test]
fn chats_are_exported_for_trl_alone_and_none_of_an_evaluation() {
    let shop = Shop { home: tempfile::tempdir().unwrap() };
    write_chats(&shop.path("sft.jsonl"));
    let export = |trainer, out| ["train", "export", "sft.jsonl", "--format", trainer, "--out", out];
    let output = shop.sorft(&export("trl", "trl"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let chats = shop.rows("trl/train.jsonl");
    assert_eq!((chats.len(), shop.rows("trl/test.jsonl").len()), (18, 6));
    assert_eq!(
        chats[0],
        json!({
            "prompt": [{ "role": "user", "content": "where is 1?" }],
            "completion": [{ "role": "assistant", "content": "a1.py\n" }],
        })
    );
    assert!(!shop.path("trl/reward.py").exists());
    let message = shop.refused(&export("verl", "verl"));
    assert!(message.contains("are exported for TRL alone\nhint: `--format trl`"), "{message}");
    let rows = fs::read_to_string(shop.path("sft.jsonl")).unwrap();
    fs::write(shop.path("sft.jsonl"), rows.replace("me/shop", "pydicom/pydicom")).unwrap();
    let message = shop.refused(&export("trl", "other"));
    assert!(message.contains("is a repository of an evaluation"), "{message}");
    assert!(!shop.path("verl").exists() && !shop.path("other").exists());
}

#[test]
fn a_tuned_model_is_merged_whole_or_not_at_all() {
    let shop = Shop { home: tempfile::tempdir().unwrap() };
    write_chats(&shop.path("sft.jsonl"));
    let model = tiny_model();
    let tune =
        ["train", "sft", "sft.jsonl", "--model", &model, "--out", "tuned", "--max-steps", "2"];
    shop.done(&tune);
    let merge = |out| ["train", "merge", "tuned/adapter", "--model", &model, "--out", out];
    let merged = shop.done(&merge("merged"));
    assert_eq!((&merged["form"], &merged["precision"]), (&"folder".into(), &"bf16".into()));
    let mut names: Vec<String> = fs::read_dir(shop.path("merged"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(
        names,
        ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    );
    let mode = |name: &str| {
        let metadata = fs::metadata(shop.path("merged").join(name)).unwrap();
        std::os::unix::fs::PermissionsExt::mode(&metadata.permissions())
    };
    assert_eq!(mode("model.safetensors"), mode("config.json"));
    // It is a model like any other.
    shop.done(&[
        "train",
        "sft",
        "sft.jsonl",
        "--model",
        "./merged",
        "--out",
        "more",
        "--max-steps",
        "1",
    ]);
    assert!(shop.refused(&merge("merged")).contains("is there already\nhint:"));
    let config = shop.path("tuned/adapter/adapter_config.json");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("\"r\": 16", "\"r\": 8").replace(&model, "other")).unwrap();
    let message = shop.refused(&merge("x"));
    assert!(message.contains("the adapter says that it was made for `other`"), "{message}");
    assert!(message.contains("is for another model: its tensor"), "{message}");
    fs::write(&config, text).unwrap();

    // A disk that becomes full: no file may grow beyond 4 KiB.
    let output = Command::new("bash")
        .args(["-c", "trap '' XFSZ; ulimit -f 4; exec \"$0\" \"$@\""])
        .arg(assert_cmd::cargo::cargo_bin("sorft"))
        .args(merge("full"))
        .env("HOME", shop.home.path())
        .current_dir(shop.home.path())
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains("nothing of it was left behind; is there room"), "{message}");
    let left = fs::read_dir(shop.home.path()).unwrap().map(|e| e.unwrap().file_name());
    let odd: Vec<_> =
        left.filter(|n| n.to_string_lossy().contains("unfinished") || n == "full").collect();
    assert!(odd.is_empty(), "{odd:?}");
}
