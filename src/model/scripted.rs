//! Replays a recorded run: the completions of `trajectory.jsonl`, found by what was asked.
//!
//! Prompts come out as they were, because the run says what its texts cost: neither weights nor a
//! tokenizer are needed.
//! A request is known by a hash over all that decides its completions, so whoever asks the same
//! gets the same, in any order. Nothing is made up: a request that was not recorded is an error.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use futures_util::future::BoxFuture;

use crate::model::{
    Completion, EngineInfo, Event, Finish, Generate, Request, Sampling, Usage, Variety,
};
use crate::prompt::counts::Counts;
use crate::prompt::{CountTokens, Message, Prompt, Role};
use crate::run::line_log::read_rows;
use crate::run::row::{RunInfo, TrajectoryRow};
use crate::run::seed::request_hash;

/// The name of a request to the engine called `engine`, as trajectories carry it.
pub fn request_name(engine: &str, request: &Request) -> anyhow::Result<String> {
    // The engine's name tells which stages its adapter is for.
    let Request { prompt, sampling, grammar, seed, stage: _ } = request;
    request_hash(&(engine, prompt, sampling, grammar, seed))
}

/// The request that stands for judging one continuation of a prompt.
pub fn judging_request(prompt: &Prompt, continuation: &str) -> Request {
    let mut prompt = prompt.clone();
    let content = continuation.to_owned();
    prompt.messages.push(Message { role: Role::Assistant, content });
    let sampling = Sampling {
        n: 1,
        temperature: 0.0,
        top_p: 1.0,
        top_k: 0,
        min_p: 0.0,
        max_tokens: 0,
        stop: Vec::new(),
        variety: Variety::Independent,
    };
    Request { prompt, sampling, grammar: None, seed: 0, stage: "likelihood" }
}

/// An engine that only knows what another one said.
pub struct ScriptedEngine {
    info: EngineInfo,
    counts: Counts,
    path: PathBuf,
    /// Completions by request, in the order of their samples.
    calls: BTreeMap<String, Vec<Completion>>,
}

impl ScriptedEngine {
    /// Reads `trajectory.jsonl`, or the run directory that holds it.
    ///
    /// The engine takes the name of the recorded one, from `run.json` beside the trajectory, and
    /// the rest of its description from the settings there (`engine`), if they hold one. A last
    /// line that was not written whole is left out: the run was killed while it wrote it.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let path = if path.is_dir() { path.join("trajectory.jsonl") } else { path.to_owned() };
        ensure!(
            path.is_file(),
            "there is no recorded run in `{}`: a run directory or its `trajectory.jsonl` was wanted",
            path.display()
        );
        let mut rows: Vec<TrajectoryRow> = read_rows(&path)
            .with_context(|| format!("reading the recorded run `{}`", path.display()))?;
        rows.sort_by_key(|row| row.sample);
        let mut calls: BTreeMap<String, Vec<Completion>> = BTreeMap::new();
        let mut counts = Counts::default();
        for mut row in rows {
            counts.extend(std::mem::take(&mut row.counts));
            let completion = read_completion(&row).with_context(|| {
                format!("sample {} of stage `{}` in `{}`", row.sample, row.stage, path.display())
            })?;
            calls.entry(row.request).or_default().push(completion);
        }
        let info = read_engine_info(&path)?;
        Ok(Self { info, counts, path, calls })
    }

    fn replay(
        &self,
        request: &Request,
        events: &(dyn Fn(Event) + Send + Sync),
    ) -> anyhow::Result<Vec<Completion>> {
        let name = request_name(&self.info.name, request)?;
        let n = request.sampling.n;
        let Some(recorded) = self.calls.get(&name) else {
            bail!(
                "`{}` holds no call {name}: {n} completions at temperature {} and seed {} of a \
                 prompt that ends in `{}`\n\
                 hint: replay with the prompts, settings and seed of the recorded run",
                self.path.display(),
                request.sampling.temperature,
                request.seed,
                end_of(&request.prompt)
            );
        };
        ensure!(
            n <= recorded.len(),
            "wanted {n} completions of call {name}, found {} in `{}`",
            recorded.len(),
            self.path.display()
        );
        let completions = recorded[..n].to_vec();
        for (sample, completion) in completions.iter().enumerate() {
            events(Event::Text { sample, bytes: completion.bytes.clone() });
            events(Event::Finished { sample });
        }
        Ok(completions)
    }
}

