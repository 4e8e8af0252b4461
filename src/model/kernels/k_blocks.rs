//! The formats whose eight parts share a scale, and have whole-number scales below it.

use crate::model::kernels::blocks::{Half, half_at};
use crate::model::kernels::lanes::{LANES, Lanes};
use crate::model::kernels::layout::{Arithmetic, Format, PART, Source};
use crate::model::kernels::planes::{FifthBits, Halves, UpperBits};

/// The scales of `Q4_K` and `Q5_K`: `scale · s` and `-minimum · m`, with one `s` and `m` for each part.
#[derive(Debug, Clone)]
pub(super) struct TwoLevels {
    scale: Half,
    minimum: Half,
    scales: [[u8; LANES]; 8],
    minima: [[u8; LANES]; 8],
}

impl TwoLevels {
    const EMPTY: Self = Self {
        scale: [0; LANES],
        minimum: [0; LANES],
        scales: [[0; LANES]; 8],
        minima: [[0; LANES]; 8],
    };

    /// Takes the first 16 bytes of a block: two halves, then eight scales and minima of 6 bits.
    fn put(&mut self, row: usize, raw: &[u8]) {
        self.scale[row] = half_at(raw, 0);
        self.minimum[row] = half_at(raw, 2);
        let packed = &raw[4..16];
        for part in 0..8 {
            (self.scales[part][row], self.minima[part][row]) = if part < 4 {
                (packed[part] & 63, packed[part + 4] & 63)
            } else {
                let low = packed[part + 4];
                (low & 15 | packed[part - 4] >> 6 << 4, low >> 4 | packed[part] >> 6 << 4)
            };
        }
    }

    #[inline(always)]
    fn scale<L: Lanes>(&self, lanes: L, part: usize) -> L::Floats {
        lanes.mul(lanes.halves(&self.scale), lanes.small_ints(&self.scales[part]))
    }

    #[inline(always)]
    fn minimum<L: Lanes>(&self, lanes: L, part: usize) -> L::Floats {
        let minimum = lanes.mul(lanes.halves(&self.minimum), lanes.small_ints(&self.minima[part]));
        lanes.sub(lanes.splat(0.0), minimum)
    }
}

#[derive(Debug)]
pub(super) struct Q4K;

#[derive(Debug, Clone)]
#[repr(C, align(64))]
pub(super) struct Q4KBlock {
    quants: [Halves; 8],
    levels: TwoLevels,
}

impl Format for Q4K {
    type Block = Q4KBlock;
    const PARTS: usize = 8;
    const ARITHMETIC: Arithmetic = Arithmetic::Unsigned;
    const HAS_MINIMUM: bool = true;

    #[inline(always)]
    fn quants<L: Lanes, const GROUP: usize>(lanes: L, block: &Q4KBlock, part: usize) -> L::Bytes {
        block.quants[part].get::<L, GROUP>(lanes)
    }

    #[inline(always)]
    fn scale<L: Lanes>(lanes: L, block: &Q4KBlock, part: usize) -> L::Floats {
        block.levels.scale(lanes, part)
    }

    #[inline(always)]
    fn minimum<L: Lanes>(lanes: L, block: &Q4KBlock, part: usize) -> L::Floats {
        block.levels.minimum(lanes, part)
    }
}

/// One part of the 128 bytes of lower halves of a K block: parts lie in pairs of 32 bytes.
fn k_halves(bytes: &[u8], part: usize) -> [u8; PART] {
    std::array::from_fn(|column| bytes[32 * (part / 2) + column] >> (4 * (part % 2)) & 15)
}

impl Source for Q4K {
    const RAW: usize = 144;
    const EMPTY: Q4KBlock = Q4KBlock { quants: [Halves::EMPTY; 8], levels: TwoLevels::EMPTY };

    fn put(block: &mut Q4KBlock, row: usize, raw: &[u8]) {
        block.levels.put(row, raw);
        for (part, quants) in block.quants.iter_mut().enumerate() {
            quants.put(row, &k_halves(&raw[16..], part));
        }
    }
}

#[derive(Debug)]
pub(super) struct Q5K;

#[derive(Debug, Clone)]
#[repr(C, align(64))]
pub(super) struct Q5KBlock {
    quants: [(Halves, FifthBits); 8],
    levels: TwoLevels,
}

