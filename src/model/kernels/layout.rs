//! How each quantized format lies in memory for the kernels.
//!
//! Sixteen rows lie side by side. For every 32 columns the quants are eight [`ByteGroup`]s of 4
//! columns: group `g` holds columns `4 g` to `4 g + 3`. Four-bit parts put group `g` into the low
//! and group `g + 4` into the high half of the same bytes; fifth and sixth bits have planes of
//! their own. Scales follow the formats of the file, so a packed matrix is as large as the file's
//! tensor, but for `Q4_K` and `Q5_K`, whose 6-bit scales and minima take whole bytes (2.8 and 2.3 %
//! more).

use std::marker::PhantomData;

use crate::model::kernels::lanes::{ByteGroup, LANES, Lanes};

/// Columns that share an activation scale.
pub(super) const PART: usize = 32;

/// Groups of 4 columns in a part.
pub(super) const GROUPS: usize = 8;

/// How dot products of a format's quants become products of its weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arithmetic {
    /// `scale · Σ (q - 2^shift) a`
    Centred,
    /// `scale · Σ q a`
    Unsigned,
    /// `scale · (s₀ · Σ (q - 2^shift) a + s₁ · Σ (q - 2^shift) a)`, over 16 columns each.
    Grouped,
    /// `scale · Σ q a`, where `q` is a signed byte.
    Signed,
}

/// A packed format: blocks of 16 rows, each of one or eight parts of 32 columns.
pub(super) trait Format: 'static {
    type Block: Send + Sync + Clone;
    /// Parts of a block.
    const PARTS: usize;
    const ARITHMETIC: Arithmetic;
    /// The shift of a centred or grouped format.
    const SHIFT: i32 = 0;
    /// Whether `minimum · Σ a` is added.
    const HAS_MINIMUM: bool = false;

    /// Group `GROUP` of the quants of a part.
    fn quants<L: Lanes, const GROUP: usize>(lanes: L, block: &Self::Block, part: usize)
    -> L::Bytes;
    fn scale<L: Lanes>(lanes: L, block: &Self::Block, part: usize) -> L::Floats;
    fn minimum<L: Lanes>(lanes: L, _block: &Self::Block, _part: usize) -> L::Floats {
        lanes.splat(0.0)
    }
    /// The whole-number scales of a grouped format's 16 columns each.
    fn group_scales(_block: &Self::Block, _part: usize) -> &[[i8; LANES]; 2] {
        &[[1; LANES]; 2]
    }
}

/// A packed format that a file's blocks can be put into.
pub(super) trait Source: Format {
    /// Bytes of a block of one row in the file.
    const RAW: usize;
    const EMPTY: Self::Block;

    /// Puts a row's block of the file, [`Source::RAW`] bytes, into its place.
    fn put(block: &mut Self::Block, row: usize, raw: &[u8]);
}

/// Quants of 4 bits, the halves of bytes.
#[derive(Debug, Clone)]
#[repr(C, align(32))]
pub(super) struct Halves([ByteGroup; 4]);

impl Halves {
    const EMPTY: Self = Self([[0; 4 * LANES]; 4]);

    fn put(&mut self, row: usize, quants: &[u8; PART]) {
        for (group, bytes) in self.0.iter_mut().enumerate() {
            for i in 0..4 {
                let (low, high) = (quants[4 * group + i], quants[PART / 2 + 4 * group + i]);
                bytes[4 * row + i] = low & 15 | high << 4;
            }
        }
    }

