//! The network side of a reward server: HTTP/1.1, bounded in bytes, time and connections.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::train::reward::protocol::Reply;

/// Bytes that a request may have: some ten thousand completions with their prompts.
const MAX_BODY_BYTES: usize = 64 << 20;
/// How long a request may take to arrive.
const PATIENCE: Duration = Duration::from_secs(60);
/// Connections at once; others wait.
const MAX_CONNECTIONS: usize = 256;

/// Answers requests by method, path and body until it is dropped.
///
/// `answer` runs on threads that may block; where it panics, that request alone fails.
pub async fn serve<A>(listener: TcpListener, answer: Arc<A>) -> anyhow::Result<Infallible>
where
    A: Fn(&str, &str, &[u8]) -> Reply + Send + Sync + 'static,
{
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let place = Arc::clone(&places).acquire_owned().await.context("a place")?;
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // A client that went away, or too many open files: neither ends the server.
                tracing::warn!("accepting a connection: {error}");
                sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let answer = Arc::clone(&answer);
        tokio::spawn(async move {
            let service = service_fn(|request| respond(request, Arc::clone(&answer)));
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            if let Err(error) = served {
                tracing::debug!("a connection: {error}");
            }
            drop(place);
        });
    }
}

async fn respond<A>(
    request: Request<Incoming>,
    answer: Arc<A>,
) -> Result<Response<Full<Bytes>>, Infallible>
where
    A: Fn(&str, &str, &[u8]) -> Reply + Send + Sync + 'static,
{
    let (head, body) = request.into_parts();
    let reply = match timeout(PATIENCE, Limited::new(body, MAX_BODY_BYTES).collect()).await {
        Err(_) => Reply::error(408, "the request did not arrive within a minute"),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Reply::error(
            413,
            "the request has more than 64 MiB\nhint: ask for fewer completions at once",
        ),
        Ok(Err(error)) => Reply::error(400, &format!("the request did not arrive whole: {error}")),
        Ok(Ok(body)) => {
            let body = body.to_bytes();
            let work = move || answer(head.method.as_str(), head.uri.path(), &body);
            tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| {
                Reply::error(500, "judging failed: this is a defect of sorft, and its words are on the server's stderr")
            })
        }
    };
    let mut response = Response::new(Full::from(reply.json.to_string()));
    *response.status_mut() =
        StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::model::http::build_client;

    #[tokio::test]
    async fn a_request_that_is_too_long_or_panics_fails_alone() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/x", listener.local_addr().unwrap());
        let answer = |method: &str, path: &str, body: &[u8]| {
            assert_ne!(body, b"panic", "asked to");
            Reply { status: 200, json: json!([method, path, body.len()]) }
        };
        let server = tokio::spawn(serve(listener, Arc::new(answer)));
        let client = build_client(PATIENCE, PATIENCE).unwrap();
        let ask = async |body: Vec<u8>| {
            let response = client.post(&url).body(body).send().await.unwrap();
            let status = response.status().as_u16();
            (status, response.json::<Value>().await.unwrap())
        };
        let (status, json) = ask(b"panic".to_vec()).await;
        assert_eq!(status, 500, "{json}");
        let (status, json) = ask(vec![b' '; MAX_BODY_BYTES + 1]).await;
        assert_eq!(status, 413, "{json}");
        assert!(json["error"].as_str().unwrap().contains("more than 64 MiB"));
        assert_eq!(ask(b"well".to_vec()).await, (200, json!(["POST", "/x", 4])));
        server.abort();
    }
}
