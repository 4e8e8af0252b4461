//! Gradients against differences of losses, packed sequences against separate ones, and that
//! nothing is left out.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::train::decoder::batch::Completion;
use crate::train::decoder::linear::Linear;
use crate::train::decoder::weight::Weight;

/// What the three families have of their own.
#[derive(Clone, Copy)]
struct Family {
    has_bias: bool,
    has_head_norms: bool,
    is_tied: bool,
}

const LLAMA: Family = Family { has_bias: false, has_head_norms: false, is_tied: true };
const QWEN2: Family = Family { has_bias: true, has_head_norms: false, is_tied: false };
const QWEN3: Family = Family { has_bias: false, has_head_norms: true, is_tied: true };

const N_VOCAB: usize = 19;

fn network(family: Family, seed: u64) -> Network {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut draw = |n: usize, around: f32, spread: f32| -> Vec<f32> {
        (0..n).map(|_| around + spread * random.random_range(-1.0..1.0)).collect()
    };
    let shape = Shape {
        hidden: 12,
        n_heads: 4,
        n_kv_heads: 2,
        head_dim: 6,
        rms_eps: 1e-5,
        frequencies: vec![1.0, 0.3, 0.1],
        magnitude: 1.0,
    };
    let widths = [(12, 24), (12, 12), (12, 12), (24, 12), (12, 20), (12, 20), (20, 12)];
    let mut layer = || Layer {
        attn_norm: draw(12, 1.0, 0.3),
        ffn_norm: draw(12, 1.0, 0.3),
        head_norms: family.has_head_norms.then(|| (draw(6, 1.0, 0.3), draw(6, 1.0, 0.3))),
        linears: std::array::from_fn(|site| {
            let (n_in, n_out) = widths[site];
            let bias = (family.has_bias && site < 3).then(|| draw(n_out, 0.0, 0.3));
            Linear { weight: Weight::Floats(draw(n_in * n_out, 0.0, 0.4)), bias, n_in }
        }),
    };
    let layers = vec![layer(), layer()];
    Network {
        shape,
        embedding: draw(N_VOCAB * 12, 0.0, 1.0),
        layers,
        norm: draw(12, 1.0, 0.3),
        output: (!family.is_tied).then(|| draw(N_VOCAB * 12, 0.0, 0.5)),
    }
}

fn adapter(network: &Network, seed: u64) -> Adapter {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut adapter = Adapter::new(network, 3, 0.7, |_| random.random_range(-0.3..0.3));
    let mut random = ChaCha8Rng::seed_from_u64(seed + 1);
    for (_, tensor) in adapter.tensors_mut() {
        tensor.iter_mut().for_each(|number| *number += random.random_range(-0.3..0.3));
    }
    adapter
}

/// Two sequences, of which one is longer than a block of attention.
fn batch() -> Batch {
    let ids: Vec<u32> = (0..90).map(|idx| (idx * 7 + idx / 5) % N_VOCAB as u32).collect();
    let mut batch = Batch::default();
    batch.push(&ids[..71], 5, 0.3);
    batch.push(&ids[71..], 0, 0.5);
    batch
}

/// The slope of the loss along a random direction of each tensor is what its gradient says.
#[track_caller]
fn check_gradients(family: Family, is_full: bool) {
    let (mut network, batch) = (network(family, 1), batch());
    let mut adapter = (!is_full).then(|| adapter(&network, 2));
    let mut gradients = match &adapter {
        None => Gradients::Full(Box::new(network.zeros_like())),
        Some(adapter) => Gradients::Adapter(adapter.zeros_like()),
    };
    let mut trainer = Trainer::new(Activations::Keep);
    let loss = trainer.step(&network, adapter.as_ref(), &batch, &mut gradients);
    assert!((loss - trainer.loss(&network, adapter.as_ref(), &batch)).abs() < 1e-9 * loss);
    let mut random = ChaCha8Rng::seed_from_u64(3);
    for (idx, (name, gradient)) in gradients.tensors_mut().into_iter().enumerate() {
        let direction: Vec<f32> = gradient.iter().map(|_| random.random_range(-1.0..1.0)).collect();
        let wanted: f64 =
            gradient.iter().zip(&direction).map(|(g, d)| f64::from(*g) * f64::from(*d)).sum();
        let mut loss_at = |step: f32| {
            let shift = |tensor: &mut Vec<f32>, sign: f32| {
                tensor.iter_mut().zip(&direction).for_each(|(x, d)| *x += sign * step * d);
            };
            let tensor =
                |network: &mut Network, adapter: &mut Option<Adapter>, sign: f32| match adapter {
                    Some(adapter) => shift(adapter.tensors_mut().swap_remove(idx).1, sign),
                    None => shift(network.tensors_mut().swap_remove(idx).1, sign),
                };
            tensor(&mut network, &mut adapter, 1.0);
            let loss = trainer.loss(&network, adapter.as_ref(), &batch);
            tensor(&mut network, &mut adapter, -1.0);
            loss
        };
        let step = 2e-3;
        let slope = (loss_at(step) - loss_at(-step)) / (2.0 * f64::from(step));
        let size = gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
        assert!(0.0 < size, "{name} has no gradient");
        assert!(
            (slope - wanted).abs() < 4e-3 * size + 2e-3 * wanted.abs(),
            "{name}: the slope is {slope}, the gradient says {wanted}, its size is {size}"
        );
    }
}

