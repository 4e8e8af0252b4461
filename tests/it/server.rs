//! A server that speaks the OpenAI protocol and answers each stage with a fixed text.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

/// What the model says, by the heading that only that stage's prompt has.
#[derive(Clone)]
pub(crate) struct Script {
    pub(crate) file: &'static str,
    pub(crate) function: &'static str,
    pub(crate) line: &'static str,
    /// Completions of the edit stage, in turn; none: the server fails there.
    pub(crate) edits: Vec<&'static str>,
    /// Reproduction tests, in turn.
    pub(crate) tests: Vec<&'static str>,
}

/// A running server; it ends with the value.
pub(crate) struct Server {
    runtime: tokio::runtime::Runtime,
    mock: MockServer,
    calls: Arc<AtomicUsize>,
}

struct Answer {
    script: Script,
    calls: Arc<AtomicUsize>,
    edits: AtomicUsize,
    tests: AtomicUsize,
    /// Completions that are given; whoever asks for more waits.
    limit: usize,
}

const FOR_EVER: Duration = Duration::from_secs(100_000);

impl Server {
    pub(crate) fn start(script: Script) -> Self {
        Self::start_stalling(script, usize::MAX)
    }

    /// A server that gives so many completions, and never answers after that.
    pub(crate) fn start_stalling(script: Script, limit: usize) -> Self {
        Self::start_with(|calls| Answer {
            script,
            calls,
            edits: AtomicUsize::new(0),
            tests: AtomicUsize::new(0),
            limit,
        })
    }

    /// A server that takes requests and never answers.
    pub(crate) fn start_silent() -> Self {
        Self::start_with(|_| ResponseTemplate::new(200).set_delay(FOR_EVER))
    }

    fn start_with<R: Respond + 'static>(answer: impl FnOnce(Arc<AtomicUsize>) -> R) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let calls = Arc::new(AtomicUsize::new(0));
        let answer = answer(Arc::clone(&calls));
        let server = runtime.block_on(async {
            let server = MockServer::start().await;
            let models = json!({ "object": "list", "data": [{ "id": "tiny", "object": "model" }] });
            Mock::given(method("GET"))
                .and(path("/v1/models"))
                .respond_with(ResponseTemplate::new(200).set_body_json(models))
                .mount(&server)
                .await;
            Mock::given(method("POST"))
                .and(path("/v1/chat/completions"))
                .respond_with(answer)
                .mount(&server)
                .await;
            server
        });
        Self { runtime, mock: server, calls }
    }

    /// GitHub's API, which knows one issue.
    pub(crate) fn with_issue(self, at: &str, title: &str, body: &str) -> Self {
        let issue = json!({ "title": title, "body": body });
        let mock = Mock::given(method("GET"))
            .and(path(at))
            .respond_with(ResponseTemplate::new(200).set_body_json(issue));
        self.runtime.block_on(mock.mount(&self.mock));
        self
    }

    pub(crate) fn url(&self) -> String {
        self.mock.uri()
    }

    /// The keys that came with requests, `None` for those without.
    pub(crate) fn keys(&self) -> Vec<Option<String>> {
        let requests = self.runtime.block_on(self.mock.received_requests()).unwrap_or_default();
        let key = |request: &Request| {
            let value = request.headers.get("authorization")?;
            value.to_str().ok().map(ToOwned::to_owned)
        };
        requests.iter().map(key).collect()
    }

    /// Completions asked for so far.
    pub(crate) fn n_calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// All prompts so far, one text.
    pub(crate) fn prompts(&self) -> String {
        let requests = self.runtime.block_on(self.mock.received_requests()).unwrap_or_default();
        requests.iter().map(|request| String::from_utf8_lossy(&request.body).into_owned()).collect()
    }
}

impl Respond for Answer {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let prompt = body["messages"].as_array().unwrap().last().unwrap()["content"].to_string();
        let n = body["n"].as_u64().unwrap_or(1) as usize;
        if self.limit <= self.calls.load(Ordering::SeqCst) {
            self.calls.fetch_add(n, Ordering::SeqCst);
            return ResponseTemplate::new(200).set_delay(FOR_EVER);
        }
        let texts: Vec<&str> = if prompt.contains("Which of these files") {
            vec![self.script.file; n]
        } else if prompt.contains("Which of these symbols") {
            vec![self.script.function; n]
        } else if prompt.contains("Which lines") {
            vec![self.script.line; n]
        } else if prompt.contains("Write a new test file") {
            let next = || self.tests.fetch_add(1, Ordering::SeqCst) % self.script.tests.len();
            (0..n).map(|_| self.script.tests[next()]).collect()
        } else if self.script.edits.is_empty() {
            return ResponseTemplate::new(400).set_body_string("out of order");
        } else {
            let next = || self.edits.fetch_add(1, Ordering::SeqCst) % self.script.edits.len();
            (0..n).map(|_| self.script.edits[next()]).collect()
        };
        self.calls.fetch_add(n, Ordering::SeqCst);
        let choice = |(index, text): (usize, &&str)| {
            json!({
                "index": index,
                "message": { "role": "assistant", "content": text },
                "finish_reason": "stop",
            })
        };
        ResponseTemplate::new(200).set_body_json(json!({
            "id": "1",
            "object": "chat.completion",
            "model": "tiny",
            "choices": texts.iter().enumerate().map(choice).collect::<Vec<_>>(),
            "usage": { "prompt_tokens": 100, "completion_tokens": 20 * n, "total_tokens": 100 + 20 * n },
        }))
    }
}
