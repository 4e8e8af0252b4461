//! Servers that behave, and servers that do not.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wiremock::matchers::{body_partial_json, header, method, path};
use wiremock::{Mock, MockServer, Request as Received, ResponseTemplate};

use crate::grammar::{Grammar, Node};
use crate::model::remote::endpoint::{ApiKey, Dialect, Endpoint};
use crate::model::remote::{RemoteEngine, RemoteOptions};
use crate::model::{Completion, Event, Finish, Generate, Request, Sampling, Variety};
use crate::prompt::{Message, Prompt, Role};

const CHAT: &str = "/v1/chat/completions";

async fn server_of(owner: &str) -> MockServer {
    let server = MockServer::start().await;
    let listed = json!({ "data": [{ "id": "m", "owned_by": owner, "max_model_len": 4096 }] });
    Mock::given(path("/v1/models"))
        .respond_with(ResponseTemplate::new(200).set_body_json(listed))
        .mount(&server)
        .await;
    server
}

fn options(uris: &[String]) -> RemoteOptions {
    RemoteOptions {
        endpoints: uris.iter().map(|uri| Endpoint::new(uri, None).unwrap()).collect(),
        model: None,
        dialect: None,
        context_length: None,
        concurrency: 4,
        greeting_within: Duration::from_millis(500),
        stall: Duration::from_millis(700),
        retries: 3,
        retry_wait: Duration::from_millis(1),
    }
}

fn request(n: usize) -> Request {
    let message = Message { role: Role::User, content: "Which file?".to_owned() };
    let sampling = Sampling {
        n,
        temperature: 0.8,
        top_p: 0.95,
        top_k: 20,
        min_p: 0.0,
        max_tokens: 64,
        stop: vec![],
        variety: Variety::Independent,
    };
    let start =
        Node::Choice(vec![Node::Text("a.py\n".to_owned()), Node::Text("b.py\n".to_owned())]);
    let grammar = Some(Grammar { start, rules: BTreeMap::new() });
    Request { prompt: Prompt { messages: vec![message] }, sampling, grammar, seed: 7, stage: "" }
}

/// An event stream with one finished choice for each text.
fn stream(texts: &[&str]) -> ResponseTemplate {
    let mut body = String::new();
    for (index, text) in texts.iter().enumerate() {
        let grow = json!({ "choices": [{ "index": index, "delta": { "content": text } }] });
        let end = json!({ "choices": [{ "index": index, "delta": {}, "finish_reason": "stop" }] });
        body = format!("{body}data: {grow}\n\ndata: {end}\n\n");
    }
    body.push_str("data: [DONE]\n\n");
    ResponseTemplate::new(200).set_body_raw(body, "text/event-stream")
}

async fn answer(server: &MockServer, response: ResponseTemplate, times: u64, priority: u8) {
    let mut mock = Mock::given(method("POST")).and(path(CHAT)).respond_with(response);
    if 0 < times {
        mock = mock.up_to_n_times(times);
    }
    mock.with_priority(priority).mount(server).await;
}

async fn complete(options: RemoteOptions, n: usize) -> Result<Vec<Completion>, String> {
    let engine = RemoteEngine::connect(options).await.map_err(|err| format!("{err:#}"))?;
    engine.generate(&request(n), &|_| {}).await.map_err(|err| format!("{err:#}"))
}

fn texts(completions: &[Completion]) -> Vec<String> {
    completions.iter().map(|completion| completion.text().into_owned()).collect()
}

async fn bodies(server: &MockServer) -> Vec<Value> {
    let received: Vec<Received> = server.received_requests().await.unwrap();
    let chats = received.iter().filter(|request| request.url.path() == CHAT);
    chats.map(|request| serde_json::from_slice(&request.body).unwrap()).collect()
}

