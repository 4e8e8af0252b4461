//! The arithmetic of a decoder over candle's tensors, for CUDA and Metal.
//!
//! It knows no kind of device: the tests run it on candle's CPU.

mod attend;
pub mod choice;
mod matrix;
mod segment;
#[cfg(test)]
mod tests;

use std::sync::Mutex;

use anyhow::ensure;
use candle_core::{Device, Tensor};
use candle_nn::ops::{rms_norm, silu};
use candle_nn::rotary_emb::rope_thd;

use crate::model::kernels::Isa;
use crate::model::kernels::team::Team;
use crate::model::local::config::DecoderConfig;
use crate::model::local::decoder::{Linear, Ops, SequenceRows};
use crate::model::local::gpu::matrix::GpuMatrix;
use crate::model::local::gpu::segment::GpuSegment;
use crate::model::local::weights::StoredTensor;

/// The [`Ops`] of a device that candle computes on. Activations are 32-bit floats.
pub struct Gpu {
    device: Device,
    /// Draws tokens, which is done on the CPU.
    team: Team,
    n_layers: usize,
    shape: HeadShape,
    rms_eps: f32,
    /// Radians per position, of each pair of a head.
    frequencies: Vec<f32>,
    magnitude: f32,
    /// The mask that the last step made: all layers of a step want the same.
    mask: Mutex<Option<((usize, usize), Tensor)>>,
}

/// Of queries, keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HeadShape {
    pub(super) n_heads: usize,
    pub(super) n_kv_heads: usize,
    pub(super) head_dim: usize,
}

/// Cosines and sines of the rows of a batch, (rows, `head_dim` / 2) each.
pub struct GpuTurns {
    cos: Tensor,
    sin: Tensor,
}

impl Gpu {
    pub fn new(config: &DecoderConfig, device: Device, team: Team) -> anyhow::Result<Self> {
        Ok(Self {
            team,
            n_layers: config.n_layers,
            shape: HeadShape {
                n_heads: config.n_heads,
                n_kv_heads: config.n_kv_heads,
                head_dim: config.head_dim,
            },
            rms_eps: config.rms_eps as f32,
            frequencies: config.rope.frequencies.clone(),
            magnitude: config.rope.magnitude,
            mask: Mutex::new(None),
            device,
        })
    }
}

impl Ops for Gpu {
    type Tensor = Tensor;
    type Input = Tensor;
    type Matrix = GpuMatrix;
    type Vector = Tensor;
    type Segment = GpuSegment;
    type Turns = GpuTurns;

    const IS_CPU: bool = false;

    fn isa(&self) -> Isa {
        self.team.isa()
    }

    fn for_each<T: Send>(&self, tasks: Vec<T>, work: impl Fn(T) + Sync) {
        self.team.for_each(tasks, work);
    }

    fn load_matrix(&self, stored: &StoredTensor<'_>) -> anyhow::Result<GpuMatrix> {
        GpuMatrix::load(stored, &self.device)
    }

    fn load_vector(&self, stored: &StoredTensor<'_>) -> anyhow::Result<Tensor> {
        Ok(Tensor::from_vec(stored.to_f32()?, stored.shape.as_slice(), &self.device)?)
    }

    fn new_segment(&self) -> anyhow::Result<GpuSegment> {
        Ok(GpuSegment::new(0, self.n_layers))
    }

    fn branch(&self, _segment: &GpuSegment, end: usize) -> anyhow::Result<GpuSegment> {
        Ok(GpuSegment::new(end, self.n_layers))
    }

    fn segment_start(&self, segment: &GpuSegment) -> usize {
        segment.start()
    }

    fn segment_bytes(&self, segment: &GpuSegment) -> usize {
        segment.n_bytes()
    }

    fn embed(&self, table: &GpuMatrix, ids: &[u32]) -> anyhow::Result<Tensor> {
        table.rows(ids, &self.device)
    }

    fn normed(&self, x: &Tensor, weight: &Tensor) -> anyhow::Result<Tensor> {
        Ok(rms_norm(x, weight, self.rms_eps)?)
    }

    fn gated(&self, gate: Tensor, up: Tensor) -> anyhow::Result<Tensor> {
        Ok((silu(&gate)? * up)?)
    }

    fn plain(&self, x: Tensor) -> anyhow::Result<Tensor> {
        Ok(x)
    }

    fn project(&self, x: &Tensor, linears: &[&Linear<Self>]) -> anyhow::Result<Vec<Tensor>> {
        linears.iter().map(|linear| product(x, linear)).collect()
    }

    fn project_onto(
        &self,
        x: &Tensor,
        linear: &Linear<Self>,
        sum: &mut Tensor,
    ) -> anyhow::Result<()> {
        *sum = (&*sum + product(x, linear)?)?;
        Ok(())
    }

    fn norm_heads(&self, x: &mut Tensor, weight: &Tensor) -> anyhow::Result<()> {
        let shape = x.shape().clone();
        let heads = x.reshape(((), self.shape.head_dim))?;
        *x = rms_norm(&heads, weight, self.rms_eps)?.reshape(shape)?;
        Ok(())
    }

    fn turns(&self, positions: &[usize]) -> anyhow::Result<GpuTurns> {
        let of_each = |of: fn(f64) -> f64| {
            let angles = positions.iter().flat_map(|position| {
                self.frequencies.iter().map(move |radians| *position as f64 * f64::from(*radians))
            });
            let numbers = angles.map(|angle| of(angle) as f32 * self.magnitude).collect();
            Tensor::from_vec(numbers, (positions.len(), self.frequencies.len()), &self.device)
        };
        Ok(GpuTurns { cos: of_each(f64::cos)?, sin: of_each(f64::sin)? })
    }

    fn rotate(&self, x: &mut Tensor, turns: &GpuTurns) -> anyhow::Result<()> {
        let shape = x.shape().clone();
        let heads = x.reshape((1, x.dim(0)?, (), self.shape.head_dim))?;
        *x = rope_thd(&heads, &turns.cos, &turns.sin)?.reshape(shape)?;
        Ok(())
    }

    fn attend(
        &self,
        layer: usize,
        [q, k, v]: [Tensor; 3],
        sequences: &mut [SequenceRows<'_, GpuSegment>],
    ) -> anyhow::Result<Tensor> {
        let mut row = 0;
        for sequence in &mut *sequences {
            let rows = |x: &Tensor| x.narrow(0, row, sequence.n_rows);
            let new = (rows(&k)?, rows(&v)?);
            sequence.own.append(layer, sequence.start, new, self.shape)?;
            row += sequence.n_rows;
        }
        ensure!(row == q.dim(0)?, "every row belongs to a sequence");
        self.attend_all(layer, &q, sequences)
    }

    fn select(&self, x: &Tensor, rows: &[usize]) -> anyhow::Result<Tensor> {
        let rows = rows.iter().map(|row| *row as u32).collect::<Vec<_>>();
        let n_rows = rows.len();
        Ok(x.index_select(&Tensor::from_vec(rows, n_rows, &self.device)?, 0)?)
    }

    fn to_rows(&self, x: Tensor) -> anyhow::Result<Vec<f32>> {
        Ok(x.flatten_all()?.to_vec1()?)
    }
}

fn product(x: &Tensor, linear: &Linear<Gpu>) -> anyhow::Result<Tensor> {
    let product = linear.matrix.product(x)?;
    Ok(match &linear.bias {
        Some(bias) => product.broadcast_add(bias)?,
        None => product,
    })
}
