//! The keys of `sorft.yaml`: what each means, what it takes, and who may set it.

use serde_yaml::Value;

/// One key of the configuration.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Key {
    pub name: &'static str,
    pub kind: Kind,
    pub setter: Setter,
    /// What it decides, for people: a sentence fragment.
    pub doc: &'static str,
}

/// What a key takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    Text,
    /// A relative one counts from the folder of the file that sets it.
    Path,
    /// The same, or this word.
    PathOr(&'static str),
    /// A whole number within these bounds, both included.
    Integer {
        min: u64,
        max: u64,
    },
    /// A number within these bounds, both included.
    Number {
        min: f64,
        max: f64,
    },
    Flag,
    /// Texts; in the environment, with commas between them.
    List,
    OneOf(&'static [&'static str]),
}

/// Whose word counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setter {
    /// Also the `sorft.yaml` of a repository that nobody has vouched for.
    Anyone,
    /// A repository's file only once the user has run `sorft trust` on it.
    Trusted,
}

const COUNT: Kind = Kind::Integer { min: 0, max: 1_000_000_000 };
const AT_LEAST_ONE: Kind = Kind::Integer { min: 1, max: 1_000_000_000 };

/// The word for no adapter at all.
pub const NO_ADAPTER: &str = "none";

const fn key(name: &'static str, kind: Kind, setter: Setter, doc: &'static str) -> Key {
    Key { name, kind, setter, doc }
}

/// All keys, in the order in which they are shown.
pub const KEYS: &[Key] = &[
    key(
        "test_globs",
        Kind::List,
        Setter::Anyone,
        "paths that are tests, besides those of the rule",
    ),
    key(
        "product_globs",
        Kind::List,
        Setter::Anyone,
        "paths that are no tests, whatever the rule says",
    ),
    key("languages", Kind::List, Setter::Anyone, "languages to outline; none named means all"),
    key(
        "ignored_paths",
        Kind::List,
        Setter::Anyone,
        "globs of paths that are neither shown nor edited",
    ),
    key("context_lines", COUNT, Setter::Anyone, "lines shown around a chosen place"),
    key(
        "context_tokens",
        COUNT,
        Setter::Anyone,
        "the most tokens of a prompt; 0 means what the model takes",
    ),
    key(
        "triage_threshold",
        Kind::Number { min: 0.0, max: 1.0 },
        Setter::Anyone,
        "the agreement below which `sorft triage --strict` refuses a change",
    ),
    key(
        "issue_file",
        Kind::Text,
        Setter::Anyone,
        "the file of the repository that holds the issue at hand, for `sorft triage --staged`",
    ),
    key(
        "issue_command",
        Kind::Text,
        Setter::Trusted,
        "the command that prints issue `{number}`, such as `gh issue view {number}`",
    ),
    key("test", Kind::Text, Setter::Trusted, "the command that tests a candidate"),
    key(
        "test_budget",
        COUNT,
        Setter::Trusted,
        "seconds that whole runs of the test command may take together; 0 means no limit",
    ),
    key(
        "reproduce",
        Kind::Flag,
        Setter::Trusted,
        "whether the model writes a test of the issue, which judges candidates too",
    ),
    key(
        "reproduction_samples",
        COUNT,
        Setter::Trusted,
        "reproduction tests to sample; 0 means as many as `effort` says",
    ),
    key(
        "model",
        Kind::Text,
        Setter::Trusted,
        "the model: an alias, `hf:OWNER/NAME[/FILE]` or a path",
    ),
    key(
        "adapter",
        Kind::PathOr(NO_ADAPTER),
        Setter::Trusted,
        "the folder of an adapter (LoRA, as PEFT keeps it) that is added to a local model; `none`: not even the one that is shipped for it",
    ),
    key(
        "device",
        Kind::Text,
        Setter::Trusted,
        "what computes a local model: `auto`, `cpu`, `cuda`, `cuda:1` or `metal`",
    ),
    key(
        "endpoint",
        Kind::List,
        Setter::Trusted,
        "URLs of OpenAI-compatible servers, instead of a local model",
    ),
    key(
        "api_key_file",
        Kind::Path,
        Setter::Trusted,
        "the file that holds the servers' key, where `SORFT_API_KEY` is not set",
    ),
    key(
        "prompts",
        Kind::Path,
        Setter::Trusted,
        "a folder whose templates replace the built-in ones",
    ),
    key(
        "effort",
        Kind::OneOf(&["auto", "quick", "normal", "max"]),
        Setter::Trusted,
        "how many samples a stage may draw",
    ),
    key(
        "rerank",
        Kind::OneOf(&["off", "likelihood"]),
        Setter::Trusted,
        "whether the model's likelihoods refine the retrieval's ranking",
    ),
    key("seed", COUNT, Setter::Trusted, "where the random numbers of a run start"),
    key(
        "min_votes",
        AT_LEAST_ONE,
        Setter::Trusted,
        "samples that must agree on a patch that no test confirms",
    ),
    key(
        "max_time",
        COUNT,
        Setter::Trusted,
        "seconds after which the best patch so far is taken; 0 means no limit",
    ),
    key("jobs", COUNT, Setter::Trusted, "what may run at once; 0 means one for each processor"),
    key(
        "offline",
        Kind::Flag,
        Setter::Trusted,
        "never use the network, but for the servers of `endpoint`",
    ),
    key("run_dir", Kind::Path, Setter::Trusted, "the folder that keeps a run"),
    key("cache_dir", Kind::Path, Setter::Trusted, "the folder of models and outlines"),
    key("cache_mb", AT_LEAST_ONE, Setter::Trusted, "the most megabytes of cached outlines"),
    key(
        "sandbox_seconds",
        AT_LEAST_ONE,
        Setter::Trusted,
        "the longest that a test command may run",
    ),
    key(
        "sandbox_memory_mb",
        AT_LEAST_ONE,
        Setter::Trusted,
        "the most megabytes of memory for a test command",
    ),
    key("sandbox_processes", AT_LEAST_ONE, Setter::Trusted, "the most processes of a test command"),
    key(
        "sandbox_disk_mb",
        AT_LEAST_ONE,
        Setter::Trusted,
        "the most megabytes that a test command may write",
    ),
    key(
        "sandbox_output_mb",
        AT_LEAST_ONE,
        Setter::Trusted,
        "the most megabytes that a test command may print",
    ),
    key(
        "sandbox_environment",
        Kind::List,
        Setter::Trusted,
        "environment variables that a test command sees besides the short list",
    ),
    key(
        "sandbox_folders",
        Kind::List,
        Setter::Trusted,
        "folders outside the repository that a test command may read",
    ),
];

