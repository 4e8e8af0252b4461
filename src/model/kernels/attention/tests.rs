//! Attention and rotary embedding against their definitions.

use std::ops::Range;

use crate::model::kernels::Isa;
use crate::model::kernels::attention::{Span, attend};
use crate::model::kernels::kv::{AttentionShape, KeyPrecision, KvSegment};
use crate::model::kernels::rotary::{Rotary, RotaryStyle};
use crate::model::kernels::team::Team;

fn team(isa: Isa) -> Team {
    Team::new(isa, 2).unwrap()
}

const SHAPE: AttentionShape = AttentionShape {
    n_heads: 6,
    n_kv_heads: 2,
    head_dim: 32,
    scale: 0.2,
    precision: KeyPrecision::Int8,
};
const WIDTH: usize = SHAPE.n_heads * SHAPE.head_dim;
const KV_WIDTH: usize = SHAPE.n_kv_heads * SHAPE.head_dim;

/// Numbers from -2 to 2 that depend on `seed` and place.
fn numbers(seed: usize, n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i + 1) * (seed * 7919 + 1013) % 4001) as f32 / 1000.0 - 2.0).collect()
}

struct Sequence {
    queries: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
}

impl Sequence {
    fn new(seed: usize, len: usize) -> Self {
        Self {
            queries: numbers(3 * seed, len * WIDTH),
            keys: numbers(3 * seed + 1, len * KV_WIDTH),
            values: numbers(3 * seed + 2, len * KV_WIDTH),
        }
    }

    fn append(&self, isa: Isa, segment: &mut KvSegment, positions: Range<usize>) {
        let start = positions.start;
        let range = positions.start * KV_WIDTH..positions.end * KV_WIDTH;
        segment.append(&team(isa), 1, start, (&self.keys[range.clone()], &self.values[range]));
    }

    /// The result for all positions, computed in chunks of `chunk`.
    fn attend(&self, isa: Isa, chunk: usize) -> Vec<f32> {
        let mut segment = KvSegment::new(2, &SHAPE);
        let mut out = vec![f32::NAN; self.queries.len()];
        let len = self.queries.len() / WIDTH;
        for start in (0..len).step_by(chunk) {
            let end = len.min(start + chunk);
            self.append(isa, &mut segment, start..end);
            let span = Span { segments: vec![&segment], start, n_queries: end - start };
            let rows = start * WIDTH..end * WIDTH;
            attend(&team(isa), &SHAPE, 1, &[span], (&self.queries[rows.clone()], &mut out[rows]));
        }
        out
    }

    /// The definition, with queries, keys and values rounded to bytes as attention takes them.
    fn exact(&self, position: usize, head: usize) -> Vec<f64> {
        let kv_head = head / (SHAPE.n_heads / SHAPE.n_kv_heads);
        let row = |values: &[f32], at: usize| {
            let first = at * KV_WIDTH + kv_head * SHAPE.head_dim;
            in_bytes(&values[first..first + SHAPE.head_dim])
        };
        let first = position * WIDTH + head * SHAPE.head_dim;
        let query = in_bytes(&self.queries[first..first + SHAPE.head_dim]);
        let weights: Vec<f64> = (0..=position)
            .map(|at| {
                let keys = row(&self.keys, at);
                let score: f64 = query.iter().zip(keys).map(|(q, k)| q * k).sum();
                (score * f64::from(SHAPE.scale)).exp()
            })
            .collect();
        let mut out = vec![0.0; SHAPE.head_dim];
        for (at, weight) in weights.iter().enumerate() {
            for (out, value) in out.iter_mut().zip(row(&self.values, at)) {
                *out += weight / weights.iter().sum::<f64>() * value;
            }
        }
        out
    }
}

/// Up to 32 numbers, each rounded to a 127th of the largest.
fn in_bytes(numbers: &[f32]) -> Vec<f64> {
    let largest = numbers.iter().fold(0.0, |largest: f32, number| largest.max(number.abs()));
    let round = |number: &f32| (number * (127.0 / largest)).round_ties_even();
    numbers.iter().map(|number| f64::from(round(number)) * f64::from(largest / 127.0)).collect()
}

