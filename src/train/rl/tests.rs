//! Toy tasks for a tiny model of random weights: rewards rise, and what is rewarded is learnt.

use std::cell::Cell;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;

use super::*;
use crate::grammar::{Grammar, Node};
use crate::model::local::engine::LocalEngine;
use crate::model::local::load::{LocalOptions, read_parts};
use crate::prompt::{Message, Prompt, Role};
use crate::search_replace::fence::Ended;
use crate::stage::score::{Grade, RewardOptions, RewardRule, Score};
use crate::train::decoder::batch::Batch;
use crate::train::decoder::top::{Loss, Top};
use crate::train::decoder::{Gradients, Trainer};
use crate::train::rl::actor::Judge;
use crate::train::rl::metrics::Measured;
use crate::train::rl::options::tests::options;

fn model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/models/llama")
}

fn asked(engine: &LocalEngine) -> Vec<Asked> {
    let ask = |(idx, content): (usize, &str)| {
        let content = content.to_owned();
        let name = content.clone();
        let prompt = Prompt { messages: vec![Message { role: Role::User, content }] };
        let ids = engine.encode(&prompt).unwrap();
        let stage = if idx % 2 == 0 { StageKind::File } else { StageKind::Function };
        Asked { name, stage, prompt, ids, grammar: None, max_tokens: 8 }
    };
    ["where is it?", "which one", "a b c", "so", "where is it?"]
        .into_iter()
        .enumerate()
        .map(ask)
        .collect()
}

/// An answer is the letters of a completion; `e` is expected.
fn judge(rule: RewardRule) -> impl Fn(usize, String, Ended) -> anyhow::Result<ScoredSample> {
    move |_, completion, ended| {
        let mut letters: Vec<char> = completion.chars().filter(|c| c.is_alphabetic()).collect();
        letters.sort_unstable();
        letters.dedup();
        let score = Score::of(&letters, &['e']);
        let options = RewardOptions { rule, ..RewardOptions::PAPER };
        let reward = options.reward_of(&Grade { score, invented: 0 });
        let rejection = (ended == Ended::CutOff).then(|| "cut off".to_owned());
        Ok(ScoredSample { completion, rejection, score: Some(score), resolved: None, reward })
    }
}

struct Ran {
    metrics: Vec<RlMetrics>,
    folder: PathBuf,
}

/// Trains in a folder; the process is as good as killed where `until` is reached.
fn run(folder: &Path, options: &RlOptions, judge: Judge<'_>, until: usize) -> Ran {
    let engine = LocalEngine::load(&model(), &LocalOptions::default()).unwrap();
    let asked = asked(&engine);
    let actor = Actor::new(engine, None, judge).unwrap();
    let parts = read_parts(&model()).unwrap();
    let network = Network::read(&parts.config, &parts.weights).unwrap();
    let rl = Rl {
        network: &network,
        base: "tiny",
        path: &model(),
        actor: &actor,
        asked: &asked,
        n_learnt: 4,
        options,
    };
    let path = folder.join("run");
    let trained = TrainFolder::open(&path, 1, &json!({})).unwrap();
    let events = |metrics: &RlMetrics, _: &RlTiming| assert!(metrics.step < until, "killed");
    let whole = catch_unwind(AssertUnwindSafe(|| {
        rl.run(&trained, Activations::Keep, &events).unwrap();
    }));
    assert_eq!(whole.is_err(), until <= options.steps);
    let log = fs::read_to_string(path.join(METRICS_FILE)).unwrap();
    let metrics = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    Ran { metrics, folder: path }
}

fn mean(metrics: &[RlMetrics], of: impl Fn(&Measured) -> f64) -> f64 {
    let measured: Vec<f64> = metrics.iter().filter_map(|m| m.overall.as_ref()).map(of).collect();
    measured.iter().sum::<f64>() / measured.len() as f64
}

const TO_THE_END: usize = usize::MAX;

