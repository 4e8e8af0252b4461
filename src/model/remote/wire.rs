//! Requests and answers of the chat protocol, as JSON and as server-sent events. No I/O.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::grammar::gbnf::render_gbnf;
use crate::grammar::lark::render_lark;
use crate::model::remote::endpoint::Dialect;
use crate::model::{Completion, Finish, Request, Usage};
use crate::prompt::CountTokens;

/// Fields that a request can do without, where a server refuses them by name.
const OPTIONAL: [&str; 7] =
    ["logprobs", "stream_options", "seed", "min_p", "top_k", "top_p", "temperature"];

/// The body of a request for `n` completions, without the fields that the server refused before.
pub(super) fn render_request(
    model: &str,
    request: &Request,
    dialect: Dialect,
    (n, seed): (usize, u64),
    refused: &BTreeSet<String>,
) -> Value {
    let sampling = &request.sampling;
    let mut body = Map::new();
    let mut set = |name: &str, value: Value| {
        if !refused.contains(name) {
            body.insert(name.to_owned(), value);
        }
    };
    set("model", json!(model));
    set("messages", json!(request.prompt.messages));
    set("stream", json!(true));
    set("stream_options", json!({ "include_usage": true }));
    set("temperature", json!(sampling.temperature));
    set("top_p", json!(sampling.top_p));
    // Servers disagree on the width of a seed; 31 bits pass everywhere.
    set("seed", json!(seed & 0x7fff_ffff));
    if 1 < n {
        set("n", json!(n));
    }
    if !sampling.stop.is_empty() {
        set("stop", json!(sampling.stop));
    }
    if refused.contains("max_tokens") {
        set("max_completion_tokens", json!(sampling.max_tokens));
    } else {
        set("max_tokens", json!(sampling.max_tokens));
    }
    if dialect != Dialect::Plain {
        if 0 < sampling.top_k {
            set("top_k", json!(sampling.top_k));
        }
        if 0.0 < sampling.min_p {
            set("min_p", json!(sampling.min_p));
        }
    }
    if matches!(dialect, Dialect::Vllm | Dialect::VllmGuided | Dialect::LlamaCpp) {
        set("logprobs", json!(true));
    }
    if let Some(grammar) = &request.grammar {
        match dialect {
            Dialect::Plain => {}
            Dialect::Vllm => {
                set("structured_outputs", json!({ "grammar": render_lark(grammar) }));
            }
            Dialect::VllmGuided => set("guided_grammar", json!(render_lark(grammar))),
            Dialect::LlamaCpp | Dialect::LlamaCppPython => {
                set("grammar", json!(render_gbnf(grammar)));
            }
        }
    }
    Value::Object(body)
}

/// The field that a server's refusal names, if the request can do without it.
pub(super) fn find_refused_field(message: &str, body: &Value) -> Option<String> {
    let is_sent = |name: &str| body.get(name).is_some();
    // The replacement's name holds no other field's name, but `max_tokens` stands in few messages
    // that are about something else.
    if is_sent("max_tokens") && message.contains("max_completion_tokens") {
        return Some("max_tokens".to_owned());
    }
    let named = OPTIONAL.iter().find(|name| is_sent(name) && message.contains(**name));
    named.map(|name| (*name).to_owned())
}

/// What has come of an answer so far.
#[derive(Debug, Default)]
pub(super) struct Answer {
    choices: Vec<Choice>,
    usage: Option<Value>,
    is_done: bool,
    /// Bytes of a line that has not ended.
    pending: Vec<u8>,
}

#[derive(Debug, Default, Clone)]
struct Choice {
    text: String,
    finish: Option<Finish>,
    logprob: Option<f64>,
}

/// Why an answer is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadAnswer {
    #[error("wanted JSON, found `{found}`")]
    NotJson { found: String },
    #[error("the server reports: {message}")]
    Reported { message: String },
    #[error("wanted at most {wanted} completions, found number {found}")]
    TooManyChoices { wanted: usize, found: u64 },
}

