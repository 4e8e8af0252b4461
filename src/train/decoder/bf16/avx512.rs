//! One tile of a product, with AVX-512's instructions for bfloat16.

#![expect(unsafe_code, reason = "vector instructions")]

use std::arch::x86_64::{
    __m512, __m512bh, __m512i, _mm512_dpbf16_ps, _mm512_loadu_si512, _mm512_set1_epi32,
    _mm512_setzero_ps, _mm512_storeu_ps,
};

use crate::train::decoder::bf16::panels::{COLS, ROWS};

/// Whether this processor has the instructions.
pub(super) fn is_available() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16")
}

/// The sums of products of a panel of rows with a panel of columns, both of as many pairs.
///
/// # Panics
///
/// The processor lacks the instructions.
pub(super) fn tile(a: &[[u32; ROWS]], b: &[[u32; COLS]]) -> [[f32; COLS]; ROWS] {
    assert!(is_available(), "a processor with bfloat16 instructions");
    // SAFETY: the processor has the instructions, as was just asked.
    unsafe { sums(a, b) }
}

#[target_feature(enable = "avx512f,avx512bf16")]
fn sums(a: &[[u32; ROWS]], b: &[[u32; COLS]]) -> [[f32; COLS]; ROWS] {
    let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
    for (a, b) in a.iter().zip(b) {
        let (b, _) = b.as_chunks::<16>();
        let (left, right) = (load(&b[0]), load(&b[1]));
        for (sums, a) in sums.iter_mut().zip(a) {
            let pair = as_bf16(_mm512_set1_epi32(a.cast_signed()));
            sums[0] = _mm512_dpbf16_ps(sums[0], pair, left);
            sums[1] = _mm512_dpbf16_ps(sums[1], pair, right);
        }
    }
    let mut out = [[0.0; COLS]; ROWS];
    for (out, sums) in out.iter_mut().zip(sums) {
        let (halves, _) = out.as_chunks_mut::<16>();
        store(&mut halves[0], sums[0]);
        store(&mut halves[1], sums[1]);
    }
    out
}

#[target_feature(enable = "avx512f")]
fn load(words: &[u32; 16]) -> __m512bh {
    // SAFETY: 16 words are there to be read, and the load needs no alignment.
    as_bf16(unsafe { _mm512_loadu_si512(words.as_ptr().cast()) })
}

#[target_feature(enable = "avx512f")]
fn store(out: &mut [f32; 16], sums: __m512) {
    // SAFETY: there is room for 16 numbers, and the store needs no alignment.
    unsafe { _mm512_storeu_ps(out.as_mut_ptr(), sums) };
}

fn as_bf16(words: __m512i) -> __m512bh {
    // SAFETY: both are 512 bits, of which every pattern is a value.
    unsafe { std::mem::transmute::<__m512i, __m512bh>(words) }
}