#[test]
fn gradients_of_all_weights_are_slopes_of_the_loss() {
    for family in [LLAMA, QWEN2, QWEN3] {
        check_gradients(family, true);
    }
}

#[test]
fn gradients_of_an_adapter_are_slopes_of_the_loss() {
    for family in [LLAMA, QWEN2, QWEN3] {
        check_gradients(family, false);
    }
}

#[test]
fn a_fresh_adapter_changes_nothing_and_only_its_b_learns_at_first() {
    let (network, batch) = (network(LLAMA, 4), batch());
    let mut random = ChaCha8Rng::seed_from_u64(5);
    let adapter = Adapter::new(&network, 2, 2.0, |_| random.random_range(-0.3..0.3));
    let mut trainer = Trainer::new(Activations::Recompute);
    let bare = trainer.loss(&network, None, &batch);
    assert_eq!(trainer.loss(&network, Some(&adapter), &batch), bare);
    let mut gradients = Gradients::Adapter(adapter.zeros_like());
    trainer.step(&network, Some(&adapter), &batch, &mut gradients);
    for (name, gradient) in gradients.tensors_mut() {
        let learns = gradient.iter().any(|g| *g != 0.0);
        assert_eq!(learns, name.contains("lora_B"), "{name}");
    }
}

#[test]
fn projections_in_16_bits_give_nearly_the_same_gradients() {
    for family in [LLAMA, QWEN2, QWEN3] {
        let (mut network, batch) = (network(family, 13), batch());
        let adapter = adapter(&network, 14);
        let mut trainer = Trainer::new(Activations::Keep);
        let mut gradients = |network: &Network| {
            let mut gradients = Gradients::Adapter(adapter.zeros_like());
            (trainer.step(network, Some(&adapter), &batch, &mut gradients), gradients)
        };
        let (wanted, mut exact) = gradients(&network);
        network.keep_projections_in(BasePrecision::Bf16);
        let (found, mut rounded) = gradients(&network);
        assert!(found != wanted, "nothing was rounded");
        assert!((found - wanted).abs() < 1e-2 * wanted, "{found}, wanted {wanted}");
        for ((name, a), (_, b)) in exact.tensors_mut().into_iter().zip(rounded.tensors_mut()) {
            let size = a.iter().map(|x| x * x).sum::<f32>().sqrt();
            let error = a.iter().zip(b).map(|(a, b)| (a - *b).powi(2)).sum::<f32>().sqrt();
            assert!(error < 3e-2 * size, "{name}: {error} of {size}");
        }
    }
}

#[test]
fn kept_and_recomputed_activations_give_the_same_bits() {
    let (network, batch) = (network(QWEN3, 6), batch());
    let gradients = |activations| {
        let mut gradients = Gradients::Full(Box::new(network.zeros_like()));
        let loss = Trainer::new(activations).step(&network, None, &batch, &mut gradients);
        (loss, gradients)
    };
    assert!(gradients(Activations::Keep) == gradients(Activations::Recompute));
}