/// The key of that name; otherwise an error that names the nearest one.
pub fn find_key(name: &str) -> Result<&'static Key, UnknownKey> {
    KEYS.iter().find(|key| key.name == name).ok_or_else(|| UnknownKey {
        name: name.chars().take(60).collect(),
        nearest: nearest_key(name),
    })
}

/// A key that the configuration does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown key `{name}`{}", .nearest.map_or(String::new(), |nearest| format!("; the nearest known key is `{nearest}`")))]
pub struct UnknownKey {
    pub name: String,
    pub nearest: Option<&'static str>,
}

/// A value that its key does not take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{key}`: wanted {wanted}, found {found}")]
pub struct WrongValue {
    pub key: &'static str,
    pub wanted: String,
    pub found: String,
}

/// Checks that a key takes a value.
pub fn check_value(key: &'static Key, value: &Value) -> Result<(), WrongValue> {
    let fits = match (key.kind, value) {
        (Kind::Text | Kind::Path | Kind::PathOr(_), Value::String(_))
        | (Kind::Flag, Value::Bool(_)) => true,
        (Kind::Integer { min, max }, Value::Number(number)) => {
            number.as_u64().is_some_and(|number| (min..=max).contains(&number))
        }
        (Kind::Number { min, max }, Value::Number(number)) => {
            number.as_f64().is_some_and(|number| (min..=max).contains(&number))
        }
        (Kind::List, Value::Sequence(items)) => items.iter().all(Value::is_string),
        (Kind::OneOf(names), Value::String(name)) => names.contains(&name.as_str()),
        _ => false,
    };
    if fits {
        return Ok(());
    }
    Err(WrongValue { key: key.name, wanted: render_wanted(key.kind), found: render_found(value) })
}

