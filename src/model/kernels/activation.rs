//! Inputs of products: rows of activations, as int8 with a scale for every 32, as floats, or both.

use crate::model::kernels::lanes::{Kernel, LANES, Lanes, dispatch};
use crate::model::kernels::layout::{GROUPS, PART};
use crate::model::kernels::team::Team;

/// Parts of a row that lie together; see [`Activations::parts`].
pub(super) const CHUNK: usize = 8;

/// Values below which splitting the work over threads costs more than it brings.
const SMALL: usize = 1 << 12;

/// In which form a product wants its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// For quantized weights.
    Int8,
    /// For F32, F16 and BF16 weights.
    Float,
    #[default]
    Both,
}

impl Form {
    /// The form that serves both products.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        if self == other { self } else { Self::Both }
    }

    pub(super) fn has_ints(self) -> bool {
        self != Self::Float
    }

    pub(super) fn has_floats(self) -> bool {
        self != Self::Int8
    }
}

/// 32 activations of one row: `scale * quants`, with what the kernels need of their sums.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(C, align(64))]
pub(super) struct ActivationPart {
    /// From -127 to 127.
    pub(super) quants: [[i8; 4]; GROUPS],
    pub(super) scale: f32,
    /// `scale` times the sum of all quants.
    pub(super) scaled_sum: f32,
    /// Minus the sums of the first two and of the last two quants of every four.
    pub(super) negative_sums: [i16; 2],
    /// The same for each 16 columns.
    pub(super) negative_half_sums: [[i16; 2]; 2],
}

impl ActivationPart {
    const EMPTY: Self = Self {
        quants: [[0; 4]; GROUPS],
        scale: 0.0,
        scaled_sum: 0.0,
        negative_sums: [0; 2],
        negative_half_sums: [[0; 2]; 2],
    };
}

/// Rows of activations, quantized once for all products that read them.
///
/// The buffers are reused when it is filled again. Values must be finite.
#[derive(Debug, Default)]
pub struct Activations {
    rows: usize,
    cols: usize,
    form: Form,
    parts: Vec<ActivationPart>,
    floats: Vec<f32>,
}

impl Activations {
    /// Takes `values`, rows of `cols` (a multiple of 32 for [`Form::Int8`]).
    ///
    /// # Panics
    /// Where the lengths do not fit.
    pub fn quantize(&mut self, team: &Team, values: &[f32], cols: usize, form: Form) {
        self.fill(team, &Input::Plain(values), cols, form);
    }

    /// Takes the RMS norm of each row of `values`: `x / sqrt(mean(x²) + epsilon) * weight`.
    /// The rows are as long as `weight`.
    ///
    /// # Panics
    /// Where the lengths do not fit.
    pub fn quantize_normed(
        &mut self,
        team: &Team,
        values: &[f32],
        (weight, epsilon): (&[f32], f32),
        form: Form,
    ) {
        let cols = weight.len();
        let factors = norm_factors(team, values, cols, epsilon);
        self.fill(team, &Input::Normed { values, weight, factors: &factors }, cols, form);
    }

    /// Takes `silu(gate) * up`, rows of `cols`.
    ///
    /// # Panics
    /// Where the lengths do not fit.
    pub fn quantize_gated(
        &mut self,
        team: &Team,
        (gate, up): (&[f32], &[f32]),
        cols: usize,
        form: Form,
    ) {
        assert_eq!(gate.len(), up.len(), "gate and up are of one size");
        self.fill(team, &Input::Gated { gate, up }, cols, form);
    }

    /// How many rows it holds.
    pub const fn rows(&self) -> usize {
        self.rows
    }

    pub const fn cols(&self) -> usize {
        self.cols
    }

    /// How many values it has room for.
    pub fn room(&self) -> usize {
        (self.parts.len() * PART).max(self.floats.len())
    }

    pub(super) const fn form(&self) -> Form {
        self.form
    }

    /// Up to [`CHUNK`] parts of `row`, where `chunk` counts from the first column. Chunks of all
    /// rows lie one after another, so that products walk through memory in one direction.
    #[inline(always)]
    pub(super) fn parts(&self, chunk: usize, row: usize) -> &[ActivationPart] {
        let width = CHUNK.min(self.cols / PART - chunk * CHUNK);
        let start = chunk * CHUNK * self.rows + row * width;
        &self.parts[start..start + width]
    }

    /// One row as floats, where the form has them.
    pub(super) fn floats(&self, row: usize) -> &[f32] {
        &self.floats[row * self.cols..(row + 1) * self.cols]
    }

