//! What a server is: its address, its key, and which dialect of the protocol it speaks.

use std::fmt;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use reqwest::{Client, RequestBuilder, Url};
use serde_json::Value;

use crate::model::http::read_body;

/// A secret that goes to one server and nowhere else; it never shows.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    pub fn new(text: &str) -> Self {
        Self(text.trim().to_owned())
    }

    /// The key in a file of its own.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path)
            .with_context(|| format!("reading the key file `{}`", path.display()))?;
        ensure!(!text.trim().is_empty(), "the key file `{}` is empty", path.display());
        Ok(Self::new(&text))
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(..)")
    }
}

/// An address and the key for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    base: Url,
    key: Option<ApiKey>,
}

impl Endpoint {
    /// `url` is a server's base address, with or without `/v1`.
    pub fn new(url: &str, key: Option<ApiKey>) -> anyhow::Result<Self> {
        let text = url.trim_end_matches('/');
        let text = text.strip_suffix("/v1").unwrap_or(text);
        let base = Url::parse(&format!("{text}/")).with_context(|| {
            format!("wanted a server's address such as `http://127.0.0.1:8080`, found `{url}`")
        })?;
        ensure!(
            matches!(base.scheme(), "http" | "https") && base.has_host(),
            "wanted an address with `http://` or `https://`, found `{url}`"
        );
        ensure!(
            base.username().is_empty() && base.password().is_none(),
            "an address must hold no password\nhint: put the key into an environment variable or a file"
        );
        Ok(Self { base, key })
    }

    pub(super) fn get(&self, client: &Client, path: &str) -> anyhow::Result<RequestBuilder> {
        Ok(self.authorize(client.get(self.base.join(path)?)))
    }

    pub(super) fn post(&self, client: &Client, path: &str) -> anyhow::Result<RequestBuilder> {
        Ok(self.authorize(client.post(self.base.join(path)?)))
    }

    fn authorize(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.key {
            Some(ApiKey(key)) => request.bearer_auth(key),
            None => request,
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.base.as_str().trim_end_matches('/'))
    }
}

/// What a server takes beyond the common protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Nothing that is known of.
    Plain,
    /// vLLM of today: `structured_outputs`, `top_k`, `min_p`, log-probabilities.
    Vllm,
    /// vLLM before 0.11: `guided_grammar` in its place.
    VllmGuided,
    /// llama.cpp's own server: `grammar`, `top_k`, `min_p`, log-probabilities.
    LlamaCpp,
    /// The server of llama-cpp-python: as llama.cpp, but with neither `n` nor log-probabilities.
    LlamaCppPython,
}

impl Dialect {
    pub(super) fn obeys_grammar(self) -> bool {
        self != Self::Plain
    }

    /// Whether several requests may be under way: llama-cpp-python breaks off the running one,
    /// half a stream, when the next comes in.
    pub(super) fn takes_many(self) -> bool {
        self != Self::LlamaCppPython
    }

    /// Whether it gives several completions for one request.
    pub(super) fn takes_n(self) -> bool {
        self != Self::LlamaCppPython
    }
}

/// What a server says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Greeting {
    pub(super) models: Vec<String>,
    pub(super) dialect: Dialect,
    pub(super) context_length: Option<usize>,
}

