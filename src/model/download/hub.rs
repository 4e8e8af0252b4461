//! Models from a Hugging Face hub, or a server that speaks like one.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use reqwest::header::{AUTHORIZATION, CONTENT_RANGE, LOCATION, RANGE};
use reqwest::{Client, Response, StatusCode, Url};
use serde::Deserialize;

use crate::model::download::{
    DownloadOptions, LocalModel, OnProgress, Progress, ensure_space, partial_dir, publish,
    write_chunk,
};
use crate::model::http::build_client;

/// How long a stream may stand still before it counts as broken.
const STALL: Duration = Duration::from_secs(30);
/// How often a broken stream is taken up again, counted anew whenever bytes arrived.
const MAX_BREAKS: u32 = 3;
const MAX_REDIRECTS: u32 = 5;

/// One file of a hub repository.
pub(super) struct Wanted<'a> {
    pub(super) repo: &'a str,
    pub(super) file: &'a str,
    /// Size and sha256, where they are known beforehand.
    pub(super) digest: Option<(u64, String)>,
}

/// Downloads one file to `target`, continuing what `partial` already holds of it.
pub(super) async fn download(
    wanted: &Wanted<'_>,
    target: &Path,
    partial: &Path,
    options: &DownloadOptions,
    on_progress: OnProgress<'_>,
) -> anyhow::Result<()> {
    let client = build_client(options.hub_answers_within, STALL)?;
    let url = format!("{}/{}/resolve/main/{}", options.hub_url, wanted.repo, wanted.file);
    let piece = partial.join("hub-bytes");
    let tag_path = partial.join("hub-hash");
    let mut breaks = 0;
    loop {
        let start = fs::metadata(&piece).map_or(0, |metadata| metadata.len());
        let answer = open_stream(&client, &url, start, options).await?;
        let digest = wanted.digest.clone().or_else(|| answer.linked_digest.clone());
        let tag = digest.as_ref().map(|(_, sha256)| sha256.clone()).unwrap_or_default();
        let is_other_file = 0 < start && fs::read_to_string(&tag_path).ok().as_ref() != Some(&tag);
        if is_other_file {
            fs::remove_file(&piece).with_context(|| format!("removing `{}`", piece.display()))?;
            continue;
        }
        fs::write(&tag_path, &tag).with_context(|| format!("writing `{}`", tag_path.display()))?;
        if let (Some((bytes, _)), Some(total)) = (&digest, answer.total) {
            ensure!(total == *bytes, "wanted a file of {bytes} bytes, found one of {total}");
        }
        if breaks == 0 {
            let total = answer.total;
            on_progress(Progress::Source { name: options.hub_url.clone(), total });
            if let Some(total) = total {
                ensure_space(&options.models_dir, total.saturating_sub(start))?;
            }
        }
        let total = answer.total;
        let (end, broken) = append_stream(answer, &piece, on_progress).await?;
        match broken {
            None if total.is_none_or(|total| end == total) => {
                let sha256 = digest.map(|(_, sha256)| sha256);
                return publish(piece, target.to_owned(), sha256, on_progress).await;
            }
            None if total.is_some_and(|total| total < end) => {
                fs::remove_file(&piece)
                    .with_context(|| format!("removing `{}`", piece.display()))?;
                bail!("wanted {} bytes, found {end}: they were thrown away", total.unwrap_or(0));
            }
            broken => {
                breaks = if start < end { 1 } else { breaks + 1 };
                let reason = broken.unwrap_or_else(|| "the stream ended early".to_owned());
                ensure!(breaks <= MAX_BREAKS, "the download broke off at byte {end}: {reason}");
                tokio::time::sleep(options.hub_answers_within / 10 * breaks).await;
            }
        }
    }
}

/// The body of one file from some byte on.
struct Answer {
    response: Response,
    /// The byte at which the body starts.
    start: u64,
    total: Option<u64>,
    /// Size and sha256 as the hub tells them.
    linked_digest: Option<(u64, String)>,
}

