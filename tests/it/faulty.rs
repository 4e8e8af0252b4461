//! A server that speaks the OpenAI protocol, and fails every fifth request in one of many ways.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

/// What goes wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// The connection is closed without a word.
    Dropped,
    /// The connection is closed in the middle of a JSON value.
    HalfBody,
    Overloaded,
    TooManyRequests,
    BrokenJson,
    /// An event of the stream is no JSON.
    BrokenEvent,
    /// The stream ends before the completion does.
    EndsEarly,
    /// The connection is closed in the middle of the stream.
    BreaksOff,
    /// The stream begins, and then nothing comes.
    Stalls,
}

/// Every fault; only the last takes as long as the client's patience.
pub(crate) const ALL: &[Fault] = &[
    Fault::Dropped,
    Fault::HalfBody,
    Fault::Overloaded,
    Fault::TooManyRequests,
    Fault::BrokenJson,
    Fault::BrokenEvent,
    Fault::EndsEarly,
    Fault::BreaksOff,
    Fault::Stalls,
];

/// Faults that are over at once.
pub(crate) const QUICK: &[Fault] = ALL.split_at(ALL.len() - 1).0;

/// What a server did so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    pub(crate) requests: usize,
    /// Completions that were given whole, and their tokens.
    pub(crate) completions: usize,
    pub(crate) prompt_tokens: usize,
    pub(crate) completion_tokens: usize,
    pub(crate) faults: BTreeMap<Fault, usize>,
    /// How often each request came.
    attempts: BTreeMap<u64, u64>,
}

/// A completion of a prompt, or `None` where the request is to fail whenever it comes.
type Complete = fn(prompt: &str, sample: usize) -> Option<String>;

/// A running server; it ends with the value.
pub(crate) struct Faulty {
    address: SocketAddr,
    tally: Arc<Mutex<Tally>>,
    _runtime: Runtime,
}

/// What every connection needs to know.
#[derive(Clone)]
struct Role {
    complete: Complete,
    faults: &'static [Fault],
    tally: Arc<Mutex<Tally>>,
}

impl Faulty {
    pub(crate) fn start(faults: &'static [Fault], complete: Complete) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let tally = Arc::new(Mutex::new(Tally::default()));
        let role = Role { complete, faults, tally: Arc::clone(&tally) };
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let role = role.clone();
                // A client that is gone is no concern of the server's.
                tokio::spawn(async move { role.serve(stream).await.unwrap_or_default() });
            }
        });
        Self { address, tally, _runtime: runtime }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn tally(&self) -> Tally {
        self.tally.lock().unwrap().clone()
    }
}

impl Role {
    async fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        while let Some((head, body)) = read_request(&mut stream).await? {
            if head.starts_with("GET /v1/models ") {
                let models = json!({ "data": [{ "id": "tiny", "max_model_len": 32_768 }] });
                write_whole(&mut stream, "200 OK", "", &models.to_string()).await?;
            } else if head.starts_with("POST /v1/chat/completions ") {
                if !self.answer(&mut stream, &body).await? {
                    return Ok(());
                }
            } else {
                write_whole(&mut stream, "404 Not Found", "", "{}").await?;
            }
        }
        Ok(())
    }

    /// Answers or fails a request; tells whether the connection goes on.
    async fn answer(&self, stream: &mut TcpStream, body: &[u8]) -> io::Result<bool> {
        let body: Value = serde_json::from_slice(body).unwrap();
        let prompt = body["messages"].as_array().unwrap().last().unwrap()["content"].as_str();
        let prompt = prompt.unwrap();
        let n = body["n"].as_u64().unwrap_or(1) as usize;
        let (chance, fault) = self.draw(prompt, n, &body["seed"]);
        let texts: Option<Vec<String>> =
            (0..n).map(|sample| (self.complete)(prompt, sample)).collect();
        let Some(texts) = texts.filter(|_| fault.is_none()) else {
            let fault = fault.unwrap_or(self.faults[chance as usize % self.faults.len()]);
            *self.tally.lock().unwrap().faults.entry(fault).or_default() += 1;
            return fail(stream, fault).await;
        };
        let usage =
            json!({ "prompt_tokens": 50, "completion_tokens": 7 * n + chance as usize % 5 });
        if chance.is_multiple_of(7) {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        // Counted before it is sent: the client may look as soon as it has it.
        self.count(n, &usage);
        if chance.is_multiple_of(2) {
            let choice = |(index, text): (usize, &String)| json!({ "index": index, "message": { "content": text }, "finish_reason": "stop" });
            let choices: Vec<Value> = texts.iter().enumerate().map(choice).collect();
            let body = json!({ "choices": choices, "usage": usage }).to_string();
            write_whole(stream, "200 OK", "", &body).await?;
            return Ok(true);
        }
        begin_stream(stream).await?;
        for (index, text) in texts.iter().enumerate() {
            for piece in text.chars().collect::<Vec<_>>().chunks(9) {
                let piece: String = piece.iter().collect();
                write_event(
                    stream,
                    &json!({ "choices": [{ "index": index, "delta": { "content": piece } }] }),
                )
                .await?;
            }
            let end =
                json!({ "choices": [{ "index": index, "delta": {}, "finish_reason": "stop" }] });
            write_event(stream, &end).await?;
        }
        write_event(stream, &json!({ "choices": [], "usage": usage })).await?;
        write_chunk(stream, "data: [DONE]\n\n").await?;
        write_chunk(stream, "").await?;
        Ok(true)
    }

    fn count(&self, n: usize, usage: &Value) {
        let mut tally = self.tally.lock().unwrap();
        tally.completions += n;
        tally.prompt_tokens += usage["prompt_tokens"].as_u64().unwrap() as usize;
        tally.completion_tokens += usage["completion_tokens"].as_u64().unwrap() as usize;
    }

    /// A number that depends on the request and how often it came before, and nothing else, and
    /// the fault of every fifth.
    fn draw(&self, prompt: &str, n: usize, seed: &Value) -> (u64, Option<Fault>) {
        let hash = |what: &dyn Fn(&mut DefaultHasher)| {
            let mut hasher = DefaultHasher::new();
            what(&mut hasher);
            hasher.finish()
        };
        let key = hash(&|hasher| (prompt, n, seed.to_string()).hash(hasher));
        let mut tally = self.tally.lock().unwrap();
        tally.requests += 1;
        let attempt = tally.attempts.entry(key).or_default();
        *attempt += 1;
        let chance = hash(&|hasher| (key, *attempt).hash(hasher));
        drop(tally);
        let fault = self.faults[(chance / 5) as usize % self.faults.len()];
        (chance / 64, chance.is_multiple_of(5).then_some(fault))
    }
}

