//! The operations with AVX-512 F, BW and VNNI: one register of sixteen lanes.

#![expect(unsafe_code, reason = "vector instructions")]

use std::arch::x86_64::{
    __m512, __m512i, _CMP_NLT_UQ, _MM_HINT_T0, _mm_add_epi32, _mm_add_ps, _mm_add_ss,
    _mm_cvtss_f32, _mm_loadu_si128, _mm_max_ps, _mm_max_ss, _mm_movehl_ps, _mm_prefetch,
    _mm_shuffle_ps, _mm_storeu_si128, _mm256_add_epi32, _mm256_add_ps, _mm256_castpd_ps,
    _mm256_castps256_ps128, _mm256_castsi256_si128, _mm256_extractf128_ps,
    _mm256_extracti128_si256, _mm256_loadu_si256, _mm256_max_ps, _mm512_abs_ps, _mm512_add_epi32,
    _mm512_add_ps, _mm512_and_si512, _mm512_castps_pd, _mm512_castps512_ps256, _mm512_castsi512_ps,
    _mm512_castsi512_si256, _mm512_cmp_ps_mask, _mm512_cvtepi8_epi32, _mm512_cvtepi32_epi8,
    _mm512_cvtepi32_ps, _mm512_cvtepu8_epi32, _mm512_cvtepu16_epi32, _mm512_cvtph_ps,
    _mm512_cvtps_epi32, _mm512_div_ps, _mm512_dpbusd_epi32, _mm512_extractf64x4_pd,
    _mm512_extracti64x4_epi64, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_loadu_si512,
    _mm512_maskz_mov_ps, _mm512_max_ps, _mm512_min_ps, _mm512_mul_ps, _mm512_mullo_epi32,
    _mm512_or_si512, _mm512_set1_epi8, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_si512,
    _mm512_slli_epi16, _mm512_slli_epi32, _mm512_srli_epi16, _mm512_storeu_ps, _mm512_storeu_si512,
    _mm512_sub_ps, _mm512_xor_si512,
};

use crate::model::kernels::Isa;
use crate::model::kernels::lanes::{ByteGroup, Kernel, LANES, Lanes};

/// Proves that the processor has AVX-512 F, BW and VNNI.
#[derive(Debug, Clone, Copy)]
pub(super) struct Avx512(());

impl Avx512 {
    pub(super) fn detect() -> Option<Self> {
        Isa::Avx512Vnni.is_available().then_some(Self(()))
    }

    /// Runs a kernel with the instructions switched on.
    pub(super) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vnni")]
        fn switched_on<K: Kernel>(lanes: Avx512, kernel: K) -> K::Output {
            kernel.run(lanes)
        }
        // SAFETY: `self` exists only where the processor has these instructions.
        unsafe { switched_on(self, kernel) }
    }
}

/// An expression of vector instructions.
macro_rules! vector {
    ($expression:expr) => {
        // SAFETY: an `Avx512` exists only where the processor has these instructions, and every
        // load and store goes through a reference to an array of its length, unaligned.
        unsafe { $expression }
    };
}

impl Lanes for Avx512 {
    const HAS_ROOM_FOR_TWO: bool = true;

    type Bytes = __m512i;
    type Ints = __m512i;
    type Floats = __m512;
    type Dots = __m512i;

    #[inline(always)]
    fn prefetch_line<T>(self, from: &T, ahead: usize) {
        let line = std::ptr::from_ref(from).cast::<i8>().wrapping_add(ahead);
        // Prefetching touches no memory that may not be touched, whatever the address.
        vector!(_mm_prefetch::<_MM_HINT_T0>(line));
    }

    #[inline(always)]
    fn bytes(self, from: &ByteGroup) -> __m512i {
        vector!(_mm512_loadu_si512(from.as_ptr().cast()))
    }

    #[inline(always)]
    fn shift_right<const N: i32>(self, bytes: __m512i) -> __m512i {
        // The instruction takes its count unsigned, which a constant parameter of this function
        // cannot become; the compiler folds the choice.
        match N {
            1 => vector!(_mm512_srli_epi16::<1>(bytes)),
            2 => vector!(_mm512_srli_epi16::<2>(bytes)),
            3 => vector!(_mm512_srli_epi16::<3>(bytes)),
            4 => vector!(_mm512_srli_epi16::<4>(bytes)),
            _ => unreachable!("formats shift by 1 to 4"),
        }
    }

