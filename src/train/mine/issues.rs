//! Texts of issues that the user has: JSON lines of number, title and body.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail};
use serde::Deserialize;

/// Issues by repository and number.
#[derive(Debug, Default)]
pub struct Issues(BTreeMap<(String, u64), String>);

#[derive(Debug, Deserialize)]
#[serde(expecting = "an issue: number, title, body, and repo where several repositories are mined")]
struct IssueRow {
    #[serde(default)]
    repo: Option<String>,
    number: u64,
    title: String,
    #[serde(default)]
    body: Option<String>,
}

impl Issues {
    /// Reads a file of issues. `only` is the one repository that is mined, where there is one: its
    /// issues need not name it.
    pub fn read(path: &Path, only: Option<&str>) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path);
        let text = text.with_context(|| format!("reading the issues `{}`", path.display()))?;
        let mut issues = BTreeMap::new();
        for (idx, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let place = || format!("`{}`, line {}", path.display(), idx + 1);
            let row: IssueRow = serde_json::from_str(line).with_context(place)?;
            let Some(repo) = row.repo.as_deref().or(only) else {
                bail!(
                    "{}: the issue has no `repo`\nhint: with several repositories each issue must name its own, as `owner/name`",
                    place()
                );
            };
            let body = row.body.unwrap_or_default().replace("\r\n", "\n");
            let text = format!("{}\n{}", row.title.trim(), body.trim()).trim().to_owned();
            issues.insert((repo.to_owned(), row.number), text);
        }
        Ok(Self(issues))
    }

    /// The first of these issues that is at hand.
    pub(super) fn find(&self, repo: &str, numbers: &[u64]) -> Option<&str> {
        let mut found = numbers.iter().filter_map(|n| self.0.get(&(repo.to_owned(), *n)));
        found.next().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issues_are_found_by_repository_and_number() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("issues.jsonl");
        fs::write(
            &path,
            "{\"number\":3,\"title\":\"T\",\"body\":null,\"state\":\"closed\"}\n\n{\"repo\":\"o/m\",\"number\":3,\"title\":\"U\",\"body\":\"b\\r\\nc\"}\n",
        )
        .unwrap();
        let issues = Issues::read(&path, Some("o/n")).unwrap();
        assert_eq!(issues.find("o/n", &[1, 3]), Some("T"));
        assert_eq!(issues.find("o/m", &[3]), Some("U\nb\nc"));
        assert_eq!(issues.find("o/m", &[4]), None);
        let message = format!("{:#}", Issues::read(&path, None).unwrap_err());
        assert!(message.contains("line 1: the issue has no `repo`"), "{message}");
    }
}