/// Asks for a file, following redirects by hand so that the token stays with the hub's host.
async fn open_stream(
    client: &Client,
    url: &str,
    start: u64,
    options: &DownloadOptions,
) -> anyhow::Result<Answer> {
    let first = Url::parse(url).with_context(|| format!("wanted a hub address, found `{url}`"))?;
    let mut url = first.clone();
    let mut linked_digest = None;
    for _ in 0..=MAX_REDIRECTS {
        let mut request = client.get(url.clone());
        if 0 < start {
            request = request.header(RANGE, format!("bytes={start}-"));
        }
        if let Some(token) = options.hub_token.as_ref().filter(|_| url.origin() == first.origin()) {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let response = send(request, options).await?;
        linked_digest = linked_digest.or_else(|| parse_linked_digest(&response));
        match response.status() {
            status if status.is_redirection() => {
                let location = response.headers().get(LOCATION).and_then(|v| v.to_str().ok());
                let location = location.context("a redirect without an address")?;
                url = url.join(location).context("a redirect to no address")?;
                ensure!(
                    matches!(url.scheme(), "http" | "https"),
                    "a redirect to `{}`",
                    url.scheme()
                );
            }
            StatusCode::OK => {
                let total = response.content_length();
                return Ok(Answer { response, start: 0, total, linked_digest });
            }
            StatusCode::PARTIAL_CONTENT => {
                let (from, total) = parse_content_range(&response)
                    .context("a partial answer that does not say which part it is")?;
                ensure!(from == start, "wanted bytes from {start}, found bytes from {from}");
                return Ok(Answer { response, start, total, linked_digest });
            }
            StatusCode::RANGE_NOT_SATISFIABLE if 0 < start => {
                let (_, total) = parse_content_range(&response).unwrap_or((0, None));
                let total = Some(total.unwrap_or(start));
                return Ok(Answer { response, start, total, linked_digest });
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => bail!(
                "the hub refuses `{}` ({})\nhint: a gated model needs HF_TOKEN",
                first.path(),
                response.status()
            ),
            StatusCode::NOT_FOUND => bail!("the hub has no `{}` (404)", first.path()),
            status => bail!("the hub answered {status}"),
        }
    }
    bail!("the hub redirected more than {MAX_REDIRECTS} times")
}

async fn send(
    request: reqwest::RequestBuilder,
    options: &DownloadOptions,
) -> anyhow::Result<Response> {
    match tokio::time::timeout(options.hub_answers_within, request.send()).await {
        Ok(response) => {
            response.map_err(|err| anyhow::anyhow!("the hub is not reached: {}", cause(&err)))
        }
        Err(_) => bail!("the hub did not answer within {:?}", options.hub_answers_within),
    }
}

/// The innermost reason, which is the one that people know.
fn cause(err: &reqwest::Error) -> String {
    let mut reason: &dyn std::error::Error = err;
    while let Some(source) = reason.source() {
        reason = source;
    }
    reason.to_string()
}

/// Writes the body behind what is already there. Gives the number of bytes now in the file, and
/// why the stream broke, if it did.
async fn append_stream(
    answer: Answer,
    piece: &Path,
    on_progress: OnProgress<'_>,
) -> anyhow::Result<(u64, Option<String>)> {
    let mut response = answer.response;
    if response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
        return Ok((answer.start, None));
    }
    let mut file = File::options()
        .create(true)
        .write(true)
        .append(0 < answer.start)
        .truncate(answer.start == 0)
        .open(piece)
        .with_context(|| format!("opening `{}`", piece.display()))?;
    let mut end = answer.start;
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => {
                write_chunk(&mut file, piece, &chunk)?;
                end += chunk.len() as u64;
                on_progress(Progress::Bytes { done: end });
            }
            Ok(None) => return Ok((end, None)),
            Err(err) => return Ok((end, Some(cause(&err)))),
        }
    }
}

