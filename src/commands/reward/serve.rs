//! `sorft reward serve`: rewards over HTTP, while a trainer runs.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use tokio::net::TcpListener;

use crate::commands::Outcome;
use crate::commands::interrupt::run_until_interrupted;
use crate::commands::output::{note, write_stdout};
use crate::commands::reward::RuleArgs;
use crate::train::reward::protocol::reply;
use crate::train::reward::server::serve as serve_requests;

/// Answer trainers' requests for rewards over HTTP, until Ctrl-C
///
/// `POST /get_reward` is OpenRLHF's protocol for remote reward models, with episodes' ids as
/// labels; `POST /score` is asked by the reward functions that `sorft train export` writes.
/// The address is printed when requests are heard. There is no password: who reaches the address
/// can ask.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sorft reward serve episodes.jsonl
  sorft reward serve episodes.jsonl --listen 127.0.0.1:9000 --rule hit
  curl http://127.0.0.1:8731/score -d '{\"rows\": [{\"id\": \"me__shop-1/file\", \"completion\": \"...\"}]}'")]
pub struct ServeArgs {
    #[command(flatten)]
    pub rule: RuleArgs,
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8731")]
    pub listen: SocketAddr,
}

/// Runs `sorft reward serve`.
pub fn serve(args: &ServeArgs, quiet: bool) -> anyhow::Result<Outcome> {
    let rewards = args.rule.read(quiet)?;
    run_until_interrupted(async {
        let listener = TcpListener::bind(args.listen).await.with_context(|| {
            format!("listening at {}\nhint: `--listen` names another address or port", args.listen)
        })?;
        let address = listener.local_addr().context("the address")?;
        if !quiet && !address.ip().is_loopback() {
            note("other machines may ask, too: there is no password");
        }
        write_stdout(&format!("http://{address}\n"))?;
        let answer =
            move |method: &str, path: &str, body: &[u8]| reply(&rewards, method, path, body);
        match serve_requests(listener, Arc::new(answer)).await? {}
    })
}
