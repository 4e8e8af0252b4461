//! The operations with AVX2, FMA and F16C: two registers of eight lanes.

#![expect(unsafe_code, reason = "vector instructions")]
#![expect(clippy::cast_ptr_alignment, reason = "the loads and stores used take any address")]

use std::arch::x86_64::{
    __m128i, __m256, __m256i, _CMP_NLT_UQ, _MM_HINT_T0, _mm_loadl_epi64, _mm_loadu_si128,
    _mm_packs_epi16, _mm_prefetch, _mm_storeu_si128, _mm256_abs_epi8, _mm256_add_epi16,
    _mm256_add_epi32, _mm256_add_ps, _mm256_and_ps, _mm256_and_si256, _mm256_andnot_ps,
    _mm256_blend_epi16, _mm256_castsi256_ps, _mm256_castsi256_si128, _mm256_cmp_ps,
    _mm256_cvtepi8_epi32, _mm256_cvtepi32_ps, _mm256_cvtepu8_epi32, _mm256_cvtepu16_epi32,
    _mm256_cvtph_ps, _mm256_cvtps_epi32, _mm256_div_ps, _mm256_extracti128_si256, _mm256_fmadd_ps,
    _mm256_loadu_ps, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_max_ps,
    _mm256_min_ps, _mm256_mul_ps, _mm256_or_si256, _mm256_packs_epi32, _mm256_permute4x64_epi64,
    _mm256_set1_epi8, _mm256_set1_epi16, _mm256_set1_epi32, _mm256_set1_ps, _mm256_setzero_si256,
    _mm256_sign_epi8, _mm256_slli_epi16, _mm256_slli_epi32, _mm256_srli_epi16, _mm256_storeu_ps,
    _mm256_storeu_si256, _mm256_sub_ps,
};

use crate::model::kernels::Isa;
use crate::model::kernels::lanes::{ByteGroup, Kernel, LANES, Lanes};

/// Proves that the processor has AVX2, FMA and F16C.
#[derive(Debug, Clone, Copy)]
pub(super) struct Avx2(());

impl Avx2 {
    pub(super) fn detect() -> Option<Self> {
        Isa::Avx2.is_available().then_some(Self(()))
    }

    /// Runs a kernel with the instructions switched on.
    pub(super) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        #[target_feature(enable = "avx2,fma,f16c")]
        fn switched_on<K: Kernel>(lanes: Avx2, kernel: K) -> K::Output {
            kernel.run(lanes)
        }
        // SAFETY: `self` exists only where the processor has these instructions.
        unsafe { switched_on(self, kernel) }
    }
}

/// An expression of vector instructions.
macro_rules! vector {
    ($expression:expr) => {
        // SAFETY: an `Avx2` exists only where the processor has these instructions, and every
        // load and store goes through a reference to an array of at least its length, unaligned.
        unsafe { $expression }
    };
}

/// The same instruction on both halves.
macro_rules! both {
    ($operation:ident $(::<$constant:tt>)? ($($argument:expr),+)) => {
        vector!([
            $operation$(::<$constant>)?($($argument[0]),+),
            $operation$(::<$constant>)?($($argument[1]),+),
        ])
    };
}

type Pair = [__m256i; 2];
type FloatPair = [__m256; 2];

impl Lanes for Avx2 {
    const HAS_ROOM_FOR_TWO: bool = false;

    type Bytes = Pair;
    type Ints = Pair;
    type Floats = FloatPair;
    /// In each row's lane, the lower 16 bits sum the first two of every four columns, the upper the
    /// last two.
    type Dots = Pair;

    #[inline(always)]
    fn prefetch_line<T>(self, from: &T, ahead: usize) {
        let line = std::ptr::from_ref(from).cast::<i8>().wrapping_add(ahead);
        // Prefetching touches no memory that may not be touched, whatever the address.
        vector!(_mm_prefetch::<_MM_HINT_T0>(line));
    }

    #[inline(always)]
    fn bytes(self, from: &ByteGroup) -> Pair {
        let from = from.as_ptr().cast::<__m256i>();
        vector!([_mm256_loadu_si256(from), _mm256_loadu_si256(from.add(1))])
    }

    #[inline(always)]
    fn shift_right<const N: i32>(self, bytes: Pair) -> Pair {
        both!(_mm256_srli_epi16::<N>(bytes))
    }

    #[inline(always)]
    fn shift_left<const N: i32>(self, bytes: Pair) -> Pair {
        both!(_mm256_slli_epi16::<N>(bytes))
    }

