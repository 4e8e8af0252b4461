//! One block of positions in the running softmax of some queries.

use crate::model::kernels::activation::ActivationPart;
use crate::model::kernels::kv::{GROUP, HeadGroup, Keys};
use crate::model::kernels::lanes::{LANES, Lanes};
use crate::model::kernels::product::panels::{Turn, multiply_panels};

/// Positions between two updates of the running maximum.
pub(super) const BLOCK: usize = 64;

/// A score that no softmax sees.
const MASKED: f32 = -1e30;

/// A query of one head while its softmax runs.
#[derive(Clone, Copy)]
pub(super) struct Running {
    /// Positions that it sees.
    pub(super) n_seen: usize,
    largest: f32,
    /// The sum of all weights, in sixteen parts.
    pub(super) sums: [f32; LANES],
}

impl Running {
    /// Before the first of the `n_seen` positions that it sees.
    #[inline(always)]
    pub(super) const fn new(n_seen: usize) -> Self {
        Self { n_seen, largest: MASKED, sums: [0.0; LANES] }
    }
}

/// The keys and values of one block of positions.
pub(super) struct Block<'a> {
    /// The first position.
    pub(super) first: usize,
    pub(super) n_groups: usize,
    pub(super) groups: [HeadGroup<'a>; BLOCK / GROUP],
}

/// What the values of a block are multiplied with for one row.
#[derive(Clone, Copy)]
struct ValueWeights {
    /// Up to 127.
    quants: [[u8; 4]; BLOCK / 4],
    scale: f32,
    /// What the totals of earlier blocks shrink by.
    shrink: f32,
}

