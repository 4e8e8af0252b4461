//! Sixteen values at once: the operations that kernels are written with, and how a kernel is
//! compiled for each [`Isa`].
//!
//! A kernel is generic over [`Lanes`] and marked `#[inline(always)]` all the way down, so that
//! [`dispatch`] compiles it once inside a function that has the instructions switched on. The
//! implementations are one line per operation. Each operation gives the same bits in every
//! implementation; a kernel checked with one of them is checked for all, as far as those lines
//! are right.

use std::array;

use crate::model::kernels::Isa;
use crate::model::kernels::portable::Portable;

/// How many values lie side by side: outputs of a product, positions or dimensions in attention.
pub(super) const LANES: usize = 16;

/// Quantized weights of 16 rows and 4 columns, a row's 4 columns together.
pub(super) type ByteGroup = [u8; 4 * LANES];

/// The operations of one instruction set. A value of the type proves that they can be used.
pub(super) trait Lanes: Copy {
    /// Whether registers hold the sums of four rows of activations and two panels of weights.
    const HAS_ROOM_FOR_TWO: bool;

    /// 16 rows of 4 bytes.
    type Bytes: Copy;
    /// 16 × i32.
    type Ints: Copy;
    /// 16 × f32.
    type Floats: Copy;
    /// Dot products of 16 rows while they grow over up to 32 columns (see [`Lanes::start`]).
    type Dots: Copy;

    /// Has the line of memory that holds what lies `ahead` bytes after `from` brought near.
    fn prefetch_line<T>(self, from: &T, ahead: usize);

    /// Has what lies `ahead` bytes after `from`, as much as `from` is, brought near.
    #[inline(always)]
    fn prefetch<T>(self, from: &T, ahead: usize) {
        for line in 0..size_of::<T>().div_ceil(64) {
            self.prefetch_line(from, ahead + 64 * line);
        }
    }

    fn bytes(self, from: &ByteGroup) -> Self::Bytes;
    /// Shifts towards the low bits; bits that cross a byte border must be masked off.
    fn shift_right<const N: i32>(self, bytes: Self::Bytes) -> Self::Bytes;
    /// Shifts towards the high bits; bits that cross a byte border must be masked off.
    fn shift_left<const N: i32>(self, bytes: Self::Bytes) -> Self::Bytes;
    fn mask(self, bytes: Self::Bytes, mask: u8) -> Self::Bytes;
    fn or(self, left: Self::Bytes, right: Self::Bytes) -> Self::Bytes;
    fn store_bytes(self, bytes: Self::Bytes, to: &mut ByteGroup);

    /// Begins dot products of weights `q - 2^SHIFT`, where `q` is unsigned: with minus the sum of
    /// the activations (of the first two, and of the last two of every four columns) times
    /// `2^SHIFT`.
    ///
    /// With 16-bit sums (AVX2) the columns that may follow are bounded: an implementation may
    /// keep those two halves apart in 16 bits each and let them wrap on the way, so the final
    /// sum of either must fit. |activation| ≤ 127, and so
    /// 32 columns of `q - 16`, `q` of 5 bits: 16 · 16 · 127 = 32,512;
    /// 16 columns of `q - 32`, `q` of 6 bits: 8 · 32 · 127 = 32,512;
    /// 32 columns of `q` of 4 bits with nothing subtracted: 16 · 15 · 127 = 30,480;
    /// all at most 32,767. A single pair of columns is 2 · 63 · 127 = 16,002 at most, so the
    /// saturation of the multiplying instruction is never met.
    fn start<const SHIFT: i32>(self, negative_sums: [i16; 2]) -> Self::Dots;
    /// Begins dot products with nothing subtracted.
    fn start_unsigned(self) -> Self::Dots;
    /// Adds 4 columns: unsigned weights of at most 6 bits times one activation row's 4 values.
    fn dot(self, dots: Self::Dots, weights: Self::Bytes, activations: [i8; 4]) -> Self::Dots;
    fn finish(self, dots: Self::Dots) -> Self::Ints;
    /// The dot products, each times its row's whole number.
    fn finish_scaled(self, dots: Self::Dots, scales: &[i8; LANES]) -> Self::Ints;

    /// Begins dot products of signed 8-bit weights.
    fn start_signed(self, negative_sums: [i16; 2]) -> Self::Ints;
    /// Adds 4 columns of signed 8-bit weights; activations are at least -127.
    fn dot_signed(self, dots: Self::Ints, weights: Self::Bytes, activations: [i8; 4])
    -> Self::Ints;

    /// Begins sums of values with unsigned weights.
    fn start_weighted(self) -> Self::Ints;
    /// Adds 4 columns of signed 8-bit values times one row's 4 weights of at most 127.
    fn dot_weighted(self, sums: Self::Ints, values: Self::Bytes, weights: [u8; 4]) -> Self::Ints;

    /// The sums of the lanes that are equal modulo 4.
    #[inline(always)]
    fn fold_ints(self, ints: Self::Ints) -> [i32; 4] {
        let mut lanes = [0; LANES];
        self.store_ints(ints, &mut lanes);
        array::from_fn(|i| lanes[i] + lanes[i + 4] + lanes[i + 8] + lanes[i + 12])
    }
    fn store_ints(self, ints: Self::Ints, to: &mut [i32; LANES]);
    fn add_ints(self, left: Self::Ints, right: Self::Ints) -> Self::Ints;
    fn to_floats(self, ints: Self::Ints) -> Self::Floats;
    /// Rounds to nearest, ties to even; the values must fit.
    fn round(self, floats: Self::Floats) -> Self::Ints;
    /// The values as bytes; they must fit.
    fn narrow(self, ints: Self::Ints) -> [i8; LANES];
    /// `2^exponent` for exponents from -126 to 127.
    fn power_of_two(self, exponents: Self::Ints) -> Self::Floats;