    #[inline(always)]
    fn get<L: Lanes, const GROUP: usize>(&self, lanes: L) -> L::Bytes {
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
    const EMPTY: Self = Self([0; 4 * LANES]);

    fn put(&mut self, row: usize, quants: &[u8; PART]) {
        for i in 0..4 {
            let bit = |group: usize| (quants[4 * group + i] >> 4 & 1) << group;
            self.0[4 * row + i] = (0..GROUPS).map(bit).sum();
        }
    }

    /// The bits of a group in their place, worth 16.
    #[inline(always)]
    fn get<L: Lanes, const GROUP: usize>(&self, lanes: L) -> L::Bytes {
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
    const EMPTY: Self = Self([[0; 4 * LANES]; 2]);

    fn put(&mut self, row: usize, quants: &[u8; PART]) {
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
    fn get<L: Lanes, const GROUP: usize>(&self, lanes: L) -> L::Bytes {
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

/// Half-precision numbers by their bits, one per row.
type Half = [u16; LANES];

#[inline(always)]
fn half_at(raw: &[u8], at: usize) -> u16 {
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

/// A part with its quants as bytes and its scales as floats: what products of many activation rows
/// read again and again.
#[derive(Debug, Clone)]
#[repr(C, align(64))]
pub(super) struct Tile {
    quants: [ByteGroup; GROUPS],
    scale: [f32; LANES],
    minimum: [f32; LANES],
    group_scales: [[i8; LANES]; 2],
}

impl Tile {
    pub(super) const EMPTY: Self = Self {
        quants: [[0; 4 * LANES]; GROUPS],
        scale: [0.0; LANES],
        minimum: [0.0; LANES],
        group_scales: [[0; LANES]; 2],
    };

    #[inline(always)]
    pub(super) fn unpack<L: Lanes, F: Format>(&mut self, lanes: L, block: &F::Block, part: usize) {
        lanes.store_bytes(F::quants::<L, 0>(lanes, block, part), &mut self.quants[0]);
        lanes.store_bytes(F::quants::<L, 1>(lanes, block, part), &mut self.quants[1]);
        lanes.store_bytes(F::quants::<L, 2>(lanes, block, part), &mut self.quants[2]);
        lanes.store_bytes(F::quants::<L, 3>(lanes, block, part), &mut self.quants[3]);
        lanes.store_bytes(F::quants::<L, 4>(lanes, block, part), &mut self.quants[4]);
        lanes.store_bytes(F::quants::<L, 5>(lanes, block, part), &mut self.quants[5]);
        lanes.store_bytes(F::quants::<L, 6>(lanes, block, part), &mut self.quants[6]);
        lanes.store_bytes(F::quants::<L, 7>(lanes, block, part), &mut self.quants[7]);
        lanes.store(F::scale(lanes, block, part), &mut self.scale);
        if F::HAS_MINIMUM {
            lanes.store(F::minimum(lanes, block, part), &mut self.minimum);
        }
        if F::ARITHMETIC == Arithmetic::Grouped {
            self.group_scales = *F::group_scales(block, part);
        }
    }

    /// The weights of one row that was unpacked from a block of `F`.
    pub(super) fn read_row<F: Format>(&self, row: usize, out: &mut [f32; PART]) {
        for (column, weight) in out.iter_mut().enumerate() {
            let quant = self.quants[column / 4][4 * row + column % 4];
            let whole = match F::ARITHMETIC {
                Arithmetic::Centred => i32::from(quant) - (1 << F::SHIFT),
                Arithmetic::Unsigned => i32::from(quant),
                Arithmetic::Grouped => {
                    let scale = i32::from(self.group_scales[column / 16][row]);
                    scale * (i32::from(quant) - (1 << F::SHIFT))
                }
                Arithmetic::Signed => i32::from(quant.cast_signed()),
            };
            let minimum = if F::HAS_MINIMUM { self.minimum[row] } else { 0.0 };
            *weight = self.scale[row] * whole as f32 + minimum;
        }
    }
}

/// The unpacked form of another format.
#[derive(Debug)]
pub(super) struct Unpacked<F>(PhantomData<F>);

impl<F: Format> Format for Unpacked<F> {
    type Block = Tile;
    const PARTS: usize = 1;
    const ARITHMETIC: Arithmetic = F::ARITHMETIC;
    const SHIFT: i32 = F::SHIFT;
    const HAS_MINIMUM: bool = F::HAS_MINIMUM;

    #[inline(always)]
    fn quants<L: Lanes, const GROUP: usize>(lanes: L, tile: &Tile, _: usize) -> L::Bytes {
        lanes.bytes(&tile.quants[GROUP])
    }

    #[inline(always)]
    fn scale<L: Lanes>(lanes: L, tile: &Tile, _: usize) -> L::Floats {
        lanes.floats(&tile.scale)
    }

    #[inline(always)]
    fn minimum<L: Lanes>(lanes: L, tile: &Tile, _: usize) -> L::Floats {
        lanes.floats(&tile.minimum)
    }

    #[inline(always)]
    fn group_scales(tile: &Tile, _: usize) -> &[[i8; LANES]; 2] {
        &tile.group_scales
    }
}
