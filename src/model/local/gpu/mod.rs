//! The arithmetic of a decoder as operations on tensors of any device: what runs on a GPU.
//!
//! Activations, keys and values are 32-bit floats; matrices stay in the form of the file. All of
//! it lies on the device: what goes there in a step is tokens, turns and row numbers, what comes
//! back is the logits that were asked for.

mod attend;
pub mod choice;
mod matrix;
mod segment;
#[cfg(test)]
mod tests;

use anyhow::ensure;
use candle_core::{Device, Tensor};
use candle_nn::ops::rms_norm;
use candle_nn::rotary_emb::rope_thd;

use crate::model::kernels::Isa;
use crate::model::kernels::rotary::{Rotary, RotaryStyle};
use crate::model::kernels::team::Team;
use crate::model::local::buffers::Floats;
use crate::model::local::config::DecoderConfig;
use crate::model::local::decoder::{Linear, Ops, SequenceRows};
use crate::model::local::gpu::attend::{Heads, attend};
use crate::model::local::gpu::matrix::Matrix;
use crate::model::local::gpu::segment::Segment;
use crate::model::local::weights::StoredTensor;

/// A device's [`Ops`].
pub struct Gpu {
    device: Device,
    /// Draws tokens.
    team: Team,
    n_layers: usize,
    heads: Heads,
    rotary: Rotary,
    rms_eps: f32,
}

/// How far the heads of some rows turn: tensors of the shape (rows, pairs).
pub struct Turns {
    cosines: Tensor,
    sines: Tensor,
}

impl Gpu {
    pub fn new(config: &DecoderConfig, device: Device, team: Team) -> anyhow::Result<Self> {
        let n_pairs = config.rope.frequencies.len();
        ensure!(
            2 * n_pairs == config.head_dim,
            "{n_pairs} rotated pairs in heads of width {} do not run on a GPU, which turns whole \
             heads",
            config.head_dim
        );
        Ok(Self {
            team,
            n_layers: config.n_layers,
            heads: Heads::new(config, &device)?,
            rotary: Rotary {
                style: RotaryStyle::Halves,
                frequencies: config.rope.frequencies.clone(),
                magnitude: config.rope.magnitude,
            },
            rms_eps: config.rms_eps as f32,
            device,
        })
    }
}

impl Ops for Gpu {
    type Tensor = Tensor;
    type Input = Tensor;
    type Matrix = Matrix;
    type Vector = Tensor;
    type Segment = Segment;
    type Turns = Turns;

    const IS_CPU: bool = false;

    fn isa(&self) -> Isa {
        self.team.isa()
    }

    fn for_each<T: Send>(&self, tasks: Vec<T>, work: impl Fn(T) + Sync) {
        self.team.for_each(tasks, work);
    }

    fn load_matrix(&self, stored: &StoredTensor<'_>) -> anyhow::Result<Matrix> {
        Matrix::load(stored, &self.device)
    }

    fn load_vector(&self, stored: &StoredTensor<'_>) -> anyhow::Result<Tensor> {
        Ok(Tensor::new(stored.to_f32()?, &self.device)?)
    }

    fn new_segment(&self) -> anyhow::Result<Segment> {
        Ok(Segment::new(0, self.n_layers))
    }

    fn branch(&self, _segment: &Segment, end: usize) -> anyhow::Result<Segment> {
        Ok(Segment::new(end, self.n_layers))
    }

    fn segment_start(&self, segment: &Segment) -> usize {
        segment.start()
    }

    fn segment_bytes(&self, segment: &Segment) -> usize {
        segment.n_bytes()
    }

    fn embed(&self, table: &Matrix, ids: &[u32]) -> anyhow::Result<Tensor> {
        table.read_rows(ids, &self.device)
    }

    fn normed(&self, x: &Tensor, weight: &Tensor) -> anyhow::Result<Tensor> {
        Ok(rms_norm(x, weight, self.rms_eps)?)
    }

    fn gated(&self, gate: Tensor, up: Tensor) -> anyhow::Result<Tensor> {
        Ok((gate.silu()? * up)?)
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
        let heads = x.reshape(((), weight.dim(0)?))?;
        *x = rms_norm(&heads, weight, self.rms_eps)?.reshape(shape)?;
        Ok(())
    }

    fn turns(&self, positions: &[usize]) -> anyhow::Result<Turns> {
        let turns = self.rotary.turns(positions);
        let shape = (positions.len(), self.rotary.frequencies.len());
        let tensor = |values: &[f32]| Tensor::from_slice(values, shape, &self.device);
        Ok(Turns { cosines: tensor(turns.cosines())?, sines: tensor(turns.sines())? })
    }

    fn rotate(&self, x: &mut Tensor, turns: &Turns) -> anyhow::Result<()> {
        let (n_rows, width) = x.dims2()?;
        let heads = x.reshape((1, n_rows, (), 2 * self.rotary.frequencies.len()))?;
        *x = rope_thd(&heads, &turns.cosines, &turns.sines)?.reshape((n_rows, width))?;
        Ok(())
    }

    fn attend(
        &self,
        layer: usize,
        qkv: [Tensor; 3],
        sequences: &mut [SequenceRows<'_, Segment>],
    ) -> anyhow::Result<Tensor> {
        Ok(attend(&self.heads, layer, qkv, sequences)?)
    }

    fn select(&self, x: &Tensor, rows: &[usize]) -> anyhow::Result<Tensor> {
        let rows: Vec<u32> = rows.iter().map(|&row| row as u32).collect();
        Ok(x.index_select(&Tensor::new(rows, &self.device)?, 0)?)
    }

    fn to_rows(&self, x: Tensor) -> anyhow::Result<Floats> {
        Ok(Floats::from(x.flatten_all()?.to_vec1::<f32>()?))
    }
}

fn product(x: &Tensor, linear: &Linear<Gpu>) -> anyhow::Result<Tensor> {
    let product = linear.matrix.multiply(x)?;
    Ok(match &linear.bias {
        Some(bias) => product.broadcast_add(bias)?,
        None => product,
    })
}
