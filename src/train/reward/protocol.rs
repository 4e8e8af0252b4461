//! What a reward server is asked and what it answers, without the network.
//!
//! `POST /get_reward` is what OpenRLHF asks a remote reward model; `POST /score` is what the
//! reward functions ask that `sorft train export` writes for verl and TRL; `GET /health` tells
//! that the server is there.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::model::local::tokenizer::END_NAMES;
use crate::search_replace::fence::Ended;
use crate::train::reward::{JudgeError, Judged, Question, Rewards};

/// An answer: a status of HTTP, and JSON.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    pub status: u16,
    pub json: Value,
}

impl Reply {
    pub fn error(status: u16, message: &str) -> Self {
        Self { status, json: json!({ "error": message }) }
    }
}

/// Texts that hold prompt and completion, as OpenRLHF sends them: control tokens written out.
#[derive(Deserialize)]
struct Queries {
    query: Vec<String>,
    prompts: Vec<String>,
    /// The ids of episodes.
    labels: Vec<String>,
}

#[derive(Deserialize)]
struct Rows {
    rows: Vec<AskedRow>,
}

#[derive(Deserialize)]
struct AskedRow {
    id: String,
    completion: String,
    /// Where it is not known, the completion is taken as ended.
    ended: Option<bool>,
}

/// Answers a request.
pub fn reply(rewards: &Rewards, method: &str, path: &str, body: &[u8]) -> Reply {
    let questions = match (method, path) {
        ("GET", "/health") => {
            let episodes = rewards.n_episodes();
            let json = json!({ "status": "ok", "episodes": episodes, "options": rewards.options });
            return Reply { status: 200, json };
        }
        ("POST", "/get_reward") => parse_queries(body),
        ("POST", "/score") => parse_rows(body),
        (_, "/get_reward" | "/score" | "/health") => {
            return Reply::error(405, "`/get_reward` and `/score` take POST, `/health` takes GET");
        }
        _ => {
            let message = format!(
                "there is no `{path}` here: `POST /get_reward` (OpenRLHF), `POST /score`, `GET /health`"
            );
            return Reply::error(404, &message);
        }
    };
    let questions = match questions {
        Ok(questions) => questions,
        Err(message) => return Reply::error(400, &message),
    };
    match rewards.judge(&questions) {
        Err(error) => {
            let status = match error {
                JudgeError::UnknownEpisode(_) => 422,
                JudgeError::Tests(_) => 500,
            };
            Reply::error(status, &error.to_string())
        }
        Ok(judged) if path == "/score" => {
            let earned: Vec<f64> = judged.iter().map(|judged| judged.reward).collect();
            Reply { status: 200, json: json!({ "rewards": earned, "details": judged }) }
        }
        Ok(judged) => Reply { status: 200, json: of_openrlhf(&questions, &judged) },
    }
}

fn of_openrlhf(questions: &[Question], judged: &[Judged]) -> Value {
    let numbers = |number: fn(&Judged) -> f64| judged.iter().map(number).collect::<Vec<f64>>();
    let ended = |question: &Question| f64::from(question.ended == Ended::ByItself);
    let rewards = numbers(|judged| judged.reward);
    json!({
        "rewards": rewards,
        "scores": rewards,
        "extra_logs": {
            "hit": numbers(|judged| f64::from(judged.hit)),
            "rejected": numbers(|judged| f64::from(judged.rejection.is_some())),
            "ended": questions.iter().map(ended).collect::<Vec<f64>>(),
        },
    })
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8], wanted: &str) -> Result<T, String> {
    let text =
        std::str::from_utf8(body).map_err(|error| format!("the body is no UTF-8: {error}"))?;
    serde_json::from_str(text).map_err(|error| format!("wanted {wanted}, found: {error}"))
}

fn parse_rows(body: &[u8]) -> Result<Vec<Question>, String> {
    let wanted = r#"{"rows": [{"id": "INSTANCE/STAGE", "completion": "TEXT"}, ...]}"#;
    let Rows { rows } = parse(body, wanted)?;
    let question = |AskedRow { id, completion, ended }: AskedRow| {
        let ended = if ended == Some(false) { Ended::CutOff } else { Ended::ByItself };
        Question { id, completion, ended }
    };
    Ok(rows.into_iter().map(question).collect())
}

