//! How each quantized format lies in memory for the kernels.
//!
//! Sixteen rows lie side by side. For every 32 columns the quants are eight byte groups of 4
//! columns: group `g` holds columns `4 g` to `4 g + 3`. Four-bit parts put group `g` into the low
//! and group `g + 4` into the high half of the same bytes; fifth and sixth bits have planes of
//! their own. Scales follow the formats of the file, so a packed matrix is as large as the file's
//! tensor, but for `Q4_K` and `Q5_K`, whose 6-bit scales and minima take whole bytes (2.8 and 2.3 %
//! more).

use crate::model::kernels::lanes::{LANES, Lanes};

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