    #[inline(always)]
    fn mask(self, bytes: Pair, mask: u8) -> Pair {
        let mask = [vector!(_mm256_set1_epi8(mask.cast_signed())); 2];
        both!(_mm256_and_si256(bytes, mask))
    }

    #[inline(always)]
    fn or(self, left: Pair, right: Pair) -> Pair {
        both!(_mm256_or_si256(left, right))
    }

    #[inline(always)]
    fn store_bytes(self, bytes: Pair, to: &mut ByteGroup) {
        let to = to.as_mut_ptr().cast::<__m256i>();
        vector!({
            _mm256_storeu_si256(to, bytes[0]);
            _mm256_storeu_si256(to.add(1), bytes[1]);
        });
    }

    #[inline(always)]
    fn start<const SHIFT: i32>(self, [first, second]: [i16; 2]) -> Pair {
        let both = i32::from(first) & 0xffff | i32::from(second) << 16;
        [vector!(_mm256_slli_epi16::<SHIFT>(_mm256_set1_epi32(both))); 2]
    }

    #[inline(always)]
    fn start_unsigned(self) -> Pair {
        [vector!(_mm256_setzero_si256()); 2]
    }

    #[inline(always)]
    fn dot(self, dots: Pair, weights: Pair, activations: [i8; 4]) -> Pair {
        let activations = [vector!(_mm256_set1_epi32(as_int(activations))); 2];
        let products = both!(_mm256_maddubs_epi16(weights, activations));
        both!(_mm256_add_epi16(dots, products))
    }

    #[inline(always)]
    fn finish(self, dots: Pair) -> Pair {
        let ones = [vector!(_mm256_set1_epi16(1)); 2];
        both!(_mm256_madd_epi16(dots, ones))
    }

    #[inline(always)]
    fn finish_scaled(self, dots: Pair, scales: &[i8; LANES]) -> Pair {
        let scales = scales.as_ptr().cast::<__m128i>();
        let scales = vector!([
            _mm256_cvtepi8_epi32(_mm_loadl_epi64(scales)),
            _mm256_cvtepi8_epi32(_mm_loadl_epi64(scales.byte_add(8))),
        ]);
        let high = both!(_mm256_slli_epi32::<16>(scales));
        let twice = both!(_mm256_blend_epi16::<0b1010_1010>(scales, high));
        both!(_mm256_madd_epi16(dots, twice))
    }

    #[inline(always)]
    fn start_signed(self, _negative_sums: [i16; 2]) -> Pair {
        [vector!(_mm256_setzero_si256()); 2]
    }

    /// |weight| ≤ 128 is unsigned, and takes its sign to the activation: a pair of columns is
    /// 2 · 128 · 127 = 32,512 at most.
    #[inline(always)]
    fn dot_signed(self, dots: Pair, weights: Pair, activations: [i8; 4]) -> Pair {
        let activations = [vector!(_mm256_set1_epi32(as_int(activations))); 2];
        let signed = both!(_mm256_sign_epi8(activations, weights));
        let unsigned = both!(_mm256_abs_epi8(weights));
        let products = both!(_mm256_maddubs_epi16(unsigned, signed));
        self.add_ints(dots, self.finish(products))
    }

    #[inline(always)]
    fn start_weighted(self) -> Pair {
        [vector!(_mm256_setzero_si256()); 2]
    }

    /// A pair of columns is 2 · 127 · 128 = 32,512 at most.
    #[inline(always)]
    fn dot_weighted(self, sums: Pair, values: Pair, weights: [u8; 4]) -> Pair {
        let weights = [vector!(_mm256_set1_epi32(i32::from_le_bytes(weights))); 2];
        let products = both!(_mm256_maddubs_epi16(weights, values));
        self.add_ints(sums, self.finish(products))
    }

    #[inline(always)]
    fn store_ints(self, ints: Pair, to: &mut [i32; LANES]) {
        let to = to.as_mut_ptr().cast::<__m256i>();
        vector!({
            _mm256_storeu_si256(to, ints[0]);
            _mm256_storeu_si256(to.add(1), ints[1]);
        });
    }

    #[inline(always)]
    fn add_ints(self, left: Pair, right: Pair) -> Pair {
        both!(_mm256_add_epi32(left, right))
    }

    #[inline(always)]
    fn to_floats(self, ints: Pair) -> FloatPair {
        both!(_mm256_cvtepi32_ps(ints))
    }

    #[inline(always)]
    fn round(self, floats: FloatPair) -> Pair {
        both!(_mm256_cvtps_epi32(floats))
    }