impl Format for Q5K {
    type Block = Q5KBlock;
    const PARTS: usize = 8;
    const ARITHMETIC: Arithmetic = Arithmetic::Centred;
    const SHIFT: i32 = 4;
    const HAS_MINIMUM: bool = true;

    #[inline(always)]
    fn quants<L: Lanes, const GROUP: usize>(lanes: L, block: &Q5KBlock, part: usize) -> L::Bytes {
        let (halves, fifth) = &block.quants[part];
        lanes.or(halves.get::<L, GROUP>(lanes), fifth.get::<L, GROUP>(lanes))
    }

    #[inline(always)]
    fn scale<L: Lanes>(lanes: L, block: &Q5KBlock, part: usize) -> L::Floats {
        block.levels.scale(lanes, part)
    }

    /// Quants are used 16 too small, which the minimum makes good.
    #[inline(always)]
    fn minimum<L: Lanes>(lanes: L, block: &Q5KBlock, part: usize) -> L::Floats {
        let scale = block.levels.scale(lanes, part);
        lanes.mul_add(scale, lanes.splat(16.0), block.levels.minimum(lanes, part))
    }
}

impl Source for Q5K {
    const RAW: usize = 176;
    const EMPTY: Q5KBlock = {
        const EMPTY: (Halves, FifthBits) = (Halves::EMPTY, FifthBits::EMPTY);
        Q5KBlock { quants: [EMPTY; 8], levels: TwoLevels::EMPTY }
    };

    fn put(block: &mut Q5KBlock, row: usize, raw: &[u8]) {
        block.levels.put(row, raw);
        for (part, (halves, fifth)) in block.quants.iter_mut().enumerate() {
            let mut quants = k_halves(&raw[48..], part);
            for (quant, bits) in quants.iter_mut().zip(&raw[16..48]) {
                *quant |= (bits >> part & 1) << 4;
            }
            halves.put(row, &quants);
            fifth.put(row, &quants);
        }
    }
}

#[derive(Debug)]
pub(super) struct Q6K;

#[derive(Debug, Clone)]
#[repr(C, align(64))]
pub(super) struct Q6KBlock {
    quants: [(Halves, UpperBits); 8],
    scales: [[[i8; LANES]; 2]; 8],
    scale: Half,
}

impl Format for Q6K {
    type Block = Q6KBlock;
    const PARTS: usize = 8;
    const ARITHMETIC: Arithmetic = Arithmetic::Grouped;
    const SHIFT: i32 = 5;

    #[inline(always)]
    fn quants<L: Lanes, const GROUP: usize>(lanes: L, block: &Q6KBlock, part: usize) -> L::Bytes {
        let (halves, upper) = &block.quants[part];
        lanes.or(halves.get::<L, GROUP>(lanes), upper.get::<L, GROUP>(lanes))
    }

    #[inline(always)]
    fn scale<L: Lanes>(lanes: L, block: &Q6KBlock, _part: usize) -> L::Floats {
        lanes.halves(&block.scale)
    }

    #[inline(always)]
    fn group_scales(block: &Q6KBlock, part: usize) -> &[[i8; LANES]; 2] {
        &block.scales[part]
    }
}

impl Source for Q6K {
    const RAW: usize = 210;
    const EMPTY: Q6KBlock = {
        const EMPTY: (Halves, UpperBits) = (Halves::EMPTY, UpperBits::EMPTY);
        Q6KBlock { quants: [EMPTY; 8], scales: [[[0; LANES]; 2]; 8], scale: [0; LANES] }
    };

    /// 128 bytes of lower halves, 64 of upper bits, 16 scales, one half. Each 128 columns have
    /// 64 and 32 of those bytes.
    fn put(block: &mut Q6KBlock, row: usize, raw: &[u8]) {
        block.scale[row] = half_at(raw, 208);
        for (part, (halves, upper)) in block.quants.iter_mut().enumerate() {
            let (side, quarter) = (part / 4, part % 4);
            let quants = std::array::from_fn(|column| {
                let low = raw[64 * side + 32 * (quarter % 2) + column] >> (4 * (quarter / 2)) & 15;
                let high = raw[128 + 32 * side + column] >> (2 * quarter) & 3;
                low | high << 4
            });
            halves.put(row, &quants);
            upper.put(row, &quants);
            for group in 0..2 {
                block.scales[part][group][row] = raw[192 + 2 * part + group].cast_signed();
            }
        }
    }
}
