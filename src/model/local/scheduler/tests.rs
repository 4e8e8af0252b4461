use std::path::Path;

use tokio::sync::mpsc::unbounded_channel;

use super::*;
use crate::model::Variety;
use crate::model::local::cpu::Cpu;
use crate::model::local::load::{Loaded, LocalOptions};

const PROMPT: &str = "def area(side):\n    return side * side\n\ndef area(side):\n    ret";

fn greedy() -> Sampling {
    Sampling {
        n: 1,
        temperature: 0.0,
        top_p: 1.0,
        top_k: 0,
        min_p: 0.0,
        max_tokens: 60,
        stop: Vec::new(),
        variety: Variety::Independent,
    }
}

/// The tokens and log-probabilities of a prompt's completions, and the steps that they took.
fn complete(sampling: &Sampling, change: impl Fn(&mut Limits)) -> (Vec<(Vec<u32>, u64)>, usize) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/models/qwen2");
    let loaded: Loaded<Cpu> = Loaded::read(&folder, &LocalOptions::default()).unwrap();
    let mut limits = Limits {
        prefill_rows: 256,
        max_samples: 64,
        max_guessing_rows: 16,
        max_prefix_bytes: 1 << 20,
    };
    change(&mut limits);
    let prompt = loaded.tokenizer.encode(PROMPT).unwrap();
    let mut scheduler = Scheduler::new(loaded.decoder, loaded.tokenizer, limits);
    let (reply, mut replies) = unbounded_channel();
    let task = Task::Generate { sampling: sampling.clone(), seed: 3, constraint: None };
    scheduler.submit(Job { prompt, adapted: true, task, reply });
    let mut n_steps = 0;
    while !scheduler.is_idle() {
        scheduler.step();
        n_steps += 1;
    }
    loop {
        if let Reply::Completed(completions) = replies.try_recv().unwrap() {
            let shown = completions.unwrap().into_iter();
            let shown = shown.map(|one| (one.tokens, one.logprob.unwrap().to_bits()));
            return (shown.collect(), n_steps);
        }
    }
}

#[test]
fn guesses_save_steps_and_change_nothing() {
    let drawn = Sampling { n: 3, temperature: 0.4, ..greedy() };
    let distinct = Sampling { n: 6, variety: Variety::Distinct, ..greedy() };
    let stopped = Sampling { stop: vec!["a".to_owned(), "e".to_owned()], ..greedy() };
    for sampling in [greedy(), drawn, distinct, stopped] {
        let (alone, n_alone) = complete(&sampling, |limits| limits.max_guessing_rows = 0);
        for max_guessing_rows in [2, 16, 200] {
            let guessed =
                complete(&sampling, |limits| limits.max_guessing_rows = max_guessing_rows);
            assert_eq!(guessed.0, alone, "{sampling:?}, {max_guessing_rows} rows");
            assert!(guessed.1 <= n_alone, "{sampling:?}: {} of {n_alone} steps", guessed.1);
        }
    }
    let (_, n_steps) = complete(&greedy(), |_| ());
    let (_, n_alone) = complete(&greedy(), |limits| limits.max_guessing_rows = 0);
    assert!(n_steps < n_alone, "some guesses come true: {n_steps} of {n_alone} steps");
}

#[test]
fn samples_that_do_not_fit_into_a_step_come_after_the_others() {
    let drawn = Sampling { n: 5, temperature: 1.0, ..greedy() };
    let (together, n_together) = complete(&drawn, |_| ());
    for max_samples in [1, 2] {
        let (few, n_few) = complete(&drawn, |limits| limits.max_samples = max_samples);
        assert_eq!(few, together);
        assert!(n_together < n_few);
    }
}
