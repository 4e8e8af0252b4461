//! `--issue`, the same on every command: a file, standard input, a URL, `OWNER/REPO#N`, or text.

use std::io::{IsTerminal, Read};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::Args;
use serde::Deserialize;

use crate::commands::output::note;
use crate::config::environment::Environment;
use crate::model::http::{build_client, read_body};
use crate::repo::text::Text;

/// How long the address of an issue may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);
const HINT: &str = "hint: save the issue's text to a file and name it with `--issue FILE`";

/// Issues are read up to this size; what retrieval and prompts take of one is bounded anyway.
const MAX_ISSUE_BYTES: u64 = 16 << 20;

/// Where the issue text comes from.
#[derive(Debug, Clone, Args)]
pub struct IssueArgs {
    /// The issue: a file, `-` for standard input (a failing test log will do), the URL of a
    /// GitHub issue, or OWNER/REPO#N
    #[arg(long, value_name = "FILE|-|URL|OWNER/REPO#N", help_heading = "Issue")]
    pub issue: Option<String>,
    /// The issue's text itself
    #[arg(long, value_name = "TEXT", help_heading = "Issue", conflicts_with = "issue")]
    pub issue_text: Option<String>,
    /// Base address of the GitHub API, for GitHub Enterprise
    #[arg(
        long,
        env = "GITHUB_API_URL",
        default_value = "https://api.github.com",
        hide = true,
        value_name = "URL"
    )]
    pub github_api: String,
}

