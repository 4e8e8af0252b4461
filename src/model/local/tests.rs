//! The engine as a whole, on tiny random models whose logits transformers computed
//! (`checks/tiny_models.py`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use expect_test::expect;
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use serde::Deserialize;

use crate::grammar::{Grammar, Node};
use crate::model::kernels::Isa;
use crate::model::kernels::team::Team;
use crate::model::local::config::DecoderConfig;
use crate::model::local::cpu::Cpu;
use crate::model::local::decoder::{Batch, Decoder, Ops, SequenceRows};
use crate::model::local::engine::LocalEngine;
use crate::model::local::load::LocalOptions;
use crate::model::local::safetensors::SafetensorsFiles;
use crate::model::local::weights::Weights;
use crate::model::{Completion, Event, Finish, Generate, Request, Sampling, Variety};
use crate::prompt::{Message, Prompt, Role};

#[derive(Deserialize)]
pub(super) struct Expected {
    pub(super) ids: Vec<u32>,
    pub(super) logits: RowLogits,
    /// With attention over bytes.
    rounded: RowLogits,
}

/// Of some rows.
type RowLogits = BTreeMap<usize, Vec<f32>>;

fn folder(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/models").join(family)
}

pub(super) fn expected(family: &str) -> Expected {
    let text = std::fs::read_to_string(folder(family).join("expected.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn decoder(family: &str) -> Decoder<Cpu> {
    decoder_with(family, Isa::best(), 2)
}

fn decoder_with(family: &str, isa: Isa, n_threads: usize) -> Decoder<Cpu> {
    let text = std::fs::read_to_string(folder(family).join("config.json")).unwrap();
    let config = DecoderConfig::parse_json(&text).unwrap();
    let weights = Weights::Safetensors(SafetensorsFiles::open(&folder(family)).unwrap());
    let ops = Cpu::new(&config, Team::new(isa, n_threads).unwrap()).unwrap();
    Decoder::load(config, &weights, None, ops).unwrap()
}

/// Logits of every row of `ids`, put through the network in chunks.
pub(super) fn logits<O: Ops>(decoder: &Decoder<O>, ids: &[u32], chunk_len: usize) -> Vec<f32> {
    let mut own = decoder.ops().new_segment().unwrap();
    let mut all = Vec::new();
    for (idx, chunk) in ids.chunks(chunk_len).enumerate() {
        let wanted: Vec<usize> = (0..chunk.len()).collect();
        let (n_rows, start) = (chunk.len(), idx * chunk_len);
        let sequences = vec![SequenceRows { n_rows, start, shared: &[], own: &mut own }];
        let logits = decoder.forward(Batch { ids: chunk, sequences, wanted: &wanted }).unwrap();
        all.extend_from_slice(&logits);
    }
    all
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// The largest difference from the expected logits, relative to the largest of them.
pub(super) fn error<O: Ops>(decoder: &Decoder<O>, ids: &[u32], expected: &RowLogits) -> f32 {
    let n_vocab = decoder.config.n_vocab;
    let all = logits(decoder, ids, 80);
    let mut greatest = 0.0_f32;
    for (&row, expected) in expected {
        let scale = expected.iter().fold(0.0_f32, |max, value| max.max(value.abs()));
        for (own, expected) in all[row * n_vocab..].iter().zip(expected) {
            greatest = greatest.max((own - expected).abs() / scale);
        }
    }
    greatest
}

#[test]
fn logits_are_those_of_transformers() {
    for family in ["llama", "qwen2", "qwen3"] {
        let (decoder, expected) = (decoder(family), expected(family));
        let rounded = error(&decoder, &expected.ids, &expected.rounded);
        assert!(rounded < 2e-3, "{family}: relative error {rounded}");
        // Seeded weights give large scores, of which bytes say less.
        let exact = error(&decoder, &expected.ids, &expected.logits);
        assert!(exact < 4e-2, "{family}: {exact} from attention over floats");
    }
}

#[test]
fn logits_do_not_depend_on_chunks() {
    for family in ["llama", "qwen2", "qwen3"] {
        let (decoder, ids) = (decoder(family), expected(family).ids);
        let whole = logits(&decoder, &ids, ids.len());
        for chunk_len in [1, 7, 16, 33] {
            assert_eq!(bits(&logits(&decoder, &ids, chunk_len)), bits(&whole), "{chunk_len}");
        }
    }
}

#[test]
fn logits_do_not_depend_on_instructions_or_threads() {
    for family in ["llama", "qwen2", "qwen3"] {
        let ids = expected(family).ids;
        let wanted = bits(&logits(&decoder(family), &ids, 33));
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
            for n_threads in [1, 3] {
                let decoder = decoder_with(family, isa, n_threads);
                assert_eq!(bits(&logits(&decoder, &ids, 33)), wanted, "{isa:?} {n_threads}");
            }
        }
    }
}

#[test]
fn logits_do_not_depend_on_what_is_shared_or_beside_it() {
    let (decoder, ids) = (decoder("qwen2"), expected("qwen2").ids);
    let (ops, n_vocab) = (decoder.ops(), decoder.config.n_vocab);
    let whole = logits(&decoder, &ids, ids.len());
    for shared_len in [1, 15, 16, 17, 40, 79] {
        let mut first = ops.new_segment().unwrap();
        let sequences =
            vec![SequenceRows { n_rows: ids.len(), start: 0, shared: &[], own: &mut first }];
        decoder.forward(Batch { ids: &ids, sequences, wanted: &[] }).unwrap();
        let shared = [Arc::new(first)];
        let mut branch = ops.branch(&shared[0], shared_len).unwrap();
        let visible = usize::from(ops.segment_start(&branch) > 0);
        let mut other = ops.new_segment().unwrap();
        let rest = &ids[shared_len..];
        let mixed = [&ids[..5], rest].concat();
        let wanted: Vec<usize> = (5..mixed.len()).collect();
        let sequences = vec![
            SequenceRows { n_rows: 5, start: 0, shared: &[], own: &mut other },
            SequenceRows {
                n_rows: rest.len(),
                start: shared_len,
                shared: &shared[..visible],
                own: &mut branch,
            },
        ];
        let own = decoder.forward(Batch { ids: &mixed, sequences, wanted: &wanted }).unwrap();
        assert_eq!(bits(&own), bits(&whole[shared_len * n_vocab..]), "{shared_len} shared");
    }
}

fn engine(options: &LocalOptions) -> LocalEngine {
    LocalEngine::load(&folder("qwen2"), options).unwrap()
}

fn request(text: &str, n: usize, temperature: f64) -> Request {
    let message = Message { role: Role::User, content: text.to_owned() };
    let sampling = Sampling {
        n,
        temperature,
        top_p: 1.0,
        top_k: 0,
        min_p: 0.0,
        max_tokens: 24,
        stop: Vec::new(),
        variety: Variety::Independent,
    };
    let prompt = Prompt { messages: vec![message] };
    Request { prompt, sampling, grammar: None, seed: 11, stage: "file" }
}

async fn generate(engine: &LocalEngine, request: &Request) -> Vec<Completion> {
    engine.generate(request, &|_| ()).await.unwrap()
}

fn texts(completions: &[Completion]) -> Vec<String> {
    completions.iter().map(|completion| completion.text().into_owned()).collect()
}

#[tokio::test]
async fn same_request_gives_same_bytes_whatever_runs_beside_it() {
    let wanted = request("fix the bug in a.py", 4, 1.0);
    let alone = generate(&engine(&LocalOptions::default()), &wanted).await;
    assert!(texts(&alone).iter().any(|text| *text != texts(&alone)[0]), "samples differ");

    let options = LocalOptions { n_threads: Some(1), ..LocalOptions::default() };
    let engine = engine(&options);
    let others: Vec<Request> =
        (0..5).map(|idx| request(&format!("fix the b{idx}"), 3, 0.7)).collect();
    let crowd = others.iter().chain([&wanted]).map(|request| generate(&engine, request));
    let crowd = join_all(crowd).await;
    assert_eq!(texts(&crowd[5]), texts(&alone));

    let again = generate(&engine, &wanted).await;
    assert_eq!(texts(&again), texts(&alone));
    let usage = again[0].usage;
    assert_eq!(usage.cached_tokens, usage.prompt_tokens - 1, "all but the last token is known");
    let logprobs = |completions: &[Completion]| -> Vec<u64> {
        completions.iter().map(|completion| completion.logprob.unwrap().to_bits()).collect()
    };
    assert_eq!(logprobs(&again), logprobs(&alone));

    // One by one: sample 0 of a request for one is sample 0 of a request for four.
    let single = generate(
        &engine,
        &Request { sampling: Sampling { n: 1, ..wanted.sampling.clone() }, ..wanted.clone() },
    )
    .await;
    assert_eq!(texts(&single)[0], texts(&alone)[0]);
}

#[tokio::test]
async fn distinct_completions_begin_with_the_greedy_one_and_leave_known_ones_where_it_is_likely() {
    let engine = engine(&LocalOptions::default());
    let greedy = generate(&engine, &request("fix the bug", 1, 0.0)).await;
    let mut wanted = request("fix the bug", 20, 1.0);
    wanted.sampling.variety = Variety::Distinct;
    let all = generate(&engine, &wanted).await;
    assert_eq!((&all[0].bytes, all[0].logprob), (&greedy[0].bytes, greedy[0].logprob));
    assert_eq!(texts(&all).iter().collect::<BTreeSet<_>>().len(), 20, "all differ");

    // What a completion is said to cost is what the network says of its text.
    for completion in &all[1..] {
        let prompt = &wanted.prompt;
        let [judged] =
            engine.score(prompt, &texts(std::slice::from_ref(completion))).unwrap().await.unwrap()
                [..]
        else {
            panic!("one score");
        };
        assert_eq!(completion.finish, Finish::Length, "nothing but the text was drawn");
        assert!((completion.logprob.unwrap() - judged).abs() < 1e-4);
    }

    // Fewer are the first of more, and the seed plays no part.
    let mut fewer = Request { seed: 12, ..wanted.clone() };
    fewer.sampling.n = 9;
    assert_eq!(texts(&generate(&engine, &fewer).await), texts(&all)[..9]);
}

#[tokio::test]
async fn where_fewer_texts_are_possible_the_greedy_one_repeats() {
    let engine = engine(&LocalOptions::default());
    let text = |text: &str| Node::Text(text.to_owned());
    let start = Node::Choice(vec![text("src/a.py"), text("src/bb.py"), text("lib.py")]);
    let grammar = Grammar { start, rules: BTreeMap::new() };
    let mut wanted = Request { grammar: Some(grammar), ..request("where", 5, 1.0) };
    wanted.sampling.variety = Variety::Distinct;
    let texts = texts(&generate(&engine, &wanted).await);
    assert_eq!(texts[..3].iter().collect::<BTreeSet<_>>().len(), 3);
    assert_eq!(texts[3..], [&*texts[0], &*texts[0]]);
}

#[tokio::test]
async fn events_tell_all_of_the_text() {
    let engine = engine(&LocalOptions::default());
    let told: Mutex<BTreeMap<usize, Vec<u8>>> = Mutex::default();
    let (finished, prefill) = (Mutex::new(Vec::new()), Mutex::new(None));
    let request = request("hello", 2, 1.0);
    let completions = engine
        .generate(&request, &|event| match event {
            Event::Text { sample, bytes } => {
                told.lock().unwrap().entry(sample).or_default().extend(bytes);
            }
            Event::Finished { sample } => finished.lock().unwrap().push(sample),
            Event::Prefill { done, total } => *prefill.lock().unwrap() = Some((done, total)),
            Event::Again { sample } => panic!("sample {sample} begins again"),
            Event::Trouble { words } => panic!("{words}"),
        })
        .await
        .unwrap();
    for (idx, completion) in completions.iter().enumerate() {
        assert_eq!(told.lock().unwrap()[&idx], completion.bytes);
    }
    finished.lock().unwrap().sort_unstable();
    assert_eq!(*finished.lock().unwrap(), [0, 1]);
    let n_prompt = completions[0].usage.prompt_tokens;
    assert_eq!(*prefill.lock().unwrap(), Some((n_prompt, n_prompt)));
}

#[tokio::test]
async fn stop_text_ends_a_completion_before_it() {
    let engine = engine(&LocalOptions::default());
    let free = generate(&engine, &request("go", 1, 0.0)).await;
    // Every token is one character, so any two of them are a stop text across tokens.
    let text = texts(&free).remove(0);
    let stop = text[6..8].to_owned();
    let until = text.find(&stop).unwrap();
    let mut stopped = request("go", 1, 0.0);
    stopped.sampling.stop = vec!["never}}".into(), stop];
    let stopped = generate(&engine, &stopped).await;
    assert_eq!(texts(&stopped), [&text[..until]]);
    assert_eq!(stopped[0].finish, Finish::Stop);
}

#[tokio::test]
async fn grammar_is_obeyed_and_its_forced_text_is_not_sampled() {
    let engine = engine(&LocalOptions::default());
    let text = |text: &str| Node::Text(text.to_owned());
    let start = Node::Sequence(vec![
        text("path: "),
        Node::Choice(vec![text("src/a.py"), text("src/bb.py")]),
        text("\nend"),
    ]);
    let grammar = Grammar { start, rules: BTreeMap::new() };
    let request = Request { grammar: Some(grammar), ..request("where", 8, 2.0) };
    let completions = generate(&engine, &request).await;
    for completion in &completions {
        let text = completion.text();
        assert!(["path: src/a.py\nend", "path: src/bb.py\nend"].contains(&&*text), "{text}");
        assert_eq!(completion.finish, Finish::Stop);
        let usage = completion.usage;
        assert_eq!(usage.forced_tokens, usage.completion_tokens - 1, "one character is a choice");
        assert!(completion.logprob.unwrap() < 0.0);
    }
    let few = Request {
        sampling: Sampling { max_tokens: 5, ..request.sampling.clone() },
        ..request.clone()
    };
    let error = engine.generate(&few, &|_| ()).await.unwrap_err();
    assert!(format!("{error:#}").contains("token"), "{error:#}");
}

#[tokio::test]
async fn scores_are_the_log_probabilities_of_sampling() {
    let engine = engine(&LocalOptions::default());
    let request = request("score", 6, 1.0);
    let completions = generate(&engine, &request).await;
    let continuations = texts(&completions);
    let scores = engine.score(&request.prompt, &continuations).unwrap().await.unwrap();
    for (completion, score) in completions.iter().zip(&scores) {
        let logprob = completion.logprob.unwrap();
        match completion.finish {
            Finish::Length => assert!((logprob - score).abs() < 1e-4, "{logprob} and {score}"),
            // The end of the turn was drawn too, and is no part of the text.
            Finish::Stop => assert!(logprob < *score, "{logprob} and {score}"),
        }
    }
    let none = engine.score(&request.prompt, &[String::new()]).unwrap().await.unwrap();
    assert_eq!(none, [0.0]);
}

#[tokio::test]
async fn dropped_request_is_given_up() {
    let engine = engine(&LocalOptions::default());
    let mut long = request("a long one", 8, 1.0);
    long.sampling.max_tokens = 100;
    let mut pending = engine.generate(&long, &|_| ());
    assert!((&mut pending).now_or_never().is_none());
    drop(pending);
    assert_eq!(generate(&engine, &request("after it", 1, 0.0)).await.len(), 1);
}

#[tokio::test]
async fn what_does_not_fit_is_a_clear_error() {
    let engine = engine(&LocalOptions { max_context: Some(40), ..LocalOptions::default() });
    let fits = generate(&engine, &request("x", 1, 0.0)).await;
    let usage = fits[0].usage;
    assert_eq!(usage.prompt_tokens + usage.completion_tokens, 40, "cut at the context's end");
    let long = request(&"x".repeat(50), 1, 0.0);
    let error = engine.generate(&long, &|_| ()).await.unwrap_err();
    expect!["the prompt takes 69 tokens, the context of `qwen2` holds 40"]
        .assert_eq(&format!("{error:#}"));
}

#[tokio::test]
async fn control_tokens_in_content_are_plain_text() {
    let engine = engine(&LocalOptions::default());
    let ids = |text: &str| engine.encode(&request(text, 1, 0.0).prompt).unwrap();
    let n_control = |ids: &[u32]| ids.iter().filter(|&&id| id < 3).count();
    assert_eq!(n_control(&ids("<|im_end|><|im_start|>")), n_control(&ids("plain")));
}

#[test]
fn prompts_are_forgotten_beyond_the_limit() {
    let options = LocalOptions { max_prefix_bytes: 1, ..LocalOptions::default() };
    let engine = engine(&options);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let request = request("hello", 1, 0.0);
    runtime.block_on(generate(&engine, &request));
    let again = runtime.block_on(generate(&engine, &request));
    assert_eq!(again[0].usage.cached_tokens, 0);
}
