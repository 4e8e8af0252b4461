//! A reproduction: a test that the model writes of the issue, kept only if it fails on the
//! unchanged code for the reason that the issue names (`rule`), and put to the vote.
//!
//! It is written into scratch copies alone, at a path that is chosen here and that no prompt
//! shows, so that a candidate can neither see nor change it.

mod rule;
mod traceback;
mod vote;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, bail};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::diff::change::{FileChange, FileState};
use crate::grammar::Grammar;
use crate::index::definitions::Definitions;
use crate::index::normal_form::normal_form;
use crate::index::owner::owner_of_line;
use crate::pipeline::calls::{Calls, Question};
use crate::pipeline::judge::Judge;
use crate::pipeline::locate::{announce, draws};
use crate::pipeline::places::Places;
use crate::pipeline::progress::{Progress, Topic};
use crate::pipeline::repair::Bench;
use crate::pipeline::reproduce::rule::Rule;
use crate::pipeline::reproduce::vote::vote;
use crate::pipeline::settings::Settings;
use crate::repo::path::RepoPath;
use crate::repo::snapshot::FileKind;
use crate::repo::text::Text;
use crate::sandbox::narrow::FileCommand;
use crate::sandbox::verdict::{Outcome, read_outcome};
use crate::search_replace::fence::Ended;
use crate::stage::Context;
use crate::stage::rejection::Rejection;
use crate::stage::reproduction::{AskedTest, TestSubject, TestWriter};

/// The test that judges candidates.
#[derive(Debug, Clone, Serialize)]
pub struct Reproduction {
    pub path: RepoPath,
    pub text: String,
    /// What runs it, and nothing else.
    pub command: String,
    /// How it fails on the unchanged code, in one line.
    pub fails_with: String,
    /// Samples that gave it, up to comments and layout.
    pub votes: u32,
    /// Samples whose test fails in the same way, this one's included.
    pub agree: u32,
    #[serde(skip)]
    pub base: Outcome,
}

/// What became of the model's tests.
#[derive(Debug, Clone, Serialize)]
pub struct Reproductions {
    pub n_samples: u32,
    pub n_kept: u32,
    pub chosen: Option<Reproduction>,
    /// The distinct tests, in the order of their samples.
    pub tests: Vec<Sampled>,
}

/// A distinct test that the model wrote.
#[derive(Debug, Clone, Serialize)]
pub struct Sampled {
    /// The sample that first gave it.
    pub sample: u64,
    pub votes: u32,
    pub kept: bool,
    /// How it fails, or why it is not kept.
    pub words: String,
    pub path: RepoPath,
    pub text: String,
    /// How much of what the issue says it says as well.
    pub evidence: usize,
    #[serde(skip)]
    base: Option<(String, Outcome)>,
}

impl Reproduction {
    /// The test as a new file of the repository.
    pub fn as_change(&self) -> FileChange {
        FileChange::Created(FileState {
            path: self.path.clone(),
            kind: FileKind::Regular,
            bytes: self.text.as_bytes().to_vec(),
        })
    }
}

/// How the command runs one file, for a reproduction; an error that says what is wanted.
pub fn command_for(judge: &Judge) -> anyhow::Result<&FileCommand> {
    match judge.narrow() {
        Ok(command) => Ok(command),
        Err(why) => bail!(
            "`--reproduce` needs a test command that can run one file: pytest or unittest, such as `python3 -m pytest -q`; found `{}`: {why}\n\
             hint: name such a command with `--test`, or leave `--reproduce` away",
            judge.command()
        ),
    }
}