impl Answer {
    /// Takes in bytes of an event stream; gives the text that each sample grew by.
    pub(super) fn feed(
        &mut self,
        bytes: &[u8],
        n: usize,
    ) -> Result<Vec<(usize, String)>, BadAnswer> {
        // What was there before holds no line end: a long line is looked through once.
        let mut new = self.pending.len();
        self.pending.extend_from_slice(bytes);
        let mut grown = Vec::new();
        while let Some(at) = self.pending[new..].iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.pending.drain(..=new + at).collect();
            new = 0;
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b":") {
                continue;
            }
            let Some(data) = line.strip_prefix(b"data:") else {
                let is_other_field = [b"event:".as_slice(), b"id:", b"retry:"]
                    .iter()
                    .any(|field| line.starts_with(field));
                if is_other_field {
                    continue;
                }
                return Err(BadAnswer::NotJson { found: excerpt_of(line) });
            };
            let data = data.trim_ascii();
            if data == b"[DONE]" {
                self.is_done = true;
                continue;
            }
            self.take(&parse(data)?, "delta", n, &mut grown)?;
        }
        Ok(grown)
    }

    /// Takes in an answer that came as one JSON value.
    pub(super) fn feed_whole(
        &mut self,
        body: &[u8],
        n: usize,
    ) -> Result<Vec<(usize, String)>, BadAnswer> {
        let mut grown = Vec::new();
        self.take(&parse(body)?, "message", n, &mut grown)?;
        self.is_done = true;
        Ok(grown)
    }

    fn take(
        &mut self,
        value: &Value,
        part: &str,
        n: usize,
        grown: &mut Vec<(usize, String)>,
    ) -> Result<(), BadAnswer> {
        if let Some(error) = value.get("error").filter(|error| !error.is_null()) {
            let message = error["message"].as_str().map_or(error.to_string(), str::to_owned);
            return Err(BadAnswer::Reported { message });
        }
        if value["usage"].is_object() {
            self.usage = Some(value["usage"].clone());
        }
        for choice in value["choices"].as_array().into_iter().flatten() {
            let index = choice["index"].as_u64().unwrap_or(0);
            if n as u64 <= index {
                return Err(BadAnswer::TooManyChoices { wanted: n, found: index + 1 });
            }
            let index = index as usize;
            if self.choices.len() <= index {
                self.choices.resize(index + 1, Choice::default());
            }
            let kept = &mut self.choices[index];
            if let Some(text) = choice[part]["content"].as_str().filter(|text| !text.is_empty()) {
                kept.text.push_str(text);
                grown.push((index, text.to_owned()));
            }
            for token in choice["logprobs"]["content"].as_array().into_iter().flatten() {
                if let Some(logprob) = token["logprob"].as_f64() {
                    kept.logprob = Some(kept.logprob.unwrap_or(0.0) + logprob);
                }
            }
            if let Some(reason) = choice["finish_reason"].as_str() {
                kept.finish = Some(if reason == "length" { Finish::Length } else { Finish::Stop });
            }
        }
        Ok(())
    }

    /// Whether every sample that began also ended.
    pub(super) fn is_whole(&self) -> bool {
        !self.choices.is_empty() && self.choices.iter().all(|choice| choice.finish.is_some())
    }

    /// The completions; where the server told no usage, it is estimated.
    pub(super) fn into_completions(
        self,
        prompt_tokens: usize,
        counter: &dyn CountTokens,
    ) -> Vec<Completion> {
        let count = |name: &str| {
            self.usage.as_ref().and_then(|usage| usage[name].as_u64()).map(|count| count as usize)
        };
        let cached = self.usage.as_ref().and_then(|usage| {
            usage["prompt_tokens_details"]["cached_tokens"].as_u64().map(|count| count as usize)
        });
        let estimates: Vec<usize> =
            self.choices.iter().map(|choice| counter.count(&choice.text)).collect();
        let estimated_total: usize = estimates.iter().sum();
        // Up to the end of a sample, so that what rounding takes from one comes to the next.
        let share_up_to = |n_samples: usize, total: usize| {
            total * estimates[..n_samples].iter().sum::<usize>() / estimated_total
        };
        let (told_prompt, told_completion) = (count("prompt_tokens"), count("completion_tokens"));
        let is_estimated = told_prompt.is_none() || told_completion.is_none();
        let usage_of = |sample: usize| Usage {
            prompt_tokens: told_prompt.unwrap_or(prompt_tokens),
            cached_tokens: match sample {
                0 => cached.unwrap_or(0),
                _ => told_prompt.unwrap_or(prompt_tokens),
            },
            // A server tells one sum for all samples; each gets its share by length.
            completion_tokens: match told_completion {
                Some(total) if estimates.len() == 1 => total,
                Some(total) if 0 < estimated_total => {
                    share_up_to(sample + 1, total) - share_up_to(sample, total)
                }
                _ => estimates[sample],
            },
            forced_tokens: 0,
            is_estimated,
        };
        let usages: Vec<Usage> = (0..self.choices.len()).map(usage_of).collect();
        let completion = |(choice, usage): (Choice, Usage)| Completion {
            bytes: choice.text.into_bytes(),
            finish: choice.finish.unwrap_or(Finish::Length),
            logprob: choice.logprob,
            usage,
            tokens: Vec::new(),
        };
        self.choices.into_iter().zip(usages).map(completion).collect()
    }
}

