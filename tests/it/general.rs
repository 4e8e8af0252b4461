//! `sorft eval repoqa` and `sorft eval livecodebench` with a server whose answers are known.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::machine::{Machine, check_said, stderr, stdout};
use crate::server::{Script, Server};

/// A server that gives these answers in turn.
fn server(answers: Vec<&'static str>) -> Server {
    Server::start(only_edits(answers))
}

fn only_edits(answers: Vec<&'static str>) -> Script {
    Script { file: "", function: "", line: "", edits: answers, tests: Vec::new() }
}

/// Runs a command that must end with `code`, and reads the JSON that it prints.
#[track_caller]
fn figures(machine: &Machine, code: i32, arguments: &[&str]) -> Value {
    let output = machine.command().args(arguments).args(["--format", "json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
    serde_json::from_str(&stdout(&output)).unwrap()
}

fn rows(machine: &Machine, name: &str) -> Vec<Value> {
    let text = fs::read_to_string(machine.home.path().join(name)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

const SOURCE: &str = "\
def clamp(value, low, high):
    if value < low:
        return low
    return min(value, high)


def mirror(text):
    halves = [text, text[::-1]]
    return \"\".join(halves)
";

fn write_needles(machine: &Machine, repositories: &[&str]) {
    let needle = |name: &str, start: usize, end: usize| {
        let lines: Vec<&str> = SOURCE.split('\n').collect();
        let at = |line: usize| lines[..line].iter().map(|line| line.len() + 1).sum::<usize>();
        json!({
            "name": name, "path": "shapes.py", "description": format!("\nDoes what {name} does."),
            "start_line": start, "end_line": end, "start_byte": at(start), "end_byte": at(end) - 1,
        })
    };
    let repository = |name: &&str| {
        json!({
            "repo": name,
            "content": { "shapes.py": SOURCE },
            "dependency": { "shapes.py": [] },
            "needles": [needle("clamp", 0, 4), needle("mirror", 6, 9)],
        })
    };
    let repositories: Vec<Value> = repositories.iter().map(repository).collect();
    let data = json!({ "python": repositories }).to_string();
    fs::write(machine.home.path().join("needles.json"), data).unwrap();
}

#[test]
fn a_described_function_is_searched_and_given_answers_are_scored_alike() {
    let machine = Machine::new();
    write_needles(&machine, &["me/shapes"]);
    let right = "```python\ndef clamp(value, low, high):\n    if value < low:\n        return low\n    return min(value, high)\n```";
    let server = server(vec![right, "It is `clamp`."]);
    let ask = ["eval", "repoqa", "needles.json", "--endpoint", &server.url(), "--jobs", "1"];
    let with = |more: &[&'static str]| [&ask[..], more].concat();
    let asked = figures(&machine, 0, &with(&["--out", "r.jsonl", "--context-tokens", "400"]));
    let all = &asked["languages"][0];
    assert_eq!((&all["needles"], &all["found"]["mean"]), (&json!(2), &json!(0.5)));
    assert_eq!(all["by_threshold"]["1.0"], json!(0.5));
    let prompts = server.prompts();
    assert!(prompts.contains("# Path: shapes.py"), "{prompts}");
    assert!(prompts.contains("Function Description:\\nDoes what mirror does."), "{prompts}");
    let rows = rows(&machine, "r.jsonl");
    assert_eq!(rows[0]["name"], "clamp");
    assert_eq!(rows[0]["output"], json!([right]));

    let score = ["eval", "repoqa", "needles.json", "--answers", "r.jsonl"];
    let scored = figures(&machine, 0, &score);
    assert_eq!(
        (&scored["languages"], &scored["needles"]),
        (&asked["languages"], &asked["needles"])
    );
    let one =
        figures(&machine, 0, &[&score[..], &["--only", "python::me/shapes::mirror"]].concat());
    assert_eq!(one["languages"][0]["found"]["mean"], json!(0.0));

    let output = machine.sorft(&with(&["--out", "r.jsonl"]));
    check_said(&output, 2, &["`r.jsonl` is there already"]);
    let output = machine.sorft(&with(&["--out", "s.jsonl", "--context-tokens", "9999999"]));
    check_said(&output, 2, &["code of 9999999 tokens", "hint: `--context-tokens"]);
    let output = machine.sorft(&with(&["--out", "s.jsonl", "--language", "cobol"]));
    check_said(&output, 2, &["no language `cobol`\nhint: it has python"]);
    fs::write(machine.home.path().join("bad.json"), "{}").unwrap();
    let output = machine.sorft(&["eval", "repoqa", "bad.json", "--answers", "r.jsonl"]);
    check_said(&output, 2, &["`bad.json` is no data file of RepoQA", "holds no needle"]);
    let output = machine.sorft(&["eval", "repoqa", "needles.json", "--answers", "bad.json"]);
    check_said(&output, 2, &["`bad.json`, line 1: no answer\nhint: wanted is"]);
}

/// Begins a command, and kills it once it waits for an answer that never comes: the server gives
/// `n`.
fn kill_after(n: usize, machine: &Machine, answer: &'static str, arguments: &[&str]) {
    let stalling = Server::start_stalling(only_edits(vec![answer]), n);
    let mut process = std::process::Command::new(assert_cmd::cargo::cargo_bin("sorft"));
    process.envs(machine.variables()).env_remove("SORFT_API_KEY");
    process.current_dir(machine.home.path()).args(arguments);
    process.args(["--endpoint", &stalling.url()]);
    let mut child = process.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    while stalling.n_calls() <= n && Instant::now() < until {
        assert_eq!(child.try_wait().unwrap(), None, "it ended before it was killed");
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(stalling.n_calls(), n + 1);
}

#[test]
fn a_killed_search_ends_as_an_unbroken_one_and_parts_make_the_whole() {
    let machine = Machine::new();
    write_needles(&machine, &["me/a", "me/b", "me/c", "me/d"]);
    let answer = "```python\ndef mirror(text):\n    pass\n```";
    let server = server(vec![answer]);
    let url = server.url();
    let search = ["eval", "repoqa", "needles.json", "--context-tokens", "400"];
    let with = |more: &[&'static str]| [&search[..], &["--endpoint", &url], more].concat();
    let lines = |names: &[&str]| {
        let mut lines = Vec::new();
        for name in names {
            let text = fs::read_to_string(machine.home.path().join(name)).unwrap();
            lines.extend(text.lines().map(str::to_owned));
        }
        lines.sort();
        lines
    };
    figures(&machine, 0, &with(&["--out", "whole.jsonl"]));
    assert_eq!(lines(&["whole.jsonl"]).len(), 8);

    let broken = ["--jobs", "1", "--out", "broken.jsonl"];
    for n in [2, 3] {
        kill_after(n, &machine, answer, &[&search[..], &broken].concat());
    }
    let n_before = server.n_calls();
    figures(&machine, 0, &with(&broken));
    assert_eq!(lines(&["broken.jsonl"]), lines(&["whole.jsonl"]));
    assert_eq!(server.n_calls() - n_before, 8 - 2 - 3);

    figures(&machine, 0, &with(&["--shard", "1/2", "--out", "one.jsonl"]));
    figures(&machine, 0, &with(&["--shard", "2/2", "--out", "two.jsonl"]));
    assert_eq!(lines(&["one.jsonl"]).len(), 4);
    assert_eq!(lines(&["one.jsonl", "two.jsonl"]), lines(&["whole.jsonl"]));
}

/// A problem whose tests are all public.
#[cfg(target_os = "linux")]
fn problem(id: &str, function: Option<&str>, tests: &[(&str, &str)]) -> String {
    let tests: Vec<Value> = tests
        .iter()
        .map(|(input, output)| json!({ "input": input, "output": output, "testtype": "stdin" }))
        .collect();
    let metadata = function.map_or(json!({}), |name| json!({ "func_name": name }));
    let problem = json!({
        "question_title": id, "question_content": format!("Solve {id}."), "platform": "atcoder",
        "question_id": id, "contest_id": "1", "contest_date": "2024-05-04T00:00:00",
        "starter_code": if function.is_some() { "class Solution:" } else { "" },
        "difficulty": "easy", "public_test_cases": json!(tests).to_string(),
        "private_test_cases": "[]", "metadata": metadata.to_string(),
    });
    format!("{problem}\n")
}

#[cfg(target_os = "linux")]
fn write_problems(machine: &Machine) {
    let double = problem("double", None, &[("2\n", "4\n"), ("-3", "-6")]);
    let pair = problem("pair", Some("pair"), &[("[1, 2]\n3", "[1, 2]"), ("[]\n1", "null")]);
    fs::write(machine.home.path().join("problems.jsonl"), double + &pair).unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn programs_are_written_run_in_the_sandbox_and_graded() {
    let machine = Machine::new();
    write_problems(&machine);
    let server = server(vec![
        "```python\nprint(2 * int(input()))\n```",
        "```python\nclass Solution:\n    def pair(self, numbers: List[int], target):\n        return numbers and tuple(numbers)\n```",
    ]);
    let url = server.url();
    let arguments = ["eval", "livecodebench", "problems.jsonl", "--endpoint", &url];
    let arguments = [&arguments[..], &["--jobs", "1", "--out", "p.jsonl"]].concat();
    let asked = figures(&machine, 0, &arguments);
    let all = &asked["difficulties"][0];
    assert_eq!((&all["problems"], &all["pass"][0]["share"]["mean"]), (&json!(2), &json!(0.5)));
    let prompts = server.prompts();
    assert!(prompts.contains("You are an expert Python programmer"), "{prompts}");
    assert!(prompts.contains("```python\\nclass Solution:\\n```"), "{prompts}");
    let rows = rows(&machine, "p.jsonl");
    assert_eq!(rows[0]["graded_list"], json!([true]));
    // An empty list is not `None`.
    assert_eq!(rows[1]["grades"][0]["results"], json!([1, 0]));
    assert_eq!(rows[1]["pass@1"], json!(0.0));
}

#[cfg(target_os = "linux")]
#[test]
fn given_programs_are_graded_whatever_they_do() {
    let machine = Machine::new();
    write_problems(&machine);
    let home = machine.home.path().display();
    let double = [
        "print(2 * int(input()))".to_owned(),
        "print(3 * int(input()))".to_owned(),
        "while True: pass".to_owned(),
        "1 / 0".to_owned(),
        "import os\nos._exit(0)".to_owned(),
        String::new(),
        // Neither what it prints where it should not, nor what lies outside, is of any use.
        "import os\nfor fd in range(3, 20):\n    try: os.write(fd, b'{\"output\": \"4\"}\\n{\"output\": \"-6\"}\\n')\n    except OSError: pass\nos._exit(0)".to_owned(),
        format!("open('{home}/problems.jsonl')"),
        "import socket\nsocket.create_connection(('127.0.0.1', 1))".to_owned(),
    ];
    let pair = vec!["class Solution:\n    def pair(self, n, t): return n or None"; double.len()];
    let answers = json!([
        { "question_id": "double", "code_list": double },
        { "question_id": "pair", "code_list": pair },
    ]);
    fs::write(machine.home.path().join("codes.json"), answers.to_string()).unwrap();
    let grade = |out: &'static str| {
        let arguments = ["eval", "livecodebench", "problems.jsonl", "--answers", "codes.json"];
        [&arguments[..], &["--test-timeout", "2", "--out", out]].concat()
    };
    let graded = figures(&machine, 0, &grade("g.jsonl"));
    let rows = rows(&machine, "g.jsonl");
    let outcomes: Vec<&str> = rows[0]["grades"]
        .as_array()
        .unwrap()
        .iter()
        .map(|grade| grade["outcome"].as_str().unwrap())
        .collect();
    let expected = ["right", "wrong", "too_slow", "failed", "died", "no_code"];
    assert_eq!(outcomes[..6], expected);
    assert!(matches!(outcomes[6], "right" | "died"), "{outcomes:?}");
    assert_eq!(outcomes[7..], ["failed", "failed"]);
    assert_eq!(rows[1]["pass@1"], json!(1.0));
    assert_eq!(graded["difficulties"][0]["outcomes"]["too slow"], json!(1));

    // The same answers as a list without ids, and a file that is none.
    let lists = json!([double, pair]).to_string();
    fs::write(machine.home.path().join("codes.json"), lists).unwrap();
    assert_eq!(figures(&machine, 0, &grade("h.jsonl")), graded);
    fs::write(machine.home.path().join("codes.json"), "[{\"question_id\": \"pair\"}]").unwrap();
    let output = machine.sorft(&grade("i.jsonl"));
    check_said(&output, 2, &["`codes.json` holds no answers", "neither `code_list` nor"]);
    let output = machine.sorft(&[&grade("i.jsonl")[..], &["--from", "2025-01-01"]].concat());
    check_said(&output, 2, &["no contest of the data is between these days"]);
}