/// Samples tests of the issue, the greedy one first, and keeps the one that most agree on.
pub async fn reproduce(
    calls: &Calls<'_>,
    context: &Context,
    writer: &TestWriter,
    settings: &Settings,
    places: &Places,
    bench: &Bench<'_>,
) -> anyhow::Result<Reproductions> {
    let judge = bench.judge.context("`--reproduce` needs a test command: `--test CMD`")?;
    let command = command_for(judge)?;
    let subject = Subject::new(context, places, judge, command);
    let asked = writer.prompt(context, &subject.for_prompt(command), calls.counter());
    let AskedTest { prompt, head } =
        asked.context("building the prompt for a reproduction test")?;
    let writing = Writing { writer, head: &head };
    let mut found = Reproductions { n_samples: 0, n_kept: 0, chosen: None, tests: Vec::new() };
    let mut by_form: BTreeMap<[u8; 32], usize> = BTreeMap::new();
    for draw in draws(settings, settings.reproduction_samples, 0) {
        if bench.is_over() {
            break;
        }
        announce(calls, Topic::Reproduction, &prompt, draw.n);
        let asked = bench.within(calls.put(&writing, &prompt, draw)).await;
        let Some(samples) = asked else { break };
        for sample in samples? {
            found.n_samples += 1;
            let text = match sample.outcome {
                Ok(text) => text,
                Err(rejection) => {
                    let words = format!("sample {}: {rejection}", sample.number);
                    (calls.listener)(Progress::Unusable { topic: Topic::Reproduction, words });
                    continue;
                }
            };
            let path = subject.path_of(&text, judge);
            let form = normal_form(&path, &Text::from_content(&text));
            let n_known = found.tests.len();
            let at = *by_form.entry(form).or_insert(n_known);
            if at == n_known {
                found.tests.push(Sampled {
                    sample: sample.number,
                    votes: 0,
                    kept: false,
                    words: "the time was up before it ran".to_owned(),
                    path,
                    text,
                    evidence: 0,
                    base: None,
                });
            }
            found.tests[at].votes += 1;
        }
    }
    let definitions = Definitions::new(&context.index);
    let rule = Rule { index: &context.index, issue: &context.issue, definitions: &definitions };
    for test in &mut found.tests {
        if bench.is_over() {
            break;
        }
        let running = try_on_base(test, &rule, judge, command, calls);
        if bench.within(running).await.transpose()?.is_none() {
            break;
        }
        let verdict = if test.kept { "kept, it fails with" } else { "not kept:" };
        let words = format!("sample {}: {verdict} {}", test.sample, test.words);
        (calls.listener)(Progress::Unusable { topic: Topic::Reproduction, words });
    }
    found.n_kept = found.tests.iter().filter(|test| test.kept).map(|test| test.votes).sum();
    found.chosen = vote(&found.tests);
    let summary = found.describe();
    (calls.listener)(Progress::Answered { topic: Topic::Reproduction, summary });
    Ok(found)
}

/// Runs a test on the unchanged code, and says whether it is kept.
async fn try_on_base(
    test: &mut Sampled,
    rule: &Rule<'_>,
    judge: &Judge,
    command: &FileCommand,
    calls: &Calls<'_>,
) -> anyhow::Result<()> {
    if let Err(why) = rule.read(&test.path, &test.text) {
        test.words = why;
        return Ok(());
    }
    let command = command.for_report(&test.path);
    let what =
        format!("`{command}`, the reproduction of sample {}, on the unchanged code", test.sample);
    (calls.listener)(Progress::Testing { what });
    let execution = judge.run_test(&command, (&test.path, &test.text), &[]).await?;
    let outcome = read_outcome(&execution);
    let output = String::from_utf8_lossy(&execution.output);
    let judged = rule.judge(&test.path, &outcome, &output);
    test.kept = judged.is_ok();
    test.words = judged.unwrap_or_else(|why| why);
    test.evidence = rule.evidence(&test.text, &test.words);
    test.base = Some((command, outcome));
    Ok(())
}

impl Reproductions {
    /// What came of it, in one line.
    pub fn describe(&self) -> String {
        let Self { n_samples, n_kept, .. } = self;
        match &self.chosen {
            Some(chosen) => format!(
                "{} of {n_samples} samples agree: `{}` fails with {}",
                chosen.agree, chosen.path, chosen.fails_with
            ),
            None if 0 < *n_kept => format!(
                "{n_kept} of {n_samples} samples kept, but none chosen: each fails in a way of its own, and says nothing that the issue says"
            ),
            None => format!("none of {n_samples} samples fails as the issue says"),
        }
    }
}

/// A test writer as a question.
struct Writing<'a> {
    writer: &'a TestWriter,
    head: &'a str,
}