#[track_caller]
fn check_rises(options: &RlOptions) {
    let folder = tempfile::tempdir().unwrap();
    let ran = run(folder.path(), options, &judge(RewardRule::FBeta), TO_THE_END);
    let reward = |metrics: &[RlMetrics]| mean(metrics, |measured| measured.reward);
    let (first, last) = (reward(&ran.metrics[1..6]), reward(&ran.metrics[36..]));
    assert!(first + 0.5 < last, "{:?}: {first} to {last}", options.algorithm);
    let first = ran.metrics[1].overall.as_ref().unwrap();
    assert_eq!(first.kl, Some(0.0), "nothing is learnt yet");
    assert!(first.engine_kl.unwrap().abs() < 0.02, "{first:?}");
    assert!(0.0 < ran.metrics[40].overall.as_ref().unwrap().kl.unwrap());
    let judged = |metrics: &&RlMetrics| metrics.held_out.is_some();
    let steps: Vec<usize> = ran.metrics.iter().filter(judged).map(|metrics| metrics.step).collect();
    assert_eq!(steps, [0, 10, 20, 30, 40]);
}

#[test]
fn rewards_rise_with_every_algorithm() {
    check_rises(&options(Algorithm::Grpo));
    check_rises(&options(Algorithm::Rloo));
}

#[test]
fn rewards_rise_with_both_critics_which_learn_what_to_expect() {
    check_rises(&options(Algorithm::Ppo));
    let options = RlOptions { critic: CriticKind::Adapter, passes: 2, ..options(Algorithm::Ppo) };
    check_rises(&options);
    let folder = tempfile::tempdir().unwrap();
    let critic_alone = RlOptions { critic_first: 40, rate: 1.0, ..options };
    let generous = |idx, completion, ended| {
        let judged = judge(RewardRule::FBeta)(idx, completion, ended)?;
        Ok(ScoredSample { reward: 1.0, ..judged })
    };
    let ran = run(folder.path(), &critic_alone, &generous, TO_THE_END);
    let of = |metrics: &RlMetrics| metrics.update.clone().unwrap().critic.unwrap();
    let value_loss = |metrics: &[RlMetrics]| {
        metrics.iter().map(|metrics| of(metrics).value_loss).sum::<f64>() / metrics.len() as f64
    };
    let (first, last) = (value_loss(&ran.metrics[1..6]), value_loss(&ran.metrics[36..]));
    assert!(last < 0.1 * first, "{first} to {last}");
    let last = ran.metrics[40].overall.as_ref().unwrap();
    assert_eq!(last.kl, Some(0.0), "the policy was left alone");
}

#[test]
fn any_hit_invites_longer_answers_than_their_share() {
    let items = |rule| {
        let folder = tempfile::tempdir().unwrap();
        let ran = run(folder.path(), &options(Algorithm::Ppo), &judge(rule), TO_THE_END);
        mean(&ran.metrics[31..], |measured| measured.items)
    };
    let (hit, f_beta) = (items(RewardRule::Hit), items(RewardRule::FBeta));
    assert!(f_beta + 0.5 < hit, "{hit} items for hits, {f_beta} for their share");
}

#[test]
fn rewards_rise_where_all_weights_are_trained() {
    for algorithm in [Algorithm::Grpo, Algorithm::Ppo] {
        check_rises(&RlOptions { full: true, rate: 3e-3, ..options(algorithm) });
    }
}

#[test]
fn a_killed_run_ends_with_the_bytes_of_an_unbroken_one() {
    let adapter = "adapter/adapter_model.safetensors";
    for (critic, full, result) in [
        (CriticKind::Shared, false, adapter),
        (CriticKind::Adapter, false, adapter),
        (CriticKind::Shared, true, "model/model.safetensors"),
    ] {
        let few = RlOptions { steps: 7, save_every: 2, passes: 2, ..options(Algorithm::Ppo) };
        let options = RlOptions { critic, full, ..few };
        let [whole, killed] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let judge = judge(RewardRule::FBeta);
        let wanted = run(whole.path(), &options, &judge, TO_THE_END);
        run(killed.path(), &options, &judge, 1);
        run(killed.path(), &options, &judge, 5);
        let found = run(killed.path(), &options, &judge, TO_THE_END);
        for file in ["metrics.jsonl", result] {
            let read = |ran: &Ran| fs::read(ran.folder.join(file)).unwrap();
            assert!(read(&wanted) == read(&found), "{file}, {critic:?}, {full}");
        }
    }
}

