//! Quantized matrix products, attention and the small steps between them, on the CPU.
//!
//! A decoder layer runs on plain row-major `f32` buffers (rows are tokens) through these calls:
//!
//! 1. [`activation::Activations::quantize_normed`] takes the residual stream through RMS norm to
//!    int8 in one pass;
//! 2. [`product::multiply`] computes q, k and v from it together;
//! 3. [`rotary::Turns::apply`] turns q and k in place, [`kv::KvSegment::append`] stores k and v,
//!    [`attention::attend`] reads them;
//! 4. [`activation::Activations::quantize`], then [`product::multiply`] with
//!    [`product::Store::Add`] puts the output projection onto the residual stream;
//! 5. the same for the feed-forward half with [`activation::Activations::quantize_gated`].
//!
//! A [`team::Team`] shares the work of each call.
//!
//! Every sum is taken in an order that depends on the inner dimension and on absolute positions
//! alone. Results are the same bits for any number of rows, threads and chunks, and on every
//! [`Isa`]: integer parts are exact, and floating-point parts use the same fused operations in
//! the same order everywhere.

#![expect(
    clippy::inline_always,
    reason = "a kernel gets its instructions by being inlined into the function that has them"
)]
#![expect(
    clippy::needless_range_loop,
    reason = "loops over a tile's rows index several arrays, and must not become closures"
)]

pub mod activation;
pub mod attention;
pub mod choice;
pub mod kv;
pub mod packed;
pub mod product;
pub mod quant;
pub mod rotary;
pub mod team;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod blocks;
mod k_blocks;
mod lanes;
mod layout;
mod planes;
mod portable;
#[cfg(test)]
mod tests;
mod tile;

use std::str::FromStr;

/// The instructions that kernels are run with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// Plain Rust, for every processor.
    Portable,
    /// x86-64 with AVX2, FMA and F16C.
    Avx2,
    /// x86-64 with AVX-512 F, BW and VNNI.
    Avx512Vnni,
}

impl Isa {
    /// Every value, slowest first.
    pub const ALL: [Self; 3] = [Self::Portable, Self::Avx2, Self::Avx512Vnni];

    /// The fastest that this processor has.
    pub fn best() -> Self {
        let available = Self::ALL.into_iter().rev().find(|isa| isa.is_available());
        available.unwrap_or(Self::Portable)
    }

    /// Whether this processor can run it.
    pub fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => {
                is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("fma")
                    && is_x86_feature_detected!("f16c")
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => {
                Self::Avx2.is_available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vnni")
            }
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx2 | Self::Avx512Vnni => false,
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512Vnni => "avx512-vnni",
        }
    }
}

/// Why a name is not an instruction set that can be used here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IsaError {
    #[error("unknown instruction set `{0}`; wanted `portable`, `avx2` or `avx512-vnni`")]
    Unknown(String),
    #[error("this processor does not have `{0}`")]
    Unavailable(&'static str),
}

impl FromStr for Isa {
    type Err = IsaError;

    fn from_str(name: &str) -> Result<Self, IsaError> {
        let isa = Self::ALL.into_iter().find(|isa| isa.name() == name);
        let isa = isa.ok_or_else(|| IsaError::Unknown(name.to_owned()))?;
        if isa.is_available() { Ok(isa) } else { Err(IsaError::Unavailable(isa.name())) }
    }
}
