//! Many requests at once, to a server of which a fifth of the answers are no good.
//!
//! `SORFT_LOAD=2000` makes more of them (`checks/load.sh`), and prints what it took.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use serde_json::Value;
use sorft::model::remote::endpoint::Endpoint;
use sorft::model::remote::{RemoteEngine, RemoteOptions};
use sorft::model::{Completion, Event, Generate, Request, Sampling, Variety};
use sorft::prompt::{Message, Prompt, Role};
use sorft::run::memory::peak_memory_bytes;

use crate::eval::{Bench, script};
use crate::faulty::{ALL, Faulty, QUICK, Tally};

/// How many, where the environment does not say more.
fn wanted(default: usize) -> usize {
    let told = std::env::var_os("SORFT_LOAD").and_then(|text| text.to_str()?.parse().ok());
    told.unwrap_or(default)
}

fn figures(what: &str, n: usize, began: Instant, tally: &Tally) -> String {
    let mib = peak_memory_bytes().unwrap_or(0) >> 20;
    let children = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap().max_rss() >> 10;
    let seconds = began.elapsed().as_secs_f64();
    format!(
        "{n} {what}: {seconds:.1} s, {} requests, faults {:?}, peak of the test {mib} MiB, of sorft {children} MiB",
        tally.requests, tally.faults
    )
}

/// A text of 4 KiB that only this request gets; every fiftieth request never gets one.
fn complete(prompt: &str, sample: usize) -> Option<String> {
    let number: usize = prompt.trim_start_matches("request ").parse().unwrap();
    (!number.is_multiple_of(50)).then(|| format!("answer {number}.{sample} ").repeat(4096 / 16))
}

fn request(number: usize) -> Request {
    let content = format!("request {number}");
    let sampling = Sampling {
        n: 1 + number % 3,
        temperature: 0.8,
        top_p: 0.95,
        top_k: 20,
        min_p: 0.0,
        max_tokens: 1024,
        stop: Vec::new(),
        variety: Variety::Independent,
    };
    let prompt = Prompt { messages: vec![Message { role: Role::User, content }] };
    Request { prompt, sampling, grammar: None, seed: number as u64, stage: "" }
}

/// What became of a request, and how often it was tried again.
type Ended = (anyhow::Result<Vec<Completion>>, usize);