#[test]
fn the_checkpoint_with_the_highest_held_out_reward_is_kept_and_written_beside_the_last_one() {
    let n_judged = Cell::new(0);
    let judge = |idx: usize, completion: String, ended: Ended| {
        let mut judged = judge(RewardRule::FBeta)(idx, completion, ended)?;
        // The fifth prompt is held out: before the first step, and with each checkpoint.
        if idx == 4 {
            judged.reward = [0.9, 0.1, 0.7, 0.7][n_judged.get()];
            n_judged.set(n_judged.get() + 1);
        }
        Ok(judged)
    };
    let folder = tempfile::tempdir().unwrap();
    let options = RlOptions { steps: 6, save_every: 2, ..options(Algorithm::Grpo) };
    let ran = run(folder.path(), &options, &judge, TO_THE_END);
    let kept = checkpoint::list(&ran.folder.join(CHECKPOINTS)).unwrap();
    assert_eq!(kept.keys().copied().collect::<Vec<_>>(), [4, 6]);
    let parts = read_parts(&model()).unwrap();
    let network = Network::read(&parts.config, &parts.weights).unwrap();
    let adapter = |path: PathBuf| Adapter::read(&path, &network).unwrap();
    let (best, last) = (ran.folder.join(BEST).join("adapter"), ran.folder.join("adapter"));
    assert!(adapter(best.clone()) == rounded(adapter(kept[&4].clone())));
    assert!(adapter(last) == rounded(adapter(kept[&6].clone())));
    assert!(adapter(best) != rounded(adapter(kept[&6].clone())));
}

/// As adapters are stored.
fn rounded(mut adapter: Adapter) -> Adapter {
    let half = |number: &mut f32| *number = half::f16::from_f32(*number).to_f32();
    adapter.tensors_mut().into_iter().for_each(|(_, tensor)| tensor.iter_mut().for_each(half));
    adapter
}

#[test]
fn what_was_learnt_before_is_part_of_the_policy_and_of_the_result() {
    let engine = LocalEngine::load(&model(), &LocalOptions::default()).unwrap();
    let parts = read_parts(&model()).unwrap();
    let network = Network::read(&parts.config, &parts.weights).unwrap();
    let mut before = Adapter::fresh(&network, 2, 6.0, 8);
    for (_, tensor) in before.tensors_mut() {
        tensor.iter_mut().for_each(|number| *number += 0.1);
    }
    let mut merged = network;
    merged.merge(&before);
    let asked = asked(&engine);
    let judge = judge(RewardRule::FBeta);
    let actor = Actor::new(engine, Some(before.clone()), &judge).unwrap();
    let options = RlOptions { steps: 3, ..options(Algorithm::Ppo) };
    let folder = tempfile::tempdir().unwrap();
    let trained = TrainFolder::open(&folder.path().join("run"), 1, &json!({})).unwrap();
    let rl = Rl {
        network: &merged,
        base: "tiny",
        path: &model(),
        actor: &actor,
        asked: &asked,
        n_learnt: 5,
        options: &options,
    };
    let whole = rl.run(&trained, Activations::Keep, &|metrics, _| {
        // The engine and the trainer are the same policy, or this would be far from 0.
        let overall = metrics.overall.as_ref();
        assert!(overall.is_none_or(|m| m.engine_kl.unwrap().abs() < 0.02), "{overall:?}");
    });
    whole.unwrap();
    let (_, last) =
        checkpoint::list(&trained.path().join(CHECKPOINTS)).unwrap().pop_last().unwrap();
    let adapter = |path: PathBuf| Adapter::read(&path, &merged).unwrap();
    let learnt = adapter(last);
    assert!(adapter(trained.path().join("addition")) == rounded(learnt.clone()));
    assert!(adapter(trained.path().join("adapter")) == rounded(before.join(&learnt)));
}