#[tokio::test]
async fn samples_stream_in_and_missing_usage_is_marked_as_estimated() {
    let server = server_of("vllm").await;
    answer(&server, stream(&["a.py\n", "b.py\n"]), 0, 5).await;
    let engine = RemoteEngine::connect(options(&[server.uri()])).await.unwrap();
    let seen = Mutex::new(Vec::new());
    let completions =
        engine.generate(&request(2), &|event| seen.lock().unwrap().push(event)).await.unwrap();
    assert_eq!(texts(&completions), ["a.py\n", "b.py\n"]);
    assert!(completions[0].usage.is_estimated && 0 < completions[0].usage.prompt_tokens);
    assert_eq!((engine.info().context_length, engine.dialect()), (4096, Dialect::Vllm));
    let text = Event::Text { sample: 1, bytes: b"b.py\n".to_vec() };
    assert!(seen.lock().unwrap().contains(&text));
}

#[tokio::test]
async fn a_server_that_ignores_n_is_asked_until_all_are_there() {
    let server = server_of("vllm").await;
    answer(&server, stream(&["a.py\n"]), 0, 5).await;
    let completions = complete(options(&[server.uri()]), 3).await.unwrap();
    assert_eq!(texts(&completions), ["a.py\n"; 3]);
    let seeds: Vec<Value> = bodies(&server).await.iter().map(|body| body["seed"].clone()).collect();
    let mut seeds: Vec<u64> = seeds.iter().filter_map(Value::as_u64).collect();
    seeds.sort_unstable();
    assert_eq!(seeds, [7, 8, 9]);
}

#[tokio::test]
async fn what_fails_for_a_moment_is_tried_again() {
    let half = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n";
    let rows = [
        ResponseTemplate::new(500).set_body_string("oops"),
        ResponseTemplate::new(503),
        ResponseTemplate::new(429).insert_header("retry-after", "0"),
        ResponseTemplate::new(200).set_body_raw(half, "text/event-stream"),
        stream(&["late"]).set_delay(Duration::from_secs(3)),
        stream(&[""]),
        ResponseTemplate::new(200)
            .set_body_raw("data: {\"error\":{\"message\":\"busy\"}}\n\n", "text/event-stream"),
        ResponseTemplate::new(200).set_body_raw("data: {\"choi\u{fffd}\n\n", "text/event-stream"),
        ResponseTemplate::new(200).set_body_raw("{\"choices\": [", "application/json"),
    ];
    for response in rows {
        let server = server_of("other").await;
        answer(&server, response.clone(), 1, 1).await;
        answer(&server, stream(&["a.py\n"]), 0, 5).await;
        let completions = complete(options(&[server.uri()]), 1).await;
        assert_eq!(texts(&completions.unwrap()), ["a.py\n"], "{response:?}");
    }
}

#[tokio::test]
async fn a_wait_that_the_server_names_is_kept() {
    let server = server_of("other").await;
    let busy = ResponseTemplate::new(429).insert_header("retry-after", "0.3");
    answer(&server, busy, 1, 1).await;
    answer(&server, stream(&["a.py\n"]), 0, 5).await;
    let started = Instant::now();
    complete(options(&[server.uri()]), 1).await.unwrap();
    assert!(Duration::from_millis(300) <= started.elapsed());
}

#[tokio::test]
async fn what_never_works_is_told_with_the_next_step() {
    let rows = [
        (ResponseTemplate::new(500).set_body_string("oops"), "tried 4 times"),
        (ResponseTemplate::new(401), "wants another key"),
        (
            ResponseTemplate::new(200).set_body_raw("<html>Sign in</html>", "text/html"),
            "wanted JSON, found `<html>Sign in</html>`",
        ),
        (
            ResponseTemplate::new(307).insert_header("location", "http://127.0.0.1:9/"),
            "sends us elsewhere",
        ),
        (ResponseTemplate::new(400).set_body_string("prompt is too long"), "prompt is too long"),
    ];
    for (response, wanted) in rows {
        let server = server_of("other").await;
        answer(&server, response, 0, 5).await;
        let message = complete(options(&[server.uri()]), 1).await.unwrap_err();
        assert!(message.contains(wanted), "wanted {wanted:?} in {message}");
        assert!(message.contains("hint:") || wanted == "prompt is too long", "{message}");
    }
}

