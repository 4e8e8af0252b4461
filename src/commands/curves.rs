//! Training runs as curves, tables and answers over time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Context as _;
use serde_json::Value;

use crate::report::page::training::{Curve, Example, Plot, Training, TrainingTable, number};
use crate::stage::StageKind;
use crate::train::folder::{asked, read_log};
use crate::train::resume::{METRICS_FILE, TIMINGS_FILE};
use crate::train::rl::metrics::{Measured, RlMetrics, RlTiming, Update};
use crate::train::sft::metrics::{StepMetrics, StepTiming};

/// A training run's logs.
enum Logs {
    Sft(Vec<StepMetrics>, Vec<StepTiming>),
    Rl(Vec<RlMetrics>, Vec<RlTiming>),
}

/// A number of a step's line, and what it is called.
type Named<T> = (&'static str, fn(&T) -> Option<f64>);

/// What there is to show of the runs in these folders, side by side.
pub fn training(folders: &[&Path]) -> anyhow::Result<Training> {
    let mut runs = Vec::new();
    for folder in folders {
        let context = || format!("reading the training run `{}`", folder.display());
        let asked = asked(folder).with_context(context)?;
        let logs = match asked["options"].get("algorithm") {
            Some(_) => Logs::Rl(read_log(folder, METRICS_FILE)?, read_log(folder, TIMINGS_FILE)?),
            None => Logs::Sft(read_log(folder, METRICS_FILE)?, read_log(folder, TIMINGS_FILE)?),
        };
        let name = folder.file_name().unwrap_or(folder.as_os_str());
        runs.push((name.to_string_lossy().into_owned(), asked, logs));
    }
    let are_unique =
        runs.iter().map(|(name, ..)| name).collect::<BTreeSet<_>>().len() == runs.len();
    if !are_unique {
        let paths = runs.iter_mut().zip(folders);
        paths.for_each(|((name, ..), folder)| *name = folder.display().to_string());
    }
    let names: Vec<String> = runs.iter().map(|(name, ..)| name.clone()).collect();
    let mut plots = Vec::new();
    let mut add = |title: &str, of: &dyn Fn(&Logs) -> Vec<(f64, f64)>| {
        let curve =
            |(run, (_, _, logs)): (usize, &(String, Value, Logs))| Curve { run, points: of(logs) };
        let curves: Vec<Curve> = runs.iter().enumerate().map(curve).collect();
        if curves.iter().any(|curve| !curve.points.is_empty()) {
            plots.push(Plot { title: title.to_owned(), curves });
        }
    };
    add("Loss of a learnt token, nats", &|logs| sft(logs, |m| m.loss));
    add("Loss of a held-out token, nats", &|logs| sft(logs, |m| Some(m.held_out.as_ref()?.loss)));
    for stage in StageKind::ALL {
        let title = format!("Loss of a held-out token of the {} stage, nats", stage.name());
        add(&title, &|logs| sft(logs, |m| m.held_out.as_ref()?.stages.get(&stage).copied()));
    }
    add("Norm of the gradients", &|logs| sft(logs, |m| m.norm));
    let of_all: [Named<Measured>; 8] = [
        ("Reward", |m| Some(m.reward)),
        ("Hit rate", |m| Some(m.hit)),
        ("Response tokens", |m| Some(m.response_tokens)),
        ("Thought tokens", |m| Some(m.thought_tokens)),
        ("Items answered", |m| Some(m.items)),
        ("Divergence from the model before, nats per token", |m| m.kl),
        ("Entropy, nats per token", |m| m.entropy),
        ("Engine's log-probability less the trainer's, nats per token", |m| m.engine_kl),
    ];
    for (title, of) in of_all {
        add(title, &|logs| rl(logs, |m| of(m.overall.as_ref()?)));
        if !matches!(title, "Reward" | "Hit rate" | "Response tokens" | "Items answered") {
            continue;
        }
        for stage in StageKind::ALL {
            let title = format!("{title}, {} stage", stage.name());
            add(&title, &|logs| rl(logs, |m| of(m.stages.get(&stage)?)));
        }
    }
    for stage in StageKind::ALL {
        let title = format!("Greedy reward of held-out prompts, {} stage", stage.name());
        add(&title, &|logs| rl(logs, |m| Some(m.held_out.as_ref()?.get(&stage)?.reward)));
    }
    let of_update: [Named<Update>; 7] = [
        ("Policy loss", |u| Some(u.policy.as_ref()?.loss)),
        ("Value loss", |u| Some(u.critic.as_ref()?.value_loss)),
        ("Explained variance of values", |u| Some(u.critic.as_ref()?.explained_variance)),
        ("Clipped share of tokens", |u| Some(u.policy.as_ref()?.clip_fraction)),
        ("Norm of the policy's gradients", |u| Some(u.policy.as_ref()?.norm)),
        ("Norm of the critic's gradients", |u| Some(u.critic.as_ref()?.norm)),
        ("Learning rate of the policy", |u| Some(u.policy.as_ref()?.rate)),
    ];
    for (title, of) in of_update {
        add(title, &|logs| rl(logs, |m| of(m.update.as_ref()?)));
    }
    add("Prompts whose completions all earned the same", &|logs| {
        rl(logs, |m| m.overall.as_ref().map(|_| m.uniform_prompts as f64))
    });
    add("Peak memory, MiB", &peak_memory);
    add("Tokens written per second", &writing_speed);
    add("Tokens learnt per second", &learning_speed);
    let examples = runs.iter().flat_map(|(name, _, logs)| examples(name, logs)).collect();
    Ok(Training {
        title: format!("Training: {}", names.join(", ")),
        subtitle: "what was logged of every step; horizontal: steps".to_owned(),
        tables: vec![settings(&runs), outcome(&runs), rejections(&runs)],
        runs: names,
        plots,
        examples,
    })
}

fn sft(logs: &Logs, of: impl Fn(&StepMetrics) -> Option<f64>) -> Vec<(f64, f64)> {
    let Logs::Sft(metrics, _) = logs else { return Vec::new() };
    metrics.iter().filter_map(|m| Some((m.step as f64, of(m)?))).collect()
}

fn rl(logs: &Logs, of: impl Fn(&RlMetrics) -> Option<f64>) -> Vec<(f64, f64)> {
    let Logs::Rl(metrics, _) = logs else { return Vec::new() };
    metrics.iter().filter_map(|m| Some((m.step as f64, of(m)?))).collect()
}

fn peak_memory(logs: &Logs) -> Vec<(f64, f64)> {
    let Logs::Rl(_, timings) = logs else { return Vec::new() };
    let mebibytes = |t: &RlTiming| Some((t.step as f64, t.peak_memory_bytes? as f64 / 1_048_576.0));
    timings.iter().filter_map(mebibytes).collect()
}

fn writing_speed(logs: &Logs) -> Vec<(f64, f64)> {
    let Logs::Rl(_, timings) = logs else { return Vec::new() };
    let speed = |t: &RlTiming| t.written_tokens as f64 / t.writing_seconds.max(1e-9);
    timings.iter().map(|timing| (timing.step as f64, speed(timing))).collect()
}

fn learning_speed(logs: &Logs) -> Vec<(f64, f64)> {
    let of = |step: usize, tokens: usize, seconds: f64| {
        (0.0 < seconds).then(|| (step as f64, tokens as f64 / seconds))
    };
    match logs {
        Logs::Sft(_, timings) => {
            timings.iter().filter_map(|t| of(t.step, t.tokens, t.seconds)).collect()
        }
        Logs::Rl(_, timings) => {
            timings.iter().filter_map(|t| of(t.step, t.learnt_rows, t.learning_seconds)).collect()
        }
    }
}

/// What was asked, a column for each run.
fn settings(runs: &[(String, Value, Logs)]) -> TrainingTable {
    let mut rows: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (run, (_, asked, _)) in runs.iter().enumerate() {
        let mut set = |name: &str, value: &Value| {
            let text = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
            let row =
                rows.entry(name.to_owned()).or_insert_with(|| vec![String::new(); runs.len()]);
            row[run] = text;
        };
        let fields = |value: &Value| value.as_object().cloned().unwrap_or_default();
        for (name, value) in fields(asked) {
            match value {
                Value::Object(inner) => {
                    inner.iter().for_each(|(key, value)| set(&format!("{name}: {key}"), value));
                }
                value => set(&name, &value),
            }
        }
    }
    table("Settings", runs, rows.into_iter().collect())
}

/// The first and the last of what tells whether it helped.
fn outcome(runs: &[(String, Value, Logs)]) -> TrainingTable {
    type Of = (&'static str, fn(&Logs) -> Vec<(f64, f64)>);
    let of: [Of; 5] = [
        ("held-out loss", |logs| sft(logs, |m| Some(m.held_out.as_ref()?.loss))),
        ("reward", |logs| rl(logs, |m| Some(m.overall.as_ref()?.reward))),
        ("hit rate", |logs| rl(logs, |m| Some(m.overall.as_ref()?.hit))),
        ("response tokens", |logs| rl(logs, |m| Some(m.overall.as_ref()?.response_tokens))),
        ("items answered", |logs| rl(logs, |m| Some(m.overall.as_ref()?.items))),
    ];
    let mut rows = Vec::new();
    for (name, of) in of {
        let cell = |(_, _, logs): &(String, Value, Logs)| {
            let points = of(logs);
            // A tenth of the steps at both ends: single steps say little.
            let n = points.len().div_ceil(10);
            let mean = |part: &[(f64, f64)]| part.iter().map(|(_, y)| y).sum::<f64>() / n as f64;
            match points.len() {
                0 => String::new(),
                len => {
                    format!(
                        "{} to {}",
                        number(mean(&points[..n])),
                        number(mean(&points[len - n..]))
                    )
                }
            }
        };
        let cells: Vec<String> = runs.iter().map(cell).collect();
        if cells.iter().any(|cell| !cell.is_empty()) {
            rows.push((name.to_owned(), cells));
        }
    }
    table("From the first tenth of the steps to the last", runs, rows)
}

/// Completions that could not be used, by reason, in the first and the last tenth of the steps.
fn rejections(runs: &[(String, Value, Logs)]) -> TrainingTable {
    let mut rows: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (run, (_, _, logs)) in runs.iter().enumerate() {
        let Logs::Rl(metrics, _) = logs else { continue };
        let measured: Vec<&Measured> = metrics.iter().filter_map(|m| m.overall.as_ref()).collect();
        let n = measured.len().div_ceil(10);
        let share = |part: &[&Measured], reason: &str| {
            let of = |m: &&Measured| m.rejections.get(reason).copied().unwrap_or(0);
            let all: usize = part.iter().map(|m| m.completions).sum();
            100.0 * part.iter().map(of).sum::<usize>() as f64 / all.max(1) as f64
        };
        let reasons: BTreeSet<&String> =
            measured.iter().flat_map(|measured| measured.rejections.keys()).collect();
        for reason in reasons {
            let (first, last) = (&measured[..n], &measured[measured.len() - n..]);
            let cell = format!("{:.1} % to {:.1} %", share(first, reason), share(last, reason));
            rows.entry(reason.clone()).or_insert_with(|| vec![String::new(); runs.len()])[run] =
                cell;
        }
    }
    table("Completions that could not be used", runs, rows.into_iter().collect())
}

fn table(
    title: &str,
    runs: &[(String, Value, Logs)],
    rows: Vec<(String, Vec<String>)>,
) -> TrainingTable {
    let head = [String::new()].into_iter().chain(runs.iter().map(|(name, ..)| name.clone()));
    let row = |(name, cells): (String, Vec<String>)| [vec![name], cells].concat();
    TrainingTable {
        title: title.to_owned(),
        head: head.collect(),
        rows: rows.into_iter().map(row).collect(),
    }
}

fn examples(name: &str, logs: &Logs) -> Vec<Example> {
    let Logs::Rl(metrics, _) = logs else { return Vec::new() };
    let of_stage = |stage: StageKind| {
        let answers = metrics.iter().filter_map(|m| {
            let judged = m.held_out.as_ref()?.get(&stage)?;
            Some((m.step, judged.example_reward, judged.example.clone()))
        });
        Example { title: format!("{name}: {} stage", stage.name()), answers: answers.collect() }
    };
    let examples = StageKind::ALL.map(of_stage).into_iter();
    examples.filter(|example| !example.answers.is_empty()).collect()
}