    /// Takes the parts of `rows` rows of `cols` that `write` puts into their places: chunk by chunk
    /// as [`Activations::parts`] reads them, whatever they hold before.
    pub(super) fn set_parts(
        &mut self,
        rows: usize,
        cols: usize,
        write: impl FnOnce(&mut [ActivationPart]),
    ) {
        (self.rows, self.cols, self.form) = (rows, cols, Form::Int8);
        write(self.room_for_parts());
    }

    fn room_for_parts(&mut self) -> &mut [ActivationPart] {
        assert!(self.cols.is_multiple_of(PART), "rows of activations are whole parts of 32");
        let len = self.rows * self.cols / PART;
        if self.parts.len() < len {
            self.parts.resize(len, ActivationPart::EMPTY);
        }
        &mut self.parts[..len]
    }

    fn fill(&mut self, team: &Team, input: &Input<'_>, cols: usize, form: Form) {
        let len = input.len();
        assert!(0 < cols && len.is_multiple_of(cols), "activations are whole rows");
        (self.rows, self.cols, self.form) = (len / cols, cols, form);
        let (isa, rows) = (team.isa(), self.rows);
        // What is there of earlier fillings is overwritten, and stays where there is less to fill.
        if form.has_ints() {
            let chunks = self.room_for_parts().chunks_mut(CHUNK * rows.max(1)).enumerate();
            share(team, len, chunks, |(idx, parts)| {
                let first = idx * CHUNK * PART;
                dispatch(isa, QuantizeChunk { input, cols, first, rows, parts });
            });
        }
        if form.has_floats() {
            if self.floats.len() < len {
                self.floats.resize(len, 0.0);
            }
            share(team, len, self.floats[..len].chunks_mut(cols).enumerate(), |(row, floats)| {
                dispatch(isa, CopyRow { input, row, cols, floats });
            });
        }
    }
}

/// Does every task, with the team where the `len` values that they are about are worth it.
pub(super) fn share<T: Send>(
    team: &Team,
    len: usize,
    tasks: impl Iterator<Item = T>,
    work: impl Fn(T) + Sync,
) {
    if len < SMALL { tasks.for_each(work) } else { team.for_each(tasks.collect(), work) }
}

/// What activations are computed from, element by element.
#[derive(Clone, Copy)]
enum Input<'a> {
    Plain(&'a [f32]),
    Normed { values: &'a [f32], weight: &'a [f32], factors: &'a [f32] },
    Gated { gate: &'a [f32], up: &'a [f32] },
}

impl Input<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Plain(values) | Self::Normed { values, .. } => values.len(),
            Self::Gated { gate, .. } => gate.len(),
        }
    }

    /// The 16 values of `row` from column `col` on.
    #[inline(always)]
    fn load<L: Lanes>(&self, lanes: L, row: usize, col: usize, cols: usize) -> L::Floats {
        let at = row * cols + col;
        match *self {
            Self::Plain(values) => lanes.floats(sixteen(values, at)),
            Self::Normed { values, weight, factors } => {
                let factor = lanes.splat(factors[row]);
                let normed = lanes.mul(lanes.floats(sixteen(values, at)), factor);
                lanes.mul(normed, lanes.floats(sixteen(weight, col)))
            }
            Self::Gated { gate, up } => {
                gated(lanes, lanes.floats(sixteen(gate, at)), lanes.floats(sixteen(up, at)))
            }
        }
    }
}

/// `silu(gate) * up`
#[inline(always)]
pub(super) fn gated<L: Lanes>(lanes: L, gate: L::Floats, up: L::Floats) -> L::Floats {
    let exp = lanes.exp(lanes.sub(lanes.splat(0.0), gate));
    let silu = lanes.div(gate, lanes.add(lanes.splat(1.0), exp));
    lanes.mul(silu, up)
}

#[inline(always)]
pub(super) fn sixteen(values: &[f32], at: usize) -> &[f32; LANES] {
    values[at..].first_chunk().expect("rows are whole sixteens")
}

/// Quantizes one chunk of columns of all rows.
struct QuantizeChunk<'a> {
    input: &'a Input<'a>,
    cols: usize,
    /// The chunk's first column.
    first: usize,
    rows: usize,
    parts: &'a mut [ActivationPart],
}

impl Kernel for QuantizeChunk<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let width = self.parts.len() / self.rows;
        for (row, parts) in self.parts.chunks_mut(width).enumerate() {
            for (i, part) in parts.iter_mut().enumerate() {
                let col = self.first + i * PART;
                let left = self.input.load(lanes, row, col, self.cols);
                let right = self.input.load(lanes, row, col + LANES, self.cols);
                *part = quantize_part(lanes, [left, right]);
            }
        }
    }
}