#[tokio::test]
async fn an_empty_text_is_taken_when_it_stays_empty() {
    let server = server_of("other").await;
    answer(&server, stream(&[""]), 0, 5).await;
    let completions = complete(options(&[server.uri()]), 1).await.unwrap();
    assert_eq!(completions[0].bytes, b"");
    assert_eq!(completions[0].finish, Finish::Stop);
}

#[tokio::test]
async fn what_an_empty_answer_took_is_counted() {
    let tokens = async |n_empty| {
        let server = server_of("other").await;
        if 0 < n_empty {
            answer(&server, stream(&[""]), n_empty, 1).await;
        }
        answer(&server, stream(&["a.py\n"]), 0, 5).await;
        let completions = complete(options(&[server.uri()]), 1).await.unwrap();
        assert_eq!(completions[0].bytes, b"a.py\n");
        completions[0].usage.prompt_tokens
    };
    assert_eq!(tokens(2).await, 3 * tokens(0).await);
}

#[tokio::test]
async fn a_text_that_is_cut_off_is_void_once_it_is_tried_again() {
    let server = server_of("openai").await;
    let begun = json!({ "choices": [{ "index": 0, "delta": { "content": "x" } }] });
    let broken = ResponseTemplate::new(200);
    let broken = broken.set_body_raw(format!("data: {begun}\n\n"), "text/event-stream");
    answer(&server, broken, 1, 1).await;
    answer(&server, stream(&["a.py"]), 0, 2).await;
    let engine = RemoteEngine::connect(options(&[server.uri()])).await.unwrap();
    let heard = Mutex::new(Vec::new());
    let hear = |event| match event {
        Event::Text { bytes, .. } => heard.lock().unwrap().extend(bytes),
        Event::Again { sample: 0 } => heard.lock().unwrap().clear(),
        _ => {}
    };
    engine.generate(&request(1), &hear).await.unwrap();
    assert_eq!(heard.into_inner().unwrap(), b"a.py");
}

#[tokio::test]
async fn another_server_steps_in_for_one_that_fails() {
    let (broken, sound) = (server_of("other").await, server_of("other").await);
    answer(&broken, ResponseTemplate::new(500), 0, 5).await;
    answer(&sound, stream(&["a.py\n"]), 0, 5).await;
    let completions = complete(options(&[broken.uri(), sound.uri()]), 4).await.unwrap();
    assert_eq!(texts(&completions), ["a.py\n"; 4]);
}

#[tokio::test]
async fn a_refused_field_is_left_out() {
    let server = server_of("other").await;
    let refusal = json!({ "error": { "message": "'max_tokens' is not supported, use 'max_completion_tokens'" } });
    Mock::given(path(CHAT))
        .and(body_partial_json(json!({ "max_tokens": 64 })))
        .respond_with(ResponseTemplate::new(400).set_body_json(refusal))
        .with_priority(1)
        .mount(&server)
        .await;
    answer(&server, stream(&["a.py\n"]), 0, 5).await;
    let completions = complete(options(&[server.uri()]), 1).await.unwrap();
    assert_eq!(texts(&completions), ["a.py\n"]);
    assert_eq!(bodies(&server).await[1]["max_completion_tokens"], 64);
}

#[tokio::test]
async fn a_server_that_does_not_stream_is_read_too() {
    let server = server_of("other").await;
    let body = json!({
        "choices": [{ "index": 0, "message": { "content": "a.py\n" }, "finish_reason": "length" }],
        "usage": { "prompt_tokens": 11, "completion_tokens": 3 },
    });
    answer(&server, ResponseTemplate::new(200).set_body_json(body), 0, 5).await;
    let completions = complete(options(&[server.uri()]), 1).await.unwrap();
    assert_eq!(completions[0].finish, Finish::Length);
    assert_eq!(completions[0].usage.completion_tokens, 3);
    assert!(!completions[0].usage.is_estimated);
}