async fn fail(stream: &mut TcpStream, fault: Fault) -> io::Result<bool> {
    let begun = json!({ "choices": [{ "index": 0, "delta": { "content": "```\nhalf a" } }] });
    match fault {
        Fault::Dropped => return Ok(false),
        Fault::HalfBody => {
            let head =
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 900\r\n\r\n";
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(b"{\"choices\": [{\"index\": 0, ").await?;
            return Ok(false);
        }
        Fault::Overloaded => write_whole(stream, "500 Internal Server Error", "", "busy").await?,
        Fault::TooManyRequests => {
            write_whole(stream, "429 Too Many Requests", "retry-after: 0.05\r\n", "{}").await?;
        }
        Fault::BrokenJson => write_whole(stream, "200 OK", "", "{\"choices\": [{]").await?,
        Fault::BrokenEvent => {
            begin_stream(stream).await?;
            write_event(stream, &begun).await?;
            write_chunk(stream, "data: {\"choices\": [{\"ind\u{fffd}\n\n").await?;
            write_chunk(stream, "").await?;
        }
        Fault::EndsEarly => {
            begin_stream(stream).await?;
            write_event(stream, &begun).await?;
            write_chunk(stream, "").await?;
        }
        Fault::BreaksOff => {
            begin_stream(stream).await?;
            write_event(stream, &begun).await?;
            return Ok(false);
        }
        Fault::Stalls => {
            begin_stream(stream).await?;
            write_event(stream, &begun).await?;
            // Until the client has had enough.
            stream.read_u8().await?;
            return Ok(false);
        }
    }
    Ok(true)
}

/// Head and body of a request; `None` where the client has closed the connection.
async fn read_request(stream: &mut TcpStream) -> io::Result<Option<(String, Vec<u8>)>> {
    let mut bytes = Vec::new();
    let head_len = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&bytes[..head_len]).into_owned();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let mut body = bytes.split_off(head_len);
    while body.len() < length.unwrap_or(0) {
        if stream.read_buf(&mut body).await? == 0 {
            return Ok(None);
        }
    }
    Ok(Some((head, body)))
}

async fn write_whole(
    stream: &mut TcpStream,
    status: &str,
    header: &str,
    body: &str,
) -> io::Result<()> {
    let length = body.len();
    let text = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{header}content-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(text.as_bytes()).await
}

async fn begin_stream(stream: &mut TcpStream) -> io::Result<()> {
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await
}

async fn write_event(stream: &mut TcpStream, event: &Value) -> io::Result<()> {
    write_chunk(stream, &format!("data: {event}\n\n")).await
}

async fn write_chunk(stream: &mut TcpStream, text: &str) -> io::Result<()> {
    stream.write_all(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes()).await
}