    #[inline(always)]
    fn narrow(self, ints: Pair) -> [i8; LANES] {
        let mut bytes = [0; LANES];
        vector!({
            // Packing works within 128 bits each; the permutation puts the quarters in order.
            let words = _mm256_packs_epi32(ints[0], ints[1]);
            let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(words);
            let low = _mm256_castsi256_si128(words);
            let packed = _mm_packs_epi16(low, _mm256_extracti128_si256::<1>(words));
            _mm_storeu_si128(bytes.as_mut_ptr().cast(), packed);
        });
        bytes
    }

    #[inline(always)]
    fn power_of_two(self, exponents: Pair) -> FloatPair {
        let biased = self.add_ints(exponents, [vector!(_mm256_set1_epi32(127)); 2]);
        let bits = both!(_mm256_slli_epi32::<23>(biased));
        both!(_mm256_castsi256_ps(bits))
    }

    #[inline(always)]
    fn splat(self, value: f32) -> FloatPair {
        [vector!(_mm256_set1_ps(value)); 2]
    }

    #[inline(always)]
    fn floats(self, from: &[f32; LANES]) -> FloatPair {
        let from = from.as_ptr();
        vector!([_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))])
    }

    #[inline(always)]
    fn store(self, floats: FloatPair, to: &mut [f32; LANES]) {
        let to = to.as_mut_ptr();
        vector!({
            _mm256_storeu_ps(to, floats[0]);
            _mm256_storeu_ps(to.add(8), floats[1]);
        });
    }

    #[inline(always)]
    fn halves(self, from: &[u16; LANES]) -> FloatPair {
        let from = from.as_ptr().cast::<__m128i>();
        let halves = vector!([_mm_loadu_si128(from), _mm_loadu_si128(from.add(1))]);
        both!(_mm256_cvtph_ps(halves))
    }

    #[inline(always)]
    fn brains(self, from: &[u16; LANES]) -> FloatPair {
        let from = from.as_ptr().cast::<__m128i>();
        let words = vector!([_mm_loadu_si128(from), _mm_loadu_si128(from.add(1))]);
        let ints = both!(_mm256_cvtepu16_epi32(words));
        let bits = both!(_mm256_slli_epi32::<16>(ints));
        both!(_mm256_castsi256_ps(bits))
    }

    #[inline(always)]
    fn small_ints(self, from: &[u8; LANES]) -> FloatPair {
        let from = from.as_ptr().cast::<__m128i>();
        let ints = vector!([
            _mm256_cvtepu8_epi32(_mm_loadl_epi64(from)),
            _mm256_cvtepu8_epi32(_mm_loadl_epi64(from.byte_add(8))),
        ]);
        self.to_floats(ints)
    }

    #[inline(always)]
    fn add(self, left: FloatPair, right: FloatPair) -> FloatPair {
        both!(_mm256_add_ps(left, right))
    }

    #[inline(always)]
    fn sub(self, left: FloatPair, right: FloatPair) -> FloatPair {
        both!(_mm256_sub_ps(left, right))
    }

    #[inline(always)]
    fn mul(self, left: FloatPair, right: FloatPair) -> FloatPair {
        both!(_mm256_mul_ps(left, right))
    }

    #[inline(always)]
    fn div(self, left: FloatPair, right: FloatPair) -> FloatPair {
        both!(_mm256_div_ps(left, right))
    }

    #[inline(always)]
    fn mul_add(self, left: FloatPair, right: FloatPair, addend: FloatPair) -> FloatPair {
        both!(_mm256_fmadd_ps(left, right, addend))
    }

    #[inline(always)]
    fn max(self, left: FloatPair, right: FloatPair) -> FloatPair {
        both!(_mm256_max_ps(left, right))
    }

    #[inline(always)]
    fn min(self, left: FloatPair, right: FloatPair) -> FloatPair {
        both!(_mm256_min_ps(left, right))
    }

    #[inline(always)]
    fn abs(self, floats: FloatPair) -> FloatPair {
        let sign = self.splat(-0.0);
        both!(_mm256_andnot_ps(sign, floats))
    }

    #[inline(always)]
    fn zero_below(self, floats: FloatPair, test: FloatPair, bound: f32) -> FloatPair {
        let bound = self.splat(bound);
        let kept = both!(_mm256_cmp_ps::<_CMP_NLT_UQ>(test, bound));
        both!(_mm256_and_ps(floats, kept))
    }
}

#[inline(always)]
fn as_int(bytes: [i8; 4]) -> i32 {
    i32::from_le_bytes(bytes.map(i8::cast_unsigned))
}
