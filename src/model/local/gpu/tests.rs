//! The arithmetic of GPUs on candle's CPU, beside the fixtures and our own kernels.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::Device;

use crate::model::local::decoder::{Batch, Decoder, Ops, SequenceRows};
use crate::model::local::gpu::Gpu;
use crate::model::local::load::{Loaded, LocalOptions};
use crate::model::local::tests::{error, expected, logits};

fn folder(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/models").join(family)
}

fn decoder(family: &str) -> Decoder<Gpu> {
    let options = LocalOptions::default();
    let ops = |config: &_, team| Gpu::new(config, Device::Cpu, team);
    let loaded = Loaded::read_for(&folder(family), &options, ops).unwrap();
    assert!(!loaded.info.is_local_cpu);
    loaded.decoder
}

#[test]
fn logits_are_those_of_transformers() {
    for family in ["llama", "qwen2", "qwen3"] {
        let expected = expected(family);
        let error = error(&decoder(family), &expected.ids, &expected.logits);
        assert!(error < 1e-5, "{family}: relative error {error}");
    }
}

#[track_caller]
fn check_near(found: &[f32], wanted: &[f32], what: &str) {
    assert_eq!(found.len(), wanted.len(), "{what}");
    let scale = wanted.iter().fold(0.0_f32, |max, value| max.max(value.abs()));
    for (found, wanted) in found.iter().zip(wanted) {
        assert!((found - wanted).abs() < 1e-5 * scale, "{what}: {found}, wanted {wanted}");
    }
}

#[test]
fn logits_do_not_depend_on_chunks() {
    for family in ["llama", "qwen2", "qwen3"] {
        let (decoder, ids) = (decoder(family), expected(family).ids);
        let whole = logits(&decoder, &ids, ids.len());
        for chunk_len in [1, 7, 33] {
            check_near(
                &logits(&decoder, &ids, chunk_len),
                &whole,
                &format!("{family} {chunk_len}"),
            );
        }
    }
}

#[test]
fn samples_of_a_prompt_share_its_keys_and_differ_from_there_on() {
    let (decoder, ids) = (decoder("qwen2"), expected("qwen2").ids);
    let (ops, n_vocab) = (decoder.ops(), decoder.config.n_vocab);
    let whole = logits(&decoder, &ids, ids.len());
    for shared_len in [1, 17, 40] {
        let mut first = ops.new_segment().unwrap();
        let sequences =
            vec![SequenceRows { n_rows: ids.len(), start: 0, shared: &[], own: &mut first }];
        decoder.forward(Batch { ids: &ids, sequences, wanted: &[] }).unwrap();
        let shared = [Arc::new(first)];
        let mut branches = [(), ()].map(|()| ops.branch(&shared[0], shared_len).unwrap());
        let [one, two] = &mut branches;
        let mut other = ops.new_segment().unwrap();
        let (rest, few) = (&ids[shared_len..], &ids[shared_len..shared_len + 3]);
        let mixed = [&ids[..5], rest, few].concat();
        let wanted: Vec<usize> = (5..mixed.len()).collect();
        let sequences = vec![
            SequenceRows { n_rows: 5, start: 0, shared: &[], own: &mut other },
            SequenceRows { n_rows: rest.len(), start: shared_len, shared: &shared, own: one },
            SequenceRows { n_rows: 3, start: shared_len, shared: &shared, own: two },
        ];
        let found = decoder.forward(Batch { ids: &mixed, sequences, wanted: &wanted }).unwrap();
        let (found, found_few) = found.split_at(rest.len() * n_vocab);
        let wanted = &whole[shared_len * n_vocab..];
        check_near(found, wanted, &format!("{shared_len} shared"));
        check_near(found_few, &wanted[..3 * n_vocab], &format!("{shared_len} shared, the other"));
        // One row more, behind a segment that is written already.
        let next = [ids[shared_len + 3]];
        let [_, two] = &mut branches;
        let start = shared_len + 3;
        let sequences = vec![SequenceRows { n_rows: 1, start, shared: &shared, own: two }];
        let found = decoder.forward(Batch { ids: &next, sequences, wanted: &[0] }).unwrap();
        check_near(&found, &wanted[3 * n_vocab..4 * n_vocab], "a row more");
    }
}

#[test]
fn a_branch_of_a_branch_sees_all_that_it_goes_on_from() {
    let (decoder, ids) = (decoder("qwen3"), expected("qwen3").ids);
    let (ops, n_vocab) = (decoder.ops(), decoder.config.n_vocab);
    let whole = logits(&decoder, &ids, ids.len());
    let mut shared: Vec<Arc<<Gpu as Ops>::Segment>> = Vec::new();
    // Each goes on where a part of the one before it ends.
    for (start, end) in [(0, 30), (20, 25), (25, 70), (64, 80)] {
        let mut own = match shared.last() {
            Some(last) => ops.branch(last, start).unwrap(),
            None => ops.new_segment().unwrap(),
        };
        let wanted: Vec<usize> = (0..end - start).collect();
        let sequences =
            vec![SequenceRows { n_rows: end - start, start, shared: &shared, own: &mut own }];
        let batch = Batch { ids: &ids[start..end], sequences, wanted: &wanted };
        let found = decoder.forward(batch).unwrap();
        check_near(&found, &whole[start * n_vocab..end * n_vocab], &format!("{start}..{end}"));
        shared.push(Arc::new(own));
    }
}