impl Block<'_> {
    /// Adds the block to the running softmax of the first `ROWS` rows, and gives their number.
    #[inline(always)]
    pub(super) fn add_first<L: Lanes, const ROWS: usize>(
        &self,
        lanes: L,
        queries: &[ActivationPart],
        running: &mut [Running],
        totals: &mut [[f32; LANES]],
    ) -> usize {
        let running = running.first_chunk_mut::<ROWS>().expect("there are as many rows");
        let mut scores = [[[0.0; LANES]; BLOCK / GROUP]; ROWS];
        for pair in 0..self.n_groups.div_ceil(2) {
            self.score::<L, ROWS>(lanes, queries, 2 * pair, &mut scores);
        }
        let weights = self.weigh(lanes, running, &mut scores);
        let n_dims = self.groups[0].values.len() / (GROUP / 4);
        let mut first = 0;
        while first < n_dims {
            first += match n_dims - first {
                4.. if L::HAS_ROOM_FOR_TWO => {
                    self.collect::<L, 4, ROWS>(lanes, &weights, (first, n_dims), totals)
                }
                2.. => self.collect::<L, 2, ROWS>(lanes, &weights, (first, n_dims), totals),
                _ => self.collect::<L, 1, ROWS>(lanes, &weights, (first, n_dims), totals),
            };
        }
        ROWS
    }

    /// The scores of two groups of positions, from group `first` on: the product of queries with
    /// their keys. A last group without a partner is its own, whose scores nobody reads.
    #[inline(always)]
    fn score<L: Lanes, const ROWS: usize>(
        &self,
        lanes: L,
        queries: &[ActivationPart],
        first: usize,
        scores: &mut [[[f32; LANES]; BLOCK / GROUP]; ROWS],
    ) {
        let second = if first + 1 < self.n_groups { first + 1 } else { first };
        let keys = [self.groups[first].keys, self.groups[second].keys];
        let n_parts = keys[0].len();
        let mut parts = [&queries[..n_parts]; ROWS];
        for row in 1..ROWS {
            parts[row] = &queries[row * n_parts..(row + 1) * n_parts];
        }
        let mut sums = [[[0.0; LANES]; 2]; ROWS];
        multiply_panels::<L, Keys, ROWS>(lanes, keys, parts, Turn::ONLY, &mut sums);
        for row in 0..ROWS {
            scores[row][first] = sums[row][0];
            scores[row][first + 1] = sums[row][1];
        }
    }

    /// Turns scores into what the values are multiplied with: the positions' weights times the
    /// values' scales, as bytes.
    #[inline(always)]
    fn weigh<L: Lanes, const ROWS: usize>(
        &self,
        lanes: L,
        running: &mut [Running; ROWS],
        scores: &mut [[[f32; LANES]; BLOCK / GROUP]; ROWS],
    ) -> [ValueWeights; ROWS] {
        let mut differences = [0.0; LANES];
        for row in 0..ROWS {
            let state = &mut running[row];
            let n_seen = state.n_seen.saturating_sub(self.first).min(BLOCK);
            for score in &mut scores[row].as_flattened_mut()[n_seen..] {
                *score = MASKED;
            }
            let [a, b, c, d] = &scores[row];
            let left = lanes.max(lanes.floats(a), lanes.floats(b));
            let right = lanes.max(lanes.floats(c), lanes.floats(d));
            // Each row sees position 0, so that a maximum of scores that count is never missing.
            let largest = lanes.largest(lanes.max(left, right)).max(state.largest);
            differences[row] = state.largest - largest;
            state.largest = largest;
        }
        let mut shrinks = [0.0; LANES];
        lanes.store(lanes.exp2_of_negative(lanes.floats(&differences)), &mut shrinks);
        let mut heaviest = [0.0; LANES];
        for row in 0..ROWS {
            let state = &mut running[row];
            let largest = lanes.splat(state.largest);
            let mut sum = lanes.mul(lanes.floats(&state.sums), lanes.splat(shrinks[row]));
            let mut most = lanes.splat(0.0);
            for group in 0..BLOCK / GROUP {
                let scores = &mut scores[row][group];
                let weights = lanes.exp2_of_negative(lanes.sub(lanes.floats(scores), largest));
                sum = lanes.add(sum, weights);
                let scaled = lanes.mul(weights, lanes.floats(self.groups[group].value_scales));
                most = lanes.max(most, scaled);
                lanes.store(scaled, scores);
            }
            lanes.store(sum, &mut state.sums);
            heaviest[row] = lanes.largest(most);
        }
        // Values of nothing else than 0 have no scale, and get no weight.
        let bounded = lanes.max(lanes.floats(&heaviest), lanes.splat(1e-30));
        let (mut factors, mut scales) = ([0.0; LANES], [0.0; LANES]);
        lanes.store(lanes.div(lanes.splat(127.0), bounded), &mut factors);
        lanes.store(lanes.mul(bounded, lanes.splat(1.0 / 127.0)), &mut scales);
        let mut weights = [ValueWeights::EMPTY; ROWS];
        for row in 0..ROWS {
            let to = &mut weights[row];
            (to.scale, to.shrink) = (scales[row], shrinks[row]);
            let factor = lanes.splat(factors[row]);
            let quants = to.quants.as_chunks_mut::<{ GROUP / 4 }>().0;
            for group in 0..BLOCK / GROUP {
                let ints = lanes.round(lanes.mul(lanes.floats(&scores[row][group]), factor));
                let narrow = lanes.narrow(ints).map(i8::cast_unsigned);
                quants[group].copy_from_slice(narrow.as_chunks::<4>().0);
            }
        }
        weights
    }

    /// Adds the weighted values of `DIMS` sixteens of dimensions, from `first` of `n_dims` on, and
    /// gives their number.
    #[inline(always)]
    fn collect<L: Lanes, const DIMS: usize, const ROWS: usize>(
        &self,
        lanes: L,
        weights: &[ValueWeights; ROWS],
        (first, n_dims): (usize, usize),
        totals: &mut [[f32; LANES]],
    ) -> usize {
        let mut sums = [[lanes.start_weighted(); DIMS]; ROWS];
        for group in 0..self.n_groups {
            let fours = self.groups[group].values.chunks_exact(n_dims);
            for (i, values) in fours.enumerate() {
                let values = &values[first..first + DIMS];
                for dim in 0..DIMS {
                    let values = lanes.bytes(&values[dim].0);
                    for row in 0..ROWS {
                        let quants = weights[row].quants[group * (GROUP / 4) + i];
                        sums[row][dim] = lanes.dot_weighted(sums[row][dim], values, quants);
                    }
                }
            }
        }
        for row in 0..ROWS {
            for dim in 0..DIMS {
                let total = &mut totals[row * n_dims + first + dim];
                let shrunk = lanes.mul(lanes.floats(total), lanes.splat(weights[row].shrink));
                let sum = lanes.to_floats(sums[row][dim]);
                lanes.store(lanes.mul_add(sum, lanes.splat(weights[row].scale), shrunk), total);
            }
        }
        DIMS
    }
}

impl ValueWeights {
    const EMPTY: Self = Self { quants: [[0; 4]; BLOCK / 4], scale: 0.0, shrink: 0.0 };
}