#[tokio::test]
async fn the_grammar_is_given_in_the_server_s_own_dialect() {
    for (owner, field, wanted) in [
        ("vllm", "structured_outputs", "start: \"a.py\\n\" | \"b.py\\n\""),
        ("me", "grammar", "root ::= \"a.py\\n\" | \"b.py\\n\""),
        ("other", "grammar", "null"),
    ] {
        let server = server_of(owner).await;
        answer(&server, stream(&["a.py\n"]), 0, 5).await;
        complete(options(&[server.uri()]), 1).await.unwrap();
        let sent = &bodies(&server).await[0][field];
        let text = sent["grammar"].as_str().or(sent.as_str()).unwrap_or("null");
        assert_eq!(text.trim_end(), wanted, "{owner}");
    }
}

#[tokio::test]
async fn the_key_goes_to_its_server_and_into_no_message() {
    let server = MockServer::start().await;
    Mock::given(header("authorization", "Bearer secret"))
        .respond_with(ResponseTemplate::new(404))
        .expect(1)
        .mount(&server)
        .await;
    let endpoint = Endpoint::new(&server.uri(), Some(ApiKey::new("secret"))).unwrap();
    let options = RemoteOptions { endpoints: vec![endpoint], ..options(&[]) };
    let message = complete(options, 1).await.unwrap_err();
    assert!(message.contains("404") && !message.contains("secret"), "{message}");
}

#[tokio::test]
async fn servers_that_are_down_are_all_named() {
    let uris = ["http://127.0.0.1:9".to_owned(), "http://127.0.0.1:10".to_owned()];
    let message = complete(options(&uris), 1).await.unwrap_err();
    for uri in uris {
        assert!(message.contains(&format!("`{uri}` is not reached")), "{message}");
    }
}

#[tokio::test]
async fn a_server_that_breaks_off_for_the_next_request_gets_one_at_a_time() {
    const DELAY: Duration = Duration::from_millis(40);
    let server = server_of("me").await;
    let received = Arc::new(Mutex::new(Vec::new()));
    let times = Arc::clone(&received);
    let respond = move |_: &Received| {
        times.lock().unwrap().push(Instant::now());
        stream(&["a.py"]).set_delay(DELAY)
    };
    Mock::given(method("POST")).and(path(CHAT)).respond_with(respond).mount(&server).await;
    assert_eq!(complete(options(&[server.uri()]), 4).await.unwrap().len(), 4);
    let received = received.lock().unwrap();
    assert!(received.windows(2).all(|pair| DELAY <= pair[1] - pair[0]), "{received:?}");
}

#[tokio::test]
async fn an_answer_without_end_is_cut_off() {
    let server = server_of("openai").await;
    let event = json!({ "choices": [{ "index": 0, "delta": { "content": "x".repeat(200) } }] });
    let body = format!("data: {event}\n\n").repeat(20_000);
    let body = ResponseTemplate::new(200).set_body_raw(body, "text/event-stream");
    answer(&server, body, 0, 1).await;
    let message = complete(options(&[server.uri()]), 1).await.unwrap_err();
    assert!(message.contains("goes on past"), "{message}");
    let server = server_of("openai").await;
    let body = ResponseTemplate::new(200).set_body_raw("[".repeat(8 << 20), "application/json");
    answer(&server, body, 0, 1).await;
    let message = complete(options(&[server.uri()]), 1).await.unwrap_err();
    assert!(message.contains("the answer is longer than"), "{message}");
}

#[tokio::test]
async fn what_is_tried_again_is_told() {
    let server = server_of("openai").await;
    answer(&server, ResponseTemplate::new(503), 2, 1).await;
    answer(&server, stream(&["a.py"]), 0, 2).await;
    let engine = RemoteEngine::connect(options(&[server.uri()])).await.unwrap();
    let told = Mutex::new(Vec::new());
    let hear = |event| {
        if let Event::Trouble { words } = event {
            told.lock().unwrap().push(words);
        }
    };
    engine.generate(&request(1), &hear).await.unwrap();
    let told = told.into_inner().unwrap();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("503") && told[0].contains("trying again"), "{told:?}");
}