fn available() -> impl Iterator<Item = Isa> {
    Isa::ALL.into_iter().filter(|isa| isa.is_available())
}

#[test]
fn attention_is_that_of_its_definition() {
    let sequence = Sequence::new(1, 75);
    for isa in available() {
        let out = sequence.attend(isa, 75);
        let mut total = 0.0;
        for (i, found) in out.chunks(SHAPE.head_dim).enumerate() {
            let exact = sequence.exact(i / SHAPE.n_heads, i % SHAPE.n_heads);
            for (found, exact) in found.iter().zip(exact) {
                let error = (f64::from(*found) - exact).abs();
                // Weights have steps of a 127th of the heaviest, values are up to 2.
                assert!(error < 3e-2, "{i}: {found} for {exact}");
                total += error;
            }
        }
        assert!(total / (out.len() as f64) < 5e-3, "on average {}", total / out.len() as f64);
    }
}

#[test]
fn keys_of_two_bytes_bear_dimensions_that_are_far_larger() {
    let (len, isa) = (60, Isa::best());
    let mut sequence = Sequence::new(1, len);
    // One dimension of every head is alike in all keys, and softmax does not see it.
    let plain = sequence.exact(len - 1, 0);
    for key in sequence.keys.chunks_mut(SHAPE.head_dim) {
        key[5] = 300.0;
    }
    let error = |precision: KeyPrecision| {
        let shape = AttentionShape { precision, ..SHAPE };
        let mut segment = KvSegment::new(1, &shape);
        segment.append(&team(isa), 0, 0, (&sequence.keys, &sequence.values));
        let span = Span { segments: vec![&segment], start: len - 1, n_queries: 1 };
        let mut out = vec![f32::NAN; WIDTH];
        let query = &sequence.queries[(len - 1) * WIDTH..];
        attend(&team(isa), &shape, 0, &[span], (query, &mut out));
        let errors = out.iter().zip(&plain).map(|(found, exact)| (f64::from(*found) - exact).abs());
        errors.fold(0.0, f64::max)
    };
    let (coarse, fine) = (error(KeyPrecision::Int8), error(KeyPrecision::Int16));
    assert!(5.0 * fine < coarse && fine < 0.2, "{coarse} with one byte, {fine} with two");
}

#[test]
fn attention_is_the_same_in_any_chunks_and_on_any_processor() {
    let sequence = Sequence::new(2, 99);
    let reference = sequence.attend(Isa::Portable, 1);
    for isa in available() {
        for chunk in [1, 2, 7, 16, 33, 64, 99] {
            let found = sequence.attend(isa, chunk);
            let same = found.iter().zip(&reference).all(|(a, b)| a.to_bits() == b.to_bits());
            assert!(same, "{} in chunks of {chunk}", isa.name());
        }
    }
}