    #[inline(always)]
    fn shift_left<const N: i32>(self, bytes: __m512i) -> __m512i {
        match N {
            1 => vector!(_mm512_slli_epi16::<1>(bytes)),
            2 => vector!(_mm512_slli_epi16::<2>(bytes)),
            3 => vector!(_mm512_slli_epi16::<3>(bytes)),
            4 => vector!(_mm512_slli_epi16::<4>(bytes)),
            _ => unreachable!("formats shift by 1 to 4"),
        }
    }

    #[inline(always)]
    fn mask(self, bytes: __m512i, mask: u8) -> __m512i {
        vector!(_mm512_and_si512(bytes, _mm512_set1_epi8(mask.cast_signed())))
    }

    #[inline(always)]
    fn or(self, left: __m512i, right: __m512i) -> __m512i {
        vector!(_mm512_or_si512(left, right))
    }

    #[inline(always)]
    fn store_bytes(self, bytes: __m512i, to: &mut ByteGroup) {
        vector!(_mm512_storeu_si512(to.as_mut_ptr().cast(), bytes));
    }

    #[inline(always)]
    fn start<const SHIFT: i32>(self, [first, second]: [i16; 2]) -> __m512i {
        vector!(_mm512_set1_epi32((i32::from(first) + i32::from(second)) << SHIFT))
    }

    #[inline(always)]
    fn start_unsigned(self) -> __m512i {
        vector!(_mm512_setzero_si512())
    }

    #[inline(always)]
    fn dot(self, dots: __m512i, weights: __m512i, activations: [i8; 4]) -> __m512i {
        let activations = i32::from_le_bytes(activations.map(i8::cast_unsigned));
        vector!(_mm512_dpbusd_epi32(dots, weights, _mm512_set1_epi32(activations)))
    }

    #[inline(always)]
    fn finish(self, dots: __m512i) -> __m512i {
        dots
    }

    #[inline(always)]
    fn finish_scaled(self, dots: __m512i, scales: &[i8; LANES]) -> __m512i {
        vector!({
            let scales = _mm512_cvtepi8_epi32(_mm_loadu_si128(scales.as_ptr().cast()));
            _mm512_mullo_epi32(dots, scales)
        })
    }

    /// Weights are taken 128 too large, which makes them unsigned.
    #[inline(always)]
    fn start_signed(self, negative_sums: [i16; 2]) -> __m512i {
        self.start::<7>(negative_sums)
    }

    #[inline(always)]
    fn dot_signed(self, dots: __m512i, weights: __m512i, activations: [i8; 4]) -> __m512i {
        let unsigned = vector!(_mm512_xor_si512(weights, _mm512_set1_epi8(i8::MIN)));
        self.dot(dots, unsigned, activations)
    }

    #[inline(always)]
    fn start_weighted(self) -> __m512i {
        vector!(_mm512_setzero_si512())
    }

    #[inline(always)]
    fn dot_weighted(self, sums: __m512i, values: __m512i, weights: [u8; 4]) -> __m512i {
        let weights = i32::from_le_bytes(weights);
        vector!(_mm512_dpbusd_epi32(sums, _mm512_set1_epi32(weights), values))
    }

    #[inline(always)]
    fn store_ints(self, ints: __m512i, to: &mut [i32; LANES]) {
        vector!(_mm512_storeu_si512(to.as_mut_ptr().cast(), ints));
    }

    #[inline(always)]
    fn fold_ints(self, ints: __m512i) -> [i32; 4] {
        let mut four = [0; 4];
        vector!({
            let (low, high) = (_mm512_castsi512_si256(ints), _mm512_extracti64x4_epi64::<1>(ints));
            let eight = _mm256_add_epi32(low, high);
            let high = _mm256_extracti128_si256::<1>(eight);
            let sums = _mm_add_epi32(_mm256_castsi256_si128(eight), high);
            _mm_storeu_si128(four.as_mut_ptr().cast(), sums);
        });
        four
    }

