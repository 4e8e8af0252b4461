//! Rotary position embedding.

use crate::model::kernels::activation::share;
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

impl Rotary {
    /// Turns every head of `values` (rows of heads of `head_dim`) in place; `positions` has one
    /// entry per row. Dimensions past the pairs stay as they are.
    ///
    /// # Panics
    /// Where the lengths do not fit.
    pub fn rotate(&self, team: &Team, values: &mut [f32], head_dim: usize, positions: &[usize]) {
        if positions.is_empty() {
            return;
        }
        assert!(values.len().is_multiple_of(positions.len()), "a position for every row");
        let width = values.len() / positions.len();
        assert!(width.is_multiple_of(head_dim), "rows are whole heads");
        assert!(2 * self.frequencies.len() <= head_dim, "heads have room for the pairs");
        let len = values.len();
        let rows = values.chunks_mut(8 * width).zip(positions.chunks(8));
        share(team, len, rows, |(rows, positions)| {
            for (row, &position) in rows.chunks_mut(width).zip(positions) {
                self.rotate_row(row, head_dim, position);
            }
        });
    }

    fn rotate_row(&self, row: &mut [f32], head_dim: usize, position: usize) {
        // The product of an angle and a position needs more digits than single precision has.
        let angles = self.frequencies.iter().map(|f| f64::from(*f) * position as f64);
        let (sines, cosines): (Vec<f32>, Vec<f32>) = angles
            .map(|angle| {
                let (sine, cosine) = angle.sin_cos();
                (sine as f32 * self.magnitude, cosine as f32 * self.magnitude)
            })
            .unzip();
        for head in row.chunks_mut(head_dim) {
            match self.style {
                RotaryStyle::Halves => {
                    let (left, right) = head.split_at_mut(sines.len());
                    let pairs = left.iter_mut().zip(right).zip(sines.iter().zip(&cosines));
                    for ((left, right), (sine, cosine)) in pairs {
                        (*left, *right) =
                            (*left * cosine - *right * sine, *right * cosine + *left * sine);
                    }
                }
                RotaryStyle::Pairs => {
                    let pairs = head.as_chunks_mut::<2>().0.iter_mut();
                    for ([left, right], (sine, cosine)) in pairs.zip(sines.iter().zip(&cosines)) {
                        (*left, *right) =
                            (*left * cosine - *right * sine, *right * cosine + *left * sine);
                    }
                }
            }
        }
    }
}
