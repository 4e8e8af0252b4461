//! Downloads from a server that behaves, and from ones that do not.

use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use wiremock::matchers::{header, header_exists, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::model::catalog::{CatalogModel, Digest, ModelRef};
use crate::model::download::{
    DownloadOptions, LocalModel, Progress, cached_path, find_local, missing_bytes, obtain,
    partial_dir, render_bytes, render_hex,
};

const WEIGHTS: &[u8] = b"GGUF and then the weights of a very small model";
const URL_PATH: &str = "/o/n/resolve/main/tiny.gguf";

/// A catalog model whose bytes are `WEIGHTS`, on the hub alone.
fn tiny() -> &'static CatalogModel {
    let sha256: &'static str = Box::leak(render_hex(&Sha256::digest(WEIGHTS)).into_boxed_str());
    Box::leak(Box::new(CatalogModel {
        alias: "tiny",
        title: "tiny",
        hub: Some("o/n"),
        file: "tiny.gguf",
        context_length: 1,
        digest: Some(Digest { bytes: WEIGHTS.len() as u64, sha256 }),
        packages: None,
        adapter: None,
    }))
}

fn options(folder: &tempfile::TempDir, hub_url: String) -> DownloadOptions {
    DownloadOptions {
        models_dir: folder.path().join("models"),
        hub_url,
        hub_token: None,
        hub_answers_within: Duration::from_millis(500),
        offline: false,
        python: PathBuf::from("python3"),
    }
}

async fn outcome(model: &ModelRef, options: &DownloadOptions) -> Result<LocalModel, String> {
    obtain(model, options, &|_| {}).await.map_err(|err| format!("{err:#}"))
}

/// What a full answer does for the download of `tiny`.
async fn answer_with(response: ResponseTemplate) -> (Result<LocalModel, String>, bool) {
    let folder = tempfile::tempdir().unwrap();
    let server = MockServer::start().await;
    Mock::given(path(URL_PATH)).respond_with(response).mount(&server).await;
    let options = options(&folder, server.uri());
    let outcome = outcome(&ModelRef::Catalog(tiny()), &options).await;
    let is_there = cached_path(tiny(), &options.models_dir).exists();
    (outcome, is_there)
}

#[tokio::test]
async fn a_download_is_checked_and_then_found_in_the_cache() {
    let folder = tempfile::tempdir().unwrap();
    let server = MockServer::start().await;
    Mock::given(path(URL_PATH))
        .respond_with(ResponseTemplate::new(200).set_body_bytes(WEIGHTS))
        .expect(1)
        .mount(&server)
        .await;
    let options = options(&folder, server.uri());
    let model = ModelRef::Catalog(tiny());
    let seen = Mutex::new(Vec::new());
    let first = obtain(&model, &options, &|progress| seen.lock().unwrap().push(progress)).await;
    let first = first.unwrap();
    assert_eq!(fs::read(first.path()).unwrap(), WEIGHTS);
    assert_eq!(outcome(&model, &options).await.unwrap(), first);
    assert!(seen.lock().unwrap().contains(&Progress::Bytes { done: WEIGHTS.len() as u64 }));
    assert!(!options.models_dir.join("partial").join(first.path().file_name().unwrap()).exists());
}

#[tokio::test]
async fn bad_answers_leave_nothing_and_say_why() {
    let total = WEIGHTS.len();
    let rows: Vec<(ResponseTemplate, String)> = vec![
        (ResponseTemplate::new(404), "the hub has no `/o/n/resolve/main/tiny.gguf` (404)".into()),
        (ResponseTemplate::new(500), "the hub answered 500".into()),
        (ResponseTemplate::new(401), "HF_TOKEN".into()),
        (ResponseTemplate::new(200).set_body_bytes(vec![b'x'; total]), "wanted sha256".into()),
        (
            ResponseTemplate::new(200).set_body_string("<html>log in</html>"),
            format!("wanted a file of {total} bytes, found one of 19"),
        ),
        (
            ResponseTemplate::new(200).set_body_bytes(WEIGHTS).set_delay(Duration::from_secs(2)),
            "did not answer within 500ms".into(),
        ),
        (
            ResponseTemplate::new(302).insert_header("location", "file:///etc/passwd"),
            "a redirect to `file`".into(),
        ),
    ];
    for (response, wanted) in rows {
        let (outcome, is_there) = answer_with(response).await;
        let message = outcome.unwrap_err();
        assert!(message.contains(&wanted), "wanted {wanted:?} in {message}");
        assert!(message.contains("sorft model pull tiny"), "no next step in {message}");
        assert!(!is_there, "{wanted}");
    }
}