    #[inline(always)]
    fn add_ints(self, left: __m512i, right: __m512i) -> __m512i {
        vector!(_mm512_add_epi32(left, right))
    }

    #[inline(always)]
    fn to_floats(self, ints: __m512i) -> __m512 {
        vector!(_mm512_cvtepi32_ps(ints))
    }

    #[inline(always)]
    fn round(self, floats: __m512) -> __m512i {
        vector!(_mm512_cvtps_epi32(floats))
    }

    #[inline(always)]
    fn narrow(self, ints: __m512i) -> [i8; LANES] {
        let mut bytes = [0; LANES];
        vector!(_mm_storeu_si128(bytes.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(ints)));
        bytes
    }

    #[inline(always)]
    fn power_of_two(self, exponents: __m512i) -> __m512 {
        vector!({
            let biased = _mm512_add_epi32(exponents, _mm512_set1_epi32(127));
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(biased))
        })
    }

    #[inline(always)]
    fn splat(self, value: f32) -> __m512 {
        vector!(_mm512_set1_ps(value))
    }

    #[inline(always)]
    fn floats(self, from: &[f32; LANES]) -> __m512 {
        vector!(_mm512_loadu_ps(from.as_ptr()))
    }

    #[inline(always)]
    fn store(self, floats: __m512, to: &mut [f32; LANES]) {
        vector!(_mm512_storeu_ps(to.as_mut_ptr(), floats));
    }

    #[inline(always)]
    fn halves(self, from: &[u16; LANES]) -> __m512 {
        vector!(_mm512_cvtph_ps(_mm256_loadu_si256(from.as_ptr().cast())))
    }

    #[inline(always)]
    fn brains(self, from: &[u16; LANES]) -> __m512 {
        vector!({
            let ints = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.as_ptr().cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(ints))
        })
    }

    #[inline(always)]
    fn small_ints(self, from: &[u8; LANES]) -> __m512 {
        vector!(_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(from.as_ptr().cast()))))
    }

    #[inline(always)]
    fn add(self, left: __m512, right: __m512) -> __m512 {
        vector!(_mm512_add_ps(left, right))
    }

    #[inline(always)]
    fn sub(self, left: __m512, right: __m512) -> __m512 {
        vector!(_mm512_sub_ps(left, right))
    }

    #[inline(always)]
    fn mul(self, left: __m512, right: __m512) -> __m512 {
        vector!(_mm512_mul_ps(left, right))
    }

    #[inline(always)]
    fn div(self, left: __m512, right: __m512) -> __m512 {
        vector!(_mm512_div_ps(left, right))
    }

    #[inline(always)]
    fn mul_add(self, left: __m512, right: __m512, addend: __m512) -> __m512 {
        vector!(_mm512_fmadd_ps(left, right, addend))
    }

    #[inline(always)]
    fn max(self, left: __m512, right: __m512) -> __m512 {
        vector!(_mm512_max_ps(left, right))
    }

    #[inline(always)]
    fn min(self, left: __m512, right: __m512) -> __m512 {
        vector!(_mm512_min_ps(left, right))
    }

    #[inline(always)]
    fn abs(self, floats: __m512) -> __m512 {
        vector!(_mm512_abs_ps(floats))
    }

    #[inline(always)]
    fn sum(self, floats: __m512) -> f32 {
        vector!({
            let high = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(floats)));
            let eight = _mm256_add_ps(_mm512_castps512_ps256(floats), high);
            let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
        })
    }

    #[inline(always)]
    fn largest(self, floats: __m512) -> f32 {
        vector!({
            let high = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(floats)));
            let eight = _mm256_max_ps(_mm512_castps512_ps256(floats), high);
            let four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps::<1>(two, two)))
        })
    }

    #[inline(always)]
    fn zero_below(self, floats: __m512, test: __m512, bound: f32) -> __m512 {
        vector!({
            let kept = _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(test, _mm512_set1_ps(bound));
            _mm512_maskz_mov_ps(kept, floats)
        })
    }
}