/// `bytes 5-9/10` → (5, 10); `bytes */10` → (0, 10).
fn parse_content_range(response: &Response) -> Option<(u64, Option<u64>)> {
    let text = response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let from = if range == "*" { 0 } else { range.split_once('-')?.0.parse().ok()? };
    Some((from, total.parse().ok()))
}

fn parse_linked_digest(response: &Response) -> Option<(u64, String)> {
    let header = |name| response.headers().get(name)?.to_str().ok();
    let sha256 = header("x-linked-etag")?.trim_matches('"').to_ascii_lowercase();
    let bytes = header("x-linked-size")?.parse().ok()?;
    let is_sha256 = sha256.len() == 64 && sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_sha256.then_some((bytes, sha256))
}

/// What the hub lists of a repository.
#[derive(Deserialize)]
struct Repository {
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}

/// Downloads `repo` (or one GGUF file of it) into a folder of the cache that carries its name.
pub(super) async fn obtain_repository(
    repo: &str,
    file: Option<&str>,
    options: &DownloadOptions,
    on_progress: OnProgress<'_>,
) -> anyhow::Result<LocalModel> {
    let files = match file {
        Some(file) => vec![file.to_owned()],
        None => choose_files(&list_files(repo, options).await?, repo)?,
    };
    let folder = cached_folder(repo, file, &options.models_dir);
    let partial = partial_dir(&folder)?;
    let complete = partial.join("complete");
    fs::create_dir_all(&complete).with_context(|| format!("making `{}`", complete.display()))?;
    for file in files {
        let name = file.rsplit('/').next().unwrap_or(&file);
        let target = complete.join(name);
        if target.exists() {
            continue;
        }
        let piece_dir = partial.join(name);
        fs::create_dir_all(&piece_dir)
            .with_context(|| format!("making `{}`", piece_dir.display()))?;
        let wanted = Wanted { repo, file: &file, digest: None };
        download(&wanted, &target, &piece_dir, options, on_progress).await?;
    }
    fs::rename(&complete, &folder)
        .with_context(|| format!("moving the model to `{}`", folder.display()))?;
    fs::remove_dir_all(&partial).with_context(|| format!("removing `{}`", partial.display()))?;
    find_cached(repo, file, &options.models_dir)
        .with_context(|| format!("`hf:{repo}` holds neither GGUF nor safetensors"))
}

/// The model of a hub repository, if it was downloaded before.
pub(super) fn find_cached(repo: &str, file: Option<&str>, models_dir: &Path) -> Option<LocalModel> {
    let folder = cached_folder(repo, file, models_dir);
    if folder.join("config.json").is_file() {
        return Some(LocalModel::Safetensors(folder));
    }
    let mut ggufs: Vec<PathBuf> = fs::read_dir(&folder)
        .ok()?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "gguf"))
        .collect();
    ggufs.sort();
    ggufs.into_iter().next().map(LocalModel::Gguf)
}

fn cached_folder(repo: &str, file: Option<&str>, models_dir: &Path) -> PathBuf {
    let name = file.map_or(repo.to_owned(), |file| format!("{repo}/{file}"));
    models_dir.join(format!("hf--{}", name.replace('/', "--")))
}

async fn list_files(repo: &str, options: &DownloadOptions) -> anyhow::Result<Vec<String>> {
    let client = build_client(options.hub_answers_within, STALL)?;
    let url = format!("{}/api/models/{repo}", options.hub_url);
    let answer = open_stream(&client, &url, 0, options).await?;
    let body = answer.response.bytes().await.context("reading the hub's list of files")?;
    let repository: Repository = serde_json::from_slice(&body)
        .with_context(|| format!("wanted the hub's list of the files of `{repo}`"))?;
    Ok(repository.siblings.into_iter().map(|sibling| sibling.rfilename).collect())
}