fn parse(data: &[u8]) -> Result<Value, BadAnswer> {
    serde_json::from_slice(data).map_err(|_| BadAnswer::NotJson { found: excerpt_of(data) })
}

fn excerpt_of(data: &[u8]) -> String {
    String::from_utf8_lossy(data).chars().take(120).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompt::EstimateTokens;

    const STREAM: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\"}}]}\r\n\r\n\
        : keep-alive\n\n\
        data: {\"choices\":[{\"index\":1,\"delta\":{\"content\":\"b\u{e9}\"},\"logprobs\":{\"content\":[{\"logprob\":-0.5}]}}]}\n\n\
        data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"},\"finish_reason\":\"stop\"}]}\n\n\
        data: {\"choices\":[{\"index\":1,\"delta\":{},\"finish_reason\":\"length\"}]}\n\n\
        data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2}}\n\n\
        data: [DONE]\n\n";

    #[test]
    fn a_stream_is_the_same_however_it_is_cut() {
        for size in [1, 2, 7, 1000] {
            let mut answer = Answer::default();
            for piece in STREAM.as_bytes().chunks(size) {
                answer.feed(piece, 2).unwrap();
            }
            assert!(answer.is_whole() && answer.is_done);
            let completions = answer.into_completions(1, &EstimateTokens);
            assert_eq!(completions[0].text(), "a");
            assert_eq!(completions[1].text(), "bé");
            assert_eq!(completions[1].finish, Finish::Length);
            assert_eq!(completions[1].logprob, Some(-0.5));
            assert_eq!(completions[0].usage.prompt_tokens, 9);
            assert!(!completions[0].usage.is_estimated);
        }
    }

    #[test]
    fn the_shares_of_the_samples_add_up_to_what_the_server_told() {
        let choice = |index: usize, text: &str| json!({ "index": index, "message": { "content": text }, "finish_reason": "stop" });
        for total in [0, 1, 7, 100] {
            let body = json!({
                "choices": [choice(0, "a b c"), choice(1, "d"), choice(2, "e f g h i j")],
                "usage": { "prompt_tokens": 9, "completion_tokens": total },
            });
            let mut answer = Answer::default();
            answer.feed_whole(body.to_string().as_bytes(), 3).unwrap();
            let completions = answer.into_completions(1, &EstimateTokens);
            let told: usize = completions.iter().map(|one| one.usage.completion_tokens).sum();
            assert_eq!(told, total);
        }
    }

    #[test]
    fn half_a_stream_is_not_whole() {
        let mut answer = Answer::default();
        let half = STREAM.split("data: {\"choices\":[{\"index\":1,\"delta\":{}").next().unwrap();
        answer.feed(half.as_bytes(), 2).unwrap();
        assert!(!answer.is_whole());
    }

    #[test]
    fn what_is_no_answer_is_told() {
        let feed = |text: &str| Answer::default().feed(text.as_bytes(), 1).unwrap_err().to_string();
        assert_eq!(feed("<html>\n"), "wanted JSON, found `<html>`");
        assert_eq!(feed("data: {\"a\n"), "wanted JSON, found `{\"a`");
        let error = "data: {\"error\":{\"message\":\"out of memory\"}}\n";
        assert_eq!(feed(error), "the server reports: out of memory");
        let extra = "data: {\"choices\":[{\"index\":99999999999,\"delta\":{}}]}\n";
        assert_eq!(feed(extra), "wanted at most 1 completions, found number 100000000000");
    }

    #[test]
    fn a_refusal_names_the_field_to_leave_out() {
        let body = json!({ "max_tokens": 5, "logprobs": true, "temperature": 0.8 });
        let find = |message: &str| find_refused_field(message, &body);
        let replaced = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.";
        assert_eq!(find(replaced), Some("max_tokens".to_owned()));
        assert_eq!(find("`temperature` does not support 0.8"), Some("temperature".to_owned()));
        assert_eq!(find("unknown field seed"), None);
    }
}