#[test]
fn a_grammar_s_completions_have_the_engine_s_probabilities_and_nothing_of_what_it_forces() {
    let engine = LocalEngine::load(&model(), &LocalOptions::default()).unwrap();
    let text = |text: &str| Node::Text(text.to_owned());
    let letters = ["e", "a", "x"].map(text);
    let start = Node::Sequence(vec![text("the "), Node::Choice(letters.into()), text("nd")]);
    let grammar = Grammar { start, rules: BTreeMap::new() };
    let mut asked = asked(&engine);
    for asked in &mut asked {
        asked.grammar = Some(grammar.clone());
        asked.max_tokens = 20;
    }
    let parts = read_parts(&model()).unwrap();
    let network = Network::read(&parts.config, &parts.weights).unwrap();
    let judge = |_: usize, completion: String, _: Ended| {
        let reward = f64::from(u8::from(completion == "the end"));
        Ok(ScoredSample { completion, rejection: None, score: None, resolved: None, reward })
    };
    let actor = Actor::new(engine, None, &judge).unwrap();
    let options = options(Algorithm::Grpo);
    let folder = tempfile::tempdir().unwrap();
    let trained = TrainFolder::open(&folder.path().join("run"), 1, &json!({})).unwrap();
    let rl = Rl {
        network: &network,
        base: "tiny",
        path: &model(),
        actor: &actor,
        asked: &asked,
        n_learnt: 5,
        options: &options,
    };
    let rewards = Mutex::new(Vec::new());
    rl.run(&trained, Activations::Keep, &|metrics, _| {
        let Some(overall) = &metrics.overall else { return };
        // Of three letters, one is chosen: by the trainer's numbers as by the engine's.
        assert!(overall.entropy.is_none_or(|entropy| entropy < 3.0_f64.ln() + 1e-3), "{overall:?}");
        assert!(overall.engine_kl.is_none_or(|kl| kl.abs() < 0.05), "{overall:?}");
        rewards.lock().unwrap().push(overall.reward);
    })
    .unwrap();
    let rewards = rewards.into_inner().unwrap();
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let (first, last) = (mean(&rewards[..3]), mean(&rewards[37..]));
    assert!(first < 0.9 && 0.95 < last, "{first} to {last}");
}

#[test]
fn a_critic_s_gradients_are_slopes_of_its_loss() {
    let parts = read_parts(&model()).unwrap();
    let network = Network::read(&parts.config, &parts.weights).unwrap();
    let mut random = ChaCha8Rng::seed_from_u64(4);
    let mut adapter = Adapter::fresh(&network, 3, 6.0, 9);
    for (_, tensor) in adapter.tensors_mut() {
        tensor.iter_mut().for_each(|number| *number += random.random_range(-0.2..0.2));
    }
    let head = ValueHead::new(network.shape.hidden, 5);
    let mut batch = Batch::default();
    batch.push(&[5, 9, 7, 12, 30, 8], 2, 0.5);
    batch.push(&[6, 11, 7], 1, 1.5);
    let loss = |idx: usize, value: f64| {
        let error = value - idx as f64;
        Loss { value: error * error, slope: 2.0 * error }
    };
    let mut trainer = Trainer::new(Activations::Keep);
    let mut gradients = Gradients::Adapter(adapter.zeros_like());
    let mut head_gradients = head.zeros_like();
    let learn = |mut top: Top<'_>| head.learn(&mut top, loss, &mut head_gradients, true);
    trainer.learn(&network, Some(&adapter), &batch, learn, &mut gradients);
    let mut value_at = |adapter: &Adapter| {
        let judge = |mut top: Top<'_>| head.learn(&mut top, loss, &mut head.zeros_like(), false);
        trainer.look(&network, Some(adapter), &batch, judge)
    };
    for (idx, (name, gradient)) in gradients.tensors_mut().into_iter().enumerate() {
        let direction: Vec<f32> = gradient.iter().map(|_| random.random_range(-1.0..1.0)).collect();
        let wanted: f64 = gradient.iter().zip(&direction).map(|(g, d)| f64::from(g * d)).sum();
        let mut shifted = |step: f32| {
            let mut adapter = adapter.clone();
            let tensor = adapter.tensors_mut().swap_remove(idx).1;
            tensor.iter_mut().zip(&direction).for_each(|(x, d)| *x += step * d);
            value_at(&adapter)
        };
        let slope = (shifted(1e-3) - shifted(-1e-3)) / 2e-3;
        let size = gradient.iter().map(|g| f64::from(g * g)).sum::<f64>().sqrt();
        assert!(0.0 < size, "{name} has no gradient");
        assert!(
            (slope - wanted).abs() < 1e-2 * (size + wanted.abs()),
            "{name}: the slope is {slope}, the gradient says {wanted}, its size is {size}"
        );
    }
}
