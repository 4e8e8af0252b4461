//! Seeds and hashes: what makes two runs draw the same numbers and recognise the same request.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::Serialize;
use sha2::{Digest, Sha256};

/// The seed of one model call of a run: from what it is for, never from when it happens.
///
/// `call` tells the calls of one stage apart (location sets in the edit stage, say).
pub fn call_seed(run_seed: u64, instance: &str, stage: &str, call: u64) -> u64 {
    let mut hasher = Sha256::new();
    hasher.update(run_seed.to_le_bytes());
    for text in [instance, stage] {
        hasher.update((text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    }
    hasher.update(call.to_le_bytes());
    first_u64(&hasher.finalize())
}

/// The generator of sample `sample` of a call at its token position `position`.
///
/// Every position starts at a block of its own, so that a token's draw does not depend on how
/// many numbers the tokens before it used.
pub fn sample_generator(seed: u64, sample: u64, position: u64) -> ChaCha8Rng {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    generator.set_stream(sample);
    generator.set_word_pos(u128::from(position) * WORDS_PER_POSITION);
    generator
}

/// One block of the cipher: 16 words of 32 bits.
const WORDS_PER_POSITION: u128 = 16;

/// The name of a request in a trajectory: SHA-256 over its JSON, 32 hexadecimal digits.
///
/// The parts must be all that decides a completion: engine, prompt, sampling, grammar and seed.
pub fn request_hash(parts: &impl Serialize) -> anyhow::Result<String> {
    let json = serde_json::to_vec(parts)?;
    Ok(render_hex(&Sha256::digest(&json)[..16]))
}

/// Bytes as lower-case hexadecimal digits.
pub fn render_hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut hex, byte| {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// The bytes that `render_hex` rendered; `None` where the text is no such thing.
pub fn parse_hex(hex: &str) -> Option<Vec<u8>> {
    if !hex.is_ascii() || !hex.len().is_multiple_of(2) {
        return None;
    }
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).ok()).collect()
}

fn first_u64(digest: &[u8]) -> u64 {
    digest.iter().take(8).rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::RngCore;

    use super::*;

    #[test]
    fn a_seed_depends_on_every_part_of_its_purpose() {
        let base = call_seed(1, "a", "edit", 0);
        assert_eq!(base, call_seed(1, "a", "edit", 0));
        for other in [
            call_seed(2, "a", "edit", 0),
            call_seed(1, "b", "edit", 0),
            call_seed(1, "a", "line", 0),
            call_seed(1, "a", "edit", 1),
            call_seed(1, "ae", "dit", 0),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn a_position_draws_the_same_number_however_it_is_reached() {
        let mut walked = sample_generator(7, 3, 0);
        let draws: Vec<u64> = (0..3 * 8).map(|_| walked.next_u64()).collect();
        assert_eq!(sample_generator(7, 3, 2).next_u64(), draws[16]);
        assert_ne!(sample_generator(7, 4, 2).next_u64(), draws[16]);
    }

    #[test]
    fn hexadecimal_digits_give_the_bytes_back() {
        let bytes = [0, 15, 255, 128];
        assert_eq!(render_hex(&bytes), "000fff80");
        assert_eq!(parse_hex("000fff80").as_deref(), Some(&bytes[..]));
        assert_eq!(parse_hex("0"), None);
        assert_eq!(parse_hex("zz"), None);
        assert_eq!(parse_hex("é"), None);
    }
}