#[test]
fn sequences_that_share_segments_attend_as_if_alone() {
    for (n_shared, n_second) in [(1, 2), (16, 0), (45, 9), (64, 40)] {
        let isa = Isa::best();
        let prefix = Sequence::new(3, n_shared + n_second + 5);
        let mut shared = KvSegment::new(2, &SHAPE);
        // What the segment holds after the place of branching must not be seen.
        prefix.append(isa, &mut shared, 0..n_shared + 5);
        let tails: Vec<Sequence> = (4..9).map(|seed| Sequence::new(seed, n_second + 20)).collect();
        let whole: Vec<Sequence> = tails
            .iter()
            .map(|tail| {
                let join = |first: &[f32], second: &[f32], width: usize| {
                    [&first[..n_shared * width], second].concat()
                };
                Sequence {
                    queries: join(&prefix.queries, &tail.queries, WIDTH),
                    keys: join(&prefix.keys, &tail.keys, KV_WIDTH),
                    values: join(&prefix.values, &tail.values, KV_WIDTH),
                }
            })
            .collect();
        let mut own: Vec<KvSegment> = whole
            .iter()
            .map(|sequence| {
                // Layer 0 of the prefix is empty here, so only layer 1 can be branched from.
                let mut own = shared.clone();
                own.append(
                    &team(isa),
                    0,
                    0,
                    (&vec![0.0; n_shared * KV_WIDTH], &vec![0.0; n_shared * KV_WIDTH]),
                );
                let mut own = own.branch(n_shared);
                sequence.append(isa, &mut own, n_shared..n_shared + n_second);
                own
            })
            .collect();
        let n_queries = 2;
        let start = n_shared + n_second;
        for (sequence, own) in whole.iter().zip(&mut own) {
            sequence.append(isa, own, start..start + n_queries);
        }
        let spans: Vec<Span<'_>> =
            own.iter().map(|own| Span { segments: vec![&shared, own], start, n_queries }).collect();
        let rows = start * WIDTH..(start + n_queries) * WIDTH;
        let queries: Vec<f32> =
            whole.iter().flat_map(|sequence| &sequence.queries[rows.clone()]).copied().collect();
        let mut out = vec![f32::NAN; queries.len()];
        attend(&team(isa), &SHAPE, 1, &spans, (&queries, &mut out));
        for (sequence, found) in whole.iter().zip(out.chunks(n_queries * WIDTH)) {
            assert_eq!(found, &sequence.attend(isa, 13)[rows.clone()]);
        }
    }
}

#[test]
fn positions_that_are_put_again_are_forgotten() {
    let isa = Isa::best();
    let (first, second) = (Sequence::new(1, 40), Sequence::new(2, 40));
    let mut segment = KvSegment::new(2, &SHAPE);
    first.append(isa, &mut segment, 0..40);
    second.append(isa, &mut segment.clone(), 19..20);
    first.append(isa, &mut segment, 19..25);
    let mut fresh = KvSegment::new(2, &SHAPE);
    first.append(isa, &mut fresh, 0..25);
    assert_eq!(segment.end(1), 25);
    let result = |segment: &KvSegment| {
        let mut out = vec![f32::NAN; WIDTH];
        let span = Span { segments: vec![segment], start: 24, n_queries: 1 };
        attend(&team(isa), &SHAPE, 1, &[span], (&first.queries[24 * WIDTH..25 * WIDTH], &mut out));
        out
    };
    assert_eq!(result(&segment), result(&fresh));
}

#[test]
fn rotation_turns_pairs_by_their_angles() {
    let frequencies = vec![1.0, 0.25];
    for (style, pairs) in
        [(RotaryStyle::Halves, [(0, 2), (1, 3)]), (RotaryStyle::Pairs, [(0, 1), (2, 3)])]
    {
        let rotary = Rotary { style, frequencies: frequencies.clone(), magnitude: 1.5 };
        let values = numbers(1, 3 * 2 * 6);
        let mut turned = values.clone();
        rotary.turns(&[0, 5, 1000]).apply(&team(Isa::Portable), &mut turned, 6);
        for (head, (turned, values)) in turned.chunks(6).zip(values.chunks(6)).enumerate() {
            let position = [0.0, 5.0, 1000.0][head / 2];
            for ((left, right), frequency) in pairs.into_iter().zip(&frequencies) {
                let (sine, cosine) = (position * f64::from(*frequency)).sin_cos();
                let (x, y) = (f64::from(values[left]), f64::from(values[right]));
                let error = (f64::from(turned[left]) - 1.5 * (x * cosine - y * sine)).abs();
                assert!(error < 1e-5, "{style:?} {head}");
                let error = (f64::from(turned[right]) - 1.5 * (y * cosine + x * sine)).abs();
                assert!(error < 1e-5, "{style:?} {head}");
            }
            assert_eq!(turned[4..], values[4..]);
        }
    }
}