#[tokio::test]
async fn a_hub_that_is_down_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(&folder, "http://127.0.0.1:9".to_owned());
    let message = outcome(&ModelRef::Catalog(tiny()), &options).await.unwrap_err();
    assert!(message.contains("http://127.0.0.1:9: the hub is not reached"), "{message}");
}

#[tokio::test]
async fn half_a_file_is_continued_and_not_asked_for_again() {
    let folder = tempfile::tempdir().unwrap();
    let server = MockServer::start().await;
    let half = 20;
    Mock::given(header("range", "bytes=20-"))
        .respond_with(
            ResponseTemplate::new(206)
                .insert_header("content-range", format!("bytes {half}-46/{}", WEIGHTS.len()))
                .set_body_bytes(&WEIGHTS[half..]),
        )
        .expect(1)
        .mount(&server)
        .await;
    let options = options(&folder, server.uri());
    let partial = partial_dir(&cached_path(tiny(), &options.models_dir)).unwrap();
    fs::write(partial.join("hub-bytes"), &WEIGHTS[..half]).unwrap();
    fs::write(partial.join("hub-hash"), tiny().digest.unwrap().sha256).unwrap();
    let model = outcome(&ModelRef::Catalog(tiny()), &options).await.unwrap();
    assert_eq!(fs::read(model.path()).unwrap(), WEIGHTS);
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_taken_up_again() {
    let folder = tempfile::tempdir().unwrap();
    let (url, server) = breaking_server(20).await;
    let options = options(&folder, url);
    let model = outcome(&ModelRef::Catalog(tiny()), &options).await.unwrap();
    assert_eq!(fs::read(model.path()).unwrap(), WEIGHTS);
    server.abort();
}

/// Sends `at` bytes of what was promised, then hangs up; a range is answered whole.
async fn breaking_server(at: usize) -> (String, tokio::task::JoinHandle<()>) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serve = async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut request = vec![0; 4096];
            let n = socket.read(&mut request).await.unwrap_or(0);
            let is_range = String::from_utf8_lossy(&request[..n]).to_lowercase().contains("range:");
            let (status, body) = if is_range {
                let range = format!("content-range: bytes {at}-46/47\r\n");
                (
                    format!("206 Partial Content\r\n{range}content-length: {}", 47 - at),
                    &WEIGHTS[at..],
                )
            } else {
                ("200 OK\r\ncontent-length: 47".to_owned(), &WEIGHTS[..at])
            };
            let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\n\r\n");
            socket.write_all(head.as_bytes()).await.unwrap();
            socket.write_all(body).await.unwrap();
        }
    };
    (url, tokio::spawn(serve))
}

#[tokio::test]
async fn the_token_stays_with_the_hub_when_it_redirects() {
    let folder = tempfile::tempdir().unwrap();
    let (hub, store) = (MockServer::start().await, MockServer::start().await);
    Mock::given(path(URL_PATH))
        .and(header("authorization", "Bearer secret"))
        .respond_with(
            ResponseTemplate::new(302).insert_header("location", format!("{}/blob", store.uri())),
        )
        .expect(1)
        .mount(&hub)
        .await;
    Mock::given(path("/blob"))
        .and(header_exists("authorization"))
        .respond_with(ResponseTemplate::new(500))
        .with_priority(1)
        .expect(0)
        .mount(&store)
        .await;
    Mock::given(path("/blob"))
        .respond_with(ResponseTemplate::new(200).set_body_bytes(WEIGHTS))
        .with_priority(2)
        .expect(1)
        .mount(&store)
        .await;
    let options =
        DownloadOptions { hub_token: Some("secret".to_owned()), ..options(&folder, hub.uri()) };
    outcome(&ModelRef::Catalog(tiny()), &options).await.unwrap();
}

