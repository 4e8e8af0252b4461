//! The HTTP client that downloads and remote engines use.

use std::time::Duration;

use anyhow::{Context, ensure};

/// Reads a body that ends within `most` bytes; what is longer is an error, so that no server can
/// fill the memory.
pub async fn read_body(mut response: reqwest::Response, most: usize) -> anyhow::Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        ensure!(
            body.len() + chunk.len() <= most,
            "the answer is longer than {} KiB, which none of ours is",
            most >> 10
        );
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// A client that follows no redirect by itself, so that a key never reaches a host it was not
/// configured for: callers decide where to go on.
pub fn build_client(
    connect_timeout: Duration,
    read_timeout: Duration,
) -> anyhow::Result<reqwest::Client> {
    // The provider is one per process; the error only says that it is already there.
    drop(rustls::crypto::ring::default_provider().install_default());
    reqwest::Client::builder()
        .user_agent(concat!("sorft/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(connect_timeout)
        .read_timeout(read_timeout)
        .build()
        .context("setting up the HTTP client")
}
