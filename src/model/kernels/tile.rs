//! One part of a packed matrix, unpacked.

use std::marker::PhantomData;

use crate::model::kernels::lanes::{ByteGroup, LANES, Lanes};
use crate::model::kernels::layout::{Arithmetic, Format, GROUPS, PART};

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