#[tokio::test]
async fn two_downloads_at_once_fetch_once() {
    let folder = tempfile::tempdir().unwrap();
    let server = MockServer::start().await;
    Mock::given(path(URL_PATH))
        .respond_with(
            ResponseTemplate::new(200)
                .set_body_bytes(WEIGHTS)
                .set_delay(Duration::from_millis(300)),
        )
        .expect(1)
        .mount(&server)
        .await;
    let options = options(&folder, server.uri());
    let model = ModelRef::Catalog(tiny());
    let (one, two) = tokio::join!(outcome(&model, &options), outcome(&model, &options));
    assert_eq!(one.unwrap(), two.unwrap());
}

#[tokio::test]
async fn offline_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let server = MockServer::start().await;
    Mock::given(method("GET"))
        .respond_with(ResponseTemplate::new(200))
        .expect(0)
        .mount(&server)
        .await;
    let options = DownloadOptions { offline: true, ..options(&folder, server.uri()) };
    let message = outcome(&ModelRef::Catalog(tiny()), &options).await.unwrap_err();
    for wanted in ["downloads are off", "sorft model pull tiny", "copy `tiny.gguf`", "--no-model"] {
        assert!(message.contains(wanted), "{message}");
    }
}

#[tokio::test]
async fn a_hub_repository_becomes_a_folder_with_hashes_checked() {
    let folder = tempfile::tempdir().unwrap();
    let server = MockServer::start().await;
    let files = serde_json::json!({ "siblings": [
        { "rfilename": "config.json" }, { "rfilename": "tokenizer.json" },
        { "rfilename": "model.safetensors" }, { "rfilename": "training_args.bin" } ] });
    Mock::given(path("/api/models/o/n"))
        .respond_with(ResponseTemplate::new(200).set_body_json(files))
        .mount(&server)
        .await;
    for name in ["config.json", "tokenizer.json"] {
        Mock::given(path(format!("/o/n/resolve/main/{name}")))
            .respond_with(ResponseTemplate::new(200).set_body_string("{}"))
            .mount(&server)
            .await;
    }
    let weights = ResponseTemplate::new(200)
        .insert_header("x-linked-etag", format!("\"{}\"", tiny().digest.unwrap().sha256))
        .insert_header("x-linked-size", WEIGHTS.len().to_string())
        .set_body_bytes(WEIGHTS);
    Mock::given(path("/o/n/resolve/main/model.safetensors"))
        .respond_with(weights)
        .mount(&server)
        .await;
    let options = options(&folder, server.uri());
    let model = ModelRef::parse("hf:o/n").unwrap();
    let found = outcome(&model, &options).await.unwrap();
    let LocalModel::Safetensors(path) = &found else { panic!("wanted a folder, found {found:?}") };
    assert_eq!(fs::read(path.join("model.safetensors")).unwrap(), WEIGHTS);
    assert!(!path.join("training_args.bin").exists());
    assert_eq!(find_local(&model, &options.models_dir).unwrap(), Some(found));
}

#[test]
fn a_file_of_the_wrong_size_is_not_taken_for_the_model() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(cached_path(tiny(), folder.path()), b"GGUF").unwrap();
    assert_eq!(find_local(&ModelRef::Catalog(tiny()), folder.path()).unwrap(), None);
}

#[test]
fn room_is_asked_for_parts_and_the_joined_file() {
    let folder = tempfile::tempdir().unwrap();
    let entry = &crate::model::catalog::CATALOG[1];
    assert_eq!(render_bytes(entry.digest.unwrap().bytes), "469 MiB");
    let fresh = missing_bytes(600, entry, folder.path());
    fs::write(folder.path().join("part01"), [0; 100]).unwrap();
    assert_eq!((fresh, missing_bytes(600, entry, folder.path())), (1400, 1300));
}