/// The value that an environment variable or a flag's text gives a key.
pub fn parse_value(key: &'static Key, text: &str) -> Result<Value, WrongValue> {
    let value = match key.kind {
        Kind::Text | Kind::Path | Kind::PathOr(_) | Kind::OneOf(_) => {
            Value::String(text.to_owned())
        }
        Kind::List => text
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
            .map(|item| Value::String(item.to_owned()))
            .collect(),
        Kind::Flag => match text {
            "1" | "true" | "yes" | "on" => Value::Bool(true),
            "" | "0" | "false" | "no" | "off" => Value::Bool(false),
            _ => Value::String(text.to_owned()),
        },
        Kind::Integer { .. } => text
            .parse::<u64>()
            .map_or_else(|_| Value::String(text.to_owned()), |number| Value::Number(number.into())),
        Kind::Number { .. } => text
            .parse::<f64>()
            .map_or_else(|_| Value::String(text.to_owned()), |number| Value::Number(number.into())),
    };
    check_value(key, &value)?;
    Ok(value)
}

fn render_wanted(kind: Kind) -> String {
    match kind {
        Kind::Text => "text".to_owned(),
        Kind::Path => "a path".to_owned(),
        Kind::PathOr(word) => format!("a path or `{word}`"),
        Kind::Integer { min, max } => format!("a whole number from {min} to {max}"),
        Kind::Number { min, max } => format!("a number from {min} to {max}"),
        Kind::Flag => "`true` or `false`".to_owned(),
        Kind::List => "a list of texts".to_owned(),
        Kind::OneOf(names) => format!("one of {}", names.join(", ")),
    }
}

fn render_found(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(flag) => format!("`{flag}`"),
        Value::Number(number) => format!("`{number}`"),
        Value::String(text) => {
            let start: String = text.chars().take(40).collect();
            format!("the text `{start}`{}", if start.len() < text.len() { " …" } else { "" })
        }
        Value::Sequence(items) => format!("a list of {}", items.len()),
        Value::Mapping(entries) => format!("a mapping of {}", entries.len()),
        Value::Tagged(_) => "a tagged value".to_owned(),
    }
}

/// The known key that a misspelt one probably means.
fn nearest_key(name: &str) -> Option<&'static str> {
    let name: Vec<char> = name.chars().take(60).collect();
    let distance = |key: &&Key| edit_distance(&name, &key.name.chars().collect::<Vec<_>>());
    let nearest = KEYS.iter().min_by_key(distance)?;
    (distance(&nearest) <= name.len().max(nearest.name.len()) / 2).then_some(nearest.name)
}

/// Insertions, deletions and replacements that turn one text into the other.
fn edit_distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, of_a) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, of_b) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(of_a != of_b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_key_is_told_the_nearest_one() {
        let message = |name: &str| find_key(name).unwrap_err().to_string();
        assert_eq!(message("modle"), "unknown key `modle`; the nearest known key is `model`");
        assert_eq!(
            message("test-globs"),
            "unknown key `test-globs`; the nearest known key is `test_globs`"
        );
        assert_eq!(message("zzzzzzzzzz"), "unknown key `zzzzzzzzzz`");
        assert!(message(&"x".repeat(100_000)).len() < 100);
    }

    #[test]
    fn a_value_of_another_kind_is_refused_in_words() {
        let message = |name: &str, text: &str| {
            parse_value(find_key(name).unwrap(), text).unwrap_err().to_string()
        };
        assert_eq!(
            message("effort", "maximum"),
            "`effort`: wanted one of auto, quick, normal, max, found the text `maximum`"
        );
        assert_eq!(
            message("triage_threshold", "7"),
            "`triage_threshold`: wanted a number from 0 to 1, found `7.0`"
        );
        assert_eq!(
            message("offline", "maybe"),
            "`offline`: wanted `true` or `false`, found the text `maybe`"
        );
        assert_eq!(
            message("jobs", "-1"),
            "`jobs`: wanted a whole number from 0 to 1000000000, found the text `-1`"
        );
    }
}