fn parse_queries(body: &[u8]) -> Result<Vec<Question>, String> {
    let wanted = r#"{"query": [PROMPT AND COMPLETION, ...], "prompts": [...], "labels": ["INSTANCE/STAGE", ...]}"#;
    let Queries { query, prompts, labels } = parse(body, wanted)?;
    if query.len() != prompts.len() || query.len() != labels.len() {
        return Err(format!(
            "{} `query`, {} `prompts` and {} `labels` are not as many of each",
            query.len(),
            prompts.len(),
            labels.len()
        ));
    }
    let question = |(idx, ((query, prompt), id)): (usize, ((String, String), String))| {
        let (completion, ended) = parse_query(&query, &prompt).ok_or_else(|| {
            format!("`query` {idx} does not hold its prompt, so that no completion is found in it")
        })?;
        Ok(Question { id, completion: completion.to_owned(), ended })
    };
    query.into_iter().zip(prompts).zip(labels).enumerate().map(question).collect()
}

/// So many bytes of a prompt's end tell where it ends.
const TAIL: usize = 200;

/// What follows the prompt in a text that holds both, and whether a control token ends it.
///
/// A trainer may have cut the prompt's beginning off, and its tokenizer may have composed
/// characters; then the prompt's last words are looked for.
fn parse_query<'a>(query: &'a str, prompt: &str) -> Option<(&'a str, Ended)> {
    let tail = &prompt[prompt.ceil_char_boundary(prompt.len().saturating_sub(TAIL))..];
    let completion = match query.strip_prefix(prompt) {
        Some(completion) => completion,
        None => &query[query.find(tail).filter(|_| !tail.is_empty())? + tail.len()..],
    };
    let turn = completion.trim_end();
    let ended = END_NAMES.iter().find_map(|name| turn.strip_suffix(name));
    Some(ended.map_or((completion, Ended::CutOff), |turn| (turn, Ended::ByItself)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::stage::score::RewardOptions;

    #[track_caller]
    fn check(query: &str, prompt: &str, wanted: Option<(&str, Ended)>) {
        assert_eq!(parse_query(query, prompt), wanted);
    }

    #[test]
    fn a_completion_is_what_follows_its_prompt_and_ends_with_a_control_token() {
        let prompt = "<|im_start|>user\nwhere?<|im_end|>\n<|im_start|>assistant\n";
        let by_itself = |text| Some((text, Ended::ByItself));
        check(&format!("{prompt}a.py<|im_end|>"), prompt, by_itself("a.py"));
        check(&format!("{prompt}a.py<|endoftext|>\n"), prompt, by_itself("a.py"));
        check(&format!("{prompt}a.py"), prompt, Some(("a.py", Ended::CutOff)));
        check(&format!("{prompt}<|im_end|>"), prompt, by_itself(""));
        check(prompt, prompt, Some(("", Ended::CutOff)));
        // A prompt whose beginning was cut off, and one whose characters were composed.
        let long = format!("e\u{301} {} {prompt}", "ü word ".repeat(100));
        check(&format!("{}a.py</s>", &long[300..]), &long, by_itself("a.py"));
        check(&format!("{}a.py</s>", long.replace("e\u{301}", "é")), &long, by_itself("a.py"));
        check("something else", prompt, None);
        check("something else", "", Some(("something else", Ended::CutOff)));
    }

    #[test]
    fn what_is_no_question_is_refused_with_what_was_wanted() {
        let rewards = Rewards::new(Vec::new(), RewardOptions::PAPER, None).unwrap();
        let rows = [
            ("POST", "/score", &b"{"[..], 400, "wanted {\"rows\""),
            ("POST", "/score", b"\xff", 400, "the body is no UTF-8"),
            ("POST", "/score", br#"{"rows": [{"id": 5}]}"#, 400, "expected a string"),
            (
                "POST",
                "/score",
                br#"{"rows": [{"id": "x/file", "completion": ""}]}"#,
                422,
                "`x/file`",
            ),
            ("POST", "/get_reward", br#"{"query": ["a"]}"#, 400, "missing field `prompts`"),
            (
                "POST",
                "/get_reward",
                br#"{"query": ["a"], "prompts": ["a"], "labels": []}"#,
                400,
                "1 `query`, 1 `prompts` and 0 `labels`",
            ),
            (
                "POST",
                "/get_reward",
                br#"{"query": ["a"], "prompts": ["b"], "labels": ["x"]}"#,
                400,
                "`query` 0 does not hold its prompt",
            ),
            ("GET", "/score", b"", 405, "take POST"),
            ("GET", "/", b"", 404, "there is no `/` here"),
        ];
        for (method, path, body, status, wanted) in rows {
            let reply = reply(&rewards, method, path, body);
            let message = reply.json["error"].as_str().unwrap();
            assert_eq!(reply.status, status, "{message}");
            assert!(message.contains(wanted), "{message}");
        }
        let none = reply(&rewards, "POST", "/score", br#"{"rows": []}"#);
        assert_eq!(none, Reply { status: 200, json: json!({ "rewards": [], "details": [] }) });
    }
}
