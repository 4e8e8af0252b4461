//! Rotary position embedding.

use crate::model::kernels::activation::share;
use crate::model::kernels::lanes::{Kernel, Lanes, dispatch};
use crate::model::kernels::team::Team;

/// Which dimensions of a head turn together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RotaryStyle {
    /// Dimension `i` with `i + half`: safetensors of every family, GGUF of qwen2 and qwen3.
    Halves,
    /// Dimension `2 i` with `2 i + 1`: GGUF of the llama family.
    Pairs,
}

/// The turning of one model's queries and keys.
#[derive(Debug, Clone)]
pub struct Rotary {
    pub style: RotaryStyle,
    /// The angle that each pair of dimensions turns per position, in radians: `base^(-2 i / dim)`,
    /// times a model's own factor where it has one.
    pub frequencies: Vec<f32>,
    /// What the turned values are multiplied with; 1 but for stretched contexts.
    pub magnitude: f32,
}

/// How far the heads of some rows turn.
#[derive(Debug, Clone)]
pub struct Turns {
    style: RotaryStyle,
    n_pairs: usize,
    /// For every row and pair.
    sines: Vec<f32>,
    cosines: Vec<f32>,
}

impl Rotary {
    /// The turns of rows at `positions`.
    pub fn turns(&self, positions: &[usize]) -> Turns {
        let n_pairs = self.frequencies.len();
        let mut sines = Vec::with_capacity(positions.len() * n_pairs);
        let mut cosines = Vec::with_capacity(positions.len() * n_pairs);
        for &position in positions {
            for frequency in &self.frequencies {
                // The product of an angle and a position needs more digits than single precision
                // has.
                let (sine, cosine) = (f64::from(*frequency) * position as f64).sin_cos();
                sines.push(sine as f32 * self.magnitude);
                cosines.push(cosine as f32 * self.magnitude);
            }
        }
        Turns { style: self.style, n_pairs, sines, cosines }
    }
}

impl Turns {
    /// For every row and pair, times the magnitude.
    pub fn sines(&self) -> &[f32] {
        &self.sines
    }

    /// For every row and pair, times the magnitude.
    pub fn cosines(&self) -> &[f32] {
        &self.cosines
    }

    /// Turns every head of `values` (rows of heads of `head_dim`) in place. Dimensions past the
    /// pairs stay as they are.
    ///
    /// # Panics
    /// Where the lengths do not fit.
    pub fn apply(&self, team: &Team, values: &mut [f32], head_dim: usize) {
        let n_pairs = self.n_pairs;
        if self.sines.is_empty() {
            return;
        }
        let n_rows = self.sines.len() / n_pairs;
        assert!(values.len().is_multiple_of(n_rows), "turns for every row");
        let width = values.len() / n_rows;
        assert!(width.is_multiple_of(head_dim), "rows are whole heads");
        assert!(2 * n_pairs <= head_dim, "heads have room for the pairs");
        let len = values.len();
        let turns = self.sines.chunks(8 * n_pairs).zip(self.cosines.chunks(8 * n_pairs));
        let rows = values.chunks_mut(8 * width).zip(turns);
        share(team, len, rows, |(rows, (sines, cosines))| {
            let (style, sizes) = (self.style, [width, head_dim, n_pairs]);
            dispatch(team.isa(), TurnRows { style, rows, sines, cosines, sizes });
        });
    }
}

struct TurnRows<'a> {
    style: RotaryStyle,
    rows: &'a mut [f32],
    sines: &'a [f32],
    cosines: &'a [f32],
    /// Of a row, of a head, and how many pairs turn.
    sizes: [usize; 3],
}

impl Kernel for TurnRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, _lanes: L) {
        let [width, head_dim, n_pairs] = self.sizes;
        let turns = self.sines.chunks_exact(n_pairs).zip(self.cosines.chunks_exact(n_pairs));
        for (row, (sines, cosines)) in self.rows.chunks_exact_mut(width).zip(turns) {
            for head in row.chunks_exact_mut(head_dim) {
                self.style.turn(head, sines, cosines);
            }
        }
    }
}

impl RotaryStyle {
    #[inline(always)]
    fn turn(self, head: &mut [f32], sines: &[f32], cosines: &[f32]) {
        match self {
            Self::Halves => {
                let (left, right) = head.split_at_mut(sines.len());
                let pairs = left.iter_mut().zip(right).zip(sines.iter().zip(cosines));
                for ((left, right), (sine, cosine)) in pairs {
                    (*left, *right) =
                        (*left * cosine - *right * sine, *right * cosine + *left * sine);
                }
            }
            Self::Pairs => {
                let pairs = head.as_chunks_mut::<2>().0.iter_mut();
                for ([left, right], (sine, cosine)) in pairs.zip(sines.iter().zip(cosines)) {
                    (*left, *right) =
                        (*left * cosine - *right * sine, *right * cosine + *left * sine);
                }
            }
        }
    }
}