/// Asks a server which models it has, and finds out its dialect.
pub(super) async fn greet(
    client: &Client,
    endpoint: &Endpoint,
    within: Duration,
) -> anyhow::Result<Greeting> {
    let listed = get_json(client, endpoint, "v1/models", within).await?;
    let Some(data) = listed["data"].as_array() else {
        bail!("wanted a list of models from `{endpoint}/v1/models`, found none");
    };
    let models = data.iter().filter_map(|model| model["id"].as_str()).map(str::to_owned).collect();
    let owner = data.first().and_then(|model| model["owned_by"].as_str()).unwrap_or_default();
    let listed_length = data.first().and_then(|model| {
        model["max_model_len"].as_u64().or_else(|| model["meta"]["n_ctx_train"].as_u64())
    });
    let mut context_length = listed_length.map(|length| length as usize);
    let dialect = match owner {
        "vllm" => {
            let version = get_json(client, endpoint, "version", within).await.unwrap_or_default();
            match parse_minor_version(version["version"].as_str().unwrap_or_default()) {
                Some(version) if version < (0, 11) => Dialect::VllmGuided,
                _ => Dialect::Vllm,
            }
        }
        "me" => Dialect::LlamaCppPython,
        _ => match get_json(client, endpoint, "props", within).await {
            Ok(props) if props["default_generation_settings"].is_object() => {
                let n_ctx = props["default_generation_settings"]["n_ctx"].as_u64();
                context_length = n_ctx.map(|n_ctx| n_ctx as usize).or(context_length);
                Dialect::LlamaCpp
            }
            _ => Dialect::Plain,
        },
    };
    Ok(Greeting { models, dialect, context_length })
}

/// Bytes of a list of models.
const MOST_LISTED: usize = 4 << 20;

async fn get_json(
    client: &Client,
    endpoint: &Endpoint,
    path: &str,
    within: Duration,
) -> anyhow::Result<Value> {
    let response = tokio::time::timeout(within, endpoint.get(client, path)?.send())
        .await
        .map_err(|_| anyhow::anyhow!("`{endpoint}` did not answer within {within:?}"))?
        .map_err(|err| anyhow::anyhow!("`{endpoint}` is not reached: {}", root_cause(&err)))?;
    let status = response.status();
    ensure!(status.is_success(), "`{endpoint}/{path}` answered {status}{}", status_hint(status));
    let body = tokio::time::timeout(within, read_body(response, MOST_LISTED))
        .await
        .map_err(|_| anyhow::anyhow!("`{endpoint}` did not finish within {within:?}"))?
        .with_context(|| format!("reading the answer of `{endpoint}`"))?;
    serde_json::from_slice(&body).with_context(|| {
        format!("wanted JSON from `{endpoint}/{path}`, found `{}`", excerpt(&body))
    })
}

/// What to do about a status that is the user's to mend.
pub(super) fn status_hint(status: reqwest::StatusCode) -> &'static str {
    match status.as_u16() {
        401 | 403 => {
            "\nhint: the server wants another key: put it into SORFT_API_KEY, or its file into `api_key_file` of your sorft.yaml"
        }
        404 => "\nhint: the address must be the part before `/v1`",
        300..=399 => {
            "\nhint: the server sends us elsewhere, which is not followed: give the final address"
        }
        _ => "",
    }
}

/// The innermost reason, which is the one that people know.
pub(super) fn root_cause(err: &reqwest::Error) -> String {
    let mut reason: &dyn std::error::Error = err;
    while let Some(source) = reason.source() {
        reason = source;
    }
    reason.to_string()
}

/// The beginning of a body, for a message.
pub(super) fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(400)]);
    let words: Vec<&str> = text.split_whitespace().collect();
    let text: String = words.join(" ").chars().take(120).collect();
    if text.is_empty() { "nothing".to_owned() } else { text }
}

fn parse_minor_version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_server_and_nothing_else() {
        let shown = |url: &str| Endpoint::new(url, None).map(|endpoint| endpoint.to_string()).ok();
        assert_eq!(shown("http://h:8000/v1/"), Some("http://h:8000".to_owned()));
        assert_eq!(shown("https://h/proxy/v1"), Some("https://h/proxy".to_owned()));
        for url in ["h:8000", "file:///etc/passwd", "http://user:pass@h", ""] {
            assert_eq!(shown(url), None, "{url}");
        }
    }

    #[test]
    fn a_key_does_not_show() {
        let endpoint = Endpoint::new("http://h", Some(ApiKey::new("secret\n"))).unwrap();
        assert!(!format!("{endpoint:?} {endpoint}").contains("secret"));
    }
}