#[test]
fn packed_sequences_do_not_see_each_other() {
    let (network, batch) = (network(QWEN2, 7), batch());
    let mut trainer = Trainer::new(Activations::Keep);
    let mut packed = Gradients::Full(Box::new(network.zeros_like()));
    let loss = trainer.step(&network, None, &batch, &mut packed);
    let mut apart = Gradients::Full(Box::new(network.zeros_like()));
    let mut sum = 0.0;
    for (idx, run) in batch.runs.iter().enumerate() {
        let mut one = Batch::default();
        let (first_learnt, weight) = [(5, 0.3), (0, 0.5)][idx];
        one.push(&batch.ids[run.rows.clone()], first_learnt, weight);
        sum += trainer.step(&network, None, &one, &mut apart);
    }
    assert!((loss - sum).abs() < 1e-6 * loss);
    for ((name, a), (_, b)) in packed.tensors_mut().into_iter().zip(apart.tensors_mut()) {
        let size = a.iter().map(|x| x * x).sum::<f32>().sqrt();
        let error = a.iter().zip(b).map(|(a, b)| (a - *b).powi(2)).sum::<f32>().sqrt();
        assert!(error < 1e-4 * size, "{name}: {error} of {size}");
    }
}

#[test]
fn completions_of_one_prompt_learn_as_separate_sequences_do() {
    let network = network(QWEN3, 8);
    let ids = batch().ids;
    let (prompt, completions) = (&ids[..70], [&ids[70..72], &ids[5..80], &ids[3..4]]);
    let weights = [0.3, 0.5, -0.2];
    let mut trainer = Trainer::new(Activations::Keep);
    let mut tree = Batch::default();
    tree.push(&ids[30..40], 3, 0.4);
    let all_drawn = [true; 80];
    tree.push_tree(
        prompt,
        [0, 1, 2].map(|idx| Completion {
            tokens: completions[idx],
            is_drawn: &all_drawn[..completions[idx].len()],
            weight: weights[idx],
        }),
    );
    let mut together = Gradients::Full(Box::new(network.zeros_like()));
    let loss = trainer.step(&network, None, &tree, &mut together);
    let mut apart = Gradients::Full(Box::new(network.zeros_like()));
    let mut one = Batch::default();
    one.push(&ids[30..40], 3, 0.4);
    let mut sum = trainer.step(&network, None, &one, &mut apart);
    for (completion, weight) in completions.iter().zip(weights) {
        let mut one = Batch::default();
        one.push(&[prompt, completion].concat(), prompt.len(), weight);
        sum += trainer.step(&network, None, &one, &mut apart);
    }
    assert!((loss - sum).abs() < 1e-6 * loss.abs(), "{loss} and {sum}");
    for ((name, a), (_, b)) in together.tensors_mut().into_iter().zip(apart.tensors_mut()) {
        let size = a.iter().map(|x| x * x).sum::<f32>().sqrt();
        let error = a.iter().zip(b).map(|(a, b)| (a - *b).powi(2)).sum::<f32>().sqrt();
        assert!(error < 1e-4 * size, "{name}: {error} of {size}");
    }
}

#[test]
fn a_merged_adapter_changes_a_network_as_it_did_beside_it_and_joined_ones_as_both() {
    let (network, batch) = (network(QWEN2, 9), batch());
    let first = adapter(&network, 10);
    let mut random = ChaCha8Rng::seed_from_u64(12);
    let mut second = Adapter::new(&network, 2, 1.3, |_| random.random_range(-0.3..0.3));
    for (_, tensor) in second.tensors_mut() {
        tensor.iter_mut().for_each(|number| *number += random.random_range(-0.3..0.3));
    }
    let mut trainer = Trainer::new(Activations::Keep);
    let wanted = trainer.loss(&network, Some(&first), &batch);
    let mut merged = network.clone();
    merged.merge(&first);
    let found = trainer.loss(&merged, None, &batch);
    assert!((found - wanted).abs() < 1e-5 * wanted, "{found}, wanted {wanted}");
    let wanted = trainer.loss(&merged, Some(&second), &batch);
    let found = trainer.loss(&network, Some(&first.join(&second)), &batch);
    assert!((found - wanted).abs() < 1e-5 * wanted, "{found}, wanted {wanted}");
    assert!(1e-2 < (wanted - trainer.loss(&merged, None, &batch)).abs());

    // An adapter of some projections, beside one of all.
    let mut partial = first;
    for sites in &mut partial.layers {
        sites[2] = None;
    }
    partial.layers[1] = [const { None }; 7];
    let mut merged = network.clone();
    merged.merge(&partial);
    let wanted = trainer.loss(&merged, Some(&second), &batch);
    for joined in [partial.join(&second), second.join(&partial)] {
        let found = trainer.loss(&network, Some(&joined), &batch);
        assert!((found - wanted).abs() < 1e-5 * wanted, "{found}, wanted {wanted}");
        let ranks = joined.layers.iter().flatten().map(|site| site.as_ref().unwrap().rank);
        assert!(ranks.into_iter().all(|rank| rank == 5));
    }
}
