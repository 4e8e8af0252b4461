//! Which names exist, in three characters of text for each.
//!
//! A reward must tell an invented path from one that exists but was not shown, and an episode on
//! disk has no repository to ask. A list of all paths would dwarf the prompt; a [`Known`] keeps a
//! fingerprint of each. A name that exists is always known; one that does not is taken for known
//! once in 4,096 times, the same on every machine.

use serde::{Deserialize, Serialize};

/// Fingerprints per name: one in so many unknown names passes for known.
const RANGE_PER_NAME: u64 = 4096;

/// A set of names that can only be asked, not listed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Known {
    n_names: u64,
    /// Sorted, without repetitions.
    fingerprints: Vec<u64>,
}

/// The form on disk: the gaps between fingerprints, as text.
#[derive(Serialize, Deserialize)]
struct Written {
    n: u64,
    gaps: String,
}

impl Known {
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let hashes: Vec<u64> = names.into_iter().map(hash).collect();
        let n_names = hashes.len() as u64;
        let mut fingerprints: Vec<u64> =
            hashes.into_iter().map(|hash| reduce(hash, n_names)).collect();
        fingerprints.sort_unstable();
        fingerprints.dedup();
        Self { n_names, fingerprints }
    }

    /// Whether the name is among those given, or one of the few that pass for them.
    pub fn contains(&self, name: &str) -> bool {
        self.fingerprints.binary_search(&reduce(hash(name), self.n_names)).is_ok()
    }
}

/// FNV-1a, then a mixer, since the upper bits choose the fingerprint. Part of the format.
fn hash(name: &str) -> u64 {
    let fnv = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mixed = (fnv ^ (fnv >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn reduce(hash: u64, n_names: u64) -> u64 {
    let range = n_names * RANGE_PER_NAME;
    ((u128::from(hash) * u128::from(range)) >> 64) as u64
}

/// Five bits a character, the sixth says that more follow; the lowest bits first.
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

impl From<Known> for Written {
    fn from(known: Known) -> Self {
        let mut gaps = String::with_capacity(known.fingerprints.len() * 3);
        let mut before = 0;
        for fingerprint in &known.fingerprints {
            let mut gap = fingerprint - before;
            before = *fingerprint;
            loop {
                let more = if 32 <= gap { 32 } else { 0 };
                gaps.push(char::from(DIGITS[(gap % 32) as usize + more]));
                gap /= 32;
                if more == 0 {
                    break;
                }
            }
        }
        Self { n: known.n_names, gaps }
    }
}

/// A written set that was damaged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a set of known names is damaged: character {at} of {found:?}")]
pub struct DamagedNames {
    at: usize,
    found: String,
}

impl TryFrom<Written> for Known {
    type Error = DamagedNames;

    fn try_from(written: Written) -> Result<Self, DamagedNames> {
        let damaged =
            |at| DamagedNames { at, found: written.gaps.chars().take(60).collect::<String>() };
        let mut fingerprints = Vec::with_capacity(written.gaps.len() / 3);
        let (mut before, mut gap, mut shift) = (0_u64, 0_u64, 0);
        for (at, byte) in written.gaps.bytes().enumerate() {
            let digit = digit_of(byte).ok_or_else(|| damaged(at))?;
            if 60 <= shift {
                return Err(damaged(at));
            }
            gap += u64::from(digit % 32) << shift;
            shift += 5;
            if digit < 32 {
                before = before.checked_add(gap).ok_or_else(|| damaged(at))?;
                fingerprints.push(before);
                (gap, shift) = (0, 0);
            }
        }
        if shift != 0 || (1 << 40) < written.n {
            return Err(damaged(written.gaps.len()));
        }
        Ok(Self { n_names: written.n, fingerprints })
    }
}

fn digit_of(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'-' => Some(62),
        b'_' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn names(n: usize) -> Vec<String> {
        (0..n).map(|idx| format!("src/pkg{}/module_{idx}.py", idx % 37)).collect()
    }

    #[test]
    fn names_survive_writing_and_strangers_are_told_apart() {
        let names = names(3000);
        let known = Known::new(names.iter().map(String::as_str));
        let written = serde_json::to_string(&known).unwrap();
        assert!(written.len() < 3 * 3000 + 300, "{} bytes", written.len());
        let read: Known = serde_json::from_str(&written).unwrap();
        assert_eq!(read, known);
        assert!(names.iter().all(|name| read.contains(name)));
        let strangers = (0..40_960).filter(|idx| read.contains(&format!("lib/x{idx}.py"))).count();
        assert!(strangers < 40, "{strangers} of 40,960 strangers pass, about 10 should");
    }

    #[test]
    fn the_written_form_stays_as_it_is() {
        let known = Known::new(["a.py", "b/c.py"]);
        expect![[r#"{"n":2,"gaps":"8-Di9D"}"#]].assert_eq(&serde_json::to_string(&known).unwrap());
    }

    #[test]
    fn an_empty_set_knows_nothing() {
        assert!(!Known::new([]).contains("a.py"));
        assert!(!Known::new([]).contains(""));
    }

    #[test]
    fn damage_is_an_error() {
        for gaps in ["A!", "g", "ggggggggggggggggggggA"] {
            let text = format!(r#"{{"n":1,"gaps":"{gaps}"}}"#);
            assert!(serde_json::from_str::<Known>(&text).is_err(), "{gaps}");
        }
    }
}