impl Generate for ScriptedEngine {
    fn info(&self) -> &EngineInfo {
        &self.info
    }

    fn counter(&self) -> &dyn CountTokens {
        &self.counts
    }

    fn generate<'a>(
        &'a self,
        request: &'a Request,
        events: &'a (dyn Fn(Event) + Send + Sync),
    ) -> BoxFuture<'a, anyhow::Result<Vec<Completion>>> {
        Box::pin(async move { self.replay(request, events) })
    }

    fn score<'a>(
        &'a self,
        prompt: &'a Prompt,
        continuations: &'a [String],
    ) -> Option<BoxFuture<'a, anyhow::Result<Vec<f64>>>> {
        Some(Box::pin(async move {
            let recorded = |continuation: &String| {
                let request = judging_request(prompt, continuation);
                let completions = self.replay(&request, &|_| ())?;
                let logprob = completions.first().and_then(|completion| completion.logprob);
                logprob.context("wanted a log-probability, the recorded call has none")
            };
            continuations.iter().map(recorded).collect()
        }))
    }
}

fn read_completion(row: &TrajectoryRow) -> anyhow::Result<Completion> {
    let finish = match row.finish.as_str() {
        "stop" => Finish::Stop,
        "length" => Finish::Length,
        other => bail!("wanted the finish `stop` or `length`, found `{other}`"),
    };
    let usage: Usage = serde_json::from_value(row.usage.clone()).context("reading its usage")?;
    Ok(Completion {
        bytes: row.completion_bytes(),
        finish,
        logprob: row.logprob,
        usage,
        tokens: Vec::new(),
    })
}

/// What the recorded engine said of itself.
fn read_engine_info(trajectory: &Path) -> anyhow::Result<EngineInfo> {
    let path = trajectory.with_file_name("run.json");
    let unknown = EngineInfo {
        name: "scripted".to_owned(),
        context_length: 32_768,
        obeys_grammar: true,
        is_local_cpu: true,
        gives_distinct: false,
    };
    if !path.exists() {
        return Ok(unknown);
    }
    let text =
        fs::read_to_string(&path).with_context(|| format!("reading `{}`", path.display()))?;
    let run: RunInfo = serde_json::from_str(&text)
        .with_context(|| format!("wanted the description of a run in `{}`", path.display()))?;
    match run.settings.get("engine") {
        Some(engine) => serde_json::from_value(engine.clone())
            .with_context(|| format!("reading the engine in `{}`", path.display())),
        None => Ok(EngineInfo { name: run.model, ..unknown }),
    }
}

