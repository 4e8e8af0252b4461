//! The formats whose parts have a scale of their own.

use crate::model::kernels::lanes::{ByteGroup, LANES, Lanes};
use crate::model::kernels::layout::{Arithmetic, Format, GROUPS, PART, Source};
use crate::model::kernels::planes::{FifthBits, Halves};

/// Half-precision numbers by their bits, one per row.
pub(super) type Half = [u16; LANES];

#[inline(always)]
pub(super) fn half_at(raw: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([raw[at], raw[at + 1]])
}

/// The low and the high halves of 16 bytes: columns 0 to 15, then 16 to 31.
fn halves_of(bytes: &[u8]) -> [u8; PART] {
    std::array::from_fn(
        |column| {
            if column < 16 { bytes[column] & 15 } else { bytes[column - 16] >> 4 }
        },
    )
}

#[derive(Debug)]
pub(super) struct Q4_0;

#[derive(Debug, Clone)]
pub(super) struct Q4_0Block {
    quants: Halves,
    scale: Half,
}

impl Format for Q4_0 {
    type Block = Q4_0Block;
    const PARTS: usize = 1;
    const ARITHMETIC: Arithmetic = Arithmetic::Centred;
    const SHIFT: i32 = 3;

    #[inline(always)]
    fn quants<L: Lanes, const GROUP: usize>(lanes: L, block: &Q4_0Block, _: usize) -> L::Bytes {
        block.quants.get::<L, GROUP>(lanes)
    }

    #[inline(always)]
    fn scale<L: Lanes>(lanes: L, block: &Q4_0Block, _: usize) -> L::Floats {
        lanes.halves(&block.scale)
    }
}

impl Source for Q4_0 {
    const RAW: usize = 18;
    const EMPTY: Q4_0Block = Q4_0Block { quants: Halves::EMPTY, scale: [0; LANES] };

    fn put(block: &mut Q4_0Block, row: usize, raw: &[u8]) {
        block.scale[row] = half_at(raw, 0);
        block.quants.put(row, &halves_of(&raw[2..]));
    }
}

#[derive(Debug)]
pub(super) struct Q4_1;

#[derive(Debug, Clone)]
#[repr(C, align(64))]
pub(super) struct Q4_1Block {
    quants: Halves,
    scale: Half,
    minimum: Half,
}

impl Format for Q4_1 {
    type Block = Q4_1Block;
    const PARTS: usize = 1;
    const ARITHMETIC: Arithmetic = Arithmetic::Unsigned;
    const HAS_MINIMUM: bool = true;

    #[inline(always)]
    fn quants<L: Lanes, const GROUP: usize>(lanes: L, block: &Q4_1Block, _: usize) -> L::Bytes {
        block.quants.get::<L, GROUP>(lanes)
    }

    #[inline(always)]
    fn scale<L: Lanes>(lanes: L, block: &Q4_1Block, _: usize) -> L::Floats {
        lanes.halves(&block.scale)
    }

    #[inline(always)]
    fn minimum<L: Lanes>(lanes: L, block: &Q4_1Block, _: usize) -> L::Floats {
        lanes.halves(&block.minimum)
    }
}

impl Source for Q4_1 {
    const RAW: usize = 20;
    const EMPTY: Q4_1Block =
        Q4_1Block { quants: Halves::EMPTY, scale: [0; LANES], minimum: [0; LANES] };

    fn put(block: &mut Q4_1Block, row: usize, raw: &[u8]) {
        block.scale[row] = half_at(raw, 0);
        block.minimum[row] = half_at(raw, 2);
        block.quants.put(row, &halves_of(&raw[4..]));
    }
}

#[derive(Debug)]
pub(super) struct Q5_0;

#[derive(Debug, Clone)]
pub(super) struct Q5_0Block {
    quants: Halves,
    fifth: FifthBits,
    scale: Half,
}

impl Format for Q5_0 {
    type Block = Q5_0Block;
    const PARTS: usize = 1;
    const ARITHMETIC: Arithmetic = Arithmetic::Centred;
    const SHIFT: i32 = 4;

    #[inline(always)]
    fn quants<L: Lanes, const GROUP: usize>(lanes: L, block: &Q5_0Block, _: usize) -> L::Bytes {
        lanes.or(block.quants.get::<L, GROUP>(lanes), block.fifth.get::<L, GROUP>(lanes))
    }

    #[inline(always)]
    fn scale<L: Lanes>(lanes: L, block: &Q5_0Block, _: usize) -> L::Floats {
        lanes.halves(&block.scale)
    }
}

impl Source for Q5_0 {
    const RAW: usize = 22;
    const EMPTY: Q5_0Block =
        Q5_0Block { quants: Halves::EMPTY, fifth: FifthBits::EMPTY, scale: [0; LANES] };

    fn put(block: &mut Q5_0Block, row: usize, raw: &[u8]) {
        block.scale[row] = half_at(raw, 0);
        let fifth = u32::from_le_bytes([raw[2], raw[3], raw[4], raw[5]]);
        let mut quants = halves_of(&raw[6..]);
        for (column, quant) in quants.iter_mut().enumerate() {
            *quant |= ((fifth >> column & 1) << 4) as u8;
        }
        block.quants.put(row, &quants);
        block.fifth.put(row, &quants);
    }
}

#[derive(Debug)]
pub(super) struct Q8_0;

#[derive(Debug, Clone)]
#[repr(C, align(32))]
pub(super) struct Q8_0Block {
    quants: [ByteGroup; GROUPS],
    scale: Half,
}

impl Format for Q8_0 {
    type Block = Q8_0Block;
    const PARTS: usize = 1;
    const ARITHMETIC: Arithmetic = Arithmetic::Signed;

    #[inline(always)]
    fn quants<L: Lanes, const GROUP: usize>(lanes: L, block: &Q8_0Block, _: usize) -> L::Bytes {
        lanes.bytes(&block.quants[GROUP])
    }

    #[inline(always)]
    fn scale<L: Lanes>(lanes: L, block: &Q8_0Block, _: usize) -> L::Floats {
        lanes.halves(&block.scale)
    }
}

impl Source for Q8_0 {
    const RAW: usize = 34;
    const EMPTY: Q8_0Block = Q8_0Block { quants: [[0; 4 * LANES]; GROUPS], scale: [0; LANES] };

    fn put(block: &mut Q8_0Block, row: usize, raw: &[u8]) {
        block.scale[row] = half_at(raw, 0);
        for (column, &quant) in raw[2..].iter().enumerate() {
            block.quants[column / 4][4 * row + column % 4] = quant;
        }
    }
}