async fn ask(engine: &RemoteEngine, number: usize) -> Ended {
    let n_troubles = std::sync::atomic::AtomicUsize::new(0);
    let listen = |event: Event| {
        if let Event::Trouble { .. } = event {
            n_troubles.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    };
    let result = engine.generate(&request(number), &listen).await;
    (result, n_troubles.into_inner())
}

#[test]
fn requests_at_once_end_and_are_counted_once_where_a_fifth_fails() {
    let n = wanted(200);
    let server = Faulty::start(ALL, complete);
    let options = RemoteOptions {
        endpoints: vec![Endpoint::new(&server.url(), None).unwrap()],
        model: None,
        dialect: None,
        context_length: None,
        concurrency: 200,
        greeting_within: Duration::from_secs(10),
        stall: Duration::from_millis(1500),
        retries: 4,
        retry_wait: Duration::from_millis(5),
    };
    let began = Instant::now();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (mut n_ok, mut n_failed, mut n_completions, mut n_troubles) = (0, 0, 0, 0);
    let (mut prompt_tokens, mut completion_tokens) = (0, 0);
    runtime.block_on(async {
        let engine = RemoteEngine::connect(options).await.unwrap();
        let one = |number| {
            let engine = &engine;
            async move { (number, ask(engine, number).await) }
        };
        use futures_util::StreamExt;
        let mut ended = futures_util::stream::iter((0..n).map(one)).buffer_unordered(200);
        while let Some((number, (result, troubles))) = ended.next().await {
            n_troubles += troubles;
            match result {
                Ok(completions) => {
                    n_ok += 1;
                    assert_eq!(completions.len(), 1 + number % 3);
                    for (sample, completion) in completions.iter().enumerate() {
                        let wanted = complete(&format!("request {number}"), sample).unwrap();
                        assert_eq!(completion.text(), wanted, "of another request");
                        completion_tokens += completion.usage.completion_tokens;
                        prompt_tokens +=
                            completion.usage.prompt_tokens - completion.usage.cached_tokens;
                    }
                    n_completions += completions.len();
                }
                Err(error) => {
                    n_failed += 1;
                    let message = format!("{error:#}");
                    assert!(message.contains(&server.url()), "{message}");
                    assert!(message.contains("hint: tried 5 times"), "{message}");
                }
            }
        }
    });
    let tally = server.tally();
    println!("{}", figures("requests", n, began, &tally));
    assert_eq!(n_ok + n_failed, n, "every request ends");
    // One in fifty never gets an answer, and five faults in a row are rare.
    let doomed = n.div_ceil(50);
    assert!(doomed <= n_failed && n_failed <= doomed + n / 100 + 1, "{n_failed} of {n} failed");
    assert_eq!(n_completions, tally.completions);
    assert_eq!((prompt_tokens, completion_tokens), (tally.prompt_tokens, tally.completion_tokens));
    let n_faults: usize = tally.faults.values().sum();
    assert_eq!(n_troubles, n_faults, "each failed try is told once");
    assert_eq!(n_ok + n_troubles, tally.requests, "no request is made behind our back");
    assert!(tally.requests / 8 < n_faults, "{n_faults} of {} are too few", tally.requests);
}

/// What the model of an evaluation says, by the heading that only that stage's prompt has.
#[expect(clippy::unnecessary_wraps, reason = "the server's signature")]
fn answer_stage(prompt: &str, _: usize) -> Option<String> {
    let script = script();
    let text = match prompt {
        _ if prompt.contains("Which of these files") => script.file,
        _ if prompt.contains("Which of these symbols") => script.function,
        _ if prompt.contains("Which lines") => script.line,
        _ => script.edits[0],
    };
    Some(text.to_owned())
}

#[test]
fn instances_end_and_are_counted_once_where_a_fifth_of_the_requests_fails() {
    let n = wanted(10);
    let bench = Bench::new();
    let records: Vec<Value> = (0..n).map(|at| bench.record(&format!("me__demo-{at}"))).collect();
    bench.write_records(&records);
    let server = Faulty::start(QUICK, answer_stage);
    let began = Instant::now();
    let url = server.url();
    let output = bench.sorft(&Bench::run_arguments(&url, "out", &["--jobs", "200"]));
    assert!(
        matches!(output.status.code(), Some(0 | 1)),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let tally = server.tally();
    println!("{}", figures("instances", n, began, &tally));
    let rows = |name: &str| -> Vec<Value> {
        let text = fs::read_to_string(bench.path("out").join(name)).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    // Each instance once: with a prediction, or among the failures with its reason.
    let metrics = bench.metrics("out");
    let failed = metrics["failed"].as_array().unwrap().len();
    let predicted: BTreeMap<String, usize> =
        rows("predictions.jsonl").iter().fold(BTreeMap::new(), |mut counts, row| {
            *counts.entry(row["instance_id"].as_str().unwrap().to_owned()).or_default() += 1;
            counts
        });
    assert!(predicted.values().all(|count| *count == 1), "{predicted:?}");
    assert_eq!(predicted.len() + failed, n, "{metrics:#}");
    // A failed instance may have had calls that ended; nobody else's are in the records.
    let calls = rows("trajectory.jsonl");
    let sum = |name: &str, calls: &mut dyn Iterator<Item = &Value>| -> usize {
        calls.map(|call| call["usage"][name].as_u64().unwrap() as usize).sum()
    };
    assert_eq!(calls.len(), tally.completions);
    assert_eq!(sum("completion_tokens", &mut calls.iter()), tally.completion_tokens);
    let mut asked = calls.iter().filter(|call| call["prompt"].is_object());
    assert_eq!(sum("prompt_tokens", &mut asked), tally.prompt_tokens);
}
