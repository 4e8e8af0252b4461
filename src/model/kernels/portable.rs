//! The operations in plain Rust: the reference for the others, and what every processor runs.

use std::array;

use half::{bf16, f16};

use crate::model::kernels::lanes::{ByteGroup, LANES, Lanes};

/// Proves nothing, since every processor can run it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Portable;

type Ints = [i32; LANES];
type Floats = [f32; LANES];

impl Lanes for Portable {
    const HAS_ROOM_FOR_TWO: bool = false;

    type Bytes = ByteGroup;
    type Ints = Ints;
    type Floats = Floats;
    type Dots = Ints;

    #[inline(always)]
    fn prefetch_line<T>(self, _from: &T, _ahead: usize) {}

    #[inline(always)]
    fn bytes(self, from: &ByteGroup) -> ByteGroup {
        *from
    }

    #[inline(always)]
    fn shift_right<const N: i32>(self, bytes: ByteGroup) -> ByteGroup {
        bytes.map(|byte| byte >> N)
    }

    #[inline(always)]
    fn shift_left<const N: i32>(self, bytes: ByteGroup) -> ByteGroup {
        bytes.map(|byte| byte << N)
    }

    #[inline(always)]
    fn mask(self, bytes: ByteGroup, mask: u8) -> ByteGroup {
        bytes.map(|byte| byte & mask)
    }

    #[inline(always)]
    fn or(self, left: ByteGroup, right: ByteGroup) -> ByteGroup {
        array::from_fn(|i| left[i] | right[i])
    }

    #[inline(always)]
    fn store_bytes(self, bytes: ByteGroup, to: &mut ByteGroup) {
        *to = bytes;
    }

    #[inline(always)]
    fn start<const SHIFT: i32>(self, [first, second]: [i16; 2]) -> Ints {
        [(i32::from(first) + i32::from(second)) << SHIFT; LANES]
    }

    #[inline(always)]
    fn start_unsigned(self) -> Ints {
        [0; LANES]
    }

    #[inline(always)]
    fn dot(self, dots: Ints, weights: ByteGroup, activations: [i8; 4]) -> Ints {
        let a = activations.map(i32::from);
        array::from_fn(|row| {
            let w: [i32; 4] = array::from_fn(|i| i32::from(weights[4 * row + i]));
            dots[row] + w[0] * a[0] + w[1] * a[1] + w[2] * a[2] + w[3] * a[3]
        })
    }

    #[inline(always)]
    fn finish(self, dots: Ints) -> Ints {
        dots
    }

    #[inline(always)]
    fn finish_scaled(self, dots: Ints, scales: &[i8; LANES]) -> Ints {
        array::from_fn(|row| dots[row] * i32::from(scales[row]))
    }

    #[inline(always)]
    fn start_signed(self, _negative_sums: [i16; 2]) -> Ints {
        [0; LANES]
    }

    #[inline(always)]
    fn dot_signed(self, dots: Ints, weights: ByteGroup, activations: [i8; 4]) -> Ints {
        let a = activations.map(i32::from);
        array::from_fn(|row| {
            let w: [i32; 4] = array::from_fn(|i| i32::from(weights[4 * row + i].cast_signed()));
            dots[row] + w[0] * a[0] + w[1] * a[1] + w[2] * a[2] + w[3] * a[3]
        })
    }

    #[inline(always)]
    fn start_weighted(self) -> Ints {
        [0; LANES]
    }

    #[inline(always)]
    fn dot_weighted(self, sums: Ints, values: ByteGroup, weights: [u8; 4]) -> Ints {
        self.dot_signed(sums, values, weights.map(u8::cast_signed))
    }

    #[inline(always)]
    fn store_ints(self, ints: Ints, to: &mut [i32; LANES]) {
        *to = ints;
    }

    #[inline(always)]
    fn add_ints(self, left: Ints, right: Ints) -> Ints {
        array::from_fn(|i| left[i] + right[i])
    }

    #[inline(always)]
    fn to_floats(self, ints: Ints) -> Floats {
        ints.map(|int| int as f32)
    }

    #[inline(always)]
    fn round(self, floats: Floats) -> Ints {
        floats.map(|float| float.round_ties_even() as i32)
    }

    #[inline(always)]
    fn narrow(self, ints: Ints) -> [i8; LANES] {
        ints.map(|int| int as i8)
    }

    #[inline(always)]
    fn power_of_two(self, exponents: Ints) -> Floats {
        exponents.map(|exponent| f32::from_bits(((exponent + 127) << 23).cast_unsigned()))
    }

    #[inline(always)]
    fn splat(self, value: f32) -> Floats {
        [value; LANES]
    }

    #[inline(always)]
    fn floats(self, from: &Floats) -> Floats {
        *from
    }

    #[inline(always)]
    fn store(self, floats: Floats, to: &mut Floats) {
        *to = floats;
    }

    #[inline(always)]
    fn halves(self, from: &[u16; LANES]) -> Floats {
        from.map(|bits| f16::from_bits(bits).to_f32_const())
    }

    #[inline(always)]
    fn brains(self, from: &[u16; LANES]) -> Floats {
        from.map(|bits| bf16::from_bits(bits).to_f32())
    }

    #[inline(always)]
    fn small_ints(self, from: &[u8; LANES]) -> Floats {
        from.map(f32::from)
    }

    #[inline(always)]
    fn add(self, left: Floats, right: Floats) -> Floats {
        array::from_fn(|i| left[i] + right[i])
    }

    #[inline(always)]
    fn sub(self, left: Floats, right: Floats) -> Floats {
        array::from_fn(|i| left[i] - right[i])
    }

    #[inline(always)]
    fn mul(self, left: Floats, right: Floats) -> Floats {
        array::from_fn(|i| left[i] * right[i])
    }

    #[inline(always)]
    fn div(self, left: Floats, right: Floats) -> Floats {
        array::from_fn(|i| left[i] / right[i])
    }

    #[inline(always)]
    fn mul_add(self, left: Floats, right: Floats, addend: Floats) -> Floats {
        array::from_fn(|i| left[i].mul_add(right[i], addend[i]))
    }

    #[inline(always)]
    fn max(self, left: Floats, right: Floats) -> Floats {
        array::from_fn(|i| if right[i] < left[i] { left[i] } else { right[i] })
    }

    #[inline(always)]
    fn min(self, left: Floats, right: Floats) -> Floats {
        array::from_fn(|i| if left[i] < right[i] { left[i] } else { right[i] })
    }

    #[inline(always)]
    fn abs(self, floats: Floats) -> Floats {
        floats.map(f32::abs)
    }

    #[inline(always)]
    fn zero_below(self, floats: Floats, test: Floats, bound: f32) -> Floats {
        array::from_fn(|i| if test[i] < bound { 0.0 } else { floats[i] })
    }
}