/// The last words of a prompt, enough to recognize it.
fn end_of(prompt: &Prompt) -> String {
    let text = prompt.messages.last().map_or("", |message| message.content.trim_end());
    let from = text.char_indices().rev().nth(59).map_or(0, |(at, _)| at);
    text[from..].replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    use crate::prompt::EstimateTokens;
    use crate::prompt::counts::CountLog;
    use crate::run::row::CallOutcome;

    fn request(content: &str, seed: u64) -> Request {
        let message = Message { role: Role::User, content: content.to_owned() };
        let sampling = Sampling {
            n: 2,
            temperature: 0.8,
            top_p: 0.95,
            top_k: 0,
            min_p: 0.0,
            max_tokens: 64,
            stop: vec![],
            variety: Variety::Independent,
        };
        let prompt = Prompt { messages: vec![message] };
        Request { prompt, sampling, grammar: None, seed, stage: "" }
    }

    fn row(request: &Request, sample: u64, bytes: &[u8]) -> String {
        let (completion, completion_hex) = TrajectoryRow::completion_fields(bytes);
        let row = TrajectoryRow {
            version: 1,
            instance: "i".to_owned(),
            stage: "file".to_owned(),
            sample,
            request: request_name("recorded", request).unwrap(),
            prompt: None,
            counts: Counts::default(),
            completion,
            completion_hex,
            finish: "stop".to_owned(),
            logprob: Some(-1.5),
            usage: json!(Usage { prompt_tokens: 7, ..Usage::default() }),
            outcome: CallOutcome::Answer(Value::Null),
            details: Value::Null,
        };
        serde_json::to_string(&row).unwrap() + "\n"
    }

    fn recorded(rows: &[String]) -> (tempfile::TempDir, ScriptedEngine) {
        let folder = tempfile::tempdir().unwrap();
        let run = RunInfo::new("fix", "recorded", 1, Value::Null);
        fs::write(folder.path().join("run.json"), serde_json::to_string(&run).unwrap()).unwrap();
        fs::write(folder.path().join("trajectory.jsonl"), rows.concat()).unwrap();
        let engine = ScriptedEngine::open(folder.path()).unwrap();
        (folder, engine)
    }

    #[tokio::test]
    async fn a_recorded_request_gets_its_completions_in_order() {
        let asked = request("where is the bug?", 5);
        let rows = [row(&asked, 4, b"second \xff"), row(&asked, 3, b"first")];
        let (_folder, engine) = recorded(&rows);
        let completions = engine.generate(&asked, &|_| {}).await.unwrap();
        assert_eq!(completions[0].bytes, b"first");
        assert_eq!(completions[1].bytes, b"second \xff");
        assert_eq!(completions[0].usage.prompt_tokens, 7);
        assert_eq!(engine.info().name, "recorded");
    }

    #[tokio::test]
    async fn a_request_that_was_not_recorded_is_described() {
        let asked = request("where is the bug?", 5);
        let (_folder, engine) = recorded(&[row(&asked, 0, b"only one")]);
        let other = engine.generate(&request("where is the bug?", 6), &|_| {}).await.unwrap_err();
        let message = format!("{other:#}");
        assert!(message.contains("seed 6") && message.contains("where is the bug?"), "{message}");
        let few = engine.generate(&asked, &|_| {}).await.unwrap_err();
        assert!(few.to_string().contains("wanted 2 completions"), "{few}");
    }

    #[test]
    fn the_run_says_what_its_texts_cost() {
        let mut counts: Counts = serde_json::from_value(json!({})).unwrap();
        let log = CountLog::new(&EstimateTokens);
        log.count("some text");
        counts.extend(log.take_new());
        let asked = request("where is the bug?", 5);
        let mut first: TrajectoryRow = serde_json::from_str(&row(&asked, 0, b"x")).unwrap();
        let said = serde_json::to_string(&counts).unwrap().replace(":3", ":77");
        first.counts = serde_json::from_str(&said).unwrap();
        let (_folder, engine) = recorded(&[serde_json::to_string(&first).unwrap() + "\n"]);
        assert_eq!(engine.counter().count("some text"), 77);
    }

    #[test]
    fn a_killed_run_replays_as_far_as_it_goes() {
        let asked = request("where is the bug?", 5);
        let rows = [row(&asked, 0, b"first"), row(&asked, 1, b"second")];
        let half = rows[1][..rows[1].len() / 2].to_owned();
        let (_folder, engine) = recorded(&[rows[0].clone(), rows[1].clone(), half]);
        assert_eq!(engine.calls.values().map(Vec::len).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn a_damaged_line_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trajectory.jsonl");
        fs::write(&path, "{\"version\":\n\nmore").unwrap();
        let Err(err) = ScriptedEngine::open(&path) else {
            panic!("wanted an error");
        };
        assert!(format!("{err:#}").contains("line 1: not a row"), "{err:#}");
    }
}
