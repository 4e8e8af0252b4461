//! Numbers as merged models store them.

use anyhow::{Context as _, ensure};
use half::{bf16, f16};
use safetensors::Dtype;

use crate::model::local::gguf::Encoding;

/// How the numbers of a merged model are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    F32,
    F16,
    Bf16,
    /// Blocks of 32 signed bytes with a scale; in GGUF files alone.
    Q8_0,
}

impl Precision {
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Q8_0 => "q8_0",
        }
    }

    pub fn encoding(self) -> Encoding {
        match self {
            Self::F32 => Encoding::F32,
            Self::F16 => Encoding::F16,
            Self::Bf16 => Encoding::Bf16,
            Self::Q8_0 => Encoding::Q8_0,
        }
    }

    /// What safetensors call it, and `config.json` does; `None` where they have no word for it.
    pub fn of_safetensors(self) -> Option<(Dtype, &'static str)> {
        match self {
            Self::F32 => Some((Dtype::F32, "float32")),
            Self::F16 => Some((Dtype::F16, "float16")),
            Self::Bf16 => Some((Dtype::BF16, "bfloat16")),
            Self::Q8_0 => None,
        }
    }

    /// The bytes of numbers; of whole blocks, where it has blocks.
    pub fn bytes(self, numbers: &[f32]) -> Vec<u8> {
        match self {
            Self::F32 => numbers.iter().flat_map(|n| n.to_le_bytes()).collect(),
            Self::F16 => numbers.iter().flat_map(|n| f16::from_f32(*n).to_le_bytes()).collect(),
            Self::Bf16 => numbers.iter().flat_map(|n| bf16::from_f32(*n).to_le_bytes()).collect(),
            Self::Q8_0 => numbers.chunks(32).flat_map(q8_0).collect(),
        }
    }

    /// Refuses numbers that have no value when they are stored so.
    pub fn check(self, name: &str, numbers: &[f32]) -> anyhow::Result<()> {
        let fits = |n: &f32| match self {
            Self::F32 => n.is_finite(),
            Self::F16 => f16::from_f32(*n).is_finite(),
            Self::Bf16 => bf16::from_f32(*n).is_finite(),
            Self::Q8_0 => f16::from_f32(*n / 127.0).is_finite(),
        };
        let odd = numbers.iter().find(|n| !fits(n));
        ensure!(
            odd.is_none(),
            "`{name}` holds {}, which {} does not store\nhint: `--precision f32`",
            odd.context("a number")?,
            self.name()
        );
        Ok(())
    }
}

/// A block: the scale as 16 bits, and each number as a whole multiple of it.
fn q8_0(numbers: &[f32]) -> Vec<u8> {
    let largest = numbers.iter().fold(0.0_f32, |largest, n| largest.max(n.abs()));
    let scale = largest / 127.0;
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    let mut bytes = f16::from_f32(scale).to_le_bytes().to_vec();
    bytes.extend(numbers.iter().map(|n| (n * inverse).round() as i8 as u8));
    bytes
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::model::local::weights::StoredTensor;

    #[test]
    fn what_is_stored_is_read_again() {
        let numbers: Vec<f32> = (0..96).map(|n| (n as f32 - 40.0) / 7.0).collect();
        // Half a step of the largest number's binade, and of a block's scale.
        let limits = [
            (Precision::F32, 0.0),
            (Precision::F16, 4e-3),
            (Precision::Bf16, 3.2e-2),
            (Precision::Q8_0, 3.3e-2),
        ];
        for (precision, limit) in limits {
            let bytes = precision.bytes(&numbers);
            assert_eq!(Some(bytes.len()), precision.encoding().n_bytes(&[3, 32]));
            let stored = StoredTensor {
                encoding: precision.encoding(),
                shape: vec![3, 32],
                bytes: Cow::Owned(bytes),
            };
            let found = stored.to_f32().unwrap();
            let error = found.iter().zip(&numbers).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(error <= limit, "{precision:?}: {error}");
            precision.check("w", &numbers).unwrap();
            let message = precision.check("w", &[1.0, f32::INFINITY]).unwrap_err().to_string();
            assert!(message.starts_with("`w` holds inf, which"), "{message}");
        }
        assert!(Precision::F16.check("w", &[7e4]).is_err());
    }
}
