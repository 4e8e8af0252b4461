//! The properties that the fuzz targets ask, for their seeds and for mutations of them.
//!
//! A file in `fuzz/seeds/TARGET` is an input that teaches the format, or one that broke something
//! once: a found crash becomes a test by being kept there.

#[path = "../../fuzz/properties/mod.rs"]
mod properties;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rand::Rng;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::machine::manifest;

type Check = fn(&[u8]);

const TARGETS: &[(&str, Check)] = &[
    ("completions", properties::completions::check),
    ("configuration", properties::configuration::check),
    ("diffs", properties::diffs::check),
    ("edits", properties::edits::check),
    ("gguf", properties::gguf::check),
    ("logs", properties::logs::check),
    ("patches", properties::patches::check),
    ("records", properties::records::check),
    ("safetensors", properties::safetensors::check),
    ("sources", properties::sources::check),
];

/// The seeds of a target by name, in order.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = manifest().join("fuzz/seeds").join(target);
    let mut seeds: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, fs::read(&path).unwrap())
        })
        .collect();
    seeds.sort();
    seeds
}

/// Checks an input, and names it where the check fails.
fn check(name: &str, check: Check, input: &[u8]) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| check(input))) {
        let why = panic.downcast_ref::<String>().map(String::as_str);
        let why = why.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default();
        panic!("{why}\nthe input, made of {name}: \"{}\"", input.escape_ascii());
    }
}

/// Cuts, repeats, joins and changes pieces, as a fuzzer that sees no coverage does.
fn mutated(seeds: &[(String, Vec<u8>)], input: &[u8], random: &mut ChaCha8Rng) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..random.random_range(1..=4) {
        let other = &seeds[random.random_range(0..seeds.len())].1;
        let from = random.random_range(0..=other.len());
        let to = random.random_range(from..=other.len().min(from + 40));
        let at = random.random_range(0..=bytes.len());
        let end = random.random_range(at..=bytes.len().min(at + 40));
        match random.random_range(0..4) {
            0 => drop(bytes.splice(at..at, other[from..to].iter().copied())),
            1 => drop(bytes.splice(at..end, other[from..to].iter().copied())),
            2 => bytes.truncate(at.max(1)),
            _ if at < bytes.len() => {
                bytes[at] = match random.random_range(0..3) {
                    0 => random.random(),
                    1 => bytes[at] ^ (1 << random.random_range(0..8)),
                    _ => b"\n\0\xff\r `/."[random.random_range(0..8)],
                };
            }
            _ => {}
        }
    }
    bytes
}

#[test]
fn what_fuzzers_ask_holds_for_seeds_and_their_mutations() {
    for (target, ask) in TARGETS {
        let seeds = seeds(target);
        assert!(2 < seeds.len(), "`fuzz/seeds/{target}` has {} files", seeds.len());
        let mut random = ChaCha8Rng::seed_from_u64(0);
        for (name, input) in &seeds {
            check(&format!("{target}/{name}"), *ask, input);
            for _ in 0..15 {
                let input = mutated(&seeds, input, &mut random);
                check(&format!("{target}/{name}"), *ask, &input);
            }
        }
    }
}

/// A target that fuzzing builds and `cargo test` does not know would rot.
#[test]
fn every_fuzz_target_is_asked_here_too() {
    let manifest = fs::read_to_string(manifest().join("fuzz/Cargo.toml")).unwrap();
    let mut named: Vec<&str> =
        manifest.split("[[bin]]").skip(1).map(|bin| bin.split('"').nth(1).unwrap()).collect();
    named.sort_unstable();
    assert_eq!(named, TARGETS.iter().map(|(name, _)| *name).collect::<Vec<_>>());
}