/// The files that make a model: one GGUF, or configuration, tokenizer and safetensors.
fn choose_files(listed: &[String], repo: &str) -> anyhow::Result<Vec<String>> {
    // Names become paths in the cache: only plain names of the top folder are taken.
    let plain = |name: &&String| {
        !name.starts_with('.')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    };
    let has_extension = |name: &str, wanted: &str| {
        Path::new(name).extension().is_some_and(|found| found.eq_ignore_ascii_case(wanted))
    };
    let listed: Vec<&String> = listed.iter().filter(plain).collect();
    let ggufs: Vec<&String> =
        listed.iter().copied().filter(|name| has_extension(name, "gguf")).collect();
    let q4_k_m: Vec<&String> =
        ggufs.iter().copied().filter(|name| name.to_lowercase().ends_with("q4_k_m.gguf")).collect();
    match (ggufs.as_slice(), q4_k_m.as_slice()) {
        ([only], _) | (_, [only]) => return Ok(vec![(*only).clone()]),
        ([], _) => {}
        (many, _) => {
            let names: Vec<&str> = many.iter().map(|name| name.as_str()).collect();
            bail!(
                "`hf:{repo}` has {} GGUF files: {}\nhint: choose one with `hf:{repo}/FILE`",
                many.len(),
                names.join(", ")
            )
        }
    }
    let is_part_of_model = |name: &&&String| {
        has_extension(name, "safetensors")
            || matches!(
                name.as_str(),
                "config.json"
                    | "generation_config.json"
                    | "tokenizer.json"
                    | "tokenizer_config.json"
                    | "chat_template.jinja"
                    | "model.safetensors.index.json"
            )
    };
    let chosen: Vec<String> =
        listed.iter().filter(is_part_of_model).map(|name| (*name).clone()).collect();
    let has = |wanted: &str| chosen.iter().any(|name| name == wanted);
    let has_weights = chosen.iter().any(|name| has_extension(name, "safetensors"));
    ensure!(
        has("config.json") && has("tokenizer.json") && has_weights,
        "wanted a GGUF file, or config.json, tokenizer.json and safetensors, in `hf:{repo}`, \
         found neither"
    );
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[track_caller]
    fn check(listed: &[&str], expect: Expect) {
        let listed: Vec<String> = listed.iter().map(|&name| name.to_owned()).collect();
        let actual = match choose_files(&listed, "o/n") {
            Ok(files) => files.join(" "),
            Err(err) => format!("error: {err}"),
        };
        expect.assert_eq(&actual);
    }

    #[test]
    fn one_gguf_or_a_whole_safetensors_model_is_chosen() {
        check(&["README.md", "a-q8_0.gguf", "a-Q4_K_M.gguf"], expect!["a-Q4_K_M.gguf"]);
        check(&["only.gguf", "config.json"], expect!["only.gguf"]);
        check(
            &[
                "config.json",
                "tokenizer.json",
                "model.safetensors",
                "pytorch_model.bin",
                "onnx/m.onnx",
            ],
            expect!["config.json tokenizer.json model.safetensors"],
        );
    }

    #[test]
    fn a_repository_without_a_usable_model_is_refused() {
        check(
            &["a-q8_0.gguf", "a-f16.gguf"],
            expect![[r"
            error: `hf:o/n` has 2 GGUF files: a-q8_0.gguf, a-f16.gguf
            hint: choose one with `hf:o/n/FILE`"]],
        );
        check(
            &["config.json", "pytorch_model.bin"],
            expect![
                "error: wanted a GGUF file, or config.json, tokenizer.json and safetensors, in `hf:o/n`, found neither"
            ],
        );
        check(
            &["../evil.gguf", "config.json"],
            expect![
                "error: wanted a GGUF file, or config.json, tokenizer.json and safetensors, in `hf:o/n`, found neither"
            ],
        );
    }
}