/// What `--issue` can name.
#[derive(Debug, PartialEq, Eq)]
enum Source<'a> {
    StandardInput,
    File(&'a Path),
    GitHub { repository: &'a str, number: u64 },
    Url(&'a str),
}

impl IssueArgs {
    pub fn is_given(&self) -> bool {
        self.issue.is_some() || self.issue_text.is_some()
    }

    /// The file that the issue is read from, where it is one.
    pub fn file(&self) -> Option<&Path> {
        match parse_source(self.issue.as_deref()?) {
            Source::File(path) => Some(path),
            _ => None,
        }
    }

    /// Reads the issue's text; an empty one is an error. `GITHUB_TOKEN` is sent to the GitHub API
    /// alone.
    pub async fn read(&self, environment: &Environment, offline: bool) -> anyhow::Result<String> {
        let text = match (&self.issue_text, &self.issue) {
            (Some(text), _) => text.clone(),
            (None, Some(source)) if source.trim().is_empty() => {
                bail!("`--issue` names nothing: a file, `-`, a URL or OWNER/REPO#N was wanted")
            }
            (None, Some(source)) => {
                self.read_source(source, (environment.get("GITHUB_TOKEN"), offline)).await?
            }
            (None, None) => bail!(
                "no issue: `--issue FILE|-|URL|OWNER/REPO#N` or `--issue-text TEXT` was wanted\n\
                 hint: a failing test log will do: `pytest 2>&1 | sorft fix --issue -`"
            ),
        };
        ensure!(
            !text.trim().is_empty(),
            "the issue is empty: some words on what goes wrong were wanted"
        );
        Ok(text)
    }

    async fn read_source(
        &self,
        source: &str,
        (token, offline): (Option<&str>, bool),
    ) -> anyhow::Result<String> {
        match parse_source(source) {
            Source::StandardInput => {
                if std::io::stdin().is_terminal() {
                    note("type or paste the issue, and end it with Ctrl-D on a line of its own");
                }
                let stdin = std::io::stdin().lock();
                read_text(stdin, "standard input")
            }
            Source::File(path) => {
                let file = std::fs::File::open(path)
                    .with_context(|| format!("opening the issue file `{}`", path.display()))?;
                ensure!(
                    !file.metadata().is_ok_and(|facts| facts.is_dir()),
                    "the issue `{}` is a folder; a text file was wanted",
                    path.display()
                );
                read_text(file, &path.display().to_string())
            }
            Source::GitHub { repository, number } => {
                self.fetch_issue(repository, number, (token, offline)).await
            }
            Source::Url(url) => bail!(
                "`{url}` is no address of a GitHub issue \
                 (https://github.com/OWNER/REPO/issues/N was wanted)\n\
                 hint: save the page's text and name the file"
            ),
        }
    }

    async fn fetch_issue(
        &self,
        repository: &str,
        number: u64,
        (token, offline): (Option<&str>, bool),
    ) -> anyhow::Result<String> {
        #[derive(Deserialize)]
        struct Issue {
            title: String,
            body: Option<String>,
        }
        let url =
            format!("{}/repos/{repository}/issues/{number}", self.github_api.trim_end_matches('/'));
        ensure!(
            !offline,
            "issue {repository}#{number} is not on this machine, and `--offline` asks for nothing else\n{HINT}"
        );
        let client = build_client(PATIENCE, PATIENCE)?;
        let mut request = client.get(&url).header("accept", "application/vnd.github+json");
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let response = request
            .send()
            .await
            .with_context(|| format!("asking for {repository}#{number}\n{HINT}"))?;
        let status = response.status();
        ensure!(
            status.is_success(),
            "issue {repository}#{number} could not be read: the server answered {status}\n{HINT}"
        );
        let body = read_body(response, MAX_ISSUE_BYTES as usize).await;
        let issue = body.and_then(|body| Ok(serde_json::from_slice::<Issue>(&body)?));
        let issue = issue
            .with_context(|| format!("the answer for {repository}#{number} is no issue\n{HINT}"))?;
        Ok(format!("{}\n\n{}", issue.title, issue.body.unwrap_or_default()))
    }
}

fn parse_source(source: &str) -> Source<'_> {
    if source == "-" {
        return Source::StandardInput;
    }
    if let Some(rest) = source.strip_prefix("https://github.com/") {
        let parts: Vec<&str> = rest.split(['/', '#', '?']).collect();
        if let [owner, name, "issues" | "pull", number, ..] = parts[..]
            && let Ok(number) = number.parse()
        {
            return Source::GitHub { repository: &rest[..owner.len() + 1 + name.len()], number };
        }
    }
    if source.starts_with("http://") || source.starts_with("https://") {
        return Source::Url(source);
    }
    if let Some((repository, number)) = source.split_once('#')
        && let Ok(number) = number.parse()
        && is_repository_name(repository)
        && !Path::new(source).exists()
    {
        return Source::GitHub { repository, number };
    }
    Source::File(Path::new(source))
}

fn is_repository_name(text: &str) -> bool {
    let is_name = |part: &str| {
        !part.is_empty()
            && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    };
    text.split_once('/').is_some_and(|(owner, name)| is_name(owner) && is_name(name))
}

/// The text of an issue or a log, if it is one and of bounded size.
pub fn read_text(source: impl Read, name: &str) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    source
        .take(MAX_ISSUE_BYTES + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("reading the issue from `{name}`"))?;
    ensure!(
        bytes.len() as u64 <= MAX_ISSUE_BYTES,
        "the issue in `{name}` is larger than {} MiB\nhint: pipe its end: `tail -c 1M LOG | sorft fix --issue -`",
        MAX_ISSUE_BYTES >> 20
    );
    let text = Text::decode(&bytes)
        .map_err(|error| anyhow::anyhow!("the issue in `{name}` is no text: {error}"))?;
    Ok(text.content().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issue_is_a_file_an_address_or_standard_input() {
        assert_eq!(parse_source("-"), Source::StandardInput);
        assert_eq!(parse_source("notes/a#b.md"), Source::File(Path::new("notes/a#b.md")));
        assert_eq!(
            parse_source("me/tool#12"),
            Source::GitHub { repository: "me/tool", number: 12 }
        );
        for url in [
            "https://github.com/me/tool/issues/12",
            "https://github.com/me/tool/issues/12#issuecomment-1",
            "https://github.com/me/tool/pull/12/files",
        ] {
            assert_eq!(parse_source(url), Source::GitHub { repository: "me/tool", number: 12 });
        }
        assert_eq!(parse_source("https://example.com/x"), Source::Url("https://example.com/x"));
    }
}