/// What values are multiplied with to become bytes, and bytes to become values again, where none
/// is larger than `largest`.
#[inline(always)]
pub(super) fn factor_and_scale(largest: f32) -> (f32, f32) {
    // Below this the factor could overflow; such values are nothing beside any others.
    (if largest < 1e-30 { 0.0 } else { 127.0 / largest }, largest / 127.0)
}

/// The `idx`-th 32 values, whose second half may be missing.
#[inline(always)]
pub(super) fn load_part<L: Lanes>(lanes: L, values: &[f32], idx: usize) -> [L::Floats; 2] {
    let values = &values[idx * PART..];
    let left = lanes.floats(sixteen(values, 0));
    let right = match values.get(LANES..) {
        Some(right) if !right.is_empty() => lanes.floats(sixteen(right, 0)),
        _ => lanes.splat(0.0),
    };
    [left, right]
}

#[inline(always)]
pub(super) fn quantize_part<L: Lanes>(lanes: L, [left, right]: [L::Floats; 2]) -> ActivationPart {
    quantize_with_rest(lanes, [left, right]).0
}

/// A quantized part, and what is missing in it.
#[inline(always)]
pub(super) fn quantize_with_rest<L: Lanes>(
    lanes: L,
    [left, right]: [L::Floats; 2],
) -> (ActivationPart, [L::Floats; 2]) {
    let largest = lanes.largest(lanes.max(lanes.abs(left), lanes.abs(right)));
    let (factor, scale) = factor_and_scale(largest);
    let mut part = ActivationPart { scale, ..ActivationPart::EMPTY };
    let mut rest = [left, right];
    for (half, values) in [left, right].into_iter().enumerate() {
        let ints = lanes.round(lanes.mul(values, lanes.splat(factor)));
        rest[half] = lanes.mul_add(lanes.to_floats(ints), lanes.splat(-scale), values);
        let quants = lanes.narrow(ints);
        part.quants[4 * half..][..4].copy_from_slice(quants.as_chunks::<4>().0);
        let [a, b, c, d] = lanes.fold_ints(ints);
        // Sixteen of at most 127 each fit.
        let sums = [-(a + b) as i16, -(c + d) as i16];
        part.negative_half_sums[half] = sums;
        part.negative_sums[0] += sums[0];
        part.negative_sums[1] += sums[1];
    }
    let sum = -(i32::from(part.negative_sums[0]) + i32::from(part.negative_sums[1]));
    part.scaled_sum = part.scale * sum as f32;
    (part, rest)
}

/// Computes one row as floats; what is past the last whole sixteen is taken one by one.
struct CopyRow<'a> {
    input: &'a Input<'a>,
    row: usize,
    cols: usize,
    floats: &'a mut [f32],
}

impl Kernel for CopyRow<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let (blocks, rest) = self.floats.as_chunks_mut::<LANES>();
        assert!(rest.is_empty(), "rows of activations are whole sixteens");
        for (i, block) in blocks.iter_mut().enumerate() {
            lanes.store(self.input.load(lanes, self.row, i * LANES, self.cols), block);
        }
    }
}

/// RMS norm of each row in place (as [`Activations::quantize_normed`] computes it), for the norms
/// of queries and keys in Qwen3 and for callers that want the floats.
///
/// # Panics
/// Where the lengths do not fit.
pub fn rms_norm(team: &Team, values: &mut [f32], weight: &[f32], epsilon: f32) {
    let cols = weight.len();
    let factors = norm_factors(team, values, cols, epsilon);
    let len = values.len();
    share(team, len, values.chunks_mut(cols).zip(&factors), |(row, &factor)| {
        for (value, weight) in row.iter_mut().zip(weight) {
            *value = *value * factor * weight;
        }
    });
}

/// `1 / sqrt(mean(x²) + epsilon)` of each row.
fn norm_factors(team: &Team, values: &[f32], cols: usize, epsilon: f32) -> Vec<f32> {
    assert!(cols.is_multiple_of(LANES), "rows to be normed are whole sixteens");
    assert!(values.len().is_multiple_of(cols), "values are whole rows");
    let mut factors = vec![0.0; values.len() / cols];
    share(team, values.len(), values.chunks(cols).zip(&mut factors), |(row, factor)| {
        let mean = dispatch(team.isa(), SumOfSquares(row)) / cols as f32;
        *factor = 1.0 / (mean + epsilon).sqrt();
    });
    factors
}

struct SumOfSquares<'a>(&'a [f32]);

impl Kernel for SumOfSquares<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) -> f32 {
        let mut sum = lanes.splat(0.0);
        for values in self.0.as_chunks::<LANES>().0 {
            let values = lanes.floats(values);
            sum = lanes.mul_add(values, values, sum);
        }
        lanes.sum(sum)
    }
}