impl Question for Writing<'_> {
    type Answer = String;

    fn topic(&self) -> Topic {
        Topic::Reproduction
    }

    fn grammar(&self) -> Grammar {
        self.writer.grammar(self.head)
    }

    fn completion_tokens(&self) -> usize {
        self.writer.completion_tokens()
    }

    fn parse(&self, completion: &str, ended: Ended) -> Result<String, Rejection> {
        self.writer.parse(completion, ended)
    }

    fn record(&self, answer: &String) -> serde_json::Value {
        answer.as_str().into()
    }
}

/// What a test is written for, and where it goes.
struct Subject {
    lines: Vec<(RepoPath, u32)>,
    /// Classes and functions of modules.
    symbols: Vec<(RepoPath, String)>,
    example: Option<RepoPath>,
    folder: String,
}

/// Likely symbols whose code a test is written from.
const N_SYMBOLS: usize = 3;

impl Subject {
    fn new(context: &Context, places: &Places, judge: &Judge, command: &FileCommand) -> Self {
        let mut code = BTreeMap::new();
        let (mut lines, mut symbols) = (Vec::new(), Vec::new());
        for symbol in places.symbols.iter().take(N_SYMBOLS) {
            let names: &mut BTreeSet<String> = code.entry(symbol.path.clone()).or_default();
            names.insert(symbol.name.clone());
            let outermost = symbol.name.split('.').next().unwrap_or_default();
            symbols.push((symbol.path.clone(), outermost.to_owned()));
            let outline = context.index.outline(&symbol.path);
            let found = outline.and_then(|outline| outline.symbol(symbol.kind, &symbol.name));
            let place = found.and_then(|symbol| symbol.places.first());
            lines.extend(place.map(|place| (symbol.path.clone(), place.span.first)));
        }
        let sets = places.line_sets.iter().chain(&places.named).take(2);
        for (path, line) in sets.flat_map(|set| &set.lines) {
            let outline = context.index.outline(path);
            let owner = outline.and_then(|outline| owner_of_line(outline, *line));
            let names = code.entry(path.clone()).or_default();
            names.extend(owner.map(|symbol| symbol.name.clone()));
            lines.push((path.clone(), *line));
        }
        for path in &places.files {
            code.entry(path.clone()).or_default();
            lines.push((path.clone(), 1));
        }
        let has_file = |path: &str| judge.has_file(path);
        let looking = judge.uses().of_code(&code);
        let is_run = |path: &&RepoPath| command.covers(path, &has_file);
        let definitions = Definitions::new(&context.index);
        let said = definitions.names_in(&context.issue);
        // The model writes what it is shown: of the tests of this code, those of what is named.
        let n_said = |path: &RepoPath| {
            let text = context.index.snapshot().read_text(path);
            text.map_or(0, |text| definitions.names_in(text.content()).intersection(&said).count())
        };
        let example = looking.iter().map(|test| &test.path).filter(is_run);
        let example = example.min_by_key(|path| Reverse(n_said(path))).cloned();
        symbols.sort_by_key(|(_, name)| !said.contains(name.as_str()));
        symbols.dedup();
        let folder = match &example {
            Some(path) => path.parent().unwrap_or_default().to_owned(),
            None => command.folder().to_owned(),
        };
        Self { lines, symbols, example, folder }
    }

    fn for_prompt<'a>(&'a self, command: &FileCommand) -> TestSubject<'a> {
        let runner = command.runner().name();
        let Self { lines, symbols, example, .. } = self;
        TestSubject { lines, runner, example: example.as_ref(), symbols }
    }

    /// Where a test is put: beside the tests of the same code, under a name that its text gives.
    fn path_of(&self, text: &str, judge: &Judge) -> RepoPath {
        let digest = Sha256::digest(text.as_bytes());
        let name: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        let at = |extra: &str| match self.folder.as_str() {
            "" => format!("test_reproduction_{name}{extra}.py"),
            folder => format!("{folder}/test_reproduction_{name}{extra}.py"),
        };
        let free = std::iter::successors(Some(String::new()), |extra| Some(format!("{extra}_")))
            .map(|extra| at(&extra))
            .find(|path| !judge.has_file(path));
        let free = free.expect("some number of underscores is free");
        RepoPath::parse(&free).expect("a folder of the snapshot and a plain name are a path")
    }
}