    fn splat(self, value: f32) -> Self::Floats;
    fn floats(self, from: &[f32; LANES]) -> Self::Floats;
    fn store(self, floats: Self::Floats, to: &mut [f32; LANES]);
    /// Half-precision numbers, given by their bits.
    fn halves(self, from: &[u16; LANES]) -> Self::Floats;
    /// `bf16` numbers, given by their bits.
    fn brains(self, from: &[u16; LANES]) -> Self::Floats;
    fn small_ints(self, from: &[u8; LANES]) -> Self::Floats;

    fn add(self, left: Self::Floats, right: Self::Floats) -> Self::Floats;
    fn sub(self, left: Self::Floats, right: Self::Floats) -> Self::Floats;
    fn mul(self, left: Self::Floats, right: Self::Floats) -> Self::Floats;
    fn div(self, left: Self::Floats, right: Self::Floats) -> Self::Floats;
    /// `left * right + addend` with one rounding.
    fn mul_add(self, left: Self::Floats, right: Self::Floats, addend: Self::Floats)
    -> Self::Floats;
    /// The larger of each pair; neither is NaN.
    fn max(self, left: Self::Floats, right: Self::Floats) -> Self::Floats;
    /// The smaller of each pair; neither is NaN.
    fn min(self, left: Self::Floats, right: Self::Floats) -> Self::Floats;
    fn abs(self, floats: Self::Floats) -> Self::Floats;
    /// `floats`, but 0 where `test` is below `bound`.
    fn zero_below(self, floats: Self::Floats, test: Self::Floats, bound: f32) -> Self::Floats;

    /// The sum of all lanes: halves are added until one is left.
    #[inline(always)]
    fn sum(self, floats: Self::Floats) -> f32 {
        let mut lanes = [0.0; LANES];
        self.store(floats, &mut lanes);
        fold(&mut lanes, |left, right| left + right)
    }

    /// The largest of all lanes.
    #[inline(always)]
    fn largest(self, floats: Self::Floats) -> f32 {
        let mut lanes = [0.0; LANES];
        self.store(floats, &mut lanes);
        fold(&mut lanes, |left, right| if left < right { right } else { left })
    }

    /// `2^x` for `x` of at most 0, within 4 millionths of itself, and exactly 1 for
    /// 0; `2^-126` below -126.
    #[inline(always)]
    fn exp2_of_negative(self, x: Self::Floats) -> Self::Floats {
        let clamped = self.max(x, self.splat(-126.0));
        let exponents = self.round(clamped);
        let rest = self.sub(clamped, self.to_floats(exponents));
        // The polynomial of degree 4 that is nearest to 2^x from -1/2 to 1/2, relatively.
        let mut series = self.splat(0.009_582_853);
        for coefficient in [0.055_906_426, 0.240_240_99, 0.693_124_2, 1.0] {
            series = self.mul_add(series, rest, self.splat(coefficient));
        }
        self.mul(series, self.power_of_two(exponents))
    }

    /// `e^x`, within 2 units in the last place; 0 below -87.
    #[inline(always)]
    fn exp(self, x: Self::Floats) -> Self::Floats {
        let clamped = self.min(self.max(x, self.splat(-87.0)), self.splat(88.0));
        let exponents = self.round(self.mul(clamped, self.splat(std::f32::consts::LOG2_E)));
        let whole = self.to_floats(exponents);
        // ln 2 in two parts, the first with so few bits that its products are exact.
        let rest = self.mul_add(whole, self.splat(-355.0 / 512.0), clamped);
        let rest = self.mul_add(whole, self.splat(2.121_944_4e-4), rest);
        let mut series = self.splat(1.0 / 5040.0);
        for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
            series = self.mul_add(series, rest, self.splat(coefficient));
        }
        self.zero_below(self.mul(series, self.power_of_two(exponents)), x, -87.0)
    }
}

#[inline(always)]
fn fold(lanes: &mut [f32; LANES], combine: impl Fn(f32, f32) -> f32) -> f32 {
    let mut half = LANES / 2;
    while 0 < half {
        for i in 0..half {
            lanes[i] = combine(lanes[i], lanes[i + half]);
        }
        half /= 2;
    }
    lanes[0]
}

/// A piece of work that is compiled for each instruction set.
pub(super) trait Kernel {
    type Output;

    /// Must be `#[inline(always)]`, and must not hand work to other threads: the instructions are
    /// switched on in the calling function only.
    fn run<L: Lanes>(self, lanes: L) -> Self::Output;
}

/// Runs `kernel` with the instructions of `isa`.
///
/// # Panics
/// Where the processor does not have them.
pub(super) fn dispatch<K: Kernel>(isa: Isa, kernel: K) -> K::Output {
    match isa {
        Isa::Portable => kernel.run(Portable),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => crate::model::kernels::avx2::Avx2::detect()
            .expect("the chosen instruction set is available")
            .run(kernel),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni => crate::model::kernels::avx512::Avx512::detect()
            .expect("the chosen instruction set is available")
            .run(kernel),
        #[cfg(not(target_arch = "x86_64"))]
        Isa::Avx2 | Isa::Avx512Vnni => panic!("the chosen instruction set is available"),
    }
}
