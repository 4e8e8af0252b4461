//! Quants of fewer than eight bits, packed into planes of bytes.

use crate::model::kernels::lanes::{ByteGroup, LANES, Lanes};
use crate::model::kernels::layout::{GROUPS, PART};

/// Quants of 4 bits, the halves of bytes.
#[derive(Debug, Clone)]
#[repr(C, align(32))]
pub(super) struct Halves([ByteGroup; 4]);

impl Halves {
    pub(super) const EMPTY: Self = Self([[0; 4 * LANES]; 4]);

    pub(super) fn put(&mut self, row: usize, quants: &[u8; PART]) {
        for (group, bytes) in self.0.iter_mut().enumerate() {
            for i in 0..4 {
                let (low, high) = (quants[4 * group + i], quants[PART / 2 + 4 * group + i]);
                bytes[4 * row + i] = low & 15 | high << 4;
            }
        }
    }

    #[inline(always)]
    pub(super) fn get<L: Lanes, const GROUP: usize>(&self, lanes: L) -> L::Bytes {
        let bytes = lanes.bytes(&self.0[GROUP % 4]);
        let bytes = if GROUP < 4 { bytes } else { lanes.shift_right::<4>(bytes) };
        lanes.mask(bytes, 15)
    }
}

/// The fifth bits: bit `g` of a byte belongs to group `g`.
#[derive(Debug, Clone)]
#[repr(C, align(32))]
pub(super) struct FifthBits(ByteGroup);

impl FifthBits {
    pub(super) const EMPTY: Self = Self([0; 4 * LANES]);

    pub(super) fn put(&mut self, row: usize, quants: &[u8; PART]) {
        for i in 0..4 {
            let bit = |group: usize| (quants[4 * group + i] >> 4 & 1) << group;
            self.0[4 * row + i] = (0..GROUPS).map(bit).sum();
        }
    }

    /// The bits of a group in their place, worth 16.
    #[inline(always)]
    pub(super) fn get<L: Lanes, const GROUP: usize>(&self, lanes: L) -> L::Bytes {
        let bytes = lanes.bytes(&self.0);
        let bytes = match GROUP {
            0 => lanes.shift_left::<4>(bytes),
            1 => lanes.shift_left::<3>(bytes),
            2 => lanes.shift_left::<2>(bytes),
            3 => lanes.shift_left::<1>(bytes),
            4 => bytes,
            5 => lanes.shift_right::<1>(bytes),
            6 => lanes.shift_right::<2>(bytes),
            _ => lanes.shift_right::<3>(bytes),
        };
        lanes.mask(bytes, 16)
    }
}

/// The fifth and sixth bits: bits `2 (g % 4)` of plane `g / 4` belong to group `g`.
#[derive(Debug, Clone)]
#[repr(C, align(32))]
pub(super) struct UpperBits([ByteGroup; 2]);

impl UpperBits {
    pub(super) const EMPTY: Self = Self([[0; 4 * LANES]; 2]);

    pub(super) fn put(&mut self, row: usize, quants: &[u8; PART]) {
        for (plane, bytes) in self.0.iter_mut().enumerate() {
            for i in 0..4 {
                let bits =
                    |group: usize| (quants[4 * (4 * plane + group) + i] >> 4 & 3) << (2 * group);
                bytes[4 * row + i] = (0..4).map(bits).sum();
            }
        }
    }

    /// The bits of a group in their place, worth 16 and 32.
    #[inline(always)]
    pub(super) fn get<L: Lanes, const GROUP: usize>(&self, lanes: L) -> L::Bytes {
        let bytes = lanes.bytes(&self.0[GROUP / 4]);
        let bytes = match GROUP % 4 {
            0 => lanes.shift_left::<4>(bytes),
            1 => lanes.shift_left::<2>(bytes),
            2 => bytes,
            _ => lanes.shift_right::<2>(bytes),
        };
        lanes.mask(bytes, 48)
    }
}
